"""episode_interval by hand."""

import math

import numpy as np
import pytest
import torch

from common.metrics import episode_interval


def test_by_hand():
    """0.2, 0.4, 0.9: mean 0.5, population variance (0.09 + 0.01 + 0.16) / 3."""
    expected = pytest.approx((0.5, 1.96 * math.sqrt(0.26 / 3) / math.sqrt(3)), rel=1e-12)
    for given in (
        [0.2, 0.4, 0.9],
        np.array([0.2, 0.4, 0.9]),
        torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64),
    ):
        assert episode_interval(given) == expected
    assert episode_interval([0.7]) == (0.7, 0.0)
    assert episode_interval(torch.tensor([1, 3])) == pytest.approx((2, 1.96 / math.sqrt(2)))


def test_the_unit_carries_over():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert episode_interval(values * 100) == pytest.approx(tuple(100 * v for v in episode_interval(values)))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least one episode"):
        episode_interval([])
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        episode_interval(torch.rand(2, 2))
    with pytest.raises(ValueError, match="holds nan"):
        episode_interval([0.5, math.nan])
    with pytest.raises(TypeError, match="accuracies is a str"):
        episode_interval("0.5")  # pyright: ignore[reportArgumentType]
