"""Topics of hyperbolic_embeddings: distances of all pairs of points, and hyperbolic logistic regression.

The plain way makes tensors of B x K x D numbers. Its scalar products are matrix products here, as in the
authors' code, which is to its advantage: only the Möbius sums are broadcast.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.measure import Case, Contender
from hyperbolic_embeddings.layers import mlr_logits
from hyperbolic_embeddings.poincare import pairwise_distance

C = 0.5
SIZES = {"tiny": (8, 10, 16), "small": (120, 250, 128), "full": (480, 1000, 512)}


def distance(scale: str) -> list[Case]:
    """Distances of B x K pairs of points in D dimensions, forward."""
    b, k, d = SIZES[scale]
    return [
        Case(
            title=f"Poincaré distance of all pairs, forward, B x K x D = {b} x {k} x {d}, float32",
            build=lambda: _distance(b, k, d),
            baseline="bare product",
            tolerance=1e-4,  # means of 2 to 3
        )
    ]


def mlr(scale: str) -> list[Case]:
    """Logits of K classes for B points in D dimensions, and the gradients of points, p and a."""
    b, k, d = SIZES[scale]
    return [
        Case(
            title=f"Hyperbolic MLR, forward and backward, B x K x D = {b} x {k} x {d}, float32",
            build=lambda: _mlr(b, k, d),
            baseline="bare product",
            tolerance=0.02,  # norms of 30 to 250
        )
    ]


def _points(rows: int, d: int, g: torch.Generator) -> Tensor:
    """Points of random direction, up to 0.95 of the radius.  (rows, D)"""
    unit = normalize(torch.randn(rows, d, generator=g), dim=1)
    return 0.95 / C**0.5 * torch.rand(rows, 1, generator=g) * unit


def _mobius_sums(x: Tensor, y: Tensor) -> Tensor:
    """x_i (+) y_j as printed.  (B, D), (K, D) -> (B, K, D)"""
    xy, xx, yy = x @ y.T, x.square().sum(1)[:, None], y.square().sum(1)  # (B, K), (B, 1), (K,)
    above = (1 + 2 * C * xy + C * yy)[..., None] * x[:, None] + (1 - C * xx)[..., None] * y
    return above / (1 + 2 * C * xy + C**2 * xx * yy)[..., None]


def _geoopt() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torch.jit.script, which is deprecated
        import geoopt  # pyright: ignore[reportMissingImports]
    return geoopt.PoincareBall(c=C)


def _distance(b: int, k: int, d: int) -> list[Contender]:
    g = torch.Generator().manual_seed(0)
    x, y = _points(b, d, g), _points(k, d, g)

    def bare() -> None:
        x @ y.T  # pyright: ignore[reportUnusedExpression]

    def naive() -> Tensor:
        return 2 / C**0.5 * torch.atanh(C**0.5 * _mobius_sums(-x, y).norm(dim=2))

    def mean(f: Callable[[], Tensor]) -> float:
        return float(f().mean())

    return [
        Contender(name="ours", run=lambda: mean(lambda: pairwise_distance(x, y, C))),
        Contender(name="bare product", run=bare),
        Contender(name="printed formula, B x K x D", run=lambda: mean(naive)),
        Contender(
            name="geoopt dist, B x K x D",
            run=lambda: mean(lambda: _geoopt().dist(x[:, None], y)),
            packages=("geoopt",),
            pip="geoopt",
        ),
    ]


def _mlr(b: int, k: int, d: int) -> list[Contender]:
    g = torch.Generator().manual_seed(0)
    inputs = (_points(b, d, g), _points(k, d, g), torch.randn(k, d, generator=g) / d**0.5)  # x, p, a
    upstream = torch.randn(b, k, generator=g) / (b * k) ** 0.5

    def bare() -> None:
        inputs[0] @ inputs[1].T  # pyright: ignore[reportUnusedExpression]

    def naive(x: Tensor, p: Tensor, a: Tensor) -> Tensor:
        m, n = _mobius_sums(-p, x), a.norm(dim=1)[:, None]  # (K, B, D), (K, 1)
        u = 2 * C**0.5 * (m * a[:, None]).sum(2) / ((1 - C * m.square().sum(2)) * n)
        return (2 / (1 - C * p.square().sum(1))[:, None] * n / C**0.5 * u.asinh()).T

    def plane(x: Tensor, p: Tensor, a: Tensor) -> Tensor:
        ball = _geoopt()
        return ball.lambda_x(p) * ball.dist2plane(x[:, None], p, a, signed=True, scaled=True)

    def step(logits: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
        x, p, a = (t.clone().requires_grad_() for t in inputs)
        slopes = torch.autograd.grad(logits(x, p, a), (x, p, a), upstream)
        return float(torch.stack([slope.norm() for slope in slopes]).norm())

    return [
        Contender(name="ours", run=lambda: step(lambda x, p, a: mlr_logits(x, p, a, C))),
        Contender(name="bare product", run=bare),
        Contender(name="printed formula, B x K x D", run=lambda: step(naive)),
        Contender(
            name="geoopt dist2plane, B x K x D",
            run=lambda: step(plane),
            packages=("geoopt",),
            pip="geoopt",
        ),
    ]
