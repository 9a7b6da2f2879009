"""Claim C7, from the rows of the tables reid-market and reid-duke."""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.results import ClaimResult, claim_entries, claim_verdict, paired
from hyperbolic_embeddings.reid.presets import DIMS, PRESETS, SCHEDULES
from hyperbolic_embeddings.reid.tables import NAMES, arm


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison, see common.results.claim_entries; a single one as long as there is no row.

    Both schedules count alike.
    """
    statement = "In re-identification the hyperbolic head beats the Euclidean one, more so at low dimension"
    if not {"market", "duke"} & set(runs["preset"]):
        return claim_entries("C7", statement, "reid-market", {"needs budget paper": claim_verdict([])})
    out: list[dict[str, Any]] = []
    for preset, name in (("market", "Market-1501"), ("duke", "DukeMTMC-reID")):
        arms = {
            (head, dim): [(preset, arm(preset, head, dim, s)) for s in SCHEDULES]
            for head in NAMES
            for dim in DIMS
        }
        dataset = PRESETS[preset][1].data

        def gain(head: str, other: str, dim: int, metric: str) -> ClaimResult:
            return claim_verdict(
                paired(runs, arms[head, dim], arms[other, dim], metric, "query", dataset)  # noqa: B023
            )

        comparisons = {
            f"{metric}, {name}, D = {dim}: hyperbolic - {NAMES[other]}": gain(
                "hyperbolic", other, dim, metric
            )
            for metric in ("rank-1", "map")
            for other in ("euclidean", "flat")
            for dim in DIMS
        }
        low, high = DIMS[0], DIMS[-1]
        apart = paired(
            runs,
            [*arms["hyperbolic", low], *arms["euclidean", high]],
            [*arms["euclidean", low], *arms["hyperbolic", high]],
            "rank-1",
            "query",
            dataset,
        )
        # paired() takes means over the arms: the difference of the two gains is twice that.
        comparisons[f"rank-1, {name}: gain at D = {low} - gain at D = {high}"] = claim_verdict(
            [2 * d for d in apart]
        )
        out += claim_entries(
            "C7",
            statement,
            f"reid-{preset}",
            comparisons,
        )
    return out
