"""common.data.cache and common.data.archive."""

import io
import multiprocessing
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.data import archive, cache


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def rows(n, value=7):
    return lambda: (np.full((1, 4, 4), value + i, np.uint8) for i in range(n))


# --- cache -----------------------------------------------------------------------------------------------


def test_pixels_are_made_once_and_mapped(here):
    made = []

    def make():
        made.append(1)
        return rows(3)()

    first = cache.pixels("k", (3, 1, 4, 4), make)
    again = cache.pixels("k", (3, 1, 4, 4), make)
    assert len(made) == 1
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(first, np.broadcast_to(np.arange(7, 10)[:, None, None, None], (3, 1, 4, 4)))
    again[0] = 0  # copy on write: the file stays as it was
    assert cache.pixels("k", (3, 1, 4, 4), make)[0, 0, 0, 0] == 7


@pytest.mark.parametrize("n", [2, 4])
def test_a_wrong_number_of_pictures_leaves_nothing(here, n):
    with pytest.raises((ValueError, IndexError)):
        cache.pixels("k", (3, 1, 4, 4), rows(n))
    assert [p for p in cache.root().iterdir() if not p.name.endswith(".lock")] == []


def test_a_decoder_that_fails_leaves_nothing(here):
    def broken():
        yield np.zeros((1, 4, 4), np.uint8)
        raise ValueError("cannot read picture 1")

    with pytest.raises(ValueError, match="picture 1"):
        cache.pixels("k", (3, 1, 4, 4), broken)
    assert [p for p in cache.root().iterdir() if not p.name.endswith(".lock")] == []
    assert len(cache.pixels("k", (3, 1, 4, 4), rows(3))) == 3  # and the lock is free


def test_another_shape_under_the_same_name_is_an_error(here):
    cache.pixels("k", (3, 1, 4, 4), rows(3))
    with pytest.raises(ValueError, match="expected uint8"):
        cache.pixels("k", (3, 1, 2, 2), rows(3))


def _build_slowly(folder, queue):
    os.environ["DATA_CACHE"] = folder

    def make():
        queue.put(os.getpid())
        yield from rows(200)()

    queue.put(("sum", int(cache.pixels("k", (200, 1, 4, 4), make).sum())))


def test_processes_that_ask_at_once_get_one_result(here):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_build_slowly, args=(str(here / "cache"), queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    said = [queue.get(timeout=240) for _ in range(4)]
    for worker in workers:
        worker.join()
    expected = sum((7 + i) % 256 for i in range(200)) * 16
    assert [s for s in said if isinstance(s, tuple)] == [("sum", expected)] * 3
    assert len([s for s in said if not isinstance(s, tuple)]) == 1  # only one of them decoded


def test_keys_differ_with_every_fact():
    assert cache.key("cub", 64, [1, 3]) == cache.key("cub", 64, [1, 3])
    assert (
        len({cache.key("cub", 64), cache.key("cub", 65), cache.key("cub", "64"), cache.key(["cub", 64])}) == 4
    )


def test_a_cache_that_cannot_be_written_is_named(here, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("DATA_CACHE", str(here / "file"))
    with pytest.raises(OSError, match="DATA_CACHE"):
        cache.pixels("k", (3, 1, 4, 4), rows(3))


def test_an_archive_is_unpacked_once_and_only_when_it_is_the_published_one(here):
    pack = here / "a.zip"
    with zipfile.ZipFile(pack, "w") as z:
        z.writestr("top/file.txt", "hello")
    right = cache.checksum(pack)
    with pytest.raises(ValueError, match=f"{pack}.*expected {'0' * 64}"):
        cache.unpacked(pack, "0" * 64)
    assert not (cache.root() / ("0" * 64)).exists()
    top = cache.unpacked(pack, right)
    assert top == cache.root() / right
    assert (top / "top" / "file.txt").read_text() == "hello"
    pack.write_bytes(b"changed since")
    assert cache.unpacked(pack, right) == top


# --- archives --------------------------------------------------------------------------------------------


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as pack:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for info, data in members:
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (entry("a/good.txt"), b"good")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.gz", "tar.xz", "tar.bz2"])
def test_every_kind_gives_the_same_tree(tmp_path, kind):
    pack = tmp_path / f"p.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("a/b.txt", "x" * 1000)
            z.mkdir("empty")
    else:
        mode = {"tar": "w", "tgz": "w:gz"}.get(kind, f"w:{kind[4:]}")
        tar(pack, (entry("a/b.txt"), b"x" * 1000), (entry("empty", tarfile.DIRTYPE), b""), mode=mode)
    archive.extract(pack, tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*"))
    assert found == ["a", "a/b.txt", "empty"]
    assert (tmp_path / "out/a/b.txt").read_text() == "x" * 1000
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) & 0o055 == 0o055


HOSTILE = {
    "parent": entry("../evil.txt"),
    "hidden parent": entry("a/../../evil.txt"),
    "absolute": entry("/tmp/evil.txt"),
    "windows drive": entry("C:/evil.txt"),
    "backslash": entry("..\\evil.txt"),
    "symlink": entry("link", tarfile.SYMTYPE, "/etc"),
    "symlink inside": entry("link", tarfile.SYMTYPE, "a/good.txt"),
    "hardlink": entry("link", tarfile.LNKTYPE, "a/good.txt"),
    "device": entry("null", tarfile.CHRTYPE),
    "block device": entry("disk", tarfile.BLKTYPE),
    "pipe": entry("pipe", tarfile.FIFOTYPE),
    "twice": entry("a/good.txt"),
    "twice in other words": entry("a/./good.txt"),
    "below a file": entry("a/good.txt/evil.txt"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tar_leaves_nothing(tmp_path, what):
    (tmp_path / "in").mkdir()
    pack = tar(tmp_path / "in" / "p.tar", GOOD, (HOSTILE[what], b""))
    with pytest.raises(ValueError, match=r"p\.tar holds .*not unpacked"):
        archive.extract(pack, tmp_path / "in" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "p.tar"]


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a\\..\\..\\evil.txt", "link"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zip_leaves_nothing(tmp_path, name):
    pack = tmp_path / "p.zip"
    with zipfile.ZipFile(pack, "w") as z:
        z.writestr("good.txt", "good")
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name
        if name == "link":
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=r"p\.zip holds .*not unpacked"):
        archive.extract(pack, tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["p.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar.xz", "gz"])
def test_a_bomb_is_stopped(tmp_path, kind):
    import gzip

    zeros = bytes(2**22)
    pack = tmp_path / f"p.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("zeros", zeros)
    elif kind == "gz":
        pack.write_bytes(gzip.compress(zeros))
    else:
        tar(pack, (entry("zeros"), zeros), mode="w:xz")
    with pytest.raises(ValueError, match="unpacks to more than"):
        archive.extract(pack, tmp_path / "out", floor=2**20)
    assert [p.name for p in tmp_path.rglob("*")] == [pack.name]
    archive.extract(pack, tmp_path / "out")  # 4 MiB are below the floor that any ratio is believed to


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "gz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_truncated_archive_leaves_nothing(tmp_path, kind, share):
    import gzip

    data = np.random.default_rng(0).integers(0, 256, 60_000, dtype=np.uint8).tobytes()
    pack = tmp_path / f"p.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(pack, "w") as z:
            z.writestr("a", data)
    elif kind == "gz":
        pack.write_bytes(gzip.compress(data))
    else:
        mode = {"tar": "w", "tgz": "w:gz", "tar.xz": "w:xz"}[kind]
        tar(pack, (entry("a"), data), mode=mode)
    whole = pack.read_bytes()
    if kind == "tar":
        whole = whole[:60_512]  # without the padding at the end, which may be missing
    pack.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        archive.extract(pack, tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == [pack.name]


def test_an_unknown_kind_is_named(tmp_path):
    (tmp_path / "p.rar").write_bytes(b"Rar!")
    with pytest.raises(ValueError, match="unknown kind"):
        archive.extract(tmp_path / "p.rar", tmp_path / "out")
