"""The interval of each comparison as a mark on a line with zero in its middle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.results.verdicts import SEEDS

HALF = 70
"""Length from zero to either end of the line, in the drawing's own unit."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where mean and interval lie, -HALF to HALF. A bound that lies beyond is drawn at the end, cut off."""

    mean: float
    low: float
    high: float
    cut_low: bool
    cut_high: bool


def marks(comparisons: Sequence[Mapping[str, Any]]) -> list[Mark | None]:
    """One for each comparison of a claim, all on one scale; None where there is no interval.

    The scale is set by the comparisons with enough seeds: an interval of two seeds may be a hundred times as
    wide and is cut off.
    """
    known = [_bounds(c) for c in comparisons]
    enough = [b for b, c in zip(known, comparisons) if b and c["n"] >= SEEDS] or [b for b in known if b]
    reach = max((abs(x) for bounds in enough for x in bounds), default=0.0) or 1.0
    return [_mark(bounds, HALF / (1.05 * reach)) if bounds else None for bounds in known]


def _bounds(comparison: Mapping[str, Any]) -> tuple[float, float, float] | None:
    low, mean, high = (comparison[name] for name in ("low", "difference", "high"))
    if any(x is None or not math.isfinite(x) for x in (low, mean, high)):
        return None
    return low, mean, high


def _mark(bounds: tuple[float, float, float], scale: float) -> Mark:
    low, mean, high = (round(min(max(x * scale, -HALF), HALF), 1) for x in bounds)
    return Mark(
        mean=mean, low=low, high=high, cut_low=bounds[0] * scale < -HALF, cut_high=bounds[2] * scale > HALF
    )
