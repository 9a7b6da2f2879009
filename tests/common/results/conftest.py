"""One measurement as `common.results.append` takes it, and a small plan."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from common.plan import Column, Plan, Row, Table


@pytest.fixture
def measurement() -> Callable[..., dict[str, Any]]:
    """measurement(seed=...) -> one row; every seed and configuration has a checkpoint of its own."""

    def make(**changed: Any) -> dict[str, Any]:
        row = {
            "target": "", "preset": "cub", "overrides": {}, "dataset": "cub", "split": "test",
            "metric": "recall@1", "value": 0.5, "unit": "share", "interval": None,
            "seed": 0, "selection": "last", "epochs": 15,
            "minutes": 12.0, "device": "GPU", "peak_memory_mb": 900.0, "commit": "abc", "torch": "2.9.0",
            "command": "python -m toy.evaluate last.pt --record", "date": "2025-01-01T00:00:00Z",
        } | changed  # fmt: skip
        mark = repr((row["preset"], row["overrides"], row["seed"], row["dataset"])).encode()
        return {"checkpoint": hashlib.sha256(mark).hexdigest(), **row}

    return make


@pytest.fixture
def plan() -> Plan:
    """A mini table on Omniglot and a paper table on CUB."""
    recall = (Column(metric="recall@1", label="R@1"), Column(metric="recall@2", label="R@2"))
    mini = Table(
        name="pairs", budget="mini", title="Pairs", dataset="omniglot", split="test", columns=recall,
        rows=(
            Row(label="pixels", preset="omniglot", overrides={"backbone": "pixels"}, baseline="pixels",
                minutes=0.2),
            Row(label="S | <M>", preset="omniglot", overrides={"config": "SM", "tau": 1.0}, minutes=1.6),
        ),
        default=("pixels",),
    )  # fmt: skip
    paper = Table(
        name="best", budget="paper", title="Best", dataset="cub", split="test", columns=recall,
        rows=(Row(label="MG", preset="cub", target="best/mg", minutes=12),),
    )  # fmt: skip
    return Plan(paper="toy", title="Toy (2019)", tables=(mini, paper), presets={"omniglot": {}, "cub": {}})
