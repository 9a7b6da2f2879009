"""Exports of strangers: arrays that lie about their size, objects, bombs."""

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import gallery

from .conftest import Evil, one_sentence, repacked


def an_npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    whole = {
        "embedding": np.zeros((2, 3), np.float32), "labels": np.zeros((2, 1), np.int64),
        "levels": np.array(["class"]), "names_0": np.array(["a"]), "dataset": np.array("embedded"),
        "split": np.array("test"), "protocol": np.array("retrieval"), "size": np.array(8),
        "crop": np.array(0),
    }  # fmt: skip
    np.savez(buffer, allow_pickle=True, **{**whole, **arrays})
    return buffer.getvalue()


def npy(kind: str, shape: str, content: bytes = b"") -> bytes:
    """An array file with this header."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + content


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"embedding": npy("<f4", "(1099511627776, 3)", bytes(12))}, r"tells of \(1099511627776, 3\) values"),
        ({"names_0": npy("<U0", "(1099511627776,)")}, "tells of"),
        (
            {"names_0": npy("|O", "(1,)", pickle.dumps([Evil(Path("sentinel"))]))},
            "Object arrays cannot be loaded",
        ),
        ({"embedding": npy("<f4", "(" * 5000)}, "not an .npz of plain arrays"),
        ({"embedding": npy("<f4", "(2, 3)", bytes(23))}, "expected 24 bytes got 23"),
        ({"embedding": b"no array"}, "not an .npz of plain arrays"),
    ],
)
def test_an_export_that_lies_is_refused(change, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = repacked(an_npz(), lambda name, old: change.get(name.removesuffix(".npy"), old))
    (tmp_path / "e.npz").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        gallery.read_export(tmp_path / "e.npz")
    one_sentence(caught.value, tmp_path / "e.npz", "write one with")
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"names_0": np.array([[1.5]])}, r"names_0 is float64 \(1, 1\); it must be a row of texts"),
        ({"levels": np.array([0])}, r"levels is int64 \(1,\); it must be a row of texts"),
        ({"size": np.array(10**9)}, "size is 1000000000; it must be a number of pixels up to 4096"),
        ({"size": np.array(0)}, "size is 0"),
        ({"levels": np.array([f"l{i}" for i in range(5000)])}, "lacks names_1, names_2, .*, names_9;"),
        ({"dataset": np.array([Evil(Path("sentinel"))], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_an_export_of_other_types_is_refused(change, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.npz").write_bytes(an_npz(**change))
    with pytest.raises(ValueError, match=told) as caught:
        gallery.read_export(tmp_path / "e.npz")
    one_sentence(caught.value, tmp_path / "e.npz", "write", "must be")


def test_an_export_is_no_bomb(tmp_path):
    zeros = np.zeros((2**23, 4), np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, embedding=zeros)
    (tmp_path / "e.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"\d+ bytes would unpack to 134\d+"):
        gallery.read_export(tmp_path / "e.npz")
