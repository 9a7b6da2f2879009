"""Queries with their nearest neighbours, as a picture: `python -m common.gallery EXPORT.npz [--out
FILE.png]`.

An export is what `python -m <paper>.evaluate CHECKPOINT --export FILE.npz` writes, one file per embedded
split:

    array            shape          meaning
    embedding        (N, D) float32 rows that are searched with, in the order of the split
    labels           (N, L) int64   ids at each level, coarse to fine; the last column is the class
    levels           (L,) str       names of the levels
    names_0 ...      (n_l,) str     names_l[i]: what id i of level l is called
    dataset, split, protocol        () str: arguments of common.data.load that bring the pictures back
    size, crop                      () int: side in pixels; 1 when pictures were cut to their box
    c                () float64     only if the rows are points of the Poincaré ball of curvature -c

Neighbours are by Euclidean distance of the rows, those of a ball included.
Half of the queries shown are ones that the embedding gets right and half ones that it gets wrong, drawn at
random with a seed, so that the picture does not flatter; its caption says so, and states the share over all
queries.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common import config, data, distributed, typos
from common.arguments import finite_number
from common.data.dataset import Dataset
from common.files import write_atomically
from common.metrics.contract import full_precision, in_double, require_pair, whole_number

SPARE = 4
"""Rows beyond k that are ranked anew in float64, since float32 products order near-equal distances at
random."""
BLOCK = 1 << 22
"""Distances that a search holds at a time: 16 MB in float32, which took a quarter less time than 64 MB."""

Colour = tuple[int, int, int]
PAPER: Colour = (255, 255, 255)
INK: Colour = (38, 38, 38)
GREY: Colour = (115, 115, 115)
FRAME: Colour = (90, 90, 90)
RIGHT: Colour = (
    0,
    158,
    115,
)  # bluish green and vermilion of Okabe and Ito, told apart by colour-blind readers
WRONG: Colour = (213, 94, 0)
LARGEST = 4096
"""Side in pixels of the largest pictures that an export may ask for."""
EDGE = 6
"""Width of a tile's frame in pixels."""
MARGIN = 28
"""Paper around a page in pixels."""


# --- Neighbours ---------------------------------------------------------------------------------------------


def neighbours(
    embedding: Tensor,
    labels: Tensor,
    query_index: Tensor,
    k: int,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(index [Q, k] int64, right [Q, k] bool): the k nearest rows, Euclidean; whether their class agrees.

    embedding (N, D) float32 or float64, labels (N,) int64, query_index (Q,) int64 rows of it. Without
    `gallery` (G, D) each query searches all other rows, else the gallery, whose rows `index` then means.
    All rows are compared: candidates from one product per block of queries, then ordered by float64
    differences. Of equal distances the wrong class comes first (then, of a few, the smaller row), so
    `right[:, :k].any(1).mean()` over all rows is recall@k, where ties count against the query.
    ValueError: shapes that do not fit, NaN, query_index out of range, k above the number of rows to find.
    """
    base, base_labels, own = require_pair(embedding, labels, gallery, gallery_labels)
    k = whole_number("k", k)
    if query_index.ndim != 1 or query_index.dtype != torch.int64:
        raise ValueError(
            f"query_index has shape {tuple(query_index.shape)} and type {query_index.dtype}; give (Q,) int64"
        )
    if len(query_index) and not (0 <= int(query_index.min()) and int(query_index.max()) < len(embedding)):
        raise ValueError(f"query_index leaves the rows 0 to {len(embedding) - 1} of the embedding")
    if k > len(base) - own:
        raise ValueError(f"k = {k} but a query is compared with {len(base) - own} rows; give at most that")
    candidates = min(k + SPARE, len(base))
    step = max(64, min(BLOCK // len(base), BLOCK // (2 * candidates * base.shape[1])))
    query_index = query_index.to(base.device)
    centre = base.mean(0)  # the product rounds relative to distances from the origin
    centred = base - centre
    square = centred.square().sum(1)  # (G,)
    found = []
    for rows in query_index.split(step):
        query = embedding[rows]
        with full_precision(base.device):
            distance = torch.addmm(square, query - centre, centred.T, alpha=-2)  # (b, G), less |query|^2
        if own:
            distance[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        same = labels[rows, None] == base_labels  # (b, G)
        found.append(_nearest(distance, same, query, base, k, candidates))
    index = torch.cat(found) if found else query_index.new_empty(0, k)
    return index, labels[query_index, None] == base_labels[index]


def _nearest(distance: Tensor, same: Tensor, query: Tensor, base: Tensor, k: int, candidates: int) -> Tensor:
    """(b, k) int64 from distances (b, G), infinite for what may not be found, and `same` class or not (b, G).

    Wrong and right rows send their own candidates, or a crowd of ties could keep a wrong one out.
    """
    far, rows, order = torch.inf, [], []
    for barred in (same, ~same):  # wrong ones first: the stable sort below keeps them before right ones
        allowed = distance.masked_fill(barred, far)
        near = allowed.topk(candidates, dim=1, largest=False).indices.sort(1).values  # (b, candidates)
        exact = (in_double(query)[:, None] - in_double(base[near])).square().sum(2).to(near.device)
        rows.append(near)
        order.append(exact.masked_fill(allowed.gather(1, near).isinf(), far))
    return torch.cat(rows, 1).gather(1, torch.cat(order, 1).sort(dim=1, stable=True).indices[:, :k])


def choose_queries(right: Tensor, count: int, seed: int = 0) -> Tensor:
    """(count,) int64: queries at random, half right (one more when count is odd), then half wrong.

    right: (Q,) bool, whether each query's nearest neighbour is of its class. When there are too few of one
    kind, the other fills up. At most Q queries.
    """
    count = min(whole_number("count", count), len(right))
    draw = torch.Generator().manual_seed(seed)
    kinds = [rows[torch.randperm(len(rows), generator=draw)] for rows in _split(right.cpu())]
    good = max(min((count + 1) // 2, len(kinds[0])), count - len(kinds[1]))
    return torch.cat([kinds[0][:good], kinds[1][: count - good]])


def _split(right: Tensor) -> tuple[Tensor, Tensor]:
    return right.nonzero()[:, 0], (~right).nonzero()[:, 0]


def caption(right: Tensor, chosen: Tensor, seed: int) -> str:
    """How the queries were chosen, and how many of all (Q,) `right` are right."""
    good = int(right.cpu()[chosen].sum())
    bad, share = len(chosen) - good, 100 * float(right.double().mean())
    return (
        f"{good} {'query' if good == 1 else 'queries'} the embedding gets right and {bad} it gets wrong, "
        f"drawn at random, seed {seed}. Of all {len(right):,} queries it gets {share:.1f} % right."
    )


# --- Drawing ------------------------------------------------------------------------------------------------


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def tile(picture: Tensor, target: int = 150) -> Image.Image:
    """An RGB picture near `target` pixels wide from (C, s, s) uint8: enlarged by a whole factor, or reduced.

    Enlarged pixels stay squares, so that 28 pixels look like 28 pixels.
    """
    array = picture.permute(1, 2, 0).cpu().numpy()  # (s, s, C)
    image = Image.fromarray(np.ascontiguousarray(array.repeat(3 // array.shape[2], axis=2)))
    side = tile_side(image.width, target)
    how = Image.Resampling.NEAREST if side >= image.width else Image.Resampling.LANCZOS
    return image if side == image.width else image.resize((side, side), how)


def tile_side(size: int, target: int = 150) -> int:
    """Side of the tile of a picture of `size` pixels."""
    return target if size > 1.2 * target else size * max(1, round(target / size))


def fit(text: str, letters: ImageFont.FreeTypeFont, width: int, lines: int = 1) -> list[str]:
    """`text` in at most `lines` lines of at most `width` pixels, broken at blanks, the rest cut with an
    ellipsis."""
    out, words = [], text.split()
    while words and len(out) < lines - 1 and letters.getlength(" ".join(words)) > width:
        taken = next(
            (n for n in range(len(words), 1, -1) if letters.getlength(" ".join(words[:n])) <= width), 1
        )
        out.append(" ".join(words[:taken]))
        words = words[taken:]
    out.append(" ".join(words))
    return [_shortened(line, letters, width) for line in out]


def _shortened(line: str, letters: ImageFont.FreeTypeFont, width: int) -> str:
    if letters.getlength(line) <= width:
        return line
    return next(
        (s for n in range(len(line), 0, -1) if letters.getlength(s := line[:n].rstrip() + "…") <= width), "…"
    )


def class_name(dataset: Dataset, row: int) -> tuple[str, str]:
    """(class, its parent or '') of a picture, as words: '001.Black_footed_Albatross' is 'Black footed
    Albatross'."""
    names = [level[i] for level, i in zip(dataset.names, dataset.labels[row].tolist())]
    own, parent = names[-1], names[-2] if len(names) > 1 else ""
    return _words(own.removeprefix(f"{parent}/")), _words(parent)


def _words(name: str) -> str:
    return re.sub(r"^\d+\.(?=\D)", "", name).replace("_", " ").strip()


def save_png(image: Image.Image, path: Path) -> None:
    """A PNG at 150 dpi without dates: the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", dpi=(150, 150), optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def framed(sheet: Image.Image, picture: Image.Image, x: int, y: int, colour: Colour) -> None:
    """Paste a picture at (x, y) with a frame of EDGE pixels around it, the inner two of them paper."""
    side = picture.width
    pen = ImageDraw.Draw(sheet)
    pen.rectangle([x - EDGE, y - EDGE, x + side + EDGE - 1, y + side + EDGE - 1], fill=colour)
    pen.rectangle([x - 2, y - 2, x + side + 1, y + side + 1], fill=PAPER)
    sheet.paste(picture, (x, y))


def badge(sheet: Image.Image, x: int, y: int, right: bool, radius: int = 11) -> None:
    """A disc centred at (x, y) with a tick or a cross, drawn at four times the size and reduced."""
    big = 4 * radius
    disc = Image.new("L", (2 * big, 2 * big), 0)
    ImageDraw.Draw(disc).ellipse([0, 0, 2 * big - 1, 2 * big - 1], fill=255)
    face = Image.new("RGB", disc.size, PAPER)
    pen, edge = ImageDraw.Draw(face), big // 7
    pen.ellipse([edge, edge, 2 * big - 1 - edge, 2 * big - 1 - edge], fill=RIGHT if right else WRONG)
    strokes = [[(-0.42, 0.02), (-0.12, 0.34), (0.44, -0.30)]] if right else [[(-0.34, -0.34), (0.34, 0.34)]]
    strokes += [] if right else [[(-0.34, 0.34), (0.34, -0.34)]]
    for stroke in strokes:
        points = [(big * (1 + u), big * (1 + v)) for u, v in stroke]
        pen.line(points, fill=PAPER, width=big // 4, joint="curve")
        for u, v in (points[0], points[-1]):
            pen.ellipse([u - big // 8, v - big // 8, u + big // 8, v + big // 8], fill=PAPER)
    size, how = (2 * radius + 1, 2 * radius + 1), Image.Resampling.LANCZOS
    sheet.paste(face.resize(size, how), (x - radius, y - radius), disc.resize(size, how))


def paragraph(text: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels; nothing is cut but a single word that is too long."""
    return fit(text, letters, width, lines=len(text.split()) or 1) if text else []


def page(width: int, height: int, title: str, note: str) -> tuple[Image.Image, int]:
    """(a page with a title and a note in grey, y of what follows). height: of what follows, in pixels."""
    bold, plain = font(24, bold=True), font(16)
    heading, told = paragraph(title, bold, width - 2 * MARGIN), paragraph(note, plain, width - 2 * MARGIN)
    top = MARGIN - 2 + 32 * len(heading) + 23 * len(told) + (16 if heading or told else 0)
    sheet = Image.new("RGB", (width, top + height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for n, line in enumerate(heading):
        pen.text((MARGIN, MARGIN - 2 + 32 * n), line, INK, bold)
    for n, line in enumerate(told):
        pen.text((MARGIN, MARGIN + 2 + 32 * len(heading) + 23 * n), line, GREY, plain)
    return sheet, top


def draw(
    dataset: Dataset,
    query_index: Tensor,
    index: Tensor,
    right: Tensor,
    path: Path,
    *,
    title: str = "",
    note: str = "",
    gallery: Dataset | None = None,
) -> None:
    """One line per query: its picture in grey, then its neighbours, nearest first, with a tick or a cross.

    dataset: where query_index (Q,) points; gallery: where index (Q, k) points, by default `dataset`. right
    (Q, k) bool. note: a sentence under the title, e.g. `caption(...)`. Writes a PNG at 150 dpi, the same
    bytes for the same input.
    """
    q, k = index.shape
    if right.shape != index.shape or len(query_index) != q or not q:
        raise ValueError(
            f"query_index {tuple(query_index.shape)}, index {tuple(index.shape)} and right "
            f"{tuple(right.shape)} do not fit; give (Q,), (Q, k) and (Q, k) with Q of at least 1"
        )
    shown = gallery or dataset
    side, small = tile_side(dataset.size), font(15)
    written = {  # of every tile, below it: the class in up to two lines, then its parent
        (source.split, row): (
            fit(own, small, side + 10, lines=2),
            fit(parent, small, side + 10) if parent else [],
        )
        for source, rows in ((dataset, query_index), (shown, index.flatten()))
        for row in rows.tolist()
        for own, parent in [class_name(source, row)]
    }
    lines = max(len(own) + len(parent) for own, parent in written.values())
    across, down = side + 22, side + 36 + 19 * lines
    first = MARGIN + EDGE  # left of the queries
    left = first + across + 34  # of the neighbours
    width, plain = max(left + k * across - 22 + first, 480), font(16)
    sheet, top = page(width, q * down + 60, title, note)
    top += 34
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, top - 36), "query", INK, plain)
    pen.text(
        (left - EDGE, top - 36),
        "nearest neighbours, nearest first" if k > 1 else "nearest neighbour",
        INK,
        plain,
    )

    def place(source: Dataset, row: int, x: int, y: int, mark: bool | None) -> None:
        framed(sheet, tile(source.picture(row)), x, y, FRAME if mark is None else RIGHT if mark else WRONG)
        if mark is not None:
            badge(sheet, x + side - 1, y + 1, mark)
        own, parent = written[source.split, row]
        for n, line in enumerate(own + parent):
            pen.text((x - EDGE, y + side + 9 + 19 * n), line, INK if n < len(own) else GREY, small)

    for n, (row, near, good) in enumerate(zip(query_index.tolist(), index.tolist(), right.tolist())):
        y = top + n * down
        place(dataset, row, first, y, None)
        for m, (other, hit) in enumerate(zip(near, good)):
            place(shown, other, left + m * across, y, hit)
    y, x = top + q * down + 2, MARGIN + 11
    for mark, words in ((True, "same class as the query"), (False, "another class")):
        badge(sheet, x, y, mark)
        pen.text((x + 18, y - 10), words, GREY, plain)
        x += 60 + int(plain.getlength(words))
    save_png(sheet, path)


# --- Exports ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Export:
    """Embeddings of one split, and what brings its pictures back. See the head of this module."""

    embedding: Tensor
    """(N, D) float32."""
    labels: Tensor
    """(N, L) int64, coarse to fine."""
    levels: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    dataset: str
    """Name for common.data.load."""
    split: str
    protocol: str
    size: int
    crop: bool
    c: float | None = None
    """The rows are points of the ball of curvature -c; None: of no ball."""

    def pictures(self) -> Dataset:
        """The split, loaded again. ValueError when what is found is not what was embedded."""
        where = f"{self.dataset}/{self.split}"
        found = data.load(self.dataset, self.split, size=self.size, protocol=self.protocol, crop=self.crop)
        if len(found) != len(self.labels):
            raise ValueError(
                f"the export holds {len(self.labels)} rows but {where} has {len(found)} pictures; export "
                "again, from the data that is there now (classes held out of 'train' have no name to load by)"
            )
        if not torch.equal(found.labels, self.labels):
            row = int((found.labels != self.labels).any(1).nonzero()[0])
            raise ValueError(
                f"the labels of the export and of {where} differ, first at row {row}; export again"
            )
        return found


def export(
    path: Path | str,
    *,
    embedding: Tensor,
    dataset: Dataset,
    protocol: str = "retrieval",
    crop: bool = False,
    c: float | None = None,
) -> None:
    """Write the .npz of the head of this module, all of it or nothing. embedding: (N, D), one row per
    picture; c: the rows are points of the ball of curvature -c."""
    _check_rows(embedding, dataset)
    if c is not None:
        finite_number("c", c, above=0)
        _check_ball(embedding.detach().float(), c)
    if distributed.rank() > 0:
        return
    arrays: dict[str, np.ndarray] = {
        "embedding": embedding.detach().to("cpu", torch.float32).numpy(),
        "labels": dataset.labels.cpu().numpy(),
        "levels": np.array(dataset.levels, dtype=np.str_),
        **{f"names_{level}": np.array(names, dtype=np.str_) for level, names in enumerate(dataset.names)},
        "dataset": np.array(dataset.name),
        "split": np.array(dataset.split),
        "protocol": np.array(protocol),
        "size": np.array(dataset.size),
        "crop": np.array(int(crop)),
        **({} if c is None else {"c": np.array(c, dtype=np.float64)}),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), buffer.getvalue())


def export_npy(folder: Path | str, *, embedding: Tensor, dataset: Dataset) -> None:
    """For other tools: embeddings.npy (N, D) float32, and labels.csv with one line per row.

    labels.csv: `picture`, the file or, for pictures in memory, the row in the split; then one column per
    level, with the names.
    """
    _check_rows(embedding, dataset)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, embedding.detach().to("cpu", torch.float32).numpy(), allow_pickle=False)
    write_atomically(folder / "embeddings.npy", buffer.getvalue())
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["picture", *dataset.levels])
    for row, ids in enumerate(dataset.labels.tolist()):
        picture = row if dataset.paths is None else dataset.paths[row]
        table.writerow([picture, *(names[i] for names, i in zip(dataset.names, ids))])
    # Names of files may be no UTF-8, which Python holds as lone surrogates.
    write_atomically(folder / "labels.csv", text.getvalue().encode(errors="backslashreplace"))


def _check_rows(embedding: Tensor, dataset: Dataset) -> None:
    if embedding.ndim != 2 or len(embedding) != len(dataset):
        raise ValueError(
            f"embedding has shape {tuple(embedding.shape)} but {dataset.name}/{dataset.split} has "
            f"{len(dataset)} pictures; give one row per picture"
        )


def _check_ball(embedding: Tensor, c: float) -> None:
    outside = (c * embedding.double().square().sum(1) >= 1).nonzero()[:, 0]
    if len(outside):
        raise ValueError(
            f"row {int(outside[0])} of the embedding lies outside the ball of curvature -{c:g}, whose radius "
            f"is {1 / math.sqrt(c):g}; give points of the ball, or no c"
        )


def read_export(path: Path | str) -> Export:
    """Read and check an export. FileNotFoundError: not there. ValueError: not an export, and why."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}; write one with python -m <paper>.evaluate CHECKPOINT --export {path.name}"
        )
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip file, or one that was cut short")
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and numpy answer nonsense with many types
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(
            f"{path} is not an .npz of plain arrays ({reason}); write one with "
            "python -m <paper>.evaluate CHECKPOINT --export FILE.npz"
        ) from error
    wanted = ["embedding", "labels", "levels", "dataset", "split", "protocol", "size", "crop"]
    wanted += [f"names_{level}" for level in range(arrays["levels"].size if "levels" in arrays else 0)]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing[:9])}; write it with python -m <paper>.evaluate CHECKPOINT "
            "--export"
        )
    for name in wanted:
        if name.startswith(("levels", "names_")) and (
            arrays[name].ndim != 1 or arrays[name].dtype.kind != "U"
        ):
            raise ValueError(
                f"{path}: {name} is {arrays[name].dtype} {arrays[name].shape}; it must be a row of texts"
            )
    for name in ("dataset", "split", "protocol", "size", "crop"):
        if arrays[name].ndim or arrays[name].dtype.kind not in (
            "U" if name not in ("size", "crop") else "iu"
        ):
            raise ValueError(
                f"{path}: {name} is {arrays[name].dtype} {arrays[name].shape}; it must be one value"
            )
    if not 1 <= int(arrays["size"]) <= LARGEST:
        raise ValueError(f"{path}: size is {arrays['size']}; it must be a number of pixels up to {LARGEST}")
    c = arrays.get("c")
    if c is not None and (c.ndim or c.dtype.kind != "f" or not 0 < float(c) < math.inf):
        raise ValueError(
            f"{path}: c is {c.dtype} {c.shape if c.ndim else c}; it must be one number above 0, or not there"
        )
    embedding, labels, levels = arrays["embedding"], arrays["labels"], arrays["levels"]
    if embedding.ndim != 2 or embedding.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"{path}: embedding is {embedding.dtype} {embedding.shape}; it must be (N, D) float32"
        )
    if labels.shape != (len(embedding), levels.size) or labels.dtype != np.int64:
        raise ValueError(
            f"{path}: labels is {labels.dtype} {labels.shape} for {len(embedding)} rows and {levels.size} "
            f"levels; it must be ({len(embedding)}, {levels.size}) int64"
        )
    if c is not None:
        try:
            _check_ball(torch.from_numpy(embedding), float(c))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    for level, ids in enumerate(labels.T):
        if len(ids) and not (0 <= ids.min() and ids.max() < len(arrays[f"names_{level}"])):
            raise ValueError(
                f"{path}: labels of level {levels[level]} go beyond its {len(arrays[f'names_{level}'])} names"
            )
    return Export(
        embedding=torch.from_numpy(embedding.astype(np.float32, copy=False)),
        labels=torch.from_numpy(labels),
        levels=tuple(levels.tolist()),
        names=tuple(tuple(arrays[f"names_{level}"].tolist()) for level in range(levels.size)),
        dataset=str(arrays["dataset"]),
        split=str(arrays["split"]),
        protocol=str(arrays["protocol"]),
        size=int(arrays["size"]),
        crop=bool(arrays["crop"]),
        c=None if c is None else float(c),
    )


def _check_sizes(path: Path) -> None:
    """ValueError when an array tells of more than is stored, or the file unpacks to more than is believed."""
    with zipfile.ZipFile(path) as pack:
        told = sum(member.file_size for member in pack.infolist())
        if told > max(64 * 2**20, 20 * path.stat().st_size):
            raise ValueError(f"{path.stat().st_size} bytes would unpack to {told}")
        for member in pack.infolist():
            with pack.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, _, kind = read[version](file)
            if math.prod(shape) * max(kind.itemsize, 1) > member.file_size:
                raise ValueError(f"{member.filename} tells of {shape} values in {member.file_size} bytes")


# --- Command ------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    parser = typos.Parser(
        prog="python -m common.gallery",
        description="Draw queries with their nearest neighbours, by Euclidean distance of the exported rows "
        "(for points of a Poincaré ball, too: not their hyperbolic distance).",
    )
    parser.add_argument(
        "export", type=Path, help="written by python -m <paper>.evaluate CHECKPOINT --export FILE.npz"
    )
    parser.add_argument(
        "--gallery", type=Path, metavar="FILE.npz", help="export that is searched; default: the same split"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: the export's name with .png")
    parser.add_argument("--queries", type=int, default=8, help="lines of the picture (default 8)")
    parser.add_argument("--neighbours", type=int, default=8, help="neighbours per line (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of queries (default 0)")
    parser.add_argument("--title", default="", help="default: names of data set and split")
    parser.add_argument(
        "--npy", type=Path, metavar="FOLDER", help="also write embeddings.npy and labels.csv there"
    )
    args = parser.parse_args(argv)
    for option, least in (("queries", 1), ("neighbours", 1), ("seed", 0)):
        if (given := getattr(args, option)) < least:
            raise ValueError(f"--{option} {given}: give at least {least}")
    out = args.out or args.export.with_suffix(".png")
    config.require_free("--out", out)
    if args.npy:
        config.require_free_folder("--npy", args.npy)
    queries = read_export(args.export)
    searched = None if args.gallery is None else read_export(args.gallery)
    if searched is not None and searched.names != queries.names:
        raise ValueError(
            f"{args.gallery} numbers its classes unlike {args.export}; export both splits of one data set"
        )
    pictures = queries.pictures()
    others = None if searched is None else searched.pictures()
    if args.npy:
        export_npy(args.npy, embedding=queries.embedding, dataset=pictures)
        print(args.npy)

    base, base_label = (None, None) if searched is None else (searched.embedding, searched.labels[:, -1])
    everyone, label = torch.arange(len(queries.labels)), queries.labels[:, -1]
    right = neighbours(queries.embedding, label, everyone, 1, base, base_label)[1][:, 0]
    chosen = choose_queries(right, args.queries, args.seed)
    index, good = neighbours(queries.embedding, label, chosen, args.neighbours, base, base_label)
    title = args.title or f"{queries.dataset}, {queries.split}" + (
        f" in {searched.split}" if searched else ""
    )
    note = caption(right, chosen, args.seed)
    if queries.c is not None:
        note += " Nearest by Euclidean, not hyperbolic, distance of points of the ball."
    draw(
        pictures,
        chosen,
        index,
        good,
        out,
        title=title,
        note=note,
        gallery=others,
    )
    print(out)


if __name__ == "__main__":
    config.command(main)
