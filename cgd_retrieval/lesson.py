"""What each descriptor sees of a feature map: `python -m cgd_retrieval.lesson [--out FIGURE]`.

A toy feature map has two channels: things on a quiet ground, and an even ground as a yardstick. There are
four classes: two or four things, and the things are weak or strong. SPoC, the mean, sees how much there is in
all: two strong things weigh as much as four weak ones. MAC, the maximum, sees how strong the strongest is and
cannot count. GeM with p = 3 lies between. CGD joins descriptors after reducing and normalising each.

Printed: recall@1 on new maps, for raw descriptors and for the trained embedding, at equal output size.
Nothing is downloaded; about ten seconds on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cgd_retrieval.descriptors import gem, mac, spoc
from cgd_retrieval.losses import auxiliary_loss, batch_hard_triplet_loss
from cgd_retrieval.model import CGD
from common import config, plots, typos
from common.metrics import recall_at_k

SIDE, CLASSES, STEPS, DIM, SEEDS = 16, 4, 150, 12, 3
NAMES = ("two weak", "two strong", "four weak", "four strong")


def maps(count: int, seed: int, spike: float = 0.0) -> tuple[Tensor, Tensor]:
    """X (N, 2, 16, 16) and classes (N,). spike: share of maps with one stray activation of strength 2.

    Things are bumps of 3 x 3 at random places of a coarse grid, of strength 1 or 2, 10 % more or less.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % CLASSES
    x = torch.zeros(count, 2, SIDE, SIDE)
    x[:, 0] = 0.05 * torch.rand(count, SIDE, SIDE, generator=generator)
    x[:, 1] = 1 + 0.05 * torch.rand(count, SIDE, SIDE, generator=generator)
    for i in range(count):
        things, strength = 2 + 2 * int(y[i] // 2), 1.0 + float(y[i] % 2)
        for cell in torch.randperm(16, generator=generator)[:things].tolist():
            row, column = 4 * (cell // 4), 4 * (cell % 4)
            jitter = 0.1 * float(torch.randn((), generator=generator))
            x[i, 0, row : row + 3, column : column + 3] += strength * (1 + jitter)
        if torch.rand((), generator=generator) < spike:
            row, column = torch.randint(SIDE, (2,), generator=generator).tolist()
            x[i, 0, row, column] = 2.0
    return x, y


class Given(nn.Module):
    """A backbone that passes on the feature map that it is given."""

    channels = 2

    def forward(self, x: Tensor) -> Tensor:
        return x


def train(letters: str, x: Tensor, y: Tensor, seed: int) -> CGD:
    """CGD on whole sets of maps, with the paper's two losses."""
    torch.manual_seed(seed)
    model = CGD(Given(), letters, DIM, CLASSES)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        psi, logits = model(x)
        assert logits is not None
        loss = batch_hard_triplet_loss(psi, y, margin=0.1)
        loss = loss + auxiliary_loss(logits, y, temperature=0.5, smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lessons/cgd_retrieval.png"))
    out = parser.parse_args(argv).out
    config.require_free("--out", out)

    x, y = maps(96, seed=0)
    clean, spiked = maps(200, seed=1), maps(200, seed=1, spike=0.3)
    print(f"recall@1 in %, {len(clean[1])} new maps of four classes; spiked: a stray activation in 3 of 10")
    for name, pool in (("SPoC", spoc), ("MAC", mac), ("GeM", gem)):
        found = [100 * recall_at_k(pool(x), y, (1,))[1] for x, y in (clean, spiked)]
        print(f"  raw {name:5}{found[0]:16.0f}, spiked {found[1]:.0f}")
    for letters in ("S", "M", "G", "SM", "SG", "MG", "SMG"):
        runs = torch.zeros(2, SEEDS)
        for seed in range(SEEDS):
            model = train(letters, x, y, seed)
            for row, (maps_, labels) in enumerate((clean, spiked)):
                with torch.no_grad():
                    runs[row, seed] = 100 * recall_at_k(model(maps_)[0], labels, (1,))[1]
        each = ", ".join(f"{value:.0f}" for value in runs[0])
        spoiled = ", ".join(f"{value:.0f}" for value in runs[1])
        print(f"  embedding {letters:5}{each:>14}, spiked {spoiled} (three seeds)")
    draw(clean, out)
    print(out)


def draw(shown: tuple[Tensor, Tensor], out: Path) -> None:
    x, y = shown
    out.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(9, 6))
        rows = figure.subplots(2, 4)
        for label, name in enumerate(NAMES):
            axes = rows[0, label]
            axes.imshow(x[y == label][0, 0].numpy(), cmap="magma", vmin=0, vmax=2.4)
            axes.set_title(name)
            axes.set_axis_off()
        s, m, g = (pool(x)[:, 0] for pool in (spoc, mac, gem))
        pairs = (("SPoC, mean", s, "MAC, maximum", m), ("SPoC, mean", s, "GeM, p = 3", g),
                 ("MAC, maximum", m, "GeM, p = 3", g))  # fmt: skip
        for axes, (across, a, up, b) in zip(rows[1], pairs):
            for label, name in enumerate(NAMES):
                own = y == label
                axes.scatter(a[own], b[own], s=9, color=plots.PALETTE[label], linewidths=0, label=name)
            axes.set(xlabel=across, ylabel=up)
        rows[1, 3].set_axis_off()
        rows[1, 3].legend(*rows[1, 0].get_legend_handles_labels(), loc="center", markerscale=1.8)
        figure.savefig(out, metadata={"Software": None})


if __name__ == "__main__":
    config.command(main)
