"""`python -m benchmarks.scaling [SUBJECT ...] [--scale small|full] [--ranks 1 2] [--out FOLDER]`.

Writes scaling.md (exponents with verdicts, claims, points), scaling.png and points.csv into the folder and
prints the page; ends with code 1 when something grows faster than is claimed. For a quiet machine.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch

from benchmarks.scaling.curves import curves, in_words, load, save
from benchmarks.scaling.page import page, picture
from benchmarks.scaling.subjects import SUBJECTS
from common import config, typos
from common.compute import cpu_name
from common.files import write_atomically
from common.metrics.contract import whole_number

OUT = Path("runs/scaling")


def main(argv: list[str]) -> None:
    names = [subject.name for subject in SUBJECTS]
    parser = typos.Parser(
        prog="python -m benchmarks.scaling", description="Growth of time and memory, with a verdict."
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"{', '.join(names)}; default: all")
    parser.add_argument("--scale", choices=["small", "full"], default="full", help="small: a try")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder that is written to; default {OUT}")
    parser.add_argument("--redraw", action="store_true", help="from points.csv in --out, without measuring")
    given = parser.parse_args(argv)
    if unknown := [name for name in given.subjects if name not in names]:
        parser.error(f"no subject {unknown[0]!r}; choose from {', '.join(names)}")
    try:
        ranks = sorted({whole_number("--ranks", count) for count in given.ranks})
        config.require_free_folder("--out", given.out)
    except ValueError as error:
        parser.error(str(error))
    chosen = [s for s in SUBJECTS if s.name in given.subjects or not given.subjects]
    try:
        if given.redraw:
            machine, found = load(given.out / "points.csv", chosen)
        else:
            given.out.mkdir(parents=True, exist_ok=True)  # before minutes of measuring
            machine = f"{cpu_name()}, one thread per rank; torch {torch.__version__}, Python "
            machine += f"{platform.python_version()}; scale {given.scale}"
            found = curves(chosen, given.scale, ranks)
    except (ValueError, OSError) as error:
        typos.refuse(str(error))
    save(found, machine, given.out / "points.csv")
    text = page(found, machine)
    write_atomically(given.out / "scaling.md", f"{text}\n".encode())
    picture(found, given.out / "scaling.png")
    print(f"\n{text}\n\n{given.out / 'scaling.md'}")
    faults = [f"{c.subject.name}, {in_words(c.ranks)}: {fault}" for c in found for fault in c.faults]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    config.command(main)
