"""layers.py: the printed formulas in float64, the authors' constants, laws, gradients, extremes, an oracle,
bugs planted in layers.py, poincare.py and arithmetic.py."""

import inspect
import itertools
import math
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize
from torch.testing import assert_close

import hyperbolic_embeddings
from hyperbolic_embeddings.layers import (
    HyperbolicConcat,
    HyperbolicLinear,
    HyperbolicMLR,
    ToPoincare,
    capped_share,
    clip_norm,
    correct_gradient,
    mlr_logits,
    to_ball,
)
from hyperbolic_embeddings.poincare import (
    distance0,
    expmap0,
    mobius_add,
    mobius_matvec,
    pairwise_distance,
    project,
)

both_modes = pytest.mark.parametrize("mode", ["exact", "released"])
both_forms = pytest.mark.parametrize("form", ["points", "hnn++"])
MARGIN = {"exact": 0.0, "released": 1e-5}
close = partial(assert_close, rtol=1e-9, atol=1e-9)


def directions(n, dim, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, dim, generator=g, dtype=torch.float64), dim=1).to(dtype)


def planes(c, seed=0, b=6, k=4, dim=3, dtype=torch.float64):
    """Points x (B, D) and p (K, D) up to 0.95 of the radius, and normals a (K, D) of lengths around 1."""
    g = torch.Generator().manual_seed(seed)
    x = directions(b, dim, 3 * seed) * torch.rand(b, 1, generator=g, dtype=torch.float64) * 0.95 / c**0.5
    p = directions(k, dim, 3 * seed + 1) * torch.rand(k, 1, generator=g, dtype=torch.float64) * 0.95 / c**0.5
    a = directions(k, dim, 3 * seed + 2) * (0.1 + 2 * torch.rand(k, 1, generator=g, dtype=torch.float64))
    return x.to(dtype), p.to(dtype), a.to(dtype)


@pytest.fixture(params=[(c, seed) for c in (1.0, 0.05, 1e-3) for seed in (0, 1)], ids=str)
def task(request):
    c, seed = request.param
    return c, *planes(c, seed)


# The printed formulas, one pair at a time. `margin` is what the authors add to a denominator, 0 in the paper.


def printed_add(x, y, c, margin=0.0):
    above = (1 + 2 * c * (x @ y) + c * (y @ y)) * x + (1 - c * (x @ x)) * y
    return above / (1 + 2 * c * (x @ y) + c**2 * (x @ x) * (y @ y) + margin)


def printed_arsinh(u, margin=0.0):
    return torch.log((u + (1 + u * u).sqrt()).clamp_min(1e-5)) if margin else torch.asinh(u)


def printed_logit(x, p, a, c, margin=0.0):
    """lambda_p |a| / sqrt(c) arsinh(2 sqrt(c) <m, a> / ((1 - c |m|^2) |a|)),   m = (-p) (+) x"""
    m, n = printed_add(-p, x, c, margin), a.norm()
    u = 2 * c**0.5 * (m @ a) / ((1 - c * (m @ m)) * n)
    return 2 / (1 - c * (p @ p)) * n / c**0.5 * printed_arsinh(u, margin)


def printed_logits(x, p, a, c, margin=0.0):
    return torch.stack([torch.stack([printed_logit(i, j, k, c, margin) for j, k in zip(p, a)]) for i in x])


def printed_expmap0(u, c):
    n = c**0.5 * u.norm()
    return n.tanh() * u / n


def printed_project(x, c, eps=1e-3):
    return x if x.norm() * c**0.5 <= 1 - eps else x / x.norm() * (1 - eps) / c**0.5


def printed_matvec(m, x, c):
    mx = m @ x
    return (mx.norm() / x.norm() * torch.atanh(c**0.5 * x.norm())).tanh() * mx / mx.norm() / c**0.5


# mlr_logits


@both_modes
def test_logits_equal_the_printed_formula(task, mode):
    c, x, p, a = task
    close(mlr_logits(x, p, a, c, mode), printed_logits(x, p, a, c, MARGIN[mode]))
    close(mlr_logits(x, p, a, torch.tensor(c, dtype=torch.float64), mode), mlr_logits(x, p, a, c, mode))


def test_released_logits_equal_the_printed_ones_where_the_constants_rule():
    """At 0.999 of the radius: opposite points, where 1e-5 counts, and logits on the floor of arsinh."""
    for c in (1.0, 0.05):
        axis = directions(1, 4)
        x, a = 0.999 / c**0.5 * torch.cat([axis, -axis, directions(3, 4, 1)]), torch.cat([axis, axis, axis])
        p = torch.cat([-x[:1], x[:1], 0.3 * x[:1]])
        released = mlr_logits(x, p, a, c, "released")
        close(released, printed_logits(x, p, a, c, 1e-5), rtol=1e-7, atol=1e-6)
        exact = mlr_logits(x, p, a, c)
        close(exact, printed_logits(x, p, a, c), rtol=1e-7, atol=1e-6)
        assert (released - exact).abs()[0, 0] > 0.1 * exact[0, 0]  # so the constants do rule
        height = 2 / (1 - c * p.square().sum(1)) * a.norm(dim=1) / c**0.5  # lambda_p |a| / sqrt(c)
        assert released[1, 1] / height[1] == pytest.approx(-11.513, abs=5e-4)  # arsinh(-3e5), about -13.4
        assert exact[1, 1] / height[1] < -14
        assert released[0, 0] / height[0] > 13  # no ceiling


def test_float32_falls_to_the_floor_before_float64_does():
    """u = -1e4: in float32 u + sqrt(1 + u^2) is 0, so -11.513 comes out for -9.903, as from the authors."""
    t = math.tanh(math.asinh(1e4) / 2)  # for p = 0: u = -2 t / (1 - t^2)
    x, a = torch.tensor([[-t, 0.0], [1.0, 0.0]], dtype=torch.float64).split(1)
    p = torch.zeros_like(a)
    assert mlr_logits(x, p, a, 1.0).item() / 2 == pytest.approx(-9.903488, abs=1e-5)
    single = mlr_logits(x.float(), p.float(), a.float(), 1.0, "released").item() / 2
    assert single == pytest.approx(-11.5129, abs=1e-3)


def test_released_gradient_passes_the_floor():
    axis = directions(1, 4)
    x, p, a = (-0.999 * axis).requires_grad_(), 0.999 * axis, axis
    (slope,) = torch.autograd.grad(mlr_logits(x, p, a, 1.0, "released").sum(), x)
    assert slope.norm() > 1  # log(max(., 1e-5)) by itself would have 0


def test_flat_limit():
    x, p, a = planes(1.0)
    x, p = x / 30, p / 30
    assert_close(mlr_logits(x, p, a, 1e-9), 4 * (x[:, None] - p).mul(a).sum(-1), rtol=1e-6, atol=1e-9)


def test_changing_units_changes_only_the_unit(task):
    c, x, p, a = task  # the ball of c s^2 is the ball of c, measured in units of s
    close(mlr_logits(x / 4, p / 4, a, 16 * c) * 4, mlr_logits(x, p, a, c))


@both_modes
def test_rotation_changes_nothing(task, mode):
    c, x, p, a = task
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())
    close(mlr_logits(x @ q, p @ q, a @ q, c, mode), mlr_logits(x, p, a, c, mode))


def test_logit_is_the_signed_distance_to_the_hyperplane(task):
    """Walk from p along its normal: the hyperplane is as far as p is. Walk across it: the logit is 0."""
    c, _, p, a = task
    unit, factor = normalize(a, dim=1), 1 - c * p.square().sum(1, keepdim=True)
    for t in (-1.5, 0.0, 0.7):
        x = mobius_add(p, expmap0(t * unit, c), c)
        v = mlr_logits(x, p, a, c).diagonal()
        close(v, 2 / factor.squeeze(1) * a.norm(dim=1) * 2 * t, rtol=1e-7)
    across = directions(4, 3, 7)
    across = across - (across * unit).sum(1, keepdim=True) * unit
    on_plane = mobius_add(p, expmap0(across, c), c)
    close(mlr_logits(on_plane, p, a, c).diagonal(), torch.zeros(4).double(), atol=1e-7)


@both_modes
def test_normal_of_length_0_has_logit_0(mode):
    for dtype in (torch.float32, torch.float64):
        x, p, a = planes(0.3, dtype=dtype)
        a[1] = 0
        tensors = [t.requires_grad_() for t in (x, p, a)]
        v = mlr_logits(*tensors, 0.3, mode)
        assert (v[:, 1] == 0).all()
        assert (v[:, 0] != 0).all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(v.sum(), tensors))


@both_modes
@pytest.mark.parametrize("size", [1e-30, 1e-13, 1e-6, 1e10])
def test_normals_of_any_length(mode, size):
    x, p, a = planes(0.3, dtype=torch.float32)
    tensors = [t.requires_grad_() for t in (x, p, size * a)]
    v = mlr_logits(*tensors, 0.3, mode)
    slopes = torch.autograd.grad(v.sum(), tensors)
    assert v.isfinite().all()
    assert all(g.isfinite().all() for g in slopes)
    if size > 1e-12:
        assert_close(v / size, mlr_logits(x, p, a, 0.3, mode), rtol=1e-4, atol=1e-5)
        (slope,) = torch.autograd.grad(mlr_logits(x, p, a.requires_grad_(), 0.3, mode).sum(), a)
        assert_close(slopes[2], slope, rtol=1e-3, atol=1e-4)


@both_modes
def test_gradient_of_the_logits(mode):
    x, p, a = planes(0.5, b=3, k=2)
    inputs = [t.requires_grad_() for t in (x, p, a, torch.tensor(0.5).double())]
    assert gradcheck(lambda x, p, a, c: mlr_logits(x, p, a, c, mode), inputs)
    assert gradgradcheck(lambda x, p, a, c: mlr_logits(x, p, a, c, mode), inputs)


@both_modes
@pytest.mark.parametrize("radius", [0.999, 0.99999, 1 - 2e-7])
@pytest.mark.parametrize("c", [1.0, 0.05, 1e-5])
def test_float32_near_the_boundary(mode, radius, c):
    x, p, a = (directions(n, 16, n, torch.float32) for n in (7, 6, 6))
    x, p = radius / c**0.5 * x, radius / c**0.5 * p
    x[0], x[1], x[2], p[3], a[4] = 0, p[1], -p[2], 0, 0
    tensors = [t.requires_grad_() for t in (x, p, a, torch.tensor(c))]
    v = mlr_logits(*tensors, mode)
    assert v.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(v.sum(), tensors))


def test_float32_keeps_three_digits_at_the_projection_radius():
    for c in (1.0, 0.05):
        x, p, a = (directions(20, 64, seed, torch.float32) for seed in range(3))
        x, p = 0.999 / c**0.5 * x, 0.999 / c**0.5 * p
        right = printed_logits(x.double(), p.double(), a.double(), c)
        error = (mlr_logits(x, p, a, c).double() - right).abs().max() / right.abs().max()
        naive = (printed_logits(x, p, a, c).double() - right).abs().max() / right.abs().max()
        assert error < 5e-4
        assert naive > 10 * error  # the printed form in float32 does not


@both_modes
def test_no_tensor_is_larger_than_its_inputs_and_the_result(mode, recorder):
    b, k, dim = 24, 30, 16
    inputs = [t.requires_grad_() for t in planes(1.0, b=b, k=k, dim=dim)]
    with recorder:
        torch.autograd.grad(mlr_logits(*inputs, 1.0, mode).sum(), inputs)
    assert recorder.largest == b * k


@both_modes
def test_products_run_in_float32_whatever_the_training_allows(mode, recorder):
    before = torch.get_float32_matmul_precision()
    x, p, a = planes(1.0, dim=8, dtype=torch.float32)
    plain = mlr_logits(x, p, a, 1.0, mode)
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16), recorder:
            value = mlr_logits(x.requires_grad_(), p, a, 1.0, mode)
            torch.autograd.grad(value.sum(), x)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert recorder.precisions == {"highest"}
    assert recorder.products == {torch.float32}
    assert torch.equal(value, plain)


def test_layers_give_float32_under_autocast():
    """Features in bfloat16, as a network under autocast makes them: bfloat16 rounds 0.999 to 1."""
    u = (5 * directions(6, 8)).bfloat16()
    head = nn.Sequential(ToPoincare(1.0), HyperbolicLinear(8, 5, 1.0), HyperbolicMLR(5, 3, 1.0))
    plain = head(u.float())
    with torch.autocast("cpu", torch.bfloat16):
        v = head(u)
        assert HyperbolicMLR(8, 3, 1.0, parametrisation="hnn++")(head[0](u)).dtype == torch.float32
    assert v.dtype == torch.float32
    assert torch.equal(v, plain)
    assert torch.equal(ToPoincare(1.0)(u), ToPoincare(1.0)(u.float()))
    assert ToPoincare(1.0)(u).norm(dim=1).tolist() == pytest.approx([0.999] * 6, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_geoopt(task):
    """Their signed, scaled distance to a hyperplane is v / lambda_p."""
    geoopt = pytest.importorskip("geoopt")
    c, x, p, a = task
    theirs = geoopt.PoincareBall(c=x.new_tensor(c))
    v = theirs.lambda_x(p) * theirs.dist2plane(x[:, None], p, a, signed=True, scaled=True)
    close(mlr_logits(x, p, a, c), v)
    layer = HyperbolicLinear(3, 4, c).double()
    y = theirs.mobius_add(
        theirs.mobius_matvec(layer.weight, x, project=False),
        theirs.expmap0(layer.bias, project=False),
        project=False,
    )
    close(layer(x), project(y, c))


# HyperbolicMLR


@both_modes
def test_layer_equals_the_printed_formula(mode):
    for c in (1.0, 0.05):
        layer = HyperbolicMLR(3, 4, c, mode=mode).double()
        x, _, _ = planes(c)
        with torch.no_grad():
            layer.p.copy_(directions(4, 3, 5) * torch.tensor([[0.1], [0.5], [1.0], [2.0]]) / c**0.5)
        p = torch.stack([printed_expmap0(q, c) for q in layer.p])
        a = (1 - c * p.square().sum(1, keepdim=True)) * layer.a  # parallel transport of a' from 0 to p
        close(layer.points(), p)
        close(layer(x), printed_logits(x, p, a, c, MARGIN[mode]), rtol=1e-8)


def test_weights_are_drawn_as_in_the_authors_code():
    torch.manual_seed(0)
    layer = HyperbolicMLR(400, 300, 1.0)
    for weight in (layer.p, layer.a, HyperbolicMLR(400, 300, 1.0, parametrisation="hnn++").z):
        assert weight.abs().max().item() == pytest.approx(1 / 20, rel=1e-3)  # uniform up to 1 / sqrt(dim)
        assert weight.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=1e-2)
    assert not torch.equal(layer.p, layer.a)
    for form, numbers in (("points", 2 * 400 * 300), ("hnn++", 400 * 300 + 300)):
        layer = HyperbolicMLR(400, 300, 1.0, parametrisation=form)
        assert sum(w.numel() for w in layer.parameters()) == numbers


@both_modes
def test_a_far_point_gives_nan_in_the_plain_form_and_not_here(mode):
    layer, u = HyperbolicMLR(4, 3, 1.0, mode=mode), directions(5, 4, 1, torch.float32)
    with torch.no_grad():
        layer.p.copy_(10 * directions(3, 4, dtype=torch.float32))
    p = torch.stack([printed_expmap0(q, 1.0) for q in layer.p])
    plain = printed_logits(0.5 * u, p, (1 - p.square().sum(1, keepdim=True)) * layer.a, 1.0, MARGIN[mode])
    assert plain.isnan().any()
    for size in (10.0, 1e3, 1e30):
        with torch.no_grad():
            layer.p.copy_(size * directions(3, 4, dtype=torch.float32))
        x = (0.5 * u).requires_grad_()
        v = layer(x)
        assert v.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(v.sum(), (x, layer.p, layer.a)))
        assert layer.points().norm(dim=1).tolist() == pytest.approx([0.999] * 3, rel=1e-6)


def test_hnn_equals_points():
    for c in (1.0, 0.05):
        points, hnn = (HyperbolicMLR(3, 5, c, parametrisation=f).double() for f in ("points", "hnn++"))
        x, _, _ = planes(c)
        with torch.no_grad():
            hnn.r.copy_(torch.tensor([-2.0, -0.3, 0.0, 0.6, 1.9]).double() / c**0.5)
            points.p.copy_(hnn.r[:, None] * normalize(hnn.z, dim=1))
            points.a.copy_(hnn.z)
        close(hnn(x), points(x), rtol=1e-8)
        close(hnn.points(), points.points())


def test_hnn_offsets_and_directions_of_any_size():
    for r in (0.0, 9.0, -50.0, 1e30):
        for z in (0.0, 1e-30, 1e3):
            layer = HyperbolicMLR(4, 3, 1.0, parametrisation="hnn++")
            with torch.no_grad():
                layer.r.fill_(r), layer.z.copy_(z * directions(3, 4, dtype=torch.float32))
            x = ((1 - 2e-7) * directions(5, 4, 1, torch.float32)).requires_grad_()
            v = layer(x)
            assert v.isfinite().all()
            assert all(g.isfinite().all() for g in torch.autograd.grad(v.sum(), (x, layer.z, layer.r)))


@pytest.mark.parametrize(("form", "mode"), [("points", "exact"), ("points", "released"), ("hnn++", "exact")])
def test_gradient_of_the_layer(form, mode):
    layer = HyperbolicMLR(3, 2, 0.5, parametrisation=form, mode=mode).double()
    x, _, _ = planes(0.5, b=3)
    names = [name for name, _ in layer.named_parameters()]
    weights = [w.detach().clone().requires_grad_() for w in layer.parameters()]
    if form == "hnn++":
        weights[names.index("r")].data.copy_(torch.tensor([0.4, -0.9]))

    def logits(x, c, *weights):
        return functional_call(layer, dict(zip(names, weights)), (x, c))

    assert gradcheck(logits, (x.requires_grad_(), torch.tensor(0.5).double().requires_grad_(), *weights))


@both_forms
def test_c_in_forward_is_the_one_that_counts(form):
    first, second = (HyperbolicMLR(3, 4, c, parametrisation=form) for c in (1.0, 0.3))
    second.load_state_dict(first.state_dict())
    x = planes(1.0)[0].float()
    assert torch.equal(first(x, 0.3), second(x))
    assert not torch.allclose(first(x), second(x), rtol=1e-2)
    assert torch.equal(first.points(0.3), second.points())
    ball = ToPoincare(0.3, learnable_c=True)
    cross_entropy(first(ball(3 * directions(6, 3).float()), ball.c), torch.zeros(6).long()).backward()
    assert ball.free_c.grad is not None
    assert ball.free_c.grad != 0


# ToPoincare


@both_modes
def test_to_ball_is_the_projected_exponential_map(mode):
    for c in (1.0, 0.05):
        u = directions(6, 5) * torch.tensor([[0.0], [1e-7], [0.5], [3.0], [4.0], [50.0]]).double() / c**0.5
        tensors = (u.requires_grad_(), torch.tensor(c, dtype=torch.float64, requires_grad=True))
        ours = to_ball(*tensors, mode=mode)
        composed = project(expmap0(*tensors, mode=mode), tensors[1], mode=mode)
        close(ours, composed)
        weight = directions(6, 5, 1)
        for a, b in zip(*(torch.autograd.grad((y * weight).sum(), tensors) for y in (ours, composed))):
            close(a, b)
        for row, point in zip(u[2:], ours[2:]):
            close(point, printed_project(printed_expmap0(row, c), c))


@both_modes
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e-3, 1.0, 20.0, 1e19, 1e30])
@pytest.mark.parametrize("c", [1.0, 0.05, 1e-5, 7.3])
def test_points_never_leave_the_ball(mode, size, c):
    u = (size * directions(9, 7, dtype=torch.float32)).requires_grad_()
    layer = ToPoincare(c, mode=mode)
    x = layer(u)
    assert (c**0.5 * x.double().norm(dim=1) <= 0.999 * (1 + 1e-6)).all()
    d = pairwise_distance(x, x, c, mode)
    assert d.isfinite().all()
    assert distance0(x, c).tolist() == pytest.approx([min(2 * size, 7.6 / c**0.5)] * 9, rel=1e-3)
    (slope,) = torch.autograd.grad(d.sum(), u)
    assert slope.isfinite().all()


def test_clip():
    u = directions(4, 5) * torch.tensor([[0.3], [1.0], [2.0], [1e6]]).double()
    clipped = clip_norm(u, 1.5)
    assert torch.equal(clipped[:2], u[:2])
    close(clipped[2:], 1.5 * directions(4, 5)[2:])
    x = ToPoincare(0.4, clip=1.5)(u)
    close(x, expmap0(clipped, 0.4))
    close(distance0(x, 0.4), torch.tensor([0.6, 2.0, 3.0, 3.0]).double())
    weight = directions(4, 5, 1)
    u.requires_grad_()
    (slope,) = torch.autograd.grad((clip_norm(u, 1.5) * weight).sum(), u)
    assert torch.equal(slope[:2], weight[:2])
    close((slope * u).sum(1)[2:], torch.zeros(2).double())  # a clipped row has no radial gradient
    assert slope[2].norm() > 0.1
    assert torch.equal(ToPoincare(0.4)(u), ToPoincare(0.4, clip=1e9)(u))
    for size in (0.0, 1e-30, 1e30):
        v = (size * directions(3, 5, dtype=torch.float32)).requires_grad_()
        assert torch.autograd.grad(ToPoincare(0.4, clip=1.0)(v).sum(), v)[0].isfinite().all()


@pytest.mark.parametrize("parametrisation", ["softplus", "log"])
def test_learnable_c(parametrisation):
    for c in (1e-5, 0.05, 1.0, 30.0):
        layer = ToPoincare(c, learnable_c=True, parametrisation=parametrisation)
        assert layer.c.item() == pytest.approx(c, rel=2e-6)
        u = 3 / c**0.5 * directions(4, 3).float()
        assert_close(layer(u), ToPoincare(c)(u), rtol=1e-5, atol=1e-6)

    layer = ToPoincare(0.5, learnable_c=True, parametrisation=parametrisation).double()
    u = directions(4, 3) * torch.tensor([[0.2], [1.0], [3.0], [40.0]]).double()  # the last one is projected
    with torch.no_grad():
        layer.free_c.copy_(torch.tensor(-0.8))  # softplus and exp differ by 15 percent there
    free = layer.free_c.detach().clone().requires_grad_()
    assert gradcheck(
        lambda u, free: functional_call(layer, {"free_c": free}, (u,)), (u.requires_grad_(), free)
    )

    layer = ToPoincare(0.05, learnable_c=True, parametrisation=parametrisation)
    optimiser, plain = torch.optim.Adam(layer.parameters(), lr=0.1), 0.05
    for _ in range(200):  # a loss that wants c to be -infinity
        optimiser.zero_grad()
        c = layer.c
        assert isinstance(c, torch.Tensor)
        c.backward()
        optimiser.step()
        plain -= 0.1
    assert plain < 0 < layer.c.item() < 0.005
    assert layer(directions(4, 3).float()).isfinite().all()


def test_gradient_correction_has_the_c_of_its_layer():
    u = directions(5, 3) * torch.tensor([[0.0], [0.5], [1.0], [2.0], [9.0]]).double()
    weight = directions(5, 3, 1)
    corrected = {c: ToPoincare(c, riemannian=True) for c in (1.0, 0.05)}  # the one made last does not rule
    inputs = {c: u.clone().requires_grad_() for c in corrected}
    points = {c: corrected[c](inputs[c]) for c in corrected}
    sum((x * weight).sum() for x in points.values()).backward()
    for c, v in inputs.items():
        plain = u.clone().requires_grad_()
        x = ToPoincare(c)(plain)
        assert torch.equal(points[c], x)
        factor = (1 - c * x.detach().square().sum(1, keepdim=True)) ** 2 / 4
        (slope,) = torch.autograd.grad((x * weight * factor).sum(), plain)
        close(v.grad, slope)
        assert factor[0] == 0.25
    at_cap = 0.999 * directions(1, 3)
    at_cap.requires_grad_()
    (slope,) = torch.autograd.grad((correct_gradient(at_cap, 1.0) * weight[:1]).sum(), at_cap)
    assert slope.norm().item() == pytest.approx(1e-6, rel=2e-3)


@both_modes
def test_share_at_the_cap(mode):
    for c in (1.0, 0.05, 0.01, 1e-5, 7.3):
        for dim in (2, 512):
            u = directions(40, dim, dtype=torch.float32)
            u[:30] *= 50 / c**0.5
            u[30:] *= 0.5 / c**0.5
            assert capped_share(to_ball(u, c, mode=mode), c) == 0.75
            assert capped_share(project(u, c, mode=mode), c) == 0.75
            assert capped_share(to_ball(u, c, 4e-3, mode), c, 4e-3) == 0.75
            assert capped_share(to_ball(u, c, 4e-3, mode), c) == 0
    x = torch.tensor([[0.9989], [0.9991], [-0.9995], [0.0]])
    assert capped_share(x, 1.0) == 0.5
    assert capped_share(x[None].double(), 1.0).dtype == torch.float64


# HyperbolicLinear, HyperbolicConcat


@both_modes
def test_linear_equals_the_formula(task, mode):
    c, x, _, _ = task
    layer = HyperbolicLinear(3, 4, c, mode=mode).double()
    bias = layer.bias
    assert bias is not None
    b, margin = printed_expmap0(bias, c), MARGIN[mode]
    right = [printed_project(printed_add(printed_matvec(layer.weight, i, c), b, c, margin), c) for i in x]
    right = torch.stack(right)
    close(layer(x), right)
    close(layer(x[:, None].expand(6, 2, 3)), right[:, None].expand(6, 2, 4))
    of_another_c = mobius_add(mobius_matvec(layer.weight, x, c, mode), expmap0(bias / c**0.5, 1.0), c, mode)
    assert c == 1 or (layer(x) - of_another_c).abs().max() > 1e-4  # the authors' bias, added with c = 1
    bare = HyperbolicLinear(3, 4, c, bias=False, mode=mode).double()
    close(bare(x), torch.stack([printed_project(printed_matvec(bare.weight, i, c), c) for i in x]))
    assert bare.bias is None


@both_modes
def test_concatenation_equals_the_formula(task, mode):
    c, x, p, _ = task
    layer = HyperbolicConcat(3, 3, 5, c, mode=mode).double()
    first, second = (
        [printed_matvec(w, i, c) for i in z[:4]]
        for w, z in ((layer.first.weight, x), (layer.second.weight, p))
    )
    right = [printed_project(printed_add(i, j, c, MARGIN[mode]), c) for i, j in zip(first, second)]
    close(layer(x[:4], p), torch.stack(right))


def test_flat_limit_of_the_layers():
    x, y, _ = planes(1.0)
    x, y = x[:4] / 30, y / 30
    linear, concat = HyperbolicLinear(3, 5, 1e-9).double(), HyperbolicConcat(3, 3, 5, 1e-9).double()
    assert_close(linear(x), x @ linear.weight.T + linear.bias, rtol=1e-6, atol=1e-9)
    weight = torch.cat([concat.first.weight, concat.second.weight], 1)
    assert_close(concat(x, y), torch.cat([x, y], 1) @ weight.T, rtol=1e-6, atol=1e-9)


@both_modes
def test_linear_gradient_and_extremes(mode):
    x, y, _ = planes(0.5, b=3, k=3)
    linear, concat = (
        layer.double()
        for layer in (HyperbolicLinear(3, 2, 0.5, mode=mode), HyperbolicConcat(3, 3, 2, 0.5, mode=mode))
    )
    c = torch.tensor(0.5).double().requires_grad_()
    w, b = (t.detach().clone().requires_grad_() for t in linear.parameters())
    assert gradcheck(
        lambda x, c, w, b: functional_call(linear, {"weight": w, "bias": b}, (x, c)),
        (x.requires_grad_(), c, w, b),
    )
    assert gradcheck(lambda x, y, c: concat(x, y, c), (x, y.requires_grad_(), c))
    for size in (0.0, 1e-20, 1.0, 1e10):
        linear = HyperbolicLinear(6, 4, 0.3, mode=mode)
        with torch.no_grad():
            linear.weight.mul_(size), linear.bias.mul_(size)
        points = project(10 * directions(5, 6, dtype=torch.float32), 0.3)
        points[0] = 0
        points.requires_grad_()
        out = linear(points)
        assert (0.3**0.5 * out.norm(dim=1) <= 0.999 * (1 + 1e-6)).all()
        slopes = torch.autograd.grad(out.sum(), (points, *linear.parameters()))
        assert all(g.isfinite().all() for g in slopes)


def test_c_in_forward_of_the_linear_layers():
    x, y, _ = planes(1.0, dtype=torch.float32)
    for one, other, inputs in (
        (HyperbolicLinear(3, 4, 1.0), HyperbolicLinear(3, 4, 0.3), (x,)),
        (HyperbolicConcat(3, 3, 4, 1.0), HyperbolicConcat(3, 3, 4, 0.3), (x[:4], y)),
    ):
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(*inputs, 0.3), other(*inputs))
        assert not torch.allclose(one(*inputs), other(*inputs), rtol=1e-3)


def test_layers_say_what_they_are():
    ball = ToPoincare(0.05, clip=2.3, learnable_c=True)
    assert "c=0.05, learnt by softplus, clip=2.3" in str(ball)
    assert "dim=2, classes=10, c=0.05, points, mode=exact" in str(HyperbolicMLR(2, 10, 0.05))
    assert "3, 4, c=0.3, bias=True" in str(HyperbolicLinear(3, 4, torch.tensor(0.3)))


# Bad input


def layers_of(c):
    return (
        lambda: HyperbolicMLR(3, 4, c),
        lambda: HyperbolicLinear(3, 4, c),
        lambda: HyperbolicConcat(3, 3, 4, c),
        lambda: ToPoincare(c),
    )


def test_refuses_a_bad_curvature():
    for c in (0, -1.0, math.nan, math.inf, True, "1", None):
        for make in layers_of(c):
            with pytest.raises(ValueError, match=r"c is .*; give a finite number above 0"):
                make()
    x, p, a = planes(1.0)
    for f in (
        lambda: mlr_logits(x, p, a, -1.0),
        lambda: HyperbolicMLR(3, 4, 1.0)(x.float(), 0.0),
        lambda: to_ball(x, -0.5),
        lambda: capped_share(x, 0.0),
        lambda: correct_gradient(x, torch.tensor(-1.0)),
    ):
        with pytest.raises(ValueError, match=r"c is .*; give a finite number above 0"):
            f()
    with pytest.raises(TypeError, match="c of ToPoincare is a tensor; give a number, and learnable_c=True"):
        ToPoincare(torch.tensor(1.0))  # pyright: ignore[reportArgumentType]


def test_refuses_points_outside_the_ball_and_nan():
    x, p, a = planes(1.0, dtype=torch.float32)
    outside, nan = x.clone(), x.clone()
    outside[2], nan[1, 2] = torch.tensor([0.0, 0.0, 1.25]), math.nan
    layers = (HyperbolicMLR(3, 4, 1.0), HyperbolicMLR(3, 4, 1.0, parametrisation="hnn++"))
    calls = [
        lambda z: mlr_logits(z, p, a, 1.0),
        *layers,
        HyperbolicLinear(3, 4, 1.0),
        lambda z: correct_gradient(z, 1.0),
    ]
    for f in calls:
        with pytest.raises(ValueError, match=r"x: row 2 lies outside the ball, sqrt\(c\) \|x\| = 1\.25 "):
            f(outside)
        with pytest.raises(ValueError, match="x: row 1 holds a value that is not finite"):
            f(nan)
    with pytest.raises(ValueError, match="p: row 2 lies outside the ball"):
        mlr_logits(x, outside[:4], a, 1.0)
    with pytest.raises(ValueError, match="a: row 1 holds a value that is not finite"):
        mlr_logits(x, p, nan[:4], 1.0)
    with pytest.raises(
        ValueError, match="u: row 1 holds a value that is not finite; lower the learning rate"
    ):
        ToPoincare(1.0)(nan)
    with pytest.raises(ValueError, match="u: row 1 holds a value that is not finite"):
        ToPoincare(1.0, clip=1.0)(nan)
    diverged = HyperbolicMLR(3, 4, 1.0)
    nn.init.constant_(diverged.p, math.nan)
    with pytest.raises(ValueError, match="p': row 0 holds a value that is not finite"):
        diverged(x)


def test_refuses_shapes_and_types_that_do_not_fit():
    x, p, a = planes(1.0, dtype=torch.float32)
    with pytest.raises(
        ValueError, match="p has 4 rows and a has 3; give a point and a normal for each class"
    ):
        mlr_logits(x, p, a[:3], 1.0)
    with pytest.raises(ValueError, match=r"a has shape \(4, 2\), but the points have D = 3"):
        mlr_logits(x, p, a[:, :2], 1.0)
    with pytest.raises(ValueError, match=r"x has shape \(3,\); give a matrix"):
        HyperbolicMLR(3, 4, 1.0)(x[0])
    for form in ("points", "hnn++"):
        with pytest.raises(ValueError, match=r"x has shape \(6, 3\) but the layer has dim 5; give \(B, 5\)"):
            HyperbolicMLR(5, 4, 1.0, parametrisation=form)(x)
    with pytest.raises(ValueError, match=r"m \(4, 5\) and x \(6, 3\) do not fit"):
        HyperbolicLinear(5, 4, 1.0)(x)
    with pytest.raises(TypeError, match="convert them to one"):
        HyperbolicMLR(3, 4, 1.0)(x.double())
    with pytest.raises(TypeError, match="convert it to float32 or float64"):
        ToPoincare(1.0)(x.long())
    for make in (lambda: HyperbolicMLR(0, 4, 1.0), lambda: HyperbolicMLR(3, -1, 1.0)):
        with pytest.raises(ValueError, match=r"(dim is 0|classes is -1); give a whole number of at least 1"):
            make()
    with pytest.raises(TypeError, match=r"out_dim is 4\.0; give a whole number"):
        HyperbolicLinear(3, 4.0, 1.0)  # pyright: ignore[reportArgumentType]


def test_refuses_unknown_options():
    with pytest.raises(ValueError, match=r"parametrisation 'hnn' is unknown; choose 'points' or 'hnn\+\+'"):
        HyperbolicMLR(3, 4, 1.0, parametrisation="hnn")
    with pytest.raises(ValueError, match=r"the authors' code has no 'hnn\+\+'; choose mode 'exact'"):
        HyperbolicMLR(3, 4, 1.0, parametrisation="hnn++", mode="released")
    with pytest.raises(ValueError, match="parametrisation 'exp' is unknown; choose 'softplus' or 'log'"):
        ToPoincare(1.0, parametrisation="exp")
    for make in (
        lambda mode: HyperbolicMLR(3, 4, 1.0, mode=mode),
        lambda mode: HyperbolicLinear(3, 4, 1.0, mode=mode),
        lambda mode: ToPoincare(1.0, mode=mode),
        lambda mode: mlr_logits(*planes(1.0), 1.0, mode),
    ):
        with pytest.raises(ValueError, match="mode 'paper' is unknown; choose 'exact' or 'released'"):
            make("paper")
    for clip in (0, -1.0, math.nan, math.inf, True, "2"):
        with pytest.raises(ValueError, match=r"clip is .*; give a finite number above 0, the longest"):
            ToPoincare(1.0, clip=clip)
    with pytest.raises(ValueError, match="r is -1; give a finite number above 0"):
        clip_norm(torch.ones(2, 3), -1)
    for eps in (0, 1, -1e-3, math.nan, "1e-3"):
        for make in (
            lambda eps: ToPoincare(1.0, eps=eps),
            lambda eps: HyperbolicMLR(3, 4, 1.0, eps=eps),
            lambda eps: HyperbolicLinear(3, 4, 1.0, eps=eps),
            lambda eps: capped_share(torch.zeros(2, 3), 1.0, eps),
        ):
            with pytest.raises(ValueError, match=r"eps is .*; give a number above 0 and below 1"):
                make(eps)


# Planted bugs: a wrong line in a copy of the modules, and the test that must notice


PLANTED = [
    ("arithmetic", ".copysign_(u)", "", "layers", "logits_equal_the_printed_formula"),
    ("arithmetic", "(grad * h).sum(0)", "(grad * u).sum(0)", "layers", "gradient_of_the_logits"),
    (
        "arithmetic",
        "grad / (1 - t.clamp(-1 + RELEASED_EPS, 1 - RELEASED_EPS).square())",
        "grad / (1 - t.square())",
        "poincare",
        "released_artanh_lets_the_gradient_through_its_clamp",
    ),
    ("poincare", "(gx * both + q * x)", "(gy * both + q * x)", "poincare", "left_cancellation"),
    (
        "poincare",
        "2 / s * arsinh(n / gg.sqrt())",
        "1 / s * arsinh(n / gg.sqrt())",
        "poincare",
        "length_of_the_logarithm_is_the_distance",
    ),
    ("poincare", "scale_rows(x, 2 * s * s / gx)", "scale_rows(x, 2 * s / gx)", "poincare", "flat_limit"),
    ("poincare", "w.fill_diagonal_(0)", "pass", "poincare", "pairwise_diagonal_is_masked"),
    ("poincare", "2 * total - points +", "2 * total +", "poincare", "mean_moves_with_its_points"),
    (
        "poincare",
        "gamma = (1 + t * t) / gap(t)",
        "gamma = 2 / gap(t)",
        "poincare",
        "midpoint_is_equidistant_and_on_the_geodesic",
    ),
    (
        "layers",
        "scale_rows(p, 2 * s * s * b)",
        "scale_rows(p, 2 * s * b)",
        "layers",
        "changing_units_changes_only_the_unit",
    ),
    (
        "layers",
        "((1 + tx * tx) * inverse)",
        "((1 - tx * tx) * inverse)",
        "layers",
        "logit_is_the_signed_distance_to_the_hyperplane",
    ),
    ("layers", "gg + 2 * RELEASED_EPS", "gg + RELEASED_EPS", "layers", "logits_equal_the_printed_formula"),
    (
        "layers",
        "s * n * factor, a, 2 / s, s",
        "s * n * factor, a, 1 / s, s",
        "layers",
        "layer_equals_the_printed_formula",
    ),
    ("layers", "t.sinh()", "(t / 2).sinh()", "layers", "hnn_equals_points"),
    ("layers", ".square() / 4", ".square() / 2", "layers", "gradient_correction_has_the_c_of_its_layer"),
    (
        "layers",
        "correct_gradient(x, c) if",
        "correct_gradient(x, 1.0) if",
        "layers",
        "gradient_correction_has_the_c_of_its_layer",
    ),
    ("layers", "math.log(-math.expm1(-c))", "math.log(math.expm1(c))", "layers", "learnable_c"),
    ("layers", "torch.where(n > r, r / ", "torch.where(n < r, r / ", "layers", "clip"),
    (
        "layers",
        "to_ball(self.bias, c,",
        "to_ball(self.bias, 1.0,",
        "layers",
        "linear_equals_the_formula",
    ),
    (
        "layers",
        "self.first(x1, c)",
        "self.first(x2, c)",
        "layers",
        "concatenation_equals_the_formula",
    ),
]


def passes(name, suite):
    """Whether a test of the loaded test file passes, for every value of its parameters."""
    test = getattr(suite, f"test_{name}")
    values = {
        "ball": lambda: [suite.three_sets(0.05, 0)],
        "task": lambda: [(0.05, *suite.planes(0.05, 0))],
        "mode": lambda: ["exact", "released"],
        "parametrisation": lambda: ["softplus", "log"],
    }
    try:
        for arguments in itertools.product(*(values[p]() for p in inspect.signature(test).parameters)):
            test(*arguments)
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


def load(name, path, right="", wrong=""):
    """Run a file, changed, as the module `name`."""
    source = path.read_text()
    assert not right or source.count(right) == 1
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source.replace(right, wrong) if right else source, str(path), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(("file", "right", "wrong", "suite", "name"), PLANTED)
def test_planted_bugs_are_caught(file, right, wrong, suite, name, monkeypatch):
    package = Path(hyperbolic_embeddings.__path__[0])
    there = Path(__file__).with_name(f"test_{suite}.py")
    for module in ("arithmetic", "poincare", "layers"):  # put back at the end
        monkeypatch.setitem(sys.modules, f"hyperbolic_embeddings.{module}", None)
    monkeypatch.setitem(sys.modules, "copied", None)
    for correct in (True, False):
        for module in ("arithmetic", "poincare", "layers"):
            change = (right, wrong) if module == file and not correct else ()
            load(f"hyperbolic_embeddings.{module}", package / f"{module}.py", *change)
        assert passes(name, load("copied", there)) is correct
