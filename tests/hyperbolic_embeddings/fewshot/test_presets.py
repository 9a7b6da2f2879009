"""Presets, tables and claims: nothing dead, nothing that points nowhere, published settings as published."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from common import results
from hyperbolic_embeddings.fewshot import claims
from hyperbolic_embeddings.fewshot.presets import GEOMETRIES, PRESETS, FewShot
from hyperbolic_embeddings.fewshot.tables import TABLES
from hyperbolic_embeddings.fewshot.train import check
from tests.checks import RUN, check_command_line, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "hyperbolic_embeddings/fewshot"


def test_every_field_is_read_somewhere():
    files = [FOLDER / "train.py", FOLDER / "evaluate.py", FOLDER.parent / "evaluate.py", RUN]
    assert dead_fields(FewShot, files) == []


def test_every_field_says_where_its_default_comes_from():
    assert fields_without_a_source(FewShot) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_read_from_the_command_line_and_can_be_trained(preset):
    check(check_command_line(PRESETS, preset))


# configs/mini and configs/birds of the authors' code: shot, way, lr, step, gamma, c, dim.
PUBLISHED = {
    "mini-imagenet-conv4-1shot": ("conv4", 1, 30, 0.005, 80, 0.5, 0.01, 1600),
    "mini-imagenet-conv4-5shot": ("conv4", 5, 20, 0.005, 60, 0.8, 0.005, 1600),
    "mini-imagenet-resnet18-1shot": ("resnet18", 1, 30, 0.001, 80, 0.5, 0.01, 512),
    "mini-imagenet-resnet18-5shot": ("resnet18", 5, 20, 0.001, 40, 0.5, 0.005, 512),
    "mini-imagenet-resnet12-1shot": ("resnet12", 1, 30, 0.001, 40, 0.8, 0.01, 512),
    "mini-imagenet-resnet12-5shot": ("resnet12", 5, 20, 0.005, 50, 0.8, 0.005, 512),
    "cub-conv4-1shot": ("conv4", 1, 5, 0.001, 50, 0.8, 0.05, 1024),
    "cub-conv4-5shot": ("conv4", 5, 5, 0.001, 40, 0.8, 0.01, 1024),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_settings_are_the_authors(preset):
    cfg = PRESETS[preset][1]
    network, *numbers, dim = PUBLISHED[preset]
    assert [cfg.backbone, cfg.shot, cfg.way, cfg.lr, cfg.step, cfg.gamma, cfg.c] == [network, *numbers]
    assert network != "conv4" or cfg.dim == dim
    assert (cfg.size, cfg.query, cfg.epochs, cfg.epoch_episodes, cfg.schedule) == (84, 15, 200, 100, "step")
    assert (cfg.geometry, cfg.mode, cfg.eps, cfg.clip, cfg.correction) == (
        "hyperbolic",
        "released",
        1e-3,
        0,
        False,
    )
    assert (cfg.temperature, cfg.learn_temperature, cfg.pool) == (1, False, "max")
    assert (cfg.selection, cfg.val_way, cfg.val_episodes) == ("val", 5, 500)
    assert (cfg.test_ways, cfg.test_shots, cfg.test_query, cfg.test_episodes) == (
        (5,),
        (cfg.shot,),
        15,
        10_000,
    )
    assert cfg.target.endswith(f"/{network}-{cfg.shot}shot")
    assert cfg.target.startswith("table4" if cfg.data == "cub" else "table3")
    assert cfg.resize == (84 if cfg.data == "cub" else 92)


def test_nothing_else_has_a_target():
    assert {name for name, (_, cfg) in PRESETS.items() if cfg.target} == set(PUBLISHED)


def test_every_target_is_a_published_row_with_an_accuracy():
    rows = results.load_published("hyperbolic_embeddings", ROOT / "results")
    for table in TABLES:
        for row in table.rows:
            if row.target:
                own = rows[(rows["target"] == row.target) & (rows["dataset"] == table.dataset)]
                assert set(own["metric"]) == {"accuracy"}, row.target
    shown = {row.target for table in TABLES for row in table.rows if row.target}
    assert shown == {PRESETS[name][1].target for name in PUBLISHED}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.budget}/{t.name}")
def test_every_row_of_a_table_can_be_run(table):
    names = [(row.preset, results.canonical(row.overrides)) for row in table.rows]
    assert len(set(names)) == len(names), "two labels for one configuration"
    for row, cfg in check_rows(PRESETS, table):
        assert (cfg.backbone == "pixels") == (row.baseline == "pixels")
        if row.train:
            check(cfg)


def test_a_mini_table_compares_at_one_schedule():
    for table in (t for t in TABLES if t.budget == "mini"):
        trained = [row for row in table.rows if row.train and row.overrides.get("epochs") != 0]
        assert len({row.preset for row in trained}) == 1
        assert {frozenset(row.overrides) <= frozenset().union(*GEOMETRIES.values()) for row in trained} == {
            True
        }
    mini = PRESETS["omniglot-protonet"][1]
    assert mini.epochs * mini.epoch_episodes >= 1000
    assert (mini.way, mini.shot, mini.test_ways, mini.test_shots) == (30, 1, (5, 20), (1, 5))


def recorded(values, name="fewshot", dataset="omniglot"):
    """Rows of results/runs as the claims read them: (label, metric) -> one value per seed, of a table."""
    (table,) = [table for table in TABLES if table.name == name]
    frame = []
    for (label, metric), seeds in values.items():
        (row,) = [row for row in table.rows if row.label == label]
        for seed, value in enumerate(seeds):
            frame.append(
                {
                    "target": "", "preset": row.preset, "overrides": results.canonical(row.overrides),
                    "dataset": dataset, "split": "test", "metric": metric, "value": value, "seed": seed,
                    "date": "2026-01-01T00:00:00Z",
                }
            )  # fmt: skip
    return pd.DataFrame(frame)


def test_claims_are_paired_differences():
    metrics = [f"{way}way-{shot}shot" for way in (5, 20) for shot in (1, 5)]
    base = dict.fromkeys(metrics, 0.8)
    lead = {"5way-1shot": 0.03, "20way-1shot": 0.05, "5way-5shot": 0.01, "20way-5shot": 0.02}
    values = {}
    for label, share in (
        ("hyperbolic", 1.0),
        ("Euclidean, squared", 0.0),
        ("cosine", 1.5),
        ("Euclidean, -2 |x - y|", 1.0),
    ):
        for m in metrics:
            wobble = (0.0, 0.001, -0.001) if label != "Euclidean, -2 |x - y|" else (0.004, 0.0, -0.004)
            values[label, m] = [base[m] + share * lead[m] + seed * 0.1 + w for seed, w in enumerate(wobble)]
    found = {(e["id"], e["comparison"]): e for e in claims.claims(recorded(values))}
    verdict = {k: e["verdict"] for k, e in found.items()}
    main = "20-way 1-shot"
    assert found["C4", f"hyperbolic - Euclidean, squared, {main}"]["difference"] == pytest.approx(0.05)
    assert verdict["C4", f"hyperbolic - Euclidean, squared, {main}"] == "supported"
    assert found["C4", "gain at 1 shot - gain at 5 shots, 20-way"]["difference"] == pytest.approx(0.03)
    assert found["C4", "gain at 1 shot - gain at 5 shots, 5-way"]["difference"] == pytest.approx(0.02)
    assert verdict["F2", f"hyperbolic - cosine, {main}"] == "contradicted"
    assert verdict["F3", f"hyperbolic - Euclidean, -2 |x - y|, {main}"] == "inconclusive"
    assert verdict["C5", "needs budget paper"] == "not enough seeds"
    assert verdict["C6", "hyperbolic - Euclidean, squared, CUB-100, 5-way 1-shot"] == "not enough seeds"
    assert {e["table"] for e in found.values()} <= {table.name for table in TABLES}
    assert all(e["verdict"] == "not enough seeds" for e in claims.claims(recorded(values).iloc[:0]))


def test_birds_are_answered_by_birds():
    """C6 reads CUB-100 and C4 Omniglot, each shot its own column."""

    def two(lead, five):
        seeds = [0.5, 0.501, 0.499]
        return {
            ("Euclidean, squared", "5way-1shot"): seeds, ("Euclidean, squared", "5way-5shot"): seeds,
            ("hyperbolic", "5way-1shot"): [s + lead for s in seeds],
            ("hyperbolic", "5way-5shot"): [s + five for s in seeds],
        }  # fmt: skip

    rows = [recorded(two(0.03, 0.01)), recorded(two(0.07, -0.02), "fewshot-cub-100", "cub_100")]
    found = {(e["id"], e["comparison"]): e["difference"] for e in claims.claims(pd.concat(rows))}
    for claim, shot, expected in (("C4", 1, 0.03), ("C4", 5, 0.01), ("C6", 1, 0.07), ("C6", 5, -0.02)):
        where = "CUB-100, " if claim == "C6" else ""
        own = found[claim, f"hyperbolic - Euclidean, squared, {where}5-way {shot}-shot"]
        assert own == pytest.approx(expected), (claim, shot)


def test_geometries_differ_from_each_other():
    arms = [dataclasses.replace(PRESETS["omniglot-protonet"][1], **fields) for fields in GEOMETRIES.values()]
    assert len(set(arms)) == len(arms)
