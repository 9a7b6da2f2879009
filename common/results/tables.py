"""One table of a plan: `measured` holds its numbers, `table_text` writes them for the pages or the terminal.

Budget mini: rows x columns, mean ± standard deviation over seeds. Budget paper: cell by cell, the published
number beside ours with difference and verdict. Runs on the embedded set stand in tables of their own, without
published numbers. Any other form of a table starts from `measured` too, so that each number has one source.
"""

from __future__ import annotations

import html
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tabulate

from common.plan import Column, Plan, Row, Table
from common.results.published import INEXACT, QUERIES, Published, find, load_published
from common.results.rows import canonical, load_runs, newest, only
from common.results.verdicts import number_verdict

NOT_RUN, UNKNOWN, UNCHECKED, ESTIMATED = "·", "–", "†", "≈"
EMBEDDED_NOTE = "Embedded set of generated drawings: these numbers say nothing about the published ones."


_MARKUP = re.compile(r"[\\|`*~]|\](?=[(\[:])|(?<=\S)_(?!\w)")
"""What would be no text in a cell of Markdown: a code span, emphasis, a link, the end of the cell."""

tabulate.MIN_PADDING = 0  # a header is as wide as its cells, not two columns wider


class Markup(str):
    """A cell that is Markdown already and is not escaped."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric of one row: ours seed by seed and, at budget paper, what is published."""

    column: Column
    ours: dict[int, float]
    """Seed -> value, in the order of seeds."""
    paper: Published | None = None
    code: Published | None = None
    """Of the authors' released model."""
    difference: float | None = None
    """Mean of ours minus the published share, where both can be compared."""
    verdict: str = ""

    @property
    def text(self) -> str:
        """'85.0 ± 0.5': mean and standard deviation over seeds; NOT_RUN without any."""
        return _mean(list(self.ours.values()), self.column)


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One row of a table with everything that was measured of it."""

    row: Row
    runs: pd.DataFrame
    """load_runs, one row per (metric, seed), in the order of seeds."""
    cells: tuple[Cell, ...]

    @property
    def minutes(self) -> dict[int, float]:
        """Seed -> minutes of training."""
        return dict(zip(self.runs["seed"].tolist(), self.runs["minutes"].tolist()))

    @property
    def cost(self) -> tuple[str, str]:
        """(number of seeds, minutes per seed): the measured median, or the plan's estimate."""
        if not self.minutes:
            return "0", f"{ESTIMATED} {self.row.minutes:g}"
        spent = statistics.median(self.minutes.values())
        text = f"{spent:.0f}" if spent >= 100 or spent == 0 else f"{max(spent, 0.1):.1f}"
        return str(len(self.minutes)), text


def measured(
    table: Table, runs: pd.DataFrame, published: pd.DataFrame, dataset: str | None = None
) -> list[Line]:
    """The rows of a table with their numbers. Arguments as in `table_text`."""
    dataset = dataset or table.dataset
    if dataset != table.dataset and not is_embedded(dataset):
        raise ValueError(
            f"table {table.name} is about {table.dataset}; runs on {dataset} do not belong into it"
        )
    rows, compared, lines = _runs_of(table, runs, dataset), is_compared(table, dataset), []
    for row in table.rows:
        # One configuration may have rows under two targets: the newest counts.
        own = _of_row(rows, row).drop_duplicates(["metric", "seed"], keep="last")
        own = own.sort_values("seed", kind="stable")
        cells = []
        for column in table.columns:
            same = only(own, metric=column.metric)
            ours = dict(zip(same["seed"].tolist(), same["value"].tolist()))
            if not compared:
                cells.append(Cell(column=column, ours=ours))
                continue
            cell = _compared(table, row, column, ours, published)
            if not cells or cell.ours or cell.paper or cell.code:
                cells.append(cell)  # after the first, only metrics that somebody has a number of
        lines.append(Line(row=row, runs=own, cells=tuple(cells)))
    return lines


def is_compared(table: Table, dataset: str | None = None) -> bool:
    """Whether published numbers stand beside ours."""
    return table.budget == "paper" and not is_embedded(dataset or table.dataset)


def remarks(table: Table, lines: Sequence[Line], dataset: str | None = None) -> list[str]:
    """What the figures and marks of a table mean, as sentences. lines: of `measured`. Markdown."""
    dataset = dataset or table.dataset
    said, cells = [], [cell for line in lines for cell in line.cells]
    if is_embedded(dataset):
        said.append(EMBEDDED_NOTE)
    if is_compared(table, dataset):
        if any(cell.paper is None for cell in cells):
            said.append(f"{UNKNOWN} published value not seen.")
        if any(one is not None and not one.verified for cell in cells for one in (cell.paper, cell.code)):
            said.append(f"{UNCHECKED} not checked against the PDF.")
    if any(c.percent for c in table.columns):
        said.append("Percent, mean ± standard deviation over seeds.")
    if any(line.runs.empty for line in lines):
        machine = "GPU" if table.budget == "paper" else "core"
        said.append(f"{NOT_RUN} not run; {ESTIMATED} estimated minutes of one {machine}.")
    devices = sorted({device for line in lines for device in line.runs["device"]})
    if devices:
        said.append(f"Run on: {'; '.join(_escaped(device) for device in devices)}.")
    return [*said, *([table.note] if table.note else [])]


def table_text(
    plan: Plan,
    table: Table,
    runs: pd.DataFrame,
    published: pd.DataFrame,
    dataset: str | None = None,
    *,
    plain: bool = False,
) -> str:
    """One table of the plan: title, rows, and a line that explains the figures.

    runs: load_runs. published: load_published. dataset: whose runs to show; default the table's own, or
    'embedded': then no published number appears. plain: for the terminal instead of Markdown.
    Raises ValueError when `dataset` is neither the table's own nor an embedded one.
    """
    dataset = dataset or table.dataset
    lines = measured(table, runs, published, dataset)
    header, body = (_cell_by_cell if is_compared(table, dataset) else _rows_by_columns)(table, lines)
    header[0] = f"{dataset}, {table.split}"
    title = table.title + (" (embedded set)" if is_embedded(dataset) else "")
    align = "l" + "".join("l" if name in ("metric", "verdict") else "r" for name in header[1:])
    notes = remarks(table, lines, dataset)
    if plain:
        return "\n".join([f"{plan.title}: {title}", "", grid(header, body, align, plain=True), "", *notes])
    return "\n".join([f"**{_escaped(title)}**", "", grid(header, body, align), "", f"*{' '.join(notes)}*"])


def terminal_table(plan: Plan, table: Table, *, synthetic: bool = False, root: Path = Path("results")) -> str:
    """One table of the plan for the terminal, from the files in root. synthetic: runs on the embedded set."""
    published = load_published(plan.paper, root)
    return table_text(
        plan, table, load_runs(plan.paper, root), published, "embedded" if synthetic else None, plain=True
    )  # fmt: skip


def is_embedded(dataset: str) -> bool:
    """Whether rows of this data set come from generated drawings."""
    return dataset == "embedded" or dataset.endswith("-embedded")


def rows_run(table: Table, runs: pd.DataFrame) -> int:
    """How many rows of the table have at least one measurement on the table's own data."""
    own = _runs_of(table, runs, table.dataset)
    return sum(not _of_row(own, row).empty for row in table.rows)


def grid(header: Sequence[str], body: Sequence[Sequence[str]], align: str, *, plain: bool = False) -> str:
    """A table; align: one of l, r, c per column. Markdown and HTML in cells come out as text, except in
    Markup."""
    places = [{"l": "left", "r": "right", "c": "center"}[a] for a in align]
    if not plain:
        header, body = [_escaped(c) for c in header], [[_escaped(c) for c in line] for line in body]
    if not body:
        body = [[""] * len(header)]
    style = "simple" if plain else "pipe"
    return tabulate.tabulate(body, list(header), style, colalign=places, disable_numparse=True)


def percent(share: float, *, signed: bool = False) -> str:
    """A share in percent, one decimal; -0.0 is 0.0."""
    text = f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"
    return text[1:] if text == "-0.0" else "0.0" if text == "+0.0" else text


def published_text(cell: Published | None) -> str:
    """What stands in a column of published values; a mark when it was not checked against the PDF."""
    if cell is None:
        return UNKNOWN
    return published_number(cell.value, cell.unit) + ("" if cell.verified else UNCHECKED)


def published_number(value: float, unit: str) -> str:
    """A published value without its unit; shares in percent with one or two decimals."""
    if unit != "share":
        return f"{value:g}"
    text = f"{100 * value:.2f}"
    return text[:-1] if text.endswith("0") else text


def difference_text(cell: Cell) -> str:
    """Ours minus published in points; '' where there is nothing to compare."""
    return "" if cell.difference is None else percent(cell.difference, signed=True)


def duration(minutes: float) -> str:
    """Minutes below 100, hours above, for a sum of costs."""
    if minutes >= 100:
        return f"{minutes / 60:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 10 else f"{minutes:.1f} min"


def _runs_of(table: Table, runs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The newest runs that may stand in this table."""
    if is_embedded(dataset):
        # The embedded set has no gallery, and its runs name it as an override of the preset's data set.
        split = "test" if table.split == "query" else table.split
        rows = only(runs.loc[[is_embedded(name) for name in runs["dataset"]]], split=split).copy()
        rows["overrides"] = [_without_data(text) for text in rows["overrides"]]
    else:
        rows = only(runs, dataset=dataset, split=table.split)
    return newest(rows).sort_values("date", kind="stable")


def _without_data(overrides: str) -> str:
    return canonical({name: value for name, value in json.loads(overrides).items() if name != "data"})


def _of_row(rows: pd.DataFrame, row: Row) -> pd.DataFrame:
    overrides = canonical(row.overrides)
    if not rows.empty and is_embedded(rows["dataset"].iloc[0]):
        overrides = _without_data(overrides)
    return only(rows, preset=row.preset, overrides=overrides)


def _mean(values: Sequence[float], column: Column) -> str:
    if not values:
        return NOT_RUN
    mean, spread = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    if column.percent:
        return percent(mean) + ("" if spread is None else f" ± {percent(spread)}")
    return f"{mean:.4g}" + ("" if spread is None else f" ± {spread:.2g}")


def _compared(
    table: Table, row: Row, column: Column, ours: dict[int, float], published: pd.DataFrame
) -> Cell:
    """Difference and verdict are against the paper, else against the authors' code."""
    paper = find(published, row.target, table.dataset, column.metric, "paper")
    code = find(published, row.target, table.dataset, column.metric, "authors-code")
    against = paper if paper is not None and paper.verified else code or paper
    difference, verdict = None, ""
    if ours and against is not None and column.percent and against.unit == "share":
        values = list(ours.values())
        verdict = number_verdict(
            values, against.value, test_size=QUERIES.get((table.dataset, table.split)),
            verified=against.verified, exact=table.dataset not in INEXACT,
        )  # fmt: skip
        if against.verified:
            difference = statistics.fmean(values) - against.value
            verdict += "" if against is paper else " (authors' code)"
    return Cell(column=column, ours=ours, paper=paper, code=code, difference=difference, verdict=verdict)


def _rows_by_columns(table: Table, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    header = ["", *(c.label for c in table.columns), "seeds", "min / seed"]
    return header, [[line.row.label, *(cell.text for cell in line.cells), *line.cost] for line in lines]


def _cell_by_cell(table: Table, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """One line per cell."""
    header = ["", "metric", "paper", "authors' code", "ours", "difference", "verdict", "seeds", "min / seed"]
    body = []
    for line in lines:
        for cell in line.cells:
            first = cell is line.cells[0]
            body.append([
                line.row.label if first else "", cell.column.label,
                published_text(cell.paper), published_text(cell.code), cell.text, difference_text(cell),
                cell.verdict, *(line.cost if first else ("", "")),
            ])  # fmt: skip
    if all(cell.code is None for line in lines for cell in line.cells):
        header, body = header[:3] + header[4:], [line[:3] + line[4:] for line in body]
    return header, body


def _escaped(cell: str) -> str:
    if isinstance(cell, Markup):
        return cell
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(cell.split()), quote=False))
