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
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from common import distributed
from common.metrics.contract import full_precision, in_double, require_embeddings, whole_number

TILE = 256  # a tile of A * A and its partial minima (512 KB in float32) stay in a core's cache


@torch.no_grad()
def gromov_delta(
    points: Tensor | None = None, distances: Tensor | None = None, base: int | Sequence[int] | Tensor = 0
) -> tuple[float, float]:
    """(delta, diameter) of a finite metric space; relative delta (Khrulkov et al. 2020) = 2 delta / diameter.

    Give either points (n, D), with Euclidean distances, or distances (n, n): symmetric, not negative, 0 on
    the diagonal, up to the rounding of a distance made from squares. base: the base point p, or several,
    whose largest delta_p is returned; delta_p of any one p is at least half of delta over all p (Gromov
    1987). Row 0 is the choice of the released code. All rows are used.

    Exact: every triple is looked at. The minima and maxima run in the dtype of the input, so float32 is twice
    as fast and right to 6e-8 of the diameter; distances between points are computed in float64. O(n^3) time,
    O(n^2) memory.

    Raises ValueError for input that is not as above, TypeError for other types and dtypes.
    """
    if (points is None) == (distances is None):
        raise ValueError("give either points or distances to gromov_delta, not both and not neither")
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
    """max_ik [(A * A)_ik - A_ik] of a symmetric A, in tiles; A * A is symmetric: tiles i <= k suffice.

    On the CPU whole tiles are shared among threads: an operation on one tile is too short to be shared, the
    slower thread holds up the other thousands of times.
    """
    n = len(a)
    side = TILE if a.device.type == "cpu" else -(-n // distributed.world())
    tiles = [(i, k) for i in range(0, n, side) for k in range(i, n, side)]
    tiles = distributed.dealt(tiles)
    threads = torch.get_num_threads()
    if a.device.type != "cpu" or threads == 1 or len(tiles) < 2:
        gap = max((_gap_of_tile(a, i, k, side) for i, k in tiles), default=0.0)
    else:
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                gap = max(pool.map(lambda tile: _gap_of_tile(a, tile[0], tile[1], side), tiles))
        finally:
            torch.set_num_threads(threads)
    return float(distributed.total(torch.tensor(gap, dtype=torch.float64), largest=True))


def _gap_of_tile(a: Tensor, i: int, k: int, side: int) -> float:
    """The largest gap among rows i .. i + side - 1 and columns k .. k + side - 1."""
    left = a[:, i : i + side].contiguous()[:, :, None]  # (n, r, 1): A_ij, by j
    right = a[:, k : k + side].contiguous()[:, None]  # (n, 1, c): A_jk, by j
    best = torch.minimum(left[0], right[0])  # (r, c)
    least = torch.empty_like(best)
    for j in range(1, len(a)):
        torch.minimum(left[j], right[j], out=least)
        torch.maximum(best, least, out=best)
    return float((best - a[i : i + side, k : k + side]).max())


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
        raise TypeError(
            f"distances is a {type(d).__name__}; give a float32 or float64 tensor of shape (n, n)"
        )
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
