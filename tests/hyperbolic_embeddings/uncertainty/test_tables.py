"""Presets, tables, claims and pictures: nothing dead, nothing that points nowhere, verdicts from the rows."""

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from common import results
from common.results.rows import COLUMNS
from hyperbolic_embeddings.uncertainty import figures
from hyperbolic_embeddings.uncertainty.claims import claims
from hyperbolic_embeddings.uncertainty.model import Network
from hyperbolic_embeddings.uncertainty.presets import PRESETS, Uncertainty
from hyperbolic_embeddings.uncertainty.tables import DIMS, TABLES, changes
from tests.checks import RUN, check_command_line, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[3]


def test_every_field_is_read_somewhere():
    folder = ROOT / "hyperbolic_embeddings"
    files = [folder / f"{name}.py" for name in ("uncertainty/train", "uncertainty/evaluate", "evaluate")]
    assert dead_fields(Uncertainty, [*files, RUN]) == []


def test_every_field_says_where_its_default_comes_from():
    assert fields_without_a_source(Uncertainty) == []


def test_the_published_setting_is_the_authors():
    cfg = PRESETS["mnist-hyperbolic"][1]
    assert (cfg.batch, cfg.epochs, cfg.epoch_steps, cfg.lr) == (64, 10, 0, 1e-3)
    assert (cfg.mean, cfg.std, cfg.c, cfg.dim, cfg.clip) == (0.1307, 0.3081, 0.05, 2, 0)
    assert (cfg.correction, cfg.mode, cfg.precision) == (True, "released", "float32")
    assert dataclasses.replace(PRESETS["mnist-euclidean"][1], head="hyperbolic") == cfg, (
        "they differ by the head"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_read_from_the_command_line(preset):
    check_command_line(PRESETS, preset)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.budget}/{t.name}")
def test_every_row_of_a_table_can_be_run(table):
    for _, cfg in check_rows(PRESETS, table):
        assert cfg.epochs == (2 if table.budget == "mini" else 10)


def test_every_target_is_a_published_row_with_a_column_of_its_own():
    published = results.load_published("hyperbolic_embeddings", ROOT / "results")
    (table,) = [t for t in TABLES if t.name == "uncertainty"]
    assert len(table.rows) == 8
    for row in table.rows:
        metric = "ks_distance" if row.preset == "mnist-hyperbolic" else "ks_p_max"
        assert metric in [column.metric for column in table.columns]
        found = results.find(published, row.target, "mnist", metric, "paper")
        assert found is not None
        assert not found.verified, "Table 2 was not checked against the PDF: no number verdict"
        assert row.target.endswith(f"-{row.overrides.get('dim', 2)}")


def test_metrics_of_the_tables_are_measured(runs):
    fit, judge = runs
    words = ("smoke-uncertainty", "--epochs", "1", "--epoch-steps", "1")
    found = set(judge(fit(*words))[0])
    assert {column.metric for table in TABLES for column in table.columns} <= found


# --- Claims -------------------------------------------------------------------------------------------------


def rows(preset, metric, of_seed, **fields):
    """Rows of results/runs: one per seed."""
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            "preset": preset,
            "overrides": results.canonical(changes(preset, **fields)),
            "dataset": "mnist",
            "split": "test",
            "metric": metric,
            "value": value,
            "seed": seed,
            "date": "2026-01-01T00:00:00Z",
        }
        for seed, value in enumerate(of_seed)
    ]


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


def test_claims_without_rows_have_no_verdict():
    entries = claims(frame())
    assert {entry["id"] for entry in entries} == {"C3", "F1", "F6", "F7", "F8"}
    assert {entry["verdict"] for entry in entries} == {"not enough seeds"}
    assert {entry["table"] for entry in entries} <= {table.name for table in TABLES}
    assert len({(entry["id"], entry["comparison"]) for entry in entries}) == len(entries)
    json.dumps(entries)


def test_claims_are_paired_by_seed_and_signed():
    noise = [0.0, 0.2, -0.1, 0.05, 0.1]  # of the seed, shared by both networks
    own = [0.01, 0, -0.01, 0, 0]
    runs = frame(
        rows("mnist-hyperbolic", "ks_distance", [0.60 + e for e in noise], dim=8),
        rows("mnist-euclidean", "ks_p_max", [0.55 + e + d for e, d in zip(noise, own)], dim=8),
        rows("mnist-euclidean", "ks_norm", [0.50 + e for e in noise[:4]], dim=8),
        rows("mnist-hyperbolic", "ks_p_max", [0.7] * 5, dim=16),
        rows("mnist-hyperbolic", "errors_auroc_distance", [0.9, 0.8, 0.85], dim=2),
        rows("mnist-hyperbolic", "ks_distance", [0.5, 0.5, 0.5], dim=2),
        rows("mnist-hyperbolic", "ks_distance", [0.7, 0.71, 0.69], correction=False),
    )  # fmt: skip
    found = {(e["id"], e["comparison"]): e for e in claims(runs)}
    c3 = found["C3", "hyperbolic d(0, z) - Euclidean p_max, n = 8"]
    assert (c3["n"], c3["verdict"]) == (5, "supported")
    assert c3["difference"] == pytest.approx(0.05)
    f1 = found["F1", "Euclidean |u| - hyperbolic d(0, z), n = 8"]
    assert (f1["n"], f1["verdict"]) == (4, "contradicted"), "paired over the seeds that both have"
    assert f1["difference"] == pytest.approx(-0.1)
    assert found["F7", "p_max - d(0, z), n = 16"]["n"] == 0
    errors = found["F6", "right against wrong digits, n = 2"]
    assert (errors["difference"], errors["verdict"]) == (pytest.approx(0.35), "supported")
    off = found["F8", "KS of d(0, z), off - on"]
    assert (off["difference"], off["verdict"]) == (pytest.approx(0.2), "supported")


# --- Pictures -----------------------------------------------------------------------------------------------


def test_pictures_of_the_newest_runs(runs, place, capsys):
    fit, _ = runs
    out = place / "figures"
    figures.draw(out, place / "runs")
    told = capsys.readouterr().out
    assert "mnist-hyperbolic" in told
    assert "mnist-euclidean" in told
    assert list(out.iterdir()) == []

    words = ("smoke-uncertainty", "--epochs", "1", "--epoch-steps", "1")
    checkpoint = fit(*words)
    fit(*words, "--head", "euclidean")
    wide = fit(*words, "--dim", "5")
    chosen = figures.chosen("hyperbolic", place / "runs")
    assert chosen is not None
    assert chosen.resolve() == checkpoint.resolve()
    figures.draw(out, place / "runs")
    drawn = sorted(path.name for path in out.iterdir())
    assert drawn == [
        "uncertainty-disk-classes.png",
        "uncertainty-disk-outside.png",
        "uncertainty-histogram-euclidean.png",
        "uncertainty-histogram-hyperbolic.png",
    ]
    for name in drawn:
        with Image.open(out / name) as image:
            assert image.convert("L").getextrema()[0] < 100, "there is ink on it"
    figures.disk(wide, out)
    with pytest.raises(ValueError, match="no ball"):
        figures.disk(figures.chosen("euclidean", place / "runs"), out)


def test_the_spike_at_the_cap_is_told(runs, place, monkeypatch):
    fit, _ = runs
    titles = []
    monkeypatch.setattr(figures.plots, "histogram", lambda *a, title, **k: titles.append(title))
    words = ("smoke-uncertainty", "--epochs", "1", "--epoch-steps", "1")
    figures.histogram(fit(*words, "--clip", "0.0001"), place)
    assert "at the cap 0.0002: embedded 100%" in titles[0]
    figures.histogram(fit(*words), place)
    assert "cap" not in titles[1]


@pytest.mark.parametrize("head", ["hyperbolic", "euclidean"])
def test_a_histogram_names_its_two_sets(runs, place, monkeypatch, head):
    fit, _ = runs
    drawn = []
    monkeypatch.setattr(figures.plots, "histogram", lambda groups, *a, **k: drawn.append(groups))
    checkpoint = fit("smoke-uncertainty", "--epochs", "1", "--epoch-steps", "1", "--head", head)
    figures.histogram(checkpoint, place)
    cfg, model, *sets = figures.opened(checkpoint)
    assert list(drawn[0]) == ["embedded", "embedded, other families"]
    for found, pictures in zip(drawn[0].values(), sets):
        with torch.no_grad():
            u = model.trunk((pictures.pixels / 255 - cfg.mean) / cfg.std).double()
        expected = u.norm(dim=1) * (2 if head == "hyperbolic" else 1)  # d(0, z) = 2 |u|: finding F1
        torch.testing.assert_close(torch.as_tensor(found).double(), expected, rtol=1e-4, atol=1e-6)


def test_table_2_as_curves(place, monkeypatch):
    written = []
    monkeypatch.setattr(figures.plots, "lines", lambda x, series, *a, **k: written.append((x, series)))
    parts = [
        rows(preset, metric, [0.5 + n / 100, 0.6 + n / 100], dim=n)
        for preset, metric in figures.LINES.values()
        for n in DIMS[:3]
    ]
    monkeypatch.setattr(figures.results, "load_runs", lambda paper: frame(*parts))
    figures.curves(place)
    dims, series = written[0]
    assert dims == [2, 8, 16]
    for means, spreads in series.values():
        assert means == pytest.approx([0.57, 0.63, 0.71])
        assert all(math.isclose(s, 12.706 * 0.05, rel_tol=1e-3) for s in spreads), "Student, two seeds"


@pytest.mark.parametrize("dim", [2, 3, 9])
def test_disk_points_keep_what_lies_in_a_plane(dim):
    """Features in a plane lose nothing: distances from the origin are those of the network, cap included."""
    net = Network(dim, 4, c=1.0)
    g = torch.Generator().manual_seed(dim)
    basis = torch.linalg.qr(torch.randn(dim, 2, generator=g))[0]
    u = 3 * torch.randn(50, 2, generator=g) @ basis.T
    points = figures.disk_points(net, u)
    assert points.shape == (50, 2)
    assert (u.norm(dim=1) > net.cap).any()
    torch.testing.assert_close(2 * points.norm(dim=1).atanh(), net.distance0(u), rtol=1e-5, atol=1e-6)
    if dim == 2:
        assert torch.equal(points, net.to_ball(u.double())), "not turned"
