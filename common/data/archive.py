"""Unpack a zip or tar archive, or one .gz file, that may be hostile or damaged: all or nothing.

Refused: paths that are absolute, contain '..' or cannot be made here, links of either kind, devices, names
twice, more bytes, files or folders than the archive can honestly hold. Owners, permissions and times in the
archive are ignored. What is wrong is said in one ValueError.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

RATIO = 200
"""Unpacked bytes per archived byte that are still believed; pictures stay below 10, 1-bit PNG in tar.xz
below 20.
"""
FLOOR = 64 * 2**20
"""Up to this many bytes any ratio is believed."""
MEMBERS = 1_000_000
"""Files and folders in one archive that are still believed."""
DEPTH = 50
"""Folders in one another that are still believed."""
HEADER = 64 * 2**10
"""Bytes of a tar archive between the contents of two files that are still believed."""

_STREAMS: dict[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    ".tgz": gzip.open,
    ".tar.gz": gzip.open,
    ".tar.xz": lzma.open,
    ".tar.bz2": bz2.open,
}


class Refused(ValueError):
    """An archive that says something hostile."""


def extract(archive: Path, folder: Path, *, ratio: float = RATIO, floor: int = FLOOR) -> None:
    """Unpack into `folder`, which must be empty or missing; after a failure it is empty or missing as before.

    archive: .zip, .tar, .tgz, .tar.gz, .tar.xz, .tar.bz2, or NAME.gz, which gives the one file NAME.
    ratio, floor: at most max(floor, ratio * size of the archive) bytes come out.
    Raises ValueError naming the archive and the member: unknown kind, hostile, damaged or incomplete. OSError
    when the system cannot: no archive, no room.
    """
    size = archive.stat().st_size
    if not size:
        raise ValueError(f"archive {archive} is empty; get it again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder.parent))
    try:
        new.chmod(0o755)  # mkdtemp makes it private
        _unpack(archive, new, max(floor, int(ratio * size)))
        os.replace(new, folder)
    except Refused:
        raise
    except Exception as error:  # the libraries answer nonsense with nearly every type that there is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:  # the system's; a library's has no number
            raise OSError(
                f"cannot unpack {archive} to {folder}: {reason}; make room there, or unpack elsewhere"
            ) from error
        raise ValueError(f"archive {archive} is damaged or incomplete: {reason}; get it again") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    taken: set[PurePosixPath] = set()
    room, members = limit, 0
    for name, source in _members(archive):
        members += 1
        if members > MEMBERS:
            raise Refused(f"archive {archive} holds more than {MEMBERS} files and folders; not unpacked")
        path = _safe(archive, name)
        if path in taken or not taken.isdisjoint(path.parents):
            raise Refused(
                f"archive {archive} holds {_short(name)} twice, or a file where a folder should be; "
                "not unpacked"
            )
        target = folder / path
        try:
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except FileExistsError as error:  # a folder, or a name that this file system takes for another one
            raise Refused(
                f"archive {archive} holds {_short(name)} where a file or folder of that name is already; "
                "not unpacked"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
                raise
            raise Refused(
                f"archive {archive} holds {_short(name)}, a name that cannot be given to a file here "
                f"({error.strerror}); not unpacked"
            ) from error
        taken.add(path)
        with source, file:
            while chunk := source.read(1 << 20):
                room -= len(chunk)
                if room < 0:
                    raise Refused(
                        f"archive {archive} of {archive.stat().st_size} bytes unpacks to more than {limit} "
                        f"bytes, at {_short(name)}; not unpacked"
                    )
                file.write(chunk)
    if not taken:
        raise Refused(f"archive {archive} holds no file")


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise Refused(
            f"archive {archive} holds {_short(name)}, a path that could lead out of its folder; not unpacked"
        )
    if len(path.parts) > DEPTH:
        raise Refused(f"archive {archive} holds {_short(name)}, {len(path.parts)} folders deep; not unpacked")
    return path


def _short(name: str) -> str:
    """A member's name for a message."""
    return repr(name) if len(name) <= 200 else f"{name[:200]!r}..."


def _members(archive: Path) -> Iterator[tuple[str, Any]]:
    """(name, open file), or (name, None) for a folder."""
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as pack:
            for entry in pack.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise Refused(
                        f"archive {archive} holds {_short(entry.filename)}, a link or device; not unpacked"
                    )
                if entry.flag_bits & 1:
                    raise Refused(
                        f"archive {archive} holds {_short(entry.filename)}, which is encrypted; not unpacked"
                    )
                yield entry.orig_filename, None if entry.is_dir() else pack.open(entry)
        return
    for ending, stream in _STREAMS.items():
        if name.endswith(ending):
            with stream(archive) as whole:
                yield from _tar_members(archive, whole)
            return
    if not name.endswith(".gz"):
        raise Refused(
            f"archive {archive} is of an unknown kind; known are zip, tar, tgz, tar.gz, tar.xz, tar.bz2 and "
            f"gz"
        )
    with gzip.open(archive) as whole:
        yield archive.name[:-3], whole


def _tar_members(archive: Path, whole: IO[bytes]) -> Iterator[tuple[str, Any]]:
    measured = _Headers(archive, whole)
    with tarfile.open(fileobj=measured, mode="r:") as pack:
        for entry in pack:
            if not (entry.isfile() or entry.isdir()) or entry.size < 0:
                raise Refused(
                    f"archive {archive} holds {_short(entry.name)}, a link, a device or of no possible size; "
                    "not unpacked"
                )
            measured.left = None
            yield entry.name, None if entry.isdir() else pack.extractfile(entry)
            measured.left = HEADER
    while whole.read(1 << 20):  # to the end, where the compressed stream checks itself
        pass


class _Headers(io.RawIOBase):
    """A tar stream; while `left` is a number, that many bytes may be read: tarfile holds all headers before a
    file in memory, however long they say that they are.
    """

    def __init__(self, archive: Path, whole: IO[bytes]):
        self.archive, self.whole = archive, whole
        self.left: int | None = HEADER

    def read(self, size: int = -1) -> bytes:
        found = self.whole.read(size if self.left is None else max(min(size, self.left + 1), 0))
        if self.left is not None:
            self.left -= len(found)
            # tarfile before Python 3.11.10 searches long numbers in quadratic time.
            if size < 0 or self.left < 0 or re.search(rb"\d{200}", found):
                raise Refused(
                    f"archive {self.archive} has a header that is too long, or a number of 200 digits in it; "
                    "not unpacked"
                )
        return found

    def seek(self, *place: int) -> int:
        return self.whole.seek(*place)

    def tell(self) -> int:
        return self.whole.tell()
