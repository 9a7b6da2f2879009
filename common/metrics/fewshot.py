"""Accuracy over few-shot episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def episode_interval(accuracies: Tensor | np.ndarray | Sequence[float]) -> tuple[float, float]:
    """Mean over the episodes and half the width of its 95 % interval, 1.96 * population std / sqrt(n).

    accuracies (n,): one value per episode, in any unit; both results are in that unit. The population
    standard deviation (divided by n) is the convention of the published few-shot tables. One episode has
    half-width 0, which says nothing. Raises ValueError for no episodes, more than one dimension, NaN or
    infinity; TypeError for what are not numbers.
    """
    if isinstance(accuracies, Tensor):
        if accuracies.dtype == torch.bool or accuracies.is_complex():
            raise TypeError(f"accuracies is {accuracies.dtype}; give one real number per episode")
        values = accuracies.detach().cpu().double()
    else:
        try:
            values = torch.tensor(accuracies, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"accuracies is a {type(accuracies).__name__}; give one real number per episode"
            ) from error
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"accuracies has shape {tuple(values.shape)}; give at least one episode, shape (n,)")
    if not bool(values.isfinite().all()):
        raise ValueError(f"accuracies holds {float(values[~values.isfinite()][0])}; give finite numbers")
    return float(values.mean()), 1.96 * float(values.std(correction=0)) / math.sqrt(len(values))
