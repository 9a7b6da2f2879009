"""common.data: manifests, resolve, the framed message, and the command."""

import os
import re
import subprocess
import sys

import pytest

from common.data import MANIFESTS, DataMissing, catalogue, download, load, resolve
from common.data.__main__ import main
from common.data.readers import READERS


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data root, no network, and no message said yet."""
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.setattr(catalogue, "_said", set())
    monkeypatch.setattr(catalogue.atexit, "register", lambda *a, **k: None)

    def offline(url):
        raise OSError("Name or service not known")

    monkeypatch.setattr(download, "reach", offline)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# --- Manifests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_complete(name):
    m = MANIFESTS[name]
    assert m.name == name
    assert name in READERS
    assert all((m.terms, m.citation, m.tree))
    assert m.homepage.startswith("http")
    assert bool(m.tops) == bool(m.marks) == bool(m.files)
    for file in (*m.files, *m.packed):
        assert re.fullmatch(r"[0-9a-f]{64}|", file.sha256)
        assert re.fullmatch(r"[0-9a-f]{32}|", file.md5)
        assert file.megabytes > 0
        if file.bytes is not None:
            assert abs(file.megabytes - file.bytes / 1e6) <= 0.06
        assert all(re.match(r"(https?|ftp)://", url) for url in file.urls)
        assert bool(file.unpacks) == bool(file.into)
    assert all(file.sha256 for file in m.packed)
    if not m.manual:  # what is downloaded has an address and a published checksum
        assert all(file.urls and (file.sha256 or file.md5) for file in m.files)
        assert m.megabytes < float("inf")  # and a known size, for the rule of automatic downloads
        for file in m.files:  # and ends where the set is looked for
            assert any(file.into.startswith(top) for top in m.tops)
    assert all(re.fullmatch(r"[0-9a-f]{32}", md5) for md5 in m.contents.values())


def test_checksums_agree_with_torchvision():
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, Omniglot

    assert {f.name: f.md5 for f in MANIFESTS["mnist"].files} == dict(MNIST.resources)
    found = {f.name.removesuffix(".zip"): f.md5 for f in MANIFESTS["omniglot"].files}
    assert found == Omniglot.zips_md5
    for name, kind in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        (file,) = MANIFESTS[name].files
        assert (file.md5, file.urls[0], file.name) == (kind.tgz_md5, kind.url, kind.filename)
        lists = {row[0]: row[1] for row in (*kind.train_list, *kind.test_list)}
        lists[kind.meta["filename"]] = kind.meta["md5"]
        assert MANIFESTS[name].contents == lists


# --- resolve ---------------------------------------------------------------------------------------------


def boxed(text):
    rows = text.strip().splitlines()
    assert len({len(row) for row in rows}) == 1
    assert len(rows[0]) <= 100
    assert rows[0] == rows[-1] == "+" + "-" * (len(rows[0]) - 2) + "+"
    assert all(row.startswith("| ") and row.endswith(" |") for row in rows[1:-1])
    assert all(char.isascii() for char in text)
    return re.sub(r"\s*\|\n\|\s*", " ", "\n".join(rows))


@pytest.mark.parametrize("name", MANIFESTS)
def test_auto_without_data_says_so_in_a_frame_and_goes_on(root, capsys, name):
    assert resolve(name) == "embedded"
    out, err = capsys.readouterr()
    assert out == ""
    text = boxed(err)
    assert f"DATA MISSING: {name} (" in text
    assert "GOING ON WITHOUT IT" in text
    assert MANIFESTS[name].tree.splitlines()[0] in text
    assert ("make data-" in text) == (not MANIFESTS[name].manual)
    resolve(name)
    assert capsys.readouterr().err == ""  # once, and once more at the end


def test_no_network_is_the_reason_that_is_given(root, capsys):
    resolve("omniglot")
    assert "Not downloaded: images_background.zip could not be downloaded" in (
        text := boxed(capsys.readouterr().err)
    )
    assert "Name or service not known" in text


def test_auto_does_not_start_a_large_download(root, capsys, monkeypatch):
    monkeypatch.setattr(download, "fetch", lambda *a: pytest.fail("started to download"))
    assert resolve("cub") == "embedded"
    assert "1.2 GB of data; at most 300 MB" in boxed(capsys.readouterr().err)


def test_auto_downloads_a_small_set(root, monkeypatch):
    asked = []

    def deliver(manifest, where):
        asked.append(manifest.name)
        for part in ("images_background", "images_evaluation"):
            (where / "omniglot-py" / part).mkdir(parents=True)

    monkeypatch.setattr(download, "fetch", deliver)
    assert resolve("omniglot") == "omniglot"
    assert resolve("omniglot") == "omniglot"
    assert asked == ["omniglot"]


def test_auto_survives_a_data_root_that_cannot_be_written(root, capsys, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setenv("DATA_ROOT", str(root / "file" / "below"))
    assert resolve("mnist") == "embedded"
    assert "cannot be written" in boxed(capsys.readouterr().err)


def test_real_stops_with_the_message(root, capsys):
    with pytest.raises(DataMissing) as caught:
        resolve("cub", "real")
    assert isinstance(caught.value, FileNotFoundError)
    text = boxed(str(caught.value))
    assert "make data-cub (1.2 GB)" in text
    assert "GOING ON" not in text
    assert capsys.readouterr().err == ""


def test_policy_comes_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("DATA", "synthetic")
    assert resolve("cub") == "embedded"
    assert resolve("folder:/nowhere") == "embedded"
    monkeypatch.setenv("DATA", "real")
    with pytest.raises(DataMissing):
        resolve("cub")
    monkeypatch.setenv("DATA", "fake")
    with pytest.raises(ValueError, match="DATA is 'fake'; choose one of auto, real, synthetic"):
        resolve("cub")


def test_own_pictures_are_never_replaced(root):
    with pytest.raises(DataMissing, match="folder:/nowhere: there is no such folder"):
        resolve("folder:/nowhere", "auto")
    assert resolve(f"folder:{root}", "auto") == f"folder:{root}"


def test_embedded_and_unknown_names(root):
    assert resolve("embedded", "real") == "embedded"
    with pytest.raises(ValueError, match="there is no data set 'birds'; choose one of mnist"):
        resolve("birds")


def test_found_sets_are_not_downloaded(root, monkeypatch):
    monkeypatch.setattr(download, "fetch", lambda *a: pytest.fail("started to download"))
    for part in ("images_background", "images_evaluation"):
        (root / "omniglot-py" / part).mkdir(parents=True)
    for policy in ("auto", "real"):
        assert resolve("omniglot", policy) == "omniglot"


def test_load_of_a_missing_set(root):
    with pytest.raises(DataMissing, match="DATA MISSING: sop"):
        load("sop", "train", size=32)


def test_the_message_comes_first_and_last(tmp_path):
    code = (
        "import sys; from common import data; print('name', data.resolve('cub'), flush=True); "
        "print('WORK', file=sys.stderr)"
    )
    env = {**os.environ, "DATA_ROOT": str(tmp_path), "DATA": "auto"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "name embedded\n"
    before, after = done.stderr.split("WORK\n")
    assert before == after
    boxed(before)


def test_one_name_does_not_import_another_owners_module():
    code = "import sys, common.data; assert not [m for m in sys.modules if m.startswith('common.data.')]"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- The command -----------------------------------------------------------------------------------------


def test_list(root, capsys):
    (root / "cub_100").mkdir()
    (root / "cub_100/cub_100_crop227.zip").touch()
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (*MANIFESTS, "embedded", "folder:PATH"):
        assert re.search(rf"^{name}\s", out, re.MULTILINE)
    assert f"{root / 'cub_100'} (packed)" in out
    assert all(manifest.terms in out for manifest in MANIFESTS.values())
    assert re.search(r"^cub .* 11,788 +1.2 GB +make data-cub$", out, re.MULTILINE)


def test_verify_of_a_missing_set(root, capsys):
    assert main(["verify", "cub"]) == 1
    assert capsys.readouterr().out == f"✗ cub is not complete below {root}\n"


def test_verify_finds_a_wrong_packed_file(root, capsys):
    (root / "cub_100").mkdir()
    (root / "cub_100/cub_100_crop227.zip").write_bytes(b"something else")
    assert main(["verify", "cub_100"]) == 1
    out = capsys.readouterr().out
    assert f"✗ cub_100_crop227.zip: sha256 {MANIFESTS['cub_100'].packed[0].sha256}" in out


def test_verify_of_a_written_layout_names_it(root, capsys):
    layouts = pytest.importorskip("common.data.layouts")
    layouts.write("cub", root)
    assert main(["verify", "cub"]) == 0
    out = capsys.readouterr().out
    assert "- EMBEDDED.txt: generated drawings" in out
    assert re.search(r"✓ train \(retrieval\): \d+ pictures of 12 classes", out)
    next((root / "CUB_200_2011/images").rglob("*.jpg")).unlink()
    assert main(["verify", "cub"]) == 1
    assert re.search(r"✗ .*\.jpg is missing", capsys.readouterr().out)


def test_fetch_of_a_set_that_is_there(root, capsys):
    for part in ("images_background", "images_evaluation"):
        (root / "omniglot-py" / part).mkdir(parents=True)
    assert main(["fetch", "omniglot"]) == 0
    assert "omniglot is there" in capsys.readouterr().out


@pytest.mark.parametrize("name", [n for n, m in MANIFESTS.items() if m.manual])
def test_fetch_of_what_cannot_be_downloaded_says_how_to_place_it(root, name):
    with pytest.raises(FileNotFoundError) as caught:
        main(["fetch", name])
    text = boxed(str(caught.value))
    assert f"DATA MISSING: {name}" in text
    assert MANIFESTS[name].manual.split(".")[0] in text


def test_fetch_without_network_is_one_sentence_and_leaves_nothing(root, tmp_path):
    with pytest.raises(OSError, match=r"^CUB_200_2011\.tgz could not be downloaded\.[^\n]*$"):
        main(["fetch", "cub", "--root", str(tmp_path / "not" / "there")])
    assert not (tmp_path / "not").exists()


def test_root_may_stand_before_or_after_the_command(root, capsys, tmp_path):
    other = tmp_path / "other"
    for argv in (["--root", str(other), "verify", "cub"], ["verify", "cub", "--root", str(other)]):
        assert main(argv) == 1
        assert f"below {other}" in capsys.readouterr().out
