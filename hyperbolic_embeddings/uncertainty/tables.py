"""The tables of the uncertainty experiment, row by row (Table 2 and what it does not control for)."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import config
from common.plan import Column, Row, Table
from hyperbolic_embeddings.uncertainty.presets import PRESETS

DIMS = (2, 8, 16, 20)
"""n of Table 2."""
MINUTES = 4.5
"""Of one CPU core for the published training of one seed, at any n."""
SHORT_MINUTES = 1.1

ACCURACY = (
    Column(metric="accuracy", label="accuracy"),
    Column(metric="accuracy_last3", label="last 3 epochs"),
)
SCORES = {"distance": "d(0, z)", "norm": "|u|", "p_max": "p_max", "energy": "energy"}
KS = tuple(Column(metric=f"ks_{name}", label=f"KS {label}") for name, label in SCORES.items())
AUROC = tuple(Column(metric=f"auroc_{name}", label=f"AUROC {label}") for name, label in SCORES.items())
ERRORS = tuple(
    Column(metric=f"errors_auroc_{name}", label=f"errors {label}") for name, label in SCORES.items()
)
CAPPED = (
    Column(metric="capped_inside", label="MNIST at the cap"),
    Column(metric="capped_outside", label="Omniglot at the cap"),
)
CORES = "Minutes are of one CPU core; a GPU is not needed."
UNIT = "KS and AUROC between MNIST test pictures and all of Omniglot, from 0 to 100."


changes = partial(config.changes, PRESETS)


def row(label: str, preset: str = "mnist-hyperbolic", target: str = "", **fields: Any) -> Row:
    minutes = SHORT_MINUTES if preset.endswith("-short") else MINUTES
    return Row(
        label=label, preset=preset, overrides=changes(preset, **fields), target=target, minutes=minutes
    )


def main_rows(targets: bool) -> tuple[Row, ...]:
    """Both networks at every n of Table 2."""
    return tuple(
        row(f"{label}, n = {n}", preset, f"table2/{score}-{n}" if targets else "", dim=n)
        for n in DIMS
        for label, preset, score in (
            ("hyperbolic", "mnist-hyperbolic", "distance"),
            ("Euclidean", "mnist-euclidean", "p-max"),
        )
    )


def paper(
    name: str,
    title: str,
    rows: tuple[Row, ...],
    columns: tuple[Column, ...],
    note: str,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Table:
    """A table of the published training."""
    return Table(
        name=name,
        budget="paper",
        title=title,
        dataset="mnist",
        split="test",
        rows=rows,
        columns=columns,
        seeds=seeds,
        note=f"{note} {CORES}".strip(),
    )


SWEEP = (*ACCURACY, *KS, *CAPPED)

TABLES: tuple[Table, ...] = (
    Table(
        name="uncertainty-short",
        budget="mini",
        title="MNIST against Omniglot, two epochs instead of ten",
        dataset="mnist",
        split="test",
        rows=(
            row("hyperbolic, n = 2", "mnist-hyperbolic-short"),
            row("Euclidean, n = 2", "mnist-euclidean-short"),
        ),
        columns=SWEEP,
        default=("hyperbolic, n = 2", "Euclidean, n = 2"),
        note=f"{UNIT} Shorter than published: the table `uncertainty` has the published training.",
    ),
    Table(
        name="ambiguity",
        budget="mini",
        title="Generated drawings of known ambiguity: does the score follow it?",
        dataset="embedded",
        split="test",
        rows=tuple(
            row(f"{label}, n = {n}", preset, data="embedded", dim=n)
            for n in (2, 16)
            for label, preset in (
                ("hyperbolic", "mnist-hyperbolic-short"),
                ("Euclidean", "mnist-euclidean-short"),
            )
        ),
        columns=(
            ACCURACY[0],
            *(
                Column(metric=f"ambiguity_{name}", label=label, percent=False)
                for name, label in SCORES.items()
            ),
        ),
        note="Spearman's rank correlation between the ambiguity and the lack of certainty of a drawing.",
    ),
    paper(
        "uncertainty",
        "Table 2: Kolmogorov-Smirnov distance between MNIST and Omniglot",
        main_rows(targets=True),
        (*ACCURACY, *KS),
        f"{UNIT} c = 0.05. |u| is the feature norm before the head: of the hyperbolic network, what d(0, z) "
        "would be without the projection.",
        seeds=(0, 1, 2, 3, 4),
    ),
    paper(
        "uncertainty-auroc",
        "The same networks by AUROC, on misclassified digits, and at the projection cap",
        main_rows(targets=False),
        (*AUROC, *ERRORS, *CAPPED),
        "Errors: AUROC between MNIST test pictures that are classified rightly and wrongly. At the cap: "
        "share of pictures whose d(0, z) is the largest that the projection allows, 34.0.",
        seeds=(0, 1, 2, 3, 4),
    ),
    paper(
        "uncertainty-c",
        "Curvature, n = 2",
        tuple(row(f"c = {c:g}", c=c) for c in (1.0, 0.05, 0.01)),
        SWEEP,
        "c = 1, the default of the authors' script, does not train with the gradient correction on.",
    ),
    paper(
        "uncertainty-correction",
        "Gradient correction, n = 2",
        (
            row("c = 0.05, on"),
            row("c = 0.05, off", correction=False),
            row("c = 1, on", c=1.0),
            row("c = 1, off", c=1.0, correction=False),
        ),
        SWEEP,
        "",
    ),
    paper(
        "uncertainty-clip",
        "Clipped features (Guo et al., arXiv:2107.11472), n = 2",
        tuple(
            row(f"c = {c:g}, {f'clip {clip:g}' if clip else 'no clip'}", c=c, clip=clip)
            for c in (0.05, 1.0)
            for clip in (0.0, 2.3, 1.0)
        ),
        SWEEP,
        "At the cap: share of pictures whose features are clipped or projected.",
    ),
    paper(
        "uncertainty-mode",
        "Constants of the authors' code against exact forms, n = 2",
        (row("released"), row("exact", mode="exact")),
        SWEEP,
        "",
    ),
)
