"""The embedded set: generated drawings, so that every command works on any machine without a download.

A family is a skeleton of strokes. A kind bends its family's skeleton and adds strokes of its own, so the
kinds of one family look alike. An instance is a kind drawn once: unsteady hand, pose, stroke width, colours,
clutter. An ambiguous instance is morphed toward another kind of its family, and partly wiped out.

    symbol    shape              meaning
    point     (N, S, 4, 2)       control points x, y of S cubic Bezier strokes; the picture is [-1, 1]^2
    opacity   (N, S)             0: the kind has no such stroke, 1: full ink
    a         (N,)               ambiguity in [0, 1]: 0 is clear, 1 lies halfway between two kinds
    levels    family, kind       the tree; both known exactly

Every number is drawn from PCG64 seeded with (seed, part, node), where the node is a family, a kind or an
instance and is named by its place in the tree. So a larger set begins with the smaller one: more instances or
more families change nothing in those that were there. (More kinds change only which kind an ambiguous
instance leans to.) Only uniform doubles are drawn and pictures are rounded to 8 bits last, so machines differ
by one grey level at most.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.dataset import Dataset

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

LEVELS = ("family", "kind")
SPLITS = ("train", "val", "test", "query", "gallery", "seen")

# Which part of the world a split is drawn from: families of different parts never meet.
_PART = {"train": 0, "seen": 0, "val": 1, "test": 2, "query": 2, "gallery": 2}
_PARTS = ("train", "val", "test")
_FRESH = 1 << 20  # number of the first instance of 'seen': the kinds of 'train', drawn again

_BODY = 3  # strokes that all kinds of a family share; the last is missing in half of the families
_OWN = 2  # strokes that belong to one kind; the last is missing in half of the kinds
_CLUTTER = 4  # strokes that mean nothing
_SEGMENTS = 10  # straight pieces per stroke
_GOLDEN = np.pi * (3 - np.sqrt(5))  # successive multiples of it spread evenly around the circle

_TILE = 8  # side of the blocks of pixels in which strokes are drawn
_CHUNK = 1 << 17  # pixels that are drawn at a time, to bound the memory


def make(
    *,
    families: int = 12,
    kinds: int = 6,
    instances: int = 20,
    size: int = 32,
    channels: int = 3,
    ambiguity: float = 0.3,
    seed: int = 0,
    first_family: int = 0,
    split: str = "train",
) -> Dataset:
    """`families` x `kinds` x `instances` drawings of `size` x `size` pixels, in the order of the tree.

    split    kinds         instances
    train    of its own    0 .. instances - 1
    val      of its own    0 .. instances - 1
    test     of its own    0 .. instances - 1; query: the even ones, gallery: the odd ones
    seen     as in train   as many fresh ones

    channels: 3 (colour), or 1 (grey, ink = 255 on paper = 0, as for Omniglot). ambiguity: the dial, the share
    of drawings that are ambiguous, 0 (all are clear) to 1. first_family: number of the first family, to make
    others than a smaller set.

    extra['ambiguity'] (N,) float32: a in [0, 1], uniform among the ambiguous drawings and 0 for the clear
    ones. The drawing lies a / 2 of the way from its own kind to the sibling extra['other'] (N,) int64, an id
    of the last level: at a = 1 both claim it equally. A disc on one of its strokes is wiped out; its radius
    is 0.15 a of the picture's side.

    Raises ValueError for an unknown split, fewer than 2 kinds, pictures below 8 pixels, a dial outside [0, 1]
    and the like.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
    least = {
        "families": 1,
        "kinds": 2,
        "instances": 1 + (split == "gallery"),
        "size": 8,
        "seed": 0,
        "first_family": 0,
    }
    given = {"families": families, "kinds": kinds, "instances": instances, "size": size}
    given |= {"seed": seed, "first_family": first_family}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
            raise ValueError(f"{name} is {value!r}; give an integer of at least {least[name]}")
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels!r}; give 1 (grey) or 3 (colour)")
    if isinstance(ambiguity, bool) or not isinstance(ambiguity, (int, float)) or not 0 <= ambiguity <= 1:
        raise ValueError(f"ambiguity is {ambiguity!r}; give a number from 0 (clear) to 1 (ambiguous)")

    part = _PART[split]
    family_numbers = range(first_family, first_family + families)
    point, opacity = _skeletons(seed, part, family_numbers, kinds)  # (F * K, S, 4, 2), (F * K, S)

    first = _FRESH if split == "seen" else 0
    numbers = range(first, first + instances)
    if split in ("query", "gallery"):
        numbers = numbers[split == "gallery" :: 2]
    kind = np.repeat(np.arange(families * kinds), len(numbers))  # (N,)
    draw = _Draws((seed, part, 2, f, k, i) for f in family_numbers for k in range(kinds) for i in numbers)

    # The sibling, and how near the drawing comes to it: a share of the drawings, each by a uniform a.
    step = 1 + np.minimum((draw.uniform() * (kinds - 1)).astype(np.int64), kinds - 2)
    other = kind // kinds * kinds + (kind % kinds + step) % kinds
    lean = draw.uniform()
    a = np.clip(1 - lean / ambiguity, 0, 1) if ambiguity > 0 else np.zeros(len(kind))

    pixels = _draw(draw, point, opacity, kind, other, a, size, channels)

    names = [f"{_PARTS[part]}{f:02d}" for f in family_numbers]
    return Dataset(
        name="embedded",
        split=split,
        labels=torch.from_numpy(np.stack([kind // kinds, kind], 1)),
        levels=LEVELS,
        names=(tuple(names), tuple(f"{name}.{k}" for name in names for k in range(kinds))),
        size=size,
        channels=channels,
        pixels=torch.from_numpy(pixels),
        extra={"ambiguity": torch.from_numpy(a.astype(np.float32)), "other": torch.from_numpy(other)},
    )


def load(
    split: str,
    *,
    size: int,
    channels: int = 3,
    families: int = 12,
    kinds: int = 6,
    instances: int = 20,
    ambiguity: float = 0.3,
    seed: int = 0,
) -> Dataset:
    """One split of the embedded set: 'train', 'val', 'test', 'query', 'gallery' or 'seen', as in `make`.

    Kinds and families of 'train', 'val' and 'test' are disjoint, whatever the sizes. 'query' and 'gallery'
    share out the drawings of 'test'. 'seen' shows the kinds of 'train' in drawings that are not in it.
    """
    return make(
        families=families,
        kinds=kinds,
        instances=instances,
        size=size,
        channels=channels,
        ambiguity=ambiguity,
        seed=seed,
        split=split,
    )


# ----------------------------------------------------------------------------------------------------
# Chance
# ----------------------------------------------------------------------------------------------------


class _Draws:
    """A row of uniform doubles per node of the tree, handed out column by column.

    Columns are read in a fixed order, so a new draw goes to the end of the order, or the set changes. Only
    the raw uniform stream is used: it is the part of a generator that stays the same across versions of
    numpy.
    """

    def __init__(self, keys: Iterable[tuple[int, ...]], columns: int = 256) -> None:
        streams = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))) for key in keys]
        self.table = np.stack([stream.random(columns) for stream in streams])
        self.used = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Array:
        """(N, *shape) in [low, high)."""
        count = int(np.prod(shape, dtype=np.int64))
        self.used += count
        if self.used > self.table.shape[1]:
            raise IndexError(f"{self.used} draws per node, but only {self.table.shape[1]} columns")
        return low + (high - low) * self.table[:, self.used - count : self.used].reshape(-1, *shape)

    def around(self, reach: float, *shape: int) -> Array:
        """(N, *shape) in [-reach, reach)."""
        return self.uniform(*shape, low=-reach, high=reach)


def _polar(radius: Array, angle: Array) -> Array:
    """(..., 2): the points at that radius and angle."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


# ----------------------------------------------------------------------------------------------------
# The tree
# ----------------------------------------------------------------------------------------------------


def _skeletons(seed: int, part: int, families: range, kinds: int) -> tuple[Array, Array]:
    """(F * K, S, 4, 2) control points and (F * K, S) opacities of all kinds, family by family."""
    f = _Draws((seed, part, 0, number, 0, 0) for number in families)
    k = _Draws((seed, part, 1, number, kind, 0) for number in families for kind in range(kinds))

    # Family: strokes that start around the rim and cross the middle, each bent in its own way.
    sector = 2 * np.pi * (np.arange(_BODY) / _BODY + f.uniform(1) + f.around(0.08, _BODY))  # (F, S)
    start = _polar(f.uniform(_BODY, low=0.5, high=0.95), sector)
    end = _polar(f.uniform(_BODY, low=0.3, high=0.95), sector + np.pi * f.uniform(_BODY, low=0.45, high=1.3))
    third = np.linspace(0, 1, 4)[:, None]
    body = start[..., None, :] * (1 - third) + end[..., None, :] * third  # (F, S, 4, 2)
    body[..., 1:3, :] += f.around(0.5, _BODY, 2, 2)
    body_ink = np.ones((len(families), _BODY))
    body_ink[:, -1] = f.uniform() < 0.5
    heading = f.uniform(low=0, high=2 * np.pi)  # (F,) where the first kind's own stroke points to

    # Kind: the same strokes, moved; and strokes of its own, for each kind at another angle.
    body = np.repeat(body, kinds, 0) + k.around(0.1, _BODY, 4, 2) + k.around(0.12, _BODY, 1, 2)
    order = np.tile(np.arange(kinds), len(families))
    angle = np.repeat(heading, kinds) + _GOLDEN * order  # (F * K,)
    angle = angle[:, None] + 2 * np.pi * np.arange(_OWN) / _OWN + k.around(0.5, _OWN)  # (F * K, S)
    root = _polar(k.uniform(_OWN, low=0.15, high=0.9), angle)
    turn = angle + np.pi / 2 + k.around(np.pi / 2, _OWN)
    tip = root + _polar(k.uniform(_OWN, low=0.6, high=1.0), turn)
    own = root[..., None, :] * (1 - third) + tip[..., None, :] * third
    own[..., 1:3, :] += k.around(0.3, _OWN, 2, 2)
    own_ink = np.ones((len(own), _OWN))
    own_ink[:, -1] = k.uniform() < 0.5

    point = np.clip(np.concatenate([body, own], 1), -1, 1)
    return point, np.concatenate([np.repeat(body_ink, kinds, 0), own_ink], 1)


# ----------------------------------------------------------------------------------------------------
# Drawings
# ----------------------------------------------------------------------------------------------------


def _draw(
    draw: _Draws,
    point: Array,
    opacity: Array,
    kind: NDArray[np.int64],
    other: NDArray[np.int64],
    a: Array,
    size: int,
    channels: int,
) -> NDArray[np.uint8]:
    """(N, channels, size, size): every instance once."""
    n, strokes = len(kind), point.shape[1]

    # Shape: a / 2 of the way to the other kind, drawn by an unsteady hand.
    half = a / 2
    p = point[kind] + half[:, None, None, None] * (point[other] - point[kind])  # (N, S, 4, 2)
    ink = opacity[kind] + half[:, None] * (opacity[other] - opacity[kind])  # (N, S)
    p = p + draw.around(0.05, strokes, 4, 2)
    wiped = p.reshape(n, -1, 2)[
        np.arange(n), (draw.uniform() * strokes * 4).astype(np.int64)
    ]  # (N, 2), a control point

    # Pose: scale, shear, turn, shift.
    turn, shear = draw.around(0.3), draw.around(0.2)
    wide, high = draw.uniform(low=0.7, high=0.95), draw.uniform(low=0.85, high=1.15)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.stack(
        [wide * cos, wide * (shear * cos - high * sin), wide * sin, wide * (shear * sin + high * cos)], -1
    )
    matrix = matrix.reshape(n, 2, 2)
    shift = draw.around(0.12, 2)
    p = np.einsum("nij,nskj->nski", matrix, p) + shift[:, None, None]
    wiped = np.einsum("nij,nj->ni", matrix, wiped) + shift
    thick = np.repeat(draw.uniform(1, low=0.04, high=0.075), strokes, 1)  # (N, S) half width

    # Clutter: short strokes anywhere, in a colour of their own.
    where, way = draw.around(1.0, _CLUTTER, 2), draw.uniform(_CLUTTER, high=2 * np.pi)
    run = _polar(draw.uniform(_CLUTTER, low=0.1, high=0.5), way)[..., None, :] * np.linspace(0, 1, 4)[:, None]
    clutter = where[..., None, :] + run + draw.around(0.1, _CLUTTER, 4, 2)
    clutter_ink = (draw.uniform(_CLUTTER) < 0.6).astype(np.float64)
    clutter_thick = draw.uniform(_CLUTTER, low=0.03, high=0.07)

    # Colours: light paper, dark ink, clutter in between.
    paper, pen = draw.uniform(3, low=0.55, high=1.0), draw.uniform(3, low=0.0, high=0.5)  # (N, 3)
    stain = draw.uniform(3, low=0.3, high=0.9)
    slope = draw.around(0.1, 3, 2)  # (N, 3, 2) light from a side, per colour
    wave, phase, depth = draw.around(9.0, 2), draw.uniform(high=2 * np.pi), draw.uniform(high=0.08)

    place = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)  # pixel centres
    x, y = place[None, None, :], place[None, :, None]
    pixels = np.empty((n, channels, size, size), np.uint8)
    chunk = max(1, _CHUNK // size**2)
    for begin in range(0, n, chunk):
        i = slice(begin, min(begin + chunk, n))
        drawn = _coverage(p[i], thick[i], ink[i], size)  # (n, H, W)
        noise = _coverage(clutter[i], clutter_thick[i], clutter_ink[i], size)
        far = np.sqrt((x - _column(wiped[i, 0])) ** 2 + (y - _column(wiped[i, 1])) ** 2)
        drawn = drawn * np.clip(1 + (far - 0.3 * _column(a[i])) / 0.1, 0, 1)  # a = 0 wipes nothing
        if channels == 1:
            picture = np.maximum(drawn, 0.5 * noise)[:, None]
        else:
            light = slope[i, :, 0, None, None] * x[:, None] + slope[i, :, 1, None, None] * y[:, None]
            ripple = _column(depth[i]) * np.sin(
                _column(wave[i, 0]) * x + _column(wave[i, 1]) * y + _column(phase[i])
            )
            picture = paper[i, :, None, None] + light + ripple[:, None]
            picture = picture + noise[:, None] * (stain[i, :, None, None] - picture)
            picture = picture + drawn[:, None] * (pen[i, :, None, None] - picture)
        pixels[i] = np.rint(np.clip(picture, 0, 1) * 255)
    return pixels


def _column(value: Array) -> Array32:
    """(N, 1, 1), to meet (N, H, W)."""
    return value.astype(np.float32)[:, None, None]


def _coverage(point: Array, thick: Array, opacity: Array, size: int) -> Array32:
    """(N, size, size) in [0, 1]: how much of each pixel the strokes cover, antialiased over one pixel.

    point (N, S, 4, 2) control points, thick (N, S) half width, opacity (N, S). A pixel takes the densest
    stroke, so crossings are no darker. Only tiles of pixels that a straight piece can reach are looked at:
    the cost grows with the length of the strokes, not with the number of pixels times pieces.
    """
    n = len(point)
    t = np.linspace(0, 1, _SEGMENTS + 1)
    bernstein = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3], 1)  # (T + 1, 4)
    curve = (np.einsum("tk,nskd->nstd", bernstein, point) + 1) * (size / 2)  # (N, S, T + 1, 2), pixels
    curve = curve.astype(np.float32)
    start = curve[:, :, :-1].reshape(n, -1, 2)  # (N, G, 2), G = S * T straight pieces
    span = curve[:, :, 1:].reshape(n, -1, 2) - start
    half = np.repeat(thick * (size / 2), _SEGMENTS, 1).astype(np.float32)  # (N, G)
    dense = np.repeat(opacity, _SEGMENTS, 1).astype(np.float32)

    side = -(-size // _TILE)
    corner = (
        np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) * _TILE
    )  # (tiles, 2) x, y
    inside = np.stack(np.meshgrid(np.arange(_TILE), np.arange(_TILE)), -1).reshape(-1, 2) + 0.5  # (64, 2)
    middle = (corner + _TILE / 2).astype(np.float32)
    away = _distance(middle[None, :, None], start[:, None], span[:, None])  # (N, tiles, G)
    near = (away < _TILE * 0.7072 + half[:, None] + 0.5) & (dense > 0)[:, None]
    picture, tile, piece = np.nonzero(near)  # sorted by picture, then tile
    drawn = np.zeros((n * side * side, _TILE * _TILE), np.float32)
    if len(picture):
        pixel = (corner[tile, None] + inside).astype(np.float32)  # (P, 64, 2)
        gap = _distance(pixel, start[picture, piece, None], span[picture, piece, None])  # (P, 64)
        cover = np.clip(half[picture, piece, None] + 0.5 - gap, 0, 1) * dense[picture, piece, None]
        block = picture * side * side + tile
        first = np.flatnonzero(np.diff(block, prepend=-1))
        drawn[block[first]] = np.maximum.reduceat(cover, first)
    drawn = drawn.reshape(n, side, side, _TILE, _TILE).transpose(0, 1, 3, 2, 4)
    return drawn.reshape(n, side * _TILE, side * _TILE)[:, :size, :size]


def _distance(p: Array32, start: Array32, span: Array32) -> Array32:
    """Distance of points p (..., 2) to the straight pieces from `start` to `start + span` (..., 2)."""
    px, py = p[..., 0] - start[..., 0], p[..., 1] - start[..., 1]
    sx, sy = span[..., 0], span[..., 1]
    t = np.clip((px * sx + py * sy) / np.maximum(sx * sx + sy * sy, np.float32(1e-12)), 0, 1)
    return np.sqrt((px - t * sx) ** 2 + (py - t * sy) ** 2)
