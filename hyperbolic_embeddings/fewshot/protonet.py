"""Prototypes and logits of ProtoNet in four geometries (Section 5.2; the mean of Section 4).

    symbol   shape           meaning
    z        (..., D)        output of the encoder
    x        (..., D)        point of the geometry: z itself, z / |z|, or exp_0(z) in the ball of curvature -c
    W, S     ()              classes (way) and pictures of each in the support (shot)

    geometry            point x            prototype of a class            logit of class k, times temperature
    euclidean-squared   z                  mean                            -|x - p_k|^2    (Snell et al.)
    euclidean           z                  mean                            -2 |x - p_k|    (control F3)
    cosine              z / |z|            mean, divided by its norm       <x, p_k>        (control F2)
    hyperbolic          exp_0^c(z)         Einstein midpoint               -d_c(x, p_k)

-2 |x - y| is what -d_c(x, y) tends to as c -> 0, so `euclidean` and `hyperbolic` differ in curvature alone.
A point beyond the projection radius is pulled back to it: where all points are, `hyperbolic` is a sphere with
a fixed temperature, which is what `cosine` controls for.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from common.arguments import described
from common.metrics.contract import full_precision
from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.arithmetic import (
    RELEASED_EPS,
    arcosh_1_plus_twice,
    gap,
    is_released,
    product,
    radius,
    released_artanh,
    root,
)
from hyperbolic_embeddings.fewshot.presets import Geometry, Mode
from hyperbolic_embeddings.layers import ToPoincare


class ProtoHead(nn.Module):
    """From encoder outputs to logits; float32 or better, whatever autocast says."""

    def __init__(
        self,
        geometry: Geometry,
        *,
        temperature: float = 1.0,
        learn_temperature: bool = False,
        c: float = 0.01,
        clip: float = 0.0,
        eps: float = 1e-3,
        mode: Mode = "exact",
        correction: bool = False,
    ) -> None:
        """temperature: divides the logits; learn_temperature: it is a parameter (its logarithm).

        Of the hyperbolic geometry alone: c > 0 (curvature -c); clip: largest norm of z, 0 for none (Guo et
        al., arXiv:2107.11472); eps: points stay at (1 - eps) / sqrt(c) or below; mode: 'released' has the
        constants of the authors' code; correction: scale the gradient as their ToPoincare does by default.
        ValueError for values that no geometry has.
        """
        super().__init__()
        if geometry not in get_args(Geometry):
            raise ValueError(f"geometry = {geometry!r}: use one of {', '.join(get_args(Geometry))}")
        if not _above_0(temperature):
            raise ValueError(f"temperature = {temperature}: give a number above 0")
        if geometry == "hyperbolic":
            if not _above_0(c):
                raise ValueError(
                    f"c = {c}: the curvature is -c, give a number above 0; for flat space choose euclidean"
                )
            if not (_above_0(eps) and eps < 1):
                raise ValueError(f"eps = {eps}: the share of the radius kept free, give a number in (0, 1)")
            if clip != 0 and not _above_0(clip):
                raise ValueError(f"clip = {clip}: the largest norm, give a number above 0, or 0 for none")
            self.to_ball = ToPoincare(c, clip=clip or None, riemannian=correction, eps=eps, mode=mode)
        self.geometry, self.c, self.clip, self.eps, self.mode = geometry, c, clip, eps, mode
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)

    @property
    def temperature(self) -> Tensor:
        return self.log_temperature.exp()

    def embed(self, z: Tensor) -> Tensor:
        """Points x (..., D) of encoder outputs z (..., D). ValueError on the CPU: NaN or infinity in z."""
        _require_rows("z", z, "(..., D)")
        if z.device.type == "cpu" and not bool(z.isfinite().all()):
            raise ValueError("z holds NaN or infinity; the encoder diverged: lower the learning rate")
        z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        if self.geometry == "hyperbolic":
            return self.to_ball(z)
        return normalize(z, dim=-1) if self.geometry == "cosine" else z

    def capped(self, z: Tensor) -> Tensor:
        """(...) bool: whether the projection radius or the clip stops z, so that its norm no longer counts
        (finding F2).

        |exp_0(z)| = tanh(sqrt(c) |z|) / sqrt(c) is (1 - eps) / sqrt(c) at |z| = artanh(1 - eps) / sqrt(c).
        Always false for the other geometries.
        """
        _require_rows("z", z, "(..., D)")
        norm = z.detach().norm(dim=-1)
        if self.geometry != "hyperbolic":
            return torch.zeros_like(norm, dtype=torch.bool)
        cap = math.atanh(1 - self.eps) / math.sqrt(self.c)
        return norm >= (min(self.clip, cap) if self.clip else cap)

    def prototypes(self, support: Tensor) -> Tensor:
        """support (..., W, S, D) points -> (..., W, D).

        Section 4: the Einstein midpoint in the ball. With one support picture that is the picture
        itself; mode 'released' still sends it to the Klein ball and back, as the authors' code does, which
        moves points near the boundary (note W7).
        """
        _require_rows("support", support, "(..., W, S, D)", axes=3)
        if self.geometry == "hyperbolic":
            return poincare.hyperbolic_mean(support, self.c, dim=-2, mode=self.mode)
        mean = support.mean(-2)
        return normalize(mean, dim=-1) if self.geometry == "cosine" else mean

    def logits(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """query (..., Q, D), prototypes (..., W, D), both points -> (..., Q, W)."""
        _require_rows("query", query, "(..., Q, D)", axes=2)
        _require_rows("prototypes", prototypes, "(..., W, D)", axes=2)
        if prototypes.shape[-1] != query.shape[-1]:
            raise ValueError(
                f"prototypes has shape {tuple(prototypes.shape)} and query {tuple(query.shape)}; give rows "
                "of one D"
            )
        if self.geometry == "hyperbolic":
            distance = poincare.pairwise_distance if query.ndim == 2 else episode_distances
            closeness = -distance(query, prototypes, self.c, self.mode)
        elif self.geometry == "cosine":
            closeness = inner(query, prototypes)
        elif self.geometry == "euclidean":
            closeness = -2 * squared_distance(query, prototypes).clamp(min=TINY).sqrt()
        else:
            closeness = -squared_distance(query, prototypes)
        return closeness / self.temperature


def _above_0(value: object) -> bool:
    """A finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _require_rows(name: str, x: object, shape: str, axes: int = 1) -> None:
    """x is a tensor with at least so many axes."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is {described(x)}; give a float32 or float64 tensor {shape}")
    if not x.is_floating_point():
        raise TypeError(f"{name} is {x.dtype}; convert it to float32 or float64")
    if x.ndim < axes:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give {shape}")


def episode_distances(x: Tensor, y: Tensor, c: float, mode: str = "exact") -> Tensor:
    """poincare.pairwise_distance of many episodes at once.  (..., N, D), (..., M, D) -> (..., N, M)

    An episode has a few thousand pairs: one by one, starting the operations costs more than they do.
    """
    s, released = root(c), is_released(mode)
    _require_one_width(x, y)
    gx, gy = gap(radius("x", x, s)), gap(radius("y", y, s))  # (..., N, 1), (..., M, 1)
    gg = gx * gy.transpose(-1, -2)  # (..., N, M)
    near = c * squared_distance(x, y)
    if not released:
        return arcosh_1_plus_twice(near / gg) / s
    denominator = gg + near
    return 2 / s * released_artanh((near * denominator).sqrt() / (denominator + RELEASED_EPS))


TINY = 1e-12
"""Smallest squared distance that a root is taken of: below it the gradient is 0 instead of infinite."""


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2 of rows x (..., N, D) and y (..., M, D) -> (..., N, M), by one product; not negative."""
    _require_one_width(x, y)
    square = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    return (square - 2 * inner(x, y)).clamp(min=0)


def inner(x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_j>, without TF32.  (..., N, D), (..., M, D) -> (..., N, M)"""
    _require_one_width(x, y)
    if x.ndim == 2:
        return product(x, y)  # its backward pass as well
    with full_precision(x.device):
        return x @ y.transpose(-1, -2)


def _require_one_width(x: object, y: object) -> None:
    """Both are rows of one D."""
    _require_rows("x", x, "(..., N, D)", axes=2)
    _require_rows("y", y, "(..., M, D)", axes=2)
    if x.shape[-1] != y.shape[-1]:  # type: ignore[attr-defined]
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; give rows of one D"  # type: ignore[attr-defined]
        )
