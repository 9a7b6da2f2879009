"""What is measured on embeddings of one split, by the same code whatever method made them.

    symbol     shape          meaning
    x          (N, D)         rows of an export: points of Euclidean space, or of the ball of curvature -c
    labels     (N, L) int64   ids coarse to fine; equal ids mean equal nodes (the labels are a tree)
    c          float | None   None: Euclidean
    key        (q, N)         what orders neighbours: |x - y|^2, or in the ball
                              c |x - y|^2 / ((1 - c |x|^2) (1 - c |y|^2)), with which its distance
                              arcosh(1 + 2 key) / sqrt(c) grows

Every picture is a query against all others. Decided in float64; ties, up to rounding, count against the
query, so a collapsed network scores 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.arguments import require_tensor
from common.data import counter
from common.metrics import episode_interval, gromov_delta, nmi
from common.metrics.contract import require_embeddings
from common.results import Figure
from hierarchical_multilabel.evaluate import clusters
from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.fewshot.episodes import TEST_SEED, draw

VOTES = 20
"""Neighbours that vote."""
WAY, SHOT, QUERIES, EPISODES = 5, 1, 15, 10_000
"""Of the stored episodes; fewer queries where a class has not so many pictures."""
SAMPLE = 1500
"""Pictures whose delta is measured, the first of one permutation."""
BLOCK = 1 << 22
"""Keys held at a time: 32 MB."""
ROUNDING = 1e-12
"""Of a key, in units of the numbers that it is made of: above what float64 loses, far below what counts."""
_SAMPLE = 90  # purpose of a generator; never renumber


@torch.no_grad()
def measure(
    x: Tensor, labels: Tensor, levels: tuple[str, ...], c: float | None = None, *, episodes: int = EPISODES
) -> dict[str, Figure]:
    """Name -> figure:

        recall@1, map@r    at the finest level, as common.metrics defines them
        LEVEL/knn          share of pictures whose node has the most votes among the 20 nearest, one each;
                           above the finest level pictures of their own next finer node neither vote nor
                           take a place
        5way-1shot         mean over stored episodes of the share of queries whose own class has the nearest
                           support picture, with its 95 % interval over episodes
        LEVEL/nmi          of k-means (k: number of nodes, one fixed start) with the nodes; for points of a
                           ball, on the tangent vectors at the origin
        delta_rel          2 delta / diameter of a fixed sample of 1,500 pictures, base point its first; left
                           out where all of them lie in one point
        pictures           N

    x float32 or float64, labels (N, L) with at least 5 classes of at least 2 pictures. ValueError: other
    shapes, NaN, points outside the ball, too few pictures.
    """
    require_embeddings("x", x)
    require_tensor("labels", labels, "(N, L)", torch.int64)
    if len(labels) != len(x) or labels.shape[1] != len(levels):
        raise ValueError(
            f"labels is {tuple(labels.shape)} for {len(x)} rows and {len(levels)} levels; give one row per "
            "embedding and one column per level"
        )
    if c is not None:
        poincare.require_points("x", x, c)
    x = x.double()
    figures = {**neighbours(x, labels, levels, c, episodes), **clustering(x, labels, levels, c)}
    relative = relative_delta(x, c)
    if relative is not None:
        figures["delta_rel"] = Figure(relative, unit="ratio")
    return figures | {"pictures": Figure(float(len(x)), unit="count")}


def neighbours(
    x: Tensor, labels: Tensor, levels: tuple[str, ...], c: float | None, episodes: int
) -> dict[str, Figure]:
    """All figures that rest on distances between pictures, in one walk over blocks of queries."""
    fine, n = labels[:, -1], len(x)
    members = fine.unique(return_inverse=True)[1].bincount()
    partners = members[fine.unique(return_inverse=True)[1]] - 1  # (N,) R of each query
    queries = min(QUERIES, int(members.min()) - SHOT)
    if queries < 1:
        raise ValueError("a class has one picture; episodes need at least 2 of each class")
    shown = draw(fine, WAY, SHOT, queries, episodes, seed=TEST_SEED)  # (E, W, 1 + Q)
    asked, supports, own = _pairs(shown)  # (P,), (P, W), (P,)
    order = asked.argsort(stable=True)  # walked in the order of queries
    asked, supports, own = asked[order], supports[order], own[order]
    right = torch.zeros(len(asked), dtype=torch.bool)
    k = min(max(VOTES, int(partners.max())), n - 1)
    hits, precision, votes = 0, 0.0, dict.fromkeys(levels, 0)
    for rows in torch.arange(n).split(max(1, BLOCK // n)):
        distance, slack = keys(x[rows], x, c)
        distance[torch.arange(len(rows)), rows] = torch.inf
        for level, name in enumerate(levels):
            same = labels[rows, level, None] == labels[:, level]  # (q, N)
            met = distance + slack * same
            if level < len(levels) - 1:
                met[labels[rows, level + 1, None] == labels[:, level + 1]] = torch.inf
            nearest = met.topk(k if level == len(levels) - 1 else min(VOTES, n - 1), 1, largest=False)
            votes[name] += _won(labels[:, level], labels[rows, level], nearest.values, nearest.indices)
            if level == len(levels) - 1:
                found = same.gather(1, nearest.indices)  # (q, k), nearest first
                hits += int(found[:, 0].sum())
                precision += _average_precision(found, partners[rows])
        first, last = torch.searchsorted(asked, torch.stack([rows[0], rows[-1] + 1])).tolist()
        cells = (asked[first:last, None] - rows[0], supports[first:last])  # of the block: (p, 1), (p, W)
        offered, mine = distance[cells], own[first:last, None]  # (p, W), (p, 1)
        least = (offered + slack.expand_as(distance)[cells]).gather(1, mine)
        right[first:last] = (least < offered.scatter(1, mine, torch.inf).amin(1, keepdim=True))[:, 0]
    accuracy = right[order.argsort()].view(episodes, -1).double().mean(1)
    return {
        "recall@1": Figure(hits / n),
        "map@r": Figure(precision / n),
        **{f"{name}/knn": Figure(won / n) for name, won in votes.items()},
        f"{WAY}way-{SHOT}shot": Figure(*episode_interval(accuracy)),
    }


def keys(x: Tensor, y: Tensor, c: float | None) -> tuple[Tensor, Tensor]:
    """(key (n, m), by how much it may be off, broadcastable to it) of rows x (n, D) and y (m, D), float64."""
    a, b = x.square().sum(1)[:, None], y.square().sum(1)
    square = (a + b - 2 * (x @ y.T)).clamp(min=0)
    if c is None:
        return square, ROUNDING * b.max().clamp(min=torch.finfo(b.dtype).tiny)
    gaps = (1 - c * a) * (1 - c * b)
    return c * square / gaps, ROUNDING / gaps


def _pairs(shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of rows (E, W, 1 + Q) of episodes: each query (P,), the support pictures it meets (P, W), the place of
    its own class among them (P,), episode after episode.
    """
    episodes, way, pictures = shown.shape
    asked = shown[:, :, 1:].reshape(-1)
    supports = shown[:, None, None, :, 0].expand(episodes, way, pictures - 1, way).reshape(-1, way)
    own = torch.arange(way)[None, :, None].expand(episodes, way, pictures - 1).reshape(-1)
    return asked, supports, own


def _won(nodes: Tensor, own: Tensor, key: Tensor, index: Tensor) -> int:
    """Queries whose own node (q,) has more votes than any other among the first VOTES places (q, k); infinite
    keys do not vote.
    """
    voters = slice(min(VOTES, index.shape[1]))
    counted = key[:, voters].isfinite()
    _, number = nodes.unique(return_inverse=True)
    first = torch.zeros(int(number.max()) + 1, dtype=torch.int64).scatter_(0, number, nodes)  # id of a number
    ballots = torch.zeros(len(key), len(first)).scatter_add_(1, number[index[:, voters]], counted.float())
    mine = ballots.masked_fill(first != own[:, None], 0).sum(1)
    leaders = (ballots >= mine[:, None].clamp(min=1)).sum(1)
    return int(((leaders == 1) & (mine > 0)).sum())


def _average_precision(found: Tensor, partners: Tensor) -> float:
    """Sum over queries of (1/R) sum over i <= R of P(i) rel(i); found (q, k) bool, partners (q,)."""
    place = torch.arange(1, found.shape[1] + 1)
    relevant = found & (place <= partners[:, None])
    precision = relevant.cumsum(1) / place.double()
    return float(((precision * relevant).sum(1) / partners.clamp(min=1)).sum())


def clustering(x: Tensor, labels: Tensor, levels: tuple[str, ...], c: float | None) -> dict[str, Figure]:
    """LEVEL/nmi of every level that has several nodes."""
    flat = x if c is None else poincare.logmap0(x, c)
    figures = {}
    for name, nodes in zip(levels, labels.T):
        k = len(nodes.unique())
        if k > 1:
            figures[f"{name}/nmi"] = Figure(nmi(nodes.contiguous(), clusters(flat.float(), k)))
    return figures


def relative_delta(x: Tensor, c: float | None) -> float | None:
    """2 delta / diameter of the sample; None where it has no diameter."""
    sample = x[torch.randperm(len(x), generator=counter.generator(0, _SAMPLE))[:SAMPLE]]
    if c is None:
        delta, diameter = gromov_delta(sample)
    else:
        d = torch.stack([poincare.distance(one, sample, c) for one in sample])  # copies are at distance 0
        delta, diameter = gromov_delta(distances=d)
    return 2 * delta / diameter if diameter > 0 else None
