"""Time and peak memory of one piece of work in fresh processes: one, or several gloo ranks that share it.

Each point gets processes of its own, forked from a server that has imported torch and the papers but has
computed nothing: a tenth of a second each, no thread pools, no memory left over. In each of them, with one
thread: a run at the smallest size (which loads what is loaded late), then the run whose peak memory is read,
as in benchmarks/measure.py, then runs that are timed from barrier to barrier.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.measure import extra_mb
from common import distributed

Build = Callable[[int], Callable[[], float]]
"""From a size to the work on inputs of that size. The work returns a number that does not depend on how many
ranks share it. A function of a module, or a partial of one: it is sent to other processes by name."""

TURN, MOST = 0.7, 100
"""Seconds of timed runs, at least two of them and at most MOST; the least time counts."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one size needed."""

    seconds: float
    """Least of several runs, until the last rank is done."""
    megabytes: float
    """Peak resident memory beyond the inputs, of the rank that takes most; 10^6 bytes."""
    value: float
    """What was computed, on rank 0."""


def measure(build: Build, size: int, smallest: int, ranks: int = 1, turn: float = TURN) -> Point:
    """One point in fresh processes. Raises ValueError when one of them fails or computes something else."""
    context: Any = multiprocessing.get_context(_START)
    context.set_forkserver_preload(["benchmarks.scaling.page"])  # all that is slow; nothing for spawn
    with tempfile.TemporaryDirectory() as folder:
        processes, ends = [], []
        for rank in range(ranks):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (theirs, build, size, smallest, rank, ranks, folder, turn)
            processes.append(context.Process(target=_work, args=arguments, daemon=True))
            ends.append(ours)
            processes[-1].start()
            theirs.close()
        try:
            points = _received(ends, size)
        finally:
            for process in processes:
                process.terminate()  # a rank whose partner has failed would wait for it
                process.join()
    if not all(math.isclose(p.value, points[0].value, rel_tol=TOLERANCE) for p in points):
        raise ValueError(f"size {size}: the ranks compute {', '.join(f'{p.value!r}' for p in points)}")
    return Point(
        seconds=max(p.seconds for p in points),
        megabytes=max(p.megabytes for p in points),
        value=points[0].value,
    )


TOLERANCE = 1e-3
"""Relative difference of values that are the same up to rounding."""
_START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _received(ends: list[Connection], size: int) -> list[Point]:
    """The point of every rank, or ValueError as soon as one has failed."""
    points: dict[int, Point] = {}
    while len(points) < len(ends):
        ready = wait([end for rank, end in enumerate(ends) if rank not in points])
        failed = []
        for rank in [rank for rank, end in enumerate(ends) if end in ready]:
            try:
                told = ends[rank].recv()
            except EOFError:
                told = "it was killed; it may need more memory than there is"
            if isinstance(told, str):
                failed.append(f"rank {rank} of {len(ends)}: {told}")
            else:
                points[rank] = told
        if failed:
            raise ValueError(f"size {size}, {'; '.join(failed)}")
    return [points[rank] for rank in range(len(ends))]


def _work(
    to: Connection, build: Build, size: int, smallest: int, rank: int, ranks: int, folder: str, turn: float
) -> None:
    """In a fresh process: one rank's point, or a sentence in its place."""
    torch.set_num_threads(1)
    try:
        if ranks > 1:
            group = f"file://{Path(folder) / 'group'}"
            dist.init_process_group("gloo", init_method=group, rank=rank, world_size=ranks)
        point = _point(build, size, smallest, turn)
        distributed.leave()
        to.send(point)
    except Exception as error:
        to.send(f"{type(error).__name__}: {error}")
    to.close()


def _point(build: Build, size: int, smallest: int, turn: float) -> Point:
    gc.freeze()  # what the server imported is no garbage: looking through it would copy all of its pages
    _keep_freed_blocks(0)
    build(smallest)()
    run = build(size)
    values: list[float] = []
    distributed.wait()
    megabytes = extra_mb(lambda: values.append(run()))
    _keep_freed_blocks(1 << 25)
    seconds: list[float] = []
    runs = 2
    while len(seconds) < runs:
        distributed.wait()
        start = time.perf_counter()
        run()
        distributed.wait()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:  # the slowest rank decides how often all of them run
            slowest = distributed.total(torch.tensor(seconds[0], dtype=torch.float64), largest=True)
            runs = min(MOST, max(runs, math.ceil(turn / float(slowest))))
    return Point(seconds=min(seconds), megabytes=megabytes, value=values[0])


def _keep_freed_blocks(largest: int) -> None:
    """When blocks of memory of up to so many bytes (at least 128 KB) are freed, keep them for later.

    By default glibc keeps none at first and, as larger ones are freed, ends with those of up to 32 MB. What
    it has kept then depends on history, and work that fits into it seems to need nothing. Elsewhere this does
    nothing.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, max(largest, 1 << 17))
        libc.mallopt(_TRIM_THRESHOLD, max(2 * largest, 1 << 17))


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h
