"""The commands end to end on generated drawings: killed runs, the objective of every method, bad input."""

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from common.run import Run
from hierarchical_multilabel import losses, train
from hierarchical_multilabel.presets import OMNIGLOT, PRESETS

ROOT = Path(__file__).parents[2]
TINY = ["smoke", "--steps", "16", "--epoch-steps", "2"]
SMOKE = PRESETS["smoke"][1]


def command(*words: str, cwd: Path) -> subprocess.Popen:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATA": "auto",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
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


def trained(capsys, *words: str) -> Path:
    train.main(list(words))
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def same_state(a: dict, b: dict) -> None:
    for part in ("model", "watched"):
        assert a[part].keys() == b[part].keys()
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), name
    for i, moments in a["optimiser"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, b["optimiser"]["state"][i][name]), (i, name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATA", "auto")
        train.main(TINY)
    return next(folder.rglob("last.pt"))


def test_a_killed_run_ends_where_an_unbroken_one_does(unbroken, tmp_path):
    """SIGKILL at a random moment behind the first checkpoint."""
    moments = random.Random(0)
    process = command("hierarchical_multilabel.train", *TINY, cwd=tmp_path)
    log, before = (
        tmp_path / "runs/hierarchical_multilabel" / unbroken.parent.name / "log.jsonl",
        time.monotonic(),
    )
    while time.monotonic() - before < 120 and process.poll() is None and not log.exists():
        time.sleep(0.005)
    time.sleep(moments.random() * 0.15)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out, err = finish(command("hierarchical_multilabel.train", *TINY, cwd=tmp_path))
    assert status == 0, err
    again = tmp_path / Path(out.strip().splitlines()[-1])
    a, b = (torch.load(p, weights_only=True)["state"] for p in (unbroken, again))
    same_state(a, b)
    assert lines(unbroken.parent) == lines(again.parent)
    assert len(lines(again.parent)) == 8


def test_a_run_stopped_behind_any_checkpoint_goes_on(unbroken, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save = Run.save
    for stop in (1, 5, 8):

        def save_then_die(self, epoch, stop=stop, **parts):
            save(self, epoch, **parts)
            if epoch == stop:
                self.release()
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            train.main(TINY)
    monkeypatch.setattr(Run, "save", save)
    again = trained(capsys, *TINY)
    same_state(*(torch.load(p, weights_only=True)["state"] for p in (unbroken, again)))
    assert lines(unbroken.parent) == lines(again.parent)


def test_a_finished_run_is_not_trained_again(unbroken, monkeypatch, capsys):
    monkeypatch.chdir(unbroken.parents[3])
    before = unbroken.read_bytes()
    assert trained(capsys, *TINY).resolve() == unbroken.resolve()
    assert unbroken.read_bytes() == before


def test_the_log_carries_the_levels_and_the_constraint(unbroken):
    state = torch.load(unbroken, weights_only=True)["state"]["watched"]
    rows = lines(unbroken.parent)
    assert int(state["steps"]) == int(state["watched"]) == 16
    for l in (1, 2):
        mean = sum(row[f"level_{l}_loss"] for row in rows) / 8
        assert mean == pytest.approx(float(state["losses"][l - 1]) / 16)
        share = sum(row[f"level_{l}_positives"] for row in rows) / 8
        assert share == pytest.approx(float(state["positives"][l - 1]) / 16)
    assert int(state["active"]) > 0
    weights = [losses.exponential(l) for l in (1, 2)]
    for row in rows:
        plain = sum(w * row[f"level_{l}_loss"] for l, w in enumerate(weights, 1)) / 2
        assert row["loss"] > plain, "HiMulConE raises"


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "simclr"],
        ["--method", "cross-entropy", "--level", "2"],
        ["--method", "supcon", "--sampler", "random"],
        ["--method", "hicone", "--form", "released", "--optimiser", "sgd", "--lr", "0.1"],
        ["--method", "himulcon", "--positives", "lowest", "--views", "1"],
        ["--epoch-steps", "0", "--val-share", "0.3"],
        ["--penalty", "coarse", "--batch", "100000"],
    ],
    ids=" ".join,
)
def test_every_choice_trains(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = trained(capsys, "smoke", "--steps", "1", *words)
    state = torch.load(checkpoint, weights_only=True)["state"]
    (row,) = lines(checkpoint.parent)
    assert math.isfinite(row["loss"])
    hierarchical = "himul" in " ".join(words) or "hicone" in words or "--method" not in words
    assert ("active_terms" in row) == hierarchical
    assert ("classifier.bias" in state["model"]) == ("cross-entropy" in words)


def test_no_steps_are_an_untrained_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = torch.load(trained(capsys, "smoke", "--steps", "0"), weights_only=True)["state"]
    torch.manual_seed(0)
    fresh = train.build(dataclasses.replace(SMOKE, steps=0), 0)
    assert all(torch.equal(value, state["model"][name]) for name, value in fresh.state_dict().items())


# The pieces


def batch(levels=2):
    g = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(8, 2, 4, generator=g, dtype=torch.float64), dim=2)
    tree = torch.randint(2, (8, levels), generator=g)
    return z, torch.column_stack([tree, torch.arange(8)])


def test_the_objective_is_the_named_loss():
    z, tree = batch()
    logits = torch.randn(16, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = dataclasses.replace
    nodes = tree[:, :2].unique(dim=0, return_inverse=True)[1]
    unique = torch.column_stack([tree[:, 0], nodes, tree[:, 2]])
    for cfg, expected in (
        (changed(SMOKE, method="simclr"), losses.simclr_loss(z, 0.1)),
        (changed(SMOKE, method="supcon"), losses.supcon_loss(z, nodes, 0.1)),
        (changed(SMOKE, method="supcon", level=2), losses.supcon_loss(z, tree[:, 0], 0.1)),
        (
            changed(SMOKE, method="cross-entropy", level=2),
            F.cross_entropy(logits, torch.stack([tree[:, 0]] * 2, 1).flatten()),
        ),
        (
            changed(SMOKE, method="himulcon", penalty="reciprocal"),
            losses.himulcon_loss(z, tree, 0.1, "paper", lambda l: 1 / l),
        ),
        (
            changed(SMOKE, form="released", penalty="pow2", temperature=0.3),
            losses.himulcone_loss(z, tree, 0.3, "released", losses.power_of_two),
        ),
        (
            changed(SMOKE, method="hicone", positives="lowest"),
            losses.hicone_loss(z, tree, 0.1, positives="lowest", threshold="detached"),
        ),
    ):
        torch.testing.assert_close(train.objective(cfg, z, logits, unique), expected)


def test_penalties_by_name():
    for name, values in (
        ("exp", [math.e, math.exp(0.5), math.exp(1 / 3)]),
        ("pow2", [2, 2**0.5, 2 ** (1 / 3)]),
        ("reciprocal", [1, 1 / 2, 1 / 3]),
        ("one", [1, 1, 1]),
        ("coarse", [math.exp(1 / 3), math.exp(0.5), math.e]),
    ):
        weight = train.penalty(dataclasses.replace(SMOKE, penalty=name), 3)
        assert [weight(l) for l in (1, 2, 3)] == pytest.approx(values)


def test_learning_rate_warms_up_and_falls_to_the_floor():
    """The released schedule: from 0.01 to 0.5 over 10 epochs, then half a cosine down to 0.5 * 0.1^3."""
    cfg = PRESETS["deepfashion"][1]
    rate = [cfg.lr * train.learning_rate(cfg, step) for step in range(cfg.steps + 1)]
    assert rate[0] == pytest.approx(0.01, abs=0.001)
    assert max(rate) == rate[510] == rate[509] == pytest.approx(0.5 * 0.976, abs=0.001)
    assert rate[254] == pytest.approx((0.01 + rate[509]) / 2, rel=0.01)
    assert rate[cfg.steps] == pytest.approx(0.5 * 0.001)
    middle = cfg.steps // 2
    assert rate[middle] == pytest.approx(0.5 * 0.001 + 0.5 * 0.999 / 2, rel=1e-3)
    assert rate[:510] == sorted(rate[:510])
    assert rate[510:] == sorted(rate[510:], reverse=True)
    assert train.learning_rate(OMNIGLOT, 0) == pytest.approx(1 / 25, rel=0.01)
    assert train.learning_rate(OMNIGLOT, OMNIGLOT.steps) == pytest.approx(0)
    short = dataclasses.replace(OMNIGLOT, steps=4)
    assert [train.learning_rate(short, step) for step in range(5)] == pytest.approx(
        [0.25, 0.5, 0.5, 0.5 - 0.5**1.5, 0], abs=1e-6
    )


def test_augmentation_is_that_of_the_configuration():
    draws = train.augmentation(PRESETS["deepfashion"][1])
    assert (draws.size, draws.resized_crop, draws.flip) == (224, (0.8, 1.0), 0.5)
    assert (draws.brightness, draws.contrast, draws.saturation, draws.hue) == (0.4, 0.4, 0.4, 0.0)
    assert (draws.jitter, draws.grey) == (0.8, 0.0)
    drawings = train.augmentation(OMNIGLOT)
    assert (drawings.resized_crop, drawings.flip, drawings.brightness) == (None, 0.0, 0.0)
    assert drawings.scale == pytest.approx((0.88, 1.12))


# Bad input


def test_the_command_says_one_sentence(tmp_path):
    status, _, err = finish(command("hierarchical_multilabel.train", "smoke", "--lr", "1e30", cwd=tmp_path))
    assert status == 2
    assert err.startswith("error: the loss was not finite at step 1; the last good checkpoint is kept")
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(
    ("words", "told"), [(["nonsense"], "nonsense"), (["smoke", "--stepz", "3"], "stepz")]
)
def test_typos_are_named(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        train.main(words)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("runs/*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a preset first"),
        (["smoke", "--backbone", "pixels"], "there is nothing to train"),
        (["smoke", "--method", "simclr", "--views", "1"], "its only positives are other views; give 2"),
        (["smoke", "--form", "released", "--positives", "lowest"], "an option of --form paper"),
        (["smoke", "--stored", "8"], "--stored 8 is below --size 32"),
        (["smoke", "--steps", "-1"], "--steps -1: give 0 or more"),
        (["smoke", "--batch", "0"], "--batch 0: give at least 1"),
        (["smoke", "--val-share", "1"], "--val-share 1.0: give a share"),
        (["smoke", "--temperature", "0"], "--temperature 0.0: give a number above 0"),
        (["smoke", "--method", "supcon", "--level", "3"], "--level 3: embedded has 2 levels"),
        (["smoke", "--method", "cross-entropy", "--level", "3"], "--level 3: embedded has 2 levels"),
        (["smoke", "--frozen", "2"], "the small network has no published weights"),
        (["smoke", "--flip", "2"], "flip = 2.0 is a probability"),
        (["smoke", "--data", "folder:nowhere"], "nowhere"),
        (["smoke", "--device", "toaster"], "not a device"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_bad_settings_are_one_sentence_and_leave_nothing_behind(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError)) as error:
        train.main(words)
    assert told in str(error.value)
    assert not list(tmp_path.rglob("runs/*"))
