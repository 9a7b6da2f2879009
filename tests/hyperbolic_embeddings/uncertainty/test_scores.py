"""scores.py: statistics against their definitions by counting, scores against the printed formulas."""

import math

import pytest
import torch

from hyperbolic_embeddings.uncertainty.scores import auroc, energy, ks_distance, log_p_max


def naive_ks(inside, outside):
    """sup over every threshold of the two shares below or at it, by counting."""

    def share(values, s):
        return sum(v <= s for v in values) / len(values)

    return max(abs(share(inside, s) - share(outside, s)) for s in [*inside, *outside])


def naive_auroc(inside, outside):
    wins = sum((a > b) + (a == b) / 2 for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


@pytest.fixture(params=range(4), ids=lambda s: f"seed {s}")
def scores(request):
    """Two samples of different size with many ties and an atom, as at the projection cap."""
    g = torch.Generator().manual_seed(request.param)
    inside = (torch.randn(37, generator=g) * 3 + 2).round().clamp(max=4)
    outside = (torch.randn(53, generator=g) * 3).round().clamp(max=4)
    return inside, outside


def test_ks_equals_the_definition(scores):
    assert ks_distance(*scores) == pytest.approx(naive_ks(*(s.tolist() for s in scores)), abs=1e-12)


def test_auroc_equals_the_share_of_ordered_pairs(scores):
    assert auroc(*scores) == pytest.approx(naive_auroc(*(s.tolist() for s in scores)), abs=1e-12)


def test_laws_of_the_statistics(scores):
    a, b = scores
    assert ks_distance(a, b) == pytest.approx(ks_distance(b, a))
    assert auroc(a, b) == pytest.approx(1 - auroc(b, a))
    assert ks_distance(a, a) == 0
    assert auroc(a, a) == pytest.approx(0.5)
    # Whatever the scale of a score, only the order counts: energies compare with distances.
    for monotone in (torch.exp, lambda s: 5 * s - 3, torch.atan):
        assert ks_distance(monotone(a.double()), monotone(b.double())) == pytest.approx(ks_distance(a, b))
        assert auroc(monotone(a.double()), monotone(b.double())) == pytest.approx(auroc(a, b))
    apart = b + 100
    assert (ks_distance(apart, a), auroc(apart, a)) == (1, 1)
    assert auroc(a, apart) == 0, "a score that is high where the network is unsure must not look good"


@pytest.mark.parametrize("bad", [torch.empty(0), torch.tensor([0.0, math.nan]), torch.zeros(3, 1)])
def test_samples_that_have_no_statistic(bad):
    for statistic in (ks_distance, auroc):
        with pytest.raises(ValueError, match="inside"):
            statistic(bad, torch.ones(4))
        with pytest.raises(ValueError, match="outside"):
            statistic(torch.ones(4), bad)


@pytest.fixture
def logits():
    return 4 * torch.randn(20, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_p_max_is_the_largest_probability(logits):
    for row, value in zip(logits.tolist(), log_p_max(logits).tolist()):
        total = sum(math.exp(l) for l in row)
        assert math.exp(value) == pytest.approx(max(math.exp(l) / total for l in row), rel=1e-12)


def test_energy_is_the_log_of_the_sum(logits):
    for row, value in zip(logits.tolist(), energy(logits).tolist()):
        assert value == pytest.approx(math.log(sum(math.exp(l) for l in row)), rel=1e-12)


def test_p_max_depends_on_differences_and_energy_on_the_level(logits):
    torch.testing.assert_close(log_p_max(logits + 7), log_p_max(logits))
    torch.testing.assert_close(energy(logits + 7), energy(logits) + 7)


def test_sure_predictions_keep_their_order_where_the_softmax_says_one():
    gap = torch.tensor([20.0, 40.0, 80.0, 400.0])
    logits = torch.zeros(4, 3)
    logits[:, 1] = gap
    assert (logits.softmax(1).amax(1) == 1).all(), "the float32 softmax cannot tell these apart"
    found = log_p_max(logits)
    assert (found.diff() > 0).all()
    torch.testing.assert_close(found, -2 * (-gap.double()).exp())


def test_two_largest_logits_may_be_equal():
    assert log_p_max(torch.tensor([[3.0, 3.0, -1e4]])).item() == pytest.approx(math.log(0.5))
