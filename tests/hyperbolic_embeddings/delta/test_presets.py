"""Presets, tables, claims and published numbers of the delta experiment: nothing dead or dangling."""

import math
from pathlib import Path

import pandas as pd
import pytest

from common import results
from common.results.rows import COLUMNS
from hyperbolic_embeddings.delta.claims import claims
from hyperbolic_embeddings.delta.presets import PRESETS, Delta
from hyperbolic_embeddings.delta.tables import TABLES, changes
from tests.checks import check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "hyperbolic_embeddings/delta"


def test_every_field_is_read_somewhere_and_says_where_its_default_comes_from():
    files = [*FOLDER.glob("*.py"), FOLDER.parent / "evaluate.py"]
    assert dead_fields(Delta, files) == []
    assert fields_without_a_source(Delta) == []


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.budget}/{t.name}")
def test_every_row_of_a_table_can_be_run(table):
    for row, _ in check_rows(PRESETS, table):
        assert row.baseline == "delta"
    assert len({PRESETS[row.preset][1].points for row in table.rows}) == 1, "one N per table"


def test_published_numbers():
    """The whole file of the paper; this experiment's targets are in it."""
    published = results.load_published("hyperbolic_embeddings", ROOT / "results")
    known = set(published["target"])
    targets = {row.target for table in TABLES for row in table.rows if row.target}
    assert len(targets) == 12
    assert targets <= known
    assert {t for t in known if t.startswith("table1/")} == targets
    seen = results.find(published, "table1/resnet34-cub", "cub", "delta_rel", "paper")
    assert seen is not None
    assert (seen.value, seen.verified) == (0.25, True)
    own = results.find(published, "table3/conv4-1shot", "mini_imagenet", "accuracy", "paper")
    assert own is not None
    assert (own.value, own.verified) == (0.5443, True)
    remembered = published[published["source"].str.contains("remembered")]
    assert not remembered["verified"].any()
    assert set(published[published["target"].str.startswith(("table2/", "table5/"))]["metric"]) == {
        "ks_distance", "ks_p_max", "columns_ahead", "accuracy", "rank-1", "map"
    }  # fmt: skip


def rows(preset, figures, seeds=(0, 1, 2), **fields):
    base = dict.fromkeys(COLUMNS, "") | {"dataset": PRESETS[preset][1].data, "split": "train"}
    return [
        base | {"preset": preset, "overrides": results.canonical(changes(preset, **fields)), "metric": name,
                "value": value + 0.001 * seed, "seed": seed, "date": f"2026-01-01T00:00:0{seed}Z"}
        for name, value in figures.items() for seed in seeds
    ]  # fmt: skip


def test_claims_are_open_until_there_are_rows():
    entries = claims(pd.DataFrame(columns=list(COLUMNS)))
    assert {entry["id"] for entry in entries} == {"C1", "C2", "F4", "F5", "F9"}
    assert {entry["verdict"] for entry in entries} == {"not enough seeds"}
    assert {entry["table"] for entry in entries} <= {table.name for table in TABLES}


def test_claims_follow_their_rows():
    runs = pd.DataFrame(
        rows("delta-mnist-mini", {"delta_rel": 0.30, "null_spectrum": 0.2, "c_eq5": 0.23})
        + rows("delta-cifar10", {"delta_rel": 0.17}, network="isotropic", dim=512)
        + rows("delta-mnist-mini", {"delta_rel": 0.06}, network="disk")
        + rows("delta-cub", {"delta_rel": 0.25, "null_spectrum": 0.35, "c_eq5": 0.055})
    )
    found = {entry["comparison"]: entry for entry in claims(runs)}

    def entry(part):
        (name,) = [name for name in found if part in name]
        return found[name]

    assert entry("isotropic Gaussian")["verdict"] == "supported"
    assert entry("isotropic Gaussian")["difference"] == pytest.approx(0.21 - 0.171)
    assert entry("ResNet34, random weights, MNIST - Gaussian")["difference"] == pytest.approx(0.1)
    assert entry("disk")["verdict"] == "supported"
    assert entry("ImageNet weights, CUB")["verdict"] == "supported"
    assert entry("ImageNet weights, CIFAR-100")["n"] == 0
    assert entry("0.05)|, ResNet34, random weights, MNIST")["verdict"] == "contradicted"
    assert entry("0.05)|, ResNet34, CUB")["verdict"] == "supported"
    assert entry("0.05)|, ResNet34, CUB")["difference"] == pytest.approx(
        math.log(2) - math.log(0.056 / 0.05), abs=1e-3
    )
