"""measures.py: against common.metrics, the papers' own measures and loops, and on planted data."""

import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.compare import measures
from benchmarks.compare.measures import measure
from common.metrics import gromov_delta, map_at_r, recall_at_k
from hierarchical_multilabel.evaluate import clusters
from hierarchical_multilabel.measures import coarse_knn_accuracy
from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.fewshot.episodes import TEST_SEED, accuracies, draw
from hyperbolic_embeddings.fewshot.protonet import ProtoHead

LEVELS = ("family", "kind")
C = 0.7


def made(seed: int = 0, families: int = 4, kinds: int = 3, each: int = 9, noise: float = 0.6):
    """(rows (N, 6), labels (N, 2)): kinds around families, not unit, in random order."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.arange(families * kinds).repeat_interleave(each)[torch.randperm(108, generator=g)]
    family = kind // kinds
    centres = torch.randn(families, 6, generator=g)[family] + torch.randn(12, 6, generator=g)[kind] / 2
    return centres + noise * torch.randn(len(kind), 6, generator=g), torch.stack([family, kind], 1)


def in_ball(x, c=C):
    return poincare.project(poincare.expmap0(x.double() / 2, c), c)


def distances(x, c):
    """(N, N) float64 by a loop over pairs of the definition."""
    x, n = x.double(), len(x)
    out = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            if i != j:
                gap = float((x[i] - x[j]).square().sum())
                if c is not None:
                    inside = (1 - c * float(x[i] @ x[i])) * (1 - c * float(x[j] @ x[j]))
                    gap = math.acosh(1 + 2 * c * gap / inside) / math.sqrt(c)
                out[i, j] = gap
    return out


def naive(x, labels, c):
    """recall@1, map@r, knn of both levels, by sorting a list of distances for every query."""
    d, n = distances(x, c), len(x)
    y, hits, average, won = labels.tolist(), 0, 0.0, [0, 0]
    for q in range(n):
        order = sorted((i for i in range(n) if i != q), key=lambda i: float(d[q, i]))
        relevant = [y[i][1] == y[q][1] for i in order]
        hits += relevant[0]
        total = sum(relevant)
        average += sum(sum(relevant[: i + 1]) / (i + 1) for i in range(total) if relevant[i]) / total
        for level in (0, 1):
            met = [i for i in order if level == 1 or y[i][1] != y[q][1]][:20]
            ranked = Counter(y[i][level] for i in met).most_common()
            alone = len(ranked) == 1 or ranked[0][1] > ranked[1][1]
            won[level] += alone and ranked[0][0] == y[q][level]
    return {"recall@1": hits / n, "map@r": average / n, "family/knn": won[0] / n, "kind/knn": won[1] / n}


@pytest.mark.parametrize("block", [1 << 22, 500])
@pytest.mark.parametrize("c", [None, C])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_loops(monkeypatch, seed, c, block):
    monkeypatch.setattr(measures, "BLOCK", block)
    x, labels = made(seed)
    x = x if c is None else in_ball(x)
    found = {name: figure.value for name, figure in measure(x, labels, LEVELS, c, episodes=50).items()}
    wanted = naive(x, labels, c)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-12)
    assert 0.3 < wanted["recall@1"] < 0.95, "neither trivial nor hopeless"


def test_euclidean_figures_are_those_of_common_metrics_and_of_the_papers():
    x, labels = made()
    found = {name: figure.value for name, figure in measure(x, labels, LEVELS, episodes=200).items()}
    fine = labels[:, 1]
    assert found["recall@1"] == recall_at_k(x, fine, (1,))[1]
    assert found["map@r"] == pytest.approx(map_at_r(x, fine), rel=1e-12)
    delta, diameter = gromov_delta(x[_sample(len(x))].double())
    assert found["delta_rel"] == pytest.approx(2 * delta / diameter)
    rows = draw(fine, 5, 1, 8, 200, seed=TEST_SEED)
    protonet = accuracies(ProtoHead("euclidean-squared"), x, rows, 1)
    assert found["5way-1shot"] == pytest.approx(float(protonet.mean()))

    unit = normalize(x, dim=1)
    found = {name: figure.value for name, figure in measure(unit, labels, LEVELS, episodes=5).items()}
    assert found["family/knn"] == coarse_knn_accuracy(unit, labels, 0)
    for level, name in enumerate(LEVELS):
        k = len(labels[:, level].unique())
        wanted = measures.nmi(labels[:, level].contiguous(), clusters(unit, k))
        assert found[f"{name}/nmi"] == pytest.approx(wanted)


def _sample(n):
    return torch.randperm(n, generator=measures.counter.generator(0, measures._SAMPLE))[: measures.SAMPLE]


def test_in_the_ball_the_balls_own_distance_counts():
    x, labels = made(noise=0.8)
    x = in_ball(2 * x)
    found = measure(x, labels, LEVELS, C, episodes=200)
    flat = measure(x, labels, LEVELS, episodes=200)
    assert found["recall@1"].value != flat["recall@1"].value, "near the boundary the orders differ"
    d = poincare.pairwise_distance(x, x, C)
    sample = _sample(len(x))
    delta, diameter = gromov_delta(distances=d[sample][:, sample])
    assert found["delta_rel"].value == pytest.approx(2 * delta / diameter)
    rows = draw(labels[:, 1], 5, 1, 8, 200, seed=TEST_SEED)
    right = torch.stack([d[r[:, 1:].flatten()][:, r[:, 0]].argmin(1) for r in rows])
    truth = torch.arange(5).repeat_interleave(8)
    assert found["5way-1shot"].value == pytest.approx(float((right == truth).double().mean()))
    k = clusters(poincare.logmap0(x, C).float(), 12)
    assert found["kind/nmi"].value == pytest.approx(measures.nmi(labels[:, 1].contiguous(), k))


def test_planted_points_give_planted_values():
    """Kinds far apart, families farther: all is found. A line: delta 0."""
    kind = torch.arange(12).repeat_interleave(25)
    labels = torch.stack([kind // 3, kind], 1)
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(300, 4)
    x[:, 0], x[:, 1] = 100.0 * labels[:, 0], 5.0 * (kind % 3)
    x += 1e-3 * torch.randn(300, 4, generator=g)
    found = {name: figure.value for name, figure in measure(x, labels, LEVELS, episodes=20).items()}
    perfect = ("recall@1", "map@r", "kind/knn", "family/knn", "kind/nmi", "family/nmi", "5way-1shot")
    assert {name: found[name] for name in perfect} == dict.fromkeys(perfect, pytest.approx(1.0))
    assert found["pictures"] == 300
    line = torch.arange(300.0)[:, None] * torch.ones(1, 3)
    assert measure(line, labels, LEVELS, episodes=5)["delta_rel"].value == pytest.approx(0, abs=1e-9)
    mixed = labels[torch.randperm(300, generator=g)]
    assert measure(x, mixed, LEVELS, episodes=20)["recall@1"].value < 0.3, "the labels are read"


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("c", [None, 0.1])
def test_a_collapsed_network_scores_nothing(c):
    """One point with the rounding of a product; ties count against the query."""
    _, labels = made()
    x = torch.full((108, 6), 0.7)
    found = measure(x, labels, LEVELS, c, episodes=20)
    for name in ("recall@1", "map@r", "kind/knn", "family/knn", "5way-1shot"):
        assert found[name].value == 0, name
    assert "delta_rel" not in found


def test_bad_input_is_one_sentence():
    x, labels = made()
    with pytest.raises(ValueError, match=r"give one row per embedding and one column per level"):
        measure(x[:50], labels, LEVELS)
    with pytest.raises(ValueError, match=r"give one row per embedding and one column per level"):
        measure(x, labels, ("kind",))
    with pytest.raises(ValueError, match=r"outside the ball|lies outside|norm"):
        measure(x * 10, labels, LEVELS, C)
    with pytest.raises(ValueError, match="NaN"):
        measure(x * math.nan, labels, LEVELS)
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        measure(x, labels.float(), LEVELS)
    with pytest.raises(ValueError, match="a class has one picture; episodes need at least 2"):
        measure(x, torch.stack([labels[:, 0], torch.arange(108)], 1), LEVELS)
    with pytest.raises(ValueError, match=r"way = 5"):
        measure(x, labels[:, :1], ("family",))
