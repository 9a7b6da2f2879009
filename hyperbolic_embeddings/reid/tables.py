"""Table 5: re-identification, dims x schedules x heads. Its cells are remembered: no number verdict."""

from __future__ import annotations

from typing import Any

from common.plan import Column, Row, Table
from hyperbolic_embeddings.reid.presets import DIMS, PRESETS, SCHEDULES

COLUMNS = (
    Column(metric="rank-1", label="rank-1"),
    Column(metric="map", label="mAP"),
    Column(metric="rank-5", label="rank-5"),
    Column(metric="hyperbolic/rank-1", label="rank-1, hyperbolic order"),
    Column(metric="hyperbolic/map", label="mAP, hyperbolic order"),
)
NAMES = {"euclidean": "Euclidean", "hyperbolic": "hyperbolic", "flat": "4 <x - p, a>"}
"""Heads; the last is the control."""


def arm(preset: str, head: str, dim: int, schedule: str) -> dict[str, Any]:
    """Overrides of one cell: what differs from the preset."""
    fields = {"dim": dim, "head": head, "lr": SCHEDULES[schedule]}
    return {k: v for k, v in sorted(fields.items()) if getattr(PRESETS[preset][1], k) != v}


def table(name: str, preset: str, title: str, note: str, minutes: float) -> Table:
    rows = tuple(
        Row(
            label=f"{NAMES[head]}, D = {dim}, {schedule.replace('sch', 'sch#')}",
            preset=preset,
            overrides=arm(preset, head, dim, schedule),
            target="" if head == "flat" else f"table5/{preset}-{dim}-{head}-{schedule}",
            minutes=minutes,
        )
        for dim in DIMS
        for schedule in SCHEDULES
        for head in NAMES
    )
    return Table(
        name=name,
        budget="paper",
        title=title,
        dataset=PRESETS[preset][1].data,
        split="query",
        rows=rows,
        columns=COLUMNS,
        note=note,
    )


UNKNOWN = (
    "Optimiser, batch, input size and augmentation of the paper are unknown; ours are a common library's "
    "defaults. Minutes are estimated, not measured."
)

TABLES: tuple[Table, ...] = (
    table("reid-market", "market", "Table 5: person re-identification, Market-1501", UNKNOWN, 150),
    table(
        "reid-duke",
        "duke",
        "Table 5: person re-identification, DukeMTMC-reID",
        f"DukeMTMC was withdrawn by its providers in 2019. {UNKNOWN}",
        190,
    ),
)
