"""model.py: the authors' network, its head against the printed formulas, its limit and its cap."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperbolic_embeddings.uncertainty.model import Network, standardise


def network(dim=2, classes=10, seed=0, **kwargs):
    torch.manual_seed(seed)
    return Network(dim, classes, **kwargs)


@pytest.fixture
def x():
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("dim", "hyperbolic", "count"),
    [(2, True, 427_112), (2, False, 427_102), (20, True, 427_112 + 18 * 501 + 18 * 20)],
)
def test_number_of_parameters(dim, hyperbolic, count):
    assert sum(p.numel() for p in network(dim, hyperbolic=hyperbolic).parameters()) == count


def naive_features(net, x):
    """The layers as the authors' mnist.py has them: ReLU before the pooling."""
    conv1, conv2 = (m for m in net.trunk if isinstance(m, nn.Conv2d))
    linear1, linear2 = (m for m in net.trunk if isinstance(m, nn.Linear))
    x = F.max_pool2d(F.relu(conv1(x)), 2, 2)
    x = F.max_pool2d(F.relu(conv2(x)), 2, 2)
    return linear2(F.relu(linear1(x.view(-1, 4 * 4 * 50))))


def test_trunk_and_its_gradient_are_the_authors(x):
    net = network(dim=3).double()
    x = x.double()
    found, wanted = net.trunk(x), naive_features(net, x)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    weights = list(net.trunk.parameters())
    weigh = torch.randn(5, 3, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weigh).sum(), weights),
        torch.autograd.grad((wanted * weigh).sum(), weights),
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def dot(a, b):
    return sum(i * j for i, j in zip(a, b))


def norm(a):
    return math.sqrt(dot(a, a))


def naive_exp0(u, c):
    """exp_0 as printed."""
    r = math.sqrt(c) * norm(u)
    return [math.tanh(r) * i / r for i in u]


def naive_logit(x, p_free, a_free, c):
    """As printed, loops over coordinates: v_k with p_k = exp_0(p'), a_k = (1 - c|p|^2) a'."""
    p = naive_exp0(p_free, c)
    a = [(1 - c * dot(p, p)) * i for i in a_free]
    minus = [-i for i in p]
    xy, xx, pp = dot(minus, x), dot(x, x), dot(p, p)
    below = 1 + 2 * c * xy + c * c * pp * xx
    m = [((1 + 2 * c * xy + c * xx) * i + (1 - c * pp) * j) / below for i, j in zip(minus, x)]
    inside = 2 * math.sqrt(c) * dot(m, a) / ((1 - c * dot(m, m)) * norm(a))
    return 2 / (1 - c * pp) * norm(a) / math.sqrt(c) * math.asinh(inside)


@pytest.mark.parametrize(("c", "mode"), [(1.0, "exact"), (0.05, "exact"), (0.05, "released")])
def test_logits_are_the_printed_ones(x, c, mode):
    net = network(dim=3, classes=4, c=c, mode=mode, correction=False).double()
    with torch.no_grad():
        u, z, logits = net(x.double())
        for b in range(len(x)):
            point = naive_exp0(u[b].tolist(), c)
            assert z[b].tolist() == pytest.approx(point, rel=1e-12)
            for k in range(4):
                wanted = naive_logit(point, net.classifier.p[k].tolist(), net.classifier.a[k].tolist(), c)
                # released: 1e-5 in the denominators
                assert float(logits[b, k]) == pytest.approx(wanted, rel=1e-4 if mode == "released" else 1e-9)


def test_as_c_vanishes_the_head_is_linear(x):
    """Claim C9: v_k -> 4 <u - p'_k, a'_k>, a linear classifier, and d(0, z) is 2 |u| at every c."""
    net = network(dim=3, c=1e-6, mode="exact")
    with torch.no_grad():
        u, z, logits = net(x)
        p, a = net.classifier.p, net.classifier.a
        torch.testing.assert_close(z, u, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(logits, 4 * (u @ a.T - (p * a).sum(1)), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(dim=3, c=1.0, mode="exact")(x)[2], logits, rtol=1e-2)


@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("c", [1.0, 0.05, 0.01])
def test_the_distance_is_twice_the_norm_up_to_the_cap(c, mode):
    """Finding F1, and the atom that the projection makes."""
    net = network(c=c, mode=mode)
    start = {1.0: 3.800, 0.05: 16.995, 0.01: 38.002}[c]  # artanh(0.999) / sqrt(c)
    assert net.cap == pytest.approx(start, abs=1e-3)
    lengths = torch.tensor([0.01, 0.3, 0.99, 0.9999, 1.0001, 1.5, 40.0]) * net.cap
    turn = torch.linspace(0, 6, 7)
    u = lengths[:, None] * torch.stack([turn.cos(), turn.sin()], 1)
    d = net.distance0(u)
    assert d.dtype == torch.float64
    torch.testing.assert_close(d[:4], 2 * lengths[:4].double(), rtol=1e-6, atol=0.0)
    assert (d[4:] == 2 * net.cap).all(), "points at the cap are equal, not apart by rounding"
    assert d.max() == 2 * net.cap


def test_clipping_lowers_the_cap():
    net = network(c=1.0, clip=2.3)
    assert net.cap == pytest.approx(2.3)
    assert net.distance0(torch.tensor([[1.0, 0.0], [9.0, 0.0]])).tolist() == pytest.approx([2.0, 4.6])
    assert network(c=1.0, clip=99.0).cap == pytest.approx(3.800, abs=1e-3), "the projection comes first"


def test_a_euclidean_head_has_no_cap_and_no_distance(x):
    net = network(hyperbolic=False)
    u, z, _ = net(x)
    assert z is u
    assert net.cap == math.inf
    with pytest.raises(ValueError, match="Euclidean head"):
        net.distance0(u)


def test_heads_of_one_seed_share_the_trunk():
    a, b = network(hyperbolic=True).trunk.state_dict(), network(hyperbolic=False).trunk.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(network(seed=1).trunk[0].weight, a["0.weight"])


def test_the_correction_weighs_gradients_and_nothing_else(x):
    """b.9: factor (1 - c |z|^2)^2 / 4 per picture on everything before the head."""
    gradients = {}
    for correction in (True, False):
        net = network(c=1.0, mode="exact", correction=correction)
        _, z, logits = net(x[:1])
        F.cross_entropy(logits, torch.tensor([3])).backward()
        gradients[correction] = net.trunk[0].weight.grad, net.classifier.a.grad, logits
    factor = (1 - z.detach().square().sum()).item() ** 2 / 4
    torch.testing.assert_close(gradients[True][2], gradients[False][2])
    torch.testing.assert_close(gradients[True][1], gradients[False][1])
    torch.testing.assert_close(gradients[True][0], gradients[False][0] * factor, rtol=1e-3, atol=1e-8)
    assert factor < 0.26, "a test of the factor needs one that is not 1"


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_half_precision_ends_before_the_head(x, hyperbolic):
    net = network(hyperbolic=hyperbolic)
    with torch.autocast("cpu", torch.bfloat16):
        u, z, logits = net(x)
    assert u.dtype == z.dtype == logits.dtype == torch.float32
    with torch.no_grad():
        z = u if net.to_ball is None else net.to_ball(u)
        assert torch.equal(net.classifier(z), logits), "the head of the very same features, in float32"
        assert not torch.equal(net(x)[0], u), "and the layers before it ran in bfloat16"


@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("c", [1.0, 0.05])
def test_features_far_beyond_the_projection_stay_finite(x, c, mode):
    net = network(c=c, mode=mode)
    u, z, logits = net(1e5 * x)
    F.cross_entropy(logits, torch.arange(5)).backward()
    assert float(u.detach().norm(dim=1).min()) > net.cap
    assert (z.norm(dim=1) * math.sqrt(c) < 1).all()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_points_of_the_classifier_far_out_give_no_nan(x):
    """Issue 13 of the authors' repository: at |p'| = 10 and c = 1 their float32 logits are NaN."""
    net = network(c=1.0)
    with torch.no_grad():
        net.classifier.p.copy_(10 * F.normalize(net.classifier.p, dim=1))
    logits = net(x)[2]
    logits.logsumexp(1).sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_standardise_is_mnists():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1)
    found = standardise(pixels, 0.1307, 0.3081).flatten().tolist()
    assert found == pytest.approx([-0.1307 / 0.3081, (1 - 0.1307) / 0.3081, (0.2 - 0.1307) / 0.3081])
