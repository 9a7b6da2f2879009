"""Tangent PCA to the disk: its laws, and the command."""

import numpy as np
import pytest
import torch

from common import gallery
from common.data import load
from hyperbolic_embeddings import poincare, projection


def ball(n, dim, c, seed=0, longest=2.0):
    """Points within `longest` / sqrt(c) of the centre, tangent length."""
    u = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = u / u.norm(dim=1).max() * longest / c**0.5
    return projection.to_ball(u, c)


@pytest.mark.parametrize("c", [1.0, 0.05])
def test_points_of_a_flat_slice_keep_their_distances(c):
    """A totally geodesic plane through the centre, turned into 6 dimensions, comes back as it was."""
    flat = ball(30, 2, c)
    turn, _ = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    for centred in (True, False):
        y, kept = projection.tangent_pca(flat @ turn[:2], c, centred=centred)
        assert kept == pytest.approx(1, abs=1e-9)
        torch.testing.assert_close(
            poincare.pairwise_distance(y, y, c),
            poincare.pairwise_distance(flat, flat, c),
            rtol=1e-6,
            atol=1e-6,
        )


def test_is_pca_near_the_centre():
    """With little curvature the shares of variance and the coordinates are those of ordinary PCA."""
    c = 1e-8
    x = ball(200, 5, 1.0) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1]) + 0.3
    y, kept = projection.tangent_pca(projection.to_ball(x, c), c)
    centred = x - x.mean(0)
    s = torch.linalg.svdvals(centred).square()
    assert kept == pytest.approx(float(s[:2].sum() / s.sum()), rel=1e-4)
    left, spread, _ = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(y.abs(), (left[:, :2] * spread[:2]).abs(), rtol=1e-3, atol=1e-4)
    assert (y.gather(0, y.abs().argmax(0, keepdim=True)) > 0).all(), "signs are fixed"


@pytest.mark.parametrize("c", [1.0, 0.01])
def test_no_distance_from_the_centre_grows(c):
    x = ball(100, 8, c, longest=3.5)
    y, kept = projection.tangent_pca(x, c)
    mean = poincare.hyperbolic_mean(x, c)
    before = poincare.distance(mean.expand_as(x), x, c)
    after = poincare.distance0(y, c)
    assert (after <= before * (1 + 1e-9)).all()
    assert kept == pytest.approx(float(after.square().sum() / before.square().sum()), rel=1e-6)
    from_origin, _ = projection.tangent_pca(x, c, centred=False)
    assert (poincare.distance0(from_origin, c) <= poincare.distance0(x, c) * (1 + 1e-9)).all()


def test_a_shift_of_the_data_changes_nothing_but_the_turn():
    """Mobius translations are isometries: the picture about the mean stays, whatever the origin was."""
    c, x = 1.0, ball(40, 2, 1.0, longest=1.0)
    moved = poincare.mobius_add(torch.tensor([0.5, -0.3], dtype=torch.float64), x, c)
    a, b = (projection.tangent_pca(points, c)[0] for points in (x, moved))
    torch.testing.assert_close(
        poincare.pairwise_distance(a, a, c), poincare.pairwise_distance(b, b, c), rtol=1e-6, atol=1e-6
    )


def test_extremes():
    y, kept = projection.tangent_pca(torch.zeros(3, 4), 1.0)
    assert (kept, float(y.abs().max())) == (1.0, 0.0)
    y, _ = projection.tangent_pca(ball(5, 1, 1.0), 1.0)
    assert y.shape == (5, 2)
    assert float(y[:, 1].abs().max()) == 0
    far = projection.to_ball(torch.tensor([[1e4, 0.0, 0.0], [0.0, -1e4, 0.0], [0.0, 0.0, 1.0]]), 1.0)
    y, _ = projection.tangent_pca(far, 1.0)
    assert y.isfinite().all()
    assert float(y.norm(dim=1).max()) < 1
    rows = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * 17
    c = projection.fitting_curvature(rows)
    shown = (projection.to_ball(rows, c).norm(dim=1) * c**0.5 <= projection.SHOWN + 1e-6).double().mean()
    assert float(shown) == pytest.approx(0.95, abs=0.01)
    with pytest.raises(ValueError, match="1 row"):
        projection.tangent_pca(torch.zeros(1, 3), 1.0)
    with pytest.raises(ValueError):
        projection.tangent_pca(torch.ones(3, 3), 1.0)


@pytest.fixture
def export(tmp_path):
    pictures = load("embedded", "test", size=12)
    assert pictures.pixels is not None
    path = tmp_path / "out.npz"
    gallery.export(path, embedding=pictures.pixels.flatten(1).float() / 255, dataset=pictures)
    return path


def test_command(export, capsys):
    projection.main([str(export), "--most", "100", "--level", "0"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("rows read as tangent vectors at the origin, c = ")
    assert "of the squared distance from the centre kept" in said[1]
    picture = export.with_suffix(".png")
    assert said[-1] == str(picture)
    first = picture.read_bytes()
    projection.main([str(export), "--most", "100", "--level", "0"])
    assert picture.read_bytes() == first, "the same export draws the same bytes"
    projection.main([str(export), "--most", "100", "--origin", "--c", "1", "--out", str(export) + "2.png"])
    assert (export.parent / "out.npz2.png").read_bytes() != first


@pytest.fixture
def drawn(monkeypatch):
    """(points, c, title) of every disk that is drawn."""
    seen = []
    monkeypatch.setattr(
        projection.plots, "poincare_disk", lambda y, names, out, c, title: seen.append((y, c, title))
    )
    return seen


def test_an_export_of_a_ball_needs_no_flags(export, drawn, capsys):
    """What the export says, what the flags said before there was anything to read, and the formula."""
    pictures = load("embedded", "test", size=12)
    x = ball(len(pictures), 5, 0.05, longest=3.0).float()
    ours, silent = export.with_name("ball.npz"), export.with_name("silent.npz")
    gallery.export(ours, embedding=x, dataset=pictures, c=0.05)
    gallery.export(silent, embedding=x, dataset=pictures)
    every = ["--most", str(len(pictures))]
    for words in ([ours], [ours, "--points"], [ours, "--c", "0.05"], [silent, "--points", "--c", "0.05"]):
        projection.main([*map(str, words), *every])
        assert "rows read as points of the ball, c = 0.05\n" in capsys.readouterr().out
    own = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    expected, kept = projection.tangent_pca(x[own].double(), 0.05)
    for y, c, title in drawn:
        assert np.array_equal(y, expected.numpy())
        assert (c, title) == (0.05, f"embedded/test, {100 * kept:.0f} % kept, c = 0.05")
    projection.main([str(silent), *every])
    assert "rows read as tangent vectors at the origin, c = " in capsys.readouterr().out
    assert not np.allclose(drawn[-1][0], expected.numpy(), atol=0.1)
    with pytest.raises(ValueError, match=r"--c 0.1: the rows of .*ball.npz are .* with c = 0.05"):
        projection.main([str(ours), "--points", "--c", "0.1"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--c", "-1"], "--c -1.0: the curvature is -c"),
        (["--points"], "--points without --c: add --c of the ball"),
        (["--c", "inf"], "--c inf: the curvature is -c"),
        (["--points", "--c", "1"], "outside"),
        (["--level", "2"], "the export has the levels family, kind"),
        (["--most", "1"], "give at least 2 rows"),
    ],
)
def test_bad_input_is_one_sentence(export, words, told):
    with pytest.raises(ValueError, match=told):
        projection.main([str(export), *words])
    with pytest.raises(FileNotFoundError):
        projection.main([str(export.with_name("none.npz")), *words])


def test_an_embedding_with_nan_is_refused(export):
    with np.load(export) as file:
        arrays = dict(file)
    arrays["embedding"][3] = np.nan
    np.savez(export, **arrays)
    with pytest.raises(ValueError, match="embedding"):
        projection.main([str(export)])
