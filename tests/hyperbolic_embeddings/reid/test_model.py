"""Heads of the re-identification network, and the order of hyperbolic distances."""

import dataclasses

import pytest
import torch

from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.layers import HyperbolicMLR, ToPoincare
from hyperbolic_embeddings.reid.evaluate import in_hyperbolic_order
from hyperbolic_embeddings.reid.model import FlatMLR, SmallNet, build
from hyperbolic_embeddings.reid.presets import PRESETS

SMOKE = PRESETS["smoke-reid"][1]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def test_the_control_is_the_flat_limit_of_the_hyperbolic_head():
    """Claim C9 for this head: 4 <z - p, a> is what is left of the MLR as c -> 0, at the same parameters."""
    flat = FlatMLR(5, 7).double()
    z = draw(11, 5)
    expected = torch.tensor(
        [[4 * float((z[b] - flat.p[k]) @ flat.a[k]) for k in range(7)] for b in range(11)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(flat(z), expected)
    for c, near in ((1e-3, 6e-2), (1e-5, 6e-4), (1e-7, 6e-6)):
        curved = HyperbolicMLR(5, 7, c).double()
        curved.load_state_dict(flat.state_dict())
        gap = (curved(ToPoincare(c)(z)) - flat(z)).abs().max()
        assert float(gap) < near, c
        assert float(gap) > near / 1e4, "the curvature can be seen"
    curved = HyperbolicMLR(5, 7, 1.0).double()
    curved.load_state_dict(flat.state_dict())
    assert float((curved(ToPoincare(1.0)(z)) - flat(z)).abs().max()) > 0.1


@pytest.mark.parametrize("head", ["euclidean", "hyperbolic", "flat"])
@pytest.mark.parametrize("narrow", [1, 2])
def test_shapes_and_gradients(head, narrow):
    model = build(dataclasses.replace(SMOKE, head=head, narrow=narrow), 9)
    z, logits = model(draw(4, 3, 32, 32).float())
    assert z.shape == (4, SMOKE.dim)
    assert logits.shape == (4, 9)
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    assert (model.to_ball is not None) == (head == "hyperbolic")


@torch.no_grad()
@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("eps", [1e-3, 0.2])
def test_the_hyperbolic_head_is_that_of_its_settings(eps, mode):
    cfg = dataclasses.replace(SMOKE, head="hyperbolic", c=0.25, eps=eps, mode=mode, dim=4)
    model = build(cfg, 7).double()
    z = draw(11, 4) * torch.logspace(-1, 2, 11, dtype=torch.float64)[:, None]  # from the origin to the border
    x = poincare.project(poincare.expmap0(z, 0.25, mode), 0.25, eps, mode)
    assert model.to_ball is not None
    assert model.to_ball.mode == mode, "its points differ by 1e-11 or less: the value could not tell"
    torch.testing.assert_close(model.to_ball(z), x, rtol=1e-12, atol=0)
    assert float(x.norm(dim=1).max()) == pytest.approx((1 - eps) / 0.5, rel=1e-12)
    plain = HyperbolicMLR(4, 7, 0.25, eps=eps, mode=mode).double()
    plain.load_state_dict(model.head.state_dict())
    torch.testing.assert_close(model.classify(z), plain(x), rtol=1e-9, atol=0)


def test_columns_are_averaged_in_pairs():
    model = build(dataclasses.replace(SMOKE, narrow=2), 3).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = draw(2, 3, 32, 32).float()
    model.embed(x)
    assert torch.allclose(seen[0], (x[..., ::2] + x[..., 1::2]) / 2)


def test_small_net_refuses_no_stage():
    with pytest.raises(ValueError, match="at least one stage"):
        SmallNet(())


@pytest.mark.parametrize("c", [1e-5, 0.05, 1.0])
def test_rows_stand_in_hyperbolic_order(c):
    eps = 1e-3
    q, g = draw(6, 4) * 20, draw(50, 4, seed=1) * 20  # for c = 1 most lie beyond the projection radius
    if c == 1.0:
        q, g = q / 10, g / 10
    rows, base = in_hyperbolic_order(q, g, c, eps)
    x, y = (poincare.project(poincare.expmap0(u, c), c, eps) for u in (q, g))
    expected = poincare.pairwise_distance(x, y, c)
    measured = torch.cdist(rows, base, compute_mode="donot_use_mm_for_euclid_dist")
    for row in range(6):
        order = expected[row].argsort()
        steps = measured[row][order].diff()
        assert float(steps.min()) > -1e-7 * float(measured[row].max())
    # The trick is exact: squared lengths are affine in cosh(sqrt(c) d).
    cosh = torch.cosh(c**0.5 * expected)
    square = measured.square()
    slope = (square - square[:, :1])[:, 1:] / (cosh - cosh[:, :1])[:, 1:]
    torch.testing.assert_close(slope, torch.full_like(slope, 2.0), rtol=1e-4, atol=0)


def test_the_hyperbolic_order_is_not_the_euclidean_one():
    q, g = draw(6, 4), draw(50, 4, seed=1)
    rows, base = in_hyperbolic_order(q, g, 1.0, 1e-3)
    assert not torch.equal(torch.cdist(rows, base).argsort(1), torch.cdist(q, g).argsort(1))
    near, far = in_hyperbolic_order(q, g, 1e-9, 1e-3)
    assert torch.equal(torch.cdist(near, far).argsort(1)[:, :3], torch.cdist(q, g).argsort(1)[:, :3])
