"""Global descriptors of Jun et al., "Combination of Multiple Global Descriptors for Image Retrieval"
(arXiv:1903.10663v4), Section 3.2, Eq. (1): one generalised mean, three exponents. Here and in the other
modules the numbers of equations and sections are remembered, not checked against the PDF.

    symbol   shape          meaning
    x        (B, C, H, W)   feature map X of the backbone, after its last ReLU
    p        () or (C,)     exponent p_c of the generalised mean
    f        (B, C)         descriptor, f_c = (mean over the H W activations of x_c^p_c)^(1 / p_c)    Eq. (1)

S = SPoC is p = 1 (a mean, in spite of "sum-pooled"), M = MAC is p -> infinity, G = GeM is p = 3 for all
channels.
"""

import math

import torch
from torch import Tensor

from common.arguments import described

GEM_FLOOR = 1e-6
"""Activations are raised to at least this before the power (note D17)."""


def spoc(x: Tensor) -> Tensor:
    """S, sum-pooled convolutional features: Eq. (1) with p = 1, the mean.  (B, C, H, W) -> (B, C)

    Early commits of the unofficial code summed instead, a constant factor H W (note D20).
    """
    _check_map(x)
    return x.mean((2, 3))


def mac(x: Tensor) -> Tensor:
    """M, maximum activations of convolutions: Eq. (1) with p -> infinity.  (B, C, H, W) -> (B, C)

    Equal maxima share the gradient.
    """
    _check_map(x)
    return x.amax((2, 3))


def gem(x: Tensor, p: float | Tensor = 3.0) -> Tensor:
    """G, generalised mean: Eq. (1).  (B, C, H, W) -> (B, C)

    p: number > 0, or a tensor () or (C,) when it is learnt; the paper fixes 3 for all channels.
    Activations are clamped at 1e-6 first, since the gradient of mean(x^p)^(1/p) is 0 times infinity at an
    all-zero channel (note D17); so the result is at least 1e-6. Each channel is divided by its maximum before
    the power and multiplied afterwards: the generalised mean is homogeneous, so value and gradient stay the
    same, and x^p neither overflows nor underflows.
    """
    _check_map(x)
    if isinstance(p, Tensor):
        if p.ndim > 1 or (p.ndim == 1 and p.shape[0] != x.shape[1]) or not p.is_floating_point():
            raise ValueError(
                f"gem: p has shape {tuple(p.shape)} and type {p.dtype}; give a floating-point scalar or one "
                f"value per channel, ({x.shape[1]},)"
            )
        if p.device.type == "cpu":
            least, most = (float(end) for end in p.detach().aminmax())
            if not 0 < least <= most < math.inf:
                raise ValueError(f"gem: p reaches from {least:g} to {most:g}; give finite numbers above 0")
    elif isinstance(p, bool) or not isinstance(p, int | float) or not (0 < p < math.inf):
        raise ValueError(f"gem: p is {p!r}; give a finite number above 0 (mac is the limit of large p)")
    x = x.clamp(min=GEM_FLOOR)
    top = x.detach().amax((2, 3), keepdim=True)  # (B, C, 1, 1)
    exponent = p.reshape(-1, 1, 1) if isinstance(p, Tensor) else p  # (C, 1, 1) or (1, 1, 1)
    mean = (x / top).pow(exponent).mean((2, 3))  # (B, C), between 1 / (H W) and 1
    return top[:, :, 0, 0] * mean.pow(1 / p)


def _check_map(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x is {described(x)}; give a feature map, a float32 or float64 tensor [B, C, H, W]")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"feature map x has shape {tuple(x.shape)}; give [B, C, H, W] with C, H, W >= 1")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"feature map x has type {x.dtype}; convert it to float32 or float64 first")
