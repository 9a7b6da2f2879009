"""Arithmetic that poincare.py and layers.py share: rows, hyperbolic functions that keep their digits, checks.

    symbol   shape      meaning
    s        ()         sqrt(c), a float or a 0-dim tensor
    t        (..., 1)   s |x|, radius of a point in units of the ball's
    g        (..., 1)   1 - c |x|^2 = (1 - t)(1 + t), above 0 whenever t is below 1
    u, w     any        arguments of arsinh and arcosh

The operations on rows and on large matrices are autograd functions of their own where that saves passes over
memory. They are built from differentiable operations, so second derivatives work too.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec, cast

import torch
from torch import Tensor

from common.arguments import described
from common.metrics.contract import full_precision

MODES = ("exact", "released")
RELEASED_EPS = 1e-5
"""The authors' margin in denominators, artanh, arsinh and norms."""
RELEASED_TANH = 15.0
"""The authors clamp the argument of tanh to this."""
SMALL = 1e-4
"""Below it the first two terms of f(t) / t are all that float64 can hold."""

P = ParamSpec("P")


def island(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run `function` without autocast, on tensors of one dtype: float32 or float64; half becomes float32."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        for tensor in tensors:
            if not tensor.is_floating_point():
                name = _name_of(tensor, function, args, kwargs)
                raise TypeError(
                    f"{function.__name__}: {name} has type {tensor.dtype}; convert it to float32 or float64"
                )
        if not tensors:
            first = next(iter(inspect.signature(function).parameters))
            given = described(args[0] if args else kwargs.get(first))
            raise TypeError(
                f"{function.__name__}: no tensor was given, {first} is {given}; give float32 or float64 "
                "tensors"
            )
        with torch.autocast(tensors[0].device.type, enabled=False):
            wide = {id(tensor): widened(tensor) for tensor in tensors}  # one tensor given twice stays one
            dtypes = {tensor.dtype for tensor in wide.values() if tensor.ndim}
            if len(dtypes) > 1:
                listed = ", ".join(
                    f"{_name_of(tensor, function, args, kwargs)} is {tensor.dtype}" for tensor in tensors
                )
                raise TypeError(f"{function.__name__}: {listed}; convert them to one")
            call = cast(Callable[..., Tensor], function)
            named = {key: wide.get(id(a), a) for key, a in kwargs.items()}
            return call(*(wide.get(id(a), a) for a in args), **named)

    return run


def _name_of(
    tensor: Tensor, function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """The argument of `function` that holds this tensor."""
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    return next(name for name, value in given.items() if value is tensor)


def widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


# Rows


def norm(name: str, x: Tensor) -> Tensor:
    """Norm of rows of any finite size, which is checked on the CPU; gradient 0 at 0.  (..., D) -> (..., 1)"""
    n = cast(Tensor, _Norm.apply(x))
    if watched(n):
        require_finite(name, n.detach())
    return n


def radius(name: str, x: Tensor, s: float | Tensor, room: float = 0.0) -> Tensor:
    """t = s |x|, which must be below 1 (or at most 1 + room): checked on the CPU.  (..., D) -> (..., 1)"""
    t = s * cast(Tensor, _Norm.apply(x))
    if watched(t):
        require_inside(name, t.detach(), room)
    return t


def gap(t: Tensor) -> Tensor:
    """g = 1 - c |x|^2."""
    return (1 - t) * (1 + t)


def scale_rows(x: Tensor, r: Tensor) -> Tensor:
    """r x.  (N, D), (N, 1) -> (N, D)"""
    return cast(Tensor, _ScaleRows.apply(x, r))


def row_dot(x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_i>.  (N, D), (N, D) -> (N, 1)"""
    return cast(Tensor, _RowDot.apply(x, y))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b^T, forward and backward in the precision of its dtype, TF32 or not.  (N, D), (M, D) -> (N, M)

    A transposed right side, so that its gradient comes out in the memory layout of b itself.
    """
    return cast(Tensor, _Product.apply(a, b))


def rows_times(x: Tensor, m: Tensor) -> Tensor:
    """(..., in), (out, in) -> (..., out)"""
    return product(x.reshape(-1, x.shape[-1]), m).reshape(*x.shape[:-1], len(m))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        n = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        if n.device.type == "cpu" and not bool(((n < 1e-18) | (n > 1e18)).any()):
            return n
        top = x.abs().amax(-1, keepdim=True)  # squares of x / top neither overflow nor vanish
        top = torch.where(top > 0, top, 1)
        return torch.linalg.vector_norm(x / top, dim=-1, keepdim=True) * top

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, n = ctx.saved_tensors
        near = n < torch.finfo(n.dtype).tiny
        return torch.where(near, 0, grad / torch.where(near, 1, n)) * x


class _ScaleRows(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, r: Tensor) -> Tensor:
        return x * r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, r = ctx.saved_tensors
        return (
            grad * r if ctx.needs_input_grad[0] else None,
            torch.linalg.vecdot(grad, x)[:, None] if ctx.needs_input_grad[1] else None,
        )


class _RowDot(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vecdot(x, y)[:, None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y = ctx.saved_tensors
        return (
            grad * y if ctx.needs_input_grad[0] else None,
            grad * x if ctx.needs_input_grad[1] else None,
        )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        with full_precision(a.device):
            return a @ b.T

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        return (
            product(grad, b.T) if ctx.needs_input_grad[0] else None,
            product(grad.T, a.T) if ctx.needs_input_grad[1] else None,
        )


# Hyperbolic functions


def tanh_over(t: Tensor) -> Tensor:
    """tanh(t) / t, 1 at 0; t not below 0."""
    near = t < SMALL
    far = torch.where(near, 1, t)  # a `where` on both sides: no division by 0 in the gradient
    return torch.where(near, 1 - t * t / 3, far.tanh() / far)


def artanh_over(t: Tensor) -> Tensor:
    """artanh(t) / t, 1 at 0; t not below 0."""
    near = t < SMALL
    far = torch.where(near, 0.5, t)
    return torch.where(near, 1 + t * t / 3, far.atanh() / far)


def arsinh_over(t: Tensor) -> Tensor:
    """arsinh(t) / t, 1 at 0; t not below 0."""
    near = t < SMALL
    far = torch.where(near, 1, t)
    return torch.where(near, 1 - t * t / 6, arsinh(far) / far)


def root_from_0(x: Tensor) -> Tensor:
    """sqrt(max(x, 0)), with gradient 0 at 0 and below."""
    above = x > 0
    return torch.where(above, torch.where(above, x, 1).sqrt(), 0)


def arsinh(u: Tensor) -> Tensor:
    """log(u + sqrt(1 + u^2)) for either sign, without cancellation; u^2 must not overflow.

    torch.asinh is scalar code on the CPU, log1p is not.
    """
    return cast(Tensor, _Arsinh.apply(u))


def scaled_arsinh(u: Tensor, scale: Tensor) -> Tensor:
    """scale arsinh(u), with fewer passes over memory.  (B, K), (K,) -> (B, K)"""
    return cast(tuple[Tensor, Tensor], _ScaledArsinh.apply(u, scale))[0]


def arcosh_1_plus_twice(w: Tensor) -> Tensor:
    """arcosh(1 + 2 w) = log1p(2 (w + sqrt(w (1 + w)))); w is overwritten where negative, which is rounding.

    For w <= 0: 0 with gradient 0, which relu's gradient sees to. On the CPU torch.where is ten times slower.
    """
    return cast(Tensor, _Arcosh1PlusTwice.apply(w.relu_()))


def released_tanh(t: Tensor) -> Tensor:
    """tanh of the authors' code: its argument is clamped to 15."""
    return t.clamp(-RELEASED_TANH, RELEASED_TANH).tanh()


def released_artanh(t: Tensor) -> Tensor:
    """artanh of the authors' code: of t clamped to 1 - 1e-5; the gradient passes as 1 / (1 - clamped t^2)."""
    return cast(Tensor, _ReleasedArtanh.apply(t))


def released_arsinh(u: Tensor) -> Tensor:
    """arsinh of the authors' code, log(max(u + sqrt(1 + u^2), 1e-5)), with the gradient of arsinh.

    Computed as written, so that float32 falls to the floor where theirs does: for u below about -3000 the sum
    is 0 in float32, and -11.513 comes out where -8.7 is due.
    """
    return cast(Tensor, _ReleasedArsinh.apply(u))


def _arsinh(u: Tensor) -> Tensor:
    if u.device.type != "cpu":
        return u.asinh()
    a = u.abs()
    square = a * a
    below = (square + 1).sqrt_().add_(1)
    return square.div_(below).add_(a).log1p_().copysign_(u)  # log1p(a + a^2 / (1 + sqrt(1 + a^2)))


class _Arsinh(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor) -> Tensor:
        return _arsinh(u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (u,) = ctx.saved_tensors
        return grad / (u * u).add_(1).sqrt_()


class _ScaledArsinh(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        h = _arsinh(u)
        return h * scale, h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        u, scale, h = ctx.saved_tensors
        h = arsinh(u) if torch.is_grad_enabled() else h  # a second derivative needs its own graph
        return (grad / (u * u).add_(1).sqrt_()).mul_(scale), (grad * h).sum(0)


class _Arcosh1PlusTwice(torch.autograd.Function):
    @staticmethod
    def forward(w: Tensor) -> Tensor:
        return torch.addcmul(w, w, w).sqrt_().add_(w).mul_(2).log1p_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (w,) = ctx.saved_tensors
        return grad / torch.addcmul(w, w, w).clamp_min_(torch.finfo(w.dtype).tiny).sqrt_()


class _ReleasedArtanh(torch.autograd.Function):
    @staticmethod
    def forward(t: Tensor) -> Tensor:
        t = t.clamp(-1 + RELEASED_EPS, 1 - RELEASED_EPS)
        return ((1 + t).log_() - (1 - t).log_()).div_(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (t,) = ctx.saved_tensors
        return grad / (1 - t.clamp(-1 + RELEASED_EPS, 1 - RELEASED_EPS).square())


class _ReleasedArsinh(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor) -> Tensor:
        return (u * u).add_(1).sqrt_().add_(u).clamp_min_(RELEASED_EPS).log_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (u,) = ctx.saved_tensors
        return grad / (1 + u * u).sqrt()


# Checks


def watched(x: Tensor) -> bool:
    """Values are checked on the CPU only: a GPU would have to be waited for."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def root(c: float | Tensor) -> Any:
    """sqrt(c), a float or a 0-dim tensor; ValueError unless c is a finite number above 0."""
    if isinstance(c, Tensor):
        if c.ndim:
            raise ValueError(f"c has shape {tuple(c.shape)}; give a number or a tensor of shape ()")
        if watched(c) and not 0 < c.item() < math.inf:
            raise ValueError(f"c is {c.item()!r}; give a finite number above 0, the curvature is -c")
        return c.sqrt()
    if isinstance(c, bool) or not isinstance(c, int | float) or not 0 < c < math.inf:
        raise ValueError(f"c is {c!r}; give a finite number above 0, the curvature is -c")
    return math.sqrt(c)


def is_released(mode: str) -> bool:
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; choose 'exact' or 'released'")
    return mode == "released"


def require_inside(name: str, t: Tensor, room: float = 0.0) -> None:
    inside = t <= 1 + room if room else t < 1
    if bool(inside.all()):
        return
    row = int((~inside).flatten().nonzero()[0])
    if not math.isfinite(value := t.flatten()[row].item()):
        require_finite(name, t)
    raise ValueError(
        f"{name}: row {row} lies outside the ball, sqrt(c) |x| = {value:.8g} is not below 1; project it "
        "first (project, ToPoincare)"
    )


def require_finite(name: str, per_row: Tensor) -> None:
    """per_row (..., 1): a number that is finite only if the whole row is."""
    finite = per_row.isfinite()
    if not bool(finite.all()):
        raise ValueError(
            f"{name}: row {int((~finite).flatten().nonzero()[0])} holds a value that is not finite; lower "
            "the learning rate or check the input"
        )


def require_rows(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is {described(x)}; give a float32 or float64 tensor (..., D)")
    if not x.ndim or not x.shape[-1]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give (..., D) with D >= 1")


def require_matrix(name: str, x: Tensor, like: Tensor | None = None) -> None:
    require_rows(name, x)
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give a matrix with a row for each point")
    if like is not None and x.shape[1] != like.shape[1]:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}, but the points have D = {like.shape[1]}; give rows of one D"
        )


def require_broadcast(function: str, x: Tensor, y: Tensor, name: str = "y") -> None:
    require_rows("x", x)
    require_rows(name, y)
    try:
        fits = x.shape[-1] == y.shape[-1]
        torch.broadcast_shapes(x.shape, y.shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: x {tuple(x.shape)} and {name} {tuple(y.shape)} do not fit; give rows of one D and "
            "shapes that broadcast"
        )


def require_margin(eps: float) -> None:
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
        raise ValueError(f"eps is {eps!r}; give a number above 0 and below 1, such as 1e-3")
