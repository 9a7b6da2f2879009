"""What is measured on embeddings at each level of a tree; `common.metrics` has the rest.

    symbol    shape     meaning
    rows      (N, D)    unit-norm embeddings, float32
    labels    (N, L)    ids coarse to fine; equal ids mean equal nodes (the labels are a tree)
    level     0 .. L-1  column of labels; L - 1 is the finest

Above the finest level, a query never meets pictures of its own next finer node: with them, plain pixels find
the alphabet of an Omniglot drawing, because they find another drawing of the same character.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from common.arguments import require_tensor, whole_number
from common.metrics.contract import full_precision, require_embeddings, require_ks, require_pair

BLOCK = 1 << 24
"""Similarities held at a time: 64 MB."""


@torch.no_grad()
def coarse_recall_at_k(
    rows: Tensor,
    labels: Tensor,
    level: int,
    ks: Sequence[int],
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
) -> dict[int, float]:
    """Share of queries with a picture of their node of `level` among the K nearest, where pictures of their
    own node of level + 1 do not count and take no place.

    gallery (G, D), gallery_labels (G, L): what is searched, by default the other rows. Ties count against the
    query. A query without any picture to find is a miss.
    """
    _check(rows, labels, level, gallery, gallery_labels)
    ks = require_ks(ks, len(rows if gallery is None else gallery))
    found, best = dict.fromkeys(ks, 0), []
    for s, same, allowed in _blocks(rows, labels, level, gallery, gallery_labels):
        nearest = s.masked_fill(~(same & allowed), -torch.inf).amax(1, keepdim=True)  # (q, 1)
        closer = ((s >= nearest) & allowed & ~same).sum(1)
        best.append(torch.where(nearest[:, 0].isinf(), s.shape[1], closer))
    rank = torch.cat(best)
    for k in found:
        found[k] = int((rank < k).sum())
    return {k: hits / len(rows) for k, hits in found.items()}


@torch.no_grad()
def coarse_knn_accuracy(
    rows: Tensor,
    labels: Tensor,
    level: int,
    k: int = 20,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
) -> float:
    """Share of queries whose node of `level` has the most votes among their k nearest pictures, where
    pictures of their own node of level + 1 neither vote nor take a place.

    One vote each; a query whose node shares the first place is a miss. Fewer than k pictures left: all vote.
    """
    _check(rows, labels, level, gallery, gallery_labels)
    require_ks([k], len(rows if gallery is None else gallery))
    right = 0
    others = labels if gallery_labels is None else gallery_labels
    _, node = others[:, level].unique(return_inverse=True)  # (G,)
    nodes = int(node.max()) + 1
    for s, same, allowed in _blocks(rows, labels, level, gallery, gallery_labels):
        s = s.masked_fill(~allowed, -torch.inf)
        nearest = s.topk(k, 1)  # (q, k)
        votes = torch.zeros(len(s), nodes, device=s.device)
        votes.scatter_add_(1, node.to(s.device)[nearest.indices], nearest.values.isfinite().float())
        own = same.gather(1, nearest.indices) & nearest.values.isfinite()
        mine = own.sum(1)  # votes of the query's own node
        leaders = (votes >= mine[:, None].clamp(min=1)).sum(1)
        right += int(((leaders == 1) & (mine > 0)).sum())
    return right / len(rows)


@torch.no_grad()
def violation_rate(rows: Tensor, labels: Tensor) -> dict[int, float]:
    """Level -> how often a picture that shares only this level is at least as near as one that shares the
    next finer level: mean over pictures of the share of such pairs (finer partner, coarser partner).

    It is what HiConE's constraint forbids, pair by pair; 0: the tree is kept, 0.5: the distances say nothing.
    Keys 0 .. L - 2; a picture that has not both kinds of partner is left out, and so is a level without any
    picture that has.
    """
    require_embeddings("rows", rows)
    _check_labels("labels", labels, rows)
    rates: dict[int, float] = {}
    with full_precision(rows.device):
        for level in range(labels.shape[1] - 1):
            total, count = 0.0, 0
            for members in _groups(labels[:, level]):
                x, fine = rows[members], labels[members, level + 1]
                for part in torch.arange(len(x), device=x.device).split(max(1, BLOCK // len(x))):
                    s = x[part] @ x.T  # (q, n) all of one node of this level
                    same = fine[part, None] == fine
                    same[torch.arange(len(part), device=x.device), part] = False
                    coarse = fine[part, None] != fine
                    usable = same.any(1) & coarse.any(1)
                    order = s.masked_fill(~coarse, torch.inf).sort(1).values  # coarser partners, least first
                    # For each finer partner: coarser partners that are not farther.
                    below = torch.searchsorted(order, s.contiguous())  # (q, n) coarser partners below s
                    wrong = coarse.sum(1, keepdim=True) - below
                    pairs = (same.sum(1) * coarse.sum(1)).clamp(min=1)
                    share = (wrong * same).sum(1) / pairs
                    total += float(share[usable].double().sum())
                    count += int(usable.sum())
            if count:
                rates[level] = total / count
    return rates


def _check(
    rows: Tensor, labels: Tensor, level: int, gallery: Tensor | None, gallery_labels: Tensor | None
) -> None:
    """Rows, their labels, and a level above the finest."""
    require_tensor("rows", rows, "(N, D)")
    _check_labels("labels", labels, rows)
    if not 0 <= whole_number("level", level, least=-math.inf) < labels.shape[1] - 1:
        raise ValueError(
            f"level is {level}; give a level above the finest, 0 to {labels.shape[1] - 2}, or use recall_at_k"
        )
    if (gallery is None) != (gallery_labels is None):
        given, missing = ("gallery_labels", "gallery") if gallery is None else ("gallery", "gallery_labels")
        raise ValueError(f"{given} is given but {missing} is not; give both, or neither")
    if gallery is not None and gallery_labels is not None:
        require_tensor("gallery", gallery, "(G, D)")
        _check_labels("gallery_labels", gallery_labels, gallery)
        if gallery_labels.shape[1] != labels.shape[1]:
            raise ValueError(
                f"gallery_labels has {gallery_labels.shape[1]} levels and labels {labels.shape[1]}; give "
                "both the same"
            )


def _check_labels(name: str, labels: Tensor, rows: Tensor) -> None:
    require_tensor(name, labels, "(N, L)", torch.int64)
    if len(labels) != len(rows):
        raise ValueError(f"{name} has {len(labels)} rows for {len(rows)} embeddings; give one per embedding")


def _blocks(
    rows: Tensor, labels: Tensor, level: int, gallery: Tensor | None, gallery_labels: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Per block of queries (q, G): similarity, same node of `level`, may be met at all."""
    fine, coarse = labels[:, level + 1], labels[:, level]
    others = labels if gallery_labels is None else gallery_labels
    base, _, _ = require_pair(rows, fine, gallery, None if gallery is None else others[:, level + 1])
    with full_precision(rows.device):
        for part in torch.arange(len(rows), device=rows.device).split(max(1, BLOCK // len(base))):
            same = coarse[part, None] == others[:, level]
            yield rows[part] @ base.T, same, fine[part, None] != others[:, level + 1]


def _groups(column: Tensor) -> Iterator[Tensor]:
    """Rows of each id."""
    order = column.argsort(stable=True)
    _, counts = column.unique(return_counts=True)
    yield from order.split(counts.tolist())
