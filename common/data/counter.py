"""Random numbers without a state: a pure function of who asks (seed, epoch, picture, purpose).

A picture's augmentation must not depend on which other pictures share its batch, on the number of worker
processes, or on where a killed run resumed, so nothing here has a state and torch's global generator is never
touched. The generator is splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014; constants: Stafford's variant 13): whole numbers only, hence the same bits on CPU and GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: the step of splitmix64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1


def mix(z: int) -> int:
    """The finaliser of splitmix64 on one 64-bit number: a bijection of 0 .. 2^64 - 1."""
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


def key(*parts: int) -> int:
    """One 64-bit number from several whole numbers, order included; also the seed of a torch.Generator."""
    state = 0
    for part in parts:
        state = (mix(state ^ (part & _MASK)) + GAMMA) & _MASK
    return state


def generator(*parts: int) -> torch.Generator:
    """A CPU generator seeded with key(*parts), for permutations."""
    return torch.Generator().manual_seed(key(*parts))


def uniform(seed: int, epoch: int, index: Tensor, stream: int, n: int, view: int = 0) -> Tensor:
    """[B, n] float32 in [0, 1), multiples of 2^-24, on the device of index.

    Row b is a function of (seed, epoch, stream, view, index[b]) alone: the first n outputs of a splitmix64
    generator that starts at a mix of them. index: [B] int64. stream: one number per purpose, so that
    purposes are independent and switching one on leaves the others as they were. view: number of the version
    of a picture; 0 is what a single version gets.
    """
    if index.dtype != torch.int64 or index.ndim != 1:
        raise TypeError(f"index must be int64 [B], got {index.dtype} {tuple(index.shape)}")
    parts = (seed, epoch, stream, view) if view else (seed, epoch, stream)
    start = _mix(index * _signed(GAMMA) + _signed(key(*parts)))  # (B,)
    step = torch.arange(1, n + 1, device=index.device) * _signed(GAMMA)  # (n,)
    bits = _mix(start[:, None] + step)  # (B, n)
    return _shift(bits, 40).to(torch.float32) * 2.0**-24  # 24 bits: exact in float32, never 1


def _mix(z: Tensor) -> Tensor:
    """`mix` on int64 tensors, whose products and sums wrap around."""
    z = (z ^ _shift(z, 30)) * _signed(_FIRST)
    z = (z ^ _shift(z, 27)) * _signed(_SECOND)
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Unsigned shift to the right (>> of int64 copies the sign)."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def _signed(z: int) -> int:
    """The int64 with the same bits."""
    return z - 2**64 if z >= 2**63 else z
