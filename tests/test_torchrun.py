"""Every train.py and evaluate.py under torchrun: two ranks on the CPU against one process."""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import config, distributed
from common.run import Run

ROOT = Path(__file__).parents[1]
CASES = {
    "cgd": ("cgd_retrieval", "smoke", "--steps", "1"),
    "uncertainty": ("hyperbolic_embeddings", "smoke-uncertainty", "--epochs", "1", "--epoch-steps", "1"),
    "fewshot": ("hyperbolic_embeddings", "smoke-fewshot", "--epochs", "1", "--epoch-episodes", "1"),
    "reid": ("hyperbolic_embeddings", "smoke-reid", "--epochs", "1", "--batch", "800"),
    "hierarchical": ("hierarchical_multilabel", "smoke", "--steps", "1"),
    "cross-entropy": ("hierarchical_multilabel", "smoke", "--steps", "1", "--method", "cross-entropy"),
    "softmax": ("instance_discrimination", "smoke", *"--epochs 1 --images 48 --batch 48 --k 9".split()),
    "nce": (
        "instance_discrimination", "smoke",
        *"--epochs 1 --images 47 --batch 47 --k 9 --loss nce --noise 9 --proximal 3".split(),
    ),
}  # fmt: skip
"""One optimiser step each: later ones magnify what rounding differs in."""
FIRST_STEP = ("exp_avg", "momentum_buffer", "running_mean", "running_var", "rows")
"""Gradients (first moments of Adam, momentum of SGD), running statistics, and the memory bank."""
RESUMED = ("instance_discrimination", "smoke", "--epochs", "2")


def said(module, arguments):
    """What a command prints, run in this process."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        importlib.import_module(module).main(list(arguments))
    return told.getvalue().strip().splitlines()


def outcome(paper, *arguments):
    """What training prints, its checkpoint and last log line, and what measuring prints."""
    trained = said(f"{paper}.train", arguments)
    path = Path(trained[-1])
    distributed.wait()
    checkpoint = torch.load(path, weights_only=True)
    return {
        "trained": trained,
        "state": flat(checkpoint["state"]),
        "random states": len(checkpoint["rng"]["cpu"]),
        "device": checkpoint["device"],
        "log": json.loads(path.with_name("log.jsonl").read_text().splitlines()[-1]),
        "measured": said(f"{paper}.evaluate", [str(path)]),
    }


def flat(state, prefix=""):
    """Every tensor of a nested state, by its place in it."""
    if isinstance(state, torch.Tensor):
        return {prefix: state}
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {k: v for name, value in parts for k, v in flat(value, f"{prefix}/{name}").items()}


def interrupted(paper, *arguments):
    """Train until the first checkpoint is written."""
    save = Run.save

    def once(self, epoch, **state):
        save(self, epoch, **state)
        raise KeyboardInterrupt

    Run.save = once
    try:
        with contextlib.suppress(KeyboardInterrupt):
            said(f"{paper}.train", arguments)
    finally:
        Run.save = save


def torchrun(folder, *command, **environment):
    clean = {k: v for k, v in os.environ.items() if k != "DATA_ROOT"}
    clean |= {"PYTHONPATH": str(ROOT), "DATA": "synthetic", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command],
        cwd=folder, env=clean, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(folder, name -> outcome on rank 0)."""
    folder = tmp_path_factory.mktemp("two")
    told = torchrun(folder, __file__)
    assert told.returncode == 0, told.stderr
    return folder, torch.load(folder / "found.pt", weights_only=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, and one thread, as torchrun gives a rank."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.setenv("DATA", "synthetic")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_step_and_measure_as_one_process(name, two):
    found, one = two[1][name], outcome(*CASES[name])
    assert found["trained"] == one["trained"]
    assert found["device"] == f"2 x {one['device']}"
    assert (found["random states"], one["random states"]) == (2, 1)
    assert found["state"].keys() == one["state"].keys()
    compared = set()
    for place, value in one["state"].items():
        kind = place.rsplit("/", 1)[1].rsplit(".", 1)[-1]
        if kind in FIRST_STEP:
            compared.add(kind)
            scale = float(value.abs().max()) if value.numel() else 0.0
            close = torch.allclose(found["state"][place], value, rtol=0, atol=1e-4 + 2e-3 * scale)
            assert close, f"{place}: off by {(found['state'][place] - value).abs().max()} of {scale}"
    assert compared & {"exp_avg", "momentum_buffer"}
    for figure in ("loss", "rank_loss", "class_loss", "similarity", "proximal", "log_z", "norm"):
        if figure in one["log"]:
            assert found["log"][figure] == pytest.approx(one["log"][figure], rel=1e-4), figure
    assert [line.split()[0] for line in found["measured"]] == [line.split()[0] for line in one["measured"]]


@pytest.mark.usefixtures("here")
def test_two_ranks_measure_a_checkpoint_as_one_process(two, monkeypatch):
    """The very same figures, of the checkpoints that two ranks wrote."""
    folder, found = two
    monkeypatch.chdir(folder)
    for name, (paper, *_) in CASES.items():
        assert said(f"{paper}.evaluate", [found[name]["trained"][-1]]) == found[name]["measured"], name


@pytest.mark.usefixtures("here")
def test_a_run_of_two_ranks_goes_on_with_one(two, monkeypatch):
    """A checkpoint does not depend on how many ranks wrote it."""
    monkeypatch.chdir(two[0])
    path = Path(said(f"{RESUMED[0]}.train", RESUMED[1:])[-1])
    log = [json.loads(line) for line in path.with_name("log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2]
    assert len(torch.load(path, weights_only=True)["rng"]["cpu"]) == 1


def test_rank_0_alone_writes(two):
    first, second = (torch.load(two[0] / f"wrote-{rank}.pt", weights_only=True) for rank in range(2))
    assert first == ["exported", "results", "runs"]
    assert second == []


def test_one_rank_dying_ends_all_with_the_reason(tmp_path):
    """Rank 1 cannot read its data; rank 0 waits for it and is ended by torchrun."""
    told = torchrun(tmp_path, __file__, "broken")
    assert told.returncode != 0
    assert "rank 1: error: cannot read the pictures" in told.stderr
    assert not list(tmp_path.glob("runs/**/last.pt"))


def broken(argv):
    """CGD's training, of which rank 1 does not see its pictures."""
    from cgd_retrieval import train

    if os.environ["RANK"] == "1":

        def training_sets(cfg):
            raise OSError("cannot read the pictures")

        train.training_sets = training_sets
    train.main(["smoke"])


def everything(argv):
    here, wrote = Path.cwd(), set()

    def hook(event, args):  # Python tells of every file that is opened
        if event == "open" and isinstance(args[0], str | Path) and args[2] & (os.O_WRONLY | os.O_RDWR):
            place = Path(args[0]).absolute()
            if place.is_relative_to(here):
                wrote.add(place.relative_to(here).parts[0])

    sys.addaudithook(hook)
    found = {name: outcome(*case) for name, case in CASES.items()}
    path = found["cgd"]["trained"][-1]
    said("cgd_retrieval.evaluate", [path, "--record", "--export", "exported/test.npz"])
    interrupted(*RESUMED)
    torch.save(
        sorted(wrote - {"data"}), f"wrote-{distributed.rank()}.pt"
    )  # data/cache: made by whoever is first
    if distributed.rank() == 0:
        torch.save(found, "found.pt")


if __name__ == "__main__":
    config.command(broken if sys.argv[1:] else everything)
