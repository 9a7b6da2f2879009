"""losses.py: float64 loops written from Eq. (2) to (10), gradients, known starting values, extremes, laws."""

import math
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from instance_discrimination import losses
from instance_discrimination.losses import (
    draw_noise,
    estimated_log_z,
    expected_log_z,
    nce_loss,
    nce_loss_of_scores,
    noise_scores,
    proximal_term,
    softmax_loss,
)

TAU = 0.07
both_paths = pytest.mark.parametrize("product", [True, False])


def unit(*shape, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1).to(dtype)


def task(seed=0, b=3, n=7, d=5, m=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(100 + seed)
    return {
        "v": unit(b, d, seed=seed, dtype=dtype),
        "bank": unit(n, d, seed=seed + 1, dtype=dtype),
        "index": torch.randperm(n, generator=g)[:b],
        "noise": torch.randint(n, (b, m), generator=g),
        "log_z": torch.tensor(math.log(9.0), dtype=dtype),
    }


def dot(x, y):
    return math.fsum(float(a) * float(b) for a, b in zip(x, y))


# Naive references: probabilities as printed, loops, no logarithm tricks


def naive_softmax(v, bank, index, tau):
    """Eq. (2), (3)."""
    total = 0.0
    for row, i in zip(v, index):
        weights = [math.exp(dot(vj, row) / tau) for vj in bank]
        total -= math.log(weights[i] / math.fsum(weights))
    return total / len(v)


def naive_nce(v, bank, index, noise, log_z, tau, eps=0.0):
    """Eq. (4), (6), (7); eps in both denominators, as the released code."""
    n, m, z, total = len(bank), noise.shape[1], math.exp(float(log_z)), 0.0
    for row, i, drawn in zip(v, index, noise):

        def p(j, row=row):
            return math.exp(dot(bank[j], row) / tau) / z

        total -= math.log(p(i) / (p(i) + m / n + eps))
        total -= math.fsum(math.log((m / n) / (p(j) + m / n + eps)) for j in drawn)
    return total / len(v)


def naive_z(v, bank, noise, tau):
    """Eq. (8), one Z for all: the mean over the batch of N / m sum_k exp(v_jk . v / tau)."""
    m = noise.shape[1]
    each = [
        len(bank) / m * math.fsum(math.exp(dot(bank[j], row) / tau) for j in drawn)
        for row, drawn in zip(v, noise)
    ]
    return math.fsum(each) / len(each)


def naive_proximal(v, previous):
    """Eq. (9), its second term without lambda."""
    return math.fsum((float(a) - float(b)) ** 2 for x, y in zip(v, previous) for a, b in zip(x, y)) / len(v)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", [0.07, 0.1, 1.0])
def test_softmax_is_the_printed_equation(seed, tau):
    t = task(seed)
    expected = naive_softmax(t["v"], t["bank"], t["index"], tau)
    assert softmax_loss(t["v"], t["bank"], t["index"], tau).item() == pytest.approx(expected, rel=1e-12)


@both_paths
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("m", "eps"), [(1, 0.0), (4, 0.0), (30, 0.0), (1, 1e-7), (4, 0.1)])
def test_nce_is_the_printed_equation(product, seed, m, eps):
    t = task(seed, m=m)
    got = nce_loss(**t, temperature=TAU, eps=eps, product=product)
    assert got.item() == pytest.approx(naive_nce(**t, tau=TAU, eps=eps), rel=1e-12)


@both_paths
def test_estimate_of_z_is_the_printed_equation(product):
    t = task(b=6, n=50, m=20)
    scores = noise_scores(t["v"], t["bank"], t["index"], t["noise"], TAU, product=product)
    z = math.exp(estimated_log_z(scores[:, 1:], 50))
    assert z == pytest.approx(naive_z(t["v"], t["bank"], t["noise"], TAU), rel=1e-12)
    released = math.exp(estimated_log_z(scores, 50))  # all 1 + m columns, note D5
    every = torch.cat([t["index"][:, None], t["noise"]], 1)
    assert released == pytest.approx(naive_z(t["v"], t["bank"], every, TAU), rel=1e-12)
    assert abs(released / z - 1) > 1e-3


def test_proximal_term_is_the_printed_equation():
    t = task()
    previous = t["bank"][t["index"]]
    got = proximal_term(t["v"], previous)
    assert got.item() == pytest.approx(naive_proximal(t["v"], previous), rel=1e-12)
    on_sphere = 2 * (1 - (t["v"] * previous).sum(1)).mean()
    torch.testing.assert_close(got, on_sphere, rtol=1e-12, atol=0)


# Known values


@both_paths
@pytest.mark.parametrize(
    ("m", "start"), [(1, 1.386), (10, 3.351), (512, 7.239), (4096, 9.318)], ids=lambda x: str(x)
)
def test_start_of_nce_when_every_p_is_one_over_n(product, m, start):
    """v orthogonal to every row and log Z = log N: log(m + 1) + m log(1 + 1 / m), whatever N, D and tau."""
    n, d = 600, 4
    bank = torch.cat([unit(n, d), torch.zeros(n, d, dtype=torch.float64)], 1)
    v = torch.cat([torch.zeros(2, d, dtype=torch.float64), unit(2, d)], 1)
    noise = torch.randint(n, (2, m), generator=torch.Generator().manual_seed(0))
    log_n = torch.tensor(math.log(n), dtype=torch.float64)
    loss = nce_loss(v, bank, torch.tensor([4, 2]), noise, log_n, TAU, product=product).item()
    assert loss == pytest.approx(math.log(m + 1) + m * math.log1p(1 / m), rel=1e-12)
    assert round(loss, 3) == start
    assert softmax_loss(v, bank, torch.tensor([4, 2]), TAU).item() == pytest.approx(math.log(n), rel=1e-12)


@pytest.mark.parametrize(("m", "start"), [(1, 1.60), (10, 3.70), (512, 7.63), (4096, 9.71)])
def test_start_on_a_random_bank(m, start):
    """Rows and v in random directions, tau = 0.1, D = 128, Z its expected value: a higher start."""
    n, b = 2000, 1000 if m > 100 else 4000
    bank, v = unit(n, 128, dtype=torch.float32), unit(b, 128, seed=1, dtype=torch.float32)
    noise = torch.randint(n, (b, m), generator=torch.Generator().manual_seed(m))
    index, log_z = torch.arange(b) % n, expected_log_z(n, 128, 0.1)
    assert nce_loss(v, bank, index, noise, torch.tensor(log_z), 0.1).item() == pytest.approx(start, abs=0.05)
    exact = softmax_loss(v, bank, index, 0.1).item()
    assert exact == pytest.approx(log_z, abs=0.08)  # log Z, above log N by 0.39
    assert exact > math.log(n) + 0.3


@pytest.mark.parametrize(
    ("n", "tau", "z"),
    [(50_000, 0.07, 1.104e5), (50_000, 0.1, 7.38e4), (50_000, 0.2, 5.51e4), (1_281_167, 0.07, 2.83e6)],
)
def test_closed_form_of_z(n, tau, z):
    got = math.exp(expected_log_z(n, 128, tau))
    assert got == pytest.approx(z, rel=1e-3)
    assert got / n == pytest.approx(math.exp(1 / (2 * 128 * tau**2)), rel=0.02)
    if n > 10**6:  # the constant that LocalAggregation writes into its code
        assert got == pytest.approx(2876934.2, rel=0.02)


def test_z_of_the_released_first_bank():
    """Entries uniform in +- a = sqrt(3 / D): E exp(v_j . v / tau) = prod_d sinh(a v_d / tau) / (a v_d / tau).

    1.106e5 at N = 50,000, tau = 0.07: 0.2 % above the closed form for the sphere, which serves both.
    """
    a = math.sqrt(3 / 128) * unit(1000, 128) / 0.07
    released = 50_000 * float((a.sinh() / a).log().sum(1).exp().mean())
    assert released == pytest.approx(1.106e5, rel=1e-3)
    assert math.exp(expected_log_z(50_000, 128, 0.07)) == pytest.approx(released, rel=2.5e-3)


@pytest.mark.parametrize("dim", [1, 2, 3, 128, 2048])
@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0, 100.0])
def test_closed_form_of_z_is_the_mean_over_the_sphere(dim, tau):
    """The density of x = v_j . v is (1 - x^2)^((D - 3) / 2): integrated numerically, over the angle."""
    if dim == 1:
        expected = math.log(math.cosh(1 / tau)) if tau > 0.01 else 1 / tau - math.log(2)
    else:
        angle = (torch.arange(100_000, dtype=torch.float64) + 0.5) * math.pi / 100_000
        log_density = (dim - 2) * angle.sin().log()
        expected = float((angle.cos() / tau + log_density).logsumexp(0) - log_density.logsumexp(0))
    assert expected_log_z(1, dim, tau) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert expected_log_z(50, dim, tau) == pytest.approx(expected + math.log(50), rel=1e-6)


def test_closed_form_of_z_is_what_a_random_bank_has():
    scores = unit(200, 32, seed=1) @ unit(5000, 32, seed=2).T / 0.2
    assert float(estimated_log_z(scores, 5000)) == pytest.approx(expected_log_z(5000, 32, 0.2), abs=0.01)


def test_positive_term_cannot_vanish_with_a_fixed_z():
    """A perfect match has h = 1 / (1 + m E exp(-1 / tau)): 0.785 at tau = 0.1, m = 4096, N = 50,000."""
    z = torch.tensor(expected_log_z(50_000, 128, 0.1))
    perfect = torch.tensor([[1 / 0.1] + [-1 / 0.1] * 4096])
    assert math.exp(-nce_loss_of_scores(perfect, z, 50_000)) == pytest.approx(0.785, abs=1e-3)


@both_paths
def test_nce_is_binary_cross_entropy_with_logits(product):
    t = task(b=6, n=40, m=9)
    logits = noise_scores(t["v"], t["bank"], t["index"], t["noise"], TAU) - t["log_z"] + math.log(40 / 9)
    target = F.one_hot(torch.zeros(6, dtype=torch.int64), 10).double()
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()
    got = nce_loss(**t, temperature=TAU, product=product)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("exclude", [False, True])
def test_nce_with_many_noise_images_finds_the_exact_softmax(exclude):
    """Gutmann & Hyvarinen: as m grows, and Z is each image's own, the gradient becomes that of Eq. (3)."""
    t = task(b=1, n=6)
    v, bank, index = t["v"].requires_grad_(), t["bank"], t["index"]
    tau, m = 0.5, 200_000
    log_z = (bank @ v[0].detach() / tau).logsumexp(0)
    noise = draw_noise(index, m, 6, seed=0, step=0, exclude_positive=exclude)
    (exact,) = torch.autograd.grad(softmax_loss(v, bank, index, tau), v)
    (estimate,) = torch.autograd.grad(nce_loss(v, bank, index, noise, log_z, tau), v)
    far = float((estimate - exact).norm() / exact.norm())
    assert far < 0.02 if not exclude else far > 0.05  # P_n = 1 / N is an approximation when one is left out


# Gradients


@both_paths
def test_gradients(product):
    t = task()
    t["v"].requires_grad_()
    previous = unit(3, 5, seed=9)
    rest = {k: x for k, x in t.items() if k != "v"}
    assert torch.autograd.gradcheck(
        lambda v: nce_loss(v, **rest, temperature=TAU, product=product, eps=0.01), t["v"]
    )
    assert torch.autograd.gradcheck(lambda v: softmax_loss(v, t["bank"], t["index"], TAU), t["v"])
    assert torch.autograd.gradcheck(lambda v: proximal_term(v, previous), t["v"])


def test_gradients_are_the_known_formulas():
    """dJ/dv = (sum_j P(j|v) v_j - v_i) / tau; for NCE -(1 - h+) v+ + sum_k h_k v_k, over B tau."""
    t = task(b=4, n=20, m=6)
    v, bank = t["v"].requires_grad_(), t["bank"]
    (got,) = torch.autograd.grad(softmax_loss(v, bank, t["index"], TAU), v)
    p = (v.detach() @ bank.T / TAU).softmax(1)
    torch.testing.assert_close(got, (p @ bank - bank[t["index"]]) / TAU / 4, rtol=1e-9, atol=1e-12)
    (got,) = torch.autograd.grad(nce_loss(**t, temperature=TAU), v)
    scores = noise_scores(v.detach(), bank, t["index"], t["noise"], TAU)
    h = (scores - t["log_z"] - math.log(6 / 20)).sigmoid()
    expected = torch.einsum("bm,bmd->bd", h[:, 1:], bank[t["noise"]]) - (1 - h[:, :1]) * bank[t["index"]]
    torch.testing.assert_close(got, expected / TAU / 4, rtol=1e-9, atol=1e-12)


def test_nothing_flows_into_the_bank():
    t = task()
    t["v"].requires_grad_()
    t["bank"].requires_grad_()
    previous = t["bank"][t["index"]]
    loss = softmax_loss(t["v"], t["bank"], t["index"], TAU) + proximal_term(t["v"], previous)
    for product in (True, False):
        loss = loss + nce_loss(**t, temperature=TAU, product=product)
    loss.backward()
    assert t["bank"].grad is None
    assert t["v"].grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_paths_agree_in_value_and_gradient(dtype):
    t = task(b=16, n=300, d=32, m=100, dtype=dtype)
    t["noise"][:, :50] = t["noise"][:, 50:]  # every draw twice: gradients must add up
    t["noise"][0] = t["index"][0]  # nothing but collisions with the positive
    found = []
    for product in (True, False):
        v = t["v"].clone().requires_grad_()
        loss = nce_loss(**{**t, "v": v}, temperature=0.1, product=product)
        found.append((loss.detach(), torch.autograd.grad(loss, v)[0]))
    exact = dtype == torch.float64
    torch.testing.assert_close(
        found[0], found[1], rtol=1e-12 if exact else 1e-5, atol=1e-12 if exact else 1e-5
    )


@pytest.mark.parametrize(
    ("n", "d", "whole"),
    [(319, 32, True), (320, 32, True), (321, 32, False), (640, 64, True), (640, 99, True), (641, 99, False)],
)
def test_the_rule_that_chooses_the_path(monkeypatch, n, d, whole):
    """The whole bank if N <= m min(D, 64); embedding is only called where rows are gathered."""
    t = task(b=2, n=n, d=d, m=10)
    called = []
    embedding = F.embedding
    monkeypatch.setattr(F, "embedding", lambda *a: called.append(1) or embedding(*a))
    nce_loss(**t, temperature=TAU)
    assert called == ([] if whole else [1])


def test_a_colliding_negative_is_a_noise_term_like_any_other():
    """An image may be its own noise: it adds -log(1 - h) of the positive's h, and takes gradient away."""
    t = task(b=1, m=3)
    t["noise"][0, 1] = t["index"][0]
    assert nce_loss(**t, temperature=TAU).item() == pytest.approx(naive_nce(**t, tau=TAU), rel=1e-12)
    scores = noise_scores(t["v"], t["bank"], t["index"], t["noise"], TAU)
    assert scores[0, 2].item() == pytest.approx(scores[0, 0].item(), rel=1e-12)


# Noise


def test_noise_is_a_function_of_seed_step_and_image_alone():
    index = torch.tensor([5, 0, 31, 7])
    whole = draw_noise(index, 10, 100, seed=3, step=8)
    assert whole.shape == (4, 10)
    assert whole.dtype == torch.int64
    torch.manual_seed(99)
    parts = torch.cat([draw_noise(part, 10, 100, seed=3, step=8) for part in index.split(1)])
    assert torch.equal(whole, parts)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(draw_noise(index[order], 10, 100, seed=3, step=8), whole[order])
    for other in ({"seed": 4, "step": 8}, {"seed": 3, "step": 9}, {"seed": 8, "step": 3}):
        assert (draw_noise(index, 10, 100, **other) != whole).any(1).all()
    assert len({tuple(row.tolist()) for row in whole}) == 4  # no two images share theirs


@pytest.mark.parametrize("exclude", [False, True])
def test_noise_is_uniform(exclude):
    """Counts of 20 rows for 40 images: within 5 deviations, and chi-square near its degrees of freedom."""
    n, m, index = 20, 5000, torch.arange(40) % 20
    drawn = draw_noise(index, m, n, seed=0, step=torch.iinfo(torch.int32).max, exclude_positive=exclude)
    counts = torch.stack([row.bincount(minlength=n) for row in drawn])  # (40, n)
    assert counts.shape == (40, n)
    if exclude:
        assert not counts[torch.arange(40), index].any()
        counts = counts[torch.arange(n) != index[:, None]].view(40, n - 1)
    expected, free = m / counts.shape[1], counts.shape[1] - 1
    far = (counts - expected) / math.sqrt(expected)
    assert float(far.abs().max()) < 5
    assert float(far.square().sum(1).mean()) == pytest.approx(free, abs=4 * math.sqrt(2 * free / 40))


def test_share_of_images_that_meet_themselves():
    """1 - (1 - 1/N)^m of the images: 7.9 % at N = 50,000, m = 4096; here the same m / N, on 3,000 images."""
    n, m = 3000, 246
    index = torch.arange(n)
    collides = (draw_noise(index, m, n, seed=1, step=0) == index[:, None]).any(1).double().mean()
    assert float(collides) == pytest.approx(0.079, abs=0.02)
    assert not (draw_noise(index, m, n, seed=1, step=0, exclude_positive=True) == index[:, None]).any()


def test_noise_reaches_every_row_of_a_large_bank():
    drawn = draw_noise(torch.arange(4), 50_000, 1_281_167, seed=0, step=0)
    assert 0 <= int(drawn.min()) < 100
    assert 1_281_067 < int(drawn.max()) < 1_281_167
    assert int((drawn % 2).sum()) == pytest.approx(100_000, abs=1000)  # low bits vary: more than 24 are drawn


# Extremes and laws


@both_paths
@pytest.mark.parametrize("scale", [1e-30, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("tau", [1e-3, 0.07, 100.0])
def test_float32_stays_finite(product, scale, tau):
    t = task(b=8, n=200, d=16, m=64, dtype=torch.float32)
    v = (t.pop("v") * scale).requires_grad_()
    loss = (
        nce_loss(v, **t, temperature=tau, product=product)
        + softmax_loss(v, t["bank"], t["index"], tau)
        + proximal_term(v, t["bank"][t["index"]])
    )
    loss.backward()
    assert loss.isfinite()
    assert v.grad is not None
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("log_z", [-80.0, 0.0, 80.0])
def test_float32_stays_finite_for_a_wrong_z(log_z):
    t = task(b=8, n=200, d=16, m=64, dtype=torch.float32)
    t["log_z"] = torch.tensor(log_z)
    t["v"].requires_grad_()
    loss = nce_loss(**t, temperature=0.07)
    loss.backward()
    assert loss.isfinite()
    assert t["v"].grad.isfinite().all()


def test_half_precision_autocast_does_not_reach_the_loss():
    t = task(b=8, n=200, d=16, m=64, dtype=torch.float32)
    plain = [nce_loss(**t, temperature=TAU, product=p) for p in (True, False)]
    plain.append(softmax_loss(t["v"], t["bank"], t["index"], TAU))
    with torch.autocast("cpu", torch.bfloat16):
        inside = [nce_loss(**t, temperature=TAU, product=p) for p in (True, False)]
        inside.append(softmax_loss(t["v"], t["bank"], t["index"], TAU))
    assert all(torch.equal(a, b) for a, b in zip(plain, inside))
    assert plain[0].dtype == inside[0].dtype == torch.float32


def test_rotation_and_renumbering_do_not_matter():
    t = task(b=4, n=30, m=8)
    g = torch.Generator().manual_seed(3)
    q = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    order = torch.randperm(30, generator=g)
    place = order.argsort()  # row i of the bank is now row place[i]
    turned = {**t, "v": t["v"] @ q, "bank": t["bank"] @ q}
    renumbered = {**t, "bank": t["bank"][order], "index": place[t["index"]], "noise": place[t["noise"]]}
    for other in (turned, renumbered):
        assert nce_loss(**other, temperature=TAU).item() == pytest.approx(
            nce_loss(**t, temperature=TAU).item()
        )
        assert softmax_loss(other["v"], other["bank"], other["index"], TAU).item() == pytest.approx(
            softmax_loss(t["v"], t["bank"], t["index"], TAU).item()
        )


# Planted bugs: each wrong reading of the equations gives another number on this batch


def test_wrong_readings_are_noticed():
    t = task(b=5, n=30, m=6)
    v, bank, index, noise, log_z = t.values()
    right = naive_nce(**t, tau=TAU)
    assert nce_loss(**t, temperature=TAU).item() == pytest.approx(right, rel=1e-12)
    scores = noise_scores(v, bank, index, noise, TAU)
    positive, negative = scores[:, 0] - log_z, scores[:, 1:] - log_z
    bias = math.log(6 / 30)
    h, not_h = F.logsigmoid(positive - bias), F.logsigmoid(bias - negative)
    swapped = F.logsigmoid(bias - positive) + F.logsigmoid(negative - bias).sum(1)
    wrong = {
        "mean over the noise": -(h + not_h.mean(1)).mean(),
        "sum over the batch": -(h + not_h.sum(1)).sum(),
        "mean over all terms": -torch.cat([h[:, None], not_h], 1).mean(),
        "no m": -(
            F.logsigmoid(positive + math.log(30)) + F.logsigmoid(-math.log(30) - negative).sum(1)
        ).mean(),
        "P_n = 1 / m": -(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(1)).mean(),
        "no Z": nce_loss(v, bank, index, noise, log_z * 0, TAU),
        "Z / N for Z": nce_loss(v, bank, index, noise, log_z - math.log(30), TAU),
        "no temperature": nce_loss(v, bank, index, noise, log_z, 1.0),
        "swapped": -swapped.mean(),
        "wrong sign": nce_loss(-v, bank, index, noise, log_z, TAU),
        "InfoNCE": F.cross_entropy(scores, torch.zeros(5, dtype=torch.int64)),
    }
    for bug, value in wrong.items():
        assert abs(value.item() - right) > 1e-3, bug
    exact = naive_softmax(v, bank, index, TAU)
    others = v @ bank.T / TAU
    others[torch.arange(5), index] = -math.inf
    left_out = (others.logsumexp(1) - scores[:, 0]).mean().item()
    assert abs(left_out - exact) > 1e-3  # the sum of Eq. (2) runs over all j, i among them
    assert abs(softmax_loss(v, bank, index, 1.0).item() - exact) > 1e-3


def check_softmax(m):
    t = task(b=5, n=30)
    got = m.softmax_loss(t["v"], t["bank"], t["index"], TAU).item()
    assert got == pytest.approx(naive_softmax(t["v"], t["bank"], t["index"], TAU), rel=1e-9)


def check_nce(m):
    t = task(b=5, n=30, m=6)
    for eps in (0.0, 0.1):
        for product in (True, False):
            got = m.nce_loss(**t, temperature=TAU, eps=eps, product=product).item()
            assert got == pytest.approx(naive_nce(**t, tau=TAU, eps=eps), rel=1e-9)


def check_blocks(m):
    """Gathered rows come in blocks of 4 columns here: the same scores as from one product."""
    t = task(b=512, n=600, d=512, m=9)
    assert t["v"].numel() * 4 == m.CPU_BLOCK
    given = t["v"], t["bank"], t["index"], t["noise"], TAU
    one, blocks = m.noise_scores(*given, product=True), m.noise_scores(*given, product=False)
    assert blocks.shape == (512, 10)
    torch.testing.assert_close(blocks, one, rtol=1e-9, atol=1e-12)


def check_gradient(m):
    for many, product in ((6, True), (6, False), (99, True), (99, False)):  # 100 places: a bag and a part
        t = task(b=5, n=30, m=many)
        places = torch.cat([t["index"][:, None], t["noise"]], 1)
        weights = unit(5, 1 + many, seed=4)
        v = t["v"].clone().requires_grad_()
        scores = m.noise_scores(v, t["bank"], t["index"], t["noise"], TAU, product=product)
        (got,) = torch.autograd.grad(scores, v, weights)
        expected = torch.einsum("bk,bkd->bd", weights, t["bank"][places]) / TAU
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def check_z(m):
    t = task(b=6, n=50, m=20)
    scores = m.noise_scores(t["v"], t["bank"], t["index"], t["noise"], TAU)
    expected = naive_z(t["v"], t["bank"], t["noise"], TAU)
    assert math.exp(m.estimated_log_z(scores[:, 1:], 50)) == pytest.approx(expected, rel=1e-9)
    assert math.exp(m.expected_log_z(50_000, 128, 0.1)) == pytest.approx(7.38e4, rel=1e-3)


def check_proximal(m):
    t = task()
    previous = t["bank"][t["index"]]
    assert m.proximal_term(t["v"], previous).item() == pytest.approx(naive_proximal(t["v"], previous))


def check_constants(m):
    t = task(b=3, n=20)
    t["v"].requires_grad_()
    t["bank"].requires_grad_()
    for loss in (
        m.softmax_loss(t["v"], t["bank"], t["index"], TAU),
        m.nce_loss(**t, temperature=TAU, product=True),
        m.nce_loss(**t, temperature=TAU, product=False),
        m.proximal_term(t["v"], t["bank"][t["index"]]),
    ):
        (gradient,) = torch.autograd.grad(loss, t["bank"], allow_unused=True)
        assert gradient is None or not gradient.any()


def check_noise(m):
    index = torch.arange(20)
    drawn = m.draw_noise(index, 400, 20, 0, 0, exclude_positive=True)
    assert not (drawn == index[:, None]).any()
    assert drawn.unique().tolist() == list(range(20))
    assert int(drawn.flatten().bincount(minlength=20).min()) > 300  # of 400 on average
    assert (m.draw_noise(index, 9, 20, 0, 1) != m.draw_noise(index, 9, 20, 0, 2)).any()
    assert (m.draw_noise(index, 9, 20, 1, 0) != m.draw_noise(index, 9, 20, 2, 0)).any()
    large = m.draw_noise(index, 5000, 1_281_167, 0, 0)
    assert int((large % 2).sum()) == pytest.approx(50_000, abs=1000)


PLANTED = [
    ("(v / temperature) @ bank.detach().T", "v @ bank.detach().T", check_softmax),
    ("picked_products(v / temperature", "picked_products(v", check_nce),
    ("torch.cat([index[:, None], noise], 1)", "torch.cat([noise, index[:, None]], 1)", check_nce),
    (".gather(1, places)", ".gather(1, places.flip(0))", check_nce),
    ("F.embedding(part, rows)", "F.embedding(part.flip(0), rows)", check_nce),
    ("torch.cat(parts, 1)", "torch.cat(parts[::-1], 1)", check_blocks),
    (".sum(1), None, None, None", "[:, 0], None, None, None", check_gradient),
    ("F.embedding_bag(bags, rows", "F.embedding_bag(bags.flip(0), rows", check_gradient),
    ("log_p = scores - log_z", "log_p = scores", check_nce),
    ("log_noise = math.log(m / size)", "log_noise = math.log(1 / size)", check_nce),
    ("log_other = math.log(m / size + eps)", "log_other = math.log(m / size)", check_nce),
    ("F.logsigmoid(log_p[:, 0] - log_other)", "F.logsigmoid(log_p[:, 0])", check_nce),
    ("F.logsigmoid(log_other - log_p[:, 1:])", "F.logsigmoid(log_p[:, 1:] - log_other)", check_nce),
    (" + (log_noise - log_other)", "", check_nce),
    ("log_not_h.sum(1)", "log_not_h.mean(1)", check_nce),
    ("math.log(size / scores.numel())", "math.log(size)", check_z),
    ("-2 * k * math.log(2 * temperature)", "-k * math.log(2 * temperature)", check_z),
    (".square().sum(1).mean()", ".square().mean()", check_proximal),
    ("(v - previous.detach())", "(v - previous)", check_constants),
    ("bank.detach().T", "bank.T", check_constants),
    ("drawn >= index[:, None]", "drawn > index[:, None]", check_noise),
    ("bits % (size - 1)", "bits % size", check_noise),
    ("counter.uniform(seed, step,", "counter.uniform(seed, 0,", check_noise),
    ("counter.uniform(seed, step,", "counter.uniform(0, step,", check_noise),
]


@pytest.mark.parametrize(("right", "wrong", "check"), PLANTED, ids=[f"{r} > {w}" for r, w, _ in PLANTED])
def test_a_planted_bug_is_caught(right, wrong, check, monkeypatch):
    check(losses)
    source = Path(losses.__file__).read_text()
    assert right in source, f"{right!r} is no longer in losses.py"
    module = types.ModuleType("planted_losses")
    monkeypatch.setitem(sys.modules, "planted_losses", module)
    exec(compile(source.replace(right, wrong), "planted_losses", "exec"), module.__dict__)
    with pytest.raises(AssertionError):
        check(module)


# Bad input


def test_bad_input_is_one_clear_sentence():
    t = task()
    nan = t["v"].clone()
    nan[1, 2] = math.nan
    for error, text, change in (
        (
            ValueError,
            r"index holds 7, outside 0 \.\. 6, the rows of the bank",
            {"index": torch.tensor([1, 7, 0])},
        ),
        (ValueError, "index holds -1", {"index": torch.tensor([1, -1, 0])}),
        (ValueError, r"noise holds 9, outside 0 \.\. 6", {"noise": torch.full((3, 2), 9)}),
        (ValueError, r"noise has shape \(2, 4\); give \[3, m\]", {"noise": t["noise"][:2]}),
        (ValueError, r"noise has shape \(3, 0\)", {"noise": t["noise"][:, :0]}),
        (ValueError, r"index has shape \(2,\)", {"index": t["index"][:2]}),
        (ValueError, "of one D", {"bank": t["bank"][:, :4]}),
        (ValueError, "v has shape", {"v": t["v"][0]}),
        (ValueError, "row 1 of v is not finite", {"v": nan}),
        (TypeError, r"v is torch\.bfloat16; normalise", {"v": t["v"].bfloat16()}),
        (TypeError, r"index is torch\.int32", {"index": t["index"].int()}),
        (TypeError, r"noise is torch\.float32", {"noise": t["noise"].float()}),
        (ValueError, "log_z is nan; set it first", {"log_z": torch.tensor(math.nan)}),
        (ValueError, r"log_z has shape \(3,\)", {"log_z": torch.zeros(3)}),
        (ValueError, "temperature is 0; give a finite number above 0", {"temperature": 0}),
        (ValueError, "temperature is '0.1'", {"temperature": "0.1"}),
        (ValueError, "eps is -1; give a finite number from 0", {"eps": -1}),
    ):
        with pytest.raises(error, match=text):
            nce_loss(**{**t, "temperature": TAU, **change})
    with pytest.raises(ValueError, match="index holds 7"):
        softmax_loss(t["v"], t["bank"], torch.tensor([1, 7, 0]), TAU)
    with pytest.raises(ValueError, match=r"previous has shape \(2, 5\)"):
        proximal_term(t["v"], t["bank"][:2])
    with pytest.raises(ValueError, match="scores has shape"):
        nce_loss_of_scores(torch.zeros(3, 1), t["log_z"], 7)
    with pytest.raises(ValueError, match="cannot draw 3 noise images out of 1"):
        draw_noise(torch.tensor([0]), 3, 1, seed=0, step=0, exclude_positive=True)
    with pytest.raises(ValueError, match="0 rows of 5 numbers"):
        expected_log_z(0, 5, TAU)
