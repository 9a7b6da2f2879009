"""Table 1 at budget paper, and its null controls on what small machines have at budget mini."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import config
from common.plan import Column, Row, Table
from hyperbolic_embeddings.delta.evaluate import SPLIT
from hyperbolic_embeddings.delta.presets import PRESETS

COLUMNS = (
    Column(metric="delta_rel", label="delta_rel", percent=False),
    Column(metric="delta_rel_bases", label="largest of 4 base points", percent=False),
    Column(metric="null_spectrum", label="Gaussian, same spectrum", percent=False),
    Column(metric="null_isotropic", label="Gaussian, isotropic", percent=False),
    Column(metric="c_eq5", label="c, Eq. (5)", percent=False),
    Column(metric="c_self_consistent", label="c, self-consistent", percent=False),
    Column(metric="points", label="N", percent=False),
)


changes = partial(config.changes, PRESETS)


def row(label: str, preset: str, minutes: float, target: str = "", **fields: Any) -> Row:
    return Row(
        label=label,
        preset=preset,
        overrides=changes(preset, **fields),
        target=target,
        minutes=minutes,
        baseline="delta",
    )


def scale(preset: str, minutes: float) -> tuple[Row, ...]:
    """Spaces without pictures, at the N of the preset."""
    return (
        row("random tree", preset, minutes, network="tree"),
        row("hyperbolic disk, radius 12.2", preset, minutes, network="disk"),
        *(
            row(f"Gaussian cloud in R^{d}", preset, minutes, network="isotropic", dim=d)
            for d in (2, 8, 64, 512)
        ),
        row("sphere in R^512", preset, minutes, network="sphere"),
    )


def mini(name: str, preset: str, title: str, *, first: tuple[Row, ...] = (), note: str = "") -> Table:
    return Table(
        name=name,
        budget="mini",
        title=title,
        dataset=PRESETS[preset][1].data,
        split=SPLIT,
        rows=(
            *first,
            row("pixels", preset, 0.3, network="pixels"),
            row("ResNet34, random weights", preset, 0.6),
        ),
        columns=COLUMNS,
        note=f"500 points; values at another N are not comparable. {note}".strip(),
    )


def paper(preset: str, title: str, *, first: tuple[Row, ...] = (), note: str = "") -> Table:
    data = PRESETS[preset][1].data
    slug = data.replace("_", "-")
    large = {"size": 299} | ({} if PRESETS[preset][1].stored < 224 else {"stored": 299})
    return Table(
        name=preset,
        budget="paper",
        title=title,
        dataset=data,
        split=SPLIT,
        rows=(
            *first,
            row("Inception v3", preset, 3, f"table1/inception-v3-{slug}", network="inception_v3", **large),
            row("ResNet34", preset, 2, f"table1/resnet34-{slug}"),
            row("VGG19", preset, 4, f"table1/vgg19-{slug}", network="vgg19"),
            row("VGG16, the network of the authors' helper", preset, 4, network="vgg16"),
            row("ResNet34, drawn with replacement as released", preset, 2, replacement=True),
            row("ResNet34, random weights", preset, 2, weights="none"),
        ),
        columns=COLUMNS,
        note=f"1,500 points; which split the paper draws from is unknown, ours is train. {note}".strip(),
    )


SCALE = "The rows without pictures hold for the other delta tables of the same N, too."

TABLES: tuple[Table, ...] = (
    mini("delta-mnist", "delta-mnist-mini", "delta_rel and its null controls, MNIST",
         first=scale("delta-mnist-mini", 0.2), note=SCALE),
    mini("delta-omniglot", "delta-omniglot-mini", "delta_rel and its null controls, Omniglot"),
    mini("delta-cifar10", "delta-cifar10-mini", "delta_rel and its null controls, CIFAR-10"),
    mini("delta-cub-100", "delta-cub-100-mini", "delta_rel and its null controls, 100 classes of CUB"),
    paper("delta-cifar10", "Table 1: delta_rel, CIFAR-10", first=scale("delta-cifar10", 2), note=SCALE),
    paper("delta-cifar100", "Table 1: delta_rel, CIFAR-100"),
    paper("delta-cub", "Table 1: delta_rel, CUB-200-2011"),
    paper("delta-mini-imagenet", "Table 1: delta_rel, mini-ImageNet"),
)  # fmt: skip
