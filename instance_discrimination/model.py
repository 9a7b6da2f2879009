"""The encoder f_theta of Wu et al., CVPR 2018 (arXiv:1805.01978), Section 3, and the classifier of Eq. (1).

    symbol   shape          meaning
    x        (B, 3, H, W)   pictures
    z        (B, D)         output of the last linear layer
    v        (B, D)         z / |z|, the unit-norm embedding f_theta(x)
    w        (N, D)         a weight per instance, for the parametric softmax only

Shapes of the networks: CIFAR as in the released models/resnet_cifar.py (zhirongw/lemniscate.pytorch),
ImageNet as in torchvision, whose ResNets equal the released ones; AlexNet and VGG-16 were not released
(note D13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models.resnet import BasicBlock

from common.arguments import described, require_pictures, require_widths, whole_number
from common.networks import SmallCNN, first_stages


class Encoder(nn.Module):
    """Stages that make maps, a neck that makes a vector of them, and a linear layer to D numbers.

    forward: x -> v (B, D) unit rows in float32 (unit=False: z). The linear layer and the norm are computed in
    float32 under autocast as well: bfloat16 would round v.v_j / 0.07 by up to 0.06.
    """

    def __init__(self, stages: dict[str, nn.Module], neck: nn.Module, fc: nn.Linear, least: int = 1):
        """stages: name -> module, in order; a linear probe stands on the output of each (note D12).
        least: side of the smallest pictures that leave a map.
        """
        super().__init__()
        self.least = least
        self.stages, self.neck, self.fc = nn.ModuleDict(stages), neck, fc

    def forward(self, x: Tensor, unit: bool = True) -> Tensor:
        require_pictures("x", x, 3, self.least)
        for stage in self.stages.values():
            x = stage(x)  # (B, C, h, w)
        h = self.neck(x)  # (B, F)
        with torch.autocast(h.device.type, enabled=False):
            z = self.fc(h.float())  # (B, D)
            return normalize(z, dim=1) if unit else z

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """Name of each stage -> its output (B, C, h, w): what the probes of Tables 2 and 3 see."""
        require_pictures("x", x, 3, self.least)
        found = {}
        for name, stage in self.stages.items():
            x = found[name] = stage(x)
        return found


class ParametricSoftmax(nn.Module):
    """The classifier of Eq. (1): P(i|v) = exp(w_i.v) / sum_j exp(w_j.v), one learnt weight w_i per instance.

    No temperature, no bias and no norm of w, as printed; nothing of it was released (note D6). The loss is
    the cross-entropy of these logits.
    """

    def __init__(self, instances: int, dim: int):
        super().__init__()
        whole_number("instances", instances)
        whole_number("dim", dim)
        self.w = nn.Parameter(torch.empty(instances, dim))  # (N, D)
        nn.init.normal_(self.w, std=dim**-0.5)  # rows of norm about 1, as the memory bank's

    def forward(self, v: Tensor) -> Tensor:
        if not isinstance(v, Tensor) or v.ndim != 2 or v.shape[1] != self.w.shape[1]:
            shown = f"of shape {tuple(v.shape)}" if isinstance(v, Tensor) else described(v)
            raise ValueError(f"v is {shown}; give a tensor (B, {self.w.shape[1]})")
        return v @ self.w.T  # (B, N) logits


def resnet_cifar(
    dim: int = 128, widths: Sequence[int] = (64, 128, 256, 512), blocks: int = 2, stem_stride: int = 1
) -> Encoder:
    """ResNet for 32-pixel pictures: 3x3 stem without pooling, one stage of basic blocks per width, every
    stage but the first halves the side. The defaults are the paper's ResNet-18: 11.234 M parameters.

    blocks: per stage. stem_stride: 2 halves the side at once, for networks that train on a CPU. Initial
    weights are torch's defaults, as in the released code.
    """
    for name, value in (("dim", dim), ("blocks", blocks), ("stem_stride", stem_stride)):
        whole_number(name, value, least=-math.inf)
    if widths:
        require_widths(widths)
    if not widths or blocks < 1 or stem_stride < 1 or dim < 1:
        raise ValueError(
            f"widths {tuple(widths)}, blocks {blocks}, stem_stride {stem_stride}, dim {dim}: give 1 or more"
        )
    channels = widths[0]
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(
            nn.Conv2d(3, channels, 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
    }
    for number, width in enumerate(widths, start=1):
        stage = []
        for block in range(blocks):
            stride = 2 if number > 1 and block == 0 else 1
            shortcut = None
            if stride != 1 or channels != width:
                shortcut = nn.Sequential(
                    nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                )
            stage.append(BasicBlock(channels, width, stride, shortcut))
            channels = width
        stages[f"res{number}"] = nn.Sequential(*stage)
    return Encoder(stages, average_pool(), nn.Linear(channels, dim))


def small(dim: int = 128, widths: tuple[int, ...] = (16, 32, 64, 128), pools: int = 2) -> Encoder:
    """The trunk of common.networks, for small pictures: a stage per width; the first `pools` of them pool."""
    trunk = SmallCNN(widths, first_stages(pools, widths))
    stages = {f"stage{n}": stage for n, stage in enumerate(trunk.stages, start=1)}
    return Encoder(stages, average_pool(), nn.Linear(trunk.channels, whole_number("dim", dim)), trunk.least)


def resnet18(dim: int = 128) -> Encoder:
    return _torchvision_resnet(torchvision.models.resnet18, dim)


def resnet50(dim: int = 128) -> Encoder:
    return _torchvision_resnet(torchvision.models.resnet50, dim)


def _torchvision_resnet(make: Callable[..., torchvision.models.ResNet], dim: int) -> Encoder:
    """conv1 includes the 3x3 pooling, as the probes of later work do; conv2 to conv5 are the four stages."""
    net = make(num_classes=whole_number("dim", dim))
    stages: dict[str, nn.Module] = {"conv1": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)}
    stages |= {f"conv{n + 1}": getattr(net, f"layer{n}") for n in range(1, 5)}
    return Encoder(stages, average_pool(), net.fc)


def alexnet(dim: int = 128) -> Encoder:
    """torchvision's AlexNet (no local response normalisation); probes after the ReLU of each convolution."""
    net = torchvision.models.alexnet(num_classes=whole_number("dim", dim))
    return _with_fully_connected(net, cut_after=(1, 4, 7, 9, 11), least=63)


def vgg16(dim: int = 128) -> Encoder:
    """torchvision's VGG-16 without batch norm; probes after the last ReLU of each of the five groups."""
    net = torchvision.models.vgg16(num_classes=whole_number("dim", dim))
    return _with_fully_connected(net, cut_after=(3, 8, 15, 22, 29), least=32)


def _with_fully_connected(
    net: torchvision.models.AlexNet | torchvision.models.VGG, cut_after: tuple[int, ...], least: int
) -> Encoder:
    """cut_after: index in net.features of the last layer of conv1 to conv5; the rest joins the neck."""
    layers, starts = list(net.features.children()), (0, *(i + 1 for i in cut_after))
    stages: dict[str, nn.Module] = {
        f"conv{n}": nn.Sequential(*layers[start : end + 1])
        for n, (start, end) in enumerate(zip(starts, cut_after), start=1)
    }
    *hidden, fc = net.classifier
    neck = nn.Sequential(*layers[starts[-1] :], net.avgpool, nn.Flatten(), *hidden)
    return Encoder(stages, neck, fc, least)  # type: ignore[arg-type]


def average_pool() -> nn.Sequential:
    """(B, C, h, w) -> (B, C)"""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def parameters(model: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in model.parameters())
