"""The tables that compare the papers' methods, row by row.

`python -m benchmarks.compare.tables` prints them as JSON for `common.reproduce` and `common.results`.

Equal in all rows of a table: the training pictures, the pictures measured on, the network up to its last map
(common.networks, widths 16, 32, 64, 128), the 128 numbers of an embedding, the augmentation, the input size,
and the number of pictures seen in training (96,000 on Omniglot, 48,000 on CUB-100, a view counting as one;
within 2 %, as batches and epochs are whole). All else is each method's own preset of budget mini: batch,
loss, optimiser, learning rate, schedule, temperature. Nothing was chosen by looking at these tables.

Two settings follow from that: SimCLR draws random batches, since those of its preset are drawn along the tree
of labels; the augmentation of CUB-100 (resized crop of half to all of the area, flip, brightness, contrast
and saturation) is what all four train scripts can do, without their own additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cgd_retrieval.presets import PRESETS as CGD
from common import config
from common.plan import Column, Plan, Row, Table
from hierarchical_multilabel.presets import PRESETS as HIERARCHICAL
from hyperbolic_embeddings.presets import PRESETS as HYPERBOLIC
from instance_discrimination.presets import PRESETS as INSTANCE

PAPER = "benchmarks.compare"
PAPERS: dict[str, Mapping[str, tuple[str, Any]]] = {
    "cgd_retrieval": CGD,
    "hierarchical_multilabel": HIERARCHICAL,
    "hyperbolic_embeddings": HYPERBOLIC,
    "instance_discrimination": INSTANCE,
}
"""Folder -> its presets."""

WIDTHS = (16, 32, 64, 128)
HIMULCONE: dict[str, dict[str, Any]] = {
    "SimCLR": {"method": "simclr", "sampler": "random"},
    "SupCon": {"method": "supcon"},
    "HiMulConE, as printed": {},
    "HiMulConE, as released": {"form": "released"},
}
"""Overrides of the rows of hierarchical_multilabel; SupCon by the finest level."""
EUCLIDEAN = {"geometry": "euclidean-squared"}

# What makes the rows of one data set equal, in each paper's own fields.
OMNIGLOT: dict[str, dict[str, Any]] = {
    "hierarchical_multilabel": {"widths": WIDTHS, "set_aside": False},  # 500 steps of 96 pictures, two views
    "cgd_retrieval": {"widths": WIDTHS, "dim": 128, "steps": 750},  # of 128 pictures
    "hyperbolic_embeddings": {  # 533 episodes of 30 ways, 1 support picture and 5 queries: 95,940 pictures
        "backbone": "small", "widths": WIDTHS, "channels": 3, "size": 32, "stored": 32, "resize": 32,
        "epochs": 13, "epoch_episodes": 41,
    },
    "instance_discrimination": {},  # 5 passes over 19,280 pictures: 96,400
}  # fmt: skip
CUB_100: dict[str, dict[str, Any]] = {
    "hierarchical_multilabel": {  # 250 steps of 96 pictures, two views
        "widths": WIDTHS, "set_aside": False, "stored": 64, "colour_share": 1.0, "steps": 250,
    },
    "cgd_retrieval": {  # of 128 pictures; stride none: the map is 8 x 8, as the others'
        "widths": WIDTHS, "stride": "none", "dim": 128, "enlarged": 64, "crop_area": (0.5, 1.0),
        "colour": 0.4, "steps": 375,
    },
    "hyperbolic_embeddings": {  # 400 episodes of 20 ways, 1 support picture and 5 queries
        "backbone": "small", "widths": WIDTHS, "pools": 3, "stored": 64, "crop_area": (0.5, 1.0), "epochs": 8,
        "protocol": "retrieval", "selection": "last",
    },
    "instance_discrimination": {},  # 16 passes over 2,949 pictures: 47,184
}  # fmt: skip

MINUTES = {"omniglot": 2.5, "cub_100": 2.5}
"""Of one core for one seed of a row, training and measuring."""
SHARED = (
    Column(metric="recall@1", label="R@1"),
    Column(metric="map@r", label="MAP@R"),
)
REST = (
    Column(metric="5way-1shot", label="1-shot"),
    Column(metric="delta_rel", label="δ_rel", percent=False),
    Column(metric="seconds", label="s", percent=False),
    Column(metric="peak_memory", label="MB", percent=False),
)
NOTE = (
    "R@1 and MAP@R at the finest level; NN: vote of the 20 nearest, above the finest level without pictures "
    "of the query's own next finer node; NMI with k-means; 1-shot: 10,000 episodes of 5 ways, nearest "
    "support picture; δ_rel: 2 δ / diameter of 1,500 pictures; s, MB: seconds and peak memory of training, · "
    "where nothing is trained. Distances are Euclidean, in the ball for the hyperbolic row, whose k-means "
    "runs on tangent vectors at the origin. Nothing was tuned for this table, least of all on test data: "
    "batch, optimiser, learning rate and temperature are those of each method's own preset of budget mini, "
    "chosen for other lengths and networks."
)


def row(label: str, dataset: str, paper: str, preset: str, baseline: str = "", **fields: Any) -> Row:
    return Row(
        label=label,
        preset=f"{paper}/{preset}",
        overrides=config.changes(PAPERS[paper], preset, **fields),
        baseline=baseline,
        minutes=MINUTES[dataset] if not baseline and fields.get("epochs") != 0 else 0.5,
    )


def rows(dataset: str, preset: str, protonet: str, equal: dict[str, dict[str, Any]]) -> tuple[Row, ...]:
    """The rows of one data set. preset: its name in three of the papers; protonet: in the fourth."""

    def of(label: str, paper: str, **fields: Any) -> Row:
        return row(
            label, dataset, paper, protonet if paper == "hyperbolic_embeddings" else preset,
            **{**equal[paper], **fields},
        )  # fmt: skip

    himulcone = {label: of(label, "hierarchical_multilabel", **fields) for label, fields in HIMULCONE.items()}
    return (
        row("raw pixels", dataset, "cgd_retrieval", preset, baseline="pixels", backbone="pixels"),
        of("untrained network", "hyperbolic_embeddings", **EUCLIDEAN, epochs=0),
        himulcone["SimCLR"],
        of("instance discrimination", "instance_discrimination"),
        *(himulcone[label] for label in HIMULCONE if label != "SimCLR"),
        of("CGD (SM)", "cgd_retrieval"),
        of("ProtoNet, hyperbolic", "hyperbolic_embeddings"),
        of("ProtoNet, Euclidean", "hyperbolic_embeddings", **EUCLIDEAN),
    )


def levels(*names: str) -> tuple[Column, ...]:
    """kNN, then NMI, of each level, fine to coarse."""
    return tuple(
        Column(metric=f"{name}/{metric}", label=f"{label} {name}")
        for metric, label in (("knn", "NN"), ("nmi", "NMI"))
        for name in names
    )


def tables() -> tuple[Table, ...]:
    return (
        Table(
            name="omniglot",
            budget="mini",
            title="Every method on Omniglot: 13,180 drawings of alphabets that training never saw",
            dataset="omniglot",
            split="test",
            rows=rows("omniglot", "omniglot", "omniglot-protonet", OMNIGLOT),
            columns=(*SHARED, *levels("character", "alphabet"), *REST),
            note=NOTE,
        ),
        Table(
            name="cub-100",
            budget="mini",
            title="Every method on CUB-100: 2,953 photographs of 50 species that training never saw",
            dataset="cub_100",
            split="test",
            rows=rows("cub_100", "cub-100", "cub-100-protonet", CUB_100),
            columns=(*SHARED, *levels("species", "family", "order"), *REST),
            note=NOTE,
        ),
    )


def plan() -> Plan:
    used = {each.preset for table in tables() for each in table.rows}
    return Plan(
        paper=PAPER,
        title="One comparison that no paper has",
        tables=tables(),
        presets={
            f"{paper}/{name}": asdict(cfg)
            for paper, presets in PAPERS.items()
            for name, (_, cfg) in presets.items()
            if f"{paper}/{name}" in used
        },
    )


if __name__ == "__main__":
    print(plan().to_json())
