"""Presets and typed overrides on the command line: `python -m <paper>.train PRESET [--field value ...]`."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from common import typos

C = TypeVar("C")

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError)
"""What bad input raises; anything else is our fault and keeps its traceback."""

LIMITS = {
    "seed": "[0, 4294967295]",
    "size": "[1, inf)",
    "stored": "[1, inf)",
    "widths": "[1, inf)",
    "dim": "[1, inf)",
    "steps": "[0, inf)",
    "epochs": "[0, inf)",
    "epoch_steps": "[0, inf)",
    "warmup": "[0, inf)",
    "milestones": "[0, inf)",
    "batch": "[1, inf)",
    "workers": "[0, inf)",
    "lr": "(0, inf)",
    "weight_decay": "[0, inf)",
    "temperature": "(0, inf)",
    "val_share": "[0, 1)",
    "mean": "(-inf, inf)",
    "std": "(0, inf)",
    "rotate": "[0, 180]",
    "shift": "[0, 1]",
    "zoom": "[0, 1)",
    "shear": "[0, 89]",
}
"""Where a number of this name has to lie, in every configuration that has it; a class's own LIMITS come on
top. A round bracket leaves the end out."""


def parse(presets: Mapping[str, tuple[str, C]], argv: list[str], prog: str | None = None) -> tuple[str, C]:
    """(name of the preset, its configuration with the overrides of argv). A typo ends the program with one
    sentence; ValueError for a number out of its LIMITS.
    """
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise ValueError(f"name a preset first, {typos.one_of(presets)}")
    if typo := typos.find(presets, argv):
        typos.refuse(typo)
    cfg = tyro.extras.overridable_config_cli(dict(presets), args=argv, prog=prog)
    require_limits(cfg)
    return argv[0], cfg


def require_limits(cfg: Any) -> None:
    """ValueError for a number of the configuration that lies outside LIMITS, or outside its class's own."""
    for name, interval in {**LIMITS, **getattr(cfg, "LIMITS", {})}.items():
        given = getattr(cfg, name, ())
        low, high = (float(end) for end in interval[1:-1].split(","))
        for value in given if isinstance(given, tuple) else (given,):
            above = value > low or (value == low and interval[0] == "[")
            below = value < high or (value == high and interval[-1] == "]")
            if not (above and below):
                shown = " ".join(map(str, given)) if isinstance(given, tuple) else given
                raise ValueError(f"--{name.replace('_', '-')} {shown}: give {_interval(interval, low, high)}")


def _interval(interval: str, low: float, high: float) -> str:
    """The interval in words."""
    if interval == "[0, 1)":
        return "a share from 0 up to, but not including, 1"
    if high == float("inf"):
        if low == -high:
            return "a finite number"
        if interval[0] == "(":
            return f"a number above {low:g}"
        return f"at least {low:g}" if low else "0 or more"
    start = f"above {low:g}" if interval[0] == "(" else f"from {low:g}"
    return f"a number {start} {'to' if interval[-1] == ']' else 'and below'} {high:.10g}"


def require_free(option: str, path: Path | None) -> None:
    """Before hours of work: `path`, if given, can be a new file. ValueError for a folder, or below a file."""
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{option} {path}: that is a folder; give the name of a file in it")
    require_free_folder(option, path.parent, path)


def require_free_folder(option: str, path: Path, told: Path | None = None) -> None:
    """Before hours of work: files can be put into the folder `path`, which need not be there yet. ValueError
    for a file, or below one. told: what the sentence names, if not the folder.
    """
    told = told or path
    above = next(folder for folder in [path, *path.parents, Path("/")] if folder.exists())
    if not above.is_dir():
        raise ValueError(f"{option} {told}: {above} is a file, no folder; give another place")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{option} {told}: {above} cannot be written; give another place")


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
    kinds = get_type_hints(kind)
    for name, value in values.items():
        if not _is(kinds[name], value):
            raise ValueError(
                f"{source} was written by another version ({name} is {value!r:.60}); train again"
            )
    return kind(**values)


def _is(kind: Any, value: object) -> bool:
    """Whether a field of this type may hold the value."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        each, *rest = get_args(kind)
        many = isinstance(value, tuple) and (rest[-1] is ... or len(value) == 1 + len(rest))
        return many and all(_is(each, one) for one in value)  # type: ignore[union-attr]
    return type(value) in ((int, float) if kind is float else (kind,))


def stored_part(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Weights of one part of a checkpoint's state; none where the file has no such part, see `load_state`."""
    part = state.get(name)
    return part if isinstance(part, Mapping) else {}


def load_state(part: Any, state: Mapping[str, Any], name: str, source: object) -> None:
    """part.load_state_dict(state[name]). ValueError naming `source` when the stored weights are not those of
    the network that the checkpoint's configuration describes.
    """
    try:
        part.load_state_dict(state[name])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise other_weights(name, source) from error


def other_weights(name: str, source: object) -> ValueError:
    """The refusal of a checkpoint whose parts are not what its configuration makes."""
    return ValueError(
        f"{source} does not hold the weights of the {name} that its configuration describes; the file is "
        "damaged or of another version: train again"
    )


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
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name of a file may have letters that it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main(sys.argv[1:])
        if ranks > 1:
            from common import distributed  # torch, which a command without ranks may do without

            distributed.leave()
    except (*EXPECTED, RuntimeError, MemoryError) as error:
        told = str(error) if isinstance(error, EXPECTED) else _out_of_memory(error)
        if told is None or os.environ.get("TRACEBACK"):
            raise
        print(f"{f'rank {rank}: ' if ranks > 1 else ''}error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _out_of_memory(error: RuntimeError | MemoryError) -> str | None:
    """The sentence for a user whose machine is too small; None for any other error."""
    from common import compute  # torch, which a command that only reads files does without

    if isinstance(error, RuntimeError) and not compute.is_out_of_memory(error):
        return None
    size = re.search(r"(tried|unable) to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
    return (
        f"out of memory{f' ({size[0].lower()})' if size else ''}; the last checkpoint is kept; "
        "give a smaller batch or smaller pictures, or more ranks"
    )
