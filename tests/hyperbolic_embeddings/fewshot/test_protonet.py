"""Prototypes and logits against loops over the printed formulas, and the laws behind findings F2 and F3."""

import math

import pytest
import torch
from torch import Tensor

from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.fewshot.protonet import ProtoHead, episode_distances

GEOMETRIES = ("euclidean-squared", "euclidean", "cosine", "hyperbolic")


def norm(v):
    return math.sqrt(sum(a * a for a in v))


def times(k, v):
    return [k * a for a in v]


def plus(v, w):
    return [a + b for a, b in zip(v, w)]


def dot(v, w):
    return sum(a * b for a, b in zip(v, w))


def mobius_add(x, y, c):
    xy, xx, yy = dot(x, y), dot(x, x), dot(y, y)
    left, right = 1 + 2 * c * xy + c * yy, 1 - c * xx
    below = 1 + 2 * c * xy + c * c * xx * yy
    return [(left * a + right * b) / below for a, b in zip(x, y)]


def naive_point(z, geometry, c):
    if geometry == "cosine":
        return times(1 / norm(z), z)
    if geometry == "hyperbolic":
        n = norm(z)
        return times(math.tanh(math.sqrt(c) * n) / (math.sqrt(c) * n), z)
    return z


def naive_prototype(points, geometry, c):
    if geometry != "hyperbolic":
        mean = times(1 / len(points), [sum(column) for column in zip(*points)])
        return times(1 / norm(mean), mean) if geometry == "cosine" else mean
    klein = [times(2 / (1 + c * dot(x, x)), x) for x in points]
    gamma = [1 / math.sqrt(1 - c * dot(k, k)) for k in klein]
    total = [0.0] * len(points[0])
    for g, k in zip(gamma, klein):
        total = plus(total, times(g / sum(gamma), k))
    return times(1 / (1 + math.sqrt(1 - c * dot(total, total))), total)


def naive_logit(x, p, geometry, c):
    if geometry == "cosine":
        return dot(x, p)
    gap = norm(plus(x, times(-1, p)))
    if geometry == "hyperbolic":
        root = math.sqrt(c)
        return -2 / root * math.atanh(root * norm(mobius_add(times(-1, x), p, c)))
    return -2 * gap if geometry == "euclidean" else -gap * gap


def naive_logits(support, query, geometry, c, temperature=1.0):
    """support (W, S, D), query (Q, D), both encoder outputs, as nested lists."""
    prototypes = [
        naive_prototype([naive_point(z, geometry, c) for z in rows], geometry, c) for rows in support
    ]
    points = [naive_point(z, geometry, c) for z in query]
    return [[naive_logit(x, p, geometry, c) / temperature for p in prototypes] for x in points]


def batch(seed=0, way=4, shot=3, query=6, dim=5, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    draw = [torch.randn(*s, dim, generator=g, dtype=torch.float64) * scale for s in ((way, shot), (query,))]
    return draw[0], draw[1]


def run(head, support, query) -> Tensor:
    return head.logits(head.embed(query), head.prototypes(head.embed(support)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("shot", "c"), [(1, 0.05), (3, 0.05), (3, 1.0)])
def test_logits_equal_the_printed_formulas(geometry, shot, c):
    support, query = batch(shot=shot, scale=0.3 / math.sqrt(c))  # below the projection radius
    head = ProtoHead(geometry, c=c, temperature=0.7).double()
    got = run(head, support, query)
    expected = torch.tensor(
        naive_logits(support.tolist(), query.tolist(), geometry, c, 0.7), dtype=torch.float64
    )
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)  # the temperature is kept in float32


def test_released_constants_are_close_to_the_formulas_where_nothing_is_extreme():
    support, query = batch()
    for mode, close in (("exact", 1e-9), ("released", 1e-3)):
        got = run(ProtoHead("hyperbolic", c=0.05, mode=mode).double(), support, query)
        expected = torch.tensor(
            naive_logits(support.tolist(), query.tolist(), "hyperbolic", 0.05), dtype=torch.float64
        )
        assert float((got - expected).abs().max() / expected.abs().max()) < close
    released = run(ProtoHead("hyperbolic", c=0.05, mode="released").double(), support, query)
    assert not torch.equal(released, run(ProtoHead("hyperbolic", c=0.05).double(), support, query))


def test_planted_bugs_are_caught():
    """Wrong variants that train as well: the reference test must tell each of them from the formula."""
    support, query = batch()
    expected = torch.tensor(
        naive_logits(support.tolist(), query.tolist(), "hyperbolic", 0.5), dtype=torch.float64
    )
    head = ProtoHead("hyperbolic", c=0.5).double()
    x, q = head.embed(support), head.embed(query)
    wrong = {
        "arithmetic mean of ball points": head.logits(q, x.mean(1)),
        "exp_0 of the mean feature": head.logits(q, head.embed(support.mean(1))),
        "without the factor 2": head.logits(q, head.prototypes(x)) / 2,
        "squared": -head.logits(q, head.prototypes(x)).square(),
        "c of another layer": ProtoHead("hyperbolic", c=0.4).double().logits(q, head.prototypes(x)),
        "points that were not mapped": -2 * torch.cdist(query, support.mean(1)),
    }
    torch.testing.assert_close(head.logits(q, head.prototypes(x)), expected)
    for name, logits in wrong.items():
        assert float((logits - expected).abs().max()) > 1e-2, name


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradient(geometry):
    support, query = batch(way=3, shot=2, query=4, dim=3)
    head = ProtoHead(geometry, c=0.3, learn_temperature=True).double()
    inputs = (support.requires_grad_(), query.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, q: run(head, s, q), inputs)
    run(head, support, query)[0, 0].backward()
    assert head.log_temperature.grad is not None
    assert float(head.log_temperature.grad) != 0


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1.0, 1e2, 1e6])
def test_value_and_gradient_stay_finite_in_float32(geometry, mode, scale):
    support, query = (z.float() * scale for z in batch())
    support.requires_grad_(), query.requires_grad_()
    logits = run(ProtoHead(geometry, c=0.05, mode=mode), support, query)
    torch.nn.functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64)).backward()
    assert logits.isfinite().all()
    assert support.grad is not None
    assert query.grad is not None
    assert support.grad.isfinite().all()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_query_that_is_a_prototype_has_a_finite_gradient(geometry):
    support, _ = batch(shot=1)
    z = support[:, 0].float().requires_grad_()
    head = ProtoHead(geometry, c=0.05)
    run(head, z[:, None], z).diagonal().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_rotation_changes_nothing(geometry):
    support, query = batch()
    q, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    head = ProtoHead(geometry, c=0.3).double()
    torch.testing.assert_close(run(head, support @ q, query @ q), run(head, support, query))


def test_units():
    """Features s times as long: cosine forgets it, in the ball of c / s^2 distances are s times as long."""
    support, query = batch()

    def run_with(geometry, c, s):
        return run(ProtoHead(geometry, c=c).double(), support * s, query * s)

    torch.testing.assert_close(run_with("cosine", 1, 7.0), run_with("cosine", 1, 1.0))
    torch.testing.assert_close(run_with("euclidean", 1, 7.0), 7 * run_with("euclidean", 1, 1.0))
    torch.testing.assert_close(
        run_with("euclidean-squared", 1, 7.0), 49 * run_with("euclidean-squared", 1, 1.0)
    )
    torch.testing.assert_close(run_with("hyperbolic", 0.3 / 49, 7.0), 7 * run_with("hyperbolic", 0.3, 1.0))


def test_the_flat_limit_is_the_unsquared_euclidean_head():
    """Finding F3: as c -> 0, -d_c(x, y) -> -2 |x - y|, and not -|x - y|^2."""
    support, query = batch()
    flat = run(ProtoHead("hyperbolic", c=1e-10).double(), support, query)
    torch.testing.assert_close(
        flat, run(ProtoHead("euclidean").double(), support, query), rtol=1e-6, atol=1e-6
    )
    squared = run(ProtoHead("euclidean-squared").double(), support, query)
    assert float((flat - squared).abs().max()) > 1


@pytest.mark.parametrize("eps", [1e-3, 4e-3])
def test_where_all_points_are_capped_the_head_is_a_sphere(eps):
    """Finding F2: norms no longer count, and classes are ranked by the angle alone."""
    support, query = batch(shot=1, scale=100.0)
    head = ProtoHead("hyperbolic", c=0.05, eps=eps).double()
    assert head.capped(support).all()
    assert head.capped(query).all()
    logits = run(head, support, query)
    torch.testing.assert_close(logits, run(head, support * 3, query * 5))
    angle = run(ProtoHead("cosine").double(), support, query)
    assert torch.equal(logits.argsort(1), angle.argsort(1))
    # The radius of the cap is the temperature of that sphere: cosh d = 1 + (1 - cos) sinh^2 r.
    r = 2 * math.atanh(1 - eps)
    expected = -torch.acosh(1 + (1 - angle) * math.sinh(r) ** 2) / math.sqrt(0.05)
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("c", "eps", "clip"), [(0.05, 1e-3, 0.0), (0.01, 4e-3, 0.0), (1.0, 1e-3, 2.3), (0.05, 1e-3, 20.0)]
)
def test_capped_says_which_points_the_projection_or_the_clip_stops(c, eps, clip):
    """Those whose point does not move when their embedding is made longer."""
    _, query = batch(query=400, scale=10.0)
    query = query * torch.linspace(0.01, 1, 400, dtype=query.dtype)[:, None]
    head = ProtoHead("hyperbolic", c=c, eps=eps, clip=clip).double()
    moved = (head.embed(query * 1.1) - head.embed(query)).norm(dim=1) > 1e-9
    assert torch.equal(head.capped(query), ~moved)
    assert 0 < head.capped(query).double().mean() < 1
    assert not ProtoHead("cosine").capped(query).any()


def test_clip_is_guos():
    _, query = batch(query=50, scale=3.0)
    clipped, plain = (
        ProtoHead("hyperbolic", c=1.0, clip=2.3).double(),
        ProtoHead("hyperbolic", c=1.0).double(),
    )
    shortened = query * (2.3 / query.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(clipped.embed(query), plain.embed(shortened))
    assert float(clipped.embed(query).norm(dim=1).max()) <= math.tanh(2.3) + 1e-12


def test_the_correction_scales_the_gradient_and_not_the_value():
    _, query = batch()
    plain, corrected = (ProtoHead("hyperbolic", c=0.5, correction=on).double() for on in (False, True))
    grads = []
    for head in (plain, corrected):
        z = query.clone().requires_grad_()
        x = head.embed(z)
        x.sum().backward()
        grads.append(z.grad)
    x = plain.embed(query)
    assert torch.equal(corrected.embed(query), x)
    assert not torch.allclose(grads[0], grads[1])
    factor = (1 - 0.5 * x.square().sum(1, keepdim=True)).square() / 4
    assert bool((grads[1].norm(dim=1) < grads[0].norm(dim=1)).all())
    torch.testing.assert_close(grads[1], grads[0] * factor)


def test_one_support_picture_is_its_own_prototype_but_for_the_released_round_trip():
    support, _ = batch(shot=1, scale=100.0)
    exact, released = (ProtoHead("hyperbolic", c=0.05, mode=mode) for mode in ("exact", "released"))
    x = exact.embed(support.float())
    assert torch.equal(exact.prototypes(x), x[:, 0])
    moved = released.prototypes(released.embed(support.float()))
    assert not torch.equal(moved, x[:, 0])
    torch.testing.assert_close(moved, x[:, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_all_episodes_at_once_is_each_alone(mode, scale):
    head = ProtoHead("hyperbolic", c=0.05, mode=mode).double()
    x, y = (head.embed(z) for z in batch(way=7, shot=6, query=7, scale=scale))
    y = y[:, None].expand(7, 3, 5).mul(torch.tensor([1.0, 0.5, 0.9], dtype=torch.float64)[:, None])
    together = episode_distances(x, y, 0.05, mode)
    assert together.shape == (7, 6, 3)
    for i in range(7):
        torch.testing.assert_close(
            together[i], poincare.pairwise_distance(x[i], y[i], 0.05, mode=mode), rtol=1e-6, atol=1e-6
        )
    if mode == "exact":
        apart = poincare.distance(x[:, :, None], y[:, None], 0.05)
        torch.testing.assert_close(together, apart, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_half_precision_is_widened(geometry):
    support, query = (z.bfloat16() for z in batch())
    assert run(ProtoHead(geometry, c=0.05), support, query).dtype == torch.float32


BAD = [
    ({"geometry": "spherical"}, "geometry = 'spherical': use one of euclidean-squared"),
    ({"c": 0.0}, r"c = 0.0: the curvature is -c, give a number above 0; for flat space choose euclidean"),
    ({"c": -1.0}, "c = -1.0"),
    ({"c": math.nan}, "c = nan"),
    ({"eps": 0.0}, "eps = 0.0"),
    ({"eps": 1.0}, "eps = 1.0"),
    ({"clip": -1.0}, "clip = -1.0"),
    ({"temperature": 0.0}, "temperature = 0.0: give a number above 0"),
]


@pytest.mark.parametrize(("change", "told"), BAD, ids=lambda x: str(x))
def test_bad_settings_are_one_sentence(change, told):
    with pytest.raises(ValueError, match=told):
        ProtoHead(**{"geometry": "hyperbolic", **change})


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_nan_features_are_refused(geometry):
    z = torch.ones(3, 4)
    z[1, 2] = math.nan
    with pytest.raises(ValueError, match="z holds NaN or infinity; the encoder diverged"):
        ProtoHead(geometry).embed(z)
