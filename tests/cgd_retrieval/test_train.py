"""The commands end to end on generated drawings: killed runs, overrides, bad input."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cgd_retrieval.presets import PRESETS
from cgd_retrieval.train import augmentation
from common import config
from common.data.augment import Augment

ROOT = Path(__file__).parents[2]
TINY = ["smoke", "--steps", "24", "--epoch-steps", "3"]


def command(*words: str, cwd: Path, **environment: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DATA": "auto", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def lines(folder: Path) -> list[dict]:
    """The log without what a clock or an allocator decides."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "images_per_second", "peak_memory_mb")}
        for r in rows
    ]


def test_a_resized_crop_and_colour_take_the_place_of_the_plain_crop():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    plain = {"size": 64, "flip": 0.5, "mean": mean, "std": std}
    assert augmentation(PRESETS["cub-100"][1]) == Augment(random_crop=True, **plain)
    _, cfg = config.parse(PRESETS, ["cub-100", "--crop-area", "0.5", "1", "--colour", "0.3"])
    changed = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
    assert augmentation(cfg) == Augment(resized_crop=(0.5, 1.0), **changed, **plain)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    status, out, err = finish(command("cgd_retrieval.train", *TINY, cwd=folder))
    assert status == 0, err
    return folder / Path(out.strip().splitlines()[-1])


def test_a_killed_run_ends_where_an_unbroken_one_does(unbroken, tmp_path):
    moments = random.Random(0)
    process = command("cgd_retrieval.train", *TINY, cwd=tmp_path)
    for _ in range(3):
        # Wait for the first epochs of this life, then kill at a random moment.
        log, before = tmp_path / "runs/cgd_retrieval" / unbroken.parent.name / "log.jsonl", time.monotonic()
        have = len(log.read_text().splitlines()) if log.exists() else 0
        while time.monotonic() - before < 60 and process.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) > have:
                break
            time.sleep(0.005)
        time.sleep(moments.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = command("cgd_retrieval.train", *TINY, cwd=tmp_path)
    status, out, err = finish(process)
    assert status == 0, err
    again = tmp_path / Path(out.strip().splitlines()[-1])
    a, b = (torch.load(p, weights_only=True)["state"] for p in (unbroken, again))
    assert a["model"].keys() == b["model"].keys()
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    for i, moments_of in a["optimiser"]["state"].items():
        assert all(torch.equal(v, b["optimiser"]["state"][i][k]) for k, v in moments_of.items()), i
    assert lines(unbroken.parent) == lines(again.parent)
    assert len(lines(again.parent)) == 8


def test_a_finished_run_is_not_trained_again(unbroken):
    before = unbroken.read_bytes()
    status, _, err = finish(command("cgd_retrieval.train", *TINY, cwd=unbroken.parents[3]))
    assert status == 0, err
    assert unbroken.read_bytes() == before


def test_evaluate_measures_every_part_and_records_once(unbroken):
    where = unbroken.parents[3]
    words = ("cgd_retrieval.evaluate", str(unbroken), "--record", "--export", "out.npz")
    for _ in range(2):
        status, out, err = finish(command(*words, cwd=where))
        assert status == 0, err
    for name in (
        "recall@1 ",
        "branch_S/recall@1",
        "raw_first/recall@1",
        "map@r",
        "entropy_M",
        "branch_disagreement",
    ):
        assert name in out, name
    rows = (where / "results/runs/cgd_retrieval.csv").read_text().splitlines()
    assert sum(",recall@1," in row for row in rows) == 1
    assert (where / "out.npz").exists()


BAD = [
    (["nonsense"], "nonsense"),
    (["smoke", "--stepz", "3"], "stepz"),
    ([], "name a preset first"),
    (["smoke", "--dim", "7"], "dim 7 cannot be shared by the 2 branches"),
    (["smoke", "--config", "XY"], "not one of the paper's twelve"),
    (["smoke", "--enlarged", "8"], "--enlarged 8 is below --size"),
    (["smoke", "--ranking", "best"], "ranking"),
    (["smoke", "--backbone", "pixels"], "nothing to train"),
    (["smoke", "--images-per-class", "1"], "--images-per-class 1"),
    (["smoke", "--classes-per-batch", "5000"], "5000 classes per batch"),
    (["smoke", "--images-per-class", "500", "--short-classes", "error"], "images but k = 500"),
    (["smoke", "--lr", "1e30"], "not finite at step"),
    (["smoke", "--data", "folder:nowhere"], "nowhere"),
    (["smoke", "--device", "toaster"], "not a device"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_sentence(words, told, tmp_path):
    status, _, err = finish(command("cgd_retrieval.train", *words, cwd=tmp_path))
    assert status == 2
    assert told in err
    assert "Traceback" not in err
    if "not finite" not in told:
        assert not list(tmp_path.rglob("runs/*")), "nothing is left behind"
    assert not list(tmp_path.rglob("*.pt"))
