"""`python -m benchmarks [TOPIC ...] [--scale small|full] [--rounds N] [--threads N]`: a table per case."""

from __future__ import annotations

import platform

import torch

from benchmarks.measure import measure, table
from benchmarks.topics import TOPICS
from common import config, typos
from common.compute import device_name
from common.metrics.contract import whole_number


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog="python -m benchmarks", description="Speed and memory against peers.")
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"{', '.join(TOPICS)}; all when none is named"
    )
    parser.add_argument(
        "--scale", choices=["small", "full"], default="full", help="small: seconds; full: minutes"
    )
    parser.add_argument("--rounds", type=int, default=3, help="the least time of so many rounds is shown")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads of every contender"
    )
    given = parser.parse_args(argv)
    if unknown := [name for name in given.topics if name not in TOPICS]:
        parser.error(f"no topic {unknown[0]!r}; choose from {', '.join(TOPICS)}")
    try:
        rounds, threads = whole_number("--rounds", given.rounds), whole_number("--threads", given.threads)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(threads)

    print(
        f"{device_name(torch.device('cpu'))}; torch {torch.__version__}, Python {platform.python_version()}."
    )
    print(f"Seconds: least of {rounds} rounds, in turn. Extra MB: peak resident memory beyond the inputs,")
    print("each contender in a fresh process.")
    for name in given.topics or TOPICS:
        for number, case in enumerate(TOPICS[name](given.scale)):
            try:
                rows = measure(TOPICS[name], given.scale, number, rounds)
            except ValueError as error:
                typos.refuse(f"{case.title}: {error}")
            print(f"\n{table(case, rows)}", flush=True)


if __name__ == "__main__":
    config.command(main)
