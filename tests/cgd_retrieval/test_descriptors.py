"""descriptors.py against Eq. (1) written with loops, its laws, and the extremes of float32."""

import math

import pytest
import torch

from cgd_retrieval.descriptors import gem, mac, spoc


@pytest.fixture
def x():
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.01


def naive(x, p):
    """Eq. (1): (mean of x^p)^(1/p), one number at a time."""
    out = torch.zeros(x.shape[:2], dtype=x.dtype)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            values = [float(v) for v in x[b, c].flatten()]
            out[b, c] = max(values) if p == math.inf else (sum(v**p for v in values) / len(values)) ** (1 / p)
    return out


def test_pool_equals_definition(x):
    torch.testing.assert_close(spoc(x), naive(x, 1), rtol=1e-12, atol=0)
    torch.testing.assert_close(mac(x), naive(x, math.inf), rtol=0, atol=0)
    torch.testing.assert_close(gem(x), naive(x, 3), rtol=1e-12, atol=0)
    torch.testing.assert_close(gem(x, 2.5), naive(x, 2.5), rtol=1e-12, atol=0)


def test_gem_of_a_tensor_exponent(x):
    each = torch.tensor([1.0, 3.0, 7.0], dtype=torch.float64)
    expected = torch.stack([naive(x, float(p))[:, c] for c, p in enumerate(each)], 1)
    torch.testing.assert_close(gem(x, each), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gem(x, torch.tensor(3.0)), gem(x), rtol=1e-7, atol=0)


def test_gem_lies_between_its_limits(x):
    assert (spoc(x) < gem(x)).all()
    assert (gem(x) < mac(x)).all()
    torch.testing.assert_close(gem(x, 1.0), spoc(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        gem(x, 1e5), mac(x), rtol=1e-4, atol=0
    )  # (1 / HW)^(1 / p) short of the maximum


def test_descriptors_scale_with_the_map_and_ignore_places(x):
    shuffled = x.flatten(2)[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(1))].view_as(x)
    for pool in (spoc, mac, gem):
        torch.testing.assert_close(pool(7.5 * x), 7.5 * pool(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(pool(shuffled), pool(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(
            pool(x.contiguous(memory_format=torch.channels_last)), pool(x), rtol=1e-12, atol=0
        )


def test_gradients(x):
    x.requires_grad_()
    p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    for pool in (spoc, mac, gem):
        assert torch.autograd.gradcheck(pool, (x,))
    assert torch.autograd.gradcheck(gem, (x, p))
    assert torch.autograd.gradcheck(
        gem, (x, torch.tensor([2.0, 3.0, 4.0], dtype=p.dtype, requires_grad=True))
    )


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-6, 1.0, 1e20, 1e37])
@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 100.0])
def test_gem_is_finite_at_extremes(value, p):
    """A dead channel, and activations whose cube leaves float32, keep value and gradient (note D17)."""
    x = torch.full((1, 2, 7, 7), value)
    x[0, 1, 0, 0] = 2 * value
    x.requires_grad_()
    out = gem(x, p)
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert out[0, 0].item() == pytest.approx(max(value, 1e-6), rel=1e-5)


def test_the_clamp_is_needed():
    """What note D17 is about: the formula without floor has a NaN gradient at an all-zero channel."""
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    x.pow(3).mean((2, 3)).pow(1 / 3).sum().backward()
    assert x.grad is not None
    assert x.grad.isnan().all()


def test_dtype_is_kept(x):
    for dtype in (torch.float32, torch.float64):
        assert {pool(x.to(dtype)).dtype for pool in (spoc, mac, gem)} == {dtype}


@pytest.mark.parametrize("p", [0.0, -3.0, math.inf, math.nan, True, "3"])
def test_refuses_a_bad_exponent(x, p):
    with pytest.raises(ValueError, match="gem: p is"):
        gem(x, p)


def test_refuses_bad_tensors(x):
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        spoc(x[:, :, 0, 0])
    with pytest.raises(ValueError, match="H, W >= 1"):
        mac(x[:, :, :0])
    with pytest.raises(TypeError, match="int64"):
        mac(x.long())
    with pytest.raises(ValueError, match=r"\(3,\)"):
        gem(x, torch.ones(4))
