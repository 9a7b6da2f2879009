"""Build the reading pages: `python -m book [--out site]`, then open site/index.html.

First everything that the pages cite is looked up (sources.py), then the lessons run where their code has
changed, then Sphinx builds with every warning an error. Needs the extra `book`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book import lessons, sources
from common import config, typos

NEEDED = {"sphinx": "sphinx", "furo": "furo", "myst_parser": "myst-parser", "latex2mathml": "latex2mathml"}


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=sources.ROOT / "site", help="folder of the site")
    out = parser.parse_args(argv).out.resolve()
    config.require_free_folder("--out", out)
    wrong = [
        sentence for paper in sources.papers() for sentence in sources.check(sources.PAGES / f"{paper}.md")
    ]
    if wrong:
        raise ValueError("\n".join(["the pages cite what is not there", *wrong]))
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} not installed; pip install --editable '.[book]'")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each lesson is a process on one core
        list(pool.map(lessons.run, sources.papers()))
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-E"]
    folders = [str(sources.PAGES), str(out), "-d", str(sources.ROOT / "runs" / "book")]
    done = subprocess.run([*command, *folders], cwd=sources.ROOT)
    if done.returncode:
        raise ValueError("the site was not built; the lines above say which page and directive")
    print(out / "index.html")


if __name__ == "__main__":
    config.command(main)
