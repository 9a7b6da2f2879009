"""Draw the figures of reproduce.md: `python -m hierarchical_multilabel.figures`.

losses.png          from results/runs: recall@1 of unseen characters, mean, 95 % interval, each seed a dot
alphabets.png       from results/runs: 20-nearest-neighbour accuracy of unseen alphabets, likewise
batch.png           from results/runs: recall@1 over the pictures per batch
levels.png          from logs of finished runs: level losses and how often the constraint is active
embedding.png       from checkpoints: t-SNE of unseen drawings, coloured by alphabet and by character
similarity.png      from checkpoints: cosines of unseen drawings, sorted by the tree

What is not there (rows not run, checkpoints of another computer) is left out, with a sentence that says so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from torch import Tensor

from common import config, data, plots, results
from common.data.dataset import Dataset
from common.files import write_atomically
from common.results.rows import only
from common.run import run_folder
from hierarchical_multilabel import splits
from hierarchical_multilabel.evaluate import describe, load_model
from hierarchical_multilabel.presets import OMNIGLOT
from hierarchical_multilabel.tables import BATCHES, METHODS, changes

FOLDER = Path("results/figures/hierarchical_multilabel")
SHOWN = ("SupCon, characters", "HiMulConE", "HiMulConE, as released")
"""Runs whose embeddings and curves are drawn."""
ALPHABETS, CHARACTERS, DRAWINGS = 6, 8, 10
"""How much of the unseen tree is drawn: the first of each, by name."""


def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"{' '.join(argv)}: this command takes no argument; leave it out")
    runs = results.newest(results.load_runs("hierarchical_multilabel"))
    runs = only(runs, dataset="omniglot", split="test", preset="omniglot")
    losses(runs)
    batch(runs)
    levels()
    embeddings()


def values(runs: pd.DataFrame, metric: str, label: str, **changed: object) -> list[float]:
    """The figure of every seed of one row of the Omniglot tables."""
    overrides = changes("omniglot", **(METHODS[label] | changed))
    kept = only(runs, metric=metric, overrides=results.canonical(overrides))
    return kept.sort_values("seed")["value"].tolist()


def losses(runs: pd.DataFrame) -> None:
    """losses.png and alphabets.png."""
    for metric, words, name in (
        ("unseen/character/recall@1", "recall@1 of unseen characters", "losses.png"),
        ("unseen/alphabet/knn@20", "20-NN accuracy of unseen alphabets", "alphabets.png"),
    ):
        found = {label: values(runs, metric, label) for label in METHODS}
        found = {label: v for label, v in found.items() if v}
        if not found:
            print(f"{name}: no rows of the table losses yet; run make reproduce-hierarchical TABLE=losses")
            continue
        plots.bars(
            list(found),
            [sum(v) / len(v) for v in found.values()],
            [plots.student_half_width(v) if len(v) > 1 else math.nan for v in found.values()],
            FOLDER / name,
            words,
            points=list(found.values()),
            groups=["hierarchical" if label.startswith("Hi") else "flat" for label in found],
            percent=True,
        )
        print(FOLDER / name)


def batch(runs: pd.DataFrame) -> None:
    """batch.png."""
    pictures = OMNIGLOT.steps * OMNIGLOT.batch
    series: dict[str, tuple[list[float], list[float] | None]] = {}
    for label in ("SupCon, characters", "HiMulConE"):
        of = [
            values(runs, "unseen/character/recall@1", label, batch=size, steps=pictures // size)
            for size in BATCHES
        ]
        if all(of):
            series[label] = (
                [sum(v) / len(v) for v in of],
                [plots.student_half_width(v) if len(v) > 1 else 0.0 for v in of],
            )
    if not series:
        print("batch.png: no rows of the table batch yet; run make reproduce-hierarchical TABLE=batch")
        return
    plots.lines(
        BATCHES,
        series,
        FOLDER / "batch.png",
        "pictures per batch (equal numbers of pictures in all)",
        "recall@1 of unseen characters",
        percent=True,
        log_x=True,
    )
    print(FOLDER / "batch.png")


def folder_of(label: str) -> Path:
    """Run folder of the first seed of one row of the Omniglot tables."""
    return run_folder("hierarchical_multilabel", "omniglot", changes("omniglot", **METHODS[label]), 0)


def levels() -> None:
    """Left: level losses over training; right: share of steps and of terms in which the constraint acts."""
    logs = {
        label: plots.read_log(folder_of(label) / "log.jsonl")
        for label in SHOWN[1:]
        if (folder_of(label) / "log.jsonl").exists()
    }
    logs = {label: log for label, log in logs.items() if "active_terms" in log}
    if not logs:
        print("levels.png: no finished runs of HiMulConE here; run make reproduce-hierarchical")
        return
    figure, axes = panels(2, 4.4, 3.4)
    for n, (label, log) in enumerate(logs.items()):
        own = [name for name in log.columns if name.startswith("level_") and name.endswith("_loss")]
        for dash, name in zip(plots.DASHES, own):
            axes[0].plot(
                log["step"], log[name], color=plots.PALETTE[n], linestyle=dash,
                label=f"{label}: {name.replace('_', ' ')}",
            )  # fmt: skip
        for dash, name in zip(plots.DASHES, ("active_steps", "active_terms")):
            axes[1].plot(
                log["step"], log[name], color=plots.PALETTE[n], linestyle=dash,
                label=f"{label}: {name.replace('_', ' ')}",
            )  # fmt: skip
    axes[0].set(xlabel="step", ylabel="level loss, level 1 the finest")
    axes[1].set(xlabel="step", ylabel="share raised by the constraint", ylim=(-0.03, 1.03))
    for one in axes:
        one.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
    save(figure, FOLDER / "levels.png")


def embeddings() -> None:
    """embedding.png and similarity.png, a column for each checkpoint that is here."""
    there = {label: folder_of(label) / "last.pt" for label in SHOWN}
    there = {label: path for label, path in there.items() if path.exists()}
    if not there or data.resolve("omniglot") != "omniglot":
        print("embedding.png, similarity.png: no Omniglot checkpoints here; run make reproduce-hierarchical")
        return
    found: dict[str, Tensor] = {}
    chosen: Dataset | None = None
    for label, path in there.items():
        encoder, cfg, _ = load_model(path)
        if chosen is None:
            unseen = splits.load(cfg.data, size=cfg.size).unseen
            assert unseen is not None
            chosen = unseen.subset(some(unseen), relabel=True)
        found[label] = describe(encoder, cfg, chosen, torch.device("cpu"))[1]
    assert chosen is not None
    maps(found, chosen)
    matrices(found, chosen)


def some(dataset: Dataset) -> Tensor:
    """Rows of the first alphabets, characters and drawings, in the order of the tree."""
    rows: list[int] = []
    for alphabet in dataset.labels[:, 0].unique()[:ALPHABETS]:
        for character in dataset.labels[dataset.labels[:, 0] == alphabet, 1].unique()[:CHARACTERS]:
            rows += (dataset.labels[:, 1] == character).nonzero()[:DRAWINGS, 0].tolist()
    return torch.tensor(rows)


def maps(found: dict[str, Tensor], chosen: Dataset) -> None:
    figure, axes = panels(2 * len(found), 3.6, 3.6, columns=len(found))
    for n, (label, rows) in enumerate(found.items()):
        place = TSNE(init="pca", perplexity=30, random_state=0).fit_transform(rows.numpy())
        for line, level in enumerate(chosen.levels):
            ids = chosen.labels[:, line]
            colours = matplotlib.colormaps["tab20" if line else "tab10"](ids.numpy() % (20 if line else 10))
            one = axes[line * len(found) + n]
            one.scatter(place[:, 0], place[:, 1], s=7, c=colours, linewidths=0)
            one.set(title=f"{label}: by {level}", xticks=[], yticks=[])
            one.grid(False)
    save(figure, FOLDER / "embedding.png")


def matrices(found: dict[str, Tensor], chosen: Dataset) -> None:
    figure, axes = panels(len(found), 3.9, 3.6)
    edges = chosen.labels[:, 0].diff().nonzero()[:, 0] + 0.5
    for one, (label, rows) in zip(axes, found.items()):
        image = one.imshow((rows @ rows.T).numpy(), cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        one.hlines(edges, 0, len(rows) - 1, color="white", linewidth=0.5)
        one.vlines(edges, 0, len(rows) - 1, color="white", linewidth=0.5)
        one.set(title=label, xticks=[], yticks=[], xlabel="drawings, by alphabet and character")
        one.grid(False)
        figure.colorbar(image, ax=one, shrink=0.8, label="cosine")
    save(figure, FOLDER / "similarity.png")


def panels(count: int, width: float, height: float, columns: int | None = None) -> tuple[Figure, Sequence]:
    """A figure with `count` axes in rows of `columns`, in the style of common.plots."""
    columns = columns or count
    lines = -(-count // columns)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(width * columns, height * lines))
        axes = figure.subplots(lines, columns, squeeze=False)
    return figure, axes.ravel().tolist()


def save(figure: Figure, path: Path) -> None:
    """A PNG without dates: the same picture gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(plots.STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    print(path)


if __name__ == "__main__":
    config.command(main)
