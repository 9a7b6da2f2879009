"""losses.py: float64 loops written from the formulas, gradients, extremes, laws, oracles, planted bugs."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from cgd_retrieval import losses
from cgd_retrieval.losses import (
    auxiliary_loss,
    batch_hard_triplet_loss,
    hap2s_loss,
    margin_loss,
    semi_hard_triplet_loss,
)


def seeded_margin_loss(z, labels, margin):
    return margin_loss(z, labels, margin, generator=torch.Generator().manual_seed(3))


RANKING = {
    "batch hard": batch_hard_triplet_loss,
    "semi hard": semi_hard_triplet_loss,
    "HAP2S P": partial(hap2s_loss, variant="P"),
    "HAP2S E": partial(hap2s_loss, variant="E"),
    "margin": seeded_margin_loss,
}
every_ranking_loss = pytest.mark.parametrize("loss", RANKING.values(), ids=RANKING.keys())
every_triplet_loss = pytest.mark.parametrize("loss", list(RANKING.values())[:4], ids=list(RANKING)[:4])


def batch(seed=0, classes=4, each=4, dim=5, unit=True, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(classes * each, dim, generator=g, dtype=torch.float64)
    labels = torch.arange(classes).repeat_interleave(each)[torch.randperm(classes * each, generator=g)]
    return (normalize(z, dim=1) if unit else 3 * z).to(dtype), labels


UNEVEN = torch.tensor([0, 0, 0, 1, 2, 2, 3, 0, 4, 2])  # classes 1, 3 and 4 have a single row


def distance(x, y):
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(x, y)))


def others(labels, a):
    same = [j for j in range(len(labels)) if j != a and labels[j] == labels[a]]
    return same, [j for j in range(len(labels)) if labels[j] != labels[a]]


# Naive references


def naive_batch_hard(z, labels, margin):
    total = 0.0
    for a in range(len(z)):
        positives, negatives = others(labels, a)
        if positives and negatives:
            farthest = max(distance(z[a], z[p]) for p in positives)
            nearest = min(distance(z[a], z[n]) for n in negatives)
            total += max(0.0, farthest - nearest + margin)
    return total / len(z)


def naive_semi_hard(z, labels, margin):
    terms = []
    for a in range(len(z)):
        positives, negatives = others(labels, a)
        for p in positives:
            to_p, to_n = distance(z[a], z[p]), [distance(z[a], z[n]) for n in negatives]
            farther = [d for d in to_n if d > to_p]
            d = min(farther) if farther else max(to_n, default=math.inf)
            terms.append(max(0.0, to_p - d + margin))
    return sum(terms) / max(len(terms), 1)


def naive_hap2s(z, labels, margin, variant="P", alpha=10.0, sigma=0.5):
    total = 0.0
    for a in range(len(z)):
        positives, negatives = others(labels, a)
        if not positives or not negatives:
            continue
        sets = []
        for rows, sign in ((positives, 1), (negatives, -1)):
            d = [distance(z[a], z[j]) for j in rows]
            if variant == "E":
                w = [math.exp(sign * v / sigma) for v in d]
            else:
                w = [(v + 1) ** (alpha if sign == 1 else -2 * alpha) for v in d]
            sets.append(sum(p * q for p, q in zip(w, d)) / sum(w))
        total += max(0.0, sets[0] - sets[1] + margin)
    return total / len(z)


def naive_auxiliary(logits, labels, temperature, smoothing):
    total, m = 0.0, logits.shape[1]
    for row, y in zip(logits.tolist(), labels.tolist()):
        scores = [v / temperature for v in row]
        log_z = math.log(sum(math.exp(s) for s in scores))
        for j, s in enumerate(scores):
            total -= ((1 - smoothing) * (j == y) + smoothing / m) * (s - log_z)
    return total / len(logits)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.1, 5.0])
def test_triplet_losses_equal_the_loops(seed, unit, margin):
    z, labels = batch(seed, unit=unit)
    for rows, ids in ((z, labels), (z[:10], UNEVEN)):
        for loss, naive in (
            (batch_hard_triplet_loss, naive_batch_hard),
            (semi_hard_triplet_loss, naive_semi_hard),
            (hap2s_loss, naive_hap2s),
            (partial(hap2s_loss, variant="E"), partial(naive_hap2s, variant="E")),
            (partial(hap2s_loss, alpha=2.0), partial(naive_hap2s, alpha=2.0)),
            (partial(hap2s_loss, variant="E", sigma=2.0), partial(naive_hap2s, variant="E", sigma=2.0)),
        ):
            assert loss(rows, ids, margin).item() == pytest.approx(
                naive(rows, ids, margin), rel=1e-10, abs=1e-12
            )


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_exact_ties(margin):
    """Whole numbers give equal distances: a semi-hard negative is farther than the positive, not as far."""
    z = torch.tensor([0, 1, 2, -1, 3, 4, -1, 1, 0, 5], dtype=torch.float64)[:, None]
    for loss, naive in (
        (batch_hard_triplet_loss, naive_batch_hard),
        (semi_hard_triplet_loss, naive_semi_hard),
    ):
        assert loss(z, UNEVEN, margin).item() == pytest.approx(naive(z, UNEVEN, margin), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_auxiliary_loss_equals_the_loops_and_torch(temperature, smoothing):
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 4, generator=g, dtype=torch.float64), torch.randint(4, (6,), generator=g)
    got = auxiliary_loss(logits, labels, temperature, smoothing)
    assert got.item() == pytest.approx(naive_auxiliary(logits, labels, temperature, smoothing), rel=1e-12)
    oracle = F.cross_entropy(logits / temperature, labels, label_smoothing=smoothing)
    torch.testing.assert_close(got, oracle)


def test_margin_loss_equals_the_loops(monkeypatch):
    """With the draws made known, value and beta's gradient are those of the formula."""
    z, labels = batch(unit=True)
    labels[0] = 9  # a row without positive
    g = torch.Generator().manual_seed(5)
    drawn = torch.stack(
        [torch.tensor(others(labels, a)[1])[torch.randint(12, (16,), generator=g)] for a in range(16)]
    )
    monkeypatch.setattr(losses, "_distance_weighted", lambda *_: drawn)
    terms, slope = [], 0
    for a in range(16):
        for p in others(labels, a)[0]:
            near, far = 0.2 + distance(z[a], z[p]) - 1.2, 0.2 + 1.2 - distance(z[a], z[drawn[a, p]])
            terms += [v for v in (near, far) if v > 0]
            slope += (far > 0) - (near > 0)
    beta = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    got = margin_loss(z, labels, 0.2, beta, generator=g)
    assert got.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    got.backward()
    assert beta.grad is not None
    assert beta.grad.item() == pytest.approx(slope / len(terms), rel=1e-12)
    assert margin_loss(z, labels, generator=g).item() == pytest.approx(got.item(), rel=1e-12)


def test_negatives_are_drawn_by_inverse_density():
    """Shares in 200 000 draws against 1 / q(d); nearer than 0.5 counts as 0.5, rows from 1.4 on are out."""
    dim, d = 6, [0.0, 0.1, 0.5, 0.8, 1.1, 1.39, 1.4, 1.9]
    distances = torch.tensor([d] * 8, dtype=torch.float64)
    negative = torch.ones(8, 8, dtype=torch.bool)
    negative[:, 0] = False
    weight = []
    for j, v in enumerate(d):
        v = max(v, 0.5)
        inverse = 1 / (v ** (dim - 2) * (1 - v * v / 4) ** ((dim - 3) / 2))
        weight.append(inverse if j > 0 and v < 1.4 else 0)
    g = torch.Generator().manual_seed(0)
    draws = torch.cat(
        [losses._distance_weighted(distances, negative, dim, 0.5, 1.4, g) for _ in range(3125)], 1
    )
    share = torch.bincount(draws.flatten(), minlength=8) / draws.numel()
    for j in range(8):
        p = weight[j] / sum(weight)
        assert share[j].item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / draws.numel()))


def test_draws_without_any_close_negative_are_uniform():
    distances = torch.full((4, 4), 1.9, dtype=torch.float64)
    negative = torch.tensor([[False, False, True, True]]).repeat(4, 1)
    g = torch.Generator().manual_seed(0)
    draws = torch.cat(
        [losses._distance_weighted(distances, negative, 512, 0.5, 1.4, g) for _ in range(500)], 1
    )
    share = torch.bincount(draws.flatten(), minlength=4) / draws.numel()
    assert share[:2].sum() == 0
    assert share[2].item() == pytest.approx(0.5, abs=0.03)


def test_margin_loss_repeats_from_the_same_state():
    z, labels = batch(classes=8)
    one = seeded_margin_loss(z, labels, 0.2)
    assert torch.equal(one, seeded_margin_loss(z, labels, 0.2))
    other = margin_loss(z, labels, 0.2, generator=torch.Generator().manual_seed(4))
    assert not torch.equal(one, other)


# Gradients, coinciding rows, extremes


@every_ranking_loss
@pytest.mark.parametrize("unit", [True, False])
def test_gradient(loss, unit):
    z, labels = batch(classes=3, each=3, unit=unit)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, 0.4), (z,))


def test_gradient_of_the_auxiliary_loss():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: auxiliary_loss(v, torch.tensor([0, 2, 1, 1]), 0.5, 0.1), (logits,)
    )


@every_ranking_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_rows(loss, dtype):
    """Two equal rows of one class, two of different classes: all stays finite and the others learn."""
    z, labels = batch(dtype=dtype)
    p, n = others(labels, 0)
    z[p[0]], z[n[0]] = z[0], z[0]
    z.requires_grad_()
    value = loss(z, labels, 0.3)
    value.backward()
    assert value.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@every_triplet_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapsed_batch(loss, dtype):
    """All rows equal: every distance is exactly 0, the loss exactly the margin, the gradient exactly 0."""
    z = torch.full((8, 1536), 0.7, dtype=dtype, requires_grad=True)
    value = loss(z, torch.arange(8) // 2, 0.25)
    assert value.item() == 0.25
    value.backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_margin_loss_of_a_collapsed_batch():
    z = torch.full((8, 1536), 0.7, requires_grad=True)
    value = seeded_margin_loss(z, torch.arange(8) // 2, 0.2)
    assert value.item() == pytest.approx(1.4)  # positives are within 1.2 - 0.2, negatives lack 1.2 + 0.2
    value.backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


@every_ranking_loss
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_extreme_float32(loss, scale):
    z, labels = batch(dtype=torch.float32)
    z = (z * scale).requires_grad_()
    value = loss(z, labels, 0.1)
    value.backward()
    assert value.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_zero_rows():
    z = torch.zeros(4, 3, requires_grad=True)
    value = batch_hard_triplet_loss(z, torch.tensor([0, 0, 1, 1]), 0.1)
    value.backward()
    assert value.item() == pytest.approx(0.1)
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("loss", [batch_hard_triplet_loss, semi_hard_triplet_loss])
def test_scale_of_rows_and_margin(loss):
    """The triplet losses have the unit of a distance; the weights of HAP2S have none."""
    z, labels = batch(dtype=torch.float32)
    for scale in (2.0**-90, 2.0**90):
        got = loss(z * scale, labels, 0.3 * scale) / scale
        torch.testing.assert_close(got, loss(z, labels, 0.3), rtol=1e-6, atol=0)


@every_triplet_loss
def test_nearly_equal_rows_in_float32(loss):
    """Rows 1e-4 apart around a unit vector: float32 is within 1e-3 of the float64 loops, value and gradient.

    |a|^2 + |b|^2 - 2 a.b has no correct digit there: squared distances are 1e-8, rounding about 1e-7.
    """
    g = torch.Generator().manual_seed(1)
    z = normalize(torch.ones(1, 64) + 1e-4 * torch.randn(16, 64, generator=g), dim=1)
    labels = torch.arange(16) // 4
    exact, rough = z.double().requires_grad_(), z.clone().requires_grad_()
    high, low = loss(exact, labels, 1e-5), loss(rough, labels, 1e-5)
    torch.testing.assert_close(low.double(), high, rtol=1e-3, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(low, rough)[0].double(), torch.autograd.grad(high, exact)[0], rtol=1e-3, atol=1e-4
    )


def test_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    value = auxiliary_loss(logits, torch.tensor([0, 0]), 0.5, 0.1)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# Laws


@every_triplet_loss
def test_rotation_shift_order_and_names_do_not_matter(loss):
    z, labels = batch(unit=False)
    g = torch.Generator().manual_seed(7)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    order = torch.randperm(16, generator=g)
    value = loss(z, labels, 0.3)
    for rows, ids in (
        (z @ rotation, labels),
        (z + 100, labels),
        (z[order], labels[order]),
        (z, 7 - 2 * labels),
    ):
        torch.testing.assert_close(loss(rows, ids, 0.3), value, rtol=1e-9, atol=0)


@every_ranking_loss
def test_batches_without_pairs_give_zero(loss):
    """Lone anchors and a batch of one class: loss 0 with a gradient of 0, not NaN."""
    for labels in (torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)):
        z = torch.randn(len(labels), 3, requires_grad=True)
        value = loss(z, labels, 0.2)
        value.backward()
        assert value.item() == 0
        assert z.grad is not None
        assert torch.equal(z.grad, torch.zeros_like(z))


def test_lone_anchors_stay_in_the_mean():
    z, labels = batch()
    lone = (
        torch.cat([z, z[:4] + 100]),
        torch.cat([labels, torch.arange(100, 104)]),
    )  # far from every other row
    torch.testing.assert_close(
        batch_hard_triplet_loss(*lone, 2.0), batch_hard_triplet_loss(z, labels, 2.0) * 16 / 20
    )


def test_hap2s_grows_into_batch_hard():
    z, labels = batch()
    hard = batch_hard_triplet_loss(z, labels, 0.3)
    torch.testing.assert_close(hap2s_loss(z, labels, 0.3, "E", sigma=1e-4), hard, rtol=1e-4, atol=0)
    torch.testing.assert_close(hap2s_loss(z, labels, 0.3, "P", alpha=1e5), hard, rtol=1e-3, atol=0)
    assert hap2s_loss(z, labels, 0.3) < hard


def test_order_of_the_triplet_losses():
    """No other choice of triplets is worse than the hardest."""
    z, labels = batch()
    assert semi_hard_triplet_loss(z, labels, 0.3) < batch_hard_triplet_loss(z, labels, 0.3)


# Oracles


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_batch_hard_agrees_with_pytorch_metric_learning(seed):
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import MeanReducer

    z, labels = batch(seed, dim=16)
    plain = LpDistance(normalize_embeddings=False)
    triplets = BatchHardMiner(distance=plain)(z, labels)
    oracle = TripletMarginLoss(margin=0.1, distance=plain, reducer=MeanReducer())(z, labels, triplets)
    torch.testing.assert_close(batch_hard_triplet_loss(z, labels, 0.1), oracle, rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_margin_terms_agree_with_pytorch_metric_learning(monkeypatch):
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.losses import MarginLoss

    z, labels = batch(each=2)
    drawn = torch.stack([torch.tensor(others(labels, a)[1])[torch.arange(8) % 6] for a in range(8)])
    monkeypatch.setattr(losses, "_distance_weighted", lambda *_: drawn)
    pairs = [(a, p, int(drawn[a, p])) for a in range(8) for p in others(labels, a)[0]]
    triplets = tuple(torch.tensor(column) for column in zip(*pairs))
    oracle = MarginLoss(margin=0.2, beta=1.2, triplets_per_anchor="all")(z, labels, triplets)
    got = margin_loss(z, labels, generator=torch.Generator())
    torch.testing.assert_close(got, oracle, rtol=1e-6, atol=1e-9)


# Planted bugs: each wrong reading of the definition gives another number on these batches


def test_wrong_readings_are_noticed():
    z, _ = batch(3)
    rows = z[:10]
    d = torch.cdist(rows, rows)
    same = UNEVEN[:, None] == UNEVEN
    positive = same & ~torch.eye(10, dtype=torch.bool)
    has = positive.any(1)

    def hinge(near, far):
        return torch.where(has, F.relu(near - far + 2.0), 0)

    far_p, near_n = d.masked_fill(~positive, -1).amax(1), d.masked_fill(same, 9).amin(1)
    easy_p, far_n = d.masked_fill(~positive, 9).amin(1), d.masked_fill(same, -1).amax(1)
    right = batch_hard_triplet_loss(rows, UNEVEN, 2.0)
    torch.testing.assert_close(right, hinge(far_p, near_n).mean())
    wrong = {
        "squared distance": hinge(far_p**2, near_n**2).mean(),
        "softplus": torch.where(has, F.softplus(far_p - near_n + 2.0), 0).mean(),
        "easiest positive": hinge(easy_p, near_n).mean(),
        "farthest negative": hinge(far_p, far_n).mean(),
        "sum": hinge(far_p, near_n).sum(),
        "mean over valid anchors": hinge(far_p, near_n)[has].mean(),
        "lone anchor with positive distance 0": F.relu(far_p.clamp(min=0) - near_n + 2.0).mean(),
        "other sign": hinge(near_n, far_p).mean(),
    }
    for bug, value in wrong.items():
        assert abs(value.item() - right.item()) > 1e-3, bug


def test_wrong_auxiliary_readings_are_noticed():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 4, generator=g), torch.randint(4, (6,), generator=g)
    right = auxiliary_loss(logits, labels, 0.5, 0.1)
    log_p = (logits / 0.5).log_softmax(1)
    one_hot = F.one_hot(labels, 4)
    for bug, value in {
        "times temperature": auxiliary_loss(logits * 0.25, labels, 0.5, 0.1),
        "uniform part without the true class": -((0.9 * one_hot + 0.1 / 3 * (1 - one_hot)) * log_p)
        .sum(1)
        .mean(),
        "sum": right * 6,
        "no smoothing": auxiliary_loss(logits, labels, 0.5, 0.0),
    }.items():
        assert abs(value.item() - right.item()) > 1e-3, bug


# Bad input


@every_ranking_loss
def test_bad_batches_are_one_clear_sentence(loss):
    z, labels = batch()
    with pytest.raises(ValueError, match=r"embeddings \(16, 5\) and labels \(15,\) do not fit"):
        loss(z, labels[1:], 0.1)
    with pytest.raises(ValueError, match="do not fit"):
        loss(z[0], labels, 0.1)
    with pytest.raises(ValueError, match="B, D >= 1"):
        loss(z[:0], labels[:0], 0.1)
    with pytest.raises(TypeError, match=r"embeddings have type torch\.float16"):
        loss(z.half(), labels, 0.1)
    with pytest.raises(TypeError, match=r"labels have type torch\.int32"):
        loss(z, labels.int(), 0.1)
    for margin in (-0.1, math.nan, math.inf, "0.1", True):
        with pytest.raises(ValueError, match="margin is"):
            loss(z, labels, margin)
    z[3, 1] = math.nan
    with pytest.raises(ValueError, match="row 3 holds a value that is not finite"):
        loss(z, labels, 0.1)


def test_bad_settings_are_one_clear_sentence():
    z, labels = batch()
    with pytest.raises(ValueError, match="variant 'Q' of HAP2S is unknown; choose 'P'"):
        hap2s_loss(z, labels, 0.1, "Q")
    with pytest.raises(ValueError, match="sigma is 0; give a finite number above 0"):
        hap2s_loss(z, labels, 0.1, sigma=0)
    g = torch.Generator()
    with pytest.raises(ValueError, match="upper is 2"):
        margin_loss(z, labels, generator=g, upper=2)
    with pytest.raises(ValueError, match=r"beta has shape \(4,\)"):
        margin_loss(z, labels, beta=torch.ones(4), generator=g)
    logits = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="temperature is 0; give a finite number above 0"):
        auxiliary_loss(logits, torch.tensor([0, 1, 1]), 0, 0.1)
    with pytest.raises(ValueError, match=r"smoothing is 1\.5; give a finite number at least 0 and at most 1"):
        auxiliary_loss(logits, torch.tensor([0, 1, 1]), 1.0, 1.5)
    for wrong in (2, -1, -100):  # -100 is what torch skips in silence
        with pytest.raises(ValueError, match="relabel the training classes"):
            auxiliary_loss(logits, torch.tensor([0, 1, wrong]), 1.0, 0.1)
    with pytest.raises(ValueError, match="do not fit"):
        auxiliary_loss(logits, torch.tensor([0, 1]), 1.0, 0.1)
