"""The Poincaré ball of Khrulkov et al., "Hyperbolic Image Embeddings", CVPR 2020 (arXiv:1904.02239v2),
Section 4. Numbers of equations and sections are recalled, not checked against the PDF.

    symbol     shape      meaning
    c          ()         the sectional curvature is -c; float or 0-dim tensor above 0, learnable if wanted
    x, y       (..., D)   points of the ball c |x|^2 < 1, whose radius is 1 / sqrt(c)
    u          (..., D)   tangent vectors
    lambda_x   (..., 1)   conformal factor 2 / (1 - c |x|^2)
    s, t, g               sqrt(c), sqrt(c) |x| and 1 - c |x|^2, see arithmetic.py

Every function takes `mode`. 'exact', the default, is the formula in a form where nothing cancels, without any
constant. 'released' has the constants of the authors' code (leymir/hyperbolic-image-embeddings,
hyptorch/pmath.py), which set the scale of the published runs: 1e-5 is added to the denominator of a Möbius
addition; artanh is clamped to 1 - 1e-5 and arsinh to log 1e-5 from below, neither with its gradient; the
argument of tanh is clamped to 15; norms of vectors that are divided by are at least 1e-5 in the maps from and
to the origin, in `expmap`, `mobius_matvec` and `project`.

Precision: float32 or float64, with TF32 and autocast switched off; half-precision input is converted to
float32, and so is the result. The distance of a point to itself is 0 with gradient 0.

Errors: ValueError for a bad c or mode, for shapes that do not fit and, if tensors are on the CPU, for points
outside the ball and values that are not finite (`require_points` checks on every device); TypeError for other
dtypes. Only `project` projects: the exponential map of a long vector may round to the boundary, where the
other functions are not defined.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hyperbolic_embeddings.arithmetic import (
    RELEASED_EPS,
    arcosh_1_plus_twice,
    arsinh,
    arsinh_over,
    artanh_over,
    gap,
    is_released,
    island,
    norm,
    product,
    radius,
    released_artanh,
    released_tanh,
    require_broadcast,
    require_inside,
    require_margin,
    require_matrix,
    require_rows,
    root,
    root_from_0,
    rows_times,
    scale_rows,
    tanh_over,
    widened,
)


@island
def mobius_add(x: Tensor, y: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Möbius addition x (+) y; shapes broadcast.  (..., D), (..., D) -> (..., D)

    x (+) y = ((1 + 2c <x, y> + c |y|^2) x + (1 - c |x|^2) y) / (1 + 2c <x, y> + c^2 |x|^2 |y|^2)
            = (g_x (x + y) + q x) / (g_x g_y + q),   g = 1 - c |.|^2,   q = c |x + y|^2

    The second line is what is computed. Neither commutative nor associative; (-x) (+) (x (+) y) = y.
    """
    s, released = root(c), is_released(mode)
    require_broadcast("mobius_add", x, y)
    return _mobius_add(x, y, gap(radius("x", x, s)), gap(radius("y", y, s)), s, released)


@island
def expmap(x: Tensor, u: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Exponential map at x of the tangent vector u; shapes broadcast.  (..., D), (..., D) -> (..., D)

    exp_x(u) = x (+) tanh(sqrt(c) lambda_x |u| / 2) u / (sqrt(c) |u|)
    """
    s, released = root(c), is_released(mode)
    require_broadcast("expmap", x, u, "u")
    g, n = gap(radius("x", x, s)), norm("u", u)
    if released:
        n = n.clamp_min(RELEASED_EPS)
        y = released_tanh(s * n / g) * u / (s * n)
    else:
        y = tanh_over(s * n / g) * (u / g)
    gy = gap(s * norm("u", y)).clamp_min(0)  # tanh may round to 1
    return _mobius_add(x, y, g, gy, s, released)


@island
def expmap0(u: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Exponential map at the origin, tanh(sqrt(c) |u|) u / (sqrt(c) |u|).  (..., D) -> (..., D)"""
    s, released = root(c), is_released(mode)
    require_rows("u", u)
    return _expmap0(u, norm("u", u), s, released)


@island
def logmap(x: Tensor, y: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Logarithmic map, the tangent vector at x that leads to y.  (..., D), (..., D) -> (..., D)

    log_x(y) = 2 / (sqrt(c) lambda_x) artanh(sqrt(c) |m|) m / |m|,   m = (-x) (+) y; shapes broadcast
    """
    s, released = root(c), is_released(mode)
    require_broadcast("logmap", x, y)
    gx, gy = gap(radius("x", x, s)), gap(radius("y", y, s))
    if released:
        m = _mobius_add(-x, y, gx, gy, s, True)
        n = norm("y", m)
        return gx / s * released_artanh(s * n) * m / torch.where(n > 0, n, 1)
    n = s * norm("y", y - x)
    q, gg = n * n, gx * gy
    # m = (g_x (y - x) - q x) / (g_x g_y + q), and artanh(sqrt(c) |m|) = arsinh(n / sqrt(g_x g_y))
    return arsinh_over(n / gg.sqrt()) * (gx / (gg * (gg + q)).sqrt()) * (gx * (y - x) - q * x)


@island
def logmap0(y: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Logarithmic map at the origin, artanh(sqrt(c) |y|) y / (sqrt(c) |y|).  (..., D) -> (..., D)"""
    s, released = root(c), is_released(mode)
    require_rows("y", y)
    return _logmap0(y, radius("y", y, s), s, released)


@island
def distance(x: Tensor, y: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Distance of matching points; shapes broadcast.  (..., D), (..., D) -> (...)

    d(x, y) = 2 / sqrt(c) artanh(sqrt(c) |(-x) (+) y|)
            = 2 / sqrt(c) arsinh(sqrt(c) |x - y| / sqrt((1 - c |x|^2)(1 - c |y|^2)))

    The second line is what is computed, from differences, so it is right for close points too.
    """
    s, released = root(c), is_released(mode)
    require_broadcast("distance", x, y)
    gg = gap(radius("x", x, s)) * gap(radius("y", y, s))
    n = s * norm("y", x - y)
    if not released:
        return (2 / s * arsinh(n / gg.sqrt())).squeeze(-1)
    denominator = gg + n * n  # of (-x) (+) y; |(-x) (+) y| = |x - y| / sqrt(denominator)
    return (2 / s * released_artanh(n * denominator.sqrt() / (denominator + RELEASED_EPS))).squeeze(-1)


@island
def distance0(x: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Distance to the origin, 2 / sqrt(c) artanh(sqrt(c) |x|); 2 |u| for exp_0(u).  (..., D) -> (...)"""
    s, released = root(c), is_released(mode)
    require_rows("x", x)
    t = radius("x", x, s).squeeze(-1)
    return 2 / s * (released_artanh(t) if released else t.atanh())


@island
def pairwise_distance(x: Tensor, y: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Distances of all pairs, by one matrix product.  (N, D), (M, D) -> (N, M)

    d = arcosh(1 + 2 w) / sqrt(c),   w = c |x - y|^2 / (g_x g_y),   |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>

    In float32 c |x - y|^2 is off by about 1e-7; where close points matter, use `distance`. If y is the very
    tensor x, the diagonal is 0 with gradient 0.
    """
    s, released = root(c), is_released(mode)
    require_matrix("x", x)
    require_matrix("y", y, like=x)
    tx = radius("x", x, s)  # (N, 1)
    ty = tx if y is x else radius("y", y, s)  # (M, 1)
    gx, gy = gap(tx), gap(ty)
    w = product(scale_rows(x, 2 * s * s / gx), scale_rows(y, 1 / gy))  # (N, M)
    w.addr_((tx * tx / gx).squeeze(1), (1 / gy).squeeze(1), beta=-1)
    w.addr_((1 / gx).squeeze(1), (ty * ty / gy).squeeze(1))
    if y is x:
        w.fill_diagonal_(0)
    if not released:
        return arcosh_1_plus_twice(w).div_(s)
    gg = gx * gy.T  # (N, M)
    denominator = gg * (1 + w.clamp_min(0))
    n = root_from_0(gg * w)  # sqrt(c) |x - y|
    return 2 / s * released_artanh(n * denominator.sqrt() / (denominator + RELEASED_EPS))


@island
def mobius_matvec(m: Tensor, x: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Möbius product of a matrix and points, exp_0(m log_0(x)).  (out, in), (..., in) -> (..., out)

    As in the authors' code, the result is projected in released mode.
    """
    s, released = root(c), is_released(mode)
    require_matrix("m", m)
    require_rows("x", x)
    if x.shape[-1] != m.shape[1]:
        raise ValueError(
            f"mobius_matvec: m {tuple(m.shape)} and x {tuple(x.shape)} do not fit; give (out, in) and "
            "(..., in)"
        )
    t = radius("x", x, s)
    if not released:
        u = rows_times(_logmap0(x, t, s, False), m)
        return _expmap0(u, norm("m x", u), s, False)
    mx, x_norm = rows_times(x, m), (t / s).clamp_min(RELEASED_EPS)
    n = norm("m x", mx)
    stretched = released_tanh(n / x_norm * released_artanh(s * x_norm))
    return _project(stretched * mx / (torch.where(n > 0, n, 1) * s), s, 1e-3, True)


@island
def to_klein(x: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """From the Poincaré to the Klein ball, 2 x / (1 + c |x|^2); same in both modes.  (..., D) -> (..., D)"""
    s, _ = root(c), is_released(mode)
    require_rows("x", x)
    t = radius("x", x, s)
    return 2 * x / (1 + t * t)


@island
def from_klein(x: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """From the Klein to the Poincaré ball, x / (1 + sqrt(1 - c |x|^2)).  (..., D) -> (..., D)

    The same in both modes. Points near the boundary of the Klein ball have few digits left: what is at 0.999
    of the radius in the Poincaré ball is at 0.9999995 there. Points that were rounded to the boundary stay.
    """
    s, _ = root(c), is_released(mode)
    require_rows("x", x)
    return x / (1 + root_from_0(gap(radius("x", x, s, room=16 * torch.finfo(x.dtype).eps))))


@island
def hyperbolic_mean(x: Tensor, c: float | Tensor, dim: int = 0, mode: str = "exact") -> Tensor:
    """Einstein midpoint of the points along `dim`, which is removed.  (..., S, ..., D) -> (..., D)

    exact: in one step, with nu_i = 1 / (1 - c |x_i|^2), T = sum_i (2 nu_i - 1) and a = the nu-weighted mean,

        mean = 2 sum_i nu_i x_i / (T + sqrt(T^2 - c |2 sum_i nu_i x_i|^2))
        T^2 - c |2 sum_i nu_i x_i|^2 = S^2 + 4c (sum_i nu_i) (sum_i nu_i |x_i - a|^2)

    where the right-hand side does not cancel. One point is its own mean.
    released: `klein_mean`, also for one point.
    """
    s, released = root(c), is_released(mode)
    dim = _require_dim(x, dim)
    if released:
        return _klein_mean(x, s, dim)
    t, points = radius("x", x, s), x.shape[dim]
    if points == 1:
        return x.squeeze(dim)
    nu = 1 / gap(t)
    total = nu.sum(dim, keepdim=True)
    mean = (nu * x).sum(dim, keepdim=True) / total
    spread = total * (nu * (x - mean).square().sum(-1, keepdim=True)).sum(dim, keepdim=True)
    below = 2 * total - points + (points**2 + 4 * s * s * spread).sqrt()
    return (2 * total / below * mean).squeeze(dim)


@island
def klein_mean(x: Tensor, c: float | Tensor, dim: int = 0) -> Tensor:
    """Einstein midpoint by way of the Klein ball, as the paper writes it.  (..., S, ..., D) -> (..., D)

    k = 2 x / (1 + c |x|^2),   gamma = 1 / sqrt(1 - c |k|^2),   mean = sum gamma k / sum gamma, then back

    `hyperbolic_mean` but for rounding: in float32, at 0.999 of the radius, even a single point moves.
    """
    s = root(c)
    return _klein_mean(x, s, _require_dim(x, dim))


@island
def project(x: Tensor, c: float | Tensor, eps: float = 1e-3, mode: str = "exact") -> Tensor:
    """Shorten rows to the norm (1 - eps) / sqrt(c) where they are longer.  (..., D) -> (..., D)

    eps: 1e-3 in the authors' code, 4e-3 in geoopt for float32. A shortened row has no radial gradient.
    """
    s, released = root(c), is_released(mode)
    require_rows("x", x)
    require_margin(eps)
    return _project(x, s, eps, released)


def require_points(name: str, x: Tensor, c: float | Tensor) -> None:
    """Raise ValueError unless all rows lie inside the ball, on any device; a GPU has to be waited for."""
    require_rows(name, x)
    with torch.no_grad():
        require_inside(name, root(c) * torch.linalg.vector_norm(widened(x), dim=-1, keepdim=True))


def _mobius_add(x: Tensor, y: Tensor, gx: Tensor, gy: Tensor, s: float | Tensor, released: bool) -> Tensor:
    both = x + y
    q = (s * both).square().sum(-1, keepdim=True)
    return (gx * both + q * x) / (gx * gy + q + (RELEASED_EPS if released else 0))


def _expmap0(u: Tensor, n: Tensor, s: float | Tensor, released: bool) -> Tensor:
    if not released:
        return tanh_over(s * n) * u
    n = n.clamp_min(RELEASED_EPS)
    return released_tanh(s * n) * u / (s * n)


def _logmap0(y: Tensor, t: Tensor, s: float | Tensor, released: bool) -> Tensor:
    if not released:
        return artanh_over(t) * y
    n = (t / s).clamp_min(RELEASED_EPS)
    return y / n / s * released_artanh(s * n)


def _klein_mean(x: Tensor, s: float | Tensor, dim: int) -> Tensor:
    t = radius("x", x, s)
    k = 2 * x / (1 + t * t)
    gamma = (1 + t * t) / gap(t)  # = 1 / sqrt(1 - c |k|^2), finite where that root rounds to 0
    mean = (gamma * k).sum(dim) / gamma.sum(dim)
    return mean / (1 + root_from_0(1 - (s * mean).square().sum(-1, keepdim=True)))


def _project(x: Tensor, s: float | Tensor, eps: float, released: bool) -> Tensor:
    n, most = norm("x", x), (1 - eps) / s
    if released:
        n = n.clamp_min(RELEASED_EPS)
    beyond = n > most
    return torch.where(beyond, most / torch.where(beyond, n, 1), 1) * x


def _require_dim(x: Tensor, dim: int) -> int:
    require_rows("x", x)
    last = isinstance(dim, int) and -x.ndim <= dim < x.ndim and dim % x.ndim == x.ndim - 1
    if isinstance(dim, bool) or not isinstance(dim, int) or not -x.ndim <= dim < x.ndim or last:
        raise ValueError(
            f"dim is {dim!r} but x has shape {tuple(x.shape)}; choose an axis of points, not the last one"
        )
    if not x.shape[dim]:
        raise ValueError(f"x has shape {tuple(x.shape)}, no point along dim {dim}; give at least one")
    return dim % x.ndim
