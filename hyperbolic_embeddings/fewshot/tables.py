"""Tables 3 and 4 of the paper, their controls, and the same comparison on Omniglot and CUB-100."""

from __future__ import annotations

from functools import partial
from typing import Any

from common import config
from common.plan import Column, Row, Table
from hyperbolic_embeddings.fewshot.presets import GEOMETRIES, PRESETS

OMNIGLOT_COLUMNS = tuple(
    Column(metric=f"{way}way-{shot}shot", label=f"{way}-way {shot}-shot")
    for way in (5, 20)
    for shot in (1, 5)
)
CAPPED = Column(metric="capped", label="capped")
DEFAULT = ("Euclidean, squared", "cosine", "hyperbolic")
"""The rows of the default target, from 300 instead of 1,000 episodes."""
PAPER = (Column(metric="accuracy", label="accuracy"), CAPPED)


changes = partial(config.changes, PRESETS)


def arms(preset: str, minutes: float, labels: tuple[str, ...] = tuple(GEOMETRIES)) -> tuple[Row, ...]:
    """A row for each way of comparing a query with a prototype."""
    return tuple(
        Row(label=label, preset=preset, overrides=changes(preset, **GEOMETRIES[label]), minutes=minutes)
        for label in labels
    )


def baselines(preset: str) -> tuple[Row, ...]:
    return (
        Row(
            label="raw pixels",
            preset=preset,
            overrides={"backbone": "pixels"},
            baseline="pixels",
            minutes=0.3,
        ),
        Row(
            label="untrained network",
            preset=preset,
            overrides=changes(preset, epochs=0, geometry="euclidean-squared"),
            minutes=0.3,
        ),
    )


def published(label: str, preset: str, minutes: float) -> Row:
    return Row(label=label, preset=preset, target=PRESETS[preset][1].target, minutes=minutes)


def control(label: str, preset: str, minutes: float, **fields: Any) -> Row:
    return Row(label=label, preset=preset, overrides=changes(preset, **fields), minutes=minutes)


def controls(network: str, preset: str, minutes: float, flat_minutes: float) -> tuple[Row, ...]:
    """The same preset with one thing changed; the paper has none of these."""
    arms = (
        *GEOMETRIES.items(),
        ("64 channels", {"dim": 64}),
        ("Euclidean, squared, 64 x 5 x 5", {"dim": 64, "pool": "flatten", "geometry": "euclidean-squared"}),
        ("hyperbolic, 64 x 5 x 5", {"dim": 64, "pool": "flatten"}),
    )
    return tuple(
        control(f"{network}: {label}", preset, flat_minutes if fields.get("dim") == 64 else minutes, **fields)
        for label, fields in arms
        if fields
    )


TABLES = (
    Table(
        name="fewshot",
        budget="mini",
        title="Tables 3 and 4 in small: characters of unseen alphabets of Omniglot",
        dataset="omniglot",
        split="test",
        columns=(*OMNIGLOT_COLUMNS, CAPPED),
        rows=(*baselines("omniglot-protonet"), *arms("omniglot-protonet", 6.0)),
        note="One checkpoint of each seed, trained on 1,000 episodes of 30 ways and 1 shot, in all columns.",
    ),
    Table(
        name="fewshot-short",
        budget="mini",
        title="The same from 300 training episodes",
        dataset="omniglot",
        split="test",
        columns=(*OMNIGLOT_COLUMNS, CAPPED),
        rows=arms("omniglot-short", 2.0, DEFAULT),
        default=DEFAULT,
        note="Shorter than the table `fewshot`, for a first look; the claims rest on that table.",
    ),
    Table(
        name="fewshot-cub-100",
        budget="mini",
        title="Table 4 in small: 22 unseen species of CUB-100 at 64 pixels",
        dataset="cub_100",
        split="test",
        columns=(
            *(Column(metric=f"5way-{shot}shot", label=f"5-way {shot}-shot") for shot in (1, 5)),
            CAPPED,
        ),
        rows=(
            *baselines("cub-100-protonet"),
            *arms("cub-100-protonet", 10.0, (*DEFAULT, "Euclidean, -2 |x - y|")),
        ),
        note="Cut to the bird, half of the species: not comparable with CUB-200-2011.",
    ),
    Table(
        name="fewshot-mini-imagenet",
        budget="paper",
        title="Table 3: mini-ImageNet, 5-way",
        dataset="mini_imagenet",
        split="test",
        columns=PAPER,
        rows=(
            *(
                published(f"{network}, {shot}-shot", f"mini-imagenet-{network.lower()}-{shot}shot", minutes)
                for network, minutes in (("Conv4", 40), ("ResNet18", 180), ("ResNet12", 150))
                for shot in (1, 5)
            ),
            *controls("Conv4, 1-shot", "mini-imagenet-conv4-1shot", 40, 20),
        ),
        note="ResNet12 stands in the authors' repository only.",
    ),
    Table(
        name="fewshot-cub",
        budget="paper",
        title="Table 4: CUB-200-2011, 5-way",
        dataset="cub",
        split="test",
        columns=PAPER,
        rows=(
            *(published(f"Conv4, {shot}-shot", f"cub-conv4-{shot}shot", 15) for shot in (1, 5)),
            control("Conv4, 1-shot: cut to the box", "cub-conv4-1shot", 15, crop=True),
            *controls("Conv4, 1-shot", "cub-conv4-1shot", 15, 10),
        ),
        note="The other rows of the paper's table were measured on other splits and are no controls.",
    ),
)
