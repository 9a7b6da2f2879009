"""One table of a plan as text: Markdown for the pages, plain for the terminal.

Budget mini: rows x columns, mean ± standard deviation over seeds. Budget paper: cell by cell, the published
number beside ours with difference and verdict. Runs on the embedded set stand in tables of their own, without
published numbers.
"""

from __future__ import annotations

import html
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import tabulate

from common.plan import Column, Plan, Row, Table
from common.results.published import INEXACT, QUERIES, Published, find, load_published
from common.results.rows import canonical, load_runs, newest, only
from common.results.verdicts import number_verdict

NOT_RUN, UNKNOWN, UNCHECKED, ESTIMATED = "·", "–", "†", "≈"
EMBEDDED_NOTE = "Embedded set of generated drawings: these numbers say nothing about the published ones."


tabulate.MIN_PADDING = 0  # a header is as wide as its cells, not two columns wider


class Markup(str):
    """A cell that is Markdown already and is not escaped."""


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
    if dataset != table.dataset and not is_embedded(dataset):
        raise ValueError(
            f"table {table.name} is about {table.dataset}; runs on {dataset} do not belong into it"
        )
    rows = _runs_of(table, runs, dataset)
    generated = is_embedded(dataset)
    if table.budget == "paper" and not generated:
        header, body, notes = _cell_by_cell(table, rows, published)
    else:
        header, body, notes = _rows_by_columns(table, rows)
    header[0] = f"{dataset}, {table.split}"
    return "\n".join(
        _framed(plan, table, header, body, [*notes, *_figures(table, rows, body)], generated, plain)
    )


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
    """A table; align: one of l, r, c per column. '|' and HTML in cells are escaped, except in Markup."""
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


def _values(rows: pd.DataFrame, metric: str) -> list[float]:
    """One value per seed, in the order of seeds; the newest, where two targets share a configuration."""
    same = only(rows, metric=metric)
    by_seed = dict(zip(same["seed"].tolist(), same["value"].tolist()))
    return [by_seed[seed] for seed in sorted(by_seed)]


def _cost(rows: pd.DataFrame, row: Row) -> list[str]:
    """[number of seeds, minutes per seed]: the measured median, or the plan's estimate."""
    minutes = dict(zip(rows["seed"].tolist(), rows["minutes"].tolist()))
    if not minutes:
        return ["0", f"{ESTIMATED} {row.minutes:g}"]
    spent = statistics.median(minutes.values())
    return [str(len(minutes)), f"{spent:.0f}" if spent >= 100 or spent == 0 else f"{max(spent, 0.1):.1f}"]


def _mean(values: Sequence[float], column: Column) -> str:
    if not values:
        return NOT_RUN
    mean, spread = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    if column.percent:
        return percent(mean) + ("" if spread is None else f" ± {percent(spread)}")
    return f"{mean:.4g}" + ("" if spread is None else f" ± {spread:.2g}")


def _rows_by_columns(table: Table, runs: pd.DataFrame) -> tuple[list[str], list[list[str]], list[str]]:
    header = ["", *(c.label for c in table.columns), "seeds", "min / seed"]
    body = []
    for row in table.rows:
        own = _of_row(runs, row)
        body.append([row.label, *(_mean(_values(own, c.metric), c) for c in table.columns), *_cost(own, row)])
    return header, body, []


def _cell_by_cell(
    table: Table, runs: pd.DataFrame, published: pd.DataFrame
) -> tuple[list[str], list[list[str]], list[str]]:
    """One line per cell. Of metrics after the first, only those that somebody has a number of."""
    header = ["", "metric", "paper", "authors' code", "ours", "difference", "verdict", "seeds", "min / seed"]
    body = []
    for row in table.rows:
        own, first = _of_row(runs, row), True
        for number, column in enumerate(table.columns):
            theirs = {
                k: find(published, row.target, table.dataset, column.metric, k)
                for k in ("paper", "authors-code")
            }
            values = _values(own, column.metric)
            if number and not values and not any(theirs.values()):
                continue
            body.append([
                row.label if first else "", column.label,
                *map(published_text, theirs.values()), _mean(values, column),
                *_compared(table, column, values, theirs["paper"], theirs["authors-code"]),
                *(_cost(own, row) if first else ["", ""]),
            ])  # fmt: skip
            first = False
    notes = []
    if any(line[2] == UNKNOWN for line in body):
        notes.append(f"{UNKNOWN} published value not seen.")
    if any(UNCHECKED in cell for line in body for cell in line[2:4]):
        notes.append(f"{UNCHECKED} not checked against the PDF.")
    if all(line[3] == UNKNOWN for line in body):
        header, body = header[:3] + header[4:], [line[:3] + line[4:] for line in body]
    return header, body, notes


def _compared(
    table: Table, column: Column, values: list[float], paper: Published | None, code: Published | None
) -> list[str]:
    """[difference in points, verdict] against the paper, else against the authors' code."""
    against = paper if paper is not None and paper.verified else code or paper
    if not values or against is None or not column.percent or against.unit != "share":
        return ["", ""]
    verdict = number_verdict(
        values, against.value, test_size=QUERIES.get((table.dataset, table.split)), verified=against.verified,
        exact=table.dataset not in INEXACT,
    )  # fmt: skip
    if not against.verified:
        return ["", verdict]
    difference = percent(statistics.fmean(values) - against.value, signed=True)
    return [difference, verdict if against is paper else f"{verdict} (authors' code)"]


def _figures(table: Table, runs: pd.DataFrame, body: list[list[str]]) -> list[str]:
    """What the figures are, as sentences."""
    said = []
    if any(c.percent for c in table.columns):
        said.append("Percent, mean ± standard deviation over seeds.")
    measured = [own for row in table.rows if not (own := _of_row(runs, row)).empty]
    if any(line[-1].startswith(ESTIMATED) for line in body):
        machine = "GPU" if table.budget == "paper" else "core"
        said.append(f"{NOT_RUN} not run; {ESTIMATED} estimated minutes of one {machine}.")
    if measured:
        said.append(f"Run on: {'; '.join(sorted(set(pd.concat(measured)['device'])))}.")
    return said


def _framed(
    plan: Plan,
    table: Table,
    header: list[str],
    body: list[list[str]],
    notes: list[str],
    generated: bool,
    plain: bool,
) -> list[str]:
    align = "l" + "".join("l" if name in ("metric", "verdict") else "r" for name in header[1:])
    title = table.title + (" (embedded set)" if generated else "")
    notes = [*([EMBEDDED_NOTE] if generated else []), *notes, *([table.note] if table.note else [])]
    if plain:
        return [f"{plan.title}: {title}", "", grid(header, body, align, plain=True), "", *notes]
    return [f"**{_escaped(title)}**", "", grid(header, body, align), "", f"*{' '.join(notes)}*"]


def _escaped(cell: str) -> str:
    if isinstance(cell, Markup):
        return cell
    return html.escape(" ".join(cell.split()), quote=False).replace("\\", "\\\\").replace("|", "\\|")
