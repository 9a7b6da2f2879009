"""Runs `python -m PAPER.lesson` for a page, and keeps what it printed and drew until its code changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from book import sources
from common.run import code_fingerprint


def run(paper: str) -> tuple[str, Path]:
    """(what the lesson prints, its figure). ValueError when it fails."""
    kept = sources.ROOT / "runs" / "lessons"
    figure, printed, stamp = (kept / f"{paper}.{end}" for end in ("png", "txt", "sha256"))
    code = code_fingerprint(f"{paper}.lesson")
    if not (stamp.exists() and figure.exists() and stamp.read_text() == code):
        kept.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", f"{paper}.lesson", "--out", str(figure)]
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=sources.ROOT, env=one, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"`python -m {paper}.lesson` failed: {done.stderr.strip()[-500:]}")
        lines = done.stdout.splitlines()[:-1]  # the last one names the figure
        printed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        stamp.write_text(code)
    return printed.read_text(encoding="utf-8"), figure
