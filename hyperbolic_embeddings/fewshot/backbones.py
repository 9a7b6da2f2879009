"""The three encoders of Tables 3 and 4: pictures (B, channels, s, s) -> embedding z (B, .dim).

Architectures as in the authors' code (examples/fewshot/networks, HEAD 6633edb). All are trained from scratch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.arguments import finite_number, require_pictures, whole_number, whole_numbers


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, ReLU and max-pool 2; the last has `dim` channels. (ReLU
    comes after the pooling: the same values and gradients, a quarter of the work.)

    At 84 pixels the map is then 5 x 5: pool='max' takes its maximum (max-pool 5), so z has `dim` numbers;
    this is what "dim 1600" means in the authors' code (note W1). pool='flatten' keeps all places: z has
    dim * side^2 numbers, the usual ProtoNet with dim = 64. At 28 pixels the map is 1 x 1 and both agree.
    """

    def __init__(
        self, dim: int = 64, *, channels: int = 3, width: int = 64, size: int = 84, pool: str = "max"
    ) -> None:
        """channels: of the pictures. width: channels of blocks one to three. size: side of the pictures."""
        super().__init__()
        whole_number("size", size)
        side = size // 16
        if side < 1:
            raise ValueError(
                f"size = {size}: four max-pools need pictures of at least 16 pixels; give a larger size"
            )
        if pool not in ("max", "flatten"):
            raise ValueError(f"pool = {pool!r}: use max or flatten")
        whole_numbers(dim=dim, channels=channels, width=width)
        self.pool, self.channels, self.size = pool, channels, size
        self.dim = dim * side**2 if pool == "flatten" else dim
        widths = (channels, width, width, width, dim)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ReLU()
                )
                for before, after in pairwise(widths)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, self.channels, least=16)
        if self.pool == "flatten" and (x.shape[2] // 16, x.shape[3] // 16) != (self.size // 16,) * 2:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; give pictures of {self.size} pixels, the size of this network"
            )
        x = self.blocks(x)  # (B, dim, side, side)
        return x.flatten(1) if self.pool == "flatten" else x.amax((2, 3))


class ResNet12(nn.Module):
    """Four residual blocks of three 3x3 convolutions, max-pool 2 after each, global max: z has 512 numbers.

    LeakyReLU 0.1. Ordinary dropout after blocks 1 and 2, DropBlock after blocks 3 and 4, rate 0.1.
    """

    dim = 512

    def __init__(
        self, *, channels: int = 3, rate: float = 0.1, block_size: int = 5, ramp: int = 40_000
    ) -> None:
        """ramp: training batches over which DropBlock's rate rises from 0 to `rate` (authors' code: 20 *
        2000).
        """
        super().__init__()
        whole_number("channels", channels)
        _require_rate(rate)
        whole_numbers(block_size=block_size, ramp=ramp)
        self.channels = channels
        widths = (channels, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(_ResNet12Block(a, b) for a, b in pairwise(widths))
        self.drops = nn.ModuleList(
            nn.Dropout(rate) if i < 2 else DropBlock(rate, block_size, ramp) for i in range(4)
        )
        _initialise(self, "leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, self.channels, least=16)
        for block, drop in zip(self.blocks, self.drops):
            x = drop(block(x))
        return x.amax((2, 3))


class _ResNet12Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(before, after), nn.LeakyReLU(0.1),
            *_convolution(after, after), nn.LeakyReLU(0.1),
            *_convolution(after, after),
        )  # fmt: skip
        self.shortcut = nn.Sequential(*_convolution(before, after, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.leaky_relu(self.body(x) + self.shortcut(x), 0.1), 2)


class DropBlock(nn.Module):
    """Sets squares of `size` x `size` positions to zero, each channel on its own; the rest is scaled up.

    Ghiasi et al., "DropBlock" (NeurIPS 2018), as in the authors' code: a square's first corner is drawn with
    probability gamma = rate / size^2 * h w / ((h - size + 1) (w - size + 1)), and what stays is multiplied by
    count / count kept. The rate grows linearly over `ramp` training batches to its final value; batches are
    counted in the buffer `seen`, which a checkpoint carries (the authors count in an attribute that is lost,
    and count evaluation batches too: note W2).
    """

    seen: Tensor

    def __init__(self, rate: float, size: int, ramp: int) -> None:
        super().__init__()
        _require_rate(rate)
        whole_numbers(size=size, ramp=ramp)
        self.rate, self.size, self.ramp = rate, size, ramp
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.seen += 1
        h, w = x.shape[2:]
        if min(h, w) < self.size:
            raise ValueError(
                f"x: DropBlock of size {self.size} does not fit a map of {h} x {w}; use larger pictures"
            )
        free = (h - self.size + 1, w - self.size + 1)
        rate = self.rate * (self.seen / self.ramp).clamp(max=1.0)  # (), stays on the device
        gamma = rate / self.size**2 * (h * w) / (free[0] * free[1])
        corner = (torch.rand(*x.shape[:2], *free, device=x.device) < gamma).to(x.dtype)
        # A square reaches size - 1 positions right and down from its corner: a max over those before.
        reach = self.size - 1
        dropped = F.max_pool2d(F.pad(corner, (reach,) * 4), self.size, stride=1)  # (B, C, h, w)
        kept = 1 - dropped
        return x * kept * (kept.numel() / kept.sum().clamp(min=1))


class ResNet18(nn.Module):
    """Basic blocks [2, 2, 2, 2] after a 3x3 convolution of stride 1, no pool; global max: 512 numbers."""

    dim = 512

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        whole_number("channels", channels)
        self.channels = channels
        self.stem = nn.Sequential(*_convolution(channels, 64), nn.ReLU())
        blocks, before = [], 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [_BasicBlock(before, width, stride), _BasicBlock(width, width, 1)]
            before = width
        self.blocks = nn.Sequential(*blocks)
        _initialise(self, "relu")

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, self.channels)
        return self.blocks(self.stem(x)).amax((2, 3))


class _BasicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(before, after, stride=stride), nn.ReLU(), *_convolution(after, after)
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_convolution(before, after, kernel=1, stride=stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _require_rate(rate: float) -> None:
    finite_number("rate", rate)
    if not 0 <= rate < 1:
        raise ValueError(f"rate = {rate}: give a share from 0 up to, but not including, 1")


def _convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """Convolution without bias and its batch norm."""
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(after)


def _initialise(network: nn.Module, nonlinearity: Literal["relu", "leaky_relu"]) -> None:
    """Kaiming normal, fan_out, as the authors' ResNets; Conv4 keeps torch's defaults."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity=nonlinearity)
