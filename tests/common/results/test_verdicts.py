import math
import random
import statistics

import pytest
from scipy import stats

from common.results import append, claim_verdict, combine, load_runs, number_verdict, paired

HUGE = 10**9  # a test set without sampling error


def verdict(
    ours: list[float],
    published: float | None = 0.7681,
    *,
    test_size: int | None = HUGE,
    verified: bool = True,
    exact: bool = True,
) -> str:
    return number_verdict(ours, published, test_size=test_size, verified=verified, exact=exact)


@pytest.mark.parametrize(
    ("off", "expected"),
    [(0.005, "reproduced"), (-0.005, "reproduced"), (0.00501, "above"), (-0.00501, "below")],
)
def test_half_a_point_is_the_floor(off, expected):
    assert verdict([0.7681 + off] * 3) == expected


def test_two_standard_deviations_over_seeds():
    sd = 0.01
    seeds = [-sd, 0.0, sd]  # sample standard deviation (n - 1) is exactly sd
    assert statistics.stdev(seeds) == pytest.approx(sd)
    assert verdict([0.7681 + 0.0199 + s for s in seeds]) == "reproduced"
    assert verdict([0.7681 + 0.0201 + s for s in seeds]) == "above"
    assert verdict([0.7681 - 0.0201 + s for s in seeds]) == "below"


def test_two_standard_errors_of_the_test_set():
    two = 2 * math.sqrt(0.7681 * (1 - 0.7681) / 5924)
    assert two == pytest.approx(0.01097, abs=1e-5)  # CUB: 0.55 points each
    assert verdict([0.7681 - two + 1e-5] * 3, test_size=5924) == "reproduced"
    assert verdict([0.7681 - two - 1e-5] * 3, test_size=5924) == "below"


def test_fewer_than_three_seeds_are_preliminary():
    assert verdict([0.7681]) == verdict([0.2, 0.3]) == "preliminary"


def test_what_allows_no_verdict():
    assert verdict([0.7681] * 3, verified=False) == "no verdict (published value unchecked)"
    assert verdict([0.7681] * 3, exact=False) == "no verdict (test pictures not exact)"
    assert verdict([0.7681] * 3, test_size=None) == "no verdict (size of the test set unknown)"
    assert verdict([]) == verdict([0.5] * 3, None) == ""


@pytest.mark.parametrize(
    ("ours", "published"), [([76.8] * 3, 0.768), ([0.768] * 3, 76.8), ([math.nan] * 3, 0.7)]
)
def test_percent_are_refused(ours, published):
    with pytest.raises(ValueError, match="no share"):
        verdict(ours, published)


@pytest.mark.parametrize("n", [3, 5, 11])
def test_the_interval_is_scipys(n):
    rng = random.Random(n)
    differences = [rng.gauss(0.01, 0.02) for _ in range(n)]
    got = claim_verdict(differences)
    low, high = stats.t.interval(0.95, n - 1, loc=statistics.fmean(differences), scale=stats.sem(differences))
    assert (got.low, got.high) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))
    assert (got.mean, got.n) == (pytest.approx(statistics.fmean(differences)), n)
    significant = stats.ttest_1samp(differences, 0).pvalue < 0.05  # type: ignore[attr-defined]
    assert (got.verdict == "supported") == (significant and got.mean > 0)


def test_claims_at_the_border():
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    at = lambda mean: claim_verdict([mean - 0.01, mean, mean + 0.01]).verdict  # noqa: E731
    assert at(half * 1.0001) == "supported"
    assert at(half * 0.9999) == at(-half * 0.9999) == "inconclusive"
    assert at(-half * 1.0001) == "contradicted"
    assert claim_verdict([0.0, 0.0, 0.0]).verdict == "inconclusive"
    assert claim_verdict([0.01, 0.01, 0.01]).verdict == "supported"


def test_two_seeds_are_not_enough():
    two = claim_verdict([0.5, 0.5001])
    assert (two.verdict, two.n) == ("not enough seeds", 2)
    assert two.low > 0
    assert claim_verdict([]).verdict == claim_verdict([1.0]).verdict == "not enough seeds"
    assert math.isnan(claim_verdict([1.0]).low)
    with pytest.raises(ValueError, match="finite"):
        claim_verdict([0.1, math.nan, 0.2])


def test_combining():
    assert combine(["supported", "supported"]) == "supported"
    assert combine(["supported", "contradicted", "not enough seeds"]) == "contradicted"
    assert combine(["supported", "inconclusive"]) == "inconclusive"
    assert combine(["supported", "not enough seeds"]) == "inconclusive"
    assert combine(["not enough seeds"] * 2) == "not enough seeds"
    assert combine([claim_verdict([0.1, 0.1, 0.1])]) == "supported"
    for wrong in ([], ["reproduced"]):
        with pytest.raises(ValueError, match="cannot combine"):
            combine(wrong)


def test_pairs_use_only_seeds_that_every_arm_has(tmp_path, measurement):
    arms = {"SM": {0: 0.80, 1: 0.82, 2: 0.9}, "S": {0: 0.7, 1: 0.71, 3: 0.1}, "M": {1: 0.75, 0: 0.6, 2: 0.5}}
    append(
        "toy",
        [
            measurement(overrides={"config": c}, seed=s, value=v)
            for c, seeds in arms.items()
            for s, v in seeds.items()
        ],
        tmp_path,
    )
    append(
        "toy",
        [  # none of these belongs to the comparison
            measurement(overrides={"config": "SM"}, seed=0, value=0.1, metric="recall@2"),
            measurement(overrides={"config": "SM"}, seed=0, value=0.1, split="val"),
            measurement(overrides={"config": "SM"}, seed=0, value=0.1, dataset="embedded"),
            measurement(overrides={"config": "SM", "dim": 9}, seed=0, value=0.1),
        ],
        tmp_path,
    )
    runs = load_runs("toy", tmp_path)
    arm = lambda c: ("cub", {"config": c})  # noqa: E731
    got = paired(runs, [arm("SM")], [arm("S"), arm("M")], "recall@1", "test", "cub")
    assert got == [pytest.approx(0.80 - 0.65), pytest.approx(0.82 - 0.73)]
    assert paired(runs, [arm("SM")], [arm("G")], "recall@1", "test", "cub") == []
    with pytest.raises(ValueError, match="b is empty"):
        paired(runs, [arm("SM")], [], "recall@1", "test", "cub")


def test_pairs_use_the_newest_row(tmp_path, measurement):
    for value, date in ((0.9, "2025-03-01T00:00:00Z"), (0.1, "2025-02-01T00:00:00Z")):
        mark = f"{int(value * 10)}" * 64
        append(
            "toy", [measurement(value=value, date=date, checkpoint=mark, target=f"t/r{value:g}")], tmp_path
        )
    append("toy", [measurement(value=0.4, overrides={"x": 1})], tmp_path)
    got = paired(load_runs("toy", tmp_path), [("cub", {})], [("cub", {"x": 1.0})], "recall@1", "test", "cub")
    assert got == [pytest.approx(0.5)]
