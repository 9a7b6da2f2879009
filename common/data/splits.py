"""A validation set out of a training set, so that nothing is ever chosen on test pictures.

The rule, for a reader who wants the same split elsewhere: `torch.randperm` on a CPU `torch.Generator` seeded
with `seed` itself; sizes are rounded half up; rows stay in the order of the data set.
"""

from __future__ import annotations

import math

import torch

from common.data.dataset import Dataset


def hold_out_classes(
    dataset: Dataset, share: float = 0.2, *, seed: int = 0, level: int = -1
) -> tuple[Dataset, Dataset]:
    """(train, val) with disjoint classes, each relabelled to 0 .. n - 1 per level.

    level: the column of labels whose ids are held out; the last, the classes, by default. Column 0 of
    Omniglot holds out whole alphabets: as far from training as its test characters are.
    val gets floor(share * ids + 1/2) ids, the first of a permutation of the ids in rising order, but both
    sides at least two: retrieval among one class says nothing. ValueError: fewer than four ids, no such
    level, share not in (0, 1).
    """
    _check_share(share)
    if not -len(dataset.levels) <= level < len(dataset.levels):
        raise ValueError(
            f"level = {level}: {dataset.name} has the levels {', '.join(dataset.levels)}, "
            f"0 to {len(dataset.levels) - 1}"
        )
    column = dataset.labels[:, level]
    ids = column.unique()
    if len(ids) < 4:
        what = (
            "classes" if level in (-1, len(dataset.levels) - 1) else f"ids of level {dataset.levels[level]}"
        )
        raise ValueError(
            f"{dataset.name}/{dataset.split} has {len(ids)} {what}; holding out classes needs at least 4"
        )
    n = min(max(_round(share * len(ids)), 2), len(ids) - 2)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    val = torch.isin(column, ids[order[:n]])  # (N,) bool
    return (
        dataset.subset(~val, split="train", relabel=True),
        dataset.subset(val, split="val", relabel=True),
    )


def hold_out_images(dataset: Dataset, share: float = 0.2, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(train, val) with the same classes and ids: of each class (finest level) a share of its pictures goes
    to val.

    A class of n pictures gives floor(share * n + 1/2), but keeps at least one: those that come first in one
    permutation of all rows. ValueError: nothing would be held out, share not in (0, 1).
    """
    _check_share(share)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(dataset.label[order], stable=True)]  # class after class, shuffled inside
    _, counts = dataset.label.unique(return_counts=True)
    val = torch.zeros(len(dataset), dtype=torch.bool)
    for rows in order.split(counts.tolist()):
        val[rows[: min(_round(share * len(rows)), len(rows) - 1)]] = True
    if not val.any():
        raise ValueError(
            f"{dataset.name}/{dataset.split}: a share of {share} holds out no picture of any class; "
            "choose a larger share"
        )
    return dataset.subset(~val, split="train"), dataset.subset(val, split="val")


def _round(x: float) -> int:
    return math.floor(x + 0.5)


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"share = {share}: choose a number between 0 and 1")
