"""A test file run by two gloo ranks: `found(__file__, folder)` in a test, `serve(outcome)` at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[1]


def found(file: str, folder: Path) -> list[Any]:
    """What `serve` has got on rank 0 and on rank 1."""
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen([sys.executable, file, str(folder), str(rank)], env=path, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=600)[1].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors[0] or errors[1]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def serve(outcome: Callable[[int], Any]) -> None:
    """In a rank: save outcome(rank)."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    torch.save(outcome(rank), folder / f"{rank}.pt")
    dist.destroy_process_group()
