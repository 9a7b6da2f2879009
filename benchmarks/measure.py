"""Time and peak memory of contenders that do the same work.

Seconds: the least of several rounds, all contenders of a case in turn within one process, so that a busy
moment of the machine hits them alike; a fast one runs again until its turn is over. Memory: each contender
once in a fresh process, after a run at the smallest size (which loads its libraries): the highest resident
size during the call, less the resident size before it. The inputs are not counted, the result is. On Linux
the kernel's high-water mark is reset before the call; elsewhere it cannot be, and the number is a lower
bound.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from tabulate import tabulate

from common.compute import peak_memory_mb


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do the work."""

    name: str
    run: Callable[[], float | None]
    """Does the work and returns the value that all must agree on; None: it computes no such value."""
    packages: tuple[str, ...] = ()
    """Packages that must be importable beyond our own."""
    pip: str = ""
    """What to install for it."""

    @property
    def missing(self) -> bool:
        return any(importlib.util.find_spec(package) is None for package in self.packages)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One table: the contenders on one set of inputs. The first contender is ours."""

    title: str
    build: Callable[[], list[Contender]]
    """Makes the inputs, the same ones every time, and the contenders that share them."""
    baseline: str = ""
    """Contender that the last column compares with, e.g. the least work that anyone has to do."""
    tolerance: float = 1e-6
    """Largest difference of a contender's value from ours."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one contender needed; NaN where it is not installed."""

    name: str
    seconds: float = math.nan
    megabytes: float = math.nan
    value: float | None = None


TURN = 0.3
"""Seconds of a contender's turn, if it needs no more for one run."""


def measure(topic: Callable[[str], list[Case]], scale: str, case: int, rounds: int) -> list[Measured]:
    """All contenders of case number `case` of the topic. Raises ValueError when one disagrees with ours."""
    contenders = topic(scale)[case].build()
    seconds = [math.inf] * len(contenders)
    values: list[float | None] = [None] * len(contenders)
    for _ in range(rounds):
        for i, contender in enumerate(contenders):
            begin = time.perf_counter()
            while not contender.missing:
                start = time.perf_counter()
                values[i] = contender.run()
                seconds[i] = min(seconds[i], (end := time.perf_counter()) - start)
                if end - begin > TURN:
                    break
    tolerance = topic(scale)[case].tolerance
    for contender, value in zip(contenders, values):
        if value is not None and values[0] is not None and not abs(value - values[0]) <= tolerance:
            raise ValueError(f"{contender.name} gives {value!r}, {contenders[0].name} gives {values[0]!r}")
    return [
        Measured(name=f"{c.name}: not installed (pip install {c.pip})")
        if c.missing
        else Measured(name=c.name, seconds=s, megabytes=extra_memory_mb(topic, scale, case, i), value=v)
        for i, (c, s, v) in enumerate(zip(contenders, seconds, values))
    ]


def extra_memory_mb(topic: Callable[[str], list[Case]], scale: str, case: int, contender: int) -> float:
    """Peak memory in MB (10^6 bytes) that the contender takes beyond its inputs, in a fresh process."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the thread pools of this process
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, topic, scale, case, contender, torch.get_num_threads())
    process = context.Process(target=_probe, args=arguments)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError as error:
        process.join()
        raise ValueError(
            f"contender {contender} of {topic.__name__} ended with code {process.exitcode} before its memory"
            " was read; it may need more memory than there is"
        ) from error
    finally:
        process.join()


def _probe(
    to: Connection, topic: Callable[[str], list[Case]], scale: str, case: int, contender: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    topic("tiny")[0].build()[contender].run()
    to.send(extra_mb(topic(scale)[case].build()[contender].run))
    to.close()


def extra_mb(run: Callable[[], object]) -> float:
    """Peak memory in MB (10^6 bytes) of this process during run(), beyond what it held before."""
    gc.collect()
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if status.exists() and reset.exists():
        reset.write_text("5")  # the high-water mark starts anew, see proc(5)
        before = _status_mb(status, "VmRSS")
        run()
        return max(0.0, _status_mb(status, "VmHWM") - before)
    before = peak_memory_mb(torch.device("cpu"))
    run()
    return peak_memory_mb(torch.device("cpu")) - before


def _status_mb(status: Path, key: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024 / 1e6


def table(case: Case, rows: Sequence[Measured]) -> str:
    """The Markdown table of a case; ratios are to the first row, and to the baseline where there is one."""
    ours = rows[0]
    base = next((row.seconds for row in rows if row.name == case.baseline), math.nan)
    lines = [
        [
            row.name,
            "" if row.value is None else f"{row.value:.6g}",
            f"{row.seconds:.3g}",
            f"{row.seconds / ours.seconds:.2f}",
            *([f"{row.seconds / base:.2f}"] if case.baseline else []),
            f"{row.megabytes:.0f}",
            f"{row.megabytes / ours.megabytes:.1f}" if ours.megabytes else "",
        ]
        if math.isfinite(row.seconds)
        else [row.name]
        for row in rows
    ]
    headers = ["contender", "value", "seconds", "time / ours"]
    headers += [f"time / {case.baseline}"] if case.baseline else []
    headers += ["extra MB", "MB / ours"]
    width = len(headers)
    return f"### {case.title}\n\n" + tabulate(
        [line + [""] * (width - len(line)) for line in lines],
        headers=headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] + ["right"] * (width - 1),
    )
