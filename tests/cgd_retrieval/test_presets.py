"""Presets, tables and the page: nothing dead, nothing that points nowhere."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from cgd_retrieval.presets import CARS, CONFIGS, CUB, INSHOP, OMNIGLOT, PRESETS, SOP, Config
from cgd_retrieval.tables import PLAN
from common import results
from tests.checks import RUN, check_command_line, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "cgd_retrieval/reproduce.md").read_text()


def test_every_field_is_read_somewhere():
    files = [ROOT / f"cgd_retrieval/{name}.py" for name in ("train", "evaluate", "maps")]
    assert dead_fields(Config, [*files, RUN]) == []


def test_every_field_says_where_its_default_comes_from():
    assert fields_without_a_source(Config) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_read_from_the_command_line(preset):
    check_command_line(PRESETS, preset)


@pytest.mark.parametrize("table", PLAN.tables, ids=lambda t: f"{t.budget}/{t.name}")
def test_every_row_of_a_table_can_be_run(table):
    for _, cfg in check_rows(PRESETS, table):
        assert (cfg.val_share > 0) == (table.split == "val")


def test_every_target_is_a_published_row():
    known = set(results.load_published("cgd_retrieval", ROOT / "results")["target"])
    targets = {row.target for table in PLAN.tables for row in table.rows if row.target}
    assert targets
    assert targets <= known


def test_published_settings_are_the_authors():
    for cfg in (CUB, CARS, SOP, INSHOP):
        assert (cfg.size, cfg.enlarged, cfg.dim, cfg.margin, cfg.temperature, cfg.lr) == (
            224, 252, 1536, 0.1, 0.5, 1e-4,
        )  # fmt: skip
        assert cfg.classes_per_batch * cfg.images_per_class == 128
        assert (cfg.backbone, cfg.stride, cfg.freeze_bn, cfg.ranking) == (
            "resnet50",
            "stage4",
            False,
            "batch-hard",
        )
    assert (CUB.steps, CUB.milestones, CUB.config, CUB.crop) == (1500, (400, 800), "MG", True)
    assert [c.config for c in (CARS, SOP, INSHOP)] == ["SG", "SG", "GS"]
    assert [c.crop for c in (CARS, SOP, INSHOP)] == [True, False, False]


def test_all_trained_rows_of_a_mini_table_share_one_schedule():
    for table in (t for t in PLAN.tables if t.budget == "mini"):
        trained = [row for row in table.rows if row.train and row.overrides.get("steps") != 0]
        assert len({row.preset for row in trained}) == 1
        for row in trained:
            assert not row.overrides.keys() & {"steps", "lr", "schedule", "warmup", "epoch_steps", "size"}


def test_the_twelve_combinations_are_all_there():
    (table,) = [t for t in PLAN.tables if (t.budget, t.name) == ("mini", "combinations")]
    shown = [row.overrides.get("config", OMNIGLOT.config) for row in table.rows if row.train][1:]
    assert tuple(shown) == CONFIGS


EQUATIONS = re.findall(r"^\| ([^|]+) \| ([^|]*\.py:[^|]+) \| `(test_\w+\.py)` \|$", PAGE, re.MULTILINE)


def test_the_equation_map_is_read():
    assert len(EQUATIONS) >= 7


@pytest.mark.parametrize(("cited", "code", "test"), EQUATIONS)
def test_a_mapped_function_exists_and_cites_its_equation(cited, code, test):
    assert (ROOT / "tests/cgd_retrieval" / test).exists()
    file = re.search(r"`(\w+)\.py:", code)
    assert file
    module = importlib.import_module(f"cgd_retrieval.{file[1]}")
    number = re.search(r"Eq\. \((\d)\)|Section (\d\.\d)|Figure (\d)", cited)
    assert number, f"{cited} names no equation, section or figure"
    for name in re.findall(r"`(?:\w+\.py:)?(\w+)`", code):
        text = inspect.getsource(getattr(module, name)) + (inspect.getdoc(module) or "")
        if number[1]:
            assert re.search(rf"Eq\. \([\d()-]*{number[1]}\)", text), (
                f"{name} does not cite Eq. ({number[1]})"
            )
        else:
            assert number[0] in text, f"{name} does not cite {number[0]}"


def test_every_deviation_that_the_code_notes_stands_in_the_page():
    noted = set()
    for path in (ROOT / "cgd_retrieval").glob("*.py"):
        noted |= set(re.findall(r"\bnotes? (D\d+)", path.read_text()))
    assert noted
    assert noted <= set(re.findall(r"^\| ([DO]\d+) \|", PAGE, re.MULTILINE))
