"""The page and the picture of measured curves."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from tabulate import tabulate

from benchmarks.scaling.curves import FLOOR, MEMORY_ROOM, TIME_ROOM, Curve, in_words, power
from common import plots
from common.files import write_atomically

METHOD = f"""\
Seconds: least of several runs, until the last rank is done. Extra MB: peak resident memory beyond the inputs,
in a fresh process, of the rank that takes most. Exponents: least squares of log over log, over the sizes
given; of memory also over the last two sizes, and the larger one is shown. Claims are upper bounds: fixed
costs pull an exponent down. A claim holds up to {TIME_ROOM} more in time and {MEMORY_ROOM} more in memory;
readings below {FLOOR:g} MB count as {FLOOR:g} MB."""


def page(found: Sequence[Curve], machine: str) -> str:
    return "\n\n".join(
        [
            "# Scaling, measured",
            f"`python -m benchmarks.scaling`: {machine}.",
            METHOD,
            summary(found),
            slopes(found),
            "## What is claimed, and what ranks save",
            claims(found),
            "## Points",
            "Last column: extra MB as a share or multiple of one float32 matrix of size x size.",
            points(found),
            "![Growth of time and memory](scaling.png)",
        ]
    )


SENTENCES = {
    "data": "Where N counts rows of a data set, a gallery or a bank, memory must not grow as N^2",
    "batch": "Where B counts pictures of a batch, losses over pairs hold B x B matrices by nature",
    "matrix": "gromov_delta is given an n x n matrix: memory that grows as n^2 is linear in its input",
}
"""By Subject.counts."""


def summary(found: Sequence[Curve]) -> str:
    """What is said of squares, in sentences."""
    said = []
    for counts, sentence in SENTENCES.items():
        chosen = [curve for curve in found if curve.subject.counts == counts]
        if chosen:
            worst = max(chosen, key=lambda curve: curve.memory)
            size, point = list(worst.points.items())[-1]
            said.append(
                f"* {sentence}. Largest exponent {worst.memory:.2f} ({worst.subject.name}, "
                f"{in_words(worst.ranks)}); at {worst.subject.symbol} = {size:,} it takes "
                f"{point.megabytes / matrix(size):.2g} of a float32 matrix of size x size."
            )
    return "\n".join(said)


def slopes(found: Sequence[Curve]) -> str:
    return _table(
        ["subject", "sizes", "ranks", "time as", "at most", "memory as", "at most", "verdict"],
        [
            [
                c.subject.title,
                f"{c.subject.symbol} = {min(c.points):,} to {max(c.points):,}",
                str(c.ranks),
                f"{c.subject.symbol}^{c.time:.2f}",
                power(c.subject, c.subject.time),
                f"{c.subject.symbol}^{c.memory:.2f}",
                power(c.subject, c.subject.memory),
                "**" + "; ".join(c.faults) + "**" if c.faults else "holds",
            ]
            for c in found
        ],
        numbers=(2, 3, 4, 5, 6),
    )


def claims(found: Sequence[Curve]) -> str:
    """Where each claim comes from, and what several ranks save at the largest size."""
    rows = []
    for own in by_subject(found):
        one, many = own[0], own[-1]
        rows.append(
            [
                one.subject.title,
                one.subject.why,
                one.subject.ranks,
                f"{many.seconds[-1] / one.seconds[-1]:.2f}" if many is not one else "",
                f"{many.megabytes[-1] / one.megabytes[-1]:.2f}" if many is not one else "",
            ]
        )
    most, least = max(c.ranks for c in found), min(c.ranks for c in found)
    return _table(
        [
            "subject",
            "where the powers come from",
            "what more ranks save",
            f"time, {in_words(most)} / {least}",
            f"MB of a rank, {in_words(most)} / {least}",
        ],
        rows,
        numbers=(3, 4),
    )


def points(found: Sequence[Curve]) -> str:
    return _table(
        ["subject", "ranks", "size", "seconds", "extra MB", "of size x size"],
        [
            [
                c.subject.name,
                str(c.ranks),
                f"{c.subject.symbol} = {size:,}",
                f"{point.seconds:.3g}",
                f"{point.megabytes:.1f}",
                f"{point.megabytes / matrix(size):.2g}",
            ]
            for c in found
            for size, point in c.points.items()
        ],
        numbers=(1, 2, 3, 4, 5),
    )


def by_subject(found: Sequence[Curve]) -> list[list[Curve]]:
    names = dict.fromkeys(curve.subject.name for curve in found)
    return [[curve for curve in found if curve.subject.name == name] for name in names]


def matrix(size: int) -> float:
    """MB of size x size float32 numbers."""
    return 4 * size**2 / 1e6


def _table(headers: list[str], rows: list[list[str]], numbers: tuple[int, ...]) -> str:
    align = ["right" if column in numbers else "left" for column in range(len(headers))]
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)


# --- The picture --------------------------------------------------------------------------------------------

COLUMNS = 4
TIME, MEMORY = plots.PALETTE[0], plots.PALETTE[1]
LEGEND = "growth since the smallest size,\nbeside powers of the size"


def picture(found: Sequence[Curve], path: Path) -> None:
    """A panel per subject: time and memory as multiples of their first value, beside the powers 1, 2, 3."""
    groups = by_subject(found)
    lines = math.ceil((len(groups) + 1) / COLUMNS)  # the legend has a place of its own
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc changes nothing
        matplotlib.rcParams.update(plots.STYLE)
        figure = Figure(figsize=(2.9 * COLUMNS, 2.7 * lines))
        panels = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
        for axes, own in zip(panels, groups):
            _panel(axes, own)
        for axes in panels[len(groups) :]:
            axes.axis("off")
        handles, labels = panels[0].get_legend_handles_labels()
        panels[len(groups)].legend(handles, labels, loc="upper left", title=LEGEND)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def _panel(axes: Axes, own: Sequence[Curve]) -> None:
    subject, sizes = own[0].subject, list(own[0].points)
    top = sizes[-1] / sizes[0]
    for curve in own:
        style = {"linestyle": plots.DASHES[curve.ranks > own[0].ranks], "marker": "o", "markersize": 3}
        for values, colour, what in ((curve.seconds, TIME, "time"), (curve.megabytes, MEMORY, "memory")):
            growth = [value / values[0] for value in values]
            axes.plot(sizes, growth, color=colour, label=f"{what}, {in_words(curve.ranks)}", **style)
            top = max(top, *growth)
    top *= 2
    for exponent in (1, 2, 3):
        end = min(sizes[-1], sizes[0] * top ** (1 / exponent))  # where the line leaves the panel
        height = (end / sizes[0]) ** exponent
        axes.plot([sizes[0], end], [1, height], color=plots.GREY, linewidth=0.7, zorder=1)
        axes.annotate(
            f"${power(subject, exponent)}$", (end, height), (2, 0), textcoords="offset points",
            color=plots.GREY, fontsize=7.5, va="center",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(0.5, top))
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda growth, _: f"{growth:g}"))
    axes.minorticks_off()
    axes.set_xlabel(subject.symbol, labelpad=1)
    title = subject.title.replace(" = ", "\u00a0=\u00a0")  # not broken there
    axes.set_title(textwrap.fill(title, 34), fontsize=8.5)
