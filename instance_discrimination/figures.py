"""Draw the figures of reproduce.md: `python -m instance_discrimination.figures`.

table1.png         kNN accuracy of Table 1's rows on the 1,000 exact test pictures: mean, 95 % interval,
                   seeds as dots
consistency.png    held-out kNN accuracy along training (the paper's Figure 4)
losses.png         loss along training of the exact softmax and of NCE with each m, each over its own
                   first value
proximal.png       loss along training for each lambda (Figure 3)
proximal-knn.png   held-out kNN accuracy of the same runs
neighbours.png     exact test pictures with their nearest training pictures; needs a checkpoint here

All but the last come from results/runs, so a clone can draw them. What has no rows yet is left out, with a
word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from common import config, gallery, plots, results, run
from common.results.rows import only
from instance_discrimination import evaluate, pictures
from instance_discrimination.claims import arm
from instance_discrimination.presets import LAMBDAS, ROWS
from instance_discrimination.tables import SMALL, pull

FOLDER = Path("results/figures/instance_discrimination")
GALLERY = ("cifar10-mini-long", "cifar10-mini")
"""Presets whose finished run, seed 0, the neighbours are drawn from: the first that is there."""


def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"{' '.join(argv)}: this command takes no argument; leave it out")
    runs = results.newest(only(results.load_runs("instance_discrimination"), dataset="cifar10"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    table1(runs)
    watched = {"exact softmax": arm("cifar10-mini-watched")}
    along(
        runs,
        watched,
        "heldout_knn_bank",
        "val",
        "consistency.png",
        "kNN accuracy of held-out pictures",
        percent=True,
    )
    rows = {label: arm(**fields) for label, fields in ROWS.items() if label != "parametric softmax"}
    along(runs, rows, "loss", "test", "losses.png", "loss / loss of the first epoch shown", relative=True)
    lambdas = {f"lambda = {v:g}": arm("cifar10-mini-watched", **pull(v)) for v in LAMBDAS}
    along(runs, lambdas, "loss", "val", "proximal.png", "NCE loss without the proximal term")
    along(
        runs,
        lambdas,
        "heldout_knn_bank",
        "val",
        "proximal-knn.png",
        "kNN accuracy of held-out pictures",
        percent=True,
    )
    neighbours()


def table1(runs: pd.DataFrame) -> None:
    arms = {"raw pixels": arm(backbone="pixels"), "untrained": arm(epochs=0)}
    arms |= {label: arm(**fields) for label, fields in ROWS.items()}
    found = {}
    for label, (preset, changed) in arms.items():
        kept = only(
            runs, split="test", metric=f"knn{SMALL}", preset=preset, overrides=results.canonical(changed)
        )
        if len(kept):
            found[label] = kept.sort_values("seed")["value"].tolist()
    if not found:
        print("no rows of Table 1 yet; run make reproduce-instance")
        return
    plots.bars(
        list(found),
        [sum(v) / len(v) for v in found.values()],
        [plots.student_half_width(v) if len(v) > 1 else math.nan for v in found.values()],
        FOLDER / "table1.png",
        "kNN, 1,000 exact test pictures",
        points=list(found.values()),
        percent=True,
    )
    print(FOLDER / "table1.png")


def along(
    runs: pd.DataFrame,
    arms: Mapping[str, tuple[str, Mapping[str, Any]]],
    metric: str,
    split: str,
    name: str,
    ylabel: str,
    *,
    percent: bool = False,
    relative: bool = False,
) -> None:
    """A line per arm of metric@E over the epochs E: mean and 95 % interval over seeds.

    relative: each line over its own first value.
    """
    series: dict[str, tuple[list[float], list[float]]] = {}
    epochs: list[int] = []
    for label, (preset, changed) in arms.items():
        kept = only(runs, split=split, preset=preset, overrides=results.canonical(changed))
        kept = kept[kept["metric"].str.startswith(f"{metric}@")]
        at: dict[int, list[float]] = {}
        for told, value in zip(kept["metric"], kept["value"]):
            at.setdefault(int(told.split("@")[1]), []).append(value)
        epochs = epochs or sorted(at)
        if at and sorted(at) == epochs:
            values = [at[e] for e in epochs]
            scale = sum(values[0]) / len(values[0]) if relative else 1.0
            series[label] = (
                [sum(v) / len(v) / scale for v in values],
                [plots.student_half_width(v) / scale if len(v) > 1 else math.nan for v in values],
            )
    if not series:
        print(f"no rows for {name} yet")
        return
    plots.lines(epochs, series, FOLDER / name, "epoch", ylabel, percent=percent)
    print(FOLDER / name)


def neighbours(queries: int = 8, k: int = 8) -> None:
    """Test pictures, half right and half wrong at the nearest, with their nearest training pictures."""
    for preset in GALLERY:
        path = run.run_folder("instance_discrimination", preset, {}, 0) / "last.pt"
        if path.exists():
            break
    else:
        print("no checkpoint of cifar10-mini on this computer: neighbours.png is left as it is")
        return
    trained = evaluate.load(path)
    labelled = pictures.split(trained.cfg).labelled
    test = pictures.load(trained.cfg.data, "test", trained.cfg.size, trained.cfg.protocol)
    test = test.subset(
        next(reversed(evaluate.test_pictures(test).values()))
    )  # the exact ones, where only some are
    device = torch.device("cpu")
    v, rows = (evaluate.embed(trained.model, trained.cfg, part, device) for part in (test, labelled))
    everyone = torch.arange(len(test))
    right = gallery.neighbours(v, test.label, everyone, 1, rows, labelled.label)[1][:, 0]
    chosen = gallery.choose_queries(right, queries)
    index, good = gallery.neighbours(v, test.label, chosen, k, rows, labelled.label)
    gallery.draw(
        test,
        chosen,
        index,
        good,
        FOLDER / "neighbours.png",
        title=f"CIFAR-10: exact test pictures among {len(labelled):,} training pictures, {preset}",
        note=gallery.caption(right, chosen, 0),
        gallery=labelled,
    )
    print(FOLDER / "neighbours.png")


if __name__ == "__main__":
    config.command(main)
