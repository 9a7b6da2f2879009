"""Runs `python -m PAPER.lesson` for a page, and keeps what it printed and drew until its code changes."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from book.sources import ROOT

KEPT = ROOT / "runs" / "lessons"


def run(paper: str) -> tuple[str, Path]:
    """(what the lesson prints, its figure). ValueError when it fails."""
    figure, printed, stamp = (KEPT / f"{paper}.{end}" for end in ("png", "txt", "sha256"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in imported(ROOT / paper / "lesson.py")))
    if not (stamp.exists() and figure.exists() and stamp.read_text() == code.hexdigest()):
        KEPT.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", f"{paper}.lesson", "--out", str(figure)]
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=one, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"`python -m {paper}.lesson` failed: {done.stderr.strip()[-500:]}")
        lines = done.stdout.splitlines()[:-1]  # the last one names the figure
        printed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        stamp.write_text(code.hexdigest())
    return printed.read_text(encoding="utf-8"), figure


def imported(script: Path) -> list[Path]:
    """The script and every file of this repository that it imports, directly or not, in a fixed order."""
    found, todo = set(), [script]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            if isinstance(node, ast.ImportFrom):
                names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                place = ROOT.joinpath(*name.split("."))
                todo += [each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()]
    return sorted(found)
