"""What one paper's page shows, as plain data: nothing here knows HTML, and no number or verdict is worked out
anew; they come from common.results.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.plan import Column, Row, Table
from common.report.intervals import Mark, marks
from common.report.pictures import Picture, pictures
from common.report.prose import Opening, captions, opening
from common.reproduce import budget_of, expand
from common.results.render import NO_RUN, Page, estimate, interval_text, verdict_text
from common.results.rows import only
from common.results.tables import Cell, Line, duration, is_compared, is_embedded, measured, remarks
from common.results.verdicts import (
    ABOVE,
    BELOW,
    CONTRADICTED,
    INCONCLUSIVE,
    PRELIMINARY,
    REPRODUCED,
    SUPPORTED,
    TOO_FEW,
)

UNDECIDED = "no verdict"
"""How number_verdict begins where it has none; the reason follows in brackets."""
CLAIM_VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, TOO_FEW, NO_RUN)
NUMBER_VERDICTS = (REPRODUCED, ABOVE, BELOW, PRELIMINARY, UNDECIDED)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One paired difference that a claim rests on."""

    text: str
    interval: str
    """'+1.2 [+0.4, +2.0] points'"""
    mark: Mark | None
    seeds: int
    table: str
    """Name of the table whose rows are compared."""
    place: str
    """Its anchor on the page; '' when the plan has no such table."""
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper, or one control."""

    name: str
    place: str
    statement: str
    verdict: str
    budget: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, kw_only=True)
class Value:
    """One measured number of one run."""

    text: str
    exact: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of a table at one seed: what was measured, on what, and by which commands."""

    label: str
    seed: int
    values: tuple[Value | None, ...]
    """One for each column of the table."""
    commands: tuple[str, ...]
    """What makes this run, in order."""
    facts: dict[str, str]
    """Cost and provenance; empty when it was not run."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table: its lines, the claims that rest on it, and every run behind it."""

    table: Table
    title: str
    place: str
    corner: str
    compared: bool
    """Published numbers stand beside ours."""
    lines: list[Line]
    remarks: list[str]
    sources: list[str]
    """Where the published numbers were read."""
    claims: list[Claim]
    runs: list[Run]
    rows_run: int
    spent: str
    """What the runs cost; '' without any."""
    command: str
    estimate: str

    @property
    def by_code(self) -> bool:
        """Whether the authors' released model has a number here."""
        return any(cell.code for line in self.lines for cell in line.cells)

    @property
    def verdicts(self) -> list[str]:
        """Those of its numbers and of the claims that rest on it."""
        numbers = [kind(cell.verdict) for line in self.lines for cell in line.cells if cell.verdict]
        return list(dict.fromkeys([*numbers, *(claim.verdict for claim in self.claims)])) or [NO_RUN]

    def commands(self, row: Row) -> str:
        """Every command of one row, seed by seed."""
        return "\n".join(c for run in self.runs if run.label == row.label for c in run.commands)


@dataclass(frozen=True, kw_only=True)
class PaperPage:
    """Everything that the report says about one paper."""

    name: str
    opening: Opening
    claims: list[Claim]
    sheets: list[Sheet]
    """Tables with rows of ours, in the plan's order."""
    waiting: list[Sheet]
    """Tables without any."""
    pictures: list[Picture]
    whole: dict[str, tuple[int, int]]
    """Budget -> (tables with a measurement in every row, tables)."""
    spent: str
    newest: str
    """Day of the newest measurement; '' without any."""

    def count(self, verdict: str) -> int:
        """Claims with this verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)

    @property
    def numbers(self) -> list[tuple[Sheet, Line, Cell]]:
        """Cells of ours that stand beside a published one."""
        return [(s, line, c) for s in self.sheets for line in s.lines for c in line.cells if c.verdict]

    @property
    def number_counts(self) -> dict[str, int]:
        """Number verdict -> cells."""
        return dict(Counter(kind(cell.verdict) for _, _, cell in self.numbers))


def kind(verdict: str) -> str:
    """A verdict without its reason in brackets: 'below (authors' code)' is 'below'."""
    return verdict.partition(" (")[0]


def paper_page(source: Page, root: Path = Path("results")) -> PaperPage:
    """The page of one paper, from its plan, its claims and results/; run at the root of the repository."""
    claims = [_claim(source, name, verdict) for name, verdict in source.verdicts().items()]
    sheets = []
    for table in source.plan.tables:
        sheets.append(_sheet(source, table, table.dataset, claims))
        if not is_embedded(table.dataset):
            generated = _sheet(source, table, "embedded", [])
            sheets += [generated] * bool(generated.rows_run)
    own = (Path(source.paper) / "reproduce.md").read_text(encoding="utf-8")
    readme = Path("README.md")
    said = captions([own, *([readme.read_text(encoding="utf-8")] if readme.exists() else [])])
    return PaperPage(
        name=source.paper,
        opening=opening(own),
        claims=claims,
        sheets=[sheet for sheet in sheets if sheet.rows_run],
        waiting=[sheet for sheet in sheets if not sheet.rows_run],
        pictures=pictures(root / "figures" / source.paper, said),
        whole={budget: (source.whole(budget), len(source.tables(budget))) for budget in ("mini", "paper")},
        spent=_spent(source.runs),
        newest=max(source.runs["date"], default="")[:10],
    )


def _claim(source: Page, name: str, verdict: str) -> Claim:
    parts = source.comparisons()[name]
    tables = [_table(source, part["table"]) for part in parts]
    return Claim(
        name=name,
        place=f"{source.paper}.{name}",
        statement=parts[0]["statement"],
        verdict=verdict_text(verdict, parts),
        budget=next((t.budget for t in tables if t), ""),
        comparisons=tuple(
            Comparison(
                text=part["comparison"],
                interval=interval_text(part),
                mark=mark,
                seeds=part["n"],
                table=part["table"],
                place=_place(source, table) if table else "",
                verdict=verdict_text(part["verdict"], [part]),
            )
            for part, mark, table in zip(parts, marks(parts), tables)
        ),
    )


def _table(source: Page, name: str) -> Table | None:
    """The table that a claim names, `name` or `budget/name`."""
    budget, _, name = name.rpartition("/")
    budget = budget or budget_of(source.plan, [name])
    return next((t for t in source.tables(budget) if t.name == name), None)


def _place(source: Page, table: Table, dataset: str = "") -> str:
    return ".".join([source.paper, table.budget, table.name] + [dataset] * bool(dataset))


def _sheet(source: Page, table: Table, dataset: str, claims: Iterable[Claim]) -> Sheet:
    lines = measured(table, source.runs, source.published, dataset)
    own = dataset == table.dataset
    place = _place(source, table, "" if own else dataset)
    found = [one for line in lines for cell in line.cells for one in (cell.paper, cell.code) if one]
    return Sheet(
        table=table,
        title=table.title + (" (embedded set)" if is_embedded(dataset) else ""),
        place=place,
        corner=f"{dataset}, {table.split}",
        compared=is_compared(table, dataset),
        lines=lines,
        remarks=remarks(table, lines, dataset),
        sources=list(dict.fromkeys(one.source for one in found)),
        claims=[c for c in claims if any(place == part.place for part in c.comparisons)],
        runs=_runs(source, table, dataset, lines),
        rows_run=sum(not line.runs.empty for line in lines),
        spent=_spent(pd.concat([line.runs for line in lines])),
        command=source.command(table),
        estimate=estimate(table),
    )


def _runs(source: Page, table: Table, dataset: str, lines: Sequence[Line]) -> list[Run]:
    """Every seed that the plan names or that was run, row by row."""
    seeds = sorted({*table.seeds, *(seed for line in lines for seed in line.minutes)})
    cells = expand(source.plan, [(table, table.rows)], {table.dataset: dataset}, seeds, True)
    commands = {(cell.row.label, cell.seed): cell.commands() for cell in cells}
    found = []
    for line in lines:
        for seed in seeds:
            rows = line.runs.loc[line.runs["seed"] == seed]
            if rows.empty and seed not in table.seeds:
                continue
            words = commands[line.row.label, seed]
            found.append(
                Run(
                    label=line.row.label,
                    seed=seed,
                    values=tuple(_value(rows, column) for column in table.columns),
                    commands=tuple(shlex.join(["python", "-m", *w]) for w in words),
                    facts={} if rows.empty else _facts(rows.iloc[-1]),
                )
            )
    return found


def _value(rows: pd.DataFrame, column: Column) -> Value | None:
    """'85.03 ± 0.41': the value and, where there is one, the half width of its own 95 % interval."""
    same = only(rows, metric=column.metric)
    if same.empty:
        return None
    exact, half = same["value"].iloc[-1], same["interval"].iloc[-1]
    written = (lambda x: f"{100 * x:.2f}") if column.percent else (lambda x: f"{x:.5g}")
    return Value(
        text=written(exact) + ("" if math.isnan(half) else f" ± {written(half)}"), exact=float(exact)
    )


def _facts(row: pd.Series) -> dict[str, str]:
    return {
        "minutes": f"{row['minutes']:.1f}",
        "peak memory": f"{row['peak_memory_mb']:.0f} MB",
        "device": str(row["device"]),
        "commit": " / ".join(one[:10] for one in str(row["commit"]).split(" / ")),
        "torch": str(row["torch"]),
        "date": str(row["date"])[:10],
        "checkpoint": str(row["checkpoint"])[:12],
        "recorded by": str(row["command"]),
    }


def _spent(runs: pd.DataFrame) -> str:
    """'42 trainings, 85 min, at most 893 MB; on ...; commit ...': each checkpoint counted once."""
    if runs.empty:
        return ""
    trained = runs.loc[runs["checkpoint"] != "none"].drop_duplicates("checkpoint")
    commits = dict.fromkeys(one[:10] for text in runs["commit"] for one in text.split(" / "))
    said = (
        f"{len(trained)} trainings, {duration(trained['minutes'].sum())}" if len(trained) else "no training"
    )
    memory = f"at most {runs['peak_memory_mb'].max():.0f} MB"
    return f"{said}, {memory}; on {'; '.join(sorted(set(runs['device'])))}; commit {', '.join(commits)}"
