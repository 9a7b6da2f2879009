"""plots.py: what is drawn is what was given, in the same bytes, whatever the reader's settings."""

import json
import math
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from common import plots


@pytest.fixture
def axes(monkeypatch):
    """The axes of the figures that were written, in order."""
    seen, save = [], Figure.savefig

    def keep(self, *args, **keywords):
        seen.append(self.axes[0])
        save(self, *args, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)
    return seen


LOG = [{"epoch": n, "loss": 1 / n, "recall": 0.5 if n % 2 else None} for n in range(1, 5)]

DRAW = {
    "curves": lambda path: plots.curves([pd.DataFrame(LOG)] * 2, "epoch", "loss", path, ["a", "b"]),
    "histogram": lambda path: plots.histogram({"a": [1.0, 2, 2], "b": [0.0, 1]}, path, "distance", 4),
    "bars": lambda path: plots.bars(
        ["S", "SM"], [0.5, 0.6], [0.1, math.nan], path, "recall@1", 0.5, [[0.4], [0.6]]
    ),
    "lines": lambda path: plots.lines(
        [1, 2], {"a": ([0.1, 0.2], [0.1, 0.1])}, path, "x", "y", percent=True, log_x=True
    ),
    "disk": lambda path: plots.poincare_disk([[0.1, 0.2], [0.0, -0.9]], ["a", "b"], path),
}


@pytest.mark.parametrize("kind", DRAW)
def test_the_same_bytes_whatever_the_settings(kind, tmp_path):
    DRAW[kind](tmp_path / "a.png")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        DRAW[kind](tmp_path / "deep" / "b.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "deep" / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info.keys() == {"dpi"}  # no date, no version of a program
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_curves_draw_the_log(axes, tmp_path):
    folder = tmp_path / "run-s0"
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG) + '{"epoch": 5, "lo')
    plots.curves([folder, pd.DataFrame(LOG[:2])], "epoch", "loss", tmp_path / "a.png")
    first, second = axes[0].get_lines()
    assert first.get_xydata().tolist() == [[n, 1 / n] for n in range(1, 5)]  # without the torn line
    assert second.get_xydata().tolist() == [[1, 1.0], [2, 0.5]]
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["run-s0", "table 2"]
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("epoch", "loss")
    plots.curves([folder / "log.jsonl"], "epoch", "recall", tmp_path / "b.png", log_scale=True)
    assert axes[1].get_lines()[0].get_xdata().tolist() == [1, 3]  # epochs that measured it
    assert axes[1].get_yscale() == "log"
    assert axes[1].get_legend() is None


def test_many_curves_stay_apart(axes, tmp_path):
    n = 3 * len(plots.PALETTE)
    plots.curves([pd.DataFrame(LOG)] * n, "epoch", "loss", tmp_path / "a.png")
    assert len({str((line.get_color(), line._dash_pattern)) for line in axes[0].get_lines()}) == n


def test_runs_of_one_name_are_told_apart(axes, tmp_path):
    for paper in ("one", "two"):
        (tmp_path / paper / "smoke-s0").mkdir(parents=True)
        (tmp_path / paper / "smoke-s0" / "log.jsonl").write_text(json.dumps(LOG[0]))
    folders = [tmp_path / paper / "smoke-s0" for paper in ("one", "two")]
    plots.main(["curves", *map(str, folders), "--out", str(tmp_path / "a.png")])
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["one/smoke-s0", "two/smoke-s0"]


def test_what_cannot_be_read_is_explained(tmp_path):
    out = str(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"no file .*gone; give a run folder or its log.jsonl"):
        plots.main(["curves", str(tmp_path / "gone"), "--out", out])
    with pytest.raises(FileNotFoundError, match=r"no file .*log.jsonl"):
        plots.main(["curves", str(tmp_path), "--out", out])
    log = tmp_path / "log.jsonl"
    log.write_text('{"epoch": 1, "loss": 1}\n[1, 2]\n{"epoch": 2, "loss": 1}\n')
    with pytest.raises(ValueError, match="line 2 is not a JSON object"):
        plots.main(["curves", str(log), "--out", out])
    log.write_text('{"epoch": 1, "rank_loss": 1}\n')
    with pytest.raises(ValueError, match="has no loss; it has epoch, rank_loss"):
        plots.main(["curves", str(log), "--out", out])
    with pytest.raises(ValueError, match="1 labels for 2 logs"):
        plots.main(["curves", str(log), str(log), "--labels", "a", "--out", out])
    log.write_text("")
    with pytest.raises(ValueError, match="has no epoch; it has no lines"):
        plots.main(["curves", str(log), "--out", out])
    log.write_bytes(b"\x89PNG\xff")
    with pytest.raises(ValueError, match="is not a log"):
        plots.main(["curves", str(log), "--out", out])
    assert not (tmp_path / "a.png").exists()


def test_histogram_shares_sum_to_one(axes, tmp_path):
    a, b = np.array([0.0, 0.1, 0.9, 1.0]), np.linspace(0, 2, 50)
    plots.histogram({"a": a, "b": b}, tmp_path / "a.png", "distance", 8)
    filled, _, other, _ = axes[0].patches
    for patch, values in ((filled, a), (other, b)):
        data = patch.get_data()
        assert (data.edges == np.linspace(0, 2, 9)).all()  # the same bins for both
        assert data.values.sum() == pytest.approx(1)
        assert data.values == pytest.approx(np.histogram(values, np.linspace(0, 2, 9))[0] / len(values))
    for bad in ({}, {"a": []}, {"a": [math.nan]}):
        with pytest.raises(ValueError, match="at least one value"):
            plots.histogram(bad, tmp_path / "b.png", "x")


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_student_half_width_is_that_of_scipy(level):
    values = [0.61, 0.64, 0.6, 0.66]
    low, high = stats.t.interval(level, 3, loc=np.mean(values), scale=stats.sem(values))
    assert plots.student_half_width(values, level) == pytest.approx((high - low) / 2, rel=1e-9)
    assert math.isnan(plots.student_half_width([0.5]))


def test_bars_show_mean_interval_and_every_seed(axes, tmp_path):
    labels, means, spreads = ["S", "M", "SM"], [0.5, 0.4, 0.7], [0.05, math.nan, 0.02]
    points = [[0.48, 0.52], [0.4], [0.69, 0.7, 0.71]]
    plots.bars(labels, means, spreads, tmp_path / "a.png", "recall@1", 0.5, points,
               baseline_label="best single", groups=["one", "one", "two"], percent=True)  # fmt: skip
    (found,) = axes
    ends = [c.get_segments()[0][:, 1].tolist() for c in found.collections if len(c.get_segments())]
    assert ends == [pytest.approx([0.45, 0.55]), pytest.approx([0.68, 0.72])]  # none where the spread is NaN
    dots = [line.get_ydata().tolist() for line in found.get_lines() if line.get_marker() == "o"]
    assert dots == points
    flat = [line.get_ydata() for line in found.get_lines()]
    for mean in (*means, 0.5):
        assert any(len(y) == 2 and list(y) == [mean, mean] for y in flat)
    assert [t.get_text() for t in found.get_xticklabels()] == labels
    assert [t.get_text() for t in found.get_legend().get_texts()] == ["one", "two"]
    assert found.yaxis.get_major_formatter()(0.875) == "87.5 %"
    with pytest.raises(ValueError, match="2 points for 3 labels"):
        plots.bars(labels, means, spreads, tmp_path / "b.png", "y", points=points[:2])
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.bars([], [], [], tmp_path / "b.png", "y")


def test_lines_draw_the_band(axes, tmp_path):
    series = {"S": ([0.5, 0.6, 0.7], [0.1, 0.2, 0.1]), "M": ([0.4, 0.4, 0.4], None)}
    plots.lines([48, 96, 192], series, tmp_path / "a.png", "dimension", "recall@1", log_x=True)
    (found,) = axes
    assert [list(line.get_ydata()) for line in found.get_lines()] == [[0.5, 0.6, 0.7], [0.4, 0.4, 0.4]]
    (band,) = found.collections
    corners = band.get_paths()[0].vertices
    assert {tuple(p) for p in np.round(corners, 9).tolist()} == {
        (48, 0.4), (48, 0.6), (96, 0.4), (96, 0.8), (192, 0.6), (192, 0.8),
    }  # fmt: skip
    assert [t.get_text() for t in found.get_xticklabels()] == ["48", "96", "192"]
    with pytest.raises(ValueError, match="S does not have one mean and one spread for each of the 2 x"):
        plots.lines([1, 2], series, tmp_path / "b.png", "x", "y")


@pytest.mark.parametrize("c", [1.0, 0.05, 4.0])
def test_rings_lie_at_the_distances_they_name(axes, c, tmp_path):
    points = np.array([[0.3, 0.1], [-0.2, 0.5]]) / math.sqrt(c)
    plots.poincare_disk(points, [3, 4], tmp_path / "a.png", c)
    (found,) = axes
    radii = [patch.radius for patch in found.patches if isinstance(patch, Circle)]
    assert radii[0] == pytest.approx(1 / math.sqrt(c))
    named = [float(t.get_text()) for t in found.texts if not t.get_text().startswith("rings")]
    distance = [2 / math.sqrt(c) * math.atanh(math.sqrt(c) * r) for r in radii[1:]]  # d(0, x), curvature -c
    assert named == pytest.approx(distance)
    assert 2 <= len(named) <= 5
    shown = np.concatenate([np.asarray(s.get_offsets()) for s in found.collections])
    assert shown == pytest.approx(points)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 12, 13])
def test_the_legend_of_the_disk_tells_up_to_twelve_kinds_apart(axes, count, tmp_path):
    points = np.stack([np.linspace(-0.9, 0.9, count)] * 2, 1) / 2
    plots.poincare_disk(points, np.arange(count), tmp_path / "a.png")
    looks = {(tuple(s.get_facecolor()[0]), s.get_paths()[0].vertices.shape) for s in axes[0].collections}
    assert len(looks) == count
    rounds = {shape: [c for c, own in looks if own == shape] for _, shape in looks}
    assert len(rounds) == (2 if 7 < count < 13 else 1), "a second round of colours has dots of its own"
    legend = axes[0].get_legend()
    if count in (1, 13):
        assert legend is None
        return
    assert [t.get_text() for t in legend.get_texts()] == [str(n) for n in range(count)]
    page, beside = axes[0].figure.bbox, legend.get_window_extent()
    disk = axes[0].patches[0].get_window_extent()
    assert disk.x1 < beside.x0, "outside the disk"
    assert beside.x1 < page.x1


def test_long_titles_and_names_stay_on_the_page(axes, tmp_path):
    points = [[0.1, 0.2], [0.0, -0.9]]
    long = ["Mongolian and more/character01", "Mongolian and more/character02"]
    plots.poincare_disk(points, long, tmp_path / "a.png", title="Wide " * 30)
    plots.poincare_disk(points, ["a", "a"], tmp_path / "b.png", title="folder:/" + "wide/" * 30)
    for found, title in zip(axes, ("Wide" * 30, "folder:/" + "wide/" * 30), strict=True):
        (heading,) = (t for t in found.get_children() if isinstance(t, Text) and "ide" in t.get_text())
        assert re.sub(r"\s", "", heading.get_text()) == title
        assert heading.get_window_extent().x1 < found.figure.bbox.x1
    legend = axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [
        "Mongolian a…/character01",
        "Mongolian a…/character02",
    ]
    assert legend.get_window_extent().x1 < axes[0].figure.bbox.x1


def test_the_disk_takes_many_labels_and_no_points_outside(axes, tmp_path):
    turn = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    points = 0.8 * np.stack([np.cos(turn), np.sin(turn)], 1)
    plots.poincare_disk(points, np.arange(30), tmp_path / "a.png")
    assert len({tuple(s.get_facecolor()[0]) for s in axes[0].collections}) == 30
    assert axes[0].get_legend() is None
    points[7] = (0.6, 0.8)
    with pytest.raises(ValueError, match="point 7 has norm 1, not inside the ball of radius 1"):
        plots.poincare_disk(points, np.arange(30), tmp_path / "b.png")
    points[7] = math.nan
    with pytest.raises(ValueError, match="point 7 has norm nan"):
        plots.poincare_disk(points, np.arange(30), tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"give \(N, 2\) and \(N,\)"):
        plots.poincare_disk(points[:3], np.arange(30), tmp_path / "b.png")
    with pytest.raises(ValueError, match="c is 0"):
        plots.poincare_disk(points, np.arange(30), tmp_path / "b.png", 0)
