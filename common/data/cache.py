"""What has been unpacked or decoded once, below $DATA_CACHE (default ./data/cache).

    <sha256 of an archive>/       what it held
    <key>/pixels.npy              decoded pictures (N, C, size, size) uint8

Everything is built under a temporary name and moved into place, so nothing half-written is ever seen, and any
number of processes may ask for the same thing at once: the first builds it, the others wait. The folder may
be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data import archive

try:
    import fcntl
except ImportError:  # not on Windows; then two processes may do the same work, still correctly
    fcntl = None


def root() -> Path:
    """$DATA_CACHE, else ./data/cache."""
    return Path(os.environ.get("DATA_CACHE") or "data/cache").expanduser()


def key(*facts: object) -> str:
    """Hexadecimal name, equal exactly when the facts (JSON values) are."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def checksum(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal 'sha256' or 'md5' of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def require(path: Path, *, sha256: str = "", md5: str = "") -> None:
    """ValueError unless the file has the published checksum."""
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected and (found := checksum(path, kind)) != expected:
            raise ValueError(
                f"{path} is not the published file: its {kind} is {found}, expected {expected}; get it again"
            )


def folder(name: str, build: Callable[[Path], None]) -> Path:
    """The folder root()/name; when it is missing, build(temporary folder) fills it first."""
    place = root() / name
    with _only_one(name):
        if not place.exists():
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=root()))
            try:
                new.chmod(0o755)  # mkdtemp makes it private
                build(new)
                try:
                    os.replace(new, place)
                except OSError:
                    if not place.exists():  # else another process was faster, with the same result
                        raise
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return place


def unpacked(file: Path, sha256: str) -> Path:
    """Folder with the contents of an archive, unpacked on first use once its sha256 has been checked."""

    def build(new: Path) -> None:
        require(file, sha256=sha256)
        archive.extract(file, new)

    return folder(sha256, build)


def pixels(
    name: str, shape: tuple[int, int, int, int], rows: Callable[[], Iterable[NDArray[np.uint8]]]
) -> NDArray[np.uint8]:
    """(N, C, size, size) uint8, mapped copy-on-write from root()/name/pixels.npy.

    When it is missing, the N arrays (C, size, size) of rows() are written there first, one after the other,
    so that making it takes little memory; pages are read when they are used and shared between processes.
    """

    def build(new: Path) -> None:
        array = np.lib.format.open_memmap(new / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        written = 0
        for i, row in enumerate(rows()):
            array[i] = row
            written += 1
        if written != len(array):
            raise ValueError(f"{written} pictures were decoded, expected {len(array)}")
        array.flush()

    array = np.load(folder(name, build) / "pixels.npy", mmap_mode="c")
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(
            f"{root() / name} holds {array.dtype} {array.shape}, expected uint8 {shape}; remove this folder"
        )
    return array


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Hold the lock `name` among all processes that share the cache; makes the cache folder."""
    place = root()
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = (place / f".{name[:16]}.lock").open("w") if fcntl and not (place / name).exists() else None
    except OSError as error:
        raise OSError(
            f"cannot write to the cache {place}: {error}; set DATA_CACHE to a folder that can be written"
        ) from error
    if lock is None or fcntl is None:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: the work may be done twice
        yield
        Path(lock.name).unlink(missing_ok=True)
