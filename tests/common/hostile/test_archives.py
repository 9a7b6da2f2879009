"""Archives and servers of strangers: all or nothing, and nothing outside."""

import contextlib
import gzip
import http.server
import io
import os
import shutil
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.data import archive, download
from common.data.manifests import File

from .conftest import one_sentence


def a_tar(*members: tuple[tarfile.TarInfo | str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as pack:
        for info, content in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            if content:
                info.size = len(content)
            pack.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def a_zip(*members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as pack:
        for name, content in members:
            pack.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, **facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info


def header(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header of a tar archive, its size as given: octal digits, or a binary number after 0x80 or 0xff."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def told(size: int) -> bytes:
    """A size of 12 bytes, which may be negative."""
    return (b"\xff" if size < 0 else b"\x80") + size.to_bytes(11, "big", signed=True)


GOOD = ("a/good.txt", b"good")
END = bytes(1024)
LONG = "x" * 300


def hostile_archives() -> Iterator[tuple[str, str, bytes]]:
    """(what, file name, content) beside those of tests/common/data/test_cache.py."""
    for path in ("a/good.txt/below.txt", "a", "./a/good.txt", "a//good.txt", "a/good.txt"):
        yield f"{path} in the way", "p.tar", a_tar(GOOD, (path, b"x"))
    yield "a file where a folder is", "p.tar", a_tar((entry("d", type=tarfile.DIRTYPE), b""), ("d", b"x"))
    yield "a folder where a file is", "p.tar", a_tar(("d", b"x"), (entry("d", type=tarfile.DIRTYPE), b""))
    yield "the folder itself", "p.tar", a_tar(GOOD, (".", b"x"))
    yield "a name that is too long", "p.tar", a_tar(GOOD, (LONG, b"x"))
    yield "a path that is too long", "p.tar", a_tar(GOOD, ("/".join(["y" * 200] * 30), b"x"))
    yield "too deep", "p.tar", a_tar(GOOD, ("d/" * 400 + "f", b"x"))
    yield "an unknown type", "p.tar", a_tar(GOOD, (entry("u", type=b"Z", linkname="/etc"), b""), GOOD)
    yield "8 GiB in a header", "p.tar", a_tar(GOOD)[:1024] + header("big", told(2**33)) + END
    yield "a name of 8 GiB", "p.tar", header("././@LongLink", told(2**33), tarfile.GNUTYPE_LONGNAME) + END
    yield "a pax header of 8 GiB", "p.tar", header("pax", told(2**33), tarfile.XHDTYPE) + END
    yield "a negative size", "p.tar", header("loop", told(-1024)) + END
    yield "a negative folder", "p.tar", header("loop/", told(-512), tarfile.DIRTYPE) + END
    yield "a negative name", "p.tar", header("././@LongLink", told(-512), tarfile.GNUTYPE_LONGNAME) + END
    digits = b"1" * 60_000
    yield (
        "digits without end",
        "p.tar",
        header("pax", b"%011o\0" % len(digits), tarfile.XHDTYPE) + digits + END,
    )
    many = header("pax", b"%011o\0" % 512, tarfile.XHDTYPE) + b"13 comment=x\n".ljust(512, b"\0")
    yield "headers without end", "p.tar", 5000 * many + END
    yield (
        "a name without end, packed",
        "p.tgz",
        gzip.compress(
            header("././@LongLink", b"%011o\0" % 2**27, tarfile.GNUTYPE_LONGNAME) + bytes(2**27), 1
        ),
    )
    yield "a bomb", "p.tgz", gzip.compress(a_tar(("zeros", bytes(archive.FLOOR + 1))), 1)
    yield "a bomb", "p.zip", a_zip(("zeros", bytes(archive.FLOOR + 1)))
    yield "a bomb of many", "p.zip", a_zip(*((f"{i}", bytes(2**20)) for i in range(65)))
    whole = a_zip(("a", b"x" * 1000), how=zipfile.ZIP_STORED)
    for lie in (0, 999, 1001, 2**31):
        at = whole.rindex(b"PK\x01\x02") + 20
        lying = whole[:at] + 2 * struct.pack("<I", lie) + whole[at + 8 :]
        yield f"{lie} bytes in a zip of 1000", "p.zip", lying
    yield "a broken name", "p.zip", a_zip(("ü", b"x")).replace("ü".encode(), b"\xc3(")
    yield "a name with a zero", "p.zip", a_zip(("aXb", b"x")).replace(b"aXb", b"a\0b")
    yield "a drive", "p.zip", a_zip(("C:x", b"x"))
    flags = b"PK\x01\x02\x14\x03\x14\0"  # and the first byte after them
    yield "encrypted", "p.zip", a_zip(("a", b"x")).replace(flags + b"\0", flags + b"\1")
    yield "an unknown method", "p.zip", a_zip(("a", b"x")).replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0")
    yield "no zip", "p.zip", b"PK\x05\x06" + bytes(30)
    yield "empty", "p.zip", b""
    yield "empty", "p.tar", b""
    yield "empty", "p.gz", b""
    yield "no name", ".gz", gzip.compress(b"x")
    yield "a folder's name", "..gz", gzip.compress(b"x")
    yield "the folder above", "...gz", gzip.compress(b"x")


@pytest.mark.filterwarnings("error", "ignore:Duplicate name")
def test_no_archive_leaves_anything(tmp_path):
    place = tmp_path / "in"
    seen = 0
    for what, name, content in hostile_archives():
        place.mkdir()
        (place / name).write_bytes(content)
        with pytest.raises(ValueError) as caught:
            archive.extract(place / name, place / "out")
        one_sentence(caught.value, place / name, "not unpacked", "get it again", "holds no file")
        assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["in", name]), what
        shutil.rmtree(place)
        seen += 1
    assert seen >= 40


def test_too_many_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MEMBERS", 100)
    folders = [(entry(f"d{i}", type=tarfile.DIRTYPE), b"") for i in range(200)]
    (tmp_path / "p.tar").write_bytes(a_tar(*folders, GOOD))
    with pytest.raises(ValueError, match="more than 100 files and folders; not unpacked"):
        archive.extract(tmp_path / "p.tar", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["p.tar"]


def test_what_an_archive_says_about_rights_and_owners_is_passed_over(tmp_path):
    evil = entry("bin/su", mode=0o6777, uid=0, gid=0, uname="root", mtime=2**33)
    (tmp_path / "p.tar").write_bytes(
        a_tar((evil, b"#!/bin/sh\n"), (entry("bin", type=tarfile.DIRTYPE, mode=0), b""))
    )
    archive.extract(tmp_path / "p.tar", tmp_path / "out")
    found = (tmp_path / "out/bin/su").stat()
    assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o111 | 0o002)
    assert found.st_uid == os.getuid()
    assert (tmp_path / "out/bin").stat().st_mode & 0o700 == 0o700


def test_names_that_look_alike_stay_apart_or_are_refused(tmp_path, monkeypatch):
    """Case and the form of accents: two files where the system knows two names, else refused."""
    (tmp_path / "p.tar").write_bytes(a_tar(("Éa", b"1"), ("E\u0301a", b"2"), ("ÉA", b"3")))
    archive.extract(tmp_path / "p.tar", tmp_path / "out")
    assert sorted(path.read_text() for path in (tmp_path / "out").iterdir()) == ["1", "2", "3"]
    shutil.rmtree(tmp_path / "out")

    plain = Path.open

    def one_case(self: Path, mode: str = "r", *rest: Any) -> Any:
        if "x" in mode and any(p.name.lower() == self.name.lower() for p in self.parent.iterdir()):
            raise FileExistsError(17, "File exists", str(self))
        return plain(self, mode, *rest)

    monkeypatch.setattr(Path, "open", one_case)
    with pytest.raises(ValueError, match=r"holds 'ÉA' where a file or folder of that name is already"):
        archive.extract(tmp_path / "p.tar", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["p.tar"]


def test_an_archive_in_an_archive_stays_packed(tmp_path):
    inner = a_zip(("zeros", bytes(2**24)))
    (tmp_path / "p.tar").write_bytes(a_tar(("inner.zip", inner)))
    archive.extract(tmp_path / "p.tar", tmp_path / "out")
    assert (tmp_path / "out/inner.zip").read_bytes() == inner


def test_a_full_disk_is_no_damaged_archive(tmp_path, monkeypatch):
    (tmp_path / "p.tar").write_bytes(a_tar(GOOD))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, "replace", full)
    with pytest.raises(
        OSError, match=r"cannot unpack .*p\.tar to .*No space left on device; make room"
    ) as caught:
        archive.extract(tmp_path / "p.tar", tmp_path / "out")
    assert not isinstance(caught.value, ValueError)
    assert [path.name for path in tmp_path.iterdir()] == ["p.tar"]


def test_a_server_that_never_ends_is_left(tmp_path):
    """Without a length and without a known size, a few times the rounded size is the end."""
    sent = 0

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(200)
            self.send_header("Content-Length", "as much as you like")
            self.end_headers()
            with contextlib.suppress(OSError):
                while sent < 2**28:
                    sent += self.wfile.write(bytes(2**16))

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/x.zip"
        file = File(name="x.zip", urls=(url,), megabytes=1, sha256="0" * 64)
        with pytest.raises(download.DownloadError, match="more than 4 times the published 1 MB came"):
            download.get(file, tmp_path / "x.zip", attempts=1)
    finally:
        server.shutdown()
        server.server_close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8 * 2**20
