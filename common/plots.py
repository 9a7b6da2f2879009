"""Plots in one clean style, each function one figure in one PNG; the same input gives the same bytes.

Command: `python -m common.plots curves RUN_FOLDER ... --y rank_loss --out FILE.png` draws what runs logged.

Every figure that shows a spread says what it is in its axis label or legend; spreads are half widths, of a 95
% Student interval over seeds unless the caller says otherwise (`student_half_width`).
"""

from __future__ import annotations

import io
import json
import math
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from common import config, typos
from common.files import write_atomically

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's colours for colour-blind readers, without their yellow (too pale on paper) and with a
grey."""
MORE = ("#332288", "#882255", "#999933", "#44AA99", "#CC6677")
"""Tol's muted colours for a second round of kinds, whose dots are crosses."""
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""Line styles; the next one starts when the palette is used up."""
INK, GREY, PALE = "#262626", "#737373", "#E4E4E4"

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of width x height inches that is written to `path` at the end, without pyplot and its global
    state."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc changes nothing
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height))
        yield figure, figure.add_subplot()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def student_half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half width of the Student interval of the mean; NaN below two values."""
    if len(values) < 2:
        return math.nan
    n = len(values)
    return float(stdtrit(n - 1, (1 + level) / 2)) * statistics.stdev(values) / math.sqrt(n)


# --- Figures ------------------------------------------------------------------------------------------------


def curves(
    logs: Sequence[Path | pd.DataFrame],
    x: str,
    y: str,
    path: Path,
    labels: Sequence[str] | None = None,
    *,
    xlabel: str = "",
    ylabel: str = "",
    log_scale: bool = False,
    title: str = "",
) -> None:
    """Column `y` of each log over column `x`: a line per run.

    logs: log.jsonl files, run folders that hold one, or tables. labels: one per log; default: the names of
    the folders. Lines without y (a metric that is not measured at every epoch) are left out. ValueError: no
    line of a log has y.
    """
    if not logs:
        raise ValueError("no logs to draw; give at least one run folder, log.jsonl or table")
    labels = _labels(logs) if labels is None else labels
    if len(labels) != len(logs):
        raise ValueError(f"{len(labels)} labels for {len(logs)} logs; give one per log")
    tables = [log if isinstance(log, pd.DataFrame) else read_log(log) for log in logs]
    for label, table in zip(labels, tables):
        for name in (x, y):
            if name not in table or not len(table[name].dropna()):
                raise ValueError(
                    f"log {label} has no {name}; it has {', '.join(map(str, table.columns)) or 'no lines'}"
                )
    with _figure(path, 6.0, 3.6) as (_, axes):
        for n, (label, table) in enumerate(zip(labels, tables)):
            kept = table[[x, y]].dropna()
            marker = "o" if len(kept) == 1 else None
            axes.plot(kept[x], kept[y], label=label, marker=marker, markersize=4, **_look(n))
        if log_scale:
            axes.set_yscale("log")
        if all((table[x].dropna() % 1 == 0).all() for table in tables):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=xlabel or _words(x), ylabel=ylabel or _words(y), title=title)
        _legend(axes, len(labels))


def histogram(
    groups: Mapping[str, ArrayLike],
    path: Path,
    xlabel: str,
    bins: int | Sequence[float] = 40,
    *,
    title: str = "",
) -> None:
    """Share of each group's values per bin, as outlines over the same bins; a group's shares sum to 1.

    groups: label -> values. bins: how many between the least and the largest value of all, or their edges;
    values outside given edges are not drawn but counted in the total.
    """
    values = {label: np.asarray(group, dtype=np.float64).ravel() for label, group in groups.items()}
    if not values or not all(len(group) and np.isfinite(group).all() for group in values.values()):
        raise ValueError("histogram: every group needs at least one value, and finite values only")
    together = np.concatenate(list(values.values()))
    edges = np.histogram_bin_edges(together, bins if isinstance(bins, int) else np.asarray(bins))
    with _figure(path, 6.0, 3.4) as (_, axes):
        for n, (label, group) in enumerate(values.items()):
            share = np.histogram(group, edges)[0] / len(group)
            colour = _look(n)["color"]
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.16)
            axes.stairs(share, edges, label=f"{label} (n = {len(group):,})", color=colour, linewidth=1.5)
        axes.set(xlabel=xlabel, ylabel="share per bin", title=title)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        _legend(axes, len(values) + 1)


def bars(
    labels: Sequence[str],
    means: Sequence[float],
    spreads: Sequence[float] | None,
    path: Path,
    ylabel: str,
    baseline: float | None = None,
    points: Sequence[Sequence[float]] | None = None,
    *,
    baseline_label: str = "",
    groups: Sequence[str] | None = None,
    percent: bool = False,
    title: str = "",
) -> None:
    """A mean with its error bar per label, each seed as a dot beside it.

    spreads: half widths, NaN for none. points: the values behind each mean. baseline: a dashed line. groups:
    one name per label, coloured alike. percent: the values are shares and the axis shows percent. There are
    no columns down to zero: differences of a few points would vanish, and columns that start elsewhere lie
    about ratios.
    """
    n = len(labels)
    spreads = [math.nan] * n if spreads is None else spreads
    for name, given in (("means", means), ("spreads", spreads), ("points", points), ("groups", groups)):
        if given is not None and len(given) != n:
            raise ValueError(f"bars: {len(given)} {name} for {n} labels; give one per label")
    if not n:
        raise ValueError("bars: there are no labels, so there is nothing to draw")
    kinds = list(dict.fromkeys(groups or [""]))
    width = max(4.5, 1.2 + 0.55 * n)
    with _figure(path, width, 3.6) as (_, axes):
        if baseline is not None:
            axes.axhline(baseline, color=GREY, linewidth=1.1, linestyle=DASHES[1], zorder=1)
        for at, (mean, spread) in enumerate(zip(means, spreads)):
            colour = _look(kinds.index(groups[at] if groups else ""))["color"]
            error = spread if math.isfinite(spread) else None
            axes.errorbar(at, mean, error, color=colour, capsize=4, elinewidth=1.5, capthick=1.5, zorder=2)
            axes.plot(
                [at - 0.2, at + 0.2],
                [mean, mean],
                color=colour,
                linewidth=2.6,
                solid_capstyle="butt",
                zorder=3,
            )
            if points is not None:
                seeds = list(points[at])
                axes.plot(
                    [at + 0.3] * len(seeds),
                    seeds,
                    "o",
                    color=colour,
                    alpha=0.55,
                    markersize=3.6,
                    mew=0,
                    zorder=2,
                )
        if baseline is not None and baseline_label:
            axes.annotate(
                baseline_label, (n - 0.45, baseline), xytext=(0, 3), textcoords="offset points", ha="right",
                color=GREY, fontsize=8,
            )  # fmt: skip
        axes.set_xticks(range(n), labels)
        if max(map(len, labels)) * 0.085 > (width - 1) / n:  # inches of the longest label against its place
            axes.tick_params("x", rotation=35)
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        axes.tick_params("x", length=0)
        axes.grid(axis="x", visible=False)
        axes.set(xlim=(-0.6, n - 0.4), ylabel=ylabel, title=title)
        if percent:
            _percent(axes)
        if len(kinds) > 1:
            for number, kind in enumerate(kinds):
                axes.plot([], [], color=_look(number)["color"], linewidth=2.6, label=kind)
            place: dict[str, Any] = {
                "loc": "lower left",
                "bbox_to_anchor": (-0.01, 0.98),
                "ncols": len(kinds),
            }
            axes.legend(**place, borderaxespad=0.2, columnspacing=1.4, handlelength=1.4)
            axes.set_title(title, pad=24)


def lines(
    x: Sequence[float],
    series: Mapping[str, tuple[Sequence[float], Sequence[float] | None]],
    path: Path,
    xlabel: str,
    ylabel: str,
    *,
    percent: bool = False,
    log_x: bool = False,
    title: str = "",
) -> None:
    """A sweep: per label (means, spreads) over x, as a line with a band of mean - spread to mean + spread.

    spreads: half widths, NaN or None for none. log_x: a logarithmic axis whose ticks are the x themselves.
    """
    if not series:
        raise ValueError("lines: there is no series to draw")
    for label, (mean, spread) in series.items():
        if len(mean) != len(x) or (spread is not None and len(spread) != len(x)):
            raise ValueError(
                f"lines: {label} does not have one mean and one spread for each of the {len(x)} x"
            )
    with _figure(path, 6.0, 3.6) as (_, axes):
        for n, (label, (mean, spread)) in enumerate(series.items()):
            look = _look(n)
            axes.plot(x, mean, marker="o", markersize=4, label=label, **look)
            if spread is not None:
                centre, half = np.asarray(mean, dtype=np.float64), np.asarray(spread, dtype=np.float64)
                axes.fill_between(
                    x, centre - half, centre + half, color=look["color"], alpha=0.15, linewidth=0
                )
        if log_x:
            axes.set_xscale("log")
            axes.set_xticks(list(x), [f"{value:g}" for value in x])
            axes.minorticks_off()
        if percent:
            _percent(axes)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        _legend(axes, len(series))


def poincare_disk(
    points: ArrayLike, labels: Sequence[Any] | ArrayLike, path: Path, c: float = 1.0, *, title: str = ""
) -> None:
    """Points (N, 2) of the ball of curvature -c, coloured by label (N,).

    Thin rings lie at hyperbolic distances d from the centre, radius tanh(sqrt(c) d / 2) / sqrt(c). Up to 12
    labels stand in a legend beside the disk, from the eighth on as crosses; of more, colours go round the
    hue circle in the order of the labels, without a legend.
    ValueError: a point on or outside the border 1 / sqrt(c), or not one label per point.
    """
    place = np.asarray(points, dtype=np.float64)
    names = np.asarray(labels).astype(str) if len(np.shape(labels)) == 1 else np.empty(0, dtype=str)
    if not c > 0:
        raise ValueError(f"c is {c}; give the curvature -c of the ball as c > 0")
    if place.ndim != 2 or place.shape[1] != 2 or len(names) != len(place):
        raise ValueError(f"points {place.shape} and labels {np.shape(labels)}: give (N, 2) and (N,)")
    border = 1 / math.sqrt(c)
    norm = np.hypot(place[:, 0], place[:, 1])
    if not (norm < border).all():
        bad = int(np.flatnonzero(~(norm < border))[0])
        raise ValueError(
            f"point {bad} has norm {norm[bad]:g}, not inside the ball of radius {border:g}; project it first"
        )
    kinds, which = np.unique(np.asarray(labels), return_inverse=True)
    few = len(kinds) <= len(PALETTE + MORE)
    colours = (
        PALETTE + MORE
        if few
        else matplotlib.colormaps["hsv"](np.arange(len(kinds)) / len(kinds)) * (0.85, 0.85, 0.85, 1)
    )
    told = [_short(str(kind)) for kind in kinds] if few and len(kinds) > 1 else []
    width = 4.6 + (0.5 + 0.065 * max(map(len, told)) if told else 0)  # inches, 0.065 for a letter
    size = float(np.clip(4000 / max(len(place), 1), 4, 26))
    with _figure(path, width, 4.6) as (_, axes):
        axes.set_axis_off()
        axes.set_aspect("equal", anchor="W")
        axes.add_patch(Circle((0, 0), border, facecolor="#FAFAFA", edgecolor=INK, linewidth=1.2))
        farthest = 2 * math.atanh(0.95) / math.sqrt(c)
        step = next(s for s in _steps() if farthest / s < 5)
        for distance in np.arange(step, farthest, step):
            radius = math.tanh(math.sqrt(c) * distance / 2) * border
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor="#D0D0D0", linewidth=0.7))
            axes.annotate(
                f"{distance:g}", (0, radius), ha="center", va="center", fontsize=7, color=GREY, zorder=1,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "#FAFAFA", "edgecolor": "none"},
            )  # fmt: skip
        for number, kind in enumerate(kinds):
            own = place[which == number]
            cross = few and number >= len(PALETTE)
            axes.scatter(
                own[:, 0],
                own[:, 1],
                1.6 * size + 4 if cross else size,
                color=colours[number],
                marker="X" if cross else "o",
                alpha=0.8,
                linewidths=0,
                label=told[number] if told else str(kind),
                zorder=2,
            )
        axes.text(
            0,
            -1.09 * border,
            "rings: hyperbolic distance from the centre",
            ha="center",
            fontsize=8,
            color=GREY,
        )
        axes.set(xlim=(-1.04 * border, 1.04 * border), ylim=(-1.14 * border, 1.04 * border))
        axes.set_title(textwrap.fill(title, int(9 * width)))  # a bold letter has 0.08 to 0.1 inches
        if told:
            axes.legend(
                loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=5 / size**0.5, handletextpad=0.2
            )


# --- Parts --------------------------------------------------------------------------------------------------


def read_log(path: Path) -> pd.DataFrame:
    """Lines of a log.jsonl (or of the one in a run folder) as a table; a torn last line, of a run that was
    killed or is still writing, is left out.

    FileNotFoundError: not there. ValueError: another line is no JSON object.
    """
    path = Path(path) / "log.jsonl" if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give a run folder or its log.jsonl")
    try:
        text = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a log: {error}") from error
    rows = []
    for number, line in enumerate(text, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(text):
            raise ValueError(
                f"{path}, line {number} is not a JSON object; give the log.jsonl of a run folder"
            )
    return pd.DataFrame(rows)


def _labels(logs: Sequence[Path | pd.DataFrame]) -> list[str]:
    """Names of the run folders; with their parents' when two are called alike; tables are numbered."""
    folders = [log if isinstance(log, pd.DataFrame) else Path(log).absolute() for log in logs]
    folders = [f.parent if isinstance(f, Path) and not f.is_dir() else f for f in folders]
    names = [f.name if isinstance(f, Path) else f"table {n}" for n, f in enumerate(folders, start=1)]
    return [
        f"{f.parent.name}/{name}" if isinstance(f, Path) and names.count(name) > 1 else name
        for f, name in zip(folders, names)
    ]


def _look(number: int) -> dict[str, Any]:
    """Colour and line style of the number-th line."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
    }


def _legend(axes: Axes, entries: int) -> None:
    """Inside for a few entries, beside the axes for many, none for one."""
    if entries > 6:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif entries > 1:
        axes.legend(loc="best")


def _short(name: str, most: int = 24) -> str:
    """Without the middle of a long name: kinds often differ in their last letters alone."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _percent(axes: Axes) -> None:
    """Shares on the y axis, written as percent."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g} %"))


def _steps() -> Iterator[float]:
    """0.01, 0.02, 0.05, 0.1, ...: distances between rings, without end."""
    power = 0.01
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def _words(name: str) -> str:
    """Axis label of a column: with units for the columns that every run logs."""
    units = {
        "seconds": "seconds per epoch",
        "images_per_second": "pictures per second",
        "peak_memory_mb": "peak memory (MB)",
        "lr": "learning rate",
    }
    return units.get(name, name.replace("_", " "))


# --- Command ------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    parser = typos.Parser(prog="python -m common.plots", description="Plots of what runs have written.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("curves", help="a logged column over epochs, a line per run")
    one.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="runs/<paper>/<run>, or a log.jsonl"
    )
    one.add_argument("--x", default="epoch", help="column of log.jsonl (default epoch)")
    one.add_argument("--y", default="loss", help="column of log.jsonl (default loss)")
    one.add_argument("--labels", nargs="+", help="one per run; default: names of the folders")
    one.add_argument("--log-scale", action="store_true", help="logarithmic y axis")
    one.add_argument("--title", default="")
    one.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args(argv)
    config.require_free("--out", args.out)
    curves(args.runs, args.x, args.y, args.out, args.labels, log_scale=args.log_scale, title=args.title)
    print(args.out)


if __name__ == "__main__":
    config.command(main)
