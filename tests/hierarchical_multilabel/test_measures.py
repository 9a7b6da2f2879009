"""measures.py and probe.py against loops and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

from hierarchical_multilabel import measures, probe
from hierarchical_multilabel.measures import coarse_knn_accuracy, coarse_recall_at_k, violation_rate


def tree(seed=0, n=40, levels=3, dim=4):
    """Unit rows and a tree (N, L) with ids that are never reused under another parent."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n, levels), generator=g)
    labels[-1] = 9  # alone at every level
    for l in range(levels - 1, -1, -1):
        labels[:, l] = labels[:, : l + 1].unique(dim=0, return_inverse=True)[1]
    rows = torch.randn(n, dim, generator=g)
    for column in labels.T:
        rows += torch.randn(int(column.max()) + 1, dim, generator=g)[column]
    return normalize(rows, dim=1), labels


def similarity(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist()))


def allowed(labels, others, level, q, own):
    """Pictures that query q may meet at `level`: not itself, not of its own next finer node."""
    fine = labels[q, level + 1]
    return [j for j in range(len(others)) if others[j, level + 1] != fine and not (own and j == q)]


def naive_recall(rows, labels, level, k, base, others, own):
    hits = 0
    for q in range(len(rows)):
        order = sorted(allowed(labels, others, level, q, own), key=lambda j: -similarity(rows[q], base[j]))
        hits += any(others[j, level] == labels[q, level] for j in order[:k])
    return hits / len(rows)


def naive_knn(rows, labels, level, k, base, others, own):
    right = 0
    for q in range(len(rows)):
        order = sorted(allowed(labels, others, level, q, own), key=lambda j: -similarity(rows[q], base[j]))
        votes = Counter(int(others[j, level]) for j in order[:k])
        best = votes.most_common(2)
        mine = votes[int(labels[q, level])]
        right += bool(best) and mine == best[0][1] and list(votes.values()).count(mine) == 1 and mine > 0
    return right / len(rows)


def naive_violations(rows, labels, level):
    shares = []
    for q in range(len(rows)):
        same = [j for j in range(len(rows)) if j != q and labels[j, level] == labels[q, level]]
        finer = [j for j in same if labels[j, level + 1] == labels[q, level + 1]]
        coarser = [j for j in same if labels[j, level + 1] != labels[q, level + 1]]
        if finer and coarser:
            wrong = sum(
                similarity(rows[q], rows[c]) >= similarity(rows[q], rows[f]) for f in finer for c in coarser
            )
            shares.append(wrong / len(finer) / len(coarser))
    return sum(shares) / len(shares)


@pytest.fixture(params=[1 << 24, 7, 100], ids=lambda b: f"block{b}")
def block(request, monkeypatch):
    monkeypatch.setattr(measures, "BLOCK", request.param)


@pytest.mark.parametrize("seed", range(3))
def test_retrieval_among_themselves_equals_the_loops(seed, block):
    rows, labels = tree(seed)
    for level in (0, 1):
        found = coarse_recall_at_k(rows, labels, level, (1, 3, 8))
        for k in (1, 3, 8):
            expected = naive_recall(rows, labels, level, k, rows, labels, True)
            assert found[k] == pytest.approx(expected)
            votes = coarse_knn_accuracy(rows, labels, level, k)
            assert votes == pytest.approx(naive_knn(rows, labels, level, k, rows, labels, True))


def test_retrieval_in_a_gallery_equals_the_loops(block):
    rows, labels = tree(4, n=60)
    query, gallery = slice(0, 25), slice(25, 60)
    for level in (0, 1):
        arguments = (rows[query], labels[query], level)
        base = (rows[gallery], labels[gallery])
        found = coarse_recall_at_k(*arguments, (1, 5), *base)
        for k in (1, 5):
            assert found[k] == pytest.approx(naive_recall(*arguments, k, *base, False))
            assert coarse_knn_accuracy(*arguments, k, *base) == pytest.approx(
                naive_knn(*arguments, k, *base, False)
            )


@pytest.mark.parametrize("seed", range(3))
def test_violations_equal_the_loops(seed, block):
    rows, labels = tree(seed)
    found = violation_rate(rows, labels)
    assert found.keys() == {0, 1}
    for level, rate in found.items():
        assert rate == pytest.approx(naive_violations(rows, labels, level))


def test_the_own_finer_node_neither_counts_nor_takes_a_place():
    """An alphabet is not found through another drawing of the same character."""
    rows = normalize(torch.tensor([[1, 0.0], [1, 0.01], [0, 1.0], [-1, 0.3], [0.9, 0.5]]), dim=1)
    labels = torch.tensor([(0, 0), (0, 0), (0, 1), (1, 2), (1, 2)])
    # Row 0 meets 2, 3, 4 only; of these 4 is nearest, of another alphabet.
    found = coarse_recall_at_k(rows[:1], labels[:1], 0, (1, 2), rows, labels)
    assert found == {1: 0.0, 2: 1.0}


def test_ties_count_against_the_query():
    rows = torch.ones(6, 2) / 2**0.5
    labels = torch.tensor([(0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 5)])
    assert coarse_recall_at_k(rows, labels, 0, (1, 4, 5)) == {1: 0.0, 4: 0.0, 5: 1.0}
    assert coarse_knn_accuracy(rows, labels, 0, 5) == 0.0  # two others with two votes each
    assert violation_rate(rows, torch.tensor([(0, 0)] * 3 + [(0, 1)] * 3)) == {0: 1.0}


def test_a_kept_tree_has_no_violation_and_a_picture_without_both_partners_is_left_out():
    angle = torch.tensor([0, 1, 10, 11, 90]).deg2rad()
    rows = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.tensor([(0, 0), (0, 0), (0, 1), (0, 1), (1, 2)])
    assert violation_rate(rows, labels) == {0: 0.0}
    assert violation_rate(rows, labels[:, :1].repeat(1, 2)) == {}, "no coarser partner anywhere"


def test_a_query_without_a_partner_is_a_miss():
    rows, labels = tree(0, n=6)
    labels = torch.stack([torch.arange(6), torch.arange(6)], 1)
    assert coarse_recall_at_k(rows, labels, 0, (5,)) == {5: 0.0}
    assert coarse_knn_accuracy(rows, labels, 0, 5) == 0.0


def test_bad_input_is_one_clear_sentence():
    rows, labels = tree()
    with pytest.raises(ValueError, match="level is 2; give a level above the finest, 0 to 1"):
        coarse_recall_at_k(rows, labels, 2, (1,))
    with pytest.raises(ValueError, match="K = 41 but a query is compared with 40 rows"):
        coarse_recall_at_k(rows, labels, 0, (41,))
    rows[3, 0] = torch.nan
    with pytest.raises(ValueError, match="row 3 of query holds NaN"):
        coarse_knn_accuracy(rows, labels, 0, 3)


# The probe


def classes_of(seed=0, n=90, dim=6, classes=4):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.randn(n, dim, generator=g) + 2 * torch.randn(classes, dim, generator=g)[y], y


@pytest.mark.parametrize("block", [1 << 24, 50])
def test_the_probe_is_scikit_learns_regression(block, monkeypatch):
    monkeypatch.setattr(probe, "BLOCK", block)
    x, y = classes_of()
    weight, bias = probe.fit(x, y, 4, decay=0.01, iterations=500)
    oracle = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-8, max_iter=2000).fit(x.numpy(), y.numpy())
    found = torch.addmm(bias, x, weight.T).log_softmax(1)
    np.testing.assert_allclose(found.exp().numpy(), oracle.predict_proba(x.numpy()), atol=2e-4)
    np.testing.assert_allclose(weight.numpy(), oracle.coef_, atol=2e-3)
    assert torch.equal(probe.predict(x, weight, bias), found.argmax(1))
    assert torch.equal(weight, probe.fit(x, y, 4, decay=0.01, iterations=500)[0])


def test_probe_accuracy_counts_unknown_classes_as_wrong_and_takes_any_ids():
    x, y = classes_of(1, n=200)
    ids = torch.tensor([7, -3, 1000, 42])
    plain = probe.accuracy(x[:150], y[:150], x[150:], y[150:])
    assert 0.6 < plain < 1
    assert probe.accuracy(x[:150], ids[y[:150]], x[150:], ids[y[150:]]) == plain
    strange = ids[y[150:]].clone()
    strange[:10] = 5
    right = ids[y[150:]][:10] == 5
    assert not right.any()
    assert probe.accuracy(x[:150], ids[y[:150]], x[150:], strange) < plain


def test_the_unit_of_the_features_does_not_matter():
    x, y = classes_of(2, n=200)
    plain = probe.accuracy(x[:150], y[:150], x[150:], y[150:])
    moved = 1000 * x + 5
    assert probe.accuracy(moved[:150], y[:150], moved[150:], y[150:]) == pytest.approx(plain, abs=0.021)
    a, b = probe.standardise(moved[:150], moved[150:])
    torch.testing.assert_close(a.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    assert a.square().mean().item() == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(b, probe.standardise(x[:150], x[150:])[1], atol=1e-3, rtol=1e-3)
    assert probe.standardise(torch.ones(3, 2))[0].isfinite().all()


def test_bad_probes_are_one_clear_sentence():
    x, y = classes_of()
    with pytest.raises(ValueError, match=r"features \(90, 6\) and labels \(89,\): give one label per row"):
        probe.fit(x, y[1:], 4)
    with pytest.raises(ValueError, match="labels reach from 0 to 3, not 0 to 2"):
        probe.fit(x, y, 3)
