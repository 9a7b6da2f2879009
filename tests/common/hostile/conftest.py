"""What these tests share: a pickle that would run, odd names, and what a refusal must say."""

import importlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common import config

REPOSITORY = Path(__file__).parents[3]
PAPERS = ("cgd_retrieval", "hierarchical_multilabel", "hyperbolic_embeddings", "instance_discrimination")
ODD_NAMES = (
    *(
        "two words",
        "line\nbreak",
        "ü日本",
        "-rf",
        "'quote\"",
        "$(touch x)",
        "`touch x`",
        "|p|",
        "<b>",
        "%s{0}",
    ),
    *("*", "#", "=cmd()", "\u202ertl", "tab\tbed", "trailing ", "~", os.fsdecode(b"\xff\xfe")),
)
"""Of folders and files; the last one is no UTF-8."""
REMEDIES = ("give", "get it again", "get them again", "train again", "not unpacked", "restore the file")


class Evil:
    """Unpickled, it makes the file `sentinel`."""

    def __init__(self, sentinel: Path):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f"touch '{self.sentinel}'",)


def one_sentence(error: BaseException | str, name: object, *remedies: str) -> None:
    """Names the file, says what to do, is not long, and shows nothing of Python's inside."""
    assert str(name) in str(error)
    told = str(error).replace(str(name), "")
    assert "\n" not in told.strip()
    assert 20 < len(told) < 600
    assert any(word in told for word in remedies or REMEDIES), told
    assert not re.search(r"Traceback|assert|weights_only=False|object at 0x", told)


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def repacked(content: bytes, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with changed members and checksums that fit."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", how) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def evaluate(paper: str, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """(exit status, stderr) of `python -m <paper>.evaluate WORDS`, in this process."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate.py", *words])
        patch.delenv("TRACEBACK", raising=False)
        try:
            config.command(importlib.import_module(f"{paper}.evaluate").main)
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, capsys.readouterr().err


@pytest.fixture
def own(tmp_path) -> Path:
    """Pictures of one's own, in folders and files with odd names."""
    top = tmp_path / "own -x\npictures ü"
    for level, name in enumerate(ODD_NAMES):
        for i in range(2):
            (top / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (level, i, 0)).save(str(top / name / f"-{i} {name}.png"), "PNG")
    return top
