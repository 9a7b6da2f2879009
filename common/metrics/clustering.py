"""Agreement of a clustering with known classes."""

from __future__ import annotations

import torch
from torch import Tensor

from common.metrics.contract import require_labels


def nmi(labels: Tensor, clusters: Tensor) -> float:
    """Normalised mutual information, I(U, V) / ((H(U) + H(V)) / 2), of two labelings of the same rows.

    labels, clusters (N,) int64, any values. The arithmetic mean is scikit-learn's default (Vinh et al., JMLR
    2010, call it NMI_sum). One group on both sides agrees perfectly: 1. One group on one side only says
    nothing: 0. Computed from the counts in float64 and clamped to [0, 1]. Raises ValueError for no rows or
    unequal lengths.
    """
    require_labels("labels", labels)
    require_labels("clusters", clusters, len(labels), labels)
    n = len(labels)
    if n == 0:
        raise ValueError("labels is empty, shape (0,); give at least one row")
    _, u = labels.cpu().unique(return_inverse=True)
    _, v = clusters.cpu().unique(return_inverse=True)
    p_u, p_v = u.bincount().double() / n, v.bincount().double() / n
    cells, counts = (u * len(p_v) + v).unique(return_counts=True)  # only the pairs that occur
    p = counts.double() / n
    if len(p_u) == len(p_v) == 1:
        return 1.0
    information = (p * (p.log() - p_u[cells // len(p_v)].log() - p_v[cells % len(p_v)].log())).sum()
    entropies = torch.special.entr(p_u).sum() + torch.special.entr(p_v).sum()
    return min(max(float(2 * information / entropies), 0.0), 1.0)
