"""Verdicts on the uncertainty experiment: claim C3 of the paper, and what its Table 2 does not control for.

Differences are taken seed by seed between rows of the published training (tables `uncertainty` and
`uncertainty-correction`). C9, that the formulas become Euclidean as c -> 0, is a unit test
(tests/hyperbolic_embeddings/uncertainty/test_model.py) and no comparison of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from common import results
from common.results import ClaimResult, claim_entries, claim_verdict
from common.results.rows import only
from hyperbolic_embeddings.uncertainty.tables import DIMS, changes

HYPERBOLIC, EUCLIDEAN = "mnist-hyperbolic", "mnist-euclidean"


def values(runs: pd.DataFrame, metric: str, preset: str, **fields: Any) -> dict[int, float]:
    """Seed -> newest figure of one row of the paper-budget tables."""
    kept = only(runs, metric=metric, preset=preset, dataset="mnist", split="test")
    rows = results.newest(only(kept, overrides=results.canonical(changes(preset, **fields))))
    rows = rows.sort_values("date", kind="stable")
    return dict(zip(rows["seed"].tolist(), rows["value"].tolist()))


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> ClaimResult:
    """a - b, paired over the seeds that both have."""
    return claim_verdict([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison, see results.claim_entries."""

    def per_dim(preset: str, metric: str, other: str, other_metric: str) -> dict[int, ClaimResult]:
        return {
            n: difference(values(runs, metric, preset, dim=n), values(runs, other_metric, other, dim=n))
            for n in DIMS
        }

    def named(text: str, found: Mapping[int, ClaimResult]) -> dict[str, ClaimResult]:
        return {f"{text}, n = {n}": result for n, result in found.items()}

    def above_chance(metric: str) -> dict[int, ClaimResult]:
        """An AUROC of the hyperbolic network, minus one half."""
        return {
            n: claim_verdict([v - 0.5 for _, v in sorted(values(runs, metric, HYPERBOLIC, dim=n).items())])
            for n in DIMS
        }

    def correction(metric: str) -> ClaimResult:
        return difference(
            values(runs, metric, HYPERBOLIC, correction=False), values(runs, metric, HYPERBOLIC)
        )

    return [
        *claim_entries(
            "C3",
            "The distance from the origin separates MNIST from Omniglot better than p_max of a Euclidean "
            "network (KS)",
            "uncertainty",
            named(
                "hyperbolic d(0, z) - Euclidean p_max",
                per_dim(HYPERBOLIC, "ks_distance", EUCLIDEAN, "ks_p_max"),
            ),
        ),
        *claim_entries(
            "F1",
            "Control: the feature norm of the Euclidean network separates better than d(0, z), which is "
            "twice a feature norm (KS)",
            "uncertainty",
            named(
                "Euclidean |u| - hyperbolic d(0, z)",
                per_dim(EUCLIDEAN, "ks_norm", HYPERBOLIC, "ks_distance"),
            ),
        ),
        *claim_entries(
            "F6",
            "d(0, z) measures certainty at all: Omniglot, and digits that are misclassified, lie nearer to "
            "the origin (AUROC above one half)",
            "uncertainty-auroc",
            named("MNIST against Omniglot", above_chance("auroc_distance"))
            | named("right against wrong digits", above_chance("errors_auroc_distance")),
        ),
        *claim_entries(
            "F7",
            "Within the hyperbolic network, p_max separates better than d(0, z) (KS)",
            "uncertainty",
            named("p_max - d(0, z)", per_dim(HYPERBOLIC, "ks_p_max", HYPERBOLIC, "ks_distance")),
        ),
        *claim_entries(
            "F8",
            "Without the gradient correction of the authors' code d(0, z) separates better (n = 2)",
            "uncertainty-correction",
            {"KS of d(0, z), off - on": correction("ks_distance")},
        ),
    ]
