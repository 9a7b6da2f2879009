"""Unpack a zip or tar archive, or one .gz file, that may be hostile or damaged: all or nothing.

Refused: paths that are absolute or contain '..', links of either kind, devices, names twice, more bytes than
the archive can honestly hold. Owners, permissions and times in the archive are ignored. What is wrong is said
in one ValueError.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

RATIO = 200
"""Unpacked bytes per archived byte that are still believed; pictures stay below 10, 1-bit PNG in tar.xz
below 20.
"""
FLOOR = 64 * 2**20
"""Up to this many bytes any ratio is believed."""
MEMBERS = 1_000_000
"""Files and folders in one archive that are still believed."""

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    NotImplementedError,
)


def extract(archive: Path, folder: Path, *, ratio: float = RATIO, floor: int = FLOOR) -> None:
    """Unpack into `folder`, which must be empty or missing; after a failure it is empty or missing as before.

    archive: .zip, .tar, .tgz, .tar.gz, .tar.xz, .tar.bz2, or NAME.gz, which gives the one file NAME.
    ratio, floor: at most max(floor, ratio * size of the archive) bytes come out.
    Raises ValueError naming the archive and the member: unknown kind, hostile, damaged or incomplete.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder.parent))
    try:
        new.chmod(0o755)  # mkdtemp makes it private
        _unpack(archive, new, max(floor, int(ratio * archive.stat().st_size)))
        os.replace(new, folder)
    except _DAMAGED as error:
        raise ValueError(f"archive {archive} is damaged or incomplete: {error}; get it again") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    taken: set[PurePosixPath] = set()
    room, members = limit, 0
    for name, source in _members(archive):
        members += 1
        path = _safe(archive, name)
        if path in taken or not taken.isdisjoint(path.parents):
            raise ValueError(
                f"archive {archive} holds {name!r} twice, or a file where a folder should be; not unpacked"
            )
        if source is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
            continue
        taken.add(path)
        if members > MEMBERS:
            raise ValueError(f"archive {archive} holds more than {MEMBERS} files; not unpacked")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as file:
            while chunk := source.read(1 << 20):
                room -= len(chunk)
                if room < 0:
                    raise ValueError(
                        f"archive {archive} of {archive.stat().st_size} bytes unpacks to more than {limit} "
                        f"bytes, "
                        f"at {name!r}; not unpacked"
                    )
                file.write(chunk)
    if not taken:
        raise ValueError(f"archive {archive} holds no file")


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError(
            f"archive {archive} holds {name!r}, a path that could lead out of its folder; not unpacked"
        )
    return path


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, open file), or (name, None) for a folder."""
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as pack:
            for entry in pack.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(
                        f"archive {archive} holds {entry.filename!r}, a link or device; not unpacked"
                    )
                if entry.flag_bits & 1:
                    raise ValueError(
                        f"archive {archive} holds {entry.filename!r}, which is encrypted; not unpacked"
                    )
                yield entry.orig_filename, None if entry.is_dir() else pack.open(entry)
    elif name.endswith((".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")):
        with tarfile.open(archive) as pack:
            for entry in pack:
                if not (entry.isfile() or entry.isdir()):
                    raise ValueError(
                        f"archive {archive} holds {entry.name!r}, a link or device; not unpacked"
                    )
                yield entry.name, None if entry.isdir() else pack.extractfile(entry)
            if pack.fileobj is not None:
                while pack.fileobj.read(1 << 20):  # to the end, where the compressed stream checks itself
                    pass
    elif name.endswith(".gz"):
        yield archive.name[:-3], io.BufferedReader(gzip.open(archive))
    else:
        raise ValueError(
            f"archive {archive} is of an unknown kind; known are zip, tar, tgz, tar.gz, tar.xz, tar.bz2 and "
            f"gz"
        )
