"""Null clouds: what they share with the features, and what they are."""

import math

import pytest
import torch

from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.delta import spaces


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_matched_cloud_has_the_spectrum_and_nothing_else():
    wide = torch.tensor([5.0, 3.0, 1.0, 0.2])
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=random(1)))
    x = (torch.randn(6000, 4, generator=random(2)) * wide) @ turn + 40
    cloud = spaces.spectrum_matched(x, random(3))
    spread = lambda z: torch.linalg.eigvalsh(torch.cov(z.double().T)).sqrt()  # noqa: E731
    torch.testing.assert_close(spread(cloud), spread(x), rtol=0.04, atol=0)
    few = spaces.spectrum_matched(torch.randn(10, 50, generator=random()), random())
    assert few.shape == (10, 10)
    # Ten points span nine directions: the tenth is empty.
    assert float(few.std(0)[-1]) < 1e-9


def test_clouds_follow_from_their_generator():
    for draw in (
        lambda g: spaces.isotropic(7, 3, g),
        lambda g: spaces.sphere(7, 3, g),
        lambda g: spaces.tree_distances(7, g),
        lambda g: spaces.disk_distances(7, 5.0, g),
    ):
        assert torch.equal(draw(random(4)), draw(random(4)))
        assert not torch.equal(draw(random(4)), draw(random(5)))
    assert torch.allclose(spaces.sphere(9, 4, random()).norm(dim=1), torch.ones(9, dtype=torch.float64))


def test_disk_distances_are_those_of_the_ball():
    r = torch.tensor([0.0, 0.3, 2.0, 5.0, 5.0, 9.0], dtype=torch.float64)
    theta = torch.tensor([0.0, 1.0, 2.5, -1.0, -1.0 + 1e-3, 4.0], dtype=torch.float64)
    x = torch.tanh(r / 2)[:, None] * torch.stack([theta.cos(), theta.sin()], 1)
    d = spaces.polar_distances(r, theta)
    torch.testing.assert_close(d, poincare.pairwise_distance(x, x, 1.0), rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(d[0], r)


def test_the_disk_is_uniform_in_area():
    """Half of the area of a disk of radius R lies within r, sinh^2(r / 2) = sinh^2(R / 2) / 2."""
    n, radius = 4000, 3.0
    u = torch.rand(n, 2, generator=random(), dtype=torch.float64)
    r = 2 * torch.asinh(u[:, 0].sqrt() * math.sinh(radius / 2))
    half = 2 * math.asinh(math.sinh(radius / 2) / math.sqrt(2))
    assert float((r < half).double().mean()) == pytest.approx(0.5, abs=0.03)
    d = spaces.disk_distances(n // 20, radius, random())
    torch.testing.assert_close(d, d.T)
    assert float(d.max()) <= 2 * radius
    for wrong in (0.0, math.nan, 301.0):
        with pytest.raises(ValueError, match="give a hyperbolic radius"):
            spaces.disk_distances(5, wrong, random())
