"""Folders and files whose names hold blanks, line breaks, dashes, accents, and what a shell would run."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

from common import data, gallery
from common.results import load_runs

from .conftest import ODD_NAMES, REPOSITORY, evaluate


def test_odd_names_of_pictures_exports_and_galleries(own, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache\nü"))
    for resident in (None, False):
        found = data.load(f"folder:{own}", "all", size=8, resident=resident)
        assert found.names == (tuple(sorted(ODD_NAMES)),)
        names = [ODD_NAMES.index(found.names[0][i]) for i in found.label.tolist()]
        assert names == [int(found.picture(i)[0, 0, 0]) for i in range(len(found))]
    for place in ODD_NAMES[::-1]:
        folder = tmp_path / "out" / place
        file = folder / "-e\n ü.npz"
        gallery.export(file, embedding=torch.randn(len(found), 4), dataset=found)
        assert gallery.read_export(file).names == found.names
    out, npy = folder / "-picture\nü.png", folder / "--npy"
    gallery.main([str(file), "--out", str(out), "--queries", "4", "--neighbours", "2", "--npy", str(npy)])
    with Image.open(out) as shown:
        assert shown.width > 100
    assert "Traceback" not in capsys.readouterr().err
    lines = (npy / "labels.csv").read_text().splitlines()  # UTF-8 whatever the names are
    assert lines[0] == "picture,class"


def test_a_run_between_odd_names(own, tmp_path, monkeypatch, capsys):
    """Train on own pictures, measure, export, in a folder whose name is odd as well."""
    for name in ("line\nbreak", "tab\tbed", "\u202ertl", os.fsdecode(b"\xff\xfe")):
        shutil.rmtree(own / name)
    home = tmp_path / "-home of\n$(x) ü"
    home.mkdir()
    monkeypatch.chdir(home)
    plain = tmp_path / "pictures, ü | <b>"  # a row of results holds the name of its data: one line
    own.rename(plain)
    words = ["smoke", "--data", f"folder:{plain}", "--size", "16", "--enlarged", "16", "--steps", "1"]
    importlib.import_module("cgd_retrieval.train").main([*words, "--classes-per-batch", "4"])
    checkpoint = next(home.rglob("last.pt"))
    moved = tmp_path / "-check \n point ü.pt"
    moved.write_bytes(checkpoint.read_bytes())
    status, told = evaluate(
        "cgd_retrieval", str(moved), "--export", str(tmp_path / "-e x\n.npz"), capsys=capsys
    )
    assert (status, told) == (0, "")
    status, told = evaluate("cgd_retrieval", str(checkpoint.relative_to(home)), "--record", capsys=capsys)
    assert (status, told) == (0, "")
    recorded = load_runs("cgd_retrieval", home / "results")
    assert set(recorded["dataset"]) == {f"folder:{plain}"}
    assert sorted(p.name for p in home.iterdir()) == ["data", "results", "runs"]  # data/cache
    assert gallery.read_export(tmp_path / "-e x\n.npz").dataset == f"folder:{plain}"


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [("ascii", "ü日本.png", r"\xfc\u65e5\u672c.png"), ("utf-8", os.fsdecode(b"\xff.png"), r"\udcff.png")],
)
def test_a_name_that_stdout_cannot_show_is_escaped(encoding, name, shown, tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"epoch": 1, "loss": 2.0}) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "common.plots", "curves", "log.jsonl", "--out", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{shown}\n", "")
    assert (tmp_path / name).exists()
