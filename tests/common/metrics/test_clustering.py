"""nmi against scikit-learn, by hand, and its laws."""

import math

import pytest
import torch

from common.metrics import nmi


def test_by_hand():
    """U = {2, 2}, V = {1, 3}, joint (1/4, 1/4, 1/2): I = H(U) + H(V) - H(U, V), with H(U, V) = 3/2 ln 2."""
    h_u, h_v = math.log(2), math.log(4) - 0.75 * math.log(3)
    expected = (h_u + h_v - 1.5 * math.log(2)) / ((h_u + h_v) / 2)
    assert nmi(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(seed)
    u, v = torch.randint(-3, 6, (200,), generator=g), torch.randint(10**9, 10**9 + 20, (200,), generator=g)
    assert nmi(u, v) == pytest.approx(sklearn.normalized_mutual_info_score(u, v), abs=1e-12)
    geometric = sklearn.normalized_mutual_info_score(u, v, average_method="geometric")
    assert abs(nmi(u, v) - geometric) > 1e-4  # another normaliser would be noticed


def test_laws():
    g = torch.Generator().manual_seed(0)
    u, v = torch.randint(5, (100,), generator=g), torch.randint(5, (100,), generator=g)
    assert nmi(u, u * 7 - 3) == 1.0
    assert nmi(u, v) == pytest.approx(nmi(v, u), rel=1e-12)
    assert nmi(u, v[:1].repeat(100)) == nmi(v[:1].repeat(100), u) == 0.0
    assert nmi(v[:1].repeat(9), v[1:2].repeat(9)) == 1.0
    assert nmi(torch.arange(4).repeat(3), torch.arange(3).repeat_interleave(4)) == pytest.approx(0, abs=1e-15)


def test_bad_input_is_named():
    y = torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match="clusters has 2 labels for 3 rows"):
        nmi(y, y[:2])
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        nmi(y.float(), y)
    with pytest.raises(ValueError, match="labels is empty"):
        nmi(y[:0], y[:0])
