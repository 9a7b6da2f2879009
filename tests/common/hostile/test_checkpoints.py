"""Checkpoints of strangers, read by the function and by `python -m <paper>.evaluate PATH`."""

import importlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common import run

from .conftest import PAPERS, REPOSITORY, Evil, evaluate, one_sentence, repacked, saved


def base() -> dict[str, Any]:
    """What Run.save writes."""
    return {
        "paper": "cgd_retrieval", "preset": "smoke", "overrides": {}, "config": {"seed": 0}, "code": "c",
        "commit": "unknown", "epoch": 1, "finished": True, "seconds": 1.0, "peak_memory_mb": 1.0,
        "device": "CPU", "state": {"model": {"weight": torch.randn(3, 4), "bias": torch.zeros(3)}},
        "rng": {"cpu": torch.get_rng_state()[None]},
    }  # fmt: skip


def with_model(**tensors: torch.Tensor) -> bytes:
    return saved({**base(), "state": {"model": tensors}})


def nested_tuples(count: int) -> bytes:
    program = b"\x80\x02}(" + b")" + b"\x85" * count + b"K\x01u."
    return repacked(saved({}), lambda name, old: program if name.endswith("data.pkl") else old)


def numbers_larger_than_the_file(name: str, old: bytes) -> bytes:
    """The sizes 3, 4 of the weight and its 12 numbers become 2 ** 31 - 1."""
    return old.replace(b"K\x0c", b"J" + struct.pack("<i", 2**31 - 1)).replace(
        b"K\x03K\x04", 2 * (b"J" + struct.pack("<i", 2**31 - 1))
    )


def with_packed_size(content: bytes, size: int) -> bytes:
    """The first entry of the zip archive's directory tells of so many bytes."""
    at = content.index(b"PK\x01\x02") + 20
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def kinds(sentinel: Path) -> dict[str, bytes]:
    """Files that are no checkpoint of this project."""
    evil, whole = Evil(sentinel), saved(base())
    other = io.BytesIO()
    np.savez(other, a=np.zeros(3))
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as pack:
        pack.writestr("archive/data.pkl", "no pickle")
        pack.writestr("archive/version", "3\n")
    return {
        "code": saved({**base(), "state": evil}),
        "code as a key": saved({**base(), evil: 1}),
        "code, old format": saved({**base(), "state": evil}, _use_new_zipfile_serialization=False),
        "code, a bare pickle": pickle.dumps(evil),
        "code, protocol 0": pickle.dumps(evil, protocol=0),
        "another program's weights": saved({"weight": torch.zeros(2)}),
        "a whole network": saved(torch.nn.Linear(2, 2)),
        "arrays of numpy": other.getvalue(),
        "a picture": png.getvalue(),
        "text": b"weights\n" * 100,
        "zip that is not torch's": plain.getvalue(),
        "empty": b"",
        "a list": saved([1, 2]),
        **{f"cut to {share:.0%}": whole[: int(share * len(whole))] for share in (0.01, 0.3, 0.6, 0.9, 0.999)},
        "packed": repacked(whole, lambda name, old: old, zipfile.ZIP_DEFLATED),
        "a bomb": repacked(whole, lambda name, old: old + bytes(2**22), zipfile.ZIP_DEFLATED),
        "sizes that lie": repacked(whole, numbers_larger_than_the_file),
        "a packed size that lies": with_packed_size(whole, 2**31),
        "one number many times": with_model(bias=torch.zeros(1).expand(2**40)),
        "no numbers at all": with_model(bias=torch.empty(2**40, device="meta")),
        "sparse": with_model(bias=torch.zeros(3, 3).to_sparse()),
        "tuples in tuples": nested_tuples(run.TUPLES + 1),
        "a name that is a command": saved({**base(), "paper": "x; rm -rf ~"}),
        "a name with control characters": saved({**base(), "preset": "smoke\x1b[2J"}),
        "numbers as names": saved({**base(), "config": {1: 2}}),
        **{f"without {name}": saved({k: v for k, v in base().items() if k != name}) for name in base()},
        **{f"{name} of another type": saved({**base(), name: b"x"}) for name in base()},
    }  # fmt: skip


def test_what_run_save_writes_is_read(tmp_path):
    (tmp_path / "last.pt").write_bytes(saved(base()))
    assert run.load_checkpoint(tmp_path / "last.pt", paper="cgd_retrieval")["epoch"] == 1


def test_no_stranger_is_taken_for_a_checkpoint(tmp_path):
    """In less than a second each, and without the memory that they tell of."""
    found = kinds(tmp_path / "sentinel")
    assert len(found) > 40
    path = tmp_path / "last.pt"
    for kind, content in found.items():
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            run.load_checkpoint(path)
        one_sentence(caught.value, path)
        if kind in ("code", "code as a key"):
            assert "it asks for posix.system, which could run code" in str(caught.value), kind
    assert not (tmp_path / "sentinel").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_part_that_holds_itself_is_no_endless_loop(tmp_path):
    loop: list[Any] = []
    loop.append(loop)
    (tmp_path / "last.pt").write_bytes(saved({**base(), "state": {"model": {"loop": loop}}}))
    assert list(run.load_checkpoint(tmp_path / "last.pt")["state"]) == ["model"]


@pytest.mark.parametrize("what", ["folder", "pipe", "/dev/zero"])
def test_what_is_no_file_is_not_waited_for(what, tmp_path):
    path = Path(what) if what.startswith("/") else tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises(ValueError, match="is no file, so not a checkpoint") as caught:
        run.load_checkpoint(path)
    one_sentence(caught.value, path)


def refused(paper: str, path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of `evaluate PATH --record --export`; nothing may be written."""
    before = sorted(Path().rglob("*"))
    status, told = evaluate(paper, str(path), "--record", "--export", "out.npz", capsys=capsys)
    assert status == 2, told
    assert told.startswith("error: ")
    named = "the checkpoint" if "error: the checkpoint does not" in told else path
    one_sentence(told.removeprefix("error: "), named)
    assert sorted(Path().rglob("*")) == before
    return told


@pytest.mark.parametrize("paper", PAPERS)
def test_evaluate_refuses_strangers(paper, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = kinds(tmp_path / "sentinel")
    chosen = (
        *("code", "code, old format", "code, a bare pickle", "another program's weights", "a whole network"),
        *("zip that is not torch's", "empty", "cut to 60%", "a bomb", "sizes that lie"),
        *("one number many times", "tuples in tuples", "without preset", "state of another type"),
    )
    path = Path("last of\nall.pt")
    for kind in chosen:
        path.write_bytes(found[kind])
        refused(paper, path, capsys)
    path.unlink()
    path.mkdir()
    refused(paper, path, capsys)
    assert not (tmp_path / "sentinel").exists()


def test_evaluate_as_a_process_runs_no_code(tmp_path):
    (tmp_path / "last.pt").write_bytes(kinds(tmp_path / "sentinel")["code"])
    done = subprocess.run(
        [sys.executable, "-m", "cgd_retrieval.evaluate", "last.pt"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "it asks for posix.system" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "sentinel").exists()


SMOKE = (
    ("cgd_retrieval", "smoke --steps 0"),
    ("hierarchical_multilabel", "smoke --steps 0"),
    ("hyperbolic_embeddings", "smoke-reid --epochs 0"),
    ("hyperbolic_embeddings", "smoke-fewshot --epochs 0"),
    ("hyperbolic_embeddings", "smoke-uncertainty --epochs 0"),
    ("instance_discrimination", "smoke --epochs 0"),
)


def wrong_weights(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Well-formed checkpoints whose weights or configuration are not those of the network."""
    (part, weights), (beside, _), *_ = whole["state"].items()
    first, *others = weights

    def state(**tensors: Any) -> dict[str, Any]:
        return {**whole, "state": {**whole["state"], part: tensors}}

    # no such part
    yield {**whole, "state": {"other": weights}}
    # a part that is a number
    yield {**whole, "state": {**whole["state"], part: 1}}
    yield {**whole, "state": {**whole["state"], beside: 1}}
    # a missing tensor
    yield state(**{name: weights[name] for name in others})
    # a tensor more
    yield state(**weights, extra=torch.zeros(3))
    # another shape
    yield state(**{**weights, first: weights[first][None]})
    # text in place of a tensor
    yield state(**{**weights, first: "x"})
    # another name
    yield state(**{f"x{name}": value for name, value in weights.items()})
    # an unknown field
    yield {**whole, "config": {**whole["config"], "unheard": 1}}
    # a field of another type
    yield {**whole, "config": {**whole["config"], "seed": "zero"}}


def trained(paper: str, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """last.pt of a smoke run in `folder`, which is entered."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATA", "synthetic")
    importlib.import_module(f"{paper}.train").main(words.split())
    return next(folder.rglob("last.pt")).relative_to(folder)


BUILT = {"dim": 2**40, "widths": 2**40, "blocks": 10**9}
"""Fields that networks are built from, at sizes that no machine could hold, or come to the end of."""


@pytest.mark.parametrize(("paper", "words"), SMOKE)
def test_evaluate_refuses_a_huge_network_before_building_it(paper, words, tmp_path, monkeypatch, capsys):
    """Building it first would end in the sentence about memory, or not at all."""
    path = trained(paper, words, tmp_path, monkeypatch)
    whole = torch.load(path, weights_only=True)
    fields = BUILT.keys() & whole["config"].keys()
    if whole["config"].get("backbone") == "conv4":
        fields -= {"widths"}  # which its backbone 'small' alone reads
    assert fields & {"dim", "widths"}
    for field in sorted(fields):
        now, huge = whole["config"][field], BUILT[field]
        changed = {**whole["config"], field: [huge] * len(now) if isinstance(now, list) else huge}
        path.write_bytes(saved({**whole, "config": changed}))
        assert "does not hold the weights of the" in refused(paper, path, capsys)


@pytest.mark.parametrize(("paper", "words"), SMOKE)
def test_evaluate_refuses_other_weights(paper, words, tmp_path, monkeypatch, capsys):
    path = trained(paper, words, tmp_path, monkeypatch)
    for checkpoint in wrong_weights(torch.load(path, weights_only=True)):
        path.write_bytes(saved(checkpoint))
        refused(paper, path, capsys)
