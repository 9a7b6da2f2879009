"""Run folders, checkpoints and logs: atomic, refused when they are another run's, resumed bit for bit."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import files, run
from common.files import write_atomically
from common.run import LossMeter, Run, load_checkpoint, to_draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    lr: float = 0.1
    seed: int = 0
    device: str = "cpu"
    deterministic: bool = False


def start(folder: Path, **changed) -> Run:
    handle = Run("cgd_retrieval", "toy", Toy(**changed), {}, ["toy"], root=folder)
    handle.claim()
    return handle


def part(value: float) -> torch.nn.Linear:
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(layer.weight, value)
    return layer


def close(handle: Run) -> None:
    handle.release()


def test_resume_returns_weights_epoch_random_state_and_drops_later_log_lines(tmp_path):
    first = start(tmp_path)
    first.log(epoch=1, loss=1.0)
    first.save(1, model=part(3.0))
    expected = torch.rand(3)
    first.log(epoch=2, loss=0.5)
    with open(first.folder / "log.jsonl", "a") as file:
        file.write('{"epoch": 3, "lo')  # torn by a kill
    close(first)

    second, model = Run("cgd_retrieval", "toy", Toy(), {}, ["toy"], root=tmp_path), part(0.0)
    assert second.resume(model=model) == 1
    assert model.weight.tolist() == [[3.0, 3.0]]
    assert torch.equal(torch.rand(3), expected)
    assert [json.loads(line) for line in (second.folder / "log.jsonl").read_text().splitlines()] == [
        {"epoch": 1, "loss": 1.0}
    ]
    close(second)


def test_a_folder_of_another_configuration_is_refused_naming_the_field(tmp_path):
    close(start(tmp_path))
    with pytest.raises(ValueError, match=r"lr: 0\.1 there, 0\.2 now"):
        start(tmp_path, lr=0.2)


def test_a_folder_trained_by_other_code_is_kept_aside(tmp_path, monkeypatch, capsys):
    first = start(tmp_path)
    first.save(1, finished=True, model=part(1.0))
    assert first.finished
    close(first)
    monkeypatch.setattr(run, "code_fingerprint", lambda module: "f" * 64)
    second = Run("cgd_retrieval", "toy", Toy(), {}, ["toy"], root=tmp_path)
    assert second.resume(model=part(0.0)) == 0
    assert not second.finished
    assert "starting anew" in capsys.readouterr().err
    aside = [p for p in second.folder.parent.iterdir() if "~" in p.name]
    assert len(aside) == 1
    assert (aside[0] / "last.pt").exists()
    close(second)


def test_nothing_is_written_before_the_folder_is_claimed(tmp_path):
    Run("cgd_retrieval", "toy", Toy(), {}, ["toy"], root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    first = start(tmp_path)
    with pytest.raises(ValueError, match="another process is training"):
        start(tmp_path)
    close(first)


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    write_atomically(path, b"old")
    monkeypatch.setattr(
        files.os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_broken_and_foreign_checkpoints_are_named(tmp_path):
    handle = start(tmp_path)
    handle.save(1, model=part(1.0))
    path = handle.folder / "last.pt"
    with pytest.raises(ValueError, match="checkpoint of cgd_retrieval, not of hyperbolic_embeddings"):
        load_checkpoint(path, paper="hyperbolic_embeddings")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="cut short"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="train first"):
        load_checkpoint(tmp_path / "none.pt")
    close(handle)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"paper": Evil()}, path)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_a_loss_that_is_not_finite_names_its_first_step():
    meter = LossMeter(torch.device("cpu"))
    for value in (1.0, math.nan, 2.0, math.inf):
        meter.add(torch.tensor(value))
    with pytest.raises(FloatingPointError, match="step 201"):
        meter.mean(before=200)
    fine = LossMeter(torch.device("cpu"))
    for value in (1.0, 2.0, 6.0):
        fine.add(torch.tensor(value))
    assert fine.mean() == 3.0


def test_fingerprint_follows_imports_and_ignores_docstrings(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "paper").mkdir()
    source = (Path(run.__file__)).read_text()
    for name in ("compute", "config", "files"):
        (tmp_path / f"common/{name}.py").write_text((Path(run.__file__).parent / f"{name}.py").read_text())
    for folder in ("common", "paper"):
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "common/run.py").write_text(source)
    (tmp_path / "paper/losses.py").write_text('def f():\n    """Doc."""\n    return 1\n')
    (tmp_path / "paper/evaluate.py").write_text("x = 1\n")
    (tmp_path / "paper/train.py").write_text("from paper.losses import f\nfrom common import run\n")

    def fingerprint() -> str:
        code = "from common.run import code_fingerprint; print(code_fingerprint('paper.train'))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    before = fingerprint()
    (tmp_path / "paper/losses.py").write_text('def f():\n    """Better doc."""\n    # why\n    return 1\n')
    (tmp_path / "paper/evaluate.py").write_text("x = 2\n")
    assert fingerprint() == before
    (tmp_path / "paper/losses.py").write_text("def f():\n    return 2\n")
    assert fingerprint() != before


def test_the_run_to_draw_is_real_long_plain_and_new(tmp_path):
    def finish(name, when, *, data="mnist", epochs=10, overrides=(), n=2):
        folder = tmp_path / "paper" / name
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps({"config": {"data": data, "epochs": epochs, "n": n}}))
        (folder / "config.json").write_text(json.dumps({"overrides": dict(overrides)}))
        os.utime(folder / "done.json", (when, when))
        picked = to_draw("paper", lambda cfg: cfg["n"] == 2, tmp_path)
        return picked.parent.name if picked else None

    assert finish("wide", 1, n=8) is None
    assert finish("generated", 90, data="embedded", epochs=99) == "generated"
    assert finish("short", 80, epochs=2) == "short"
    assert finish("changed", 70, overrides={"c": 1}) == "changed"
    assert finish("plain", 50) == "plain"
    assert finish("older", 40) == "plain"
    assert finish("newer", 60) == "newer"


def test_a_loaded_network_has_weights_of_its_own():
    """A checkpoint's tensors stay as they are when the network that was made from them changes."""
    state = {"model": torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()}
    before = {name: tensor.clone() for name, tensor in state["model"].items()}

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))

    network = run.load_network(build, state, "a file", "model")
    later = build()
    later.load_state_dict(state["model"])
    with torch.no_grad():
        for parameter in [*network.parameters(), *later.parameters()]:
            parameter.add_(1)
    assert all(torch.equal(state["model"][name], tensor) for name, tensor in before.items())
