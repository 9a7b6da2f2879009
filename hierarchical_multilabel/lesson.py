"""Contrast at every level of a tree, on a circle: `python -m hierarchical_multilabel.lesson [--out FIGURE]`.

Two families of three kinds of eight pictures each. There is no network: every picture is a free point of the
circle and goes where the loss sends it. Flat SupCon knows one level: with kinds it forgets which kinds belong
together, with families it throws the kinds of a family on one heap. HiMulCon adds up all levels; HiMulConE
also asks that no pair of a coarse level costs less than the worst pair of a finer one.

Printed: how often that order is violated, mean of five random starts.
Nothing is downloaded; about ten seconds on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor
from torch.nn.functional import normalize

from common import config, plots, typos
from hierarchical_multilabel.losses import common_level, himulcon_loss, himulcone_loss, supcon_loss

FAMILIES, KINDS, PICTURES, STEPS, SEEDS, TAU = 2, 3, 8, 200, 5, 0.3

index = torch.arange(FAMILIES * KINDS * PICTURES)
LABELS = torch.stack([index // (KINDS * PICTURES), index // PICTURES, index], 1)  # family, kind, picture
SHADES = ("#0B3C6F", "#0072B2", "#56B4E9", "#8A3800", "#D55E00", "#F0A860")  # blue family, orange family

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "SupCon of kinds": lambda z: supcon_loss(z, LABELS[:, 1], TAU),
    "SupCon of families": lambda z: supcon_loss(z, LABELS[:, 0], TAU),
    "HiMulCon": lambda z: himulcon_loss(z, LABELS, TAU),
    "HiMulConE": lambda z: himulcone_loss(z, LABELS, TAU, threshold="detached"),
    "HiMulConE, released": lambda z: himulcone_loss(z, LABELS, TAU, form="released"),
}


def train(loss: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """z (N, 1, 2) unit rows, one view each, from random directions."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(len(LABELS), 1, 2, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(normalize(free, dim=2)).backward()
        optimiser.step()
    return normalize(free.detach(), dim=2)


def violations(z: Tensor) -> tuple[float, float]:
    """Shares of triples (anchor, finer relative, coarser relative) in which the coarser one is closer.

    First: a picture of the same kind against one of the same family only. Second: a picture of the same
    family only against one of the other family. Chance is one half.
    """
    cosine = z[:, 0] @ z[:, 0].T
    level = common_level(LABELS)  # 1: same kind, 2: same family only, 3: nothing in common
    level.fill_diagonal_(0)

    def share(finer: int, coarser: int) -> float:
        closer = cosine[:, None, :] > cosine[:, :, None]  # (anchor, finer, coarser)
        triples = (level == finer)[:, :, None] & (level == coarser)[:, None, :]
        return float(closer[triples].float().mean())

    return share(1, 2), share(2, 3)


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lessons/hierarchical_multilabel.png"))
    out = parser.parse_args(argv).out
    config.require_free("--out", out)

    print(
        f"{len(LABELS)} free points on a circle, {FAMILIES} families of {KINDS} kinds; mean of {SEEDS} starts"
    )
    print("triples in the wrong order:      kind before family   family before stranger")
    shown = {}
    for name, loss in LOSSES.items():
        ends = [train(loss, seed) for seed in range(SEEDS)]
        fine, coarse = torch.tensor([violations(z) for z in ends]).mean(0).tolist()
        print(f"  {name:30}{100 * fine:17.1f} % {100 * coarse:22.1f} %")
        shown[name] = ends[0][:, 0]
    draw(shown, out)
    print(out)


def draw(shown: dict[str, Tensor], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(9, 6.2))
        panels = list(figure.subplots(2, 3).flat)
        for axes, (name, z) in zip(panels, shown.items()):
            z = z * (1 + 0.07 * torch.randn(len(z), 1, generator=generator))  # so that heaps can be seen
            axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=plots.PALE))
            for kind, shade in enumerate(SHADES):
                axes.scatter(*z[LABELS[:, 1] == kind].T, s=12, color=shade, linewidths=0, alpha=0.9)
            axes.set(aspect="equal", title=name, xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
            axes.set_axis_off()
        panels[-1].set_axis_off()
        panels[-1].text(0, 0.5, "one colour: a family\none shade: a kind\n(first of the starts)")
        figure.savefig(out, metadata={"Software": None})


if __name__ == "__main__":
    config.command(main)
