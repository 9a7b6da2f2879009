"""Draw the figures of reproduce.md: `python -m hyperbolic_embeddings.figures`.

From results/runs and from finished run folders below runs/; what is missing is said in one line each.

    uncertainty-*.png    see uncertainty/figures.py
    fewshot.png          20-way 1-shot accuracy of every head: mean, 95 % interval, each seed a dot
    fewshot-disk.png     embeddings of unseen characters in the disk, by tangent PCA (the paper's Figure 6)
    delta.png            delta_rel of pictures, features and clouds without any hierarchy
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from common import config, data, plots, results, run
from common.results.rows import only
from hyperbolic_embeddings import projection
from hyperbolic_embeddings.delta.evaluate import SPLIT
from hyperbolic_embeddings.delta.tables import TABLES as DELTA
from hyperbolic_embeddings.fewshot import evaluate as fewshot
from hyperbolic_embeddings.fewshot.tables import TABLES as FEWSHOT
from hyperbolic_embeddings.uncertainty import figures as uncertainty

PAPER = "hyperbolic_embeddings"
FOLDER = Path("results/figures") / PAPER

CHARACTERS = 10
"""Classes in fewshot-disk.png."""


def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"{' '.join(argv)}: this command takes no argument; leave it out")
    FOLDER.mkdir(parents=True, exist_ok=True)
    uncertainty.draw(FOLDER)
    heads()
    fewshot_disk()
    relative_deltas()


def heads() -> None:
    """Every row of the table `fewshot` that is trained."""
    (table,) = (t for t in FEWSHOT if t.name == "fewshot")
    runs = only(
        results.newest(results.load_runs(PAPER)), dataset="omniglot", split="test", metric="20way-1shot"
    )
    found = {
        row.label: only(runs, preset=row.preset, overrides=results.canonical(row.overrides))["value"].tolist()
        for row in table.rows
        if row.train and row.overrides.get("epochs") != 0
    }
    found = {label: values for label, values in found.items() if values}
    if not found:
        print("no rows of the few-shot heads yet; run make reproduce-hyperbolic TABLE=fewshot")
        return
    path = FOLDER / "fewshot.png"
    plots.bars(
        list(found),
        [sum(v) / len(v) for v in found.values()],
        [plots.student_half_width(v) if len(v) > 1 else math.nan for v in found.values()],
        path,
        "20-way 1-shot accuracy",
        points=list(found.values()),
        groups=[label.split(",")[0] for label in found],
        percent=True,
    )
    print(path)


def fewshot_disk() -> None:
    """CHARACTERS test classes, spread over the test set, in the ball's tangent plane at their mean."""
    checkpoint = run.to_draw(
        PAPER,
        lambda cfg: (
            cfg.get("geometry") == "hyperbolic"
            and cfg["data"] in ("omniglot", "embedded")
            and cfg["epochs"] > 0
        ),
    )
    if checkpoint is None:
        print("no finished hyperbolic few-shot run; run make reproduce-hyperbolic")
        return
    try:
        cfg, x, pictures = fewshot.embedded(checkpoint)
    except data.DataMissing:
        print(f"{checkpoint.parent}: its data are not here, so its picture stays as it is")
        return
    kinds = torch.linspace(0, pictures.classes - 1, CHARACTERS).long()
    own = torch.isin(pictures.label, kinds)
    y, kept = projection.tangent_pca(x[own], cfg.c)
    names = [pictures.names[-1][i] for i in pictures.label[own].tolist()]
    path = FOLDER / "fewshot-disk.png"
    title = f"{CHARACTERS} unseen characters, {kept:.0%} kept"
    plots.poincare_disk(y.numpy(), names, path, cfg.c, title=title)
    print(path)


def relative_deltas() -> None:
    """Every row of the mini delta tables, pictures and features beside a Gaussian cloud of their spectrum."""
    runs = results.newest(results.load_runs(PAPER))
    labels, values, groups = [], [], []
    for table in DELTA:
        if table.budget != "mini":
            continue
        for row in table.rows:
            own = only(
                runs, preset=row.preset, overrides=results.canonical(row.overrides), split=SPLIT,
                dataset=table.dataset,
            )  # fmt: skip
            where = table.dataset if row.label.startswith(("pixels", "ResNet")) else "no pictures"
            name = row.label.replace("ResNet34, random weights", "untrained").replace("cloud ", "")
            for metric, label in (("delta_rel", name), ("null_spectrum", "its Gaussian")):
                found = only(own, metric=metric)["value"].tolist()
                if found:
                    labels.append(label.replace("hyperbolic disk, radius 12.2", "disk"))
                    values.append(found)
                    groups.append(where)
    if not labels:
        print("no rows of the delta tables yet; run make reproduce-hyperbolic TABLE=delta-mnist")
        return
    path = FOLDER / "delta.png"
    plots.bars(
        labels,
        [sum(v) / len(v) for v in values],
        [plots.student_half_width(v) if len(v) > 1 else math.nan for v in values],
        path,
        "delta_rel of 500 points",
        points=values,
        groups=groups,
    )
    print(path)


if __name__ == "__main__":
    config.command(main)
