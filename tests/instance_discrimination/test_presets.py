"""Presets, tables, claims, published numbers and the page: nothing dead, nothing that points nowhere."""

import importlib
import inspect
import re
from pathlib import Path

import pandas as pd
import pytest

from common import results
from instance_discrimination import claims, tables
from instance_discrimination.presets import CIFAR, IMAGENET, MINI, PRESETS, ROWS, Config
from instance_discrimination.tables import PLAN
from tests.checks import RUN, check_command_line, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "instance_discrimination/reproduce.md").read_text()


def test_every_field_is_read_somewhere():
    names = ("train", "evaluate", "pictures", "probes", "finetune", "cost", "voc")
    files = [ROOT / f"instance_discrimination/{name}.py" for name in names]
    assert dead_fields(Config, [*files, RUN]) == []


def test_every_field_says_where_its_default_comes_from():
    assert fields_without_a_source(Config) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_read_from_the_command_line(preset):
    check_command_line(PRESETS, preset)


@pytest.mark.parametrize("table", PLAN.tables, ids=lambda t: f"{t.budget}/{t.name}")
def test_every_row_of_a_table_can_be_run(table):
    for _, cfg in check_rows(PRESETS, table):
        assert (cfg.held_out > 0) == (table.split == "val")


def test_every_target_is_a_published_row_and_every_column_a_published_metric():
    published = results.load_published("instance_discrimination", ROOT / "results")
    for table in PLAN.tables:
        for row in (r for r in table.rows if r.target):
            cells = [
                results.find(published, row.target, table.dataset, column.metric, "paper")
                for column in table.columns
            ]
            assert any(cells), f"{row.target} has none of the columns of {table.name}"


def test_published_numbers_are_the_papers():
    published = results.load_published("instance_discrimination", ROOT / "results")

    def at(target: str, dataset: str, metric: str) -> float:
        found = results.find(published, target, dataset, metric, "paper")
        assert found
        return found.value

    assert at("table1/non-param-softmax", "cifar10", "knn") == 0.808
    assert at("table1/nce-m-4096", "cifar10", "svm") == 0.702
    assert at("table2/ours-resnet50", "imagenet", "probe_conv5") == 0.439, "camera-ready"
    assert at("table2-arxiv-version/ours-resnet50", "imagenet", "probe_conv5") == 0.54
    assert at("table5/training-set-0-1", "imagenet", "knn") == 0.039
    assert at("table6/resnet-50-ours-resnet", "voc07", "map") == 0.654
    assert set(published["kind"]) == {"paper", "authors-code", "peer"}
    remembered = published[~published["verified"]].dropna(subset="value")
    assert set(remembered["paper_version"]) == {"arXiv 1805.01978"}


def test_the_released_recipe_is_the_authors():
    assert (CIFAR.lr, CIFAR.momentum, CIFAR.weight_decay, CIFAR.batch, CIFAR.epochs) == (
        0.03,
        0.9,
        5e-4,
        128,
        200,
    )
    assert (CIFAR.temperature, CIFAR.milestones, CIFAR.bank_momentum, CIFAR.dim, CIFAR.k) == (
        0.1, (120, 160), 0.5, 128, 200,
    )  # fmt: skip
    assert (CIFAR.crop_area, CIFAR.jitter, CIFAR.hue, CIFAR.grey, CIFAR.flip) == (0.2, 0.4, 0.4, 0.2, 0.0)
    assert (CIFAR.widths, CIFAR.blocks, CIFAR.stem_stride) == ((64, 128, 256, 512), 2, 1)
    assert (CIFAR.z, CIFAR.proximal, CIFAR.exclude_positive, CIFAR.eps) == ("first-batch", 0.0, False, 1e-7)
    assert (IMAGENET.temperature, IMAGENET.batch, IMAGENET.weight_decay, IMAGENET.flip) == (
        0.07,
        256,
        1e-4,
        0.5,
    )
    assert (IMAGENET.loss, IMAGENET.noise, IMAGENET.size, IMAGENET.epochs) == ("nce", 4096, 224, 200)


def test_the_six_rows_of_table_1_share_all_but_the_loss():
    assert list(ROWS.values()) == [
        {"loss": "parametric"}, {}, *({"loss": "nce", "noise": m} for m in (1, 10, 512, 4096)),
    ]  # fmt: skip
    for budget in ("mini", "paper"):
        (table,) = [t for t in PLAN.tables if (t.budget, t.name) == (budget, "table1")]
        rows = [r for r in table.rows if r.train and r.overrides.get("epochs") != 0]
        assert len(rows) == 6
        assert len({r.preset for r in rows}) == 1
        assert all(set(r.overrides) <= {"loss", "noise"} for r in rows)


def test_tables_of_knn_alone_use_the_run_of_table_1_and_measure_no_svm_elsewhere():
    for name in ("dimension", "images"):
        (table,) = [t for t in PLAN.tables if (t.budget, t.name) == ("mini", name)]
        assert [r.overrides for r in table.rows].count({}) == 1
        others = [r.overrides for r in table.rows if r.overrides]
        assert all((o["svm"], o["probe_epochs"]) == (False, 0) for o in others)


def test_the_default_table_and_table_1_keep_their_promised_time():
    (table,) = [t for t in PLAN.tables if (t.budget, t.name) == ("mini", "table1")]
    assert sum(r.minutes for r in table.rows if r.label in table.default) <= 2 * 10
    assert sum(r.minutes for r in table.rows) * 3 <= 2 * 90
    (long,) = [t for t in PLAN.tables if t.name == "long"]
    assert max(r.minutes for r in long.rows) <= 60


def made(seeds: int, **values: float) -> pd.DataFrame:
    """Rows of results/runs for the exact softmax, the parametric one and NCE, with a little noise."""
    arms = {"exact": claims.arm(), "parametric": claims.arm(loss="parametric")}
    arms |= {f"nce{m}": claims.arm(loss="nce", noise=m) for m in (1, 10, 512, 4096)}
    rows = []
    for name, (preset, changed) in arms.items():
        for seed in range(seeds):
            for metric in ("knn", "svm"):
                value = values.get(f"{name}_{metric}", 0.3) + 0.001 * ((seed * 7 + len(name)) % 3)
                rows.append({
                    "target": "", "preset": preset, "overrides": results.canonical(changed),
                    "dataset": "cifar10", "split": "test", "metric": f"{metric}{tables.LARGE}",
                    "value": value, "seed": seed, "date": "2025",
                })  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(runs: pd.DataFrame) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for entry in claims.claims(runs):
        out.setdefault(entry["id"], []).append(entry["verdict"])
    return out


def test_claims_follow_the_rows():
    good = made(
        3, exact_knn=0.5, exact_svm=0.4, parametric_knn=0.3, parametric_svm=0.3,
        nce1_knn=0.2, nce10_knn=0.3, nce512_knn=0.45, nce4096_knn=0.49,
    )  # fmt: skip
    told = verdicts(good)
    assert told["C1"] == ["supported"] * 2
    assert told["C2"] == ["supported"]
    assert told["C3"] == ["supported"] * 4
    assert set(told["C10"] + told["C11"] + told["C13"] + told["C15"] + told["C16"]) == {"not enough seeds"}
    turned = made(
        3, exact_knn=0.3, exact_svm=0.4, parametric_knn=0.5, nce1_knn=0.4, nce10_knn=0.2, nce4096_knn=0.2
    )
    told = verdicts(turned)
    assert told["C1"][0] == told["C2"][0] == told["C3"][0] == told["C3"][3] == "contradicted"


def test_claims_without_rows_are_not_run():
    empty = results.load_runs("instance_discrimination", Path("/nonexistent"))
    assert {entry["n"] for entry in claims.claims(empty)} == {0}
    assert list(dict.fromkeys(entry["id"] for entry in claims.claims(empty))) == [
        "C1", "C2", "C3", "C10", "C11", "C12", "C13", "C15", "C16", "F1",
    ]  # fmt: skip
    known = {t.name for t in PLAN.tables if t.budget == "mini"}
    assert {entry["table"] for entry in claims.claims(empty)} <= known


EQUATIONS = re.findall(
    r"^\| ([^|]+) \| ([^|]*\.py:[^|]+) \| `(test_\w+\.py):(test_\w+)` \|$", PAGE, re.MULTILINE
)


def test_the_equation_map_is_read():
    assert len(EQUATIONS) == 16


@pytest.mark.parametrize(("cited", "code", "file", "test"), EQUATIONS, ids=[e[0] for e in EQUATIONS])
def test_a_mapped_function_exists_and_cites_its_equation(cited, code, file, test):
    homes = [ROOT / "tests" / folder / file for folder in ("instance_discrimination", "common/metrics")]
    text = "".join(home.read_text() for home in homes if home.exists())
    assert f"def {test}(" in text, f"{file} has no {test}"
    place = re.search(r"`([\w/]+)\.py:", code)
    assert place
    home = place[1].replace("/", ".")
    module = importlib.import_module(home if home.startswith("common") else f"instance_discrimination.{home}")
    number = re.search(r"Eq\. \((\d+)\)|Section (\d\.\d)|Figure (\d)|Table (\d)", cited)
    assert number, f"{cited} names no equation, section, figure or table"
    for name in re.findall(r"`(?:[\w/]+\.py:)?([\w.]+)`", code):
        if name.endswith(".py"):
            continue
        found = module
        for part in name.split("."):
            found = getattr(found, part)
        text = inspect.getsource(found) + (inspect.getdoc(module) or "")
        if number[1]:
            numbers = {int(n) for run in re.findall(r"Eq\. ([\d(),. toand-]+)", text) for n in _numbers(run)}
            assert int(number[1]) in numbers, f"{name} does not cite Eq. ({number[1]})"
        else:
            assert number[0] in text, f"{name} does not cite {number[0]}"


def _numbers(text: str) -> list[int]:
    """'(2), (3)' -> 2, 3; '(4) to (7)' or '(2)-(4)' -> all between."""
    out: list[int] = []
    for low, high in re.findall(r"\((\d+)\)(?:\s*(?:-|to)\s*\((\d+)\))?", text):
        out += range(int(low), int(high or low) + 1)
    return out


def test_every_deviation_that_the_code_notes_stands_in_the_page():
    noted = set()
    for path in (ROOT / "instance_discrimination").glob("*.py"):
        noted |= set(re.findall(r"\bnotes? ([DO]\d+)", path.read_text()))
    assert noted
    assert noted <= set(re.findall(r"^\| ([DO]\d+) \|", PAGE, re.MULTILINE))


def test_every_table_of_the_plan_stands_in_the_page():
    shown = set(re.findall(r"<!-- table: (\w+/[\w-]+) -->", PAGE))
    assert shown == {f"{t.budget}/{t.name}" for t in PLAN.tables}
    for marker in ("claims", "published", "commands"):
        assert f"<!-- table: {marker} -->" in PAGE


def test_mini_is_apart_from_the_published_recipe():
    assert MINI.target == ""
    assert not any(row.target for t in PLAN.tables if t.budget == "mini" for row in t.rows)
