"""Published numbers, results/published/<paper>.csv: facts with their source, open to correction from the PDF.

target         table/row, the name that presets use for one line of a published table
paper_version  which version of the paper, where the source says so
kind           whose number: paper, authors-code (their released model), peer, or computed
dataset        name in the data catalogue; empty where the source does not tell
value          empty where nobody has seen it; shares in [0, 1] with the unit 'share', all else in its unit
verified       yes: read in the source; no: remembered, or not seen
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.results.rows import csv_lines, only, paper_name

COLUMNS: tuple[str, ...] = (
    "target", "paper_version", "kind", "table", "row", "dataset", "setting", "metric", "value", "ci", "unit",
    "source", "verified",
)  # fmt: skip
KINDS = ("paper", "authors-code", "peer", "computed")
"""Only 'paper' ever stands in a paper's column; 'authors-code' has one of its own; the others have none."""

LONGEST = 400
"""Characters of a cell."""

QUERIES = {("cub", "test"): 5924, ("cars", "test"): 8131, ("sop", "test"): 60502, ("inshop", "query"): 14218}
"""Test queries per (data set, split), for the standard error of a recall. Sources: meta files of naver/cgd
(CUB) and clovaai/embedding-expansion (CARS); READMEs of OML (SOP) and bnu-wangxun/Deep_Metric (In-shop)."""

INEXACT = frozenset({"cub_100"})
"""Data sets whose test pictures are not the published files (re-encoded): no number verdict."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published cell that has a value."""

    value: float
    unit: str
    verified: bool
    source: str


def load_published(paper: str, root: Path = Path("results")) -> pd.DataFrame:
    """<root>/published/<paper>.csv; `value` float64 (NaN: nobody has it), `verified` bool, the rest text.

    Raises FileNotFoundError, or ValueError naming file, line and what the schema wants.
    """
    path = root / "published" / f"{paper_name(paper)}.csv"
    if not path.exists():
        raise FileNotFoundError(f"no published numbers at {path}; give it a first line {','.join(COLUMNS)}")
    lines, rows_of, seen = [], {}, {}
    rows = csv_lines(path)
    if next(rows, (1, None))[1] != list(COLUMNS):
        raise ValueError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
    for number, values in rows:
        where = f"{path}, line {number}"
        if len(values) != len(COLUMNS):
            raise ValueError(
                f"{where}: {len(values)} cells, not {len(COLUMNS)}; quote cells that hold a comma"
            )
        cells = dict(zip(COLUMNS, values))
        _check(where, cells)
        name = rows_of.setdefault(cells["target"], (cells["table"], cells["row"]))
        if name != (cells["table"], cells["row"]):
            raise ValueError(f"{where}: target {cells['target']} already names {name}; one target, one row")
        key = tuple(cells[c] for c in ("target", "kind", "dataset", "setting", "metric"))
        if key in seen:
            raise ValueError(
                f"{where}: the same cell as line {seen[key]}; keep one, or tell them apart by setting"
            )
        seen[key] = number
        lines.append(cells)
    frame = pd.DataFrame(lines, columns=list(COLUMNS), dtype=object)
    frame["value"] = [float(text or "nan") for text in frame["value"]]
    frame["value"] = frame["value"].astype("float64")
    frame["verified"] = [text == "yes" for text in frame["verified"]]
    frame["verified"] = frame["verified"].astype(bool)
    return frame


def find(published: pd.DataFrame, target: str, dataset: str, metric: str, kind: str) -> Published | None:
    """The value of one published cell, or None when nobody has it. `kind`: whose number, one of KINDS.

    Raises ValueError when the row has several values on this data set, told apart only by their setting.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: use one of {', '.join(KINDS)}")
    same = only(published, target=target, kind=kind, dataset=dataset, metric=metric).dropna(subset="value")
    if same.empty:
        return None
    if len(same) > 1:
        settings = "; ".join(repr(s) for s in same["setting"])
        raise ValueError(
            f"published {target} has {len(same)} values of {metric} on {dataset} ({settings}); "
            "give each its own target"
        )
    row = same.iloc[0]
    return Published(value=row["value"], unit=row["unit"], verified=row["verified"], source=row["source"])


def _check(where: str, cells: dict[str, str]) -> None:
    for name, text in cells.items():
        if not text.isprintable() or len(text) > LONGEST:
            raise ValueError(
                f"{where}: {name} begins {text[:40]!r}; write one line of at most {LONGEST} printable "
                "characters"
            )
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", cells["target"]):
        raise ValueError(f"{where}: target {cells['target']!r}; give table/row in a-z, 0-9 and -")
    if cells["kind"] not in KINDS:
        raise ValueError(f"{where}: kind {cells['kind']!r}; use one of {', '.join(KINDS)}")
    if cells["verified"] not in ("yes", "no"):
        raise ValueError(f"{where}: verified {cells['verified']!r}; use yes or no")
    for name in ("table", "row", "metric", "unit", "source"):
        if not cells[name]:
            raise ValueError(f"{where}: {name} is empty; every published number needs one")
    if cells["metric"] != cells["metric"].lower():
        raise ValueError(f"{where}: metric {cells['metric']!r}; write it in lower case")
    if cells["unit"] in ("%", "fraction"):
        raise ValueError(f"{where}: unit {cells['unit']!r}; write shares in [0, 1] with the unit 'share'")
    if not cells["value"]:
        if cells["verified"] == "yes":
            raise ValueError(f"{where}: verified is yes but there is no value; type it in, or say no")
        return
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", cells["value"]):
        raise ValueError(f"{where}: value {cells['value']!r} is no plain number; words belong into setting")
    if cells["unit"] == "share" and not 0 <= float(cells["value"]) <= 1:
        raise ValueError(f"{where}: value {cells['value']} is no share in [0, 1]; 76.81 % is 0.7681")
