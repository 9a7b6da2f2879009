"""delta_rel against loops, spaces whose value is known, and where 0.144 comes from."""

import math

import pytest
import torch

from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.delta import spaces
from hyperbolic_embeddings.delta.hyperbolicity import (
    CONSTANT,
    FOUR_POINTS,
    MARGIN,
    RADIUS,
    SELF_CONSISTENT,
    THIN_TRIANGLES,
    curvature,
    draw_rows,
    euclidean,
    mean_and_spread,
    relative_delta,
)


def naive(d, base):
    """The definition, triple by triple."""
    n = len(d)
    product = [[(d[i][base] + d[j][base] - d[i][j]) / 2 for j in range(n)] for i in range(n)]
    delta = max(
        min(product[x][y], product[y][z]) - product[x][z]
        for x in range(n)
        for y in range(n)
        for z in range(n)
    )
    return 2 * delta / max(map(max, d))


@pytest.fixture
def cloud():
    return torch.randn(14, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_the_definition(cloud):
    x = cloud[[3, 1, 2, 0, *range(4, 14)]]  # so that row 0 is not the base point with the largest value
    d = torch.cdist(x, x)
    values = [naive(d.tolist(), base) for base in range(4)]
    first, largest = relative_delta(d, 4)
    assert first == pytest.approx(values[0], rel=1e-12)
    assert largest == pytest.approx(max(values), rel=1e-12)
    assert max(values) > values[0] * 1.01, "the test can tell one base point from several"
    assert relative_delta(d) == (first, first)


def test_a_forgotten_factor_of_two_would_be_caught():
    """Until 2022 the authors' code lacked it (issue 12). In a cycle of four delta is 1, the diameter 2."""
    cycle = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]], dtype=torch.float64)
    assert relative_delta(cycle) == (1.0, 1.0)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_does_not_depend_on_the_unit(cloud, scale):
    d = torch.cdist(cloud, cloud)
    assert relative_delta(d * scale)[0] == pytest.approx(relative_delta(d)[0], rel=1e-9)


def test_a_tree_is_a_tree():
    d = spaces.tree_distances(80, torch.Generator().manual_seed(1))
    assert relative_delta(d, 5)[1] < 1e-12
    assert torch.equal(d, d.T)
    assert float(d[~torch.eye(80, dtype=torch.bool)].min()) >= 0.5
    # One wrong edge is enough: a shortcut between two distant leaves.
    i, j = divmod(int(d.argmax()), 80)
    d[i, j] = d[j, i] = d[i, j] / 2
    assert relative_delta(d, 80)[1] > 0.1


def test_euclidean_distances(cloud):
    x = torch.cat([cloud, cloud[:1]]) * 100 + 1e5  # a copy, far from the origin
    d = euclidean(x)
    expected = torch.tensor([[math.dist(a, b) for b in x.tolist()] for a in x.tolist()])
    torch.testing.assert_close(d, expected, rtol=1e-6, atol=1e-4)
    assert d.dtype == torch.float32
    assert float(d.diagonal().abs().max()) == 0


def test_eq5():
    assert curvature(0.144) == pytest.approx(1)
    assert curvature(0.25) == pytest.approx(0.3318, abs=1e-4)
    assert curvature(0.25, SELF_CONSISTENT) == pytest.approx(0.3318 / 6.43, rel=1e-2)
    for wrong in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"Eq\. \(5\) wants a number in \(0, 1\]"):
            curvature(wrong)


def test_the_constant_of_eq5_is_a_numerical_cap():
    """Finding F5: 0.144 = 2 ln(1 + sqrt 2) / 12.2047, and 12.2047 is where float32 stops, not a diameter."""
    cap = 2 * float(torch.tensor(1 - 1e-5).atanh())
    assert cap == pytest.approx(12.2047, abs=2e-4)
    assert round(2 * THIN_TRIANGLES / cap, 3) == CONSTANT
    # The largest value that the released distance has, however far the points are apart.
    x = torch.tensor([[1 - 1e-6, 0.0]])
    assert float(poincare.distance(x, -x, 1.0, mode="released")) == pytest.approx(cap, rel=1e-6)
    assert float(poincare.distance(x.double(), -x.double(), 1.0)) > 2 * cap
    # The disk that ends at 1 - 1e-5 has this radius, and twice this diameter.
    edge = torch.tensor([[1 - MARGIN, 0.0]], dtype=torch.float64)
    assert float(poincare.distance0(edge, 1.0)) == pytest.approx(RADIUS, rel=1e-9)
    assert float(poincare.distance(edge, -edge, 1.0)) == pytest.approx(2 * RADIUS, rel=1e-9)
    assert pytest.approx(0.0568, abs=1e-4) == SELF_CONSISTENT
    assert pytest.approx(6.43, abs=0.01) == (CONSTANT / SELF_CONSISTENT) ** 2


def test_the_four_point_delta_of_a_large_disk_is_ln_2():
    """So ln(1 + sqrt 2), the constant of thin triangles, is not what the estimator estimates."""
    n = 128
    circle = spaces.polar_distances(
        torch.full((n,), RADIUS, dtype=torch.float64), 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    )
    delta = relative_delta(circle)[0] * RADIUS  # 2 delta / (2 RADIUS)
    assert 0.95 * FOUR_POINTS < delta < 1.0001 * FOUR_POINTS
    assert relative_delta(circle)[0] == pytest.approx(SELF_CONSISTENT, rel=0.05)
    inside = spaces.disk_distances(150, RADIUS, torch.Generator().manual_seed(0))
    assert float(inside.max()) <= 2 * RADIUS + 1e-9
    assert relative_delta(inside)[0] < CONSTANT / 2


def test_bad_input_is_one_sentence(cloud):
    with pytest.raises(ValueError, match="bases is 15 but there are 14 points"):
        relative_delta(torch.cdist(cloud, cloud), 15)
    with pytest.raises(ValueError, match="all 5 points coincide"):
        relative_delta(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="row"):
        euclidean(torch.full((3, 2), math.nan))
    with pytest.raises(ValueError, match="--points 9 exceeds the 8 pictures"):
        draw_rows(8, 9, 1, replacement=False, random=torch.Generator())


def test_samples():
    draw = lambda **how: draw_rows(30, 20, 5, random=torch.Generator().manual_seed(0), **how)  # noqa: E731
    own = draw(replacement=False)
    assert own.shape == (5, 20)
    assert all(len(row.unique()) == 20 for row in own)
    assert len({tuple(row.tolist()) for row in own}) == 5
    assert any(len(row.unique()) < 20 for row in draw(replacement=True))
    assert mean_and_spread([1.0, 2.0, 4.0]) == (pytest.approx(7 / 3), pytest.approx(1.5275, abs=1e-4))
    assert mean_and_spread([3.0]) == (3.0, 0.0)
