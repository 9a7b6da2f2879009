"""Training and measuring on generated drawings: smoke preset, official layouts, killed runs, bad input."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common import config
from common.data import layouts
from common.run import Run, load_checkpoint
from hyperbolic_embeddings.reid import evaluate
from hyperbolic_embeddings.reid.presets import PRESETS
from hyperbolic_embeddings.reid.train import train

SMOKE = PRESETS["smoke-reid"][1]
CPU = torch.device("cpu")


def run_of(cfg, preset="smoke-reid"):
    return Run("hyperbolic_embeddings", preset, cfg, config.overrides(PRESETS, preset, cfg), [])


def trained(cfg, preset="smoke-reid") -> Path:
    run = run_of(cfg, preset)
    train(cfg, run)
    return run.folder / "last.pt"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA", "real")
    return tmp_path


def test_smoke_and_a_killed_run_that_ends_where_it_does(place, monkeypatch):
    cfg = dataclasses.replace(SMOKE, epochs=2, batch=240)
    whole = load_checkpoint(trained(cfg))
    log = (place / "runs/hyperbolic_embeddings").rglob("log.jsonl")
    first, second = (json.loads(line) for line in next(log).read_text().splitlines())
    assert [row["lr"] for row in (first, second)] == pytest.approx([cfg.lr / 10, cfg.lr / 10]), "milestone 1"
    assert second["loss"] < first["loss"]

    (place / "again").mkdir()
    monkeypatch.chdir(place / "again")
    save = Run.save

    def save_then_die(self, epoch, **parts):
        save(self, epoch, **parts)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_then_die)
    run = run_of(cfg)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, run)
    run.release()
    monkeypatch.setattr(Run, "save", save)
    again = load_checkpoint(trained(cfg))
    assert whole["state"]["model"].keys() == again["state"]["model"].keys()
    for name, value in whole["state"]["model"].items():
        assert torch.equal(value, again["state"]["model"][name]), name
    assert whole["state"]["schedule"] == again["state"]["schedule"]

    figures, measured = evaluate.measure(cfg, again, CPU)
    assert (measured.dataset, measured.split) == ("embedded", "test")
    assert {"rank-1", "rank-20", "map", "cosine/map", "hyperbolic/rank-1"} <= figures.keys()
    assert 1 / 72 < figures["rank-1"].value <= figures["rank-5"].value <= 1


def naive_scores(q, qp, qc, g, gp, gc):
    """rank-1 and mean average precision as the protocol says, query by query."""
    first, precision, kept = 0, 0.0, 0
    for i in range(len(q)):
        order = sorted(range(len(g)), key=lambda j: ((q[i] - g[j]) ** 2).sum())
        ranked = [j for j in order if gp[j] != -1 and not (gp[j] == qp[i] and gc[j] == qc[i])]
        hits = [rank for rank, j in enumerate(ranked, 1) if gp[j] == qp[i]]
        if hits:
            kept += 1
            first += hits[0] == 1
            precision += sum(n / rank for n, rank in enumerate(hits, 1)) / len(hits)
    return first / kept, precision / kept


@pytest.mark.parametrize(("preset", "layout"), [("market", "market1501"), ("duke", "dukemtmc")])
def test_the_official_layout_end_to_end(place, preset, layout):
    layouts.write(layout, place / "data", families=3, kinds=2, instances=6, size=24)
    tiny = {k: getattr(SMOKE, k) for k in ("network", "weights", "widths", "dim", "workers")}
    cfg = dataclasses.replace(
        PRESETS[preset][1], **tiny, size=24, pad=2, epochs=1, batch=12, head="euclidean"
    )
    checkpoint = load_checkpoint(trained(cfg, preset))
    assert len(checkpoint["state"]["model"]["head.weight"]) == 6, "six training persons"
    figures, measured = evaluate.measure(cfg, checkpoint, CPU, export=place / "out.npz")
    assert (measured.dataset, measured.split) == (f"{layout}-embedded", "query")
    sides = []
    for name, folder in (("out.npz", "query"), ("out-gallery.npz", "bounding_box_test")):
        with np.load(place / name) as file:
            rows = file["embedding"].astype(np.float64)
        files = sorted(next((place / "data").glob(f"*/{folder}")).iterdir())
        persons = [int(f.name.split("_c")[0]) for f in files]
        cameras = [int(f.name.split("_c")[1][0]) for f in files]
        assert len(rows) == len(files)
        sides += [rows, persons, cameras]
    rank, precision = naive_scores(*sides)
    assert figures["rank-1"].value == pytest.approx(rank, abs=1e-9)
    assert figures["map"].value == pytest.approx(precision, abs=1e-9)
    assert "hyperbolic/map" not in figures, "the Euclidean head has no ball"
    # Without the camera rule every query would find its neighbour frame first, or fall behind junk.
    cameras = [0] * len(sides[2])
    assert naive_scores(*sides[:2], cameras, *sides[3:]) != (rank, precision)


BAD = [
    ({"batch": 1}, "--batch 1: batch normalisation needs"),
    ({"batch": 5000}, "batch = 5000 is larger than the 1440 rows"),
    ({"size": 33, "narrow": 2}, "--size 33 is no multiple of --narrow 2"),
    ({"lr": 0.0}, "--lr 0.0: give a learning rate above 0"),
    ({"c": -1.0}, "--c -1.0: the curvature is -c"),
    ({"epochs": -1}, "--epochs -1: give at least 0"),
    ({"lr": 1e30}, "not finite at step"),
    ({"data": "market1501"}, "DATA MISSING: market1501"),
]


@pytest.mark.parametrize(("changed", "told"), BAD, ids=lambda x: str(x)[:30])
def test_bad_input_is_one_sentence(place, changed, told):
    cfg = dataclasses.replace(SMOKE, **changed)
    with pytest.raises((ValueError, FloatingPointError, FileNotFoundError), match=told):
        train(cfg, run_of(cfg))
    if "step" not in told:
        assert not list(place.rglob("config.json")), "nothing is left behind"


def test_sets_without_cameras_are_refused(place):
    checkpoint = load_checkpoint(trained(dataclasses.replace(SMOKE, epochs=0)))
    layouts.write("inshop", place / "data", families=2, kinds=2, instances=4, size=24)
    with pytest.raises(ValueError, match="inshop-embedded has no persons and cameras"):
        evaluate.measure(dataclasses.replace(SMOKE, data="inshop-embedded"), checkpoint, CPU)
    with pytest.raises(ValueError, match="searches query in gallery"):
        evaluate.measure(SMOKE, checkpoint, CPU, split="test")
