"""Network of the re-identification experiment, Table 5 (Section 5.3 of arXiv:1904.02239v2, recalled).

    symbol   shape          meaning
    z        (B, D)         embedding: one linear layer after the global average pool; what is searched with
    x        (B, D)         point of the ball, exp_0(z)
    p, a     (M, D)         point and normal of each of M training persons
    logits   (B, M)

    head         logits                                       parameters
    euclidean    <w_k, z> + b_k                               M (D + 1)
    hyperbolic   hyperbolic MLR at x = exp_0(z)               2 M D
    flat         4 <z - p_k, a_k>, its limit as c -> 0        2 M D

At c = 1e-5 the ball's radius is 316 and a point is pulled back at |z| = 1,202 only, so the hyperbolic head
is nearly flat. `flat` has its parameters, its initial values and its factor 4; what it does not have is
curvature.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.arguments import require_pictures, require_tensor, require_widths, whole_number
from hyperbolic_embeddings.delta import extractors
from hyperbolic_embeddings.layers import HyperbolicMLR, ToPoincare
from hyperbolic_embeddings.reid.presets import ReID


class SmallNet(nn.Module):
    """Stages of conv3x3 - BN - ReLU - max-pool 2, then the global mean.  [B, 3, H, W] -> [B, channels]"""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        require_widths(widths)
        self.channels, self.least = widths[-1], 2 ** len(widths)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)
                )
                for a, b in zip((3, *widths), widths)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, 3, self.least)
        return self.stages(x).mean((2, 3))


class FlatMLR(nn.Module):
    """logits_k = 4 <z - p_k, a_k>: what the hyperbolic MLR tends to as c -> 0 (claim C9).  (B, D) -> (B, M)

    p and a are drawn as in HyperbolicMLR.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        whole_number("dim", dim)
        whole_number("classes", classes)
        self.p = nn.Parameter(torch.empty(classes, dim))
        self.a = nn.Parameter(torch.empty(classes, dim))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.p, a=math.sqrt(5))

    def forward(self, z: Tensor) -> Tensor:
        require_tensor("z", z, "(B, D)")
        if z.shape[1] != self.a.shape[1]:
            width = self.a.shape[1]
            raise ValueError(f"z has shape {tuple(z.shape)} but the layer has dim {width}; give (B, {width})")
        return 4 * (z @ self.a.T - (self.p * self.a).sum(1))


class ReIDNet(nn.Module):
    """Pictures [B, 3, H, W] -> (z [B, dim], logits [B, M]); backbone: [B, 3, H, W / narrow] -> [B, C]."""

    def __init__(self, cfg: ReID, backbone: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        whole_number("channels", channels)
        whole_number("classes", classes)
        self.narrow = cfg.narrow
        self.backbone = backbone
        self.embedding = nn.Linear(channels, cfg.dim)
        self.to_ball = None
        if cfg.head == "euclidean":
            self.head = nn.Linear(cfg.dim, classes)
        elif cfg.head == "flat":
            self.head = FlatMLR(cfg.dim, classes)
        else:
            self.to_ball = ToPoincare(cfg.c, riemannian=cfg.correction, eps=cfg.eps, mode=cfg.mode)
            self.head = HyperbolicMLR(cfg.dim, classes, cfg.c, eps=cfg.eps, mode=cfg.mode)

    def embed(self, pictures: Tensor) -> Tensor:
        """z (B, D) float32, also under autocast."""
        require_pictures("pictures", pictures, 3, self.narrow)
        if self.narrow > 1:
            pictures = F.avg_pool2d(pictures, (1, self.narrow))
        features = self.backbone(pictures)
        with torch.autocast(pictures.device.type, enabled=False):
            return self.embedding(features.float())

    def classify(self, z: Tensor) -> Tensor:
        """logits (B, M) of embeddings (B, D)."""
        with torch.autocast(z.device.type, enabled=False):
            return self.head(z if self.to_ball is None else self.to_ball(z))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        z = self.embed(pictures)
        return z, self.classify(z)


def build(cfg: ReID, classes: int) -> ReIDNet:
    """The network of cfg. FileNotFoundError: its ImageNet weights cannot be downloaded."""
    if cfg.network == "small":
        backbone = SmallNet(cfg.widths)
        return ReIDNet(cfg, backbone, backbone.channels, classes)
    return ReIDNet(cfg, extractors.network("resnet50", cfg.weights, cfg.seed).train(), 2048, classes)
