"""`python -m common.results render [--check] [PAPER ...]`, or `show PAPER BUDGET/TABLE`."""

from __future__ import annotations

import sys

from common import config, typos
from common.plan import Plan
from common.results.render import render, report
from common.results.tables import terminal_table


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog="python -m common.results", description="Tables from results/.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "render", help="rewrite the tables of README.md and of the papers' reproduce.md"
    )
    one.add_argument("papers", nargs="*", metavar="PAPER", help="folder of a paper; default: all")
    one.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 naming the tables that differ"
    )
    two = commands.add_parser("show", help="print one table")
    two.add_argument("paper", help="folder of the paper, e.g. cgd_retrieval")
    two.add_argument("table", help="mini/TABLE or paper/TABLE, as in the markers")
    two.add_argument("--embedded", action="store_true", help="the runs on the embedded set instead")
    args = parser.parse_args(argv)
    if args.command == "show":
        plan = Plan.of(args.paper)
        tables = {f"{t.budget}/{t.name}": t for t in plan.tables}
        if args.table not in tables:
            near, known = typos.near(args.table, tables), f"{args.paper}/reproduce.md"
            choice = typos.one_of(tables, known)
            raise ValueError(f"{args.paper} has no table {args.table}; {near}choose {choice}")
        print(terminal_table(plan, tables[args.table], synthetic=args.embedded))
        return
    stale = render(args.papers or None, check=args.check)
    for line in report(stale, args.check):
        print(line, file=sys.stderr if args.check and stale else sys.stdout)
    if args.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    config.command(main)
