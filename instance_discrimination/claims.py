"""The paper's claims as paired comparisons on our own rows (budget mini, CIFAR-10), with their verdicts.

`python -m instance_discrimination.claims` prints them as JSON for `common.results`. Each difference is
taken seed by seed, between rows that share everything but what the claim is about, or between two figures
of one run; the verdict is that of the 95 % Student interval. Claim ids are those of reproduce.md. Test
pictures: all 10,000, of which 9,000 exist as JPEG only where the published test batch is not at hand; the
tables show the 1,000 exact ones beside them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from common import results
from common.results import ClaimResult, claim_entries, claim_verdict, paired
from common.results.rows import only
from common.results.verdicts import Arm
from instance_discrimination.presets import COST_SIZES, MINI_SHARES, WATCHED
from instance_discrimination.tables import LARGE, changes, dimension, pull, share

BASE, WATCH, LABELS = "cifar10-mini", "cifar10-mini-watched", "cifar10-mini-labels"
COST_EXPONENT = 0.1
"""Below this slope of log time over log n the cost counts as independent of n: doubling n costs under 7 %."""


def arm(preset: str = BASE, **fields: Any) -> Arm:
    """A row of the mini tables: its preset and what it overrides."""
    return preset, changes(preset, **fields)


def suffix(runs: pd.DataFrame) -> str:
    """What a metric's name ends with: nothing where the published test batch was at hand."""
    return "" if not only(runs, metric="knn", dataset="cifar10", split="test").empty else LARGE


def compare(
    runs: pd.DataFrame, a: Sequence[Arm], b: Sequence[Arm], metric: str, split: str = "test"
) -> ClaimResult:
    return claim_verdict(paired(runs, a, b, metric, split, "cifar10"))


def within(
    runs: pd.DataFrame, one: Arm, plus: Mapping[str, float], split: str = "test", constant: float = 0.0
) -> ClaimResult:
    """constant + the weighted sum of several figures of one row, seed by seed; plus: metric -> weight."""
    kept = only(runs, dataset="cifar10", split=split, preset=one[0])
    rows = results.newest(only(kept, overrides=results.canonical(one[1])))
    at = rows.pivot_table(index="seed", columns="metric", values="value")
    if not set(plus) <= set(at.columns):
        return claim_verdict([])
    total = constant + sum(weight * at[metric] for metric, weight in plus.items())
    return claim_verdict(total.dropna().tolist())  # type: ignore[union-attr]


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison: id, statement, comparison, difference, low, high, n, unit, verdict, table."""
    end = suffix(runs)
    knn, svm = f"knn{end}", f"svm{end}"
    exact, parametric = arm(), arm(loss="parametric")
    noise = {m: arm(loss="nce", noise=m) for m in (1, 10, 512, 4096)}
    out: list[dict[str, Any]] = []

    def add(
        name: str, statement: str, table: str, comparisons: Mapping[str, ClaimResult], unit: str = "share"
    ) -> None:
        out.extend(claim_entries(name, statement, table, comparisons, unit))

    add(
        "C1",
        "The non-parametric softmax beats the parametric one",
        "table1",
        {
            "non-parametric - parametric, kNN": compare(runs, [exact], [parametric], knn),
            "non-parametric - parametric, SVM": compare(runs, [exact], [parametric], svm),
        },
    )
    add(
        "C2",
        "On those features kNN beats the linear SVM",
        "table1",
        {"kNN - SVM, exact softmax": within(runs, exact, {knn: 1, svm: -1})},
    )
    gap = paired(runs, [noise[4096], noise[4096]], [noise[1], exact], knn, "test", "cifar10")
    add(
        "C3",
        "NCE rises with m, and m = 4096 comes near the exact softmax",
        "table1",
        {
            **{
                f"m = {b} - m = {a}, kNN": compare(runs, [noise[b]], [noise[a]], knn)
                for a, b in ((1, 10), (10, 512), (512, 4096))
            },
            # paired() takes means over two arms; twice that is the gain over m = 1 less what is missing.
            "(m = 4096 - m = 1) - (exact - m = 4096), kNN": claim_verdict([2 * d for d in gap]),
        },
    )
    watched, half, last = arm(WATCH), WATCHED[-2], WATCHED[-1]
    add(
        "C10",
        "kNN accuracy keeps rising while the training loss falls",
        "consistency",
        {
            f"held-out kNN, after {last} epochs - after {half}": within(
                runs, watched, {f"heldout_knn_bank@{last}": 1, f"heldout_knn_bank@{half}": -1}, "val"
            ),
            f"held-out kNN, after {half} epochs - after {WATCHED[0]}": within(
                runs, watched, {f"heldout_knn_bank@{half}": 1, f"heldout_knn_bank@{WATCHED[0]}": -1}, "val"
            ),
        },
    )
    size = {d: arm(**dimension(d)) for d in (32, 64, 128, 256)}
    bend = paired(runs, [size[128], size[128]], [size[64], size[256]], knn, "test", "cifar10")
    add(
        "C11",
        "A larger embedding helps up to 128, where it levels off",
        "dimension",
        {
            "D = 64 - D = 32": compare(runs, [size[64]], [size[32]], knn),
            "D = 128 - D = 64": compare(runs, [size[128]], [size[64]], knn),
            "(D = 128 - D = 64) - (D = 256 - D = 128)": claim_verdict([2 * d for d in bend]),
        },
    )
    count = (500, 2000, 5000, 20_000)
    add(
        "C12",
        "More unlabelled pictures help",
        "images",
        {
            f"{b:,} - {a:,} pictures": compare(runs, [arm(**share(b))], [arm(**share(a))], knn)
            for a, b in itertools.pairwise(count)
        },
    )
    add(
        "C13",
        "Fine-tuning on few labels beats training from scratch",
        "labels",
        {
            f"fine-tuned - from scratch, {100 * s:g} % of the labels": compare(
                runs, [arm(LABELS)], [arm(LABELS, epochs=0)], f"finetune_{100 * s:g}%{end}"
            )
            for s in MINI_SHARES
        },
    )
    pulled = {v: arm(WATCH, **pull(v)) for v in (0.0, 10.0, 30.0)}
    add(
        "C15",
        "The proximal term speeds up training, and lambda = 30 ends lowest",
        "proximal",
        {
            f"loss after {WATCHED[0]} epochs, lambda = 0 - lambda = 30": compare(
                runs, [pulled[0.0]], [pulled[30.0]], f"loss@{WATCHED[0]}", "val"
            ),
            "last loss, lambda = 0 - lambda = 30": compare(
                runs, [pulled[0.0]], [pulled[30.0]], "train_loss", "val"
            ),
            "last loss, lambda = 10 - lambda = 30": compare(
                runs, [pulled[10.0]], [pulled[30.0]], "train_loss", "val"
            ),
        },
        unit="nats",
    )
    cost = arm(loss="nce")
    add(
        "C16",
        "NCE makes the cost per picture independent of n",
        "cost",
        {
            f"{COST_EXPONENT} - exponent of NCE, n = {COST_SIZES[0]:,} to {COST_SIZES[-1]:,}": within(
                runs, cost, {"nce_exponent": -1}, "cost", COST_EXPONENT
            ),
            "exponent of the exact softmax - exponent of NCE": within(
                runs, cost, {"softmax_exponent": 1, "nce_exponent": -1}, "cost"
            ),
        },
        unit="exponent",
    )
    add(
        "F1",
        "With a constant Z, NCE needs the proximal term that the released code lacks (asked by us)",
        "proximal",
        {
            f"held-out kNN, lambda = {v} - lambda = 0": compare(
                runs, [pulled[v]], [pulled[0.0]], "knn", "val"
            )
            for v in (10, 30)
        },
    )
    return out


if __name__ == "__main__":
    print(json.dumps(claims(results.load_runs("instance_discrimination")), indent=1))
