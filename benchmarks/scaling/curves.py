"""Points that form curves, their exponents, and the verdict on what was claimed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.scaling.ranks import TOLERANCE, TURN, Point, measure
from benchmarks.scaling.subjects import Subject
from common.files import write_atomically

TIME_ROOM, MEMORY_ROOM = 0.25, 0.2
"""A slope may exceed its claim by so much: caches end, timers tremble."""
FLOOR = 1.0
"""MB; a lower reading counts as this: pages that libraries touch for the first time."""


@dataclass(frozen=True)
class Curve:
    """One subject with one number of ranks."""

    subject: Subject
    ranks: int
    points: dict[int, Point]
    """By size, ascending."""

    @property
    def seconds(self) -> list[float]:
        return [point.seconds for point in self.points.values()]

    @property
    def megabytes(self) -> list[float]:
        return [max(point.megabytes, FLOOR) for point in self.points.values()]

    @property
    def time(self) -> float:
        """Exponent of the size in the time."""
        return slope(list(self.points), self.seconds)

    @property
    def memory(self) -> float:
        """Exponent of the size in the memory: of the whole range, or of its last step if that is larger. A
        fixed part hides growth at small sizes, so what a large size would need shows at the end.
        """
        sizes = list(self.points)
        return max(slope(sizes, self.megabytes), slope(sizes[-2:], self.megabytes[-2:]))

    @property
    def faults(self) -> list[str]:
        """What grows faster than it may."""
        s, found = self.subject, []
        if self.time > s.time + TIME_ROOM:
            found.append(f"time grows as {s.symbol}^{self.time:.2f}, faster than {power(s, s.time)}")
        if self.memory > s.memory + MEMORY_ROOM:
            found.append(f"memory grows as {s.symbol}^{self.memory:.2f}, faster than {power(s, s.memory)}")
        return found


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Least-squares slope of log value over log size: the exponent p of value = a size^p."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def power(subject: Subject, exponent: int) -> str:
    """For a reader: 1, N or N^2."""
    return ("1", subject.symbol)[exponent] if exponent < 2 else f"{subject.symbol}^{exponent}"


def in_words(ranks: int) -> str:
    return "1 rank" if ranks == 1 else f"{ranks} ranks"


def curves(
    subjects: Iterable[Subject],
    scale: str,
    ranks: Sequence[int],
    *,
    turn: float = TURN,
    say: Callable[[str], None] = print,
) -> list[Curve]:
    """Every point measured, for at least `turn` seconds each.

    Raises ValueError when a process fails, or the result depends on the ranks.
    """
    found = []
    for subject in subjects:
        sizes, values = subject.sizes[scale], {}
        for count in ranks:
            points = {}
            for size in sizes:
                try:
                    point = measure(subject.build, size, min(subject.sizes["tiny"]), count, turn)
                except ValueError as error:
                    raise ValueError(f"{subject.name}, {error}") from error
                if not math.isclose(values.setdefault(size, point.value), point.value, rel_tol=TOLERANCE):
                    raise ValueError(
                        f"{subject.name}, size {size}: {point.value!r} with {count} ranks, {values[size]!r} "
                        f"with {ranks[0]}; the ranks do not share the same work"
                    )
                points[size] = point
                say(
                    f"{subject.name:<20}{in_words(count):<9}{subject.symbol} = {size:<8}"
                    f"{point.seconds:9.3g} s {point.megabytes:8.1f} MB"
                )
            found.append(Curve(subject, count, points))
    return found


def save(found: Sequence[Curve], machine: str, path: Path) -> None:
    rows = [
        {"subject": c.subject.name, "ranks": c.ranks, "size": size, **vars(point), "machine": machine}
        for c in found
        for size, point in c.points.items()
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def load(path: Path, subjects: Sequence[Subject]) -> tuple[str, list[Curve]]:
    """(machine, curves) that `save` wrote. Raises ValueError when there are none of these subjects."""
    if not path.exists():
        raise ValueError(f"{path} is not there; measure first, without --redraw")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, int], Curve] = {}
    for subject in subjects:
        for row in rows:
            if row["subject"] == subject.name:
                curve = found.setdefault(
                    (subject.name, int(row["ranks"])), Curve(subject, int(row["ranks"]), {})
                )
                measured = {name: float(row[name]) for name in ("seconds", "megabytes", "value")}
                curve.points[int(row["size"])] = Point(**measured)
    if not found:
        raise ValueError(f"{path} has no point of {', '.join(s.name for s in subjects)}; measure them first")
    return rows[0]["machine"], list(found.values())
