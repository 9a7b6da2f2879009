"""One split of one data set: labels, and pictures either in memory or on disk.

symbol   shape                meaning
pixels   (N, C, H, W) uint8   pictures in memory; None when they stay on disk
paths    N files              pictures on disk; None when they are in memory
labels   (N, L) int64         ids 0 .. n_l - 1 at each of L levels, coarse to fine; the last column is the
class
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A split. Pictures are in `pixels`, or in `paths` and decoded on the way to `size` x `size` (see
    `decode`).
    """

    name: str
    """Catalogue name ('omniglot'), 'embedded', or 'folder:PATH'."""
    split: str
    """'train', 'test', 'val', 'query', 'gallery'."""
    labels: Tensor
    """(N, L) int64, coarse to fine."""
    levels: tuple[str, ...]
    """Name of each level, coarse to fine, e.g. ('alphabet', 'character')."""
    names: tuple[tuple[str, ...], ...]
    """names[l][i]: what id i of level l is called."""
    size: int
    """Side of the square pictures that come out, in pixels."""
    channels: int = 3
    """1 (grey) or 3 (RGB)."""
    pixels: Tensor | None = None
    paths: tuple[Path, ...] | None = None
    boxes: Tensor | None = None
    """(N, 4) int64 x, y, width, height in pixels of the original picture, applied before resizing; paths
    only.
    """
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Further facts, one row per picture: 'camera', 'ambiguity', 'exact', ..."""

    def __post_init__(self) -> None:
        n = len(self.labels)
        if (self.pixels is None) == (self.paths is None):
            raise ValueError(
                f"{self.name}/{self.split}: give either pixels or paths, not both and not neither"
            )
        have = len(self.pixels) if self.pixels is not None else len(self.paths or ())
        if have != n or any(len(v) != n for v in self.extra.values()):
            raise ValueError(
                f"{self.name}/{self.split}: {n} labels but {have} pictures; "
                "every part needs one row per picture"
            )
        if (
            self.labels.ndim != 2
            or self.labels.shape[1] != len(self.levels)
            or len(self.names) != len(self.levels)
        ):
            raise ValueError(
                f"{self.name}/{self.split}: labels {tuple(self.labels.shape)} do not fit levels {self.levels}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def label(self) -> Tensor:
        """(N,) int64, the finest level: the class."""
        return self.labels[:, -1]

    @property
    def classes(self) -> int:
        """Number of classes (finest level) that the ids range over."""
        return len(self.names[-1])

    def subset(self, index: Tensor, *, split: str | None = None, relabel: bool = False) -> Dataset:
        """The rows `index` (int64 or bool), in that order. relabel: ids become 0 .. n - 1 over what is left,
        per level.
        """
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)
        labels, names = self.labels[index], self.names
        if relabel:
            columns, kept = [], []
            for column, level in zip(labels.T, names):
                ids, new = column.unique(return_inverse=True)
                columns.append(new)
                kept.append(tuple(level[i] for i in ids.tolist()))
            labels, names = torch.stack(columns, 1), tuple(kept)
        rows = index.tolist()
        return replace(
            self,
            split=split or self.split,
            labels=labels,
            names=names,
            pixels=None if self.pixels is None else self.pixels[index],
            paths=None if self.paths is None else tuple(self.paths[i] for i in rows),
            boxes=None if self.boxes is None else self.boxes[index],
            extra={k: v[index] for k, v in self.extra.items()},
        )

    def picture(self, i: int) -> Tensor:
        """(C, size, size) uint8: picture i, decoded when it is on disk."""
        if self.pixels is not None:
            return self.pixels[i]
        assert self.paths is not None
        box = None if self.boxes is None else tuple(self.boxes[i].tolist())
        return decode(self.paths[i], self.size, box=box, channels=self.channels)


def with_quarter_turns(dataset: Dataset) -> Dataset:
    """Four times the pictures and classes: each class turned by 90, 180 and 270 degrees is a class of its
    own.

    For drawings, whose training classes are few; after Santoro et al., "Meta-Learning with Memory-Augmented
    Neural Networks" (ICML 2016), Section 4.2. Coarser levels are turned likewise. Pictures have to be in
    memory.
    """
    if dataset.pixels is None:
        raise ValueError(
            f"{dataset.name}/{dataset.split}: quarter turns need pictures in memory; load them smaller"
        )
    counts = torch.tensor([len(level) for level in dataset.names])
    return replace(
        dataset,
        pixels=torch.cat([dataset.pixels.rot90(turn, (2, 3)) for turn in range(4)]),
        labels=torch.cat([dataset.labels + turn * counts for turn in range(4)]),
        names=tuple(
            tuple(f"{name}, {90 * turn} degrees" for turn in range(4) for name in level)
            for level in dataset.names
        ),
        extra={name: value.repeat(4, *[1] * (value.ndim - 1)) for name, value in dataset.extra.items()},
    )


FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""Of pictures, whatever their names end in; none that Pillow hands to another program."""


def decode(
    path: Path, size: int, *, box: tuple[int, int, int, int] | None = None, channels: int = 3
) -> Tensor:
    """(channels, size, size) uint8: the file, cut to box = (x, y, width, height), squashed to a square
    (bilinear, antialiased).

    The aspect ratio is not kept: naver/cgd test.py does the same. The box is clamped at the border.
    Raises ValueError naming the file when it cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read picture {path}: {error}; replace or remove this file") from error
    if box is not None:
        x, y, w, h = box
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + w, image.width), min(y + h, image.height)
        if right <= left or bottom <= top:
            raise ValueError(
                f"box {box} lies outside picture {path} of {image.width} x {image.height} pixels"
            )
        image = image.crop((left, top, right, bottom))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.array(image, dtype=np.uint8)  # (H, W) or (H, W, 3)
    return torch.from_numpy(array).reshape(size, size, channels).permute(2, 0, 1).contiguous()
