"""The paper's claims as paired comparisons on our own rows (budget mini, Omniglot), with their verdicts.

`python -m cgd_retrieval.claims` prints them as JSON for `common.results`. Each difference is taken seed by
seed between rows that share everything but what the claim is about; the verdict is that of the 95 % Student
interval. Claim ids are those of reproduce.md; what each claim says was read in reviews of arXiv:1903.10663v4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cgd_retrieval.presets import OMNIGLOT, TRICKS
from common import results
from common.results import ClaimResult, claim_entries, claim_verdict, paired
from common.results.rows import only
from common.results.verdicts import Arm

SINGLE = ("S", "M", "G")
PAIRS = ("SM", "MS", "SG", "GS", "MG", "GM")
TRIPLES = ("SMG", "MSG", "GSM")


def arm(**changed: Any) -> Arm:
    """A row of the Omniglot tables: its preset and what it overrides."""
    base = {"config": OMNIGLOT.config, "dim": OMNIGLOT.dim}
    return "omniglot", {k: v for k, v in changed.items() if base.get(k, ...) != v}


def compare(
    runs: pd.DataFrame, a: Sequence[Arm], b: Sequence[Arm], metric: str = "recall@1", split: str = "test"
) -> ClaimResult:
    return claim_verdict(paired(runs, a, b, metric, split, "omniglot"))


def best_singles(runs: pd.DataFrame) -> tuple[str, str] | None:
    """The two single descriptors with the highest mean recall@1 on held-out training classes; None before
    they ran.
    """
    means: dict[str, float] = {}
    for letter in SINGLE:
        preset, changed = arm(config=letter, val_share=0.2)
        kept = only(runs, metric="recall@1", split="val", dataset="omniglot", preset=preset)
        chosen = results.newest(only(kept, overrides=results.canonical(changed)))
        if chosen.empty:
            return None
        means[letter] = sum(chosen["value"].tolist()) / len(chosen)
    first, second, _ = sorted(means, key=lambda letter: -means[letter])
    return first, second


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison: id, statement, comparison, difference, low, high, n, unit, verdict, table."""
    base = arm()
    combined = [arm(config=c) for c in (*PAIRS, *TRIPLES)]
    out: list[dict[str, Any]] = []

    def add(
        name: str, statement: str, table: str, comparisons: Mapping[str, ClaimResult], unit: str = "share"
    ) -> None:
        out.extend(claim_entries(name, statement, table, comparisons, unit))

    add(
        "C1",
        "The auxiliary classification loss helps",
        "auxiliary",
        {
            "ranking + classification - ranking only": compare(runs, [base], [arm(auxiliary=False)]),
        },
    )
    none, ls, ts = (arm(**TRICKS[k]) for k in ("none", "ls", "ts"))
    add(
        "C2",
        "Temperature scaling and label smoothing each help and add up",
        "tricks",
        {
            "LS + TS - neither": compare(runs, [base], [none]),
            "TS - neither": compare(runs, [ts], [none]),
            "LS - neither": compare(runs, [ls], [none]),
            "LS + TS - TS": compare(runs, [base], [ts]),
        },
    )
    add(
        "C3",
        "Reduce, then join (CGD) beats frameworks B and A",
        "frameworks",
        {
            "CGD - B": compare(runs, [base], [arm(framework="B")]),
            "CGD - A": compare(runs, [base], [arm(framework="A")]),
            "B - A": compare(runs, [arm(framework="B")], [arm(framework="A")]),
        },
    )
    add(
        "C4",
        "Concatenation beats summation",
        "fusion",
        {
            "concatenation - sum of branches of size D": compare(runs, [base], [arm(fusion="sum")]),
            "concatenation - sum of branches of size D / 2": compare(runs, [base], [arm(fusion="sum-small")]),
        },
    )
    add(
        "C5",
        "A combination beats every single descriptor of the same size",
        "combinations",
        {f"mean of the nine combinations - {c}": compare(runs, combined, [arm(config=c)]) for c in SINGLE},
    )
    best = best_singles(runs)
    if best is not None:
        a, b = best
        chosen = [c for c in PAIRS if set(c) == {a, b}]
        others = [c for c in PAIRS if c not in chosen]
        add(
            "C6",
            "The two best single descriptors make the best pair",
            "selection",
            {
                f"{' and '.join(chosen)} (chosen on held-out classes) - other pairs": compare(
                    runs, [arm(config=c) for c in chosen], [arm(config=c) for c in others]
                ),
            },
        )
    one, three = [arm(config="S", dim=48), arm(config="S")], [arm(config="SMG", dim=48), arm(config="SMG")]
    gap = paired(runs, [one[0], three[1]], [three[0], one[1]], "recall@1", "test", "omniglot")
    add(
        "C7",
        "A small output wants fewer descriptors",
        "dimension",
        {
            "S - SMG at D = 48": compare(runs, one[:1], three[:1]),
            # paired() takes means over two arms: the difference of the two gaps is twice that.
            f"(S - SMG at D = 48) - (S - SMG at D = {OMNIGLOT.dim})": claim_verdict([2 * d for d in gap]),
        },
    )
    longer = "omniglot-rankings"
    rankings: list[Arm] = [(longer, {"ranking": r}) for r in ("semi-hard", "hap2s-e", "margin")]
    hap2s, batch_hard = (longer, {"ranking": "hap2s-p"}), (longer, {})
    add(
        "C8",
        "HAP2S-P is the best ranking loss for CGD",
        "rankings",
        {
            "HAP2S-P - batch-hard triplet": compare(runs, [hap2s], [batch_hard]),
            "HAP2S-P - mean of the other three": compare(runs, [hap2s], rankings),
        },
    )
    add(
        "C12",
        "An ensemble-like gain at equal parameters",
        "combinations",
        {
            "SM - mean of S and M": compare(runs, [base], [arm(config="S"), arm(config="M")]),
            "SMG - mean of S, M and G": compare(runs, [arm(config="SMG")], [arm(config=c) for c in SINGLE]),
        },
    )

    def entropy_gap(wide: str, narrow: str) -> ClaimResult:
        """Paired over seeds within one network, so between two metrics of the same rows."""
        kept = only(runs, dataset="omniglot", split="test", preset="omniglot")
        rows = results.newest(only(kept, overrides=results.canonical(arm(config="SMG")[1])))
        at = rows.pivot_table(index="seed", columns="metric", values="value")
        if not {f"entropy_{wide}", f"entropy_{narrow}"} <= set(at.columns):
            return claim_verdict([])
        return claim_verdict((at[f"entropy_{wide}"] - at[f"entropy_{narrow}"]).dropna().tolist())

    add(
        "C13",
        "SPoC looks at wide regions, MAC at small ones, GeM between",
        "combinations",
        {
            "spatial entropy of S - of G (network SMG)": entropy_gap("S", "G"),
            "spatial entropy of G - of M (network SMG)": entropy_gap("G", "M"),
        },
        unit="share of log(hw)",
    )
    return out


if __name__ == "__main__":
    print(json.dumps(claims(results.load_runs("cgd_retrieval")), indent=1))
