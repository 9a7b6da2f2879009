"""From the figures of one evaluation to rows of results/runs: the facts that every paper's rows share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common import compute, distributed, run
from common.files import file_hash
from common.results.rows import append


class Figure(NamedTuple):
    """One measured number."""

    value: float
    interval: float | None = None
    """Half width of its 95 % interval, in the same unit."""
    unit: str = "share"


class Measured(NamedTuple):
    """What the figures of one evaluation are about."""

    dataset: str
    split: str
    selection: str = "last"
    """How the checkpoint's epoch was chosen: 'last' or 'val'."""


def show_figures(figures: Mapping[str, Figure]) -> None:
    """Print them, one a line."""
    width = max((len(name) for name in figures), default=0)
    for name, (value, half, unit) in figures.items():
        number = f"{value:,.0f}" if unit == "count" else f"{value:.4f}"
        around = "" if half is None else f" ± {half:.4f}"
        print(f"{name:{width}s}  {number}{around}{'' if unit in ('share', 'count') else ' ' + unit}")


def record(
    paper: str,
    figures: Mapping[str, Figure],
    *,
    preset: str,
    changed: Mapping[str, Any],
    target: str,
    seed: int,
    measured: Measured,
    argv: list[str],
    device: torch.device,
    checkpoint: Mapping[str, Any] | None = None,
    path: Path | None = None,
    root: Path = Path("results"),
) -> int:
    """Append the figures of `python -m <paper>.evaluate ARGV` to <root>/runs/<paper>.csv; how many were new.

    checkpoint: what run.load_checkpoint gave for `path`; its device, memory, minutes and commit are the
    training's. Without one nothing was trained, and device and memory are this process's. changed: overrides
    of the preset.
    """
    if (checkpoint is None) != (path is None):
        raise ValueError("give the checkpoint together with its path, or neither")
    if distributed.rank() > 0:
        return 0
    if checkpoint is None:
        facts: dict[str, Any] = {
            "epochs": 0,
            "minutes": 0.0,
            "device": distributed.device_name(device),
            "peak_memory_mb": compute.peak_memory_mb(device),
        }
    else:
        facts = {
            "epochs": checkpoint["epoch"],
            "minutes": checkpoint["seconds"] / 60,
            "device": checkpoint["device"],
            "peak_memory_mb": checkpoint["peak_memory_mb"],
        }
    facts |= {
        "target": target,
        "preset": preset,
        "overrides": dict(changed),
        **measured._asdict(),
        "seed": seed,
        "commit": run.commits(None if checkpoint is None else checkpoint["commit"]),
        "torch": torch.__version__,
        "command": shlex.join(["python", "-m", f"{paper}.evaluate", *argv]),
        "checkpoint": "none" if path is None else file_hash(path),
        "date": run.now(),
    }
    rows = [
        {**facts, "metric": name, "value": value, "interval": half, "unit": unit}
        for name, (value, half, unit) in figures.items()
    ]
    return append(paper, rows, root)
