"""Presets, tables, claims and the page: nothing dead, nothing that points nowhere, every number computed."""

import importlib
import inspect
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from common import config, results
from common.plan import Plan
from hierarchical_multilabel import claims, figures, losses
from hierarchical_multilabel.presets import OMNIGLOT, PRESETS, Config
from hierarchical_multilabel.tables import BATCHES, METHODS, PLAN, changes
from tests.checks import RUN, check_command_line, check_rows, dead_fields, fields_without_a_source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "hierarchical_multilabel/reproduce.md").read_text()


# Presets and tables


def test_every_field_is_read_somewhere():
    files = [ROOT / f"hierarchical_multilabel/{name}.py" for name in ("train", "evaluate")]
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
        assert cfg.hold_out == (table.split == "held-out")


def test_every_target_is_a_published_row_with_the_metric_of_its_table():
    published = results.load_published("hierarchical_multilabel", ROOT / "results")
    for table in PLAN.tables:
        for row in table.rows:
            if row.target:
                assert (published["target"] == row.target).any(), row.target
                for column in table.columns:
                    results.find(published, row.target, table.dataset, column.metric, "paper")
    full = next(t for t in PLAN.tables if t.name == "full-imagenet")
    row = next(r for r in full.rows if r.label == "HiMulConE, as released")
    cell = results.find(published, row.target, "imagenet", full.columns[0].metric, "paper")
    assert cell is not None
    assert (cell.value, cell.verified) == (0.7914, True)


def test_published_settings_are_the_authors():
    cfg = PRESETS["deepfashion"][1]
    assert (cfg.backbone, cfg.frozen, cfg.dim, cfg.batch, cfg.views, cfg.temperature) == (
        "resnet50", 2, 128, 512, 2, 0.1,
    )  # fmt: skip
    assert (cfg.optimiser, cfg.lr, cfg.weight_decay, cfg.steps, cfg.epoch_steps) == (
        "sgd",
        0.5,
        1e-4,
        5100,
        51,
    )
    assert (cfg.method, cfg.penalty, cfg.sampler, cfg.form) == (
        "himulcone",
        "exp",
        "hierarchical",
        "released",
    )
    assert (cfg.size, cfg.crop, cfg.flip, cfg.colour, cfg.colour_share) == (224, (0.8, 1.0), 0.5, 0.4, 0.8)
    assert cfg.lr * cfg.floor == pytest.approx(0.5 * 0.1**3)
    assert cfg.lr * cfg.warmup_from == pytest.approx(0.01)
    assert cfg.warmup == 10 * cfg.epoch_steps
    assert cfg.steps == 100 * cfg.epoch_steps
    for name in ("deepfashion", "modelnet40", "imagenet", "inaturalist"):
        own = PRESETS[name][1]
        assert (own.steps, own.warmup) == (100 * own.epoch_steps, 10 * own.epoch_steps)


def test_all_trained_rows_of_a_mini_table_share_one_schedule():
    for table in (t for t in PLAN.tables if t.budget == "mini"):
        trained = [row for row in table.rows if row.train and row.overrides.get("steps") != 0]
        assert len({row.preset for row in trained}) == 1
        for row in trained:
            changed = row.overrides.keys() & {"steps", "lr", "batch", "warmup", "epoch_steps", "size", "dim"}
            assert changed <= ({"steps", "batch"} if table.name == "batch" else set())
            if table.name == "batch":
                _, cfg = config.parse(PRESETS, [row.preset, *config.flags(row.overrides)])
                assert cfg.steps * cfg.batch == OMNIGLOT.steps * OMNIGLOT.batch


def test_the_default_rows_fit_into_ten_minutes_of_two_cores():
    default = [row for t in PLAN.tables for row in t.rows if row.label in t.default]
    assert sum(row.minutes for row in default) <= 18
    assert any(row.overrides.get("method") == "supcon" for row in default), "a flat control"
    assert OMNIGLOT.steps >= 400
    assert OMNIGLOT.batch * OMNIGLOT.views == 192


def test_methods_and_batches_are_all_there():
    (table,) = [t for t in PLAN.tables if (t.budget, t.name) == ("mini", "losses")]
    assert [row.label for row in table.rows] == ["raw pixels", "untrained network", *METHODS]
    assert OMNIGLOT.batch in BATCHES
    for label in METHODS:
        if label.endswith("as released"):
            paper, released = (changes("omniglot", **METHODS[x]) for x in (label[:-13], label))
            assert {**paper, "form": "released"} == released


def test_the_plan_survives_json():
    assert Plan.from_json(PLAN.to_json()).tables == PLAN.tables


# Claims


def fake_runs(value):
    """Rows of every table of Omniglot and CUB-100; value(overrides, seed, metric) -> figure."""
    rows = []
    for table in PLAN.tables:
        if table.budget == "mini" and table.dataset in claims.PRESET_OF:
            metrics = {c.metric for t in PLAN.tables for c in t.columns if t.dataset == table.dataset}
            for row in table.rows:
                for seed in (0, 1, 2):
                    for metric in metrics | {metric for metric, _ in claims.FAMILIES}:
                        rows.append(
                            {
                                "target": row.target, "preset": row.preset, "dataset": table.dataset,
                                "split": "test", "overrides": results.canonical(row.overrides),
                                "seed": seed, "metric": metric,
                                "value": value(row.overrides, seed, metric), "date": "2026-01-01T00:00:00Z",
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def test_claims_before_any_row_ask_for_seeds():
    empty = results.load_runs("no_such_paper")
    found = claims.claims(empty)
    assert {c["id"] for c in found} == {f"C{i}" for i in range(1, 9)} | {f"F{i}" for i in range(1, 7)}
    assert {c["verdict"] for c in found} == {"not enough seeds"}
    json.dumps(found)


def test_claims_follow_the_rows():
    """HiMulConE 0.5, everything else 0.4; released forms 0.45."""

    def value(overrides, seed, metric):
        base = 0.5 if not overrides else 0.45 if overrides == {"form": "released"} else 0.4
        return base + 0.001 * seed + (0.05 if metric.startswith("unseen") and not overrides else 0)

    found = claims.claims(fake_runs(value))
    verdicts = {}
    for c in found:
        verdicts.setdefault(c["id"], []).append(c["verdict"])
        assert c["n"] == 3
    assert set(verdicts["C1"]) == set(verdicts["C2"]) == set(verdicts["C7"]) == {"supported"}
    assert verdicts["C2"][-1] == "supported"
    (best,) = [c for c in found if "best on seen alphabets" in c["comparison"]]
    assert best["comparison"].startswith("HiMulConE (best")
    assert best["difference"] == pytest.approx(0.15)


def test_the_best_hierarchical_row_is_chosen_without_unseen_alphabets():
    def value(overrides, seed, metric):
        if metric == "seen/character/recall@1":
            return 0.9 if overrides == {"method": "hicone"} else 0.5
        return 0.1 if overrides == {"method": "hicone"} else 0.7

    assert claims.best_hierarchical(fake_runs(value)) == "HiConE"


@pytest.mark.parametrize(
    "claim", claims.claims(results.load_runs("no_such_paper")), ids=lambda c: c["comparison"]
)
def test_every_claim_rests_on_rows_of_the_table_that_it_names(claim):
    assert any(t.name == claim["table"] and t.budget == "mini" for t in PLAN.tables)


def test_every_comparison_has_its_rows():
    """With a row for every line of the tables, no comparison is left without seeds."""
    assert {c["n"] for c in claims.claims(fake_runs(lambda *_: 0.5))} == {3}


# The page

EQUATIONS = re.findall(r"^\| ([^|]+) \| ([^|]*\.py:[^|]+) \| `(test_\w+\.py)` \|$", PAGE, re.MULTILINE)


def test_the_equation_map_is_read():
    assert len(EQUATIONS) == 9
    assert {re.sub(r"\D", "", cited[:8]) for cited, _, _ in EQUATIONS[:7]} == set("1234567")


@pytest.mark.parametrize(("cited", "code", "test"), EQUATIONS)
def test_a_mapped_function_exists_and_cites_its_equation(cited, code, test):
    assert (ROOT / "tests/hierarchical_multilabel" / test).exists()
    file = re.search(r"`(\w+)\.py:", code)
    assert file
    module = importlib.import_module(f"hierarchical_multilabel.{file[1]}")
    number = re.search(r"Eq\. \((\d)\)|Section (\d)", cited)
    assert number, f"{cited} names no equation or section"
    for name in re.findall(r"`(?:\w+\.py:)?(\w+)`", code):
        text = inspect.getsource(getattr(module, name)) + (inspect.getdoc(module) or "")
        if number[1]:
            pattern = rf"Eq\. (\(\d\), )?(\(\d\) and )?\({number[1]}\)"
            assert re.search(pattern, text), f"{name} does not cite Eq. ({number[1]})"
        else:
            assert number[0] in text, f"{name} does not cite {number[0]}"


ROWS = dict(re.findall(r"^\| ([DO]\d+) (\|.*\|)$", PAGE, re.MULTILINE))


def test_all_eighteen_discrepancies_stand_in_the_page():
    assert [name for name in ROWS if name[0] == "D"] == [f"D{i}" for i in range(1, 19)]
    for name, row in ROWS.items():
        assert len(row.replace("\\|", "").split("|")) == 6, name


def test_every_deviation_that_the_code_notes_stands_in_the_page():
    noted = set()
    for path in (ROOT / "hierarchical_multilabel").glob("*.py"):
        for several in re.findall(r"\bnotes? ([DO]\d+(?:(?:, | and | to )[DO]\d+)*)", path.read_text()):
            noted |= set(re.findall(r"[DO]\d+", several))
    assert {f"D{i}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17)} <= noted
    assert noted <= ROWS.keys()


def pair_losses(z, tau):
    rows = z.transpose(0, 1).flatten(0, 1)
    s = (rows @ rows.T / tau).masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    return -s.log_softmax(1)


def test_effects_on_the_loss_are_computed():
    """Each number of the table's last column, on the worked example at temperature 0.1."""
    a = torch.tensor([0, 30, 90, 180], dtype=torch.float64).deg2rad()
    z = torch.stack([a.cos(), a.sin()], 1)[:, None].repeat(1, 2, 1)
    labels = torch.tensor([(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3)])
    tau, fine, coarse = 0.1, math.e, math.exp(0.5)
    ell = pair_losses(z, tau)
    other = ~torch.eye(8, dtype=torch.bool)
    level = [(losses.common_level(labels) <= l).repeat(2, 2) & other for l in (1, 2)]

    def mean(x, l, count=None):
        count = level[l].sum(1) if count is None else count
        return float((torch.where(level[l], x, 0).sum(1) / count).mean())

    worst = [ell[level[l]].max() for l in (0, 1)]
    least = ell[level[0]].min()
    means = [mean(ell, 0), mean(ell, 1)]
    printed = losses.himulcone_loss(z, labels, tau).item()
    released = losses.himulcone_loss(z, labels, tau, "released").item()
    expected = {
        "D1": [printed, (fine * means[0] + coarse * max(means)) / 2],
        "D2": [means[1], losses.level_statistics(z, labels, tau, "released").losses[1].item()],
        "D3": [printed, losses.himulcone_loss(z, labels, tau, positives="lowest").item()],
        "D4": [(fine * mean(torch.maximum(ell, worst[1]), 0) + coarse * means[1]) / 2],
        "D5": [(fine * means[0] + coarse * mean(torch.minimum(ell, least), 1)) / 2],
        "D6": [losses.himulcone_loss(z, labels, tau, reduction="sum").item()],
        "D8": [tau / 0.07],
        "D10": [losses.himulcone_loss(z, labels, tau, penalty=lambda l: math.exp(1 / (3 - l))).item()],
        "D11": [
            losses.himulcon_loss(z, labels, tau).item(),
            (fine * mean(ell, 0, level[1].sum(1)) + coarse * means[1]) / 2,
        ],
        "D12": [losses.himulcone_loss(z, labels[:, :2], tau, "released").item()],
        "D15": [losses.himulcone_loss(z.flip(0), labels.flip(0), tau, "released").item(), released],
    }
    other = labels[:, :2].clone()
    other[:, 1] = torch.tensor([5, 1, 7, 5])
    assert losses.himulcone_loss(z, other, tau, "released").item() == pytest.approx(expected["D12"][0])
    merged = (labels + torch.tensor([2**24, 0, 0])).float().long()
    expected["D16"] = [losses.himulcone_loss(z, merged, tau, "released").item(), released]
    for name, numbers in expected.items():
        effect = ROWS[name].replace("\\|", "").split("|")[-2]
        assert re.findall(r"\d+\.\d{4}", effect) == [f"{number:.4f}" for number in numbers], name
    assert f"printed form is {printed:.4f} and the released one {released:.4f}" in PAGE
    assert released * 0.07 / tau == pytest.approx((fine * means[0] + coarse * 4.444565) / 3, abs=1e-5)  # D7


def test_every_table_of_the_plan_has_its_place_in_the_page():
    markers = set(re.findall(r"<!-- table: (\S+) -->", PAGE))
    assert markers == {"claims", "published", *(f"{t.budget}/{t.name}" for t in PLAN.tables)}


def test_figures_of_the_page_are_drawn():
    shown = set(re.findall(r"\.\./results/figures/hierarchical_multilabel/(\w+\.png)", PAGE))
    drawn = set(re.findall(r"^(\w+\.png) ", figures.__doc__ or "", re.MULTILINE))
    there = {path.name for path in (ROOT / figures.FOLDER).glob("*.png")}
    assert shown == there
    assert there <= drawn
