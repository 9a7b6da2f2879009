"""Draw the figures of reproduce.md from results/runs: `python -m cgd_retrieval.figures`.

combinations.png   the figure of twelve combinations, on our rows: mean, 95 % interval, each seed a dot
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from cgd_retrieval.presets import CONFIGS, OMNIGLOT
from common import config, plots, results
from common.results.rows import only

FOLDER = Path("results/figures/cgd_retrieval")


def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"{' '.join(argv)}: this command takes no argument; leave it out")
    runs = results.newest(results.load_runs("cgd_retrieval"))
    runs = only(runs, dataset="omniglot", split="test", metric="recall@1", preset="omniglot")
    FOLDER.mkdir(parents=True, exist_ok=True)
    combinations(runs)


def values(runs: pd.DataFrame, **changed: object) -> list[float]:
    """recall@1 of every seed of one row of the Omniglot tables."""
    base = {"config": OMNIGLOT.config, "dim": OMNIGLOT.dim}
    overrides = {k: v for k, v in changed.items() if base.get(k) != v}
    return only(runs, overrides=results.canonical(overrides)).sort_values("seed")["value"].tolist()


def combinations(runs: pd.DataFrame) -> None:
    found = {c: values(runs, config=c) for c in CONFIGS}
    found = {c: v for c, v in found.items() if v}
    if not found:
        print("no rows of the twelve combinations yet; run make reproduce-cgd TABLE=combinations")
        return
    path = FOLDER / "combinations.png"
    plots.bars(
        list(found),
        [sum(v) / len(v) for v in found.values()],
        [plots.student_half_width(v) if len(v) > 1 else math.nan for v in found.values()],
        path,
        "recall@1",
        points=list(found.values()),
        groups=[
            ("one", "two", "three")[len(c) - 1] + " descriptors"[: None if len(c) > 1 else -1] for c in found
        ],
        percent=True,
    )
    print(path)


if __name__ == "__main__":
    config.command(main)
