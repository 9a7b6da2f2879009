"""Rank of the first row of the query's class, by counting: the engine of recall_at_k.

    symbol   shape       meaning
    x, y     (N, D)      query and gallery rows, both moved by one vector and scaled by one power of two
    h        (N,)        |x|^2 / 2
    e        (Q, G)      -|x - y|^2 / 2, one product of [x, 1, -h_x] and [y, -h_y, 1]; never held as a whole
    best     (Q,)        e of the nearest row of the query's own class; -inf without one
    closer   (Q,)        rows of other classes that are at least as near: the rank of that nearest row, from 0

A query is a hit at K exactly if closer < K, whatever K is: nothing is sorted, and no list of neighbours is
kept. Rows are grouped by class first, so `best` needs only the short ranges of columns where a class meets
itself. e is symmetric: in self-retrieval, the product of rows I and rows J serves the rows of both, and half
of the products suffice.

Ties. Products of different shapes round differently, so two copies of one row can come out a last bit apart.
Two distances therefore count as equal, and the query loses, when their e differ by less than

    slack = (4 + sqrt(D)) * epsilon * (|x| + d)^2     d: distance of the nearest row of its class

which covers the rounding of both (|x - y| near d implies |y| <= |x| + d, about). Rounding grows like sqrt(D)
on data, like D only for an adversary; the largest error seen of one e was 0.36 slack. In float32 the count is
made on either side of that band, and a query whose hits depend on the side is counted anew in float64, with
the band of float64: the result is that of float64 arithmetic, whatever the block size, the number of threads
or the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from common import distributed
from common.metrics.contract import full_precision, in_double

CPU_BLOCK = 512  # e (1 MB in float32) stays in the cache between the product and the counts
GPU_BLOCK = 8192  # large products keep a GPU busy; e takes 256 MB
LEAST_STEP = 128  # rows per product when only the query's own class is wanted


class _Rows:
    """One side, grouped by class. block() hands out rows as [x, 1, -h]; only those are ever converted."""

    def __init__(self, rows: Tensor, labels: Tensor, centre: Tensor, scale: float) -> None:
        self.labels, self.order = labels.sort(stable=True)  # int64 labels; scores are never sorted
        self.rows, self.centre, self.scale = rows, centre, scale

    def __len__(self) -> int:
        return len(self.labels)

    def block(self, part: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """(n, D + 2): [x, 1, -h] of the sorted rows `part`."""
        picked = self.rows[self.order[part]]  # (n, D)
        picked = in_double(picked) if dtype == torch.float64 else picked
        block = picked.new_empty(len(picked), picked.shape[1] + 2)
        x = block[:, :-2]
        torch.sub(picked.mul_(self.scale), self.centre.to(picked), out=x)
        block[:, -2] = 1
        block[:, -1] = x.square().sum(1) / -2
        return block


def _mirrored(block: Tensor) -> Tensor:
    """[y, 1, -h] as [y, -h, 1], the right-hand side of e."""
    return torch.cat([block[:, :-2], block[:, -1:], block[:, -2:-1]], 1)


def _parts(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))


def hits(
    query: Tensor,
    query_labels: Tensor,
    ks: tuple[int, ...],
    gallery: Tensor,
    gallery_labels: Tensor,
    own: bool,
    chunk: int | None,
) -> dict[int, int]:
    """K -> number of queries with a row of their class among the K nearest; own: never the query itself.

    The arguments have been checked. Extra memory: a copy of the queries, a few blocks, O(Q + G) numbers.
    """
    block = chunk or (CPU_BLOCK if query.device.type == "cpu" else GPU_BLOCK)
    block = min(block, max(len(query), len(gallery)))
    with full_precision(query.device):
        least, most = gallery.aminmax()
        _, exponent = math.frexp(max(-float(least), float(most)))
        scale = 2.0 ** -min(max(exponent, -100), 100)  # exact; squares neither overflow nor vanish
        weight = gallery.new_full((len(gallery),), scale / len(gallery))
        centre = gallery.T @ weight  # (D,) any vector would do; near the mean, the least is lost to rounding
        q = _Rows(query, query_labels, centre, scale)
        g = q if own else _Rows(gallery, gallery_labels, centre, scale)
        everyone = torch.arange(len(q), device=query.device)

        low, high = _count(q, g, everyone, query.dtype, own, block)  # (Q,) each: closer lies between them
        if query.dtype == torch.float32:
            edges = torch.tensor(sorted(set(ks)), device=query.device)
            hits_low, hits_high = (torch.bucketize(closer, edges, right=True) for closer in (low, high))
            again = everyone[hits_low != hits_high]
            if len(again):
                high[again] = _count(q, g, again, torch.float64, own, block)[1].to(high.device)
        return {k: int((high < k).sum()) for k in ks}


def _count(
    q: _Rows, g: _Rows, which: Tensor, dtype: torch.dtype, own: bool, block: int
) -> tuple[Tensor, Tensor]:
    """(n,) int64 twice: rows of other classes nearer by more than the slack, and those not farther by more.

    which: (n,) ascending positions among the sorted queries; all of them, in self-retrieval: half of the
    products suffice.
    """
    mirror = own and len(which) == len(q)
    first = q.block(which[:block], dtype)  # fixes dtype and device
    left = first.new_empty(len(which), first.shape[1])  # (n, D + 2)
    for part in _parts(0, len(which), block):
        left[part] = q.block(which[part], dtype)
    labels, which = q.labels[which].to(left.device), which.to(left.device)
    other = g.labels.to(left.device)

    def gallery(part: slice) -> Tensor:
        return _mirrored(left[part] if mirror else g.block(part, dtype))  # (c, D + 2)

    best = _best(left, labels, which if own else None, gallery, other, block)
    radius = (left[:, -1] * -2).sqrt() + (best * -2).clamp(min=0).sqrt()
    slack = (4 + math.sqrt(left.shape[1] - 2)) * torch.finfo(dtype).eps * radius.square()
    slack = torch.where(best.isinf(), 0, slack)  # no row of the class: every other row is nearer
    bounds = torch.stack([best - slack, best + slack] if dtype == torch.float32 else [best - slack])  # (s, n)

    s, ones = len(bounds), left.new_ones(block)
    counts = torch.zeros(s, len(which), dtype=torch.int64, device=left.device)
    product, flags = left.new_empty(block * block), left.new_empty(s * block * block)  # one pair at a time
    mine, theirs = labels.tolist(), other.tolist()  # on the host: the loops never wait for a GPU
    pairs = [
        (columns, rows)
        for columns in _parts(0, len(g), block)
        for rows in _parts(0, columns.stop if mirror else len(left), block)
    ]
    for columns, mine_too in groupby(distributed.dealt(pairs), key=itemgetter(0)):
        right = gallery(columns)
        c, first_b, last_b = len(right), theirs[columns.start], theirs[columns.stop - 1]
        for _, rows in mine_too:
            r, first_a, last_a = rows.stop - rows.start, mine[rows.start], mine[rows.stop - 1]
            if first_a == last_a == first_b == last_b:
                continue  # one class only
            e = torch.mm(left[rows], right.T, out=product[: r * c].view(r, c))
            if first_a <= last_b and first_b <= last_a:
                e.masked_fill_(labels[rows, None] == other[columns], -math.inf)
            # Flags are floats, and a product with ones counts them: on a CPU far faster than summing bools.
            near = torch.ge(e, bounds[:, rows, None], out=flags[: s * r * c].view(s, r, c))
            counts[:, rows] += (near.view(s * r, c) @ ones[:c]).view(s, r).long()
            if mirror and rows.start < columns.start:
                near = torch.ge(e[:, None], bounds[:, columns], out=flags[: s * r * c].view(r, s, c))
                counts[:, columns] += (ones[:r] @ near.view(r, s * c)).view(s, c).long()
    distributed.total(counts)
    return counts[-1], counts[0]


def _best(
    left: Tensor,
    labels: Tensor,
    own: Tensor | None,
    gallery: Callable[[slice], Tensor],
    other: Tensor,
    block: int,
) -> Tensor:
    """(n,): e of the nearest row of the query's class, its own position `own` aside; -inf without one."""
    best = left.new_full((len(left),), -math.inf)
    start = torch.searchsorted(other, labels).tolist()  # a class is one range of the sorted gallery
    stop = torch.searchsorted(other, labels, right=True).tolist()
    classes = 1 + int((other[1:] != other[:-1]).sum())
    step = min(block, max(LEAST_STEP, len(other) // classes))
    position = torch.arange(len(other), device=left.device)
    for rows in distributed.dealt(list(_parts(0, len(left), step))):
        for columns in _parts(start[rows.start], stop[rows.stop - 1], block):
            e = left[rows] @ gallery(columns).T
            wanted = labels[rows, None] == other[columns]
            if own is not None:
                wanted &= own[rows, None] != position[columns]
            nearest = e.masked_fill_(~wanted, -math.inf).amax(1)
            best[rows] = torch.maximum(best[rows], nearest)
    return distributed.total(best, largest=True)
