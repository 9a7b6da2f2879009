"""Draw the figures of reproduce.md: `python -m hierarchical_multilabel.figures`.

losses.png          from results/runs: recall@1 of unseen characters, mean, 95 % interval, each seed a dot
alphabets.png       from results/runs: 20-nearest-neighbour accuracy of unseen alphabets, likewise
birds.png           from results/runs: recall@1 of unseen species of CUB-100, likewise
batch.png           from results/runs: recall@1 over the pictures per batch
levels.png          from logs of finished runs: level losses and how often the constraint is active
embedding.png       from checkpoints: t-SNE of unseen drawings, coloured by alphabet and by character
similarity.png      from checkpoints: cosines of unseen drawings, sorted by the tree

What is not there (rows not run, checkpoints of another computer) is left out, with a sentence that says so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE
from torch import Tensor

from common import config, data, plots, results
from common.data.dataset import Dataset
from common.files import write_atomically
from common.results.rows import only
from common.run import run_folder
from hierarchical_multilabel import splits
from hierarchical_multilabel.claims import PRESET_OF
from hierarchical_multilabel.evaluate import describe, load_model
from hierarchical_multilabel.presets import OMNIGLOT
from hierarchical_multilabel.tables import BATCHES, METHODS, changes

FOLDER = Path("results/figures/hierarchical_multilabel")
SHOWN = ("SupCon, characters", "HiMulConE", "HiMulConE, as released")
"""Runs whose embeddings and curves are drawn."""
ALPHABETS, CHARACTERS, DRAWINGS = 6, 8, 10
"""How much of the unseen tree is drawn: the first of each, by name."""
MARKS = ("o", "^", "s", "D", "v", "P")
"""One for each alphabet that is drawn."""


def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"{' '.join(argv)}: this command takes no argument; leave it out")
    runs = only(results.newest(results.load_runs("hierarchical_multilabel")), split="test")
    losses(runs)
    batch(runs)
    levels()
    embeddings()


def values(
    runs: pd.DataFrame, metric: str, label: str, dataset: str = "omniglot", **changed: object
) -> list[float]:
    """The figure of every seed of one row of the mini tables of a data set."""
    preset = PRESET_OF[dataset]
    overrides = changes(preset, **(METHODS[label] | changed))
    return of_row(runs, metric, dataset, overrides)


def of_row(runs: pd.DataFrame, metric: str, dataset: str, overrides: dict[str, Any]) -> list[float]:
    kept = only(runs, metric=metric, dataset=dataset, preset=PRESET_OF[dataset])
    return only(kept, overrides=results.canonical(overrides)).sort_values("seed")["value"].tolist()


def losses(runs: pd.DataFrame) -> None:
    """losses.png, alphabets.png and birds.png; the dashed line is what raw pixels reach."""
    for dataset, metric, words, name in (
        ("omniglot", "unseen/character/recall@1", "recall@1, unseen characters", "losses.png"),
        ("omniglot", "unseen/alphabet/knn@20", "20-NN accuracy, unseen alphabets", "alphabets.png"),
        ("cub_100", "unseen/species/recall@1", "recall@1, unseen species", "birds.png"),
    ):
        found = {label: values(runs, metric, label, dataset) for label in METHODS}
        found = {label: v for label, v in found.items() if v}
        if not found:
            table = "losses" if dataset == "omniglot" else "cub-100"
            print(f"{name}: no rows of the table {table} yet; run make reproduce-hierarchical TABLE={table}")
            continue
        pixels = of_row(runs, metric, dataset, {"backbone": "pixels"})
        plots.bars(
            [label if dataset == "omniglot" else label.replace("characters", "species") for label in found],
            [sum(v) / len(v) for v in found.values()],
            [plots.student_half_width(v) if len(v) > 1 else math.nan for v in found.values()],
            FOLDER / name,
            f"{words}\n(mean, 95 % interval, seeds)",
            baseline=sum(pixels) / len(pixels) if pixels else None,
            points=list(found.values()),
            baseline_label="raw pixels",
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
        "recall@1, unseen characters\n(mean, 95 % interval)",
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
    with panels(FOLDER / "levels.png", 2, 4.4, 3.6) as (_, (left, right)):
        for n, (label, log) in enumerate(logs.items()):
            colour = plots.PALETTE[n]
            own = [name for name in log.columns if name.startswith("level_") and name.endswith("_loss")]
            for dash, name in zip(plots.DASHES, own):
                words = f"{label}: level {name.split('_')[1]}"
                left.plot(log["step"], log[name], linestyle=dash, color=colour, label=words)
            shares = {"active_steps": "steps", "active_terms": "terms"}
            if log["active_steps"].equals(log["active_terms"]):  # one term per step: one line
                shares = {"active_steps": "steps and terms"}
            for dash, (name, words) in zip(plots.DASHES, shares.items()):
                words = f"{label}: {words}"
                right.plot(log["step"], 100 * log[name], linestyle=dash, color=colour, label=words)
        left.set(ylabel="level loss, mean of an epoch (nats)", title="Level losses, 1 the finest")
        right.set(ylabel="% raised by the constraint", ylim=(-3, 103), title="Activity of the constraint")
        for one in (left, right):
            one.set(xlabel="step")
            one.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))


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
    """Above, a colour for each alphabet; below, a colour for each character of an alphabet and a mark for the
    alphabet, so that no two characters look alike."""
    alphabet = chosen.labels[:, 0]
    first = torch.stack([chosen.labels[alphabet == a, 1].min() for a in alphabet.unique()])
    character = chosen.labels[:, 1] - first[alphabet]  # (N,) 0, 1, .. in its alphabet
    colours = (*plots.PALETTE, plots.MORE[0])
    with panels(FOLDER / "embedding.png", 2 * len(found), 3.4, 3.4, columns=len(found)) as (figure, axes):
        for n, (label, rows) in enumerate(found.items()):
            place = TSNE(init="pca", perplexity=30, random_state=0).fit_transform(rows.numpy())
            above, below = axes[n], axes[len(found) + n]
            for a in range(len(first)):
                of = alphabet == a
                above.scatter(*place[of].T, s=8, color=colours[a], linewidths=0)
                for c in character[of].unique().tolist():
                    own = of & (character == c)
                    below.scatter(*place[own].T, s=10, color=colours[c], marker=MARKS[a], linewidths=0)
            above.set_title(f"{label}: alphabets", fontsize=9)
            below.set_title(f"{label}: characters", fontsize=9)
        for one in axes:
            one.set(xticks=[], yticks=[])
            one.grid(False)
        entries = [
            Line2D([], [], color=colours[a], marker=mark, linestyle="", markersize=5, label=name)
            for a, (mark, name) in enumerate(zip(MARKS, chosen.names[0]))
        ]
        figure.legend(
            handles=entries, loc="outside lower center", ncols=3, title_fontsize=8.5,
            title="alphabet: colour above, mark below; below, a colour for each character of an alphabet",
        )  # fmt: skip


def matrices(found: dict[str, Tensor], chosen: Dataset) -> None:
    cosines = {label: (rows @ rows.T).numpy() for label, rows in found.items()}
    least = min(float(matrix.min()) for matrix in cosines.values())
    bounds = torch.cat([torch.tensor([0]), chosen.labels[:, 0].diff().nonzero()[:, 0] + 1])
    ends = torch.cat([bounds[1:], torch.tensor([len(chosen)])])
    middles = ((bounds + ends - 1) / 2).tolist()
    with panels(FOLDER / "similarity.png", len(found), 3.7, 3.4) as (figure, axes):
        for n, (one, (label, matrix)) in enumerate(zip(axes, cosines.items())):
            image = one.imshow(matrix, cmap="magma", vmin=least, vmax=1, interpolation="nearest")
            edges = bounds[1:].numpy() - 0.5
            one.hlines(edges, -0.5, len(matrix) - 0.5, color="white", linewidth=0.5)
            one.vlines(edges, -0.5, len(matrix) - 0.5, color="white", linewidth=0.5)
            one.set(title=label, xticks=[], xlabel="drawings, by alphabet and character")
            one.set_yticks(middles, chosen.names[0] if n == 0 else [""] * len(middles))
            one.tick_params("y", length=0, labelsize=7.5)
            one.grid(False)
        figure.colorbar(image, ax=axes, shrink=0.8, label="cosine of two drawings")


@contextmanager
def panels(
    path: Path, count: int, width: float, height: float, columns: int | None = None
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure with `count` axes in rows of `columns`, in the style of common.plots; written at the end."""
    columns = columns or count
    lines = -(-count // columns)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc changes nothing
        matplotlib.rcParams.update(plots.STYLE)
        figure = Figure(figsize=(width * columns, height * lines))
        yield figure, figure.subplots(lines, columns, squeeze=False).ravel().tolist()
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """A PNG without dates: the same picture gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    print(path)


if __name__ == "__main__":
    config.command(main)
