"""Find a data set, get it when it is missing, and load it: `load` and `resolve`.

A set is looked for below the data root ($DATA_ROOT, default ./data), in its published layout or as the packed
files; see manifests.py. The data root may be read-only; what is unpacked or decoded goes to the cache
(cache.py).
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from common.data import cache, download, readers
from common.data.dataset import Dataset, decode
from common.data.manifests import MANIFESTS, Manifest
from common.data.readers import Listing, Pixels, Place

RESIDENT = 2**30
"""Bytes: a split whose decoded pictures take at most this much is decoded into memory."""
AUTOMATIC = 300.0
"""10^6 bytes: what policy 'auto' downloads without being told to."""
POLICIES = ("auto", "real", "synthetic")

_GOING_ON = (
    "GOING ON WITHOUT IT: on the embedded set, generated drawings. Its results answer nothing about the "
    "published set. DATA=real stops here instead."
)
_DECODER = 1  # raise when the same file would decode to other pixels
_EMBEDDED = "-embedded"


class DataMissing(FileNotFoundError):
    """A data set is not there; the message says where it was looked for, where to get it and how it must
    lie.
    """


def load(
    name: str,
    split: str,
    *,
    size: int,
    protocol: str = "retrieval",
    crop: bool = False,
    channels: int | None = None,
    root: Path | str | None = None,
    resident: bool | None = None,
) -> Dataset:
    """One split of one data set, as pictures of `size` x `size` pixels (the aspect ratio is not kept).

    name       'mnist', 'omniglot', 'cifar10', 'cifar100', 'cub', 'cub_100', 'mini_imagenet', 'cars', 'sop',
               'inshop', 'market1501', 'dukemtmc': see manifests.py; 'embedded': generated drawings;
               'folder:PATH': own pictures, see readers.folder
    protocol   'retrieval', 'classification' or 'fewshot': see readers.py
    crop       cut each picture to its box first (cub, cars); on the embedded set it changes nothing, as the
               drawings fill the picture; an error for sets without boxes
    channels   1 (grey) or 3 (RGB); default: as published, 3 for 'embedded' and 'folder:PATH'
    root       data root; default $DATA_ROOT, else ./data
    resident   whether pictures are decoded into memory. Default: when N * C * size * size is at most 1 GiB;
               else they stay on disk (Dataset.paths) and are decoded batch by batch, to the same pixels.
               MNIST, Omniglot and CIFAR are always in memory. Decoded pictures are kept in the cache, so the
               next load takes a moment.

    Generated drawings in a published layout (EMBEDDED.txt beside them) come out with the name NAME-embedded,
    by which they can be loaded as well; for them the published counts do not hold and are not asserted.

    Raises DataMissing (a FileNotFoundError): the set is not there. ValueError: unknown name, split or
    protocol; no boxes to crop to; a file that is not the published one; counts that differ from the published
    ones; a picture that cannot be read.
    """
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size is {size!r}; give an integer number of pixels")
    if size < 1:
        raise ValueError(f"size is {size}; give a number of pixels from 1 up")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels}; give 1 (grey) or 3 (colour)")

    if name == "embedded":
        from common.data import embedded

        if protocol not in ("retrieval", "classification", "fewshot"):
            raise ValueError(f"protocol is {protocol!r}; choose retrieval, classification or fewshot")
        if protocol == "classification" and split == "test":
            split = "seen"  # the kinds of train, drawn again
        return embedded.load(split, size=size, channels=channels or 3)

    if name.startswith("folder:"):
        listing, levels, label, native = _own_pictures(name, split, protocol, crop)
    else:
        place = _place(name, root)
        manifest = place.manifest
        label = manifest.name + _EMBEDDED * place.embedded
        _check_request(manifest, split, protocol, crop)
        listing, levels, native = read(place, split, protocol), manifest.levels, manifest.channels
    if crop and listing.boxes is None:
        raise ValueError(f"{label}/{split}: the file with the boxes is missing, so crop=True is not possible")
    labels, names = _ids(listing)
    channels = channels or native
    always = listing.pixels is not None or listing.inverted
    if resident is False and always:
        raise ValueError(f"{label} is always decoded into memory; leave resident out")
    if resident is None:
        resident = always or len(labels) * channels * size * size <= RESIDENT
    boxes = listing.boxes if crop else None
    paths = tuple(listing.base / path for path in listing.paths)
    stamp = listing.identity or readers.stamp(
        listing.base, listing.paths
    )  # names a missing file in either case
    return Dataset(
        name=label,
        split=split,
        labels=labels,
        levels=levels,
        names=names,
        size=size,
        channels=channels,
        pixels=_decoded(listing, stamp, paths, boxes, size, channels) if resident else None,
        paths=None if resident else paths,
        boxes=None if resident or boxes is None else torch.from_numpy(boxes),
        extra={key: torch.tensor(list(values), dtype=torch.int64) for key, values in listing.extra.items()},
    )


def resolve(name: str, policy: str | None = None) -> str:
    """The name that can be loaded: `name`, or 'embedded'.

    policy (default: the environment variable DATA, else 'auto'):

    auto        the set when it is found in the data root; else it is downloaded, if that takes at most 300 MB
                (larger sets only by `make data-<name>`) and the data root can be written; else a framed
                message on stderr says what is missing, where to get it and how the folder must look, once now
                and once more when the process ends, and the answer is 'embedded'
    real        DataMissing with that message instead
    synthetic   'embedded', whatever is there

    Raises DataMissing for a folder:PATH that does not exist (own pictures are never replaced), ValueError for
    an unknown name or policy.
    """
    policy = policy or os.environ.get("DATA") or "auto"
    if policy not in POLICIES:
        raise ValueError(f"DATA is {policy!r}; choose one of {', '.join(POLICIES)}")
    if name == "embedded" or policy == "synthetic":
        return "embedded"
    if name.startswith("folder:"):
        if not Path(name.removeprefix("folder:")).expanduser().is_dir():
            raise DataMissing(
                f"{name}: there is no such folder; give a folder that holds one folder per class"
            )
        return name
    root = data_root()
    if name.endswith(_EMBEDDED):
        _place(name, root)
        return name
    manifest = _manifest(name)
    if find(manifest, root):
        return name
    reason = ""
    if policy == "auto":
        reason = _try_to_fetch(manifest, root)
        if not reason:
            return name
    message = frame(manifest, root, reason, go_on=policy == "auto")
    if policy == "real":
        raise DataMissing(message)
    if message not in _said:
        _said.add(message)
        print(message, file=sys.stderr, flush=True)
        atexit.register(lambda: print(message, file=sys.stderr))
    return "embedded"


_said: set[str] = set()


def data_root() -> Path:
    """$DATA_ROOT, else ./data."""
    return Path(os.environ.get("DATA_ROOT") or "data").expanduser()


def find(manifest: Manifest, root: Path) -> Place | None:
    """Where the set lies below `root`: in a published layout, else packed; None: nowhere."""
    for top in manifest.tops:
        place = Place(manifest=manifest, folder=root / top, embedded=(root / top / "EMBEDDED.txt").exists())
        if all(any((place.folder / mark).exists() for mark in either) for either in manifest.marks):
            return place
    packed = root / manifest.name
    if manifest.packed and all((packed / file.name).exists() for file in manifest.packed):
        return Place(manifest=manifest, folder=packed, packed=True)
    return None


def read(place: Place, split: str, protocol: str) -> Listing:
    """The split before its pictures are decoded; ValueError when its counts are not the published ones."""
    manifest = place.manifest
    listing = readers.READERS[manifest.name](place, split, protocol)
    found = (len(listing.keys), len({key[-1] for key in listing.keys}))
    expected = manifest.counts[protocol][split]
    if not place.embedded and (found[0] != expected[0] or expected[1] not in (None, found[1])):
        wanted = f"{expected[0]} pictures" + ("" if expected[1] is None else f" of {expected[1]} classes")
        raise ValueError(
            f"{manifest.name}/{split} ({protocol}) in {place.folder}: expected {wanted}, "
            f"found {found[0]} of {found[1]}; the set is not complete, get it again"
        )
    if not listing.keys:
        raise ValueError(f"{manifest.name}/{split} ({protocol}) in {place.folder} holds no picture")
    return listing


def frame(manifest: Manifest, root: Path, reason: str = "", *, go_on: bool) -> str:
    """The message about a missing set: a box at most 100 columns wide. go_on: the embedded set takes its
    place.
    """
    looked = dict.fromkeys(
        str(root / top) for top in (*manifest.tops, *([manifest.name] if manifest.packed else []))
    )
    lines = [f"DATA MISSING: {manifest.name} ({manifest.title})", ""]
    lines += _wrapped(f"Looked in: {', '.join(looked)}")
    if reason:
        lines += _wrapped(f"Not downloaded: {reason}")
    if manifest.manual:
        lines += _wrapped(f"Get it: {manifest.manual}")
    else:
        lines += _wrapped(
            f"Get it: make data-{manifest.name} ({size_text(manifest.megabytes)}), or by hand from"
        )
        lines += [line for file in manifest.files for line in _wrapped(f"  {file.urls[0]}")]
    lines += _wrapped(f"Homepage: {manifest.homepage}")
    lines += _wrapped(f"Terms: {manifest.terms}. Cite: {manifest.citation}.")
    lines += ["", *_wrapped(f"The data root ({root}; set DATA_ROOT for another) must then hold:")]
    lines += [f"  {line}" for line in manifest.tree.splitlines()]
    if go_on:
        lines += ["", *_wrapped(_GOING_ON)]
    width = max(len(line) for line in lines)
    edge = "+" + "-" * (width + 2) + "+"
    return "\n".join([edge, *(f"| {line:<{width}} |" for line in lines), edge])


def size_text(megabytes: float) -> str:
    """'57 MB', '1.2 GB', 'unknown' for inf."""
    if math.isinf(megabytes):
        return "unknown"
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{max(megabytes, 1):.0f} MB"


def _wrapped(text: str) -> list[str]:
    indent = "  " if text.startswith("  ") else ""
    return textwrap.wrap(text, 96, subsequent_indent="  ", initial_indent=indent, break_on_hyphens=False)


def _manifest(name: str) -> Manifest:
    try:
        return MANIFESTS[name]
    except KeyError:
        raise ValueError(
            f"there is no data set {name!r}; choose one of {', '.join(MANIFESTS)}, embedded, or folder:PATH"
        ) from None


def _place(name: str, root: Path | str | None) -> Place:
    root = data_root() if root is None else Path(root).expanduser()
    manifest = _manifest(name.removesuffix(_EMBEDDED))
    place = find(manifest, root)
    if place is None:
        raise DataMissing(frame(manifest, root, go_on=False))
    if name.endswith(_EMBEDDED) and not place.embedded:
        raise DataMissing(
            f"{name}: {place.folder} holds the published set, not generated drawings in its layout; set "
            f"DATA_ROOT to those, "
            f"or use {manifest.name}"
        )
    return place


def _check_request(manifest: Manifest, split: str, protocol: str, crop: bool) -> None:
    if protocol not in manifest.counts:
        raise ValueError(f"protocol is {protocol!r}; {manifest.name} has {', '.join(manifest.counts)}")
    if split not in manifest.counts[protocol]:
        raise ValueError(
            f"split is {split!r}; {manifest.name} ({protocol}) has {', '.join(manifest.counts[protocol])}"
        )
    if crop and manifest.name == "cub_100":
        raise ValueError("crop=True: the pictures of cub_100 are already cut to the bird; leave crop out")
    if crop and not manifest.boxes:
        raise ValueError(f"crop=True: {manifest.name} has no boxes to cut to; leave crop out")


def _own_pictures(
    name: str, split: str, protocol: str, crop: bool
) -> tuple[Listing, tuple[str, ...], str, int]:
    if crop:
        raise ValueError(f"crop=True: {name} has no boxes to cut to; leave crop out")
    if protocol != "retrieval":
        raise ValueError(f"protocol is {protocol!r}; {name} has retrieval")
    path = Path(name.removeprefix("folder:")).expanduser()
    if name.endswith(_EMBEDDED) and not path.exists():
        path = Path(name.removeprefix("folder:").removesuffix(_EMBEDDED)).expanduser()
    listing, levels = readers.folder(path, split)
    return listing, levels, f"folder:{path}" + _EMBEDDED * (path / "EMBEDDED.txt").exists(), 3


def _ids(listing: Listing) -> tuple[Tensor, tuple[tuple[str, ...], ...]]:
    """Labels (N, L) int64 and their names: ids in the order of the keys."""
    columns, names = [], []
    for keys, known in zip(zip(*listing.keys), listing.names):
        order = sorted(known if listing.shared else set(keys))
        number = {key: i for i, key in enumerate(order)}
        columns.append(torch.tensor([number[key] for key in keys], dtype=torch.int64))
        names.append(tuple(known[key] for key in order))
    return torch.stack(columns, 1), tuple(names)


def _decoded(
    listing: Listing, stamp: str, paths: tuple[Path, ...], boxes: np.ndarray | None, size: int, channels: int
) -> Tensor:
    """(N, channels, size, size) uint8, from the cache, or decoded into it."""
    n = len(listing.keys)
    name = cache.key(
        stamp,
        [] if listing.identity else [str(listing.base)],
        [str(path.relative_to(listing.base)) for path in paths],
        None if boxes is None else boxes.tolist(),
        [size, channels, listing.inverted, _DECODER, PIL.__version__],
    )

    native = np.empty(0, np.uint8) if listing.pixels is None else listing.pixels()
    if native.shape[1:] == (channels, size, size):
        return torch.from_numpy(native)

    def rows() -> Iterator[Pixels]:
        if listing.pixels is not None:
            for i in range(n):
                yield _resized(native[i], size, channels)
            return

        def one(i: int) -> Pixels:
            box = None if boxes is None else tuple(boxes[i].tolist())
            picture = decode(paths[i], size, box=box, channels=1 if listing.inverted else channels).numpy()
            if listing.inverted:
                picture = np.broadcast_to(255 - picture, (channels, size, size))
            return picture

        with ThreadPoolExecutor(_cores()) as pool:  # Pillow decodes outside of the interpreter's lock
            for first in tqdm(range(0, n, 256), desc=f"decoding {n} pictures", disable=None, leave=False):
                yield from pool.map(one, range(first, min(first + 256, n)))

    return torch.from_numpy(cache.pixels(name, (n, channels, size, size), rows))


def _resized(picture: Pixels, size: int, channels: int) -> Pixels:
    """(C, h, w) to (channels, size, size), as `decode` does it."""
    image = Image.fromarray(
        picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
    )
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _try_to_fetch(manifest: Manifest, root: Path) -> str:
    """Download for policy 'auto'. Empty when it worked, else why not."""
    if manifest.manual:
        return "it cannot be downloaded without you"
    if (megabytes := download.missing_megabytes(manifest, root)) > AUTOMATIC:
        return f"{size_text(megabytes)} of data; at most {AUTOMATIC:.0f} MB are taken without asking"
    if not download.writable(root):
        return f"{root} cannot be written"
    try:
        download.fetch(manifest, root)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if find(manifest, root) else f"what was downloaded is not complete in {root}"
