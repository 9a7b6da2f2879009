"""Data sets of strangers: pickles, idx and MATLAB files, and lists that name pictures."""

import hashlib
import pickle
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common import data
from common.data import matlab, readers
from common.data.manifests import MANIFESTS
from common.data.pickles import unpickle

from .conftest import Evil, one_sentence


def md5_of(folder: Path, name: str) -> dict[str, str]:
    """Of the files in the folder, as if they were the published ones."""
    return {file: hashlib.md5((folder / file).read_bytes()).hexdigest() for file in MANIFESTS[name].contents}


def a_batch(labels: list[int]) -> bytes:
    """A CIFAR-10 batch as Python 3 writes it."""
    return pickle.dumps({"data": np.zeros((len(labels), 3072), np.uint8), "labels": labels}, protocol=2)


@pytest.fixture
def cifar(tmp_path, monkeypatch) -> Path:
    """The folder of CIFAR-10 in its published layout, with files of ours."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    top = tmp_path / "cifar-10-batches-py"
    top.mkdir()
    for name in MANIFESTS["cifar10"].contents:
        (top / name).write_bytes(a_batch([3, 1]))
    (top / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))
    return top


def test_cifar_is_not_unpickled_before_its_checksum(cifar, tmp_path, monkeypatch):
    """Neither by us nor by torchvision; where the published MD5 are those of the files, it is."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    (cifar / "test_batch").write_bytes(pickle.dumps(Evil(tmp_path / "sentinel")))
    with monkeypatch.context() as patch:
        patch.setattr(readers, "_unpickle", never)
        patch.setattr(pickle, "load", never)
        with pytest.raises(ValueError, match=r"is not the published file: its md5 is .*; get it again"):
            data.load("cifar10", "test", size=32, protocol="classification")
    assert not (tmp_path / "sentinel").exists()

    (cifar / "test_batch").write_bytes(a_batch([3, 1]))
    contents = md5_of(cifar, "cifar10")
    counts = {"classification": {"train": (10, 2), "test": (2, 2)}}
    monkeypatch.setitem(MANIFESTS, "cifar10", replace(MANIFESTS["cifar10"], contents=contents, counts=counts))
    place = readers.Place(manifest=MANIFESTS["cifar10"], folder=cifar)
    assert readers.cifar10(place, "test", "classification").keys == ((3,), (1,))


def reduces(call: bytes, *arguments: bytes) -> bytes:
    """A pickle that calls what `call` names."""
    return b"\x80\x02c" + call + b"\n(" + b"".join(arguments) + b"tR."


CALLED = (
    *("os.system", "posix.system", "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open"),
    *("builtins.bytearray", "subprocess.Popen", "importlib.import_module", "functools.partial"),
    *("copyreg._reconstructor", "numpy.load", "numpy.fromfile", "numpy.memmap", "torch.load"),
)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        *((reduces(name.replace(".", "\n").encode()), f"it asks for {name}") for name in CALLED),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93(\x8c\x01xtR.", "it asks for posix.system"),
        (b"(S'x'\nios\nsystem\n.", "it asks for os.system"),
        (reduces(b"numpy\nndarray", b"\x8a\x06" + (2**40).to_bytes(6, "little")), "not callable"),
        (reduces(b"numpy\ndtype", b"X\x01\0\0\0OK\0K\1"), "an array of type 'O', not of u1"),
        (b"\x80\x02}r" + struct.pack("<I", 2**31) + b".", "it counts 2147483648 values"),
        (b"\x80\x02\x8e" + struct.pack("<Q", 2**40) + b".", "expected 1099511627776 bytes"),
        (b"\x80\x02Pname\n.", "persistent"),
        (b"\x80\x02\x82\x01.", "unregistered extension code"),
        (b"\x80\x02}(" + b")" + 2000 * b"\x85" + b"K\x01u.", "it holds 2000 tuples"),
        (b"\x80\x02}" + 20 * reduces(b"_codecs\nencode", 2 * b"X\1\0\0\0x")[2:-1] + b".", "more arrays than"),
        (b"", "exhausted"),
    ],
)  # fmt: skip
def test_the_unpickler_can_make_nothing_else(program, told, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(program)
    with pytest.raises(ValueError, match="data_batch_1 is not a CIFAR batch: ") as caught:
        unpickle(tmp_path / "data_batch_1")
    assert told in str(caught.value)
    one_sentence(caught.value, tmp_path / "data_batch_1")
    assert [path.name for path in tmp_path.iterdir()] == ["data_batch_1"]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("test_batch", {"labels": [1]}, "test_batch holds no 'data' of N x 3072 bytes"),
        ("test_batch", {"data": "x", "labels": [1]}, "test_batch holds no 'data'"),
        (
            "test_batch",
            {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]},
            "test_batch holds no 'data'",
        ),
        ("test_batch", {"data": np.zeros((2, 3072), np.uint8)}, "test_batch holds no list 'labels'"),
        ("test_batch", {"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "2 pictures, but 1 labels"),
        ("test_batch", {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "not from 0 to 9"),
        ("test_batch", {"data": np.zeros((2, 3072), np.uint8), "labels": [1, -1]}, "not from 0 to 9"),
        (
            "test_batch",
            {"data": np.zeros((2, 3072), np.uint8), "labels": [1, "a"]},
            "no list 'labels' of int",
        ),
        ("batches.meta", {}, "batches.meta holds no list 'label_names' of str"),
        ("batches.meta", [1], "batches.meta is not a CIFAR batch"),
    ],
)
def test_a_batch_that_lacks_something_is_named(file, content, told, cifar):
    (cifar / "EMBEDDED.txt").touch()
    (cifar / file).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        data.load("cifar10", "test", size=32, protocol="classification")
    one_sentence(caught.value, cifar / file)


@pytest.mark.parametrize("shape", [(2**31, 28, 28), (2**20, 2**10, 2**10), (0, 0, 0), (2**32 - 1,) * 3])
def test_an_idx_file_takes_no_memory_that_it_does_not_fill(shape, tmp_path):
    top = tmp_path / "MNIST"
    (top / "raw").mkdir(parents=True)
    (top / "EMBEDDED.txt").touch()
    head = struct.pack(">4I", 0x803, *shape)
    for part in ("train", "t10k"):
        (top / f"raw/{part}-images-idx3-ubyte").write_bytes(head + bytes(784))
        (top / f"raw/{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 1) + b"\3")
    with pytest.raises(ValueError) as caught:
        data.load("mnist", "test", size=28, root=tmp_path)
    one_sentence(caught.value, top / "raw")


def test_only_the_files_that_were_checked_are_read(tmp_path, monkeypatch):
    """torchvision takes processed/test.pt, where it lies, not the raw files whose MD5 was compared."""
    top = tmp_path / "MNIST"
    (top / "raw").mkdir(parents=True)
    (top / "processed").mkdir()
    for part in ("train", "t10k"):
        (top / f"raw/{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784))
        (top / f"raw/{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 1) + b"\3")
    other = torch.full((1, 28, 28), 255, dtype=torch.uint8), torch.tensor([7])
    for name in ("training.pt", "test.pt"):
        torch.save(other, top / "processed" / name)
    contents = md5_of(top, "mnist")
    counts = {"retrieval": {"train": (1, 1), "test": (1, 1)}}
    monkeypatch.setitem(MANIFESTS, "mnist", replace(MANIFESTS["mnist"], contents=contents, counts=counts))
    found = data.load("mnist", "test", size=28, root=tmp_path)
    assert found.pixels is not None
    assert (found.label.tolist(), int(found.pixels.max())) == ([3], 0)


@pytest.mark.parametrize(
    "path", ["../../secret.png", "/etc/passwd", "a/../../x", "", "a\0b", "\ud800", "x" * 2000]
)
def test_a_list_cannot_lead_out_of_its_folder(path, tmp_path):
    with pytest.raises(ValueError, match="which is no path below this folder; get them again") as caught:
        readers.Listing(keys=((0,),), names=({0: "a"},), base=tmp_path, paths=(path,))
    one_sentence(caught.value, tmp_path)


def test_a_link_that_leads_back_has_an_end(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for name in ("x", "y", "z"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "back").symlink_to(tmp_path / "own")
    with pytest.raises(ValueError, match="nested more than 8 deep") as caught:
        data.load(f"folder:{tmp_path / 'own'}", "all", size=4)
    one_sentence(caught.value, tmp_path / "own", "no link may lead back")


def test_a_matlab_file_is_read_as_scipy_reads_it(tmp_path):
    from scipy.io import loadmat, savemat

    fields = ("name", "x", "class")
    rows = np.empty((1, 3), dtype=[(field, object) for field in fields])
    for i, row in enumerate((("ä.jpg", 1.5, 3), ("b" * 300, -2, 2**31), ("", 0, 255))):
        rows[0, i] = row
    names = np.empty((1, 2), dtype=object)
    names[0] = ["one name", "ü"]
    for packed in (False, True):
        savemat(tmp_path / "a.mat", {"rows": rows, "names": names, "m": np.eye(2)}, do_compression=packed)
        ours, theirs = matlab.read(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat", squeeze_me=True)
        assert ours["names"] == theirs["names"].tolist()
        assert ours["m"] == (1, 0, 0, 1)
        for field in fields:
            column = [row[field] if isinstance(row[field], str) else row[field][0] for row in ours["rows"]]
            assert column[:2] == theirs["rows"][field].tolist()[:2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"MATLAB 7.3".ljust(128), "no MATLAB 5 file"),
        (
            bytes(126) + b"IM" + struct.pack("<2I", 15, 2**31) + b"x",
            "2147483648 bytes are told of and 1 are left",
        ),
        (bytes(126) + b"IM" + struct.pack("<2I", 15, 8) + b"no zlib.", "incorrect header check"),
        (bytes(126) + b"IM" + struct.pack("<2I", 9, 8) + bytes(8), "an element of type 9 stands in place"),
        (
            bytes(126) + b"IM" + struct.pack("<2I", 14, 8) + struct.pack("<2I", 6, 2**30),
            "1073741824 bytes are told of",
        ),
    ],
)
def test_what_is_no_matlab_file_is_named(content, told, tmp_path):
    (tmp_path / "cars_annos.mat").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        matlab.read(tmp_path / "cars_annos.mat")
    one_sentence(caught.value, tmp_path / "cars_annos.mat")


def test_a_packed_matlab_variable_has_an_end(tmp_path):
    bomb = zlib.compress(bytes(2 * matlab.LARGEST))
    (tmp_path / "a.mat").write_bytes(bytes(126) + b"IM" + struct.pack("<2I", 15, len(bomb)) + bomb)
    with pytest.raises(ValueError, match=f"cut short, or larger than {matlab.LARGEST} bytes"):
        matlab.read(tmp_path / "a.mat")
