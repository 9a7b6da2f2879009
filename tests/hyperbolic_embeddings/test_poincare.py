"""poincare.py: laws, the printed formulas in float64, the authors' constants, extremes, oracle."""

import math
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import normalize
from torch.testing import assert_close

from hyperbolic_embeddings.arithmetic import released_arsinh, released_artanh
from hyperbolic_embeddings.poincare import (
    distance,
    distance0,
    expmap,
    expmap0,
    from_klein,
    hyperbolic_mean,
    klein_mean,
    logmap,
    logmap0,
    mobius_add,
    mobius_matvec,
    pairwise_distance,
    project,
    require_points,
    to_klein,
)

both_modes = pytest.mark.parametrize("mode", ["exact", "released"])
# Near the boundary a difference of the float64 coordinates is multiplied by 1 / (1 - c |x|^2), about 20 here.
close = partial(assert_close, rtol=1e-9, atol=1e-9)


@pytest.fixture(params=[(c, seed) for c in (1.0, 0.05, 1e-3) for seed in (0, 1)], ids=str)
def ball(request):
    return three_sets(*request.param)


def three_sets(c, seed):
    g = torch.Generator().manual_seed(seed)
    unit = normalize(torch.randn(3, 16, 5, generator=g, dtype=torch.float64), dim=-1)
    return c, *(unit * torch.rand(3, 16, 1, generator=g, dtype=torch.float64) * 0.95 / c**0.5)


def directions(n, dim, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, dim, generator=g, dtype=torch.float64), dim=1).to(dtype)


# Laws


def test_left_cancellation(ball):
    c, x, y, _ = ball
    close(mobius_add(-x, mobius_add(x, y, c), c), y)


def test_zero_is_neutral_and_minus_x_the_inverse(ball):
    c, x, _, _ = ball
    zero = torch.zeros_like(x)
    close(mobius_add(x, zero, c), x)
    close(mobius_add(zero, x, c), x)
    close(mobius_add(-x, x, c), zero)


def test_is_a_metric(ball):
    c, x, y, z = ball
    close(distance(x, y, c), distance(y, x, c))
    assert (distance(x, x, c) == 0).all()
    assert (distance(x, y, c) > 0).all()
    assert (distance(x, z, c) <= distance(x, y, c) + distance(y, z, c) + 1e-9).all()


def test_translations_are_isometries(ball):
    c, x, y, z = ball
    close(distance(mobius_add(z, x, c), mobius_add(z, y, c), c), distance(x, y, c))


def test_changing_units_changes_only_the_unit(ball):
    c, x, y, z = ball  # the ball of c s^2 is the ball of c, measured in units of s
    close(distance(x / 4, y / 4, c * 16) * 4, distance(x, y, c))
    close(mobius_add(x / 4, y / 4, c * 16) * 4, mobius_add(x, y, c))
    close(logmap(x / 4, y / 4, c * 16) * 4, logmap(x, y, c))
    xyz = torch.stack([x, y, z])
    close(hyperbolic_mean(xyz / 4, c * 16) * 4, hyperbolic_mean(xyz, c))


def test_flat_limit(ball):
    _, x, y, z = ball
    x, y, z, c = x / 1e3, y / 1e3, z / 1e3, 1e-9
    near = partial(assert_close, rtol=1e-4, atol=1e-12)
    near(distance(x, y, c), 2 * (x - y).norm(dim=-1))
    near(pairwise_distance(x, y, c), 2 * torch.cdist(x, y))
    near(distance0(x, c), 2 * x.norm(dim=-1))
    near(mobius_add(x, y, c), x + y)
    near(expmap(x, y, c), x + y)
    near(logmap(x, y, c), y - x)
    near(expmap0(x, c), x)
    near(hyperbolic_mean(torch.stack([x, y, z]), c), (x + y + z) / 3)
    near(mobius_matvec(y, x, c), x @ y.T)


def test_exponential_and_logarithm_are_inverse(ball):
    c, x, y, _ = ball
    close(expmap(x, logmap(x, y, c), c), y)
    close(logmap(x, expmap(x, y, c), c), y, rtol=1e-7, atol=1e-7)
    close(expmap0(logmap0(y, c), c), y)
    close(logmap0(expmap0(y, c), c), y)
    zero = torch.zeros_like(x)
    close(expmap(zero, y, c), expmap0(y, c))
    close(logmap(zero, y, c), logmap0(y, c))


def test_length_of_the_logarithm_is_the_distance(ball):
    c, x, y, _ = ball
    lambda_x = 2 / (1 - c * x.square().sum(-1))
    close(lambda_x * logmap(x, y, c).norm(dim=-1), distance(x, y, c))


def test_distance_from_the_origin_is_twice_the_feature_norm(ball):
    """Finding F1: d(0, exp_0(u)) = 2 |u|, whatever c is."""
    c, u, y, _ = ball
    close(distance0(expmap0(u, c), c), 2 * u.norm(dim=-1))
    close(distance0(y, c), distance(torch.zeros_like(y), y, c))


def test_klein_conversions_are_inverse(ball):
    c, x, _, _ = ball
    close(from_klein(to_klein(x, c), c), x)
    close(to_klein(from_klein(x, c), c), x)


def test_midpoint_is_equidistant_and_on_the_geodesic(ball):
    c, x, y, _ = ball
    for mean in (hyperbolic_mean, klein_mean):
        m = mean(torch.stack([x, y]), c)
        close(distance(m, x, c), distance(m, y, c))
        close(distance(m, x, c) + distance(m, y, c), distance(x, y, c))


def test_mean_moves_with_its_points(ball):
    c, x, y, z = ball
    moved = torch.stack([mobius_add(z, x, c), mobius_add(z, y, c), z])
    m = hyperbolic_mean(torch.stack([x, y, torch.zeros_like(z)]), c)
    close(hyperbolic_mean(moved, c), mobius_add(z, m, c))


def test_one_step_mean_equals_the_klein_route(ball):
    c, x, y, z = ball
    points = torch.stack([x, y, z])
    close(hyperbolic_mean(points, c), klein_mean(points, c))
    assert torch.equal(hyperbolic_mean(points, c, mode="released"), klein_mean(points, c))
    assert torch.equal(hyperbolic_mean(points.transpose(0, 1), c, dim=1), hyperbolic_mean(points, c))
    assert torch.equal(hyperbolic_mean(points.transpose(0, 1), c, -2), hyperbolic_mean(points, c))
    assert torch.equal(hyperbolic_mean(points[:1], c), points[0])
    close(hyperbolic_mean(torch.stack([x, x, x]), c), x)


def test_projection(ball):
    c, x, _, _ = ball
    cap = (1 - 1e-3) / c**0.5
    for points in (x, 3 * x, 1e30 * x):
        expected = torch.where(
            points.norm(dim=-1, keepdim=True) > cap, normalize(points, dim=-1) * cap, points
        )
        for mode in ("exact", "released"):
            close(project(points, c, mode=mode), expected)
    assert torch.equal(project(x, c), x)
    assert (project(5 * x, c, 0.1).norm(dim=-1) * c**0.5 < 0.9 + 1e-12).all()


# The printed formulas, in float64. `margin` is what the authors add to the denominator, 0 for the paper's.


def printed_add(x, y, c, margin=0.0):
    xx, yy, xy = (x * x).sum(-1), (y * y).sum(-1), (x * y).sum(-1)
    above = (1 + 2 * c * xy + c * yy)[..., None] * x + (1 - c * xx)[..., None] * y
    return above / (1 + 2 * c * xy + c**2 * xx * yy + margin)[..., None]


def printed_distance(x, y, c, margin=0.0):
    artanh = capped_artanh if margin else torch.atanh
    return 2 / c**0.5 * artanh(c**0.5 * printed_add(-x, y, c, margin).norm(dim=-1))


def capped_artanh(t):
    return torch.atanh(t.clamp(-1 + 1e-5, 1 - 1e-5))


def printed_expmap(x, u, c, margin=0.0):
    lambda_x, n = 2 / (1 - c * x.square().sum(-1, keepdim=True)), u.norm(dim=-1, keepdim=True)
    n = n.clamp_min(margin)
    t = c**0.5 * lambda_x * n / 2
    return printed_add(x, (t.clamp(-15, 15) if margin else t).tanh() * u / (c**0.5 * n), c, margin)


def printed_logmap(x, y, c, margin=0.0):
    m, lambda_x = printed_add(-x, y, c, margin), 2 / (1 - c * x.square().sum(-1, keepdim=True))
    n = m.norm(dim=-1, keepdim=True)
    return 2 / c**0.5 / lambda_x * (capped_artanh if margin else torch.atanh)(c**0.5 * n) * m / n


def printed_matvec(m, x, c, margin=0.0):
    mx, n = x @ m.T, x.norm(dim=-1, keepdim=True).clamp_min(margin)
    length = mx.norm(dim=-1, keepdim=True)
    t = length / n * (capped_artanh if margin else torch.atanh)(c**0.5 * n)
    y = (t.clamp(-15, 15) if margin else t).tanh() * mx / length / c**0.5
    cap = (1 - 1e-3) / c**0.5
    return torch.where(y.norm(dim=-1, keepdim=True) > cap, normalize(y, dim=-1) * cap, y) if margin else y


@both_modes
def test_equals_the_printed_formulas(ball, mode):
    c, x, y, z = ball
    margin = 1e-5 if mode == "released" else 0.0
    close(mobius_add(x, y, c, mode), printed_add(x, y, c, margin))
    close(distance(x, y, c, mode), printed_distance(x, y, c, margin))
    close(pairwise_distance(x, y, c, mode), printed_distance(x[:, None], y, c, margin))
    close(expmap(x, 3 * z, c, mode), printed_expmap(x, 3 * z, c, margin))
    close(
        expmap0(3 * z, c, mode),
        printed_expmap(torch.zeros_like(z), 3 * z, c)
        if not margin
        else (c**0.5 * 3 * z.norm(dim=-1, keepdim=True)).clamp(max=15).tanh() * normalize(z, dim=-1) / c**0.5,
    )
    close(logmap(x, y, c, mode), printed_logmap(x, y, c, margin))
    n = y.norm(dim=-1, keepdim=True)
    close(logmap0(y, c, mode), torch.atanh(c**0.5 * n) * y / n / c**0.5)
    close(mobius_matvec(z[:4], x, c, mode), printed_matvec(z[:4], x, c, margin))


def test_released_equals_the_printed_formulas_where_its_constants_rule():
    """At the projection radius, short vectors, and opposite points: float64 values and float32 ones."""
    for c in (1.0, 0.05):
        x, y = directions(2, 5)[0] * 0.999 / c**0.5, directions(2, 5)[1] * 0.999 / c**0.5
        points = torch.stack([x, y, -x, 0.9999 * x, 1e-6 * x, 0 * x])
        far = printed_distance(points[:, None], points, c, 1e-5)
        exact = pairwise_distance(points, points, c)
        assert (exact - far)[0, 2] > 0.15 * exact[0, 2]  # the constants do rule: 15.20 becomes 12.2 for c = 1
        close(pairwise_distance(points, points.clone(), c, "released"), far, rtol=1e-8, atol=1e-5 / c**0.5)
        close(distance(points[:, None], points, c, "released"), far)
        single = points.float()
        again = pairwise_distance(single, single.clone(), c, "released").double()
        apart = far > 1 / c**0.5  # close points lose digits in a product of float32
        assert apart.sum() > 18
        assert_close(again[apart], far[apart], rtol=1e-3, atol=5e-3 / c**0.5)
    short = torch.full((1, 4), 1e-7, dtype=torch.float64)
    close(expmap0(short, 1.0, "released"), math.tanh(1e-5) * short / 1e-5, rtol=1e-12, atol=0)
    close(logmap0(short, 1.0, "released"), math.atanh(1e-5) * short / 1e-5, rtol=1e-12, atol=0)
    close(expmap(short, short, 1.0, "released"), printed_expmap(short, short, 1.0, 1e-5), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("c", "radius", "cap", "antipodal"),
    [(1.0, 7.600, 12.205, 15.201), (0.05, 33.990, 54.581, 67.980), (0.01, 76.004, 122.047, 152.008)],
)
def test_released_distances_end_where_those_of_the_authors_end(c, radius, cap, antipodal):
    """What the constants do to points at the projection radius, in float32."""
    x = project(100 * directions(1, 8, dtype=torch.float32) / c**0.5, c)
    assert distance0(x, c).item() == pytest.approx(radius, abs=2e-3 / c**0.5)
    assert distance0(x, c, "released").item() == pytest.approx(radius, abs=2e-3 / c**0.5)
    assert distance(x, -x, c).item() == pytest.approx(antipodal, abs=2e-3 / c**0.5)
    for value in (distance(x, -x, c, "released"), pairwise_distance(x, -x, c, "released")):
        assert value.item() == pytest.approx(cap, abs=1e-3 / c**0.5)


def test_released_artanh_lets_the_gradient_through_its_clamp():
    t = torch.tensor([0.5, 1 - 1e-6, -0.999999], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(released_artanh(t).sum(), t)
    capped = t.detach().clamp(-1 + 1e-5, 1 - 1e-5)
    close(slope, 1 / (1 - capped**2))
    x = 0.999 * directions(1, 4)
    x.requires_grad_()
    (through,) = torch.autograd.grad(distance(x, -x.detach(), 1.0, "released").sum(), x)
    assert through.norm() > 1  # torch.clamp would give 0


def test_released_arsinh_falls_to_its_floor_as_theirs():
    u = torch.tensor([-1e6, -1e4, -0.5, 0.5, 1e4], requires_grad=True)
    value = released_arsinh(u)
    assert value.tolist() == pytest.approx([-11.5129, -11.5129, -0.481212, 0.481212, 9.903488], abs=1e-4)
    (slope,) = torch.autograd.grad(value.sum(), u)
    assert_close(slope, 1 / (1 + u.detach() ** 2).sqrt())
    deep = released_arsinh(torch.tensor([-1e4, -1e6], dtype=torch.float64))
    assert deep.tolist() == pytest.approx([-9.903488, -11.512925], abs=1e-6)


# Gradients


def small_ball(c=0.5):
    x, y, u = (
        directions(4, 3, seed) * torch.linspace(0.2, 0.9, 4, dtype=torch.float64)[:, None]
        for seed in range(3)
    )
    tensors = (x / c**0.5, y / c**0.5, 2 * u, torch.tensor(c, dtype=torch.float64))
    return tuple(t.requires_grad_() for t in tensors)


@both_modes
def test_gradients(mode):
    x, y, u, c = small_ball()
    for f in (mobius_add, distance, pairwise_distance, logmap):
        assert gradcheck(lambda x, y, c, f=f: f(x, y, c, mode), (x, y, c))
    assert gradcheck(lambda x, u, c: expmap(x, u, c, mode), (x, u, c))
    assert gradcheck(lambda u, c: expmap0(u, c, mode), (u, c))
    for f in (logmap0, distance0, to_klein, from_klein):
        assert gradcheck(lambda x, c, f=f: f(x, c, mode), (x, c))
    assert gradcheck(lambda x, c: project(x, c, 0.3, mode), (x, c))
    assert gradcheck(lambda x, c: hyperbolic_mean(x, c, mode=mode), (x, c))
    assert gradcheck(lambda m, x, c: mobius_matvec(m, x, c, mode), (u, x, c))
    assert gradcheck(lambda x, c: pairwise_distance(x, x, c, mode), (x, c))


def test_second_derivatives():
    x, y, _, c = small_ball()
    x, y = x[:2], y[:2]
    for f in (distance, pairwise_distance, mobius_add):
        assert gradgradcheck(f, (x, y, c))
    assert gradgradcheck(expmap0, (x, c))


@both_modes
def test_gradient_is_finite_or_zero_where_norms_vanish(mode):
    c = 0.7
    x = 0.5 * directions(3, 4)
    zero = torch.zeros(3, 4, dtype=torch.float64)

    def slope(f, *tensors):
        tensors = [t.clone().requires_grad_() for t in tensors]
        return torch.autograd.grad(f(*tensors).sum(), tensors)

    at = {"c": c, "mode": mode}
    assert all((g == 0).all() for g in slope(lambda x: distance(x, x.clone(), **at), x))
    for g in slope(lambda x, y: distance(x, y, **at), x, x):
        assert (g == 0).all()
    for f in (distance0, lambda x, **kw: pairwise_distance(x, x, **kw).diagonal()):
        assert all((g == 0).all() for g in slope(lambda x, f=f: f(x, **at), zero if f is distance0 else x))
    assert all(g.isfinite().all() for g in slope(lambda x, y: pairwise_distance(x, y, **at), x, x))
    for f in (expmap0, logmap0):
        assert_close(slope(lambda u, f=f: f(u, **at), zero)[0], torch.ones_like(zero))
    assert all(g.isfinite().all() for g in slope(lambda x, y: logmap(x, y, **at), x, x))
    assert all(g.isfinite().all() for g in slope(lambda x, u: expmap(x, u, **at), x, zero))
    assert all(g.isfinite().all() for g in slope(lambda m, x: mobius_matvec(m, x, **at), zero[:, :4], x))
    assert all(g.isfinite().all() for g in slope(lambda x: project(x, c, mode=mode), zero))
    assert all(
        g.isfinite().all() for g in slope(lambda x: hyperbolic_mean(x, **at), torch.stack([zero, zero]))
    )


def test_pairwise_diagonal_is_masked():
    """Rounding would leave about 0.04 there, and a slope without meaning."""
    x = (0.99 * directions(50, 64, dtype=torch.float32)).requires_grad_()
    d = pairwise_distance(x, x, 1.0)
    assert (d.diagonal() == 0).all()
    assert pairwise_distance(x, x.clone(), 1.0).diagonal().max() > 1e-3  # so the mask is needed
    (slope,) = torch.autograd.grad(d.diagonal().sum(), x)
    assert (slope == 0).all()


# float32


def test_float32_distances_keep_five_digits_at_radius_099():
    for c, dim in ((1.0, 8), (0.05, 512)):
        x, y = (0.99 / c**0.5 * directions(64, dim, seed, torch.float32) for seed in (0, 1))
        exact = printed_distance(x.double()[:, None], y.double(), c)
        assert_close(pairwise_distance(x, y, c).double(), exact, rtol=1e-5, atol=0)
        assert_close(distance(x[:, None], y, c).double(), exact, rtol=1e-5, atol=0)
        naive = printed_distance(x[:, None], y, c).double()  # the printed form in float32 does not
        assert ((naive - exact).abs() / exact).max() > 1e-5


def test_elementwise_distance_of_close_points_in_float32():
    x = 0.99 * directions(64, 32, dtype=torch.float32)
    y = x + 1e-5 * directions(64, 32, 1, torch.float32)
    assert_close(distance(x, y, 1.0).double(), distance(x.double(), y.double(), 1.0), rtol=1e-5, atol=0)


@both_modes
@pytest.mark.parametrize("radius", [0.999, 0.99999, 1 - 2e-7])
@pytest.mark.parametrize("c", [1.0, 0.05, 1e-5])
def test_float32_near_the_boundary(mode, radius, c):
    x, y = (radius / c**0.5 * directions(6, 16, seed, torch.float32) for seed in (0, 1))
    x[0], y[1], y[2] = 0, x[1], -x[2]
    for f in (
        distance,
        pairwise_distance,
        mobius_add,
        logmap,
        lambda x, y, c, mode: distance0(x, c, mode),
        lambda x, y, c, mode: hyperbolic_mean(torch.stack([x, y]), c, mode=mode),
        lambda x, y, c, mode: logmap0(x, c, mode),
        lambda x, y, c, mode: from_klein(to_klein(x, c), c),
        lambda x, y, c, mode: pairwise_distance(x, x, c, mode),
    ):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        k = torch.tensor(c, requires_grad=True)
        value = f(a, b, k, mode)
        assert value.isfinite().all()
        slopes = torch.autograd.grad(value.sum(), (a, b, k), allow_unused=True)
        assert all(g.isfinite().all() for g in slopes if g is not None)


@both_modes
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e-3, 20.0, 1e19, 1e30])
def test_maps_take_features_of_any_size(mode, size):
    u = (size * directions(5, 7, dtype=torch.float32)).requires_grad_()
    x = project(expmap0(u, 0.3, mode), 0.3)
    (slope,) = torch.autograd.grad(x.sum(), u)
    assert x.isfinite().all()
    assert slope.isfinite().all()
    expected = min(math.tanh(0.3**0.5 * size), 0.999) / 0.3**0.5
    if mode == "exact" or size > 1e-4:
        assert x.norm(dim=1).tolist() == pytest.approx([expected] * 5, rel=1e-5)
    p = 0.5 * directions(5, 7, 1, torch.float32)
    (slope,) = torch.autograd.grad(project(expmap(p, u, 0.3, mode), 0.3).sum(), u)
    assert slope.isfinite().all()


def test_the_mean_keeps_its_place_near_the_boundary():
    """Close points at the projection radius: the Klein route loses them, the one-step form does not."""
    x = project(10 * directions(1, 16, dtype=torch.float32), 1.0)
    points = project(torch.stack([x, x + 1e-4, x - 1e-4]), 1.0)
    exact = distance0(hyperbolic_mean(points.double(), 1.0), 1.0).item()
    assert distance0(hyperbolic_mean(points, 1.0), 1.0).item() == pytest.approx(exact, abs=1e-3)
    single = x[None].repeat(1, 50, 1) * torch.linspace(0.9995, 1, 50)[:, None]
    assert torch.equal(hyperbolic_mean(single, 1.0), single[0])
    moved = (distance0(klein_mean(single, 1.0), 1.0) - distance0(single[0], 1.0)).abs().max()
    assert 0.02 < moved < 0.5


def test_float64_stays_and_half_is_widened():
    for dtype, expected in (
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ):
        x = (0.5 * directions(3, 4)).to(dtype)
        c = torch.tensor(0.5)
        results = [
            mobius_add(x, x, c),
            distance(x, x, c),
            pairwise_distance(x, x, c),
            expmap0(x, c),
            project(x, c),
        ]
        results += [
            hyperbolic_mean(x, c),
            mobius_matvec(x, x, c),
            logmap(x, x, c),
            from_klein(x, c),
            distance0(x, c),
        ]
        assert {r.dtype for r in results} == {expected}
        assert (pairwise_distance(x, x, c).diagonal() == 0).all()


@both_modes
def test_products_run_in_float32_whatever_the_training_allows(mode, recorder):
    before = torch.get_float32_matmul_precision()
    x, y = (0.9 * directions(20, 8, seed, torch.float32) for seed in (0, 1))
    plain = pairwise_distance(x, y, 1.0, mode)
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16), recorder:
            x.requires_grad_()
            value = pairwise_distance(x, y, 1.0, mode)
            torch.autograd.grad(value.sum(), x)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert recorder.precisions == {"highest"}
    assert recorder.products == {torch.float32}
    assert torch.equal(value, plain)


@both_modes
def test_no_tensor_is_larger_than_its_inputs_and_the_result(mode, recorder):
    n, m, dim = 24, 30, 16
    x, y = (0.9 * directions(size, dim, size) for size in (n, m))
    x.requires_grad_(), y.requires_grad_()
    with recorder:
        torch.autograd.grad(pairwise_distance(x, y, 1.0, mode).sum(), (x, y))
    assert recorder.largest == n * m


# Oracle


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_geoopt(ball):
    geoopt = pytest.importorskip("geoopt")
    c, x, y, z = ball
    theirs = geoopt.PoincareBall(c=x.new_tensor(c))
    close(mobius_add(x, y, c), theirs.mobius_add(x, y, project=False))
    close(distance(x, y, c), theirs.dist(x, y))
    close(distance0(x, c), theirs.dist0(x))
    close(pairwise_distance(x, y, c), theirs.dist(x[:, None], y))
    close(expmap(x, z, c), theirs.expmap(x, z, project=False), rtol=1e-6, atol=1e-6)
    close(logmap(x, y, c), theirs.logmap(x, y))
    close(expmap0(z, c), theirs.expmap0(z, project=False))
    close(logmap0(y, c), theirs.logmap0(y))
    close(mobius_matvec(z[:4], x, c), theirs.mobius_matvec(z[:4], x, project=False))
    close(project(3 * x, c, 1e-5), theirs.projx(3 * x))  # its float64 margin
    points = torch.stack([x, y, z], 1)
    close(hyperbolic_mean(points, c, 1), theirs.weighted_midpoint(points, reducedim=[1]))


# Planted bugs


def test_a_planted_bug_would_be_caught(ball):
    c, x, y, _ = ball

    def far(a, b):
        return (a - b).abs().max() > 1e-3 * b.abs().max()

    wrong_sign = printed_add(x, -y, c)
    assert far(wrong_sign, mobius_add(x, y, c))
    half = 1 / c**0.5 * torch.atanh(c**0.5 * printed_add(-x, y, c).norm(dim=-1))
    assert far(half, distance(x, y, c))
    # Until April 2019 the authors weighed with the conformal factor in place of the Lorentz factor (issue 1).
    k, weight = (
        to_klein(torch.stack([x, y]), c),
        2 / (1 - c * torch.stack([x, y]).square().sum(-1, keepdim=True)),
    )
    m = from_klein((weight * k).sum(0) / weight.sum(0), c)
    assert far(distance(m, x, c), distance(m, y, c))
    curvature_dropped = printed_distance(x, y, 0.9 * c)
    assert far(curvature_dropped, distance(x, y, c))


# Bad input


def test_refuses_a_bad_curvature():
    x = torch.zeros(2, 3)
    for c in (0, -1.0, math.nan, math.inf, True, "1", None, torch.tensor(-0.5), torch.tensor(math.nan)):
        with pytest.raises(ValueError, match=r"c is .*; give a finite number above 0"):
            distance0(x, c)
    with pytest.raises(ValueError, match=r"c has shape \(1,\); give a number or a tensor of shape \(\)"):
        expmap0(x, torch.ones(1))
    with pytest.raises(ValueError, match="mode 'paper' is unknown; choose 'exact' or 'released'"):
        distance0(x, 1.0, "paper")
    for eps in (0, 1, -1e-3, math.nan, "1e-3"):
        with pytest.raises(ValueError, match="eps is"):
            project(x, 1.0, eps)


def test_refuses_points_outside_the_ball():
    inside, outside = torch.zeros(3, 4), torch.zeros(3, 4)
    outside[2, 1] = 0.51
    sentence = r"y: row 2 lies outside the ball, sqrt\(c\) \|x\| = 1\.02 is not below 1; project it first"
    for f in (mobius_add, distance, pairwise_distance, logmap):
        with pytest.raises(ValueError, match=sentence):
            f(inside, outside, 4.0)
    for f in (distance0, logmap0, to_klein, hyperbolic_mean, from_klein, klein_mean):
        with pytest.raises(ValueError, match="row 2 lies outside the ball"):
            f(outside, 4.0)
    with pytest.raises(ValueError, match="x: row 2 lies outside"):
        expmap(outside, inside, 4.0)
    with pytest.raises(ValueError, match="x: row 2 lies outside"):
        mobius_matvec(torch.zeros(2, 4), outside, 4.0)
    with pytest.raises(ValueError, match="z: row 2 lies outside"):
        require_points("z", outside, 4.0)
    require_points("z", outside, 1.0)
    with pytest.raises(ValueError, match="is not below 1"):
        distance0(torch.ones(1, 1), 1.0)  # the boundary is outside


def test_refuses_nan_and_infinity():
    for value in (math.nan, math.inf):
        bad = torch.zeros(3, 4)
        bad[1, 2] = value
        for f in (distance0, logmap0, expmap0, project, hyperbolic_mean):
            with pytest.raises(ValueError, match=r"[xyu]: row 1 holds a value that is not finite"):
                f(bad, 1.0)
        with pytest.raises(ValueError, match="u: row 1 holds a value that is not finite"):
            expmap(torch.zeros(3, 4), bad, 1.0)
        with pytest.raises(ValueError, match="z: row 1 holds a value that is not finite"):
            require_points("z", bad, 1.0)


def test_refuses_shapes_and_types_that_do_not_fit():
    x, y = torch.zeros(3, 4), torch.zeros(3, 5)
    for f in (mobius_add, distance, logmap, expmap):
        with pytest.raises(ValueError, match=r"x \(3, 4\) and [yu] \(3, 5\) do not fit"):
            f(x, y, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        distance(x, torch.zeros(2, 4), 1.0)
    with pytest.raises(ValueError, match=r"y has shape \(3, 5\), but the points have D = 4"):
        pairwise_distance(x, y, 1.0)
    with pytest.raises(ValueError, match=r"x has shape \(4,\); give a matrix"):
        pairwise_distance(x[0], x, 1.0)
    with pytest.raises(ValueError, match=r"m \(2, 5\) and x \(3, 4\) do not fit"):
        mobius_matvec(torch.zeros(2, 5), x, 1.0)
    for dim in (1, -1, 2, True, 0.0):
        with pytest.raises(ValueError, match="choose an axis of points"):
            hyperbolic_mean(x, 1.0, dim)
    with pytest.raises(ValueError, match="no point along dim 0"):
        hyperbolic_mean(x[:0], 1.0)
    with pytest.raises(ValueError, match="D >= 1"):
        expmap0(torch.zeros(3, 0), 1.0)
    with pytest.raises(TypeError, match="convert it to float32 or float64"):
        expmap0(x.long(), 1.0)
    with pytest.raises(TypeError, match="convert them to one"):
        distance(x, x.double(), 1.0)
    with pytest.raises(TypeError, match="no tensor was given"):
        expmap0([0.0], 1.0)
