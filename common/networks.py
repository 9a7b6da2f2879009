"""The small network of budget `mini`, which no paper claims: one trunk for all that trains on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.arguments import require_pictures, require_widths, whole_number


class SmallCNN(nn.Module):
    """Stages of conv3x3 - BN - ReLU, one per width, for pictures of 28 to 64 pixels.

    [B, channels, H, W] -> [B, C, h, w], C the last width; with `average` -> [B, C], the mean over positions.

    `pool_after` names the stages, counted from 1, that end in 2x2 max-pooling: (1, 2) gives 7x7 from 28
    pixels. Tensors are kept channels-last: on one CPU core a training step took three quarters of the time.
    ValueError or TypeError for stages that are not there, and for pictures that leave no map.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 128),
        pool_after: tuple[int, ...] = (1, 2),
        *,
        channels: int = 3,
        average: bool = False,
    ) -> None:
        super().__init__()
        require_widths(widths)
        whole_number("channels", channels)
        if not set(pool_after) <= set(range(1, len(widths) + 1)):
            raise ValueError(
                f"pool_after is {pool_after}; the stages are counted from 1 to {len(widths)}: use those"
            )
        self.channels, self.least = widths[-1], 2 ** len(set(pool_after))
        self.seen, self.average = channels, average
        stages = []
        for number, (fan_in, fan_out) in enumerate(zip((channels, *widths), widths), start=1):
            layers: list[nn.Module] = [
                nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(fan_out),
            ]
            if number in pool_after:
                layers.append(nn.MaxPool2d(2))  # before the ReLU: same values, a quarter of its work
            layers.append(nn.ReLU(inplace=True))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        require_pictures("x", x, self.seen, self.least)
        x = self.stages(x.contiguous(memory_format=torch.channels_last))
        return x.mean((2, 3)) if self.average else x


def first_stages(pools: int, widths: tuple[int, ...]) -> tuple[int, ...]:
    """`pool_after` of a network whose first `pools` stages pool. ValueError: more than it has widths."""
    require_widths(widths)
    if not 0 <= whole_number("pools", pools, least=-1) <= len(widths):
        raise ValueError(f"pools is {pools}; give 0 to {len(widths)}, the number of widths")
    return tuple(range(1, pools + 1))
