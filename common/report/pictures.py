"""The pictures of results/figures/<paper>/, as data inside the page."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.report.prose import Caption


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One PNG with its caption."""

    name: str
    caption: Caption
    width: int
    height: int
    source: str
    """data:image/png;base64,..."""


def pictures(folder: Path, captions: Mapping[str, Caption]) -> list[Picture]:
    """Every PNG of a folder: those with a caption in the captions' order, then the others by name, which is
    their caption. ValueError naming the file when one is no PNG.
    """
    order = {name: place for place, name in enumerate(captions)}
    files = sorted(folder.glob("*.png"), key=lambda file: (order.get(file.name, len(order)), file.name))
    return [picture(file, captions.get(file.name)) for file in files]


def picture(file: Path, caption: Caption | None) -> Picture:
    """One PNG. ValueError when it is none."""
    data = file.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise ValueError(f"{file} is no PNG; draw it again with make tables")
    width, height = struct.unpack(">II", data[16:24])  # the header chunk comes first
    return Picture(
        name=file.name,
        caption=caption or Caption(text=file.stem.replace("-", " ")),
        width=width,
        height=height,
        source="data:image/png;base64," + base64.b64encode(data).decode(),
    )
