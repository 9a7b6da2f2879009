"""Gromov's delta: how far a metric space is from a tree.

symbol       shape    meaning
d            (n, n)   distances
p            ()       base point
A            (n, n)   Gromov products, A_ij = (x_i | x_j)_p = (d_ip + d_jp - d_ij) / 2
A * A        (n, n)   (max, min) product, (A * A)_ik = max_j min(A_ij, A_jk)
delta_p      ()       max_ik [(A * A)_ik - A_ik]; 0 for a tree
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common import distributed
from common.arguments import described, whole_number
from common.metrics.contract import full_precision, in_double, require_embeddings

SIDE = 16  # rows of a tile
CHUNK, CHUNK_GPU = 2048, 65536  # pairs (tile, j) at a time: 2 MB of minima in float32 stay in a core's cache


@torch.no_grad()
def gromov_delta(
    points: Tensor | None = None, distances: Tensor | None = None, base: int | Sequence[int] | Tensor = 0
) -> tuple[float, float]:
    """(delta, diameter) of a finite metric space; relative delta (Khrulkov et al. 2020) = 2 delta / diameter.

    Give either points (n, D), with Euclidean distances, or distances (n, n): symmetric, not negative, 0 on
    the diagonal, up to the rounding of a distance made from squares. base: the base point p, or several,
    whose largest delta_p is returned; delta_p of any one p is at least half of delta over all p (Gromov
    1987). Row 0 is the choice of the released code. All rows are used.

    Exact: only triples that cannot hold the largest gap are left out. Minima and maxima run in the dtype of
    the input (float32 is right to 6e-8 of the diameter); distances between points are computed in float64.
    O(n^3) time at worst, O(n^2) memory.

    Raises ValueError for input that is not as above, TypeError for other types and dtypes.
    """
    if (points is None) == (distances is None):
        both = "None" if points is None else "given"
        raise ValueError(f"points and distances are both {both}; give either points or distances")
    if points is not None:
        require_embeddings("points", points)
        with full_precision(points.device):
            d, dtype = _euclidean(in_double(points)), points.dtype
    else:
        assert distances is not None
        _require_distances(distances)
        d, dtype = in_double(distances), distances.dtype
        d = ((d + d.T) / 2).fill_diagonal_(0)
    n = len(d)
    several = base.tolist() if isinstance(base, Tensor) else base
    bases = [
        whole_number("base", p, least=0) for p in (several if isinstance(several, Sequence) else [several])
    ]
    if not bases:
        raise ValueError("base is empty; give at least one row")
    if max(bases) >= n:
        raise ValueError(f"base is {max(bases)} but there are {n} rows; give a row from 0 to {n - 1}")
    delta = 0.0
    for p in dict.fromkeys(bases):
        products = ((d[p][:, None] + d[p] - d) / 2).to(dtype)  # A (n, n)
        delta = max(delta, _largest_gap(products))
    return delta, float(d.max())


def _largest_gap(a: Tensor) -> float:
    """max_ik [(A * A)_ik - A_ik] of a symmetric A.

    Rows i and columns k in tiles of SIDE; A * A is symmetric: tiles i <= k suffice. In a tile no j gives a
    gap above min(max_i A_ij, max_k A_jk) - min_ik A_ik, so only those j are looked at for which this exceeds
    the largest gap found so far: 3 to 5 % of all triples for features of images, all of them for a tree.
    Sorting the rows by A_ii = d_ip gives tiles of rows that are alike.
    """
    order = a.diagonal().argsort(descending=True)
    gap = _climb(a, int(order[0]))
    tiles = -(-len(a) // SIDE)
    order = order[torch.arange(tiles * SIDE, device=a.device).clamp(max=len(a) - 1)]  # the last row repeats
    a = a[order][:, order].view(tiles, SIDE, tiles, SIDE)
    blocks = a.transpose(1, 2).contiguous()  # (tiles, tiles, SIDE, SIDE): A_ik
    columns = a.permute(2, 0, 1, 3).reshape(tiles, -1, SIDE).contiguous()  # (tiles, n, SIDE): A_jk
    highest = columns.amax(2)  # (tiles, n)
    lowest = blocks.amin((2, 3))  # (tiles, tiles)
    n, chunk = highest.shape[1], CHUNK if a.device.type == "cpu" else CHUNK_GPU
    right = columns.view(-1, SIDE)
    for t in distributed.dealt(list(range(tiles))):
        reached = torch.minimum(highest[t], highest[t:]) > (lowest[t, t:] + gap)[:, None]  # (tiles - t, n)
        kept = reached.nonzero() + torch.tensor([t, 0], device=a.device)  # (pairs, 2): tile of k, j
        for first in range(0, len(kept), chunk):
            k, j = kept[first : first + chunk].unbind(1)
            least = torch.minimum(columns[t][j][:, :, None], right[k * n + j][:, None])  # (chunk, SIDE, SIDE)
            gap = max(gap, float((least - blocks[t, k]).max()))
    return float(distributed.total(torch.tensor(gap, dtype=torch.float64), largest=True))


def _climb(a: Tensor, i: int) -> float:
    """A lower bound of the largest gap: row i's largest, then that of the row where it was found, and on."""
    gap = 0.0
    while True:
        row = torch.minimum(a[i][:, None], a).amax(0) - a[i]  # (n,)
        i = int(row.argmax())
        if float(row[i]) <= gap:
            return gap
        gap = float(row[i])


def _euclidean(points: Tensor) -> Tensor:
    """(n, n) distances from differences of coordinates: no cancellation, and copies are at distance 0."""
    n = len(points)
    d = points.new_zeros(n, n)
    above = torch.nn.functional.pdist(points)  # (n (n - 1) / 2,): row by row, right of the diagonal
    for i in range(n - 1):
        row, above = above[: n - 1 - i], above[n - 1 - i :]
        d[i, i + 1 :] = row
        d[i + 1 :, i] = row
    return d


def _require_distances(d: Tensor) -> None:
    if not isinstance(d, Tensor):
        raise TypeError(f"distances is {described(d)}; give a float32 or float64 tensor of shape (n, n)")
    if d.ndim != 2 or d.shape[0] != d.shape[1]:
        raise ValueError(f"distances has shape {tuple(d.shape)}; give a square matrix (n, n)")
    require_embeddings("distances", d)
    # Distances made from squares, as torch.cdist makes them, are off by the root of the rounding.
    room = 4 * torch.finfo(d.dtype).eps ** 0.5 * float(d.abs().max())
    for wrong, what in (
        (d < 0, "a negative distance"),
        (torch.diag(d.diagonal().abs() > room), "a distance of a point to itself that is not 0"),
        ((d - d.T).abs() > room, "a distance that differs from the way back"),
    ):
        if bool(wrong.any()):
            i, j = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"distances[{i}, {j}] = {float(d[i, j]):.6g} is {what}; give a symmetric matrix of distances"
            )
