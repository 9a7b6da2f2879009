"""Rewrites what stands between `<!-- table: NAME -->` and `<!-- /table -->` in README.md and reproduce.md.

    mini/TABLE, paper/TABLE   one table of the paper's plan
    embedded/TABLE            the same table from runs on the embedded set, without published numbers
    claims                    the paper's claims with interval and verdict
    published                 published numbers that were checked, with their source
    peers                     what others report, with its source; unchecked numbers carry a mark
    commands                  what each table costs and the command that fills it
    trained                   of every row of the plan's `mini` tables, the command that trains it
    overview                  README.md only: all papers, one line each

In README.md every name but the last is preceded by `<paper>/`, or by `compare/` for the tables that compare
papers. Everything comes from results/, from the plan
(`python -m <paper>.tables`) and, where there is one, from `python -m <paper>.claims`, run at the root of the
repository.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from common import config
from common.files import write_atomically
from common.plan import Plan, Table
from common.results.published import load_published
from common.results.rows import load_runs, only
from common.results.tables import (
    UNCHECKED,
    Markup,
    duration,
    grid,
    percent,
    published_number,
    rows_run,
    table_text,
)
from common.results.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, TOO_FEW, combine

_OPEN = re.compile(r"<!--\s*table:\s*(.*?)\s*-->")
_CLOSE = re.compile(r"<!--\s*/table\s*-->")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")

COMPARISON = "benchmarks.compare"
"""The plan whose rows are of several papers; it has no page of its own, its tables stand in README.md."""

NO_RUN = "not run"
"""What stands in place of a verdict while no seed has been run."""

_NUMBERS = ["table", "row", "by", "data", "setting", "values", "source"]
"""Header of published numbers."""

CLAIM = ("id", "statement", "comparison", "difference", "low", "high", "n", "unit", "verdict", "table")
"""Keys of one comparison in the JSON list that `python -m <paper>.claims` prints. A claim with several
comparisons has several entries with its id. difference, low, high: numbers or null, shares as such."""


def render(papers: Sequence[str] | None = None, *, check: bool = False) -> list[str]:
    """Rewrite the tables of README.md and of the papers' reproduce.md. papers: folder names; default: all.

    Returns 'file: marker' of every table that was out of date. check: change nothing.
    Raises ValueError naming file and marker when a marker is unknown or not closed; then no file is written.
    """
    known = {name: Page(name) for name in papers_on_disk()}
    chosen = list(known if papers is None else papers)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        have = ", ".join(known) or "none"
        raise ValueError(
            f"no paper {', '.join(unknown)} here (a folder with tables.py and reproduce.md); known: {have}"
        )
    jobs = [(Path(name) / "reproduce.md", known[name].block) for name in chosen]
    if Path("README.md").exists():
        pages = list(known.values())
        _read_ahead(pages)
        blocks = {**{name: page.block for name, page in known.items()}, "compare": Page(COMPARISON).block}
        jobs.insert(0, (Path("README.md"), lambda marker: _readme_block(pages, blocks, marker)))
    stale, drafts = [], {}
    for path, block in jobs:
        text, changed = rewrite(path, block)
        stale += [f"{path}: {marker}" for marker in changed]
        if changed:
            drafts[path] = text
    if drafts and not check:
        for path, text in drafts.items():
            write_atomically(path, text.encode("utf-8"))
    return stale


def render_tables_of(paper: str) -> str:
    """Render the tables of one paper, or of the plan that compares papers; the file that shows them."""
    own = [] if paper == COMPARISON else [paper]
    render(own)
    return "README.md" if paper == COMPARISON else f"{paper}/reproduce.md, beside the published tables"


def papers_on_disk() -> list[str]:
    """Folders that hold a paper: tables.py and reproduce.md, in alphabetical order."""
    return sorted(
        page.parent.name for page in Path().glob("*/reproduce.md") if (page.parent / "tables.py").exists()
    )


def rewrite(path: Path, block: Callable[[str], str]) -> tuple[str, list[str]]:
    """(text of the file with every marked block replaced by block(name), names whose block was another).

    Markers inside fenced code are left alone. Raises ValueError naming file, line and marker.
    """
    lines, out, changed = path.read_text(encoding="utf-8").split("\n"), [], []
    fence, start, name = "", 0, None
    for number, line in enumerate(lines):
        opened, closed = _OPEN.fullmatch(line.strip()), _CLOSE.fullmatch(line.strip())
        if name is None:
            out.append(line)
            fence = _fence_after(fence, line)
            if fence:
                continue
            if closed:
                raise ValueError(
                    f"{path}, line {number + 1}: <!-- /table --> without <!-- table: NAME --> before it"
                )
            if opened:
                name, start = opened[1], number
        elif opened:
            raise ValueError(
                f"{path}, line {start + 1}: marker {name} is not closed before the next; add <!-- /table -->"
            )
        elif closed:
            try:
                new = block(name)
            except ValueError as error:
                raise ValueError(f"{path}, line {start + 1}, marker {name}: {error}") from error
            if new != "\n".join(lines[start + 1 : number]):
                changed.append(name)
            out += [new, line]
            name = None
    if name is not None:
        raise ValueError(f"{path}, line {start + 1}: marker {name} is not closed; add <!-- /table -->")
    return "\n".join(out), changed


def _read_ahead(pages: Sequence[Page]) -> None:
    """Ask for the plans and for the claims of all pages: processes of their own, so the two side by side."""
    with ThreadPoolExecutor(
        2
    ) as pool:  # an error is raised again where the page is rendered, with its marker
        pool.submit(lambda: [page.plan for page in pages])
        pool.submit(lambda: [page.claims for page in pages])


class Page:
    """Everything that can be rendered of one paper, read when it is asked for."""

    def __init__(self, paper: str):
        self.paper = paper

    @cached_property
    def plan(self) -> Plan:
        return Plan.of(self.paper)

    @cached_property
    def runs(self) -> pd.DataFrame:
        return load_runs(self.paper)

    @cached_property
    def published(self) -> pd.DataFrame:
        return load_published(self.paper)

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """The comparisons behind the paper's claims; none when the paper has no claims.py."""
        if not (Path(self.paper) / "claims.py").exists():
            return []
        command = [sys.executable, "-m", f"{self.paper}.claims"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"`python -m {self.paper}.claims` failed: {done.stderr.strip()[-500:]}")
        try:
            claims = json.loads(done.stdout)
        except ValueError as error:
            raise ValueError(f"`python -m {self.paper}.claims` did not print JSON: {error}") from error
        for claim in claims:
            if set(claim) != set(CLAIM):
                raise ValueError(
                    f"{self.paper}.claims: an entry has {sorted(claim)}; it needs {sorted(CLAIM)}"
                )
        return claims

    def block(self, marker: str) -> str:
        """What stands between the marker and its end. ValueError listing the names when it is unknown."""
        simple = {
            "claims": self.claims_text,
            "published": self.published_text,
            "peers": self.peers_text,
            "commands": self.commands_text,
            "trained": self.trained_text,
        }
        if marker in simple:
            return simple[marker]()
        for budget in ("mini", "paper"):
            for table in self.tables(budget):
                if marker == f"{budget}/{table.name}":
                    return table_text(self.plan, table, self.runs, self.published)
                if marker == f"embedded/{table.name}":
                    return table_text(self.plan, table, self.runs, self.published, "embedded")
        tables = [f"{t.budget}/{t.name}" for t in self.plan.tables]
        raise ValueError(f"no such table; choose from {', '.join([*simple, *tables])}, embedded/TABLE")

    def tables(self, budget: str) -> list[Table]:
        return [t for t in self.plan.tables if t.budget == budget]

    def whole(self, budget: str) -> int:
        """How many tables of this budget have a measurement in every row."""
        return sum(rows_run(t, self.runs) == len(t.rows) for t in self.tables(budget))

    def comparisons(self) -> dict[str, list[dict[str, Any]]]:
        """Claim id -> its comparisons."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        for claim in self.claims:
            grouped.setdefault(claim["id"], []).append(claim)
        return grouped

    def verdicts(self) -> dict[str, str]:
        """Claim id -> verdict over its comparisons."""
        return {name: combine(c["verdict"] for c in parts) for name, parts in self.comparisons().items()}

    def command(self, table: Table | None = None) -> str:
        """What fills a table, or the default rows of budget mini."""
        name = self.paper.split("_")[0]
        words = ["make", "compare" if self.paper == COMPARISON else f"reproduce-{name}"]
        if table is not None:
            words += ["BUDGET=paper"] * (table.budget == "paper") + [f"TABLE={table.name}"]
        return " ".join(words)

    def claims_text(self) -> str:
        header = ["", "claim", "comparison", "difference [95 % interval]", "seeds", "from", "verdict"]
        body = []
        for name, verdict in self.verdicts().items():
            parts = self.comparisons()[name]
            lines = [["", "", *_compared(claim)] for claim in parts]
            if len(parts) > 1:  # the claim's own line, then one for each comparison that it rests on
                lines.insert(0, [""] * len(header))
            lines[0][:2] = [name, parts[0]["statement"]]
            lines[0][-1] = Markup(f"**{verdict_text(verdict, parts)}**")
            body += lines
        return grid(header, body, "lllrrll")

    def published_text(self) -> str:
        """The paper's checked numbers, then those of the authors' code; nobody else's."""
        checked = self.published.loc[self.published["verified"]]
        paper = self._numbers(only(checked, kind="paper"), by="paper")
        code = self._numbers(only(checked, kind="authors-code"), by="authors' code")
        return grid(_NUMBERS, paper + code, "l" * len(_NUMBERS))

    def peers_text(self) -> str:
        """What others report: rivals in the paper's tables, re-runs; a mark where nobody has checked it."""
        numbers = self._numbers(only(self.published, kind="peer"), by="others")
        return grid(_NUMBERS, numbers, "l" * len(_NUMBERS))

    @staticmethod
    def _numbers(facts: pd.DataFrame, by: str) -> list[list[str]]:
        """One line for each table, row, data set, setting and source that has a value."""
        body = []
        keys = ["table", "row", "dataset", "setting", "source"]
        for key, cells in facts.dropna(subset="value").groupby(keys, sort=False):
            table, row, dataset, setting, source = key  # type: ignore[misc]
            values = [
                f"{metric} {published_number(value, unit)}{'' if verified else UNCHECKED} "
                f"{'%' if unit == 'share' else unit}"
                for metric, value, unit, verified in zip(
                    cells["metric"], cells["value"], cells["unit"], cells["verified"]
                )
            ]
            body.append([table, row, by, dataset, setting, ", ".join(values), source])
        return body

    def trained_text(self) -> str:
        body = []
        for table in self.tables("mini"):
            for row in table.rows:
                (paper, preset), changes = row.trained_by(self.paper), config.flags(row.overrides)
                words = [f"{paper}.train", preset, *changes]
                if row.baseline:
                    words = [f"{self.paper}.evaluate", row.baseline, row.preset, *changes]
                body.append([row.label, table.dataset, _code(shlex.join(["python", "-m", *words]))])
        return grid(["row", "data", "command, seed 0"], body, "lll")

    def commands_text(self) -> str:
        default = [r for t in self.tables("mini") for r in t.rows if r.label in t.default]
        cost = f"{duration(sum(row.minutes for row in default))}, one core"
        body = [[_code(self.command()), "default rows, first seed", cost]]
        for budget in ("mini", "paper"):
            for table in self.tables(budget):
                what = f"{table.title}: {_count(table.rows, 'row')}, {_count(table.seeds, 'seed')}"
                body.append([_code(self.command(table)), what, estimate(table)])
        return grid(["command", "what", "estimated time"], body, "lll")


def _readme_block(pages: Sequence[Page], blocks: dict[str, Callable[[str], str]], marker: str) -> str:
    if marker == "overview":
        return _overview(pages)
    paper, _, rest = marker.partition("/")
    if paper not in blocks:
        raise ValueError(f"no such table; choose from overview, {', '.join(f'{p}/...' for p in blocks)}")
    return blocks[paper](rest)


def _overview(pages: Any) -> str:
    header = [
        "paper",
        "mini tables run",
        "paper tables run",
        *(SUPPORTED, CONTRADICTED, INCONCLUSIVE),
        "open",
        "page",
    ]
    body = []
    for page in pages:
        run = [f"{page.whole(budget)} of {len(page.tables(budget))}" for budget in ("mini", "paper")]
        count = Counter(page.verdicts().values())
        body.append([
            page.plan.title, *run, *(str(count[v]) for v in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, TOO_FEW)),
            Markup(f"[reproduce.md]({page.paper}/reproduce.md)"),
        ])  # fmt: skip
    return grid(header, body, "lrrrrrrl")


def _compared(claim: dict[str, Any]) -> list[str]:
    """[comparison, difference, seeds, table, verdict] of one comparison."""
    n, verdict = str(claim["n"]), verdict_text(claim["verdict"], [claim])
    return [claim["comparison"], interval_text(claim), n, _code(claim["table"]), verdict]


def verdict_text(verdict: str, comparisons: Sequence[dict[str, Any]]) -> str:
    """The verdict over these comparisons, or that there is none yet."""
    return verdict if any(claim["n"] for claim in comparisons) else NO_RUN


def estimate(table: Table) -> str:
    """'12 min, one core': the plan's estimate of a whole table."""
    machine = "one GPU" if table.budget == "paper" else "one core"
    return f"{duration(sum(row.minutes for row in table.rows) * len(table.seeds))}, {machine}"


def interval_text(claim: dict[str, Any]) -> str:
    """'+1.2 [+0.4, +2.0] points'."""
    if claim["difference"] is None or not math.isfinite(claim["difference"]):
        return "·"
    share = claim["unit"] == "share"
    shown = [
        "" if v is None or not math.isfinite(v) else percent(v, signed=True) if share else f"{v:+.3g}"
        for v in (claim["difference"], claim["low"], claim["high"])
    ]
    bounds = f" [{shown[1]}, {shown[2]}]" if shown[1] and shown[2] else ""
    return f"{shown[0]}{bounds} {'points' if share else claim['unit']}".rstrip()


def _count(things: Sequence[Any], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _code(text: str) -> str:
    return Markup("`" + text.replace("|", "\\|") + "`") if text else ""


def _fence_after(fence: str, line: str) -> str:
    """The code fence that is open after this line; '' for none."""
    found = _FENCE.match(line)
    if not found:
        return fence
    if not fence:
        return found[1]
    closes = found[1][0] == fence[0] and len(found[1]) >= len(fence) and not line.strip().strip(fence[0])
    return "" if closes else fence


def report(stale: list[str], check: bool) -> Iterator[str]:
    """Lines for the terminal."""
    for place in stale:
        yield f"{place} {'differs from results/; run make tables' if check else 'rewritten'}"
    if not stale:
        yield "every rendered table equals results/"
