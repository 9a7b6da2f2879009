"""gromov_delta: planted spaces, the definition in loops, laws."""

import itertools
import math

import pytest
import torch

from common.metrics import geometry, gromov_delta


def naive(d, base):
    """max over x, y, z of min((x|y), (y|z)) - (x|z), from the definition."""
    n, p = len(d), base
    d = d.tolist()
    product = lambda x, y: (d[x][p] + d[y][p] - d[x][y]) / 2  # noqa: E731
    return max(
        min(product(x, y), product(y, z)) - product(x, z) for x, y, z in itertools.product(range(n), repeat=3)
    )


def tree_distances(n, seed):
    """Shortest paths in a random tree with edges of whole length."""
    g = torch.Generator().manual_seed(seed)
    d = torch.zeros(n, n, dtype=torch.float64)
    for i in range(1, n):
        parent, length = int(torch.randint(i, (), generator=g)), int(torch.randint(1, 9, (), generator=g))
        d[i, :i] = d[:i, i] = d[parent, :i] + length
    return d


@pytest.mark.parametrize(("side", "chunk"), [(1, 3), (5, 2048), (16, 7), (32, 2048)])
@pytest.mark.parametrize("seed", range(3))
def test_is_its_definition(seed, side, chunk, monkeypatch):
    monkeypatch.setattr(geometry, "SIDE", side)
    monkeypatch.setattr(geometry, "CHUNK", chunk)
    x = torch.randn(17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    for base in (0, 9, 16):
        delta, diameter = gromov_delta(distances=d, base=base)
        assert delta == pytest.approx(naive(d, base), rel=1e-12)
        assert diameter == pytest.approx(float(d.max()), rel=1e-12)
        assert gromov_delta(x, None, base) == pytest.approx((delta, diameter), rel=1e-12)
        assert gromov_delta(x.float(), base=base) == pytest.approx((delta, diameter), rel=1e-5)
    every = [naive(d, p) for p in range(17)]
    assert gromov_delta(x, base=range(17))[0] == pytest.approx(max(every), rel=1e-12)
    assert gromov_delta(x, base=torch.tensor([3, 5]))[0] == pytest.approx(max(every[3], every[5]), rel=1e-12)


@pytest.mark.parametrize("kind", ["cloud", "groups", "disk", "any metric"])
def test_no_triple_that_matters_is_left_out(kind):
    """Many tiles, of which most are passed over, against the whole cube."""
    g = torch.Generator().manual_seed(1)
    n = 150
    x = torch.randn(n, 8, generator=g, dtype=torch.float64)
    if kind == "groups":
        x = x + 4 * torch.randn(6, 8, generator=g, dtype=torch.float64)[torch.arange(n) % 6]
    elif kind == "disk":
        x = x * torch.rand(n, 1, generator=g, dtype=torch.float64) ** 8
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    if kind == "any metric":  # the triangle inequality is all it has
        d = (1 + torch.rand(n, n, generator=g, dtype=torch.float64)).triu(1)
        d = d + d.T
    for base in (0, 77, n - 1):
        a = (d[base][:, None] + d[base] - d) / 2
        cube = float((torch.minimum(a[:, :, None], a).amax(1) - a).max())
        assert gromov_delta(distances=d, base=base)[0] == pytest.approx(cube, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tree_has_delta_zero(dtype):
    d = tree_distances(300, 0).to(dtype)
    assert gromov_delta(distances=d, base=[0, 17, 299]) == (0.0, float(d.max()))
    d[5, 9] = d[9, 5] = d[5, 9] + 2  # the instrument is not stuck at 0
    assert gromov_delta(distances=d)[0] > 0


@pytest.mark.parametrize(("n", "delta"), [(3, 0.0), (4, 1.0), (8, 2.0), (12, 3.0)])
def test_cycles(n, delta):
    """Unit cycle of 4 m points: the four-point delta is m, seen from every point."""
    i = torch.arange(n, dtype=torch.float64)
    gap = (i[:, None] - i).abs()
    d = torch.minimum(gap, n - gap)
    for base in range(n):
        assert gromov_delta(distances=d, base=base) == (delta, float(n // 2))


def test_the_square_in_the_plane():
    """Unit square: the two sums of opposite distances are 2 sqrt(2) and 2, delta is half their difference."""
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    assert gromov_delta(square) == pytest.approx((math.sqrt(2) - 1, math.sqrt(2)), rel=1e-12)


def test_laws():
    g = torch.Generator().manual_seed(4)
    x = torch.randn(60, 5, generator=g, dtype=torch.float64)
    delta, diameter = gromov_delta(x, base=range(60))
    for scale in (1e-6, 1e6):
        assert gromov_delta(x * scale, base=range(60)) == pytest.approx((delta * scale, diameter * scale))
    assert gromov_delta(x[torch.randperm(60, generator=g)], base=range(60)) == pytest.approx(
        (delta, diameter)
    )
    assert gromov_delta(x + 1e3, base=range(60)) == pytest.approx((delta, diameter), rel=1e-9)
    one = gromov_delta(x, base=7)[0]
    assert delta / 2 <= one <= delta
    assert gromov_delta(torch.cat([x, x]), base=range(60)) == pytest.approx((delta, diameter))
    assert gromov_delta(x[:, :1])[0] == pytest.approx(0, abs=1e-12)  # a line is a tree
    assert gromov_delta(x[:1]) == (0.0, 0.0)
    assert gromov_delta(torch.ones(5, 3)) == (0.0, 0.0)


def test_planted_bugs_differ():
    """The factor 2, a (min, max) product and the choice of the base point are all visible in this data."""
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    d = torch.cdist(x, x)
    a = (d[0][:, None] + d[0] - d) / 2
    swapped = torch.maximum(a[:, :, None], a[None]).amin(1) - a
    delta = gromov_delta(x)[0]
    for wrong in (2 * delta, float(swapped.max()), min(gromov_delta(x, base=p)[0] for p in range(12))):
        assert abs(wrong - delta) > 1e-3


def test_bad_input_is_named():
    d = tree_distances(6, 1)
    skew, negative, loop = d.clone(), d.clone(), d.clone()
    skew[1, 4] += 1
    negative[2, 3] = negative[3, 2] = -1
    loop[5, 5] = 2
    for error, text, kw in (
        (ValueError, "either points or distances", {}),
        (ValueError, "either points or distances", {"points": d, "distances": d}),
        (ValueError, r"distances\[1, 4\] .* way back", {"distances": skew}),
        (ValueError, r"distances\[2, 3\] = -1 is a negative", {"distances": negative}),
        (ValueError, r"distances\[5, 5\] = 2 .* itself", {"distances": loop}),
        (ValueError, r"shape \(6, 5\)", {"distances": d[:, :5]}),
        (ValueError, "base is 6 but there are 6 rows", {"distances": d, "base": 6}),
        (ValueError, "base is -1", {"distances": d, "base": [0, -1]}),
        (ValueError, "base is empty", {"distances": d, "base": []}),
        (TypeError, r"base is 1\.5", {"distances": d, "base": 1.5}),
        (TypeError, "points is torch.int64", {"points": d.long()}),
        (ValueError, "row 1 of points", {"points": torch.tensor([[0.0], [math.nan]])}),
    ):
        with pytest.raises(error, match=text):
            gromov_delta(**kw)
    assert gromov_delta(distances=torch.cdist(d, d, compute_mode="use_mm_for_euclid_dist"))[1] > 0
