"""Encoder and projection head, Section 4 of arXiv:2204.13207v1 as the released code has it
(salesforce/hierarchicalContrastiveLearning at f075235, network/resnet_modified.py); for small pictures the
network of common.networks.

    symbol   shape          meaning
    x        (N, 3, H, W)   pictures, all views of a batch in a row
    h        (N, F)         features of the encoder: what the linear probe sees
    z        (N, D)         unit-norm embedding of the projection head: what the losses see
    logits   (N, M)         classes, for cross-entropy only
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import normalize

from common.arguments import described, require_pictures, whole_number
from common.networks import SmallCNN, first_stages


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 of torchvision without its classifier.  [N, 3, H, W] -> [N, 512 or 2048]

    small_images: the stem is one 3x3 convolution without stride or pooling. frozen: the stem and this many of
    the four stages never change, batch statistics included; the released training code keeps 2 (it trains
    layer3, layer4 and the head), but lets the statistics of the frozen part move (note O3).
    """

    def __init__(
        self, name: str, weights: str | None = None, *, small_images: bool = False, frozen: int = 0
    ) -> None:
        super().__init__()
        if name not in ("resnet18", "resnet50"):
            raise ValueError(f"name is {name!r}; choose resnet18 or resnet50")
        if not 0 <= whole_number("frozen", frozen, least=-1) <= 4:
            raise ValueError(f"frozen is {frozen}; a ResNet has 4 stages, give 0 to 4")
        if frozen and small_images:
            raise ValueError(
                f"frozen is {frozen}: frozen parts keep published weights, which the stem for small images "
                "has not; give 0"
            )
        net = getattr(torchvision.models, name)()
        if weights is not None:
            net.load_state_dict(_published(name, weights))
        if small_images:
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
            net.maxpool = nn.Identity()
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.Sequential(stem, net.layer1, net.layer2, net.layer3, net.layer4)
        self.channels = int(net.fc.in_features)
        self.frozen = frozen + 1 if frozen else 0  # with the stem
        self.stages[: self.frozen].requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet:
        super().train(mode)
        self.stages[: self.frozen].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, 3)
        return self.stages(x).mean((2, 3))


class Encoder(nn.Module):
    """h = backbone(x), z = head(h) with norm 1; for cross-entropy logits = W h + b, and z = h with norm 1.

    head: Linear(F, F), ReLU, Linear(F, D), then l2 (network/resnet_modified.py). classes: number of classes M
    of a linear classifier that takes the head's place; 0 for none.
    """

    def __init__(self, backbone: nn.Module, dim: int = 128, classes: int = 0) -> None:
        super().__init__()
        width = getattr(backbone, "channels", None)
        if not isinstance(width, int):
            raise TypeError(f"backbone.channels is {width!r}; give the size F of its features, an int")
        whole_number("dim", dim)
        whole_number("classes", classes, least=0)
        self.backbone = backbone
        self.head = None
        self.classifier = nn.Linear(width, classes) if classes else None
        if not classes:
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(h [N, F], z [N, D] unit rows, logits [N, M] or None); float32 behind the backbone, also in
        autocast."""
        if not isinstance(x, Tensor):
            raise TypeError(f"x is {described(x)}; give pictures, a float32 tensor [N, 3, H, W]")
        h = self.backbone(x).float()
        with torch.autocast(x.device.type, enabled=False):
            z = normalize(h if self.head is None else self.head(h), dim=1)
            return h, z, None if self.classifier is None else self.classifier(h)


def build(
    backbone: str,
    weights: str | None,
    *,
    widths: tuple[int, ...],
    pools: int,
    frozen: int,
    dim: int,
    classes: int = 0,
) -> Encoder:
    """The network with the backbone 'small', 'resnet18' (small-image stem) or 'resnet50'."""
    if backbone == "small":
        if weights is not None:
            raise ValueError(f"weights {weights!r}: there are none for the small network; give none")
        if frozen:
            raise ValueError(f"frozen is {frozen}: the small network has no published weights; give 0")
        return Encoder(SmallCNN(widths, first_stages(pools, widths), average=True), dim, classes)
    if backbone == "resnet18":
        if weights is not None:
            raise ValueError(f"weights {weights!r}: the small-image stem of resnet18 has none; give none")
        return Encoder(ResNet("resnet18", small_images=True, frozen=frozen), dim, classes)
    if backbone == "resnet50":
        return Encoder(ResNet("resnet50", weights, frozen=frozen), dim, classes)
    raise ValueError(f"backbone {backbone!r} is unknown; choose small, resnet18 or resnet50")


def _published(name: str, weights: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, downloaded once into the folder of torch.hub."""
    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        raise ValueError(f"weights {weights!r} are unknown; choose one of {', '.join(known.__members__)}")
    url = known[weights].value.url
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
    except OSError as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise FileNotFoundError(
            f"{url} could not be downloaded ({error}); put the file into {folder}, or train with "
            "--weights none"
        ) from error
