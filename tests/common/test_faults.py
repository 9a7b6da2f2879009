"""What goes wrong outside of the program: each fault ends in one sentence, and the same command goes on."""

import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from common import compute, config, run
from common.data import Dataset, catalogue
from common.data.augment import Augment
from common.data.dataset import decode
from common.data.loading import Loader, embed
from common.files import write_atomically
from common.results.rows import CELL, newest

ROOT = Path(__file__).parents[2]
TRAIN = [sys.executable, "-m", "hierarchical_multilabel.train", "smoke"]


def start(folder, *, limit=None):
    """Train in `folder`; limit: bytes that a file may have, as on a full disk."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA": "synthetic", "OMP_NUM_THREADS": "1"}
    environment["DATA_CACHE"] = str(folder.parent / "cache")  # made before the disk is full
    environment.pop("DATA_ROOT", None)
    return subprocess.run(
        TRAIN, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        preexec_fn=limited if limit else None,
    )  # fmt: skip


def test_a_disk_that_is_full_keeps_the_old_checkpoint(tmp_path):
    whole, full = tmp_path / "whole", tmp_path / "full"
    whole.mkdir(), full.mkdir()
    told = start(whole)
    assert told.returncode == 0, told.stderr
    path = told.stdout.split()[-1]

    told = start(full, limit=20_000)  # config.json and the log fit, a checkpoint does not
    assert told.returncode == 2
    assert told.stderr.startswith(
        "error: cannot write runs/hierarchical_multilabel/smoke-s0/last.pt: File too"
    )
    assert "start the same command again" in told.stderr
    assert sorted(p.name for p in (full / path).parent.iterdir()) == [".lock", "config.json", "log.jsonl"]

    told = start(full)  # room again
    assert told.returncode == 0, told.stderr
    one, two = (torch.load(place / path, weights_only=True)["state"]["model"] for place in (whole, full))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write_atomically(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*x: File too large; what was there .* still whole"):
            write_atomically(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path):
    """/proc takes no folders, not even from root."""
    (tmp_path / "runs").symlink_to("/proc")
    told = start(tmp_path)
    assert told.returncode == 2
    assert "error: cannot make the run folder runs/hierarchical_multilabel/smoke-s0: " in told.stderr
    assert "start the command where you may write" in told.stderr


def test_a_worker_that_is_killed_is_told(tmp_path, monkeypatch):
    pictures = Dataset(
        name="x", split="train", labels=torch.zeros(8, 1, dtype=torch.int64), levels=("class",),
        names=(("a",),), size=4, paths=tuple(tmp_path / f"{i}.png" for i in range(8)),
    )  # fmt: skip
    monkeypatch.setattr(Dataset, "picture", lambda self, row: os.kill(os.getpid(), signal.SIGKILL))
    loader = Loader(pictures, Augment(size=4), workers=1)
    with pytest.raises(OSError, match=r"a process that decodes pictures has died .*use fewer --workers"):
        list(loader.all(batch=4))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_in_the_middle_of_an_epoch(workers, tmp_path, monkeypatch, capsys):
    """The epoch ends with the file's name, the checkpoint of the epoch before stays, and with the file mended
    the run ends where an unbroken one ends.
    """
    from cgd_retrieval import train

    own = tmp_path / "own pictures"
    draw = torch.Generator().manual_seed(0)
    for name in "abcdefgh":  # a to d are trained on
        (own / name).mkdir(parents=True)
        for i in range(8):
            pixels = torch.randint(0, 256, (24, 24, 3), generator=draw, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(own / name / f"{i}.png")
    words = ["smoke", "--data", f"folder:{own}", "--size", "16", "--enlarged", "16", "--steps", "12"]
    words += ["--epoch-steps", "4", "--classes-per-batch", "4", "--workers", str(workers)]
    monkeypatch.setattr(catalogue, "RESIDENT", 0)  # decode in every epoch, as of a large data set

    def start(place):
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["train", *words])
        config.command(train.main)
        return torch.load(next(place.rglob("last.pt")), weights_only=True)

    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    whole.mkdir(), hurt.mkdir()
    expected = start(whole)
    victim = own / "c" / "3.png"
    content = victim.read_bytes()
    save, ended = run.Run.save, []

    def save_then_cut(self, epoch, **parts):
        save(self, epoch, **parts)
        ended.append(self)
        victim.write_bytes(content[: len(content) // 2])

    monkeypatch.setattr(run.Run, "save", save_then_cut)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        start(hurt)
    assert stop.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert f"cannot read picture {victim}" in told
    assert "replace or remove" in told
    assert torch.load(next(hurt.rglob("last.pt")), weights_only=True)["epoch"] >= 1

    ended[-1].release()  # as the end of its process does
    monkeypatch.setattr(run.Run, "save", save)
    victim.write_bytes(content)
    again = start(hurt)
    assert again["epoch"] == expected["epoch"]
    assert all(
        torch.equal(value, again["state"]["model"][name])
        for name, value in expected["state"]["model"].items()
    )


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """A step can spoil the weights although its loss was finite: the checkpoint before it is kept."""
    from cgd_retrieval.presets import PRESETS

    one = run.Run("cgd_retrieval", "smoke", PRESETS["smoke"][1], {}, ["smoke"], root=tmp_path)
    model = torch.nn.Linear(3, 2)
    one.resume(model=model)
    one.save(1, model=model)
    kept = (one.folder / "last.pt").read_bytes()
    with torch.no_grad():
        model.weight[1, 2] = math.inf
    with pytest.raises(
        FloatingPointError, match=r"epoch 2 left weights of the model .* learning rate too high"
    ):
        one.save(2, model=model)
    assert (one.folder / "last.pt").read_bytes() == kept
    one.release()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"), "20.00 gib"),
        (None, "8000000000000000 bytes"),
    ],
)
def test_out_of_memory_in_training_is_one_sentence(error, told, monkeypatch, capsys):
    def main(argv):
        if error is not None:
            raise error
        torch.empty(2_000_000_000_000_000)  # more than any machine has

    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit) as stop:
        config.command(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"error: out of memory (tried to allocate {told}); the last checkpoint is kept; "
        "give a smaller batch or smaller pictures, or more ranks\n"
    )

    def broken(argv):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        config.command(broken)


def test_a_clock_that_goes_backwards_changes_nothing(monkeypatch):
    """The newest row is the last one in the file, and minutes come from a clock that only goes forward."""
    rows = pd.DataFrame(
        [dict.fromkeys(CELL, "a") | {"value": 0.1}, dict.fromkeys(CELL, "a") | {"value": 0.2}]
    )
    rows["date"] = ["2030-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]
    assert newest(rows)["value"].tolist() == [0.2]
    assert "time.time()" not in Path(run.__file__).read_text()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate")],
)
def test_out_of_memory_halves_the_block_and_says_so(error, capsys):
    pixels = torch.arange(7 * 3 * 16, dtype=torch.uint8).view(7, 3, 4, 4)
    pictures = Dataset(
        name="x", split="test", labels=torch.zeros(7, 1, dtype=torch.int64), levels=("class",),
        names=(("a",),), size=4, pixels=pixels,
    )  # fmt: skip
    loader, seen = Loader(pictures, Augment(size=4)), []

    def network(images):
        seen.append(len(images))
        if len(images) > 2:
            raise error
        return {"z": images.flatten(1)}

    whole = torch.cat([images.flatten(1) for images, _, _ in loader.all()])
    assert torch.equal(embed(loader, network, batch=8)["z"], whole)
    assert seen == [7, 4, 2, 2, 2, 1]
    told = capsys.readouterr().err.splitlines()
    assert told == [f"out of memory: going on with {n} pictures at a time" for n in (4, 2)]


def test_another_error_and_a_block_of_one_are_not_hidden():
    def broken(block):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        compute.halving(broken, 8, "pictures")

    def full(block):
        raise torch.OutOfMemoryError(f"at {block}")

    with pytest.raises(torch.OutOfMemoryError, match="at 1"):
        compute.halving(full, 8, "pictures")


def test_a_picture_is_never_handed_to_another_program(tmp_path):
    """Pillow would start Ghostscript for PostScript, whatever the file's name."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    with pytest.raises(ValueError, match=r"cannot read picture .*a\.png: .*; replace or remove this file"):
        decode(path, 8)
