"""The two kinds of verdict, each by a rule that was fixed before any number was seen.

A *number* verdict compares a cell of ours with the published one; a *claim* verdict asks whether a paired
difference of our own, seed by seed, has the sign that the paper claims.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from common.results.rows import canonical, newest, only

SEEDS = 3
"""Fewest seeds that a verdict may rest on."""
POINTS = 0.005
"""Half a percentage point: the difference that always counts as reproduced."""

REPRODUCED, ABOVE, BELOW, PRELIMINARY = "reproduced", "above", "below", "preliminary"
SUPPORTED, CONTRADICTED, INCONCLUSIVE, TOO_FEW = (
    "supported",
    "contradicted",
    "inconclusive",
    "not enough seeds",
)

Arm = tuple[str, Mapping[str, Any]]
"""(preset, overrides): one configuration."""


@dataclass(frozen=True)
class ClaimResult:
    """A paired difference with its 95 % Student interval; `low` and `high` are NaN below two seeds."""

    mean: float
    low: float
    high: float
    n: int
    verdict: str


def number_verdict(
    ours: Sequence[float],
    published: float | None,
    *,
    test_size: int | None,
    verified: bool,
    exact: bool = True,
) -> str:
    """'reproduced', 'above', 'below', 'preliminary', 'no verdict (why)'; '' when there is nothing to compare.

    ours: one share in [0, 1] per seed. published: the paper's share. Reproduced when |mean - published| is at
    most the largest of 0.005, 2 standard deviations over the seeds (n - 1), and 2 binomial standard errors
    sqrt(p (1 - p) / test_size) at the published p. Fewer than 3 seeds: preliminary.
    No verdict when not verified (the number was not checked against the PDF), not exact (the test pictures
    are not the published files), or test_size is None. Raises ValueError when a share is outside [0, 1] or
    test_size is not positive.
    """
    if not ours or published is None:
        return ""
    for value in (*ours, published):
        if not 0 <= value <= 1:  # also catches NaN
            raise ValueError(f"{value} is no share in [0, 1]; number verdicts compare shares only")
    if not verified:
        return "no verdict (published value unchecked)"
    if not exact:
        return "no verdict (test pictures not exact)"
    if test_size is None:
        return "no verdict (size of the test set unknown)"
    if test_size < 1:
        raise ValueError(f"test_size = {test_size}; give the number of test queries")
    if len(ours) < SEEDS:
        return PRELIMINARY
    difference = statistics.fmean(ours) - published
    tolerance = max(
        POINTS, 2 * statistics.stdev(ours), 2 * math.sqrt(published * (1 - published) / test_size)
    )  # fmt: skip
    if abs(difference) <= tolerance + 1e-9:  # 0.7731 - 0.7681 > 0.005 in floating point
        return REPRODUCED
    return ABOVE if difference > 0 else BELOW


def claim_verdict(differences: Sequence[float]) -> ClaimResult:
    """Verdict on 'the difference is positive' from paired differences, one per seed.

    mean ± t(0.975, n - 1) * sd / sqrt(n): supported iff the interval lies above 0, contradicted iff below 0,
    else inconclusive; n < 3: not enough seeds. Raises ValueError when a difference is not finite.
    """
    n = len(differences)
    if not all(math.isfinite(d) for d in differences):
        raise ValueError(
            f"differences {list(differences)} are not all finite; leave out seeds that have no value"
        )
    if n < 2:
        return ClaimResult(differences[0] if n else math.nan, math.nan, math.nan, n, TOO_FEW)
    mean = statistics.fmean(differences)
    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(n)
    low, high = mean - half, mean + half
    if n < SEEDS:
        verdict = TOO_FEW
    else:
        verdict = SUPPORTED if low > 0 else CONTRADICTED if high < 0 else INCONCLUSIVE
    return ClaimResult(mean, low, high, n, verdict)


def combine(results: Iterable[ClaimResult | str]) -> str:
    """Verdict on a claim that rests on several comparisons (results, or their verdicts).

    Contradicted if any is, supported if all are, not enough seeds if that holds for all; else inconclusive.
    """
    verdicts = [r if isinstance(r, str) else r.verdict for r in results]
    unknown = set(verdicts) - {SUPPORTED, CONTRADICTED, INCONCLUSIVE, TOO_FEW}
    if unknown or not verdicts:
        raise ValueError(f"cannot combine {verdicts}; give at least one verdict of claim_verdict")
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return verdicts[0] if len(set(verdicts)) == 1 else INCONCLUSIVE


def paired(
    runs: pd.DataFrame, a: Sequence[Arm], b: Sequence[Arm], metric: str, split: str, dataset: str
) -> list[float]:
    """mean over arms a - mean over arms b, seed by seed, in the order of seeds; newest rows only.

    Only seeds that every arm of both sides has are used, so that each difference compares the same arms.
    """
    if not a or not b:
        raise ValueError(f"paired: {'a' if not a else 'b'} is empty; give at least one (preset, overrides)")
    same = newest(only(runs, metric=metric, split=split, dataset=dataset)).sort_values("date", kind="stable")
    arms = []
    for preset, overrides in (*a, *b):
        rows = only(same, preset=preset, overrides=canonical(overrides))
        # One configuration may have rows under two targets: the newest counts.
        arms.append(dict(zip(rows["seed"].tolist(), rows["value"].tolist())))
    seeds = sorted(set.intersection(*(set(arm) for arm in arms)))
    first, second = arms[: len(a)], arms[len(a) :]
    return [
        statistics.fmean(arm[s] for arm in first) - statistics.fmean(arm[s] for arm in second) for s in seeds
    ]


def claim_entries(
    name: str, statement: str, table: str, comparisons: Mapping[str, ClaimResult], unit: str = "share"
) -> list[dict[str, Any]]:
    """What `python -m <paper>.claims` prints for one claim: an entry per comparison.

    name: id of the claim in reproduce.md. table: of the plan, where the rows come from. comparisons: text ->
    result.
    """
    return [
        {
            "id": name,
            "statement": statement,
            "comparison": text,
            "difference": result.mean,
            "low": result.low,
            "high": result.high,
            "n": result.n,
            "unit": unit,
            "verdict": result.verdict,
            "table": table,
        }
        for text, result in comparisons.items()
    ]
