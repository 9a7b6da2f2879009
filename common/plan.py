"""What a paper's folder promises to reproduce, as data: tables, their rows, and the command behind each row.

`python -m <paper>.tables` prints its Plan as JSON. The driver (common.reproduce) and the renderer
(common.results) read that and never import the paper.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import typos


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: one trained configuration, or a baseline without training."""

    label: str
    """What the reader sees in the first column."""
    preset: str
    """`python -m <paper>.train PRESET`; for a baseline `evaluate` measures it without one. In a plan that
    compares papers: PAPER/PRESET."""
    overrides: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Field -> value, passed as `--field value`."""
    target: str = ""
    """`table/row` of results/published/<paper>.csv that this line answers; empty: none."""
    minutes: float = 1.0
    """Cost of one seed: minutes of one quiet core (budget mini) or of one GPU (budget paper)."""
    baseline: str = ""
    """Nothing to train: `python -m <paper>.evaluate BASELINE PRESET` measures it, e.g. 'pixels'."""

    @property
    def train(self) -> bool:
        return not self.baseline

    def trained_by(self, paper: str) -> tuple[str, str]:
        """(paper, its preset) behind this row of `paper`'s plan; a plan that compares papers names both."""
        own, _, preset = self.preset.rpartition("/")
        return own or paper, preset


@dataclass(frozen=True, kw_only=True)
class Column:
    """One measured quantity of a table."""

    metric: str
    """Name in results/runs/<paper>.csv."""
    label: str
    """Column header."""
    percent: bool = True
    """Show a share as percent."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of reproduce.md."""

    name: str
    """`TABLE=name`; the marker in reproduce.md is `<!-- table: budget/name -->`."""
    budget: str
    """'mini' or 'paper'."""
    title: str
    dataset: str
    split: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    default: tuple[str, ...] = ()
    """Labels of the rows that `make reproduce-*` runs when no TABLE is named (with the first seed only)."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All tables of one paper, and the presets that they are made of."""

    paper: str
    """Folder name; of the plan that compares papers, the dotted name of its package."""
    title: str
    tables: tuple[Table, ...]
    presets: dict[str, dict[str, Any]]
    """Every preset's configuration, field by field, by the names that rows use."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def of(paper: str) -> Plan:
        """Ask the paper's folder, in a process of its own."""
        done = subprocess.run([sys.executable, "-m", f"{paper}.tables"], capture_output=True, text=True)
        if done.returncode:
            known = sorted(file.parent.name for file in Path(__file__).parents[1].glob("*/tables.py"))
            if paper not in known:
                near = typos.near(paper, known)
                raise ValueError(f"paper {paper}: {near}give the folder of a paper, {typos.one_of(known)}")
            why = done.stderr.strip().splitlines()[-1:]
            raise ValueError(f"{paper} has no plan: `python -m {paper}.tables` failed: {' '.join(why)}")
        return Plan.from_json(done.stdout)

    @staticmethod
    def from_json(text: str) -> Plan:
        raw = json.loads(text)
        tables = tuple(
            Table(
                **{
                    **t,
                    "rows": tuple(Row(**r) for r in t["rows"]),
                    "columns": tuple(Column(**c) for c in t["columns"]),
                    "seeds": tuple(t["seeds"]),
                    "default": tuple(t["default"]),
                }
            )
            for t in raw["tables"]
        )
        return Plan(paper=raw["paper"], title=raw["title"], tables=tables, presets=raw["presets"])
