"""`python -m common.report [--out results/index.html]`, at the root of the repository."""

from __future__ import annotations

from pathlib import Path

from common import config, typos
from common.report.site import write


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog="python -m common.report", description="results/ as one HTML page.")
    parser.add_argument("--out", type=Path, default=Path("results/index.html"), metavar="FILE")
    args = parser.parse_args(argv)
    config.require_free("--out", args.out)
    size, pictures = write(args.out)
    print(f"{args.out}: {size / 1e6:.1f} MB, of it {pictures / 1e6:.1f} MB pictures")


if __name__ == "__main__":
    config.command(main)
