"""Does a query find pictures of its own class? Recall@K, MAP@R, R-precision, person re-identification.

Protocol of all four. Neighbours are ordered by Euclidean distance, which for unit rows is the order of the
cosine; rows may have any norm. Without a gallery every query is compared with all other queries, never with
itself (its own row is left out by position: a copy of it elsewhere stays). Ties count against the query:
among rows at equal distance, those of other classes come first, so a collapsed network scores 0. Decided in
float64, also for float32 rows: float32 products only where they cannot be wrong (see
common.metrics.counting). TF32 and autocast are off. Values are shares in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from common import distributed
from common.arguments import whole_number
from common.metrics.contract import (
    full_precision,
    in_double,
    require_embeddings,
    require_ks,
    require_labels,
    require_pair,
)
from common.metrics.counting import hits

SORT_BLOCK = 1 << 22  # pairs held at a time where neighbours are sorted: 32 MB in float64


@torch.no_grad()
def recall_at_k(
    query: Tensor,
    query_labels: Tensor,
    ks: Iterable[int],
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> dict[int, float]:
    """Recall@K: share of all queries with at least one row of their class among the K nearest.

    query (Q, D), query_labels (Q,); gallery (G, D), gallery_labels (G,), or None: the queries, each without
    itself. A query whose class has no (other) row in the gallery is a miss, and stays in the denominator;
    libraries that drop such queries report more. chunk: rows per block of the product. Cost: half of the
    products of all pairs without a gallery, all of them with one, whatever the K's; memory: one copy of the
    queries and a few blocks.

    Returns K -> share, in the order of ks. Raises ValueError when a K exceeds the rows that a query is
    compared with (G, or Q - 1), TypeError or ValueError for input that is not as above.
    """
    gallery, gallery_labels, own = require_pair(query, query_labels, gallery, gallery_labels)
    ks = require_ks(ks, len(gallery) - own)
    if chunk is not None:
        chunk = whole_number("chunk", chunk)
    found = hits(query, query_labels, ks, gallery, gallery_labels, own, chunk)
    return {k: found[k] / len(query) for k in ks}


@torch.no_grad()
def map_and_r_precision(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> tuple[float, float]:
    """(MAP@R, R-precision) at the cost of one of them; see map_at_r and r_precision."""
    pair = require_pair(query, query_labels, gallery, gallery_labels)
    average, share = 0.0, 0.0
    with full_precision(query.device):
        for relevant, r in _first_r(query, query_labels, *pair, chunk):
            place = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
            precision = relevant.long().cumsum(1) / place.double()  # (q, R)
            r = r.clamp(min=1).double()  # a query without partners has no relevant row: 0 / 1
            average += float(((precision * relevant).sum(1) / r).sum())
            share += float((relevant.sum(1) / r).sum())
    average, share = distributed.total(torch.tensor([average, share], dtype=torch.float64)).tolist()
    return average / len(query), share / len(query)


def map_at_r(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> float:
    """MAP@R: mean over all queries of (1/R) sum_{i <= R} P(i) rel(i) (Musgrave et al., arXiv:2003.08505).

    R: rows of the query's class in the gallery (without the query itself); rel(i): is the i-th neighbour one
    of them; P(i): share of them among the first i. A query with R = 0 counts as 0. Arguments and errors as
    recall_at_k.
    """
    return map_and_r_precision(query, query_labels, gallery, gallery_labels, chunk=chunk)[0]


def r_precision(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> float:
    """R-precision, mean over all queries of the share of their class among the R nearest; R as in map_at_r.

    A query with R = 0 counts as 0. Arguments and errors as recall_at_k.
    """
    return map_and_r_precision(query, query_labels, gallery, gallery_labels, chunk=chunk)[1]


@torch.no_grad()
def reid_scores(
    query: Tensor,
    query_ids: Tensor,
    query_cams: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    gallery_cams: Tensor,
    ks: Iterable[int],
    *,
    chunk: int | None = None,
) -> dict[str, float]:
    """Mean average precision and cumulative match curve of person re-identification (as for Market-1501).

    query (Q, D), gallery (G, D), ids and cams int64. For each query, gallery rows of the same id and the same
    camera, and rows of id -1 (junk), are ignored: they neither help nor take a place. Id 0 is a distractor:
    it takes a place and matches nobody. AP is the mean over the matches of the precision at their place (the
    released MATLAB code averages neighbouring precisions instead). rank-k: share of queries with a match
    among the first k places. Queries left without a match are dropped from every mean; a query id below 1
    never has one.

    Returns {'mAP': ..., 'rank-k': ... for k in ks}. Raises ValueError when no query has a match, a K exceeds
    G or an id is below -1; otherwise as recall_at_k.
    """
    require_embeddings("query", query)
    require_embeddings("gallery", gallery, query)
    for side, rows, ids, cams in (
        ("query", query, query_ids, query_cams),
        ("gallery", gallery, gallery_ids, gallery_cams),
    ):
        require_labels(f"{side}_ids", ids, len(rows), rows)
        require_labels(f"{side}_cams", cams, len(rows), rows)
        if int(ids.min()) < -1:
            raise ValueError(
                f"{side}_ids holds {int(ids.min())}; give -1 (junk), 0 (distractor) or a person from 1 on"
            )
    ks = require_ks(ks, len(gallery))
    precisions, found, kept = 0.0, dict.fromkeys(ks, 0), 0
    with full_precision(query.device):
        query, gallery = in_double(query), in_double(gallery)
        query_ids, query_cams = query_ids.to(query.device), query_cams.to(query.device)
        gallery_ids, gallery_cams = gallery_ids.to(query.device), gallery_cams.to(query.device)
        place = torch.arange(1, len(gallery) + 1, device=query.device)
        for rows, e, slack in _blocks(query, gallery, chunk):
            same_id = query_ids[rows, None] == gallery_ids  # (q, G)
            junk = (same_id & (query_cams[rows, None] == gallery_cams)) | (gallery_ids == -1)
            match = same_id & ~junk & (gallery_ids > 0)
            e = torch.where(match, e - slack, e).masked_fill_(junk, -math.inf)
            match = match.gather(1, e.argsort(1, descending=True))
            match = match[match.any(1)]  # (kept, G)
            precision = match.long().cumsum(1) / place.double()
            precisions += float(((precision * match).sum(1) / match.sum(1)).sum())
            kept += len(match)
            for k in found:
                found[k] += int(match[:, :k].any(1).sum())
    sums = torch.tensor([precisions, kept, *found.values()], dtype=torch.float64)
    precisions, kept, *found_in_all = distributed.total(sums).tolist()
    found = dict(zip(found, found_in_all))
    if not kept:
        raise ValueError(
            "no query has a match: no id of query_ids is in gallery_ids under another camera; check both"
        )
    return {"mAP": precisions / kept} | {f"rank-{k}": found[k] / kept for k in ks}


def _first_r(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    own: bool,
    chunk: int | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Per block: (q, max R) bool, is the i-th neighbour of the query's class (False past R); R (q,)."""
    query = in_double(query)
    gallery = query if own else in_double(gallery)
    query_labels, gallery_labels = query_labels.to(query.device), gallery_labels.to(query.device)
    for rows, e, slack in _blocks(query, gallery, chunk):
        same = query_labels[rows, None] == gallery_labels  # (q, G)
        if own:
            itself = torch.arange(rows.start, rows.stop, device=e.device)[:, None]
            same.scatter_(1, itself, False)
            e.scatter_(1, itself, -math.inf)
        r = same.sum(1)
        nearest = torch.where(same, e - slack, e).topk(max(int(r.max()), 1), 1).indices  # (q, max R)
        place = torch.arange(nearest.shape[1], device=e.device)
        yield same.gather(1, nearest) & (place < r[:, None]), r


def _blocks(query: Tensor, gallery: Tensor, chunk: int | None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of queries: rows, -|x - y|^2 / 2 (q, G), and the band within which distances are equal (q, G).

    Rows in float64. The band is that of common.metrics.counting, pair by pair: (4 + sqrt(D)) * epsilon * (|x|
    + |y|)^2.
    """
    step = whole_number("chunk", chunk) if chunk is not None else max(1, SORT_BLOCK // len(gallery))
    centre = gallery.mean(0)  # distances do not depend on it, their rounding does
    y = gallery - centre
    y_norm = y.norm(dim=1)
    unit, tiny = (4 + math.sqrt(y.shape[1])) * torch.finfo(y.dtype).eps, torch.finfo(y.dtype).tiny
    step = min(step, -(-len(query) // distributed.world()))
    for start in distributed.dealt(range(0, len(query), step)):
        rows = slice(start, min(start + step, len(query)))
        x = query[rows] - centre
        x_norm = x.norm(dim=1, keepdim=True)
        e = torch.addmm(-(y_norm.square() / 2), x, y.T) - x_norm.square() / 2
        yield (
            rows,
            e,
            (unit * (x_norm + y_norm).square()).clamp_(min=tiny),
        )  # never 0: copies of the mean tie too
