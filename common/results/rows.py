"""Our measurements, results/runs/<paper>.csv: one row per finished measurement, appended once, never edited.

The last column of a row is the sha256 of its other cells, so that a hand edit is found. Cells are text in a
fixed form (`overrides` as JSON with sorted keys, numbers with six significant digits).
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.files import remove_drafts, write_atomically

COLUMNS: tuple[str, ...] = (
    "target", "preset", "overrides", "dataset", "split", "metric", "value", "unit", "interval", "seed",
    "selection", "epochs", "minutes", "device", "peak_memory_mb", "commit", "torch", "command", "checkpoint",
    "date", "sha256",
)  # fmt: skip
"""interval: half width of the 95 % interval, or empty. checkpoint: sha256 of the file, or 'none' when nothing
was trained. minutes: of training. Shares lie in [0, 1] and have the unit 'share'."""

SELECTIONS = ("last", "val")
"""Legal ways to choose the epoch. Choosing it on the test set is not one."""

CELL = ("target", "preset", "overrides", "dataset", "split", "metric", "seed")
"""What names one cell of a table; its newest row counts."""

MEASUREMENT = (*CELL, "checkpoint")

_REQUIRED_TEXT = ("preset", "dataset", "split", "metric", "unit", "device", "commit", "torch", "command")
_NUMBERS = {
    "value": float,
    "interval": float,
    "minutes": float,
    "peak_memory_mb": float,
    "seed": int,
    "epochs": int,
}


def append(paper: str, rows: Iterable[Mapping[str, Any]], root: Path = Path("results")) -> int:
    """Add finished measurements to <root>/runs/<paper>.csv and return how many were new.

    Each row is a mapping with the keys of COLUMNS except sha256; `overrides` is a mapping, `interval` may be
    None. A measurement that is there already (same MEASUREMENT columns, same value) is not written twice; the
    same checkpoint measured anew with another value, say after a repair of the metric, is a new row.
    Safe against other processes that append (a lock) and against a kill (the file is replaced as a whole).
    Raises ValueError or TypeError naming the row and the column; then nothing is written.
    """
    new = [_text(row, number) for number, row in enumerate(rows, start=1)]
    path = runs_file(paper, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / ".lock"):
        latest = {_measurement(cells): cells["value"] for cells in _read(path)}
        fresh = []
        for cells in new:
            if latest.get(_measurement(cells)) != cells["value"]:
                latest[_measurement(cells)] = cells["value"]
                fresh.append(cells)
        if fresh:
            _replace(path, fresh)
    return len(fresh)


def load_runs(paper: str, root: Path = Path("results")) -> pd.DataFrame:
    """<root>/runs/<paper>.csv in file order, numbers as numbers (no interval: NaN); no file: no rows.

    Raises ValueError naming file and line when a row was edited by hand or is damaged.
    """
    frame = pd.DataFrame(list(_read(runs_file(paper, root))), columns=list(COLUMNS), dtype=object)
    for name, kind in _NUMBERS.items():
        frame[name] = [kind(text or "nan") for text in frame[name]]
        frame[name] = frame[name].astype("int64" if kind is int else "float64")
    return frame


def newest(runs: pd.DataFrame) -> pd.DataFrame:
    """The newest row of every cell (columns CELL): the last one in the file, whatever a clock has said."""
    return runs.drop_duplicates(list(CELL), keep="last")


def only(frame: pd.DataFrame, **cells: str) -> pd.DataFrame:
    """The rows whose columns have these values."""
    keep = np.ones(len(frame), dtype=bool)
    for name, value in cells.items():
        keep &= frame[name].to_numpy(dtype=object) == value  # a tenth of the time of two Series
    return frame.loc[keep]


def has_checkpoint(paper: str, checkpoint: str, root: Path = Path("results")) -> bool:
    """Whether anything was recorded of the checkpoint with this sha256."""
    return any(cells["checkpoint"] == checkpoint for cells in _read(runs_file(paper, root)))


def has_baseline(
    paper: str, preset: str, overrides: Mapping[str, Any], seed: int, root: Path = Path("results")
) -> bool:
    """Whether anything was recorded of this configuration without a checkpoint."""
    wanted = ("none", preset, canonical(overrides), str(seed))
    names = ("checkpoint", "preset", "overrides", "seed")
    return any(tuple(cells[name] for name in names) == wanted for cells in _read(runs_file(paper, root)))


def runs_file(paper: str, root: Path = Path("results")) -> Path:
    """<root>/runs/<paper>.csv. ValueError when `paper` cannot be the name of a paper's folder."""
    return root / "runs" / f"{paper_name(paper)}.csv"


def paper_name(paper: str) -> str:
    """The name itself; of a package in a folder, benchmarks.compare, its last part. ValueError when it cannot
    be the name of a paper's folder (a path, say).
    """
    if not re.fullmatch(r"([a-z][a-z0-9_]*\.)*[a-z][a-z0-9_]*", paper):
        raise ValueError(f"paper {paper!r}: give the name of the paper's folder, e.g. cgd_retrieval")
    return paper.rpartition(".")[2]


def canonical(overrides: Mapping[str, Any]) -> str:
    """Overrides as JSON with sorted keys. 1.0 and 1 are the same value, as on the command line.

    TypeError when a value is no JSON value, ValueError when it is not finite.
    """
    return json.dumps(_plain(overrides), sort_keys=True, ensure_ascii=False, allow_nan=False)


def row_hash(cells: Mapping[str, str]) -> str:
    """sha256 of a row's cells, the last column left out."""
    return hashlib.sha256(json.dumps([cells[name] for name in COLUMNS[:-1]]).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _number(value: float) -> str:
    """Six significant digits; whole numbers in full."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else format(float(value), ".6g")


def _measurement(cells: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(cells[name] for name in MEASUREMENT)


def _text(row: Mapping[str, Any], number: int) -> dict[str, str]:
    """The cells of one row, checked, with their hash."""
    where = f"row {number}" + (f" ({row['metric']})" if row.get("metric") else "")
    wanted = COLUMNS[:-1]
    missing, unknown = [c for c in wanted if c not in row], [c for c in row if c not in wanted]
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
            unknown
        )
        raise ValueError(
            f"{where} {' and '.join(told)}; a row of results/runs has the columns {', '.join(wanted)}"
        )
    cells = {}
    for name in wanted:
        value = row[name]
        if name == "overrides":
            if not isinstance(value, Mapping):
                raise TypeError(
                    f"{where}: overrides is {type(value).__name__}; give a mapping of field to value"
                )
            cells[name] = canonical(value)
        elif name in _NUMBERS:
            cells[name] = _checked_number(where, name, value, row["unit"])
        else:
            cells[name] = _checked_text(where, name, value)
    cells["sha256"] = row_hash(cells)
    return cells


def _checked_number(where: str, name: str, value: Any, unit: Any) -> str:
    if name == "interval" and value is None:
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {name} = {value!r} is no number") from error
    if not math.isfinite(number):
        raise ValueError(f"{where}: {name} = {number} is not finite; a run that failed has no row")
    if _NUMBERS[name] is int and not number.is_integer():
        raise ValueError(f"{where}: {name} = {number:g}; give a whole number")
    if name != "value" and number < 0:
        raise ValueError(f"{where}: {name} = {number:g}; give 0 or more")
    if (
        name == "value" and unit == "share" and not 0 <= float(_number(number)) <= 1
    ):  # 1.0000001 is written as 1
        raise ValueError(
            f"{where}: value = {number:g} is no share in [0, 1]; percent are for rendered tables only"
        )
    return _number(number)


def _checked_text(where: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where}: {name} = {value!r}; give text")
    if not value.isprintable():
        raise ValueError(
            f"{where}: {name} = {value!r} holds a line break or control character; give one line"
        )
    if name in _REQUIRED_TEXT and not value:
        raise ValueError(f"{where}: {name} is empty; every row needs one")
    if name == "selection" and value not in SELECTIONS:
        raise ValueError(f"{where}: selection = {value!r}; use 'last' or 'val': the test set chooses nothing")
    if name == "checkpoint" and value != "none" and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(
            f"{where}: checkpoint = {value!r}; give the sha256 of the file, or 'none' for a baseline"
        )
    if name == "target" and value and not re.fullmatch(r"[^/\s]+/[^/\s]+", value):
        raise ValueError(f"{where}: target = {value!r}; give table/row of results/published, or nothing")
    if name == "date" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value):
        raise ValueError(f"{where}: date = {value!r}; give UTC as 2025-01-31T23:59:59Z")
    return value


def _read(path: Path) -> Iterator[dict[str, str]]:
    """Rows as text, each checked against its hash; nothing when there is no file."""
    if not path.exists():
        return
    cure = (
        f"rows are never edited by hand: restore the file (git checkout -- {path}), or delete that line and "
        "measure again"
    )
    lines = csv_lines(path)
    if next(lines, (1, None))[1] != list(COLUMNS):
        raise ValueError(
            f"{path}, line 1: the columns are not those of results/runs; restore the file from git"
        )
    for number, values in lines:
        if len(values) != len(COLUMNS):
            raise ValueError(f"{path}, line {number}: {len(values)} cells, not {len(COLUMNS)}; {cure}")
        cells = dict(zip(COLUMNS, values))
        if cells["sha256"] != row_hash(cells):
            raise ValueError(f"{path}, line {number}: the cells do not match their sha256; {cure}")
        again = _written_anew(cells)
        if again != cells:
            name = next(name for name in COLUMNS if again.get(name) != cells[name])
            raise ValueError(f"{path}, line {number}: {name} is not as `append` writes it; {cure}")
        yield cells


def _written_anew(cells: Mapping[str, str]) -> dict[str, str]:
    """The cells of a row as `append` would write them; none when it would refuse them."""
    try:
        row = {name: cells[name] for name in COLUMNS[:-1]} | {"overrides": json.loads(cells["overrides"])}
        return _text({**row, "interval": cells["interval"] or None}, 1)
    except (ValueError, TypeError, RecursionError):
        return {}


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, cells) of every row. ValueError naming file and line when the file is no CSV
    in UTF-8.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, strict=True)
        try:
            for values in reader:
                yield reader.line_num, values
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}, after line {reader.line_num}: this is no CSV in UTF-8 ({error}); restore the file"
            ) from error


def _replace(path: Path, fresh: list[dict[str, str]]) -> None:
    """The file with the rows added, written beside it and put in its place."""
    draft = io.StringIO()
    writer = csv.writer(draft, lineterminator="\n")
    if path.exists():
        draft.write(path.read_text(encoding="utf-8"))
        if not draft.getvalue().endswith("\n"):
            draft.write("\n")
    else:
        writer.writerow(COLUMNS)
    writer.writerows([cells[name] for name in COLUMNS] for cells in fresh)
    remove_drafts(path)
    write_atomically(path, draft.getvalue().encode("utf-8"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the lock. It is a file of its own, for the one that it guards is replaced."""
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
