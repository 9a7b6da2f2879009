"""The paper's claims as paired comparisons on our own rows (budget mini), with their verdicts.

`python -m hierarchical_multilabel.claims` prints them as JSON for `common.results`. Each difference is taken
seed by seed between rows that share everything but what the claim is about; the verdict is that of the 95 %
Student interval. C1 to C8 rest on Omniglot. F1 to F6 are no claims of the paper: F1 to F4 were put as
questions after rows of Omniglot had been seen, F5 and F6 ask F1 and F2 again of the photographs of CUB-100,
of which no row had been seen. Claim ids are those of reproduce.md; what each claim says was read in reviews,
issues and aggregators of arXiv:2204.13207, not in the PDF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from common import results
from common.results import ClaimResult, claim_entries, claim_verdict, paired
from common.results.rows import only
from common.results.verdicts import Arm
from hierarchical_multilabel.tables import METHODS, changes

SIMCLR, CROSS_ENTROPY = "SimCLR", "cross-entropy, characters"
FLAT, FLAT_COARSE = "SupCon, characters", "SupCon, alphabets"
HIERARCHICAL = tuple(label for label in METHODS if label.startswith("Hi"))
RETRIEVAL = "unseen/character/recall@1"

Metrics = tuple[tuple[str, str], ...]
"""(metric, what it is called in a comparison) ..."""
COARSE: Metrics = (
    ("unseen/alphabet/knn@20", "alphabet 20-NN"),
    ("unseen/alphabet/probe", "probe, unseen alphabets"),
    ("unseen/alphabet/nmi", "NMI, alphabets"),
)
FINE: Metrics = (
    (RETRIEVAL, "R@1"),
    ("unseen/character/probe", "probe, unseen characters"),
    ("unseen/character/nmi-within", "NMI, characters in an alphabet"),
    ("seen/character/recall@1", "R@1, seen"),
    ("seen/character/probe", "probe, seen characters"),
)
FAMILIES: Metrics = (
    ("unseen/family/knn@20", "family 20-NN"),
    ("unseen/family/probe", "probe, unseen families"),
    ("unseen/family/nmi", "NMI, families"),
)


PRESET_OF = {"omniglot": "omniglot", "cub_100": "cub-100"}
"""Data set -> preset of its rows."""


def arm(label: str = "HiMulConE", dataset: str = "omniglot", **changed: Any) -> Arm:
    """A row of the mini tables of a data set: its preset and what it overrides."""
    preset = PRESET_OF[dataset]
    return preset, changes(preset, **(METHODS[label] | changed))


def compare(
    runs: pd.DataFrame, a: Sequence[Arm], b: Sequence[Arm], metric: str, dataset: str = "omniglot"
) -> ClaimResult:
    return claim_verdict(paired(runs, a, b, metric, "test", dataset))


def best_hierarchical(runs: pd.DataFrame) -> str | None:
    """The hierarchical row with the highest mean character recall@1 on seen alphabets, so that no unseen
    alphabet chooses; None before all have run.
    """
    means: dict[str, float] = {}
    for label in HIERARCHICAL:
        preset, changed = arm(label)
        kept = only(runs, metric="seen/character/recall@1", split="test", dataset="omniglot", preset=preset)
        chosen = results.newest(only(kept, overrides=results.canonical(changed)))
        if chosen.empty:
            return None
        means[label] = sum(chosen["value"].tolist()) / len(chosen)
    return max(means, key=lambda label: means[label])


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison: id, statement, comparison, difference, low, high, n, unit, verdict, table."""
    out: list[dict[str, Any]] = []

    def add(name: str, statement: str, table: str, comparisons: Mapping[str, ClaimResult]) -> None:
        out.extend(claim_entries(name, statement, table, comparisons, "share"))

    def against(rivals: Sequence[str], metric: str, words: str = "") -> dict[str, ClaimResult]:
        """HiMulConE as printed minus each rival."""
        return {
            f"HiMulConE - {rival}{words}": compare(runs, [arm()], [arm(rival)], metric) for rival in rivals
        }

    flat = (SIMCLR, CROSS_ENTROPY, FLAT)
    add(
        "C1",
        "On seen categories a linear probe on HiMulConE beats the baselines",
        "losses",
        against(flat, "seen/character/probe", ": probe, characters")
        | against((*flat, FLAT_COARSE), "seen/alphabet/probe", ": probe, alphabets"),
    )
    gain = [
        paired(runs, [arm()], [arm(FLAT)], f"{group}/alphabet/probe", "test", "omniglot")
        for group in ("unseen", "seen")
    ]
    add(
        "C2",
        "On unseen categories the gain persists or grows",
        "losses",
        against((*flat, FLAT_COARSE), "unseen/alphabet/probe", ": probe, unseen alphabets")
        | {
            "gain over SupCon on unseen - on seen alphabets": claim_verdict(
                [a - b for a, b in zip(*gain)] if len(gain[0]) == len(gain[1]) else []
            )
        },
    )
    add(
        "C3",
        "HiMulConE is ahead in retrieval of sub-categories, seen",
        "clusters",
        against(flat, "seen/character/recall@1", ": R@1"),
    )
    best = best_hierarchical(runs)
    chosen = {} if best is None else {
        f"{best} (best on seen alphabets) - {FLAT}: R@1": compare(runs, [arm(best)], [arm(FLAT)], RETRIEVAL)
    }  # fmt: skip
    add(
        "C4",
        "HiMulConE is ahead in retrieval of sub-categories, unseen",
        "losses",
        against(flat, RETRIEVAL, ": R@1") | chosen,
    )
    add(
        "C5",
        "Clusters agree better with categories, and with sub-categories inside one",
        "clusters",
        against((*flat, FLAT_COARSE), "unseen/alphabet/nmi", ": NMI, alphabets")
        | against(flat, "unseen/character/nmi-within", ": NMI, characters in an alphabet"),
    )
    add(
        "C6",
        "Where meanings overlap across levels HiConE is ahead of HiMulCon, and HiMulConE of both",
        "losses",
        {
            f"{a} - {b}: {words}": compare(runs, [arm(a)], [arm(b)], metric)
            for metric, words in (
                ("unseen/alphabet/probe", "probe, unseen alphabets"),
                (RETRIEVAL, "R@1"),
            )
            for a, b in (
                ("HiConE", "HiMulCon"),
                ("HiConE, as released", "HiMulCon, as released"),
                ("HiMulConE", "HiMulCon"),
                ("HiMulConE", "HiConE"),
            )
        },
    )
    add(
        "C7",
        "Of the level penalties the exponential one is best",
        "penalty",
        {
            f"exp(1/l) - {label}: probe, {group} {level}s": compare(
                runs, [arm()], [arm(penalty=name)], f"{group}/{level}/probe"
            )
            for group, level in (("seen", "character"), ("unseen", "alphabet"))
            for label, name in (
                ("2^(1/l)", "pow2"),
                ("1/l", "reciprocal"),
                ("1", "one"),
                ("turned round", "coarse"),
            )
        },
    )
    add(
        "C8",
        "Hierarchical batches are needed",
        "sampler",
        {
            f"{label}, hierarchical - random: {words}": compare(
                runs, [arm(label)], [arm(label, sampler="random")], metric
            )
            for metric, words in ((RETRIEVAL, "R@1"), ("unseen/alphabet/knn@20", "alphabet 20-NN"))
            for label in ("HiMulConE", "HiMulConE, as released", FLAT)
        },
    )

    def question(
        name: str, statement: str, a: str, b: str, metrics: Metrics, dataset: str, table: str, finest: str
    ) -> None:
        """a - b on each metric; finest: what the finest level of the data set is called."""
        pairs = {
            f"{a} - {b.replace('characters', finest)}: {words}": compare(
                runs, [arm(a, dataset)], [arm(b, dataset)], metric, dataset
            )
            for metric, words in metrics
        }
        add(name, statement, table, pairs)

    drawings = ("omniglot", "losses", "characters")
    photographs = ("cub_100", "cub-100", "species")
    question(
        "F1", "Levels help the coarse one: HiMulCon is ahead of flat SupCon on alphabets", "HiMulCon", FLAT,
        COARSE, *drawings,
    )  # fmt: skip
    question(
        "F2", "The constraint adds to that: HiMulConE is ahead of HiMulCon", "HiMulConE", "HiMulCon", COARSE,
        *drawings,
    )  # fmt: skip
    question(
        "F3", "Levels help the fine one: HiMulCon is ahead of flat SupCon on characters", "HiMulCon", FLAT,
        FINE, *drawings,
    )  # fmt: skip
    add(
        "F4",
        "The printed form is ahead of the released one",
        "losses",
        {
            f"{label} - {label}, as released: {words}": compare(
                runs, [arm(label)], [arm(f"{label}, as released")], metric
            )
            for metric, words in (FINE[0], COARSE[0])
            for label in ("HiMulCon", "HiConE", "HiMulConE")
        },
    )
    question(
        "F5", "F1 on photographs: HiMulCon is ahead of flat SupCon on families of birds", "HiMulCon", FLAT,
        FAMILIES, *photographs,
    )  # fmt: skip
    question(
        "F6", "F2 on photographs: HiMulConE is ahead of HiMulCon on families of birds", "HiMulConE",
        "HiMulCon", FAMILIES, *photographs,
    )  # fmt: skip
    return out


if __name__ == "__main__":
    print(json.dumps(claims(results.load_runs("hierarchical_multilabel")), indent=1))
