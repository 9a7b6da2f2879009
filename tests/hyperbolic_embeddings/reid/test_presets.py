"""Presets, tables and claims of re-identification: nothing dead, nothing that points nowhere."""

from pathlib import Path

import pandas as pd
import pytest

from common import results
from common.results.rows import COLUMNS
from hyperbolic_embeddings.reid.claims import claims
from hyperbolic_embeddings.reid.presets import PRESETS, ReID
from hyperbolic_embeddings.reid.tables import TABLES, arm
from tests.checks import RUN, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "hyperbolic_embeddings/reid"


def test_every_field_is_read_somewhere_and_says_where_its_default_comes_from():
    files = [*FOLDER.glob("*.py"), FOLDER.parent / "evaluate.py", RUN]
    assert dead_fields(ReID, files) == []
    assert fields_without_a_source(ReID) == []


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_row_of_a_table_can_be_run(table):
    assert len(table.rows) == 18
    for _, cfg in check_rows(PRESETS, table):
        assert (cfg.epochs, cfg.milestones, cfg.c) == (300, (200, 270), 1e-5)


def test_every_cell_of_table_5_has_its_row():
    published = results.load_published("hyperbolic_embeddings", ROOT / "results")
    cells = published[published["target"].str.startswith("table5/")]
    targets = [row.target for table in TABLES for row in table.rows if row.target]
    assert len(targets) == len(set(targets)) == 24
    assert set(targets) == set(cells["target"])
    assert not cells["verified"].any(), "remembered: no number verdict"
    found = results.find(published, "table5/market-64-hyperbolic-sch2", "market1501", "rank-1", "paper")
    assert found is not None
    assert (found.value, found.unit) == (0.844, "share")


def test_claims():
    entries = claims(pd.DataFrame(columns=list(COLUMNS)))
    assert {entry["id"] for entry in entries} == {"C7"}
    assert {entry["verdict"] for entry in entries} == {"not enough seeds"}
    base = dict.fromkeys(COLUMNS, "") | {"dataset": "market1501", "split": "query", "metric": "rank-1"}
    value = {
        ("euclidean", 32): 0.70,
        ("hyperbolic", 32): 0.74,
        ("euclidean", 128): 0.80,
        ("hyperbolic", 128): 0.79,
    }
    rows = [
        base | {"preset": "market", "overrides": results.canonical(arm("market", head, dim, schedule)),
                "value": mean + (0.01 if schedule == "sch2" else 0) + 0.001 * seed * (head == "hyperbolic"),
                "seed": seed, "date": "2026-01-01T00:00:00Z"}
        for (head, dim), mean in value.items() for schedule in ("sch1", "sch2") for seed in range(3)
    ]  # fmt: skip
    found = {entry["comparison"]: entry for entry in claims(pd.DataFrame(rows))}
    low = found["rank-1, Market-1501, D = 32: hyperbolic - Euclidean"]
    assert (low["verdict"], low["n"]) == ("supported", 3)
    assert low["difference"] == pytest.approx(0.041)
    assert found["rank-1, Market-1501, D = 128: hyperbolic - Euclidean"]["verdict"] == "contradicted"
    apart = found["rank-1, Market-1501: gain at D = 32 - gain at D = 128"]
    assert apart["difference"] == pytest.approx(0.05)
    assert found["map, Market-1501, D = 32: hyperbolic - Euclidean"]["n"] == 0
