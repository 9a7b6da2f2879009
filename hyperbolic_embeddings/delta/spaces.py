"""Point clouds whose delta_rel is known or tells nothing about pictures: the scale that Table 1 lacks.

    space        what is drawn                                    delta_rel
    isotropic    Gaussian cloud in R^D, all directions alike      0.17 to 0.41 at N = 500: grows as D shrinks
    spectrum     Gaussian cloud with given covariance eigenvalues the control of finding F4 and claim C1
    sphere       uniform on the unit sphere of R^D
    tree         path lengths in a random tree                    0
    disk         a large disk of the hyperbolic plane             2 ln 2 / diameter in the limit (finding F5)

Clouds are pure functions of their generator, which lives on the CPU.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from common.arguments import require_generator, require_tensor, whole_number
from common.metrics.contract import require_embeddings

Space = Literal["isotropic", "sphere", "tree", "disk"]


def isotropic(n: int, dim: int, random: torch.Generator) -> Tensor:
    """(n, dim) standard normal. Only ratios of distances matter, so its scale does not."""
    require_generator("random", random)
    return torch.randn(whole_number("n", n), whole_number("dim", dim), generator=random, dtype=torch.float64)


def spectrum_matched(points: Tensor, random: torch.Generator) -> Tensor:
    """(N, min(N, D)) Gaussian cloud whose covariance has the eigenvalues of that of `points` (N, D).

    Distances do not change under rotations, so the eigenvectors are of no account: the cloud lies along the
    axes. It has the features' variances and none of their higher moments, such as clusters.
    """
    require_embeddings("points", points)
    require_generator("random", random)
    centred = points.double() - points.double().mean(0)
    spread = torch.linalg.svdvals(centred) / math.sqrt(max(len(points) - 1, 1))  # standard deviations
    cloud = torch.randn(len(points), len(spread), generator=random, dtype=torch.float64)
    return cloud.to(spread.device) * spread


def sphere(n: int, dim: int, random: torch.Generator) -> Tensor:
    """(n, dim) uniform on the unit sphere, with Euclidean (chord) distances when used as points."""
    return normalize(isotropic(n, dim, random), dim=1)


def tree_distances(n: int, random: torch.Generator) -> Tensor:
    """(n, n) path lengths in a random tree: each node hangs on an earlier one, edges are uniform in [0.5,
    1.5).

    Gromov's delta of a tree is 0 for every base point.
    """
    n = whole_number("n", n)
    require_generator("random", random)
    u = torch.rand(n, 2, generator=random, dtype=torch.float64)
    d = torch.zeros(n, n, dtype=torch.float64)
    for i in range(1, n):
        parent, edge = int(u[i, 0] * i), 0.5 + u[i, 1]
        d[i, :i] = d[:i, i] = d[parent, :i] + edge
    return d


def disk_distances(n: int, radius: float, random: torch.Generator) -> Tensor:
    """(n, n) distances of n points uniform in area in a disk of hyperbolic radius `radius`, curvature -1.

    ValueError: a radius outside (0, 300]; sinh overflows beyond.
    """
    require_generator("random", random)
    if not isinstance(radius, int | float) or not 0 < radius <= 300:
        raise ValueError(f"radius is {radius!r}; give a hyperbolic radius in (0, 300]")
    u = torch.rand(whole_number("n", n), 2, generator=random, dtype=torch.float64)
    r = 2 * torch.asinh(u[:, 0].sqrt() * math.sinh(radius / 2))  # the area within r grows as sinh^2(r / 2)
    return polar_distances(r, 2 * math.pi * u[:, 1])


def polar_distances(r: Tensor, theta: Tensor) -> Tensor:
    """(n, n) distances in the hyperbolic plane of curvature -1 from distances to the centre and angles (n,).

    sinh^2(d / 2) = sinh^2((r - s) / 2) + sinh(r) sinh(s) sin^2(theta / 2): the law of cosines without its
    cancellation.
    """
    require_tensor("r", r, "(n,)")
    require_tensor("theta", theta, "(n,)")
    if len(theta) != len(r):
        raise ValueError(f"theta has shape {tuple(theta.shape)}; give one angle per radius, {tuple(r.shape)}")
    half = torch.sinh((r[:, None] - r) / 2) ** 2
    half += torch.sinh(r)[:, None] * torch.sinh(r) * torch.sin((theta[:, None] - theta) / 2) ** 2
    return 2 * torch.asinh(half.sqrt())
