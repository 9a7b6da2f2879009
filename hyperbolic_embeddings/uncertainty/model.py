"""The network of the uncertainty experiment (Figures 1 and 5, Table 2), as in the authors' mnist.py.

symbol   shape                  meaning
x        (B, 1, 28, 28)         standardised pictures, ink bright
u        (B, n)                 features, the output of the last layer before the head
z        (B, n)                 hyperbolic head: exp_0(u), projected; Euclidean head: u itself
logits   (B, K)                 of the classifier
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.arguments import finite_number, require_pictures, require_tensor, whole_number
from hyperbolic_embeddings.layers import HyperbolicMLR, ToPoincare
from hyperbolic_embeddings.poincare import distance0

SIDE = 28
"""Side of the pictures in pixels."""


class Network(nn.Module):
    """Two convolutions and two linear layers, then a hyperbolic or a Euclidean classifier of K classes.

    x (B, 1, 28, 28) -> (u (B, n), z (B, n), logits (B, K)), at least float32. 427,112 parameters
    for n = 2, K = 10 and the hyperbolic head. Under autocast only the layers before the head run in half
    precision. Networks of one seed have the same initial weights before the head.

    clip: longest feature, 0 for none. correction, mode: see layers.ToPoincare. c, mode, correction and clip
    are unused by the Euclidean head.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        hyperbolic: bool = True,
        c: float = 0.05,
        mode: str = "released",
        correction: bool = True,
        clip: float = 0.0,
    ) -> None:
        super().__init__()
        whole_number("dim", dim)
        whole_number("classes", classes)
        # ReLU after the pooling instead of before: the same values and gradients, a quarter of the work.
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(),  # (B, 20, 12, 12)
            nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU(),  # (B, 50, 4, 4)
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(),
            nn.Linear(500, dim),
        )  # fmt: skip
        self.to_ball: ToPoincare | None = None
        self.classifier: HyperbolicMLR | nn.Linear
        if hyperbolic:
            self.to_ball = ToPoincare(c, clip=clip or None, riemannian=correction, mode=mode)
            self.classifier = HyperbolicMLR(dim, classes, c, mode=mode)
        else:
            self.classifier = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        require_pictures("x", x, 1, SIDE)
        if x.shape[2:] != (SIDE, SIDE):
            raise ValueError(f"x has shape {tuple(x.shape)}; give (B, 1, {SIDE}, {SIDE})")
        u = self.trunk(x)  # (B, n)
        u = u if u.dtype == torch.float64 else u.float()
        with torch.autocast(x.device.type, enabled=False):
            z = u if self.to_ball is None else self.to_ball(u)
            return u, z, self.classifier(z)

    @property
    def cap(self) -> float:
        """The norm of u from which on z no longer depends on it: the clip, or where the projection starts,
        artanh(1 - eps) / sqrt(c), 17.0 for c = 0.05. Infinite for the Euclidean head.
        """
        if self.to_ball is None:
            return math.inf
        start = math.atanh(1 - self.to_ball.eps) / math.sqrt(float(self.to_ball.c))
        return min(start, self.to_ball.clip or math.inf)

    def distance0(self, u: Tensor) -> Tensor:
        """d(0, z) of features, in float64: the paper's score of certainty (Table 2).  (N, n) -> (N,)

        It is min(2 |u|, 2 cap) whatever c is, finding F1. Points at the cap differ by rounding alone and are
        made equal. ValueError for the Euclidean head.
        """
        if self.to_ball is None:
            raise ValueError(
                f"u {tuple(u.shape)}: a network with a Euclidean head has no distance from the origin; "
                "use |u|"
            )
        require_tensor("u", u, "(N, n)")
        u = u.double()
        d = distance0(self.to_ball(u), self.to_ball.c, self.to_ball.mode)
        capped = u.norm(dim=1) >= self.cap
        return torch.where(capped, 2 * self.cap, d)


def standardise(pixels: Tensor, mean: float, std: float) -> Tensor:
    """uint8 (B, 1, 28, 28) -> float32: values to [0, 1], minus mean, over std, as the authors' mnist.py."""
    require_tensor("pixels", pixels, "(B, 1, 28, 28)", torch.uint8)
    finite_number("mean", mean)
    finite_number("std", std, above=0)
    return pixels.float().div_(255).sub_(mean).div_(std)
