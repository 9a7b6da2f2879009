"""The folder's commands, from preset to figure, and its page: nothing that points nowhere."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from common import gallery, results
from common.data import DataMissing, embedded
from common.results.rows import COLUMNS
from hyperbolic_embeddings import claims, evaluate, figures, train
from hyperbolic_embeddings.presets import PRESETS
from hyperbolic_embeddings.tables import PLAN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "hyperbolic_embeddings/reproduce.md").read_text()
EXPERIMENTS = ("uncertainty", "fewshot", "delta", "reid")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder without data, and a small embedded set: 4 families of 6 kinds."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("DATA_ROOT", "data"), ("DATA_CACHE", "cache")):
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("DATA", "auto")
    load = embedded.load

    def small(split, **keywords):
        return load(split, **{**keywords, "families": 4, "kinds": 6, "instances": 8})

    monkeypatch.setattr(embedded, "load", small)
    return tmp_path


QUICK = {
    "smoke-uncertainty": ["--epochs", "1", "--epoch-steps", "1"],
    "smoke-fewshot": ["--epochs", "1", "--epoch-episodes", "1", "--test-episodes", "10", "--test-query", "3"],
}


@pytest.mark.parametrize("preset", QUICK)
def test_train_then_evaluate_then_rows(place, capsys, preset):
    train.main([preset, *QUICK[preset]])
    checkpoint = capsys.readouterr().out.split()[-1]
    assert checkpoint.startswith(f"runs/hyperbolic_embeddings/{preset}-")
    evaluate.main([checkpoint, "--record", "--export", "e.npz"])
    shown = capsys.readouterr().out
    assert re.search(r"^accuracy +0\.\d{4}", shown, re.MULTILINE)
    assert "e.npz" in shown
    assert gallery.read_export("e.npz").c == PRESETS[preset][1].c, "both presets are hyperbolic"
    rows = results.load_runs("hyperbolic_embeddings")
    assert set(rows["preset"]) == {preset}
    assert set(rows["dataset"]) == {"embedded"}
    assert rows["command"].str.startswith("python -m hyperbolic_embeddings.evaluate runs/").all()


@pytest.mark.parametrize(
    ("preset", "words"),
    [("smoke-uncertainty", ["--head", "euclidean"]), ("smoke-fewshot", ["--geometry", "cosine"])],
)
def test_an_export_of_no_ball_names_none(place, capsys, preset, words):
    train.main([preset, *QUICK[preset], *words])
    evaluate.main([capsys.readouterr().out.split()[-1], "--export", "e.npz"])
    assert gallery.read_export("e.npz").c is None


def test_measuring_without_training(place, capsys):
    evaluate.main(["delta", "smoke-delta"])
    assert "delta_rel" in capsys.readouterr().out
    evaluate.main(
        ["pixels", "smoke-fewshot", "--backbone", "pixels", "--test-episodes", "10", "--test-query", "3",
         "--export", "e.npz"]
    )  # fmt: skip
    assert gallery.read_export("e.npz").c is None, "pixels lie in no ball, whatever the preset's geometry"
    assert "5way-1shot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "words", "sentence"),
    [
        (train.main, ["smoke-delta"], "preset smoke-delta measures a given network and trains none"),
        (train.main, ["smoke-uncertainty", "--c", "0"], "--c 0.0: give a finite number above 0"),
        (train.main, ["smoke-uncertainty", "--c", "nan"], "--c nan: give a finite number above 0"),
        (train.main, ["smoke-fewshot", "--c", "-1"], "--c -1.0: give a finite number above 0"),
        (train.main, ["smoke-fewshot", "--way", "500"], "way"),
        (train.main, ["smoke-fewshot", "--shot", "30"], "shot"),
        (evaluate.main, ["delta", "smoke-fewshot"], "delta smoke-fewshot: that preset belongs to another"),
        (evaluate.main, ["pixels", "smoke-fewshot"], "add --backbone pixels"),
        (evaluate.main, ["nothing.pt"], "nothing.pt"),
        (evaluate.main, ["nothing.pt", "--tau", "1"], "--tau 1: unknown argument"),
        (figures.main, ["all"], "all: this command takes no argument"),
    ],
)
def test_bad_input_is_one_sentence(place, main, words, sentence):
    with pytest.raises((ValueError, OSError)) as caught:
        main(words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value).strip()
    assert not list(place.glob("runs/**/*.pt"))
    assert not list(place.glob("results/**/*"))


# --- Tables, claims, figures --------------------------------------------------------------------------------


def test_the_plan_and_the_claims_are_json(capsys):
    plan = json.loads(PLAN.to_json())
    assert {table["name"] for table in plan["tables"]} >= {
        "uncertainty",
        "fewshot",
        "delta-cub",
        "reid-market",
    }
    assert set(plan["presets"]) == set(PRESETS)
    entries = claims.claims(pd.DataFrame(columns=list(COLUMNS)))
    ids = list(dict.fromkeys(entry["id"] for entry in entries))
    assert ids == [*(f"C{i}" for i in range(1, 8)), *(f"F{i}" for i in range(1, 10))]
    assert {entry["table"] for entry in entries} <= {table["name"] for table in plan["tables"]}
    json.dumps(entries)


def test_figures_of_rows_and_runs(place, capsys, monkeypatch):
    figures.main([])
    told = capsys.readouterr().out
    assert "no rows of the few-shot heads yet" in told
    assert "no finished hyperbolic few-shot run" in told
    assert "no rows of the delta tables yet" in told

    def row(preset, changed, metric, dataset, split, value, seed):
        return {
            **dict.fromkeys(COLUMNS, ""), "preset": preset, "overrides": results.canonical(changed),
            "metric": metric, "dataset": dataset, "split": split, "value": value, "seed": seed,
            "date": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    rows = [
        row("omniglot-protonet", changed, "20way-1shot", "omniglot", "test", 0.8 + seed / 100, seed)
        for changed in ({}, {"geometry": "euclidean"})
        for seed in (0, 1)
    ]
    rows += [row("delta-mnist-mini", {}, "delta_rel", "mnist", "train", 0.2, 0)]
    monkeypatch.setattr(results, "load_runs", lambda paper: pd.DataFrame(rows, columns=list(COLUMNS)))
    train.main(["smoke-fewshot", *QUICK["smoke-fewshot"]])
    (folder,) = Path("runs/hyperbolic_embeddings").glob("smoke-fewshot-*")
    folder.rename(folder.with_name("omniglot-generated"))
    monkeypatch.setattr(figures, "CHARACTERS", 3)
    figures.main([])
    for name in ("fewshot.png", "fewshot-disk.png", "delta.png"):
        with Image.open(figures.FOLDER / name) as image:
            assert image.convert("L").getextrema()[0] < 100, "there is ink on it"

    def missing(checkpoint):
        raise DataMissing("omniglot is not here")

    monkeypatch.setattr(figures.fewshot, "embedded", missing)
    capsys.readouterr()
    figures.main([])
    assert capsys.readouterr().out.count("its data are not here, so its picture stays as it is") == 1


# --- The page -----------------------------------------------------------------------------------------------


EQUATIONS = re.findall(
    r"^\| ((?:Eq|Section|Table|Figure)[^|]+) \| ([^|]*\.py:[^|]+) \| `([\w/]+\.py)` \|$", PAGE, re.MULTILINE
)


def test_the_equation_map_is_read():
    assert len(EQUATIONS) >= 17


@pytest.mark.parametrize(("cited", "code", "test"), EQUATIONS)
def test_a_mapped_function_exists_and_cites_its_equation(cited, code, test):
    assert (ROOT / "tests/hyperbolic_embeddings" / test).exists()
    file = re.search(r"`([\w/]+)\.py:", code)
    assert file
    module = importlib.import_module("hyperbolic_embeddings." + file[1].replace("/", "."))
    number = re.search(r"Eq\. \(\d+\)|Section \d(\.\d)?|Tables? \d|Figures? \d", cited)
    assert number, f"{cited} names no equation, section, table or figure"
    kind, digits = number[0].rstrip("0123456789.()").rstrip("s ").strip(), re.search(r"\d[\d.]*", number[0])
    for name in re.findall(r"`(?:[\w/]+\.py:)?(\w+)`", code):
        text = inspect.getsource(getattr(module, name)) + (inspect.getdoc(module) or "")
        assert re.search(rf"{re.escape(kind.rstrip('.'))}s?\.? \(?[\d, and]*{digits[0]}", text), (
            f"{name} does not cite {number[0]}"
        )


def test_every_note_of_the_code_stands_in_the_page():
    noted = set()
    for path in (ROOT / "hyperbolic_embeddings").rglob("*.py"):
        noted |= set(re.findall(r"\bnotes? ([A-Z]\d+)", path.read_text()))
        noted |= set(re.findall(r"\b(?:finding|control)s? (F\d)", path.read_text()))
    assert noted
    listed = set(re.findall(r"^\| ([VPUWGR]\d+) \|", PAGE, re.MULTILINE)) | {f"F{i}" for i in range(1, 10)}
    assert noted <= listed


def test_every_table_of_the_plan_stands_in_the_page():
    shown = set(re.findall(r"<!-- table: (?:mini|paper|embedded)/([\w-]+) -->", PAGE))
    assert {table.name for table in PLAN.tables} <= shown


def test_every_experiment_has_its_room():
    for name in EXPERIMENTS:
        folder = ROOT / "hyperbolic_embeddings" / name
        assert {"presets.py", "evaluate.py", "tables.py", "claims.py"} <= {
            p.name for p in folder.glob("*.py")
        }
        assert f"{name}/" in PAGE
