"""What the encoder is trained on, and what it is measured on: seen and unseen categories.

    part      pictures
    train     what the encoder sees, and what the probe on seen categories is fitted on
    seen      other pictures of the categories in train
    unseen    pictures of categories that are in no picture of train; None where there are none
    gallery   what pictures of `seen` search, where the data set has one (In-shop); else each other

The paper holds categories out but its lists are not known (note O4). Ours are the files in lists/, drawn as
`drawn` says. Omniglot's unseen alphabets are its published evaluation set; CUB-100's unseen species are those
of its retrieval split; own pictures follow `common.data.readers.folder`, and where their folder test shows
classes of train, those pictures are `seen`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import data
from common.arguments import finite_number, whole_number
from common.data.dataset import Dataset
from common.data.splits import hold_out_classes, hold_out_images

FOLDER = Path(__file__).with_name("lists")
SEEN_SHARE = 0.2
"""Share of the pictures of each class that stand for `seen` where the data set has no such pictures."""
SAME_CLASSES = ("modelnet40", "inaturalist", "imagenet", "cifar100")
"""Data sets whose test pictures show the categories of the training pictures."""
PARTS = ("train", "seen", "unseen", "gallery")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The four parts; see the module."""

    train: Dataset
    seen: Dataset | None
    unseen: Dataset | None
    gallery: Dataset | None = None


def load(
    name: str, *, size: int, hold_out: bool = False, val_share: float = 0.0, set_aside: bool = True
) -> Splits:
    """The parts of a data set at `size` x `size` pixels.

    hold_out: leave the categories of lists/<name>.json out of training. val_share: for choosing
    hyper-parameters; this share of the coarsest groups of train takes the place of `unseen`, and nothing that
    is tested on is touched. set_aside=False: no pictures are taken out of train for `seen`. ValueError: no
    list for hold_out, labels that are no tree.
    """
    _check_share(val_share)
    base = name.removesuffix("-embedded")
    whole = _published(name, "train", size)
    train, other = _other_pictures(name, whole, size) if set_aside else (whole, None)
    seen: Dataset | None
    unseen: Dataset | None = None
    gallery: Dataset | None = None
    tested = base in (*SAME_CLASSES, "deepfashion")  # whether `seen` is of the test set
    if base == "deepfashion":
        # Released code, filename_parse.py: the gallery validates, the query tests.
        seen, gallery = _published(name, "query", size), _published(name, "gallery", size)
    elif base in SAME_CLASSES:
        seen = _published(name, "test", size)
    elif base == "embedded":
        seen, unseen = _published(name, "seen", size), _published(name, "test", size)
    else:
        seen, unseen = other, _published(name, "test", size)
        again = _again(name, train, unseen)
        if again.any():
            seen, tested = _with_ids_of(train, unseen.subset(again)), True
            unseen = None if again.all() else unseen.subset(~again, split="unseen")
    if hold_out and base != "embedded":  # the families of the embedded test set are unseen already
        away = [_named(part, base) for part in (train, seen, gallery) if part is not None]
        pieces = [part for part in (train, seen, gallery) if part is not None]
        unseen = joined([part.subset(gone) for part, gone in zip(pieces, away)], "unseen")
        train, seen, gallery = (
            part.subset(~_named(part, base)) if part is not None else None for part in (train, seen, gallery)
        )
    assert train is not None
    if val_share > 0:
        names = _groups(train, val_share)
        seen = None if tested else seen
        pieces = [part for part in (train, seen) if part is not None]
        unseen = joined([part.subset(_within(part, names)) for part in pieces], "val")
        train, seen = (
            part.subset(~_within(part, names)) if part is not None else None for part in (train, seen)
        )
        assert train is not None
        gallery = None
    parts = Splits(train=train, seen=seen, unseen=unseen, gallery=gallery)
    for part in PARTS:
        check_tree(getattr(parts, part))
    return parts


def training_set(
    name: str, *, size: int, hold_out: bool = False, val_share: float = 0.0, set_aside: bool = True
) -> Dataset:
    """`train` of `load`, without reading the other parts (of own pictures, with the names in test)."""
    _check_share(val_share)
    base = name.removesuffix("-embedded")
    train = _published(name, "train", size)
    if set_aside:
        train, _ = _other_pictures(name, train, size)
    if hold_out and base != "embedded":
        train = train.subset(~_named(train, base))
    if val_share > 0:
        train = train.subset(~_within(train, _groups(train, val_share)))
    check_tree(train)
    return train


def _check_share(val_share: float) -> None:
    finite_number("val_share", val_share)
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share is {val_share}; give a share from 0 up to, but not including, 1")


def _published(name: str, split: str, size: int) -> Dataset:
    same = name.removesuffix("-embedded") in SAME_CLASSES
    return data.load(name, split, size=size, protocol="classification" if same else "retrieval")


def _other_pictures(name: str, train: Dataset, size: int) -> tuple[Dataset, Dataset | None]:
    """(train, other pictures of its classes) where the data set itself has none: Omniglot's by the drawers of
    lists/omniglot.json, else a share. None where it has, or where no class has two pictures.
    """
    base = name.removesuffix("-embedded")
    if base in (*SAME_CLASSES, "deepfashion", "embedded"):
        return train, None
    if base == "omniglot":
        held = torch.isin(train.extra["drawer"], torch.tensor(read("omniglot")["seen_drawers"]))
        return train.subset(~held, split="train"), train.subset(held, split="seen")
    if base.startswith("folder:") and _again(name, train, _published(name, "test", size)).any():
        return train, None
    try:
        kept, other = hold_out_images(train, SEEN_SHARE)
    except ValueError:
        return train, None
    return kept, other.subset(torch.arange(len(other)), split="seen")


def _again(name: str, train: Dataset, test: Dataset) -> Tensor:
    """(N,) bool: pictures of test whose class is in train too. Only own pictures, whose names are paths."""
    known = set(train.names[-1]) if name.startswith("folder:") else set()
    return torch.tensor([each in known for each in test.names[-1]])[test.label]


def _with_ids_of(train: Dataset, part: Dataset) -> Dataset:
    """part with the ids and names of train, which has all its names."""
    columns = []
    for old, new, ids in zip(part.names, train.names, part.labels.T):
        number = {each: i for i, each in enumerate(new)}
        columns.append(torch.tensor([number.get(each, -1) for each in old])[ids])
    return replace(part, labels=torch.stack(columns, 1), names=train.names)


def _named(dataset: Dataset, base: str) -> Tensor:
    """(N,) bool: pictures of the categories that lists/<base>.json calls unseen."""
    lists = read(base)
    if "unseen" not in lists:
        raise ValueError(f"--hold-out: lists/{base}.json names no unseen categories; leave it out")
    away = torch.zeros(len(dataset), dtype=torch.bool)
    for level, names in lists["unseen"].items():
        column = dataset.levels.index(level)
        ids = [i for i, known in enumerate(dataset.names[column]) if known in set(names)]
        away |= torch.isin(dataset.labels[:, column], torch.tensor(ids, dtype=torch.int64))
    if not away.any() or away.all():
        raise ValueError(
            f"{dataset.name}/{dataset.split}: {'all' if away.all() else 'none'} of its pictures are in an "
            "unseen category; its names differ from those in the list"
        )
    return away


def _groups(train: Dataset, share: float) -> set[str]:
    """Names of the coarsest groups that val_share holds out."""
    return set(hold_out_classes(train, share, level=0)[1].names[0])


def _within(part: Dataset, names: set[str]) -> Tensor:
    """(N,) bool: pictures of these coarsest groups."""
    ids = torch.tensor([name in names for name in part.names[0]])
    return ids[part.labels[:, 0]]


def joined(parts: Sequence[Dataset], split: str) -> Dataset:
    """One data set of several with the same ids, sizes and channels; in memory if all are, else on disk."""
    if not parts:
        raise ValueError("parts is empty; give at least one data set")
    first = parts[0]
    if any(part.names != first.names or part.size != first.size for part in parts):
        raise ValueError(
            f"{first.name}: parts with other names or sizes cannot be joined; use splits of one set"
        )
    pixels = [part.pixels for part in parts if part.pixels is not None]
    paths = [part.paths for part in parts if part.paths is not None]
    if pixels and paths:
        raise ValueError(
            f"{first.name}: some of its parts fit in memory and others do not; choose a larger --size, or "
            "a smaller one"
        )
    return Dataset(
        name=first.name,
        split=split,
        labels=torch.cat([part.labels for part in parts]),
        levels=first.levels,
        names=first.names,
        size=first.size,
        channels=first.channels,
        pixels=torch.cat(pixels) if pixels else None,
        paths=tuple(path for some in paths for path in some) if paths else None,
    )


def check_tree(dataset: Dataset | None) -> None:
    """ValueError unless every node has one parent, so that equal ids mean equal prefixes."""
    if dataset is None:
        return
    for level in range(1, len(dataset.levels)):
        pairs = dataset.labels[:, level - 1 : level + 1].unique(dim=0)
        ids, counts = pairs[:, 1].unique(return_counts=True)
        if (counts > 1).any():
            node = dataset.names[level][int(ids[counts > 1][0])]
            raise ValueError(
                f"{dataset.name}: {dataset.levels[level]} {node} lies under several nodes of level "
                f"{dataset.levels[level - 1]}; its levels are no tree"
            )


def read(name: str) -> dict[str, Any]:
    """lists/<name>.json. ValueError: there is none."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise ValueError(
            f"--hold-out: there is no list of unseen categories for {name}; there is for {known}: use one of "
            "these, or leave it out"
        )
    return json.loads(path.read_text())


def drawn(names: Sequence[Any], count: int, seed: int = 0) -> list[Any]:
    """The rule behind the files: `count` of the names in their sorted order, the first of torch.randperm on a
    CPU generator seeded with `seed`, sorted.
    """
    if whole_number("count", count, least=0) > len(names):
        raise ValueError(f"count is {count} but there are {len(names)} names; give at most that")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return sorted(sorted(names)[i] for i in order[:count].tolist())
