"""Scores of certainty of one picture, and how far apart two sets of scores lie (Section 5.1, Table 2).

    symbol    shape    meaning
    logits    (N, K)   of the classifier
    inside    (N,)     scores of in-domain pictures
    outside   (M,)     scores of out-of-domain pictures

Every score is high where the network is certain. The fifth section's other score, d(0, z), is
poincare.distance0.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from torch import Tensor

from common.arguments import described
from common.metrics.contract import require_embeddings


def log_p_max(logits: Tensor) -> Tensor:
    """(N,) float64: log of the largest class probability, p_max of Table 2.

    As -log1p(sum over the other classes of exp(l_k - l_max)), so that it does not round to 0: the order of
    the pictures, which is all that the two statistics below depend on, stays that of the exact p_max where
    the probability itself would be 1.0 in floating point (note U6).
    """
    require_embeddings("logits", logits)
    logits = logits.double()
    top, at = logits.max(1, keepdim=True)  # (N, 1)
    others = (logits - top).exp().scatter(1, at, 0.0)  # (N, K), without the largest
    return -torch.log1p(others.sum(1))


def energy(logits: Tensor) -> Tensor:
    """(N,) float64: log sum_k exp(l_k), the negative energy at temperature 1 of Liu et al.
    (arXiv:2010.03759)."""
    require_embeddings("logits", logits)
    return logits.double().logsumexp(1)


def ks_distance(inside: Tensor, outside: Tensor) -> float:
    """Two-sample Kolmogorov-Smirnov distance sup_s |F_inside(s) - F_outside(s)| of Table 2, in [0, 1].

    ValueError: a set is empty or holds NaN.
    """
    return float(ks_2samp(*_arrays(inside, outside), method="asymp").statistic)  # type: ignore[attr-defined]


def auroc(inside: Tensor, outside: Tensor) -> float:
    """P(inside > outside) + P(inside = outside) / 2 for one score drawn of each, in [0, 1].

    ValueError: a set is empty or holds NaN.
    """
    a, b = _arrays(inside, outside)
    of = np.concatenate([np.ones(len(a)), np.zeros(len(b))])
    return float(roc_auc_score(of, np.concatenate([a, b])))


def _arrays(inside: Tensor, outside: Tensor) -> tuple[np.ndarray, np.ndarray]:
    for name, scores in (("inside", inside), ("outside", outside)):
        if not isinstance(scores, Tensor):
            raise TypeError(f"{name} is {described(scores)}; give a tensor of scores, (N,)")
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"{name} has shape {tuple(scores.shape)}; give at least one score, (N,)")
        if scores.isnan().any():
            raise ValueError(f"{name} holds NaN; the network diverged, train again with a lower --lr")
    return inside.double().cpu().numpy(), outside.double().cpu().numpy()
