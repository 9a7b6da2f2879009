"""The claims about few-shot classification, C4 to C6, and the findings F2 and F3, paired over seeds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.results import ClaimResult, claim_entries, claim_verdict, paired
from common.results.verdicts import Arm
from hyperbolic_embeddings.fewshot.presets import GEOMETRIES
from hyperbolic_embeddings.fewshot.tables import changes

MAIN = ("20way-1shot", "5way-1shot")
"""Where the figures are compared; the 20-way one is the more sensitive."""


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison; see hyperbolic_embeddings/claims.py."""

    def arm(label: str, preset: str = "omniglot-protonet") -> Arm:
        return preset, changes(preset, **GEOMETRIES[label])

    def differences(a: str, b: str, metric: str) -> list[float]:
        return paired(runs, [arm(a)], [arm(b)], metric, "test", "omniglot")

    def compare(a: str, b: str, metrics: tuple[str, ...] = MAIN) -> dict[str, ClaimResult]:
        return {f"{a} - {b}, {name(m)}": claim_verdict(differences(a, b, m)) for m in metrics}

    def gain(way: int) -> ClaimResult:
        """How much more hyperbolic gains over Euclidean with 1 shot than with 5; the same checkpoints."""
        sides = [differences("hyperbolic", "Euclidean, squared", f"{way}way-{shot}shot") for shot in (1, 5)]
        return claim_verdict([one - five for one, five in zip(*sides)])

    def birds(rival: str) -> dict[str, ClaimResult]:
        """hyperbolic - rival on species of CUB-100 that training did not see."""
        a, b = arm("hyperbolic", "cub-100-protonet"), arm(rival, "cub-100-protonet")
        return {
            f"hyperbolic - {rival}, CUB-100, 5-way {shot}-shot": claim_verdict(
                paired(runs, [a], [b], f"5way-{shot}shot", "test", "cub_100")
            )
            for shot in (1, 5)
        }

    out = [
        *claim_entries(
            "C4",
            "Hyperbolic distance and mean improve ProtoNet, and more so with 1 shot than with 5",
            "fewshot",
            {
                **compare("hyperbolic", "Euclidean, squared", (*MAIN, "5way-5shot")),
                "gain at 1 shot - gain at 5 shots, 20-way": gain(20),
                "gain at 1 shot - gain at 5 shots, 5-way": gain(5),
            },
        ),
        # A comparison with other papers' networks: needs the published setting, so no row of ours answers it.
        *claim_entries(
            "C5",
            "With ResNet18 the hyperbolic ProtoNet is on par with stronger methods of its time",
            "fewshot-mini-imagenet",
            {"needs budget paper": claim_verdict([])},
        ),
        *claim_entries(
            "C6",
            "Hyperbolic distance and mean improve ProtoNet on birds",
            "fewshot-cub-100",
            birds("Euclidean, squared"),
        ),
    ]
    for finding, statement, rival in (
        ("F2", "The hyperbolic head beats a sphere, the cosine with a learned temperature", "cosine"),
        (
            "F3",
            "The hyperbolic head beats its own flat limit, the Euclidean distance without the square",
            "Euclidean, -2 |x - y|",
        ),
    ):
        out += claim_entries(finding, statement, "fewshot", compare("hyperbolic", rival))
        out += claim_entries(finding, statement, "fewshot-cub-100", birds(rival))
    return out


def name(metric: str) -> str:
    """'20way-1shot' -> '20-way 1-shot'."""
    way, shot = metric.split("-")
    return f"{way.replace('way', '-way')} {shot.replace('shot', '-shot')}"
