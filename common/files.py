"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """All of data or, when killed or out of space, the old file. OSError says so, and what to do."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror or error}; what was there before is still whole; make "
            "room, or write where you may, and start the same command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def remove_drafts(path: Path) -> None:
    """What a killed process left of writing `path`; for whoever holds the lock that guards it."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*"):
        draft.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
