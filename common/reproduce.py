"""The driver behind `make reproduce-*` and `make compare`: walks the tables of a paper, or of the plan that
compares papers; trains and measures what is missing, renders.

`python -m common.reproduce cgd_retrieval [--budget mini|paper] [--table NAME ...|all] [--seeds 0 1 2]`

Without --table it runs each table's default rows with the first seed. A cell is finished when its run folder
on this computer holds a finished checkpoint of the same configuration and code, and its rows are in
results/runs/<paper>.csv; a row without training, when a note of that configuration and code lies beside its
log. On CPU as many runs go side by side as there are cores, one thread each; on a GPU one at a time. Ctrl-C,
or a kill, loses at most the epoch in progress: the same command goes on.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common import compute, config, data, results, run, typos
from common.files import write_atomically
from common.plan import Plan, Row, Table


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: a row of a table at one seed."""

    paper: str
    row: Row
    dataset: str
    seed: int
    changed: dict[str, Any] = field(default_factory=dict)
    """Overrides, with the data set when it is not the preset's own."""

    @property
    def key(self) -> tuple[str, str, int]:
        return (
            self.row.preset,
            config.overrides_hash(self.changed) + ("" if self.row.train else "pixels"),
            self.seed,
        )

    @property
    def trained_by(self) -> tuple[str, str]:
        """(paper, its preset)."""
        return self.row.trained_by(self.paper)

    @property
    def folder(self) -> Path:
        return run.run_folder(*self.trained_by, self.changed, self.seed)

    @property
    def log(self) -> Path:
        """What the commands print."""
        paper, _ = self.trained_by
        name = ("" if paper == self.paper else f"{paper}-") + self.folder.name
        return Path("runs", self.paper, "logs", f"{name}{'' if self.row.train else '-baseline'}.txt")

    def commands(self) -> list[list[str]]:
        """What is run, in order: the words after `python -m`."""
        (paper, preset), measure = self.trained_by, f"{self.paper}.evaluate"
        changes = [*config.flags(self.changed), "--seed", str(self.seed)]
        if not self.row.train:
            return [[measure, self.row.baseline, self.row.preset, *changes, "--record"]]
        return [[f"{paper}.train", preset, *changes], [measure, str(self.folder / "last.pt"), "--record"]]

    def code(self, module: str) -> str:
        """Fingerprint of the code behind 'train' or 'evaluate'."""
        paper = self.trained_by[0]
        modules = [f"{paper}.{module}"]
        if module == "evaluate" and paper != self.paper:
            modules.append(f"{self.paper}.evaluate")
        return " ".join(map(run.code_fingerprint, modules))


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog="python -m common.reproduce", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paper", help=f"folder of the paper, e.g. cgd_retrieval, or {results.COMPARISON}")
    parser.add_argument(
        "--budget", choices=("mini", "paper"), help="default: mini, or the one that has the named table"
    )
    parser.add_argument(
        "--table", nargs="+", default=[], metavar="NAME", help="tables to run in full, or all"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument(
        "--data", choices=("auto", "real", "synthetic"), default=None, help="default: $DATA, else auto"
    )
    parser.add_argument(
        "--jobs", type=int, default=0, help="runs side by side; default: cores on CPU, 1 on a GPU"
    )
    args = parser.parse_args(argv)
    if wrong := [seed for seed in args.seeds or () if not 0 <= seed < 2**32]:
        raise ValueError(f"--seeds {wrong[0]}: give numbers from 0 to {2**32 - 1}")
    if args.jobs < 0:
        raise ValueError(f"--jobs {args.jobs}: give 0 or more")
    plan = Plan.of(args.paper)
    budget = args.budget or budget_of(plan, args.table)
    chosen = choose(plan, budget, args.table)
    policy = args.data or os.environ.get("DATA") or "auto"
    if budget == "paper" and policy == "auto":
        policy = "real"  # published settings on generated drawings would cost days and answer nothing
    names = {name: data.resolve(name, policy) for name in dict.fromkeys(t.dataset for t, _ in chosen)}
    cells = unique(expand(plan, chosen, names, args.seeds, bool(args.table)))
    waiting = [c for c in cells if not is_finished(plan, c)]
    jobs = args.jobs or (1 if compute.pick_device().type == "cuda" else compute.cores())
    announce(plan, chosen, cells, waiting, jobs)
    failures = work(plan, waiting, jobs) if waiting else []
    for table, _ in chosen:
        print(f"\n{results.terminal_table(plan, table, synthetic=names[table.dataset] == 'embedded')}")
    if all(name != "embedded" for name in names.values()):
        print(f"\nrendered: {results.render_tables_of(args.paper)}")
    if failures:
        raise ValueError(f"{len(failures)} of {len(cells)} runs failed: {'; '.join(failures)}")


def budget_of(plan: Plan, names: list[str]) -> str:
    """The budget meant when none is given: paper if every named table exists there only, else mini."""
    mini = {t.name for t in plan.tables if t.budget == "mini"} | {"all"}
    paper = {t.name for t in plan.tables if t.budget == "paper"}
    return "paper" if names and all(n in paper and n not in mini for n in names) else "mini"


def choose(plan: Plan, budget: str, names: list[str]) -> list[tuple[Table, tuple[Row, ...]]]:
    """The tables asked for with all their rows, or every table that has default rows, with those."""
    tables = [t for t in plan.tables if t.budget == budget]
    known = [t.name for t in tables]
    unknown = [n for n in names if n not in known and n != "all"]
    if unknown:
        raise ValueError(
            f"{plan.paper} has no {budget} table {', '.join(unknown)}; choose from {', '.join(known)}, all"
        )
    if names:
        return [(t, t.rows) for t in tables if "all" in names or t.name in names]
    chosen = [(t, tuple(r for r in t.rows if r.label in t.default)) for t in tables if t.default]
    if not chosen:
        raise ValueError(
            f"budget {budget} has no default rows for {plan.paper}; name a table: {', '.join(known)}, all"
        )
    return chosen


def expand(
    plan: Plan,
    chosen: list[tuple[Table, tuple[Row, ...]]],
    names: dict[str, str],
    seeds: list[int] | None,
    whole: bool,
) -> Iterable[Cell]:
    """Seed by seed, so that every row has one result early."""
    longest = max(len(t.seeds) for t, _ in chosen)
    for i in range(len(seeds) if seeds else longest if whole else 1):
        for table, rows in chosen:
            if seeds is None and i >= len(table.seeds):
                continue
            for row in rows:
                changed = dict(row.overrides)
                own = changed.get("data", plan.presets[row.preset]["data"])
                if names[table.dataset] != own:
                    changed["data"] = names[table.dataset]
                seed = seeds[i] if seeds else table.seeds[i]
                yield Cell(
                    paper=plan.paper, row=row, dataset=names[table.dataset], seed=seed, changed=changed
                )


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Tables share rows: each run once."""
    return list({c.key: c for c in reversed(list(cells))}.values())[::-1]


def is_finished(plan: Plan, cell: Cell) -> bool:
    """Whether the run folder is finished and its figures are recorded."""
    if not cell.row.train:
        note = cell.log.with_suffix(".json")
        if not note.exists() or note.read_text() != measured_note(plan, cell):
            return False
        return results.has_baseline(cell.paper, cell.row.preset, cell.changed, cell.seed)
    cfg = plan.presets[cell.row.preset] | cell.changed | {"seed": cell.seed}
    done = run.finished(cell.folder, cfg, cell.code("train"))
    return done is not None and results.has_checkpoint(cell.paper, done["checkpoint"])


def measured_note(plan: Plan, cell: Cell) -> str:
    """What was measured without training, by which configuration and code; written beside the log."""
    cfg = plan.presets[cell.row.preset] | cell.changed | {"seed": cell.seed}
    note = {"baseline": cell.row.baseline, "config": cfg, "code": cell.code("evaluate")}
    return json.dumps(note, sort_keys=True)


def announce(plan: Plan, chosen: list[Any], cells: list[Cell], waiting: list[Cell], jobs: int) -> None:
    """What will run and how long it takes: the plan's estimate, scaled by what finished runs took on this
    machine.
    """
    ratios = []
    for cell in cells:
        log = cell.folder / "done.json"
        if cell not in waiting and log.exists() and cell.row.minutes:
            ratios.append(json.loads(log.read_text())["minutes"] / cell.row.minutes)
    pace = statistics.median(ratios) if ratios else 1.0
    minutes = sum(c.row.minutes for c in waiting) * pace / jobs
    minutes = max([minutes, *(c.row.minutes * pace for c in waiting)])
    basis = "at the pace of the finished ones" if ratios else "by estimate"
    print(f"{plan.title}: {', '.join(t.name for t, _ in chosen)}")
    print(
        f"{len(cells)} runs, {len(cells) - len(waiting)} finished; {len(waiting)} to go, "
        f"{jobs} side by side, about {minutes:.0f} min {basis}"
    )


def work(plan: Plan, cells: list[Cell], jobs: int) -> list[str]:
    """Run the cells; returns a sentence per failure. Ctrl-C ends the children and raises."""
    children: set[subprocess.Popen[bytes]] = set()
    stop = threading.Event()
    environment = dict(os.environ)
    if compute.pick_device().type == "cpu" and jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"

    def one(cell: Cell) -> str:
        log = cell.log
        log.parent.mkdir(parents=True, exist_ok=True)
        for words in cell.commands():
            if stop.is_set():
                return ""
            command = [sys.executable, "-m", *words]
            with open(log, "ab") as file:
                file.write(f"$ python -m {' '.join(command[2:])}\n".encode())
                file.flush()
                child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
            children.add(child)
            status = child.wait()
            children.discard(child)
            if status and not stop.is_set():
                last = log.read_text(errors="replace").strip().splitlines()[-1]
                return f"{cell.folder.name}: {last} (log: {log})"
        if not cell.row.train and not stop.is_set():
            write_atomically(log.with_suffix(".json"), measured_note(plan, cell).encode())
        return ""

    failures: list[str] = []
    total = sum(c.row.minutes for c in cells)
    bar = tqdm(
        total=round(total, 1),
        unit="min",
        desc="runs",
        disable=not sys.stderr.isatty(),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} < {remaining} {postfix}",
    )
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, cell): cell for cell in cells}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                cell, failure = futures[future], future.result()
                if failure:
                    failures.append(failure)
                bar.update(cell.row.minutes)
                bar.write(
                    f"[{number}/{len(cells)}] {(time.monotonic() - started) / 60:5.1f} min  "
                    f"{cell.row.label}, seed {cell.seed}" + (f"  FAILED: {failure}" if failure else ""),
                    file=sys.stdout,
                )
                sys.stdout.flush()
        except KeyboardInterrupt:
            stop.set()
            for child in list(children):
                child.send_signal(signal.SIGTERM)
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            bar.close()
    return failures


if __name__ == "__main__":
    config.command(main)
