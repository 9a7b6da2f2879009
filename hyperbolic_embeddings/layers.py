"""Layers on the Poincaré ball, Section 4 of Khrulkov et al., "Hyperbolic Image Embeddings", CVPR 2020
(arXiv:1904.02239v2), after Ganea, Bécigneul and Hofmann, "Hyperbolic Neural Networks", NeurIPS 2018
(arXiv:1805.09112). Numbers of equations and sections are recalled, not checked against the PDF.

    symbol   shape       meaning
    c        ()          curvature is -c, see poincare.py
    x        (B, D)      points of the ball
    p, a     (K, D)      point p_k and normal a_k, tangent at p_k, of the hyperplane of class k
    v        (B, K)      logits: signed distance to the hyperplane, times lambda_p |a|

A layer takes c as a number or a 0-dim tensor, and again, if wanted, in forward: a curvature that is learnt
in one layer (`ToPoincare.c`) is handed to the others there. In evaluation the points are checked on every
device, in training on the CPU only.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.arguments import whole_number
from hyperbolic_embeddings.arithmetic import (
    RELEASED_EPS,
    gap,
    is_released,
    island,
    norm,
    product,
    radius,
    released_arsinh,
    released_tanh,
    require_margin,
    require_matrix,
    require_rows,
    root,
    row_dot,
    scale_rows,
    scaled_arsinh,
    tanh_over,
    widened,
)
from hyperbolic_embeddings.poincare import mobius_add, mobius_matvec, project, require_points

OFFSET_CAP = 9.0
"""tanh(9) is 1 in float32: at sqrt(c) r = 9 a hyperplane of the HNN++ form touches the boundary."""
SHORTEST = 1e-12
"""Least length that a normal is divided by: float32 still holds the inverse of its square."""


@island
def mlr_logits(x: Tensor, p: Tensor, a: Tensor, c: float | Tensor, mode: str = "exact") -> Tensor:
    """Logits of hyperbolic multinomial logistic regression.  (B, D), (K, D), (K, D) -> (B, K)

    v_bk = lambda_p |a| / sqrt(c) arsinh(2 sqrt(c) <m, a> / ((1 - c |m|^2) |a|)),   m = (-p_k) (+) x_b

    p on the ball, a already in the tangent space at p (`HyperbolicMLR` multiplies its a' by 1 - c |p|^2).
    The denominators of the Möbius addition cancel, and the argument of arsinh is linear in x and |x|^2,

        (<x, w> - (1 + c |x|^2) b) / (1 - c |x|^2)
        b = 2 sqrt(c) <p, a> / (|a| (1 - c |p|^2)),   w = 2 sqrt(c) a / |a| + 2 c b p

    so that one product does. As c -> 0: 4 <x - p, a>. The logit of a = 0 is 0.
    """
    require_matrix("x", x)
    require_matrix("p", p, like=x)
    require_matrix("a", a, like=x)
    if len(a) != len(p):
        raise ValueError(f"p has {len(p)} rows and a has {len(a)}; give a point and a normal for each class")
    s = root(c)
    tp = radius("p", p, s)
    return _mlr_logits(x, p, tp, a, 2 / (s * gap(tp)), s, is_released(mode))


def _mlr_logits(
    x: Tensor, p: Tensor, tp: Tensor, a: Tensor, factor: float | Tensor, s: float | Tensor, released: bool
) -> Tensor:
    """factor: lambda_p / sqrt(c) (K, 1) for a in the tangent space at p; 2 / sqrt(c) for a free a'."""
    tx, gp, n = radius("x", x, s), gap(tp), norm("a", a)  # (B, 1), (K, 1), (K, 1)
    inverse = 1 / n.clamp_min(SHORTEST)
    pa = row_dot(p, a) * inverse
    scale = (factor * n).squeeze(1)  # (K,)
    if not released:
        b = 2 * s * pa / gp
        w = scale_rows(a, 2 * s * inverse) + scale_rows(p, 2 * s * s * b)  # (K, D)
        return _hyperplane_logits(x, tx, w, b, scale)

    # e = 1e-5 is added to the denominator d = g_x g_p + c |x - p|^2 of the Möbius addition; so
    # <m, a> / |a| = (g_p <x, a> / |a| - (1 - 2c <p, x> + c |x|^2) <p, a> / |a|) / (d + e)
    # 1 - c |m|^2  = (d (g_x g_p + 2e) + e^2) / (d + e)^2
    px = 2 * s * s * product(x, p)  # (B, K)
    gg = gap(tx) * gp.T
    d = gg + (tx * tx + (tp * tp).T - px).clamp_min(0)
    above = product(x, scale_rows(a, gp * inverse)) - (1 + tx * tx - px) * pa.T
    below = d * (gg + 2 * RELEASED_EPS) + RELEASED_EPS**2
    return scale * released_arsinh(2 * s * above * (d + RELEASED_EPS) / below)


def _hyperplane_logits(x: Tensor, tx: Tensor, w: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """scale_k arsinh((<x, w_k> - (1 + c |x|^2) b_k) / (1 - c |x|^2)).  w (K, D), b (K, 1), scale (K,)"""
    inverse = 1 / gap(tx)
    u = product(scale_rows(x, inverse), w)  # (B, K)
    u.addr_(((1 + tx * tx) * inverse).squeeze(1), b.squeeze(1), alpha=-1)
    return scaled_arsinh(u, scale)


@island
def _hnn_logits(x: Tensor, z: Tensor, r: Tensor, c: float | Tensor) -> Tensor:
    """Logits of HNN++: hyperplanes at the offset r_k along z_k.  (B, D), (K, D), (K,) -> (B, K)

    v_k = 2 |z_k| / sqrt(c) arsinh(lambda_x <sqrt(c) x, z_k / |z_k|> cosh(2 sqrt(c) r_k)
                                   - (lambda_x - 1) sinh(2 sqrt(c) r_k))
    """
    s, n = root(c), norm("z", z)
    t = 2 * (s * r[:, None]).clamp(-OFFSET_CAP, OFFSET_CAP)
    w = scale_rows(z, 2 * s * t.cosh() / n.clamp_min(SHORTEST))
    return _hyperplane_logits(x, radius("x", x, s), w, t.sinh(), (2 / s * n).squeeze(1))


@island
def to_ball(u: Tensor, c: float | Tensor, eps: float = 1e-3, mode: str = "exact") -> Tensor:
    """project(expmap0(u)), in one multiplication of the rows.  (..., D) -> (..., D)"""
    s, released = root(c), is_released(mode)
    require_rows("u", u)
    require_margin(eps)
    return _factor_to_ball(norm("u", u), s, eps, released) * u


def _factor_to_ball(n: Tensor, s: float | Tensor, eps: float, released: bool) -> Tensor:
    """|project(exp_0(u))| / |u| for n = |u|."""
    m = n.clamp_min(RELEASED_EPS) if released else n
    free = released_tanh(s * m) / (s * m) if released else tanh_over(s * n)
    beyond = free * n > (1 - eps) / s
    return torch.where(beyond, (1 - eps) / s / torch.where(beyond, n, 1), free)


@island
def _free_logits(x: Tensor, p: Tensor, a: Tensor, c: float | Tensor, eps: float, mode: str) -> Tensor:
    """`mlr_logits` of free p' and a', for which lambda_p |a| is 2 |a'|.  (B, D), (K, D), (K, D) -> (B, K)"""
    s, released = root(c), is_released(mode)
    n = norm("p'", p)
    factor = _factor_to_ball(n, s, eps, released)
    return _mlr_logits(x, scale_rows(p, factor), s * n * factor, a, 2 / s, s, released)


class HyperbolicMLR(nn.Module):
    """Hyperbolic multinomial logistic regression: points (B, dim) of the ball -> logits (B, classes).

    c                number or tensor () above 0; forward takes another one if need be
    parametrisation  'points' (Ganea et al.; the paper): p_k = exp_0(p'_k), a_k = (1 - c |p_k|^2) a'_k, with
                     p' and a' free and drawn as in the authors' code, Kaiming-uniform with a = sqrt 5.
                     'hnn++' (Shimizu, Mukuta and Harada, ICLR 2021, arXiv:2006.08210, recalled): a direction
                     z_k, drawn likewise, and an offset r_k from 0 along it; half the parameters. Equal to
                     'points' at p_k = exp_0(r_k z_k / |z_k|), a'_k = z_k. |sqrt(c) r_k| counts up to 9.
    eps              p_k is projected to the radius (1 - eps) / sqrt(c). The authors do not, and get NaN
                     for sqrt(c) |p'_k| of 10 in float32; below 3.8 this changes nothing.
    mode             'exact' or 'released', see poincare.py; 'hnn++' is 'exact' only
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        c: float | Tensor,
        *,
        parametrisation: str = "points",
        eps: float = 1e-3,
        mode: str = "exact",
    ) -> None:
        super().__init__()
        whole_number("dim", dim)
        whole_number("classes", classes)
        root(c)
        require_margin(eps)
        if parametrisation not in ("points", "hnn++"):
            raise ValueError(f"parametrisation {parametrisation!r} is unknown; choose 'points' or 'hnn++'")
        if is_released(mode) and parametrisation == "hnn++":
            raise ValueError(
                "the authors' code has no 'hnn++'; choose mode 'exact' or parametrisation 'points'"
            )
        self.c, self.parametrisation, self.eps, self.mode = c, parametrisation, eps, mode
        if parametrisation == "points":
            self.p = nn.Parameter(torch.empty(classes, dim))  # p', in the tangent space at 0
            self.a = nn.Parameter(torch.empty(classes, dim))  # a', likewise
        else:
            self.z = nn.Parameter(torch.empty(classes, dim))
            self.r = nn.Parameter(torch.empty(classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.parametrisation == "points":
            nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
            nn.init.kaiming_uniform_(self.p, a=math.sqrt(5))
        else:
            nn.init.kaiming_uniform_(self.z, a=math.sqrt(5))
            nn.init.zeros_(self.r)

    def points(self, c: float | Tensor | None = None) -> Tensor:
        """p_k on the ball, where the hyperplanes are anchored.  (K, D)"""
        c = self.c if c is None else c
        if self.parametrisation == "points":
            return to_ball(self.p, c, self.eps, self.mode)
        return to_ball(F.normalize(self.z, dim=1) * self.r[:, None], c, self.eps)

    def forward(self, x: Tensor, c: float | Tensor | None = None) -> Tensor:
        c = self.c if c is None else c
        require_matrix("x", x)
        width = (self.a if self.parametrisation == "points" else self.z).shape[1]
        if x.shape[1] != width:
            raise ValueError(f"x has shape {tuple(x.shape)} but the layer has dim {width}; give (B, {width})")
        if not self.training and x.device.type != "cpu":
            require_points("x", x, c)
        if self.parametrisation == "hnn++":
            return _hnn_logits(x, self.z, self.r, c)
        return _free_logits(x, self.p, self.a, c, self.eps, self.mode)

    def extra_repr(self) -> str:
        weights = self.a if self.parametrisation == "points" else self.z
        classes, dim = weights.shape
        return f"dim={dim}, classes={classes}, c={_shown(self.c)}, {self.parametrisation}, mode={self.mode}"


class ToPoincare(nn.Module):
    """Features of a Euclidean network to points of the ball: clip, exp_0, project.  (..., D) -> (..., D)

    c                number above 0
    clip             r of Guo et al., "Clipped Hyperbolic Classifiers Are Super-Hyperbolic Classifiers", CVPR
                     2022 (arXiv:2107.11472): features longer than r are shortened to r before exp_0. None: no
    learnable_c      c is learnt, starting at c, and stays above 0 by `parametrisation`: 'softplus' of a free
                     number, or its exponential, 'log'
    riemannian       the gradient correction of the authors' code, on in their MNIST script and off in every
                     few-shot setting; see `correct_gradient`
    eps              the margin of the projection; 1e-3 in the authors' code, 4e-3 in geoopt for float32
    mode             'exact' or 'released', see poincare.py
    """

    def __init__(
        self,
        c: float,
        *,
        clip: float | None = None,
        learnable_c: bool = False,
        parametrisation: str = "softplus",
        riemannian: bool = False,
        eps: float = 1e-3,
        mode: str = "exact",
    ) -> None:
        super().__init__()
        if isinstance(c, Tensor):
            raise TypeError("c of ToPoincare is a tensor; give a number, and learnable_c=True to learn it")
        root(c)
        require_margin(eps)
        is_released(mode)
        if parametrisation not in ("softplus", "log"):
            raise ValueError(f"parametrisation {parametrisation!r} is unknown; choose 'softplus' or 'log'")
        if clip is not None:
            _require_length("clip", clip)
        self.clip, self.parametrisation, self.riemannian = clip, parametrisation, riemannian
        self.eps, self.mode = eps, mode
        self.fixed_c = None if learnable_c else float(c)
        if learnable_c:
            start = math.log(c) if parametrisation == "log" else c + math.log(-math.expm1(-c))
            self.free_c = nn.Parameter(torch.tensor(start))

    @property
    def c(self) -> float | Tensor:
        """c, a number, or a tensor () with gradient when it is learnt: hand it to the layers that follow."""
        if self.fixed_c is not None:
            return self.fixed_c
        return self.free_c.exp() if self.parametrisation == "log" else F.softplus(self.free_c)

    def forward(self, u: Tensor) -> Tensor:
        c = self.c
        if self.clip is not None:
            u = clip_norm(u, self.clip)
        x = to_ball(u, c, self.eps, self.mode)
        return correct_gradient(x, c) if self.riemannian else x

    def extra_repr(self) -> str:
        learnt = f", learnt by {self.parametrisation}" if self.fixed_c is None else ""
        return (
            f"c={_shown(self.c)}{learnt}, clip={self.clip}, riemannian={self.riemannian}, eps={self.eps}, "
            f"mode={self.mode}"
        )


class HyperbolicLinear(nn.Module):
    """(M x) (+) exp_0(b), then projected: points (..., in) of the ball -> points (..., out).

    M and b are free, drawn as in the authors' code (torch.nn.Linear's). c: number or tensor (). The bias is
    added with the layer's own c; the authors' code adds it with c = 1 whatever c is.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        c: float | Tensor,
        *,
        bias: bool = True,
        eps: float = 1e-3,
        mode: str = "exact",
    ) -> None:
        super().__init__()
        whole_number("in_dim", in_dim)
        whole_number("out_dim", out_dim)
        root(c)
        require_margin(eps)
        is_released(mode)
        self.c, self.eps, self.mode = c, eps, mode
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        self.bias = nn.Parameter(torch.empty(out_dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.shape[1])
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, c: float | Tensor | None = None) -> Tensor:
        c = self.c if c is None else c
        if not self.training and x.device.type != "cpu":
            require_points("x", x, c)
        y = project(mobius_matvec(self.weight, x, c, self.mode), c, self.eps, self.mode)
        if self.bias is None:
            return y
        b = to_ball(self.bias, c, self.eps, self.mode)
        return project(mobius_add(y, b, c, self.mode), c, self.eps, self.mode)

    def extra_repr(self) -> str:
        out_dim, in_dim = self.weight.shape
        return (
            f"{in_dim}, {out_dim}, c={_shown(self.c)}, bias={self.bias is not None}, eps={self.eps}, "
            f"mode={self.mode}"
        )


class HyperbolicConcat(nn.Module):
    """(M1 x1) (+) (M2 x2), projected: points (..., dim1) and (..., dim2) of the ball -> points (..., out)."""

    def __init__(
        self,
        dim1: int,
        dim2: int,
        out_dim: int,
        c: float | Tensor,
        *,
        eps: float = 1e-3,
        mode: str = "exact",
    ) -> None:
        super().__init__()
        self.first = HyperbolicLinear(dim1, out_dim, c, bias=False, eps=eps, mode=mode)
        self.second = HyperbolicLinear(dim2, out_dim, c, bias=False, eps=eps, mode=mode)

    def forward(self, x1: Tensor, x2: Tensor, c: float | Tensor | None = None) -> Tensor:
        c = self.first.c if c is None else c
        mode, eps = self.first.mode, self.first.eps
        for name, x, layer in (("x1", x1, self.first), ("x2", x2, self.second)):
            require_rows(name, x)
            width = layer.weight.shape[1]
            if x.shape[-1] != width:
                raise ValueError(
                    f"{name} has shape {tuple(x.shape)} but its layer has dim {width}; give (..., {width})"
                )
        try:
            torch.broadcast_shapes(x1.shape[:-1], x2.shape[:-1])
        except RuntimeError as error:
            raise ValueError(
                f"x1 has shape {tuple(x1.shape)} and x2 {tuple(x2.shape)}; give as many points of each"
            ) from error
        return project(mobius_add(self.first(x1, c), self.second(x2, c), c, mode), c, eps, mode)


@island
def clip_norm(u: Tensor, r: float) -> Tensor:
    """u min(1, r / |u|): rows longer than r are shortened to r.  (..., D) -> (..., D)

    Guo et al., CVPR 2022 (arXiv:2107.11472).
    """
    require_rows("u", u)
    _require_length("r", r)
    n = norm("u", u)
    return torch.where(n > r, r / torch.where(n > r, n, 1), 1) * u


@island
def correct_gradient(x: Tensor, c: float | Tensor) -> Tensor:
    """x itself; its gradient is multiplied by (1 - c |x|^2)^2 / 4, the inverse of the metric.  (..., D)

    The authors' code calls the result the Riemannian gradient. It goes on through exp_0 into Euclidean
    weights, so it is neither a Riemannian step nor the gradient of the loss: it weighs each row by its place,
    1/4 at the origin, 1e-6 at the projection radius. c is that of this call; in the authors' code the layer
    made last sets it for all. With a learnable c, the gradient that reaches c through x is weighed as well.
    """
    require_rows("x", x)
    s = root(c)
    with torch.no_grad():
        factor = gap(radius("x", x, s)).square() / 4
    return _WeighGradient.apply(x, factor)  # pyright: ignore[reportReturnType]


class _WeighGradient(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, factor: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (factor,) = ctx.saved_tensors
        return grad * factor, None


@torch.no_grad()
def capped_share(x: Tensor, c: float | Tensor, eps: float = 1e-3) -> Tensor:
    """Share of rows at the radius (1 - eps) / sqrt(c), to which `project` shortens.  (..., D) -> ()"""
    require_rows("x", x)
    require_margin(eps)
    t = root(c) * torch.linalg.vector_norm(widened(x), dim=-1)
    return (t >= (1 - eps) * (1 - 16 * torch.finfo(t.dtype).eps)).to(t.dtype).mean()


def _require_length(name: str, r: float) -> None:
    if isinstance(r, bool) or not isinstance(r, int | float) or not 0 < r < math.inf:
        raise ValueError(f"{name} is {r!r}; give a finite number above 0, the longest feature norm")


def _shown(c: float | Tensor) -> str:
    return f"{float(c.detach() if isinstance(c, Tensor) else c):.6g}"
