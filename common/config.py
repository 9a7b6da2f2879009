"""Presets and typed overrides on the command line: `python -m <paper>.train PRESET [--field value ...]`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tyro

C = TypeVar("C")

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError)
"""What bad input raises; anything else is our fault and keeps its traceback."""


def parse(presets: Mapping[str, tuple[str, C]], argv: list[str], prog: str | None = None) -> tuple[str, C]:
    """(name of the preset, its configuration with the overrides of argv). A typo ends the program with tyro's
    message.
    """
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise ValueError(f"name a preset first, one of: {', '.join(presets)}")
    return argv[0], tyro.extras.overridable_config_cli(dict(presets), args=argv, prog=prog)


def changes(presets: Mapping[str, tuple[str, Any]], preset: str, **fields: Any) -> dict[str, Any]:
    """Those of the fields that differ from the preset: a row of a table is named by its overrides alone."""
    return {k: v for k, v in sorted(fields.items()) if getattr(presets[preset][1], k) != v}


def overrides(presets: Mapping[str, tuple[str, C]], preset: str, cfg: C) -> dict[str, Any]:
    """The fields of cfg that differ from the preset, without the seed: what a results row and a run folder
    are named by.
    """
    base, now = dataclasses.asdict(presets[preset][1]), dataclasses.asdict(cfg)  # type: ignore[call-overload]
    return {name: now[name] for name in sorted(now) if name != "seed" and now[name] != base[name]}


def restore(kind: type[C], stored: Mapping[str, Any], source: object) -> C:
    """The configuration that a checkpoint carries. ValueError naming `source` when it has other
    fields than `kind`: another version wrote it.
    """
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    strange = sorted(stored.keys() - known)
    if strange:
        raise ValueError(
            f"{source} was written by another version (unknown fields {', '.join(strange)}); train again"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return kind(**values)


def overrides_hash(changed: Mapping[str, Any]) -> str:
    """Eight hex digits that name a set of overrides; '' for none."""
    if not changed:
        return ""
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]


def flags(changed: Mapping[str, Any]) -> list[str]:
    """Overrides as command line arguments in tyro's syntax: {'batch': 8, 'flip': False} -> --batch 8
    --no-flip.
    """
    out: list[str] = []
    for name, value in changed.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            out.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, (list, tuple)):
            out += [f"--{option}", *map(str, value)]
        else:
            out += [f"--{option}", str(value)]
    return out


def command(main: Callable[[list[str]], None]) -> None:
    """Run a command's main: bad input is one sentence on stderr and exit status 2, Ctrl-C is 130.

    Under torchrun rank 0 alone writes to stdout, and a sentence on stderr names its rank; torchrun then ends
    the other ranks. With TRACEBACK=1 in the environment the full traceback is shown instead.
    """
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if rank > 0:
        sys.stdout = open(os.devnull, "w")
    try:
        main(sys.argv[1:])
        if ranks > 1:
            from common import distributed  # torch, which a command without ranks may do without

            distributed.leave()
    except (*EXPECTED, RuntimeError) as error:
        told = str(error) if isinstance(error, EXPECTED) else _out_of_memory(error)
        if told is None or os.environ.get("TRACEBACK"):
            raise
        print(f"{f'rank {rank}: ' if ranks > 1 else ''}error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _out_of_memory(error: RuntimeError) -> str | None:
    """The sentence for a user whose machine is too small; None for any other error."""
    from common import compute  # torch, which a command that only reads files does without

    if not compute.is_out_of_memory(error):
        return None
    size = re.search(r"tried to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
    return (
        f"out of memory{f' ({size[0].lower()})' if size else ''}; the last checkpoint is kept; "
        "give a smaller batch or smaller pictures, or more ranks"
    )
