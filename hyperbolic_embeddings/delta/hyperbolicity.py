"""delta_rel of a point cloud, and the curvature that follows from it: Section 3 and Eq. (5) of Khrulkov et
al., "Hyperbolic Image Embeddings", CVPR 2020 (arXiv:1904.02239v2). Eq. (5) was seen quoted, Section 3 is
recalled.

    symbol      shape    meaning
    x           (N, D)   features of N pictures
    d           (N, N)   their distances, Euclidean unless given
    delta_p     ()       Gromov's delta for the base point p (common.metrics.gromov_delta)
    diam        ()       the largest distance
    delta_rel   ()       2 delta / diam: 0 for a tree, at most 1; unchanged when all distances are multiplied
    c           ()       the curvature is -c

Both delta and diam are maxima over the sample, so delta_rel depends on N: in R^512 an isotropic Gaussian
cloud has 0.17 at N = 500 and 0.20 at N = 1,500. Values at different N are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from common.arguments import finite_number, require_generator, require_tensor, whole_number, whole_numbers
from common.metrics import gromov_delta
from common.metrics.contract import full_precision, in_double, require_embeddings

CONSTANT = 0.144
"""delta_rel of the Poincaré disk as Eq. (5) has it."""
THIN_TRIANGLES = math.log1p(math.sqrt(2))
"""0.8814, the constant of the hyperbolic plane for thin triangles, another definition of hyperbolicity."""
FOUR_POINTS = math.log(2)
"""0.6931, Gromov's delta of the hyperbolic plane (curvature -1): what gromov_delta tends to on large disks.
"""
MARGIN = 1e-5
"""The disk of Eq. (5) ends at the Euclidean radius 1 - MARGIN."""
RADIUS = 2 * math.atanh(1 - MARGIN)
"""12.206, the hyperbolic radius of that disk; its diameter is twice that."""
SELF_CONSISTENT = 2 * FOUR_POINTS / (2 * RADIUS)
"""0.0568, delta_rel of that disk when delta and the diameter are those of one space (finding F5, note G5).

0.144 is 2 THIN_TRIANGLES / 12.2047, and 12.2047 is not the diameter: it is the largest value that the
authors' distance returns in float32, where artanh is clamped at 1 - 1e-5.
"""


def relative_delta(distances: Tensor, bases: int = 1) -> tuple[float, float]:
    """(delta_rel with base point 0, the largest delta_rel over the first `bases` base points), Section 3.

    distances (N, N) as gromov_delta takes them. The authors' code has one base point, row 0 (note G3); delta
    over all N base points is at most twice that of one (Gromov 1987). ValueError: points that all coincide,
    more bases than points, or input that gromov_delta refuses.
    """
    require_tensor("distances", distances, "(N, N)")
    n, bases = len(distances), whole_number("bases", bases)
    if bases > n:
        raise ValueError(f"bases is {bases} but there are {n} points; give at most {n}")
    found = [gromov_delta(distances=distances, base=p) for p in range(bases)]
    diameter = found[0][1]
    if diameter == 0:
        raise ValueError(
            f"distances: all {n} points coincide, their diameter is 0 and delta_rel is not defined; give "
            "points that differ"
        )
    relative = [2 * delta / diameter for delta, _ in found]
    return relative[0], max(relative)


@torch.no_grad()
def euclidean(points: Tensor) -> Tensor:
    """(N, N) float32 distances between the rows of points (N, D), computed in float64.

    float32 costs the maxima and minima of delta 6e-8 of the diameter, and half of their time.
    """
    require_embeddings("points", points)
    with full_precision(points.device):
        x = in_double(points)
        x = x - x.mean(0)  # distances do not depend on it, the rounding of the product does
        return torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(0).float()


def curvature(delta_rel: float, constant: float = CONSTANT) -> float:
    """c = (constant / delta_rel)^2, Eq. (5): the ball of curvature -c has the radius delta_rel / constant.

    constant: 0.144 as printed, or SELF_CONSISTENT, with which c is 6.4 times smaller. ValueError: delta_rel
    not in (0, 1].
    """
    for name, value in (("delta_rel", delta_rel), ("constant", constant)):
        if isinstance(value, str):
            raise TypeError(f"{name} is {value!r}; give a number")
    if not 0 < delta_rel <= 1:
        raise ValueError(
            f"delta_rel is {delta_rel}: Eq. (5) wants a number in (0, 1], at 0 c is infinite; give that "
            "of points that form no tree"
        )
    finite_number("constant", constant, above=0)
    return (constant / delta_rel) ** 2


def draw_rows(total: int, points: int, tries: int, *, replacement: bool, random: torch.Generator) -> Tensor:
    """(tries, points) int64: rows of each try. Without replacement they differ within a try, note G2."""
    require_generator("random", random)
    whole_numbers(total=total, points=points, tries=tries)
    if replacement:
        return torch.randint(total, (tries, points), generator=random)
    if points > total:
        raise ValueError(
            f"--points {points} exceeds the {total} pictures there are; lower it, or draw with --replacement"
        )
    return torch.stack([torch.randperm(total, generator=random)[:points] for _ in range(tries)])


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) over tries; the latter is 0 for one try."""
    if not len(values):
        raise ValueError("values is empty; give at least one number")
    for value in values:
        finite_number("values: one", value)
    series = torch.tensor(values, dtype=torch.float64)
    return float(series.mean()), float(series.std()) if len(values) > 1 else 0.0
