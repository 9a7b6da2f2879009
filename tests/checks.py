"""What must hold for the presets and tables of every paper."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common import config
from common.plan import Row, Table

RUN = Path(__file__).parents[1] / "common/run.py"
"""Reads the fields that every run has."""


def dead_fields(cls: type, files: Iterable[Path]) -> list[str]:
    """Fields of a configuration that none of the files reads as cfg.NAME."""
    text = "".join(path.read_text() for path in files)
    return [f.name for f in dataclasses.fields(cls) if not re.search(rf"cfg\.{f.name}\b", text)]


def fields_without_a_source(cls: type) -> list[str]:
    """Fields of a configuration that no string follows, which would say where the default comes from."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
    return [
        ast.unparse(field)
        for field, help_ in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and not isinstance(help_, ast.Expr)
    ]


def check_command_line(presets: Mapping[str, tuple[str, Any]], preset: str) -> Any:
    """The preset as the command line reads it, with another seed."""
    name, cfg = config.parse(presets, [preset, "--seed", "3"])
    assert (name, cfg) == (preset, dataclasses.replace(presets[preset][1], seed=3))
    return cfg


def check_rows(presets: Mapping[str, tuple[str, Any]], table: Table) -> Iterator[tuple[Row, Any]]:
    """Each row of a table with its configuration, after what must hold for both."""
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == len(labels), f"{table.name}: a label stands twice"
    assert set(table.default) <= set(labels), f"{table.name}: a default row is not there"
    assert len(table.seeds) >= 3, f"{table.name}: {table.seeds}"
    for row in table.rows:
        name, cfg = config.parse(presets, [row.preset, *config.flags(row.overrides)])
        assert config.overrides(presets, name, cfg) == row.overrides, f"{table.name}: {row.label}"
        assert cfg.data == table.dataset, f"{table.name}: {row.label}"
        yield row, cfg
