"""One short reader per data set: from the files on disk to labels, names and the pictures' places.

Each reader takes a Place (where the set was found, and in which layout), a split and a protocol, and returns
a Listing. Nothing is decoded here except what lies in few large files (MNIST, CIFAR). Protocols:

    retrieval        train and test have different classes, relabelled 0 .. n - 1 within each; the published
                     split. MNIST and CIFAR have the same classes in both (there it is the same as
                     classification)
    classification   the same classes in train and test, with the same ids
    fewshot          cub, cub_100, mini_imagenet: classes divided into train, val and test
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data import archive, cache, matlab
from common.data.manifests import MINI_IMAGENET_CLASSES, Manifest
from common.data.pickles import unpickle as _unpickle

Pixels = NDArray[np.uint8]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
"""Pictures of folder:PATH; upper case counts too."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a data set was found."""

    manifest: Manifest
    folder: Path
    """Top of the published layout, or the folder of the packed files."""
    packed: bool = False
    embedded: bool = False
    """EMBEDDED.txt lies there: generated drawings in the published layout, not the published pictures."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A split before its pictures are decoded: either `paths` or `pixels`."""

    keys: tuple[tuple[Any, ...], ...]
    """Per picture one sortable key per level, coarse to fine; equal keys are the same class."""
    names: tuple[Mapping[Any, str], ...]
    """names[l][key]: what it is called. Ids are given in the order of the keys in here that occur (see
    `shared`).
    """
    identity: str = ""
    """Changes when the pictures do; empty: catalogue.load takes paths, sizes and times of the files."""
    shared: bool = False
    """Ids range over all of `names`, whether they occur in this split or not."""
    base: Path = Path()
    """Folder that `paths` start from."""
    paths: tuple[str, ...] = ()
    boxes: NDArray[np.int64] | None = None
    """(N, 4) x, y, width, height, beside paths."""
    pixels: Callable[[], Pixels] | None = None
    """() -> (N, C, h, w) uint8."""
    inverted: bool = False
    """Pictures come out as 255 - value: drawings with ink = 255."""
    extra: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError when a path leads out of `base`, or a key has no name: lists come from anywhere."""
        for path in self.paths:
            if _leads_out(path):
                raise ValueError(
                    f"{self.base}: the lists name the picture {_short(path)}, which is no path below this "
                    "folder; get them again"
                )
        for level, known in enumerate(self.names):
            if strange := {keys[level] for keys in self.keys} - known.keys():
                raise ValueError(
                    f"{self.base}: the lists give a picture the class {_short(strange.pop())}, which they do "
                    "not name; get them again"
                )


# --- Few large files ----------------------------------------------------------------------------------------


def mnist(place: Place, split: str, protocol: str) -> Listing:
    """The layout of torchvision, into which the packed files are unpacked first. Only the files whose MD5 was
    compared are read: torchvision would prefer what a folder `processed` holds beside them.
    """
    top, identity = place.folder, ""
    if place.packed:
        files = place.manifest.packed

        def build(new: Path) -> None:
            for file in files:
                cache.require(place.folder / file.name, sha256=file.sha256)
                archive.extract(place.folder / file.name, new / "one")
                (new / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
                inner = file.name.removesuffix(".gz")
                os.replace(new / "one" / inner, new / "MNIST" / "raw" / inner)
                (new / "one").rmdir()

        identity = cache.key(*(file.sha256 for file in files))
        top = cache.folder(identity, build) / "MNIST"
    elif not place.embedded:
        for name, md5 in place.manifest.contents.items():
            cache.require(top / name, md5=md5)
    part = "train" if split == "train" else "t10k"
    pictures = _idx(top / f"raw/{part}-images-idx3-ubyte", 3)
    labels = _idx(top / f"raw/{part}-labels-idx1-ubyte", 1).tolist()
    if len(pictures) != len(labels) or max(labels, default=0) > 9 or 0 in pictures.shape[1:]:
        raise ValueError(
            f"{top / 'raw'}: {part} has pictures {pictures.shape} and {len(labels)} labels up to "
            f"{max(labels, default=0)}; give as many labels from 0 to 9 as pictures, or get the set again"
        )
    return Listing(
        keys=tuple((label,) for label in labels),
        names=({digit: str(digit) for digit in range(10)},),
        identity=identity or stamp(top, list(place.manifest.contents)),
        shared=True,
        pixels=lambda: pictures[:, None],
    )


def _idx(file: Path, dimensions: int) -> Pixels:
    """The uint8 array of an idx file. ValueError when the file is not as long as its header says."""
    content = np.fromfile(file, np.uint8)
    end = 4 + 4 * dimensions
    head = content[:end].tobytes()
    shape = [int.from_bytes(head[i : i + 4], "big") for i in range(4, end, 4)]
    kind = bytes([0, 0, 8, dimensions])  # 8: unsigned bytes
    if head[:4] != kind or len(content) != end + math.prod(shape):
        raise ValueError(
            f"{file} is not an idx file of bytes in {dimensions} dimensions: it begins with "
            f"'{head[:4].hex(' ')}', tells of {' x '.join(map(str, shape))} values and has {len(content)} "
            "bytes; get it again"
        )
    return content[end:].reshape(shape)


def cifar10(place: Place, split: str, protocol: str) -> Listing:
    """extra['exact']: 1 where the picture is the published one bit by bit (all of them, but for the packed
    test split).
    """
    if place.packed:
        return _packed_cifar10(place, split)
    files = [f"data_batch_{b}" for b in range(1, 6)] if split == "train" else ["test_batch"]
    pixels, (labels,), (names,) = _cifar(place, split, files, "batches.meta", {"labels": "label_names"})
    return Listing(
        keys=tuple((label,) for label in labels),
        names=(dict(enumerate(names)),),
        identity=stamp(place.folder, list(place.manifest.contents)),
        shared=True,
        pixels=pixels,
        extra={"exact": [1] * len(labels)},
    )


def cifar100(place: Place, split: str, protocol: str) -> Listing:
    levels = {"coarse_labels": "coarse_label_names", "fine_labels": "fine_label_names"}
    pixels, (coarse, fine), names = _cifar(place, split, [split], "meta", levels)
    return Listing(
        keys=tuple(zip(coarse, fine)),
        names=tuple(dict(enumerate(level)) for level in names),
        identity=stamp(place.folder, list(place.manifest.contents)),
        shared=True,
        pixels=pixels,
    )


def _cifar(
    place: Place, split: str, files: list[str], meta: str, levels: Mapping[str, str]
) -> tuple[Callable[[], Pixels], list[list[int]], list[list[str]]]:
    """(pixels, labels of each level, names of each level) of the published pickles. levels: the list of
    labels in a batch -> the list of its names in the file `meta`.

    The MD5 of the published files is compared before anything is unpickled. torchvision reads the pictures,
    after it has compared it as well. What it leaves out (coarse labels, drawings in this layout) is read by
    common.data.pickles.
    """
    if not place.embedded:
        for name, md5 in place.manifest.contents.items():
            cache.require(place.folder / name, md5=md5)
    known = _unpickle(place.folder / meta)
    names = [_listed(place.folder / meta, known, name, str) for name in levels.values()]
    labels: list[list[int]] = [[] for _ in levels]
    drawn = []
    for file in files:
        batch = _unpickle(place.folder / file)
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
            raise ValueError(f"{place.folder / file} holds no 'data' of N x 3072 bytes; get it again")
        for label, level, column in zip(levels, names, labels):
            found = _listed(place.folder / file, batch, label, int)
            if len(found) != len(data) or not all(0 <= one < len(level) for one in found):
                raise ValueError(
                    f"{place.folder / file} has {len(data)} pictures, but {len(found)} {label} or some that "
                    f"are not from 0 to {len(level) - 1}; get it again"
                )
            column += found
        drawn.append(data)

    def pixels() -> Pixels:
        if place.embedded:
            return np.concatenate(drawn).reshape(-1, 3, 32, 32)
        import torchvision

        kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[
            place.manifest.name
        ]
        with warnings.catch_warnings():
            # numpy 2.4 warns about pickles that Python 2 wrote
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            try:
                found = kind(str(place.folder.parent), train=split == "train")
            except RuntimeError as error:
                raise ValueError(
                    f"a file in {place.folder} does not have its published MD5; `python -m common.data "
                    f"verify "
                    f"{place.manifest.name}` names it, get it again"
                ) from error
        return np.ascontiguousarray(found.data.transpose(0, 3, 1, 2))

    return pixels, labels, names


def _listed(file: Path, found: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """found[name]: a list of `kind`."""
    values = found.get(name)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise ValueError(f"{file} holds no list '{name}' of {kind.__name__} alone; get it again")
    return values


def _packed_cifar10(place: Place, split: str) -> Listing:
    """Blocks of 1,000 pictures as one lossless WebP each, 25 rows of 40; for test, a tar of 9,000 JPEG
    besides.
    """
    files = {file.name: file for file in place.manifest.packed}
    labels_file, *blocks_files, rest = files.values()
    used = [labels_file, rest] if split == "test" else [labels_file, *blocks_files]
    identity = cache.key("cifar10", split, [file.sha256 for file in used])
    cache.require(place.folder / labels_file.name, sha256=labels_file.sha256)
    with np.load(place.folder / labels_file.name) as z:
        names = [str(name) for name in z["class_names"]]
        labels = z["train_labels" if split == "train" else "test_labels_first1000"].astype(int).tolist()
    jpegs: list[Path] = []
    if split == "test":
        top = cache.unpacked(place.folder / rest.name, rest.sha256) / "test"
        jpegs = [path for name in names for path in sorted((top / name).iterdir())]
        labels += [names.index(path.parent.name) for path in jpegs]

    def rows() -> Any:
        sources = [labels_file] if split == "test" else blocks_files
        for file in {labels_file, *sources}:
            cache.require(place.folder / file.name, sha256=file.sha256)
        for file in sources:
            with np.load(place.folder / file.name) as z:
                for block in sorted(key for key in z.files if re.fullmatch(r"(train|test)_\d\d", key)):
                    sheet = np.asarray(
                        Image.open(io.BytesIO(z[block].tobytes())).convert("RGB")
                    )  # (800, 1280, 3)
                    yield from (
                        sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 4, 1, 3).reshape(1000, 3, 32, 32)
                    )
        for path in jpegs:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB")).transpose(2, 0, 1)

    return Listing(
        keys=tuple((label,) for label in labels),
        names=(dict(enumerate(names)),),
        identity=identity,
        shared=True,
        pixels=lambda: cache.pixels(identity, (len(labels), 3, 32, 32), rows),
        extra={"exact": [1] * (len(labels) - len(jpegs)) + [0] * len(jpegs)},
    )


# --- One file per picture -----------------------------------------------------------------------------------


def omniglot(place: Place, split: str, protocol: str) -> Listing:
    """train is images_background, test is images_evaluation. Ink = 255, paper = 0. extra['drawer']: 1 ..
    20.
    """
    top, identity = place.folder, ""
    if place.packed:
        (file,) = place.manifest.packed
        top, identity = cache.unpacked(top / file.name, file.sha256), file.sha256
    top = top / ("images_background" if split == "train" else "images_evaluation")
    paths = [
        f"{alphabet}/{character}/{picture}"
        for alphabet in _folders(top)
        for character in _folders(top / alphabet)
        for picture in _pictures(top / alphabet / character)
    ]
    drawers = [re.fullmatch(r"\d+_(\d+)\.png", path.split("/")[-1]) for path in paths]
    for path, drawer in zip(paths, drawers):
        if drawer is None:
            raise ValueError(
                f"{top / path} is not named XXXX_YY.png as Omniglot's drawings are; remove or rename it"
            )
    keys = [(path.split("/")[0], path.rsplit("/", 1)[0]) for path in paths]
    return Listing(
        keys=tuple(keys),
        names=({alphabet: alphabet for alphabet, _ in keys}, {character: character for _, character in keys}),
        identity=identity,
        base=top,
        paths=tuple(paths),
        inverted=True,
        extra={"drawer": [int(drawer[1]) for drawer in drawers if drawer]},
    )


def cub(place: Place, split: str, protocol: str) -> Listing:
    """Classes 1 .. 100 are train, 101 .. 200 are test; 'classification': train_test_split.txt; 'fewshot': the
    classes that split/*.csv name, as in Sha-Lab/FEAT. Boxes cut to integers.
    """
    top = place.folder
    pictures = {row[0]: row[1] for row in _table(top / "images.txt", 2)}
    species = {_whole(top / "classes.txt", row[0]): row[1] for row in _table(top / "classes.txt", 2)}
    file = top / "image_class_labels.txt"
    label = {number: _whole(file, row[0]) for number, row in _by_number(file, 2, pictures).items()}
    if protocol == "classification":
        rows = _by_number(top / "train_test_split.txt", 2, pictures)
        in_train = {number: row[0] == "1" for number, row in rows.items()}
    else:
        in_train = {number: label[number] <= 100 for number in pictures}
    if protocol == "fewshot":
        number_of = {name: number for number, name in species.items()}
        parts = {part: {name for _, name in _split(top, part)} for part in ("train", "val", "test")}
        if unknown := sorted(parts[split] - number_of.keys()):
            raise ValueError(
                f"{top / 'split'}/{split}.csv names class {_short(unknown[0])}, which classes.txt has not"
            )
        _disjoint(top, parts)
        own = {number_of[name] for name in parts[split]}
        chosen = [number for number in pictures if label[number] in own]
    else:
        chosen = [number for number in pictures if in_train[number] == (split == "train")]
    boxes = None
    if (file := top / "bounding_boxes.txt").exists():
        box = _by_number(file, 5, pictures)
        boxes = np.array([[_whole(file, value) for value in box[number]] for number in chosen], np.int64)
        boxes = boxes.reshape(-1, 4)
    return Listing(
        keys=tuple((label[number],) for number in chosen),
        names=(species,),
        shared=protocol == "classification",
        base=top / "images",
        paths=tuple(pictures[number] for number in chosen),
        boxes=boxes,
    )


def cub_100(place: Place, split: str, protocol: str) -> Listing:
    """The columns of images.csv: retrieval_split, fewshot_split or cub_is_train."""
    (file,) = place.manifest.packed
    top = cache.unpacked(place.folder / file.name, file.sha256) / "CUB_100"
    table = top / "images.csv"
    columns = ("path", "order", "family", "cub_class_id", "class_name", "retrieval_split", "fewshot_split")
    rows = _records(table, (*columns, "cub_is_train"))
    column, value = {
        "retrieval": ("retrieval_split", split),
        "fewshot": ("fewshot_split", split),
        "classification": ("cub_is_train", "1" if split == "train" else "0"),
    }[protocol]
    chosen = [row for row in rows if row[column] == value]
    return Listing(
        keys=tuple((row["order"], row["family"], _whole(table, row["cub_class_id"])) for row in chosen),
        names=(
            {row["order"]: row["order"] for row in rows},
            {row["family"]: row["family"] for row in rows},
            {_whole(table, row["cub_class_id"]): row["class_name"] for row in rows},
        ),
        shared=protocol == "classification",
        identity=file.sha256,
        base=top,
        paths=tuple(row["path"] for row in chosen),
    )


def mini_imagenet(place: Place, split: str, protocol: str) -> Listing:
    """split/{train,val,test}.csv of Ravi and Larochelle: filename,label. ValueError: other classes."""
    rows = _split(place.folder, split)
    if not place.embedded:
        official = {part: set(text.split()) for part, text in MINI_IMAGENET_CLASSES.items()}
        found = {label for _, label in rows}
        wrong = found & (official["val"] | official["test"]) if split == "train" else found ^ official[split]
        if wrong:
            raise ValueError(
                f"{place.folder / 'split' / split}.csv is not the list of Ravi and Larochelle: class "
                f"{min(wrong):.80} is {'in it' if min(wrong) in found else 'missing'}; get their lists"
            )
    return Listing(
        keys=tuple((label,) for _, label in rows),
        names=({label: label for _, label in rows},),
        base=place.folder / "images",
        paths=tuple(name for name, _ in rows),
    )


def cars(place: Place, split: str, protocol: str) -> Listing:
    """Classes 1 .. 98 are train, 99 .. 196 are test. Boxes as MATLAB counts: from 1, both corners inside."""
    file = place.folder / "cars_annos.mat"
    found = matlab.read(file)
    try:
        rows = found["annotations"]
        corners = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
        numbers = np.array([_whole(file, *row["class"]) for row in rows], np.int64)
        x1, y1, x2, y2 = (np.array([_whole(file, *row[c]) for row in rows], np.int64) for c in corners)
        models = {i + 1: str(name) for i, name in enumerate(found["class_names"])}
        paths = [str(row["relative_im_path"]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not CARS196's list of boxes and classes: {_reason(error)}; get it again"
        ) from error
    chosen = (numbers <= 98) == (split == "train")
    return Listing(
        keys=tuple((number,) for number in numbers[chosen].tolist()),
        names=(models,),
        base=place.folder,
        paths=tuple(path for path, own in zip(paths, chosen) if own),
        boxes=np.stack([x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], 1)[chosen],
    )


def sop(place: Place, split: str, protocol: str) -> Listing:
    """Columns of Ebay_train.txt and Ebay_test.txt: image_id class_id super_class_id path; one header line."""
    file = place.folder / f"Ebay_{split}.txt"
    rows = _table(file, 4, header=1)
    keys = tuple((_whole(file, row[2]), _whole(file, row[1])) for row in rows)
    return Listing(
        keys=keys,
        names=(
            {category: row[3].split("/")[0].removesuffix("_final") for (category, _), row in zip(keys, rows)},
            {product: row[1] for (_, product), row in zip(keys, rows)},
        ),
        base=place.folder,
        paths=tuple(row[3] for row in rows),
    )


def inshop(place: Place, split: str, protocol: str) -> Listing:
    """Status train, query or gallery; query and gallery share the ids of all items that are in either."""
    lists, images = place.manifest.marks
    file = next(place.folder / name for name in lists if (place.folder / name).exists())
    base = next((place.folder / name).parent for name in images if (place.folder / name).exists())
    rows = _table(file, 3, header=2)
    return Listing(
        keys=tuple((row[1],) for row in rows if row[2] == split),
        names=({row[1]: row[1] for row in rows if (row[2] == "train") == (split == "train")},),
        shared=True,
        base=base,
        paths=tuple(row[0] for row in rows if row[2] == split),
    )


def person(place: Place, split: str, protocol: str) -> Listing:
    """Market-1501 and DukeMTMC-reID: a file is named after person, camera, sequence or frame, and detection.

    0002_c1s1_000451_03.jpg and 0001_c2_f0046182.jpg. extra['person'] is the number in the name, -1 for junk
    and 0 for distractors (both in the gallery of Market-1501 only), extra['camera'] counts from 1. Query and
    gallery share the ids of all persons that are in either.
    """
    folders = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    numbers: dict[str, list[tuple[int, int]]] = {}  # person and camera of each picture
    files: dict[str, list[str]] = {}
    for part in ("train",) if split == "train" else ("query", "gallery"):
        files[part] = _pictures(place.folder / folders[part])
        found = [re.match(r"(-1|\d{4})_c(\d)", name) for name in files[part]]
        for name, match in zip(files[part], found):
            if match is None:
                raise ValueError(
                    f"{place.folder / folders[part] / name} is not named as {place.manifest.title}'s "
                    "pictures are (0002_c1s1_000451_03.jpg); remove or rename it"
                )
        numbers[part] = [(int(match[1]), int(match[2])) for match in found if match]
    persons = sorted({person for part in numbers.values() for person, _ in part})
    return Listing(
        keys=tuple((person,) for person, _ in numbers[split]),
        names=({person: f"{person:04d}" if person >= 0 else "-1" for person in persons},),
        shared=True,
        base=place.folder / folders[split],
        paths=tuple(files[split]),
        extra={
            "person": [person for person, _ in numbers[split]],
            "camera": [camera for _, camera in numbers[split]],
        },
    )


def folder(path: Path, split: str) -> tuple[Listing, tuple[str, ...]]:
    """(listing, levels) of folder:PATH. Class folders are nested one to three deep, and the nesting is the
    hierarchy.

    PATH/class/*.jpg, PATH/group/class/*.jpg or PATH/group/subgroup/class/*.jpg. A class is a folder with
    pictures, known by its whole path. Splits: 'all'; 'train', the first half of the classes in the order of
    their names (one more when their number is odd); 'test', the others. When the folders in PATH are called
    train, test and perhaps val, and there are no others, these are the splits, and class folders begin below
    them. Hidden files and files of other kinds are passed over.

    Raises FileNotFoundError: no such folder. ValueError: no picture, a picture beside the class folders,
    unequal depth, more than three levels, fewer than four classes to divide, an unknown split.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"folder:{path}: there is no folder {path}; give a folder that holds one folder per class"
        )
    parts = _folders(path)
    divided = {"train", "test"} <= set(parts) <= {"train", "val", "test"}
    splits = [*parts, "all"] if divided else ["train", "test", "all"]
    if split not in splits:
        raise ValueError(f"split is {split!r}; folder:{path} has {', '.join(splits)}")

    tops = [path] if not divided else [path / part for part in parts] if split == "all" else [path / split]
    found: dict[str, list[str]] = {}  # class -> pictures, below path
    for top in tops:
        if loose := _pictures(top):
            raise ValueError(
                f"{top / loose[0]} lies beside the class folders; put it into the folder of its class"
            )
        for name, pictures in _leaves(top, ""):
            found.setdefault(name, []).extend(
                str((top / name / picture).relative_to(path)) for picture in pictures
            )
    if not found:
        raise ValueError(
            f"folder:{path} holds no picture ({' '.join(e[1:] for e in EXTENSIONS)}) in any class folder"
        )

    classes = sorted(found, key=lambda name: name.split("/"))
    depth = len(classes[0].split("/"))
    for name in classes:
        if len(name.split("/")) != depth:
            raise ValueError(
                f"folder:{path}: class folder {name} is nested {len(name.split('/'))} deep, {classes[0]} is "
                f"{depth} deep; nest "
                "all class folders equally"
            )
    if depth > 3:
        raise ValueError(
            f"folder:{path}: class folder {classes[0]} is nested {depth} deep; at most 3 levels can be read"
        )
    if not divided and split != "all":
        if len(classes) < 4:
            raise ValueError(
                f"folder:{path} has {len(classes)} classes; a train and a test half need at least 4"
            )
        half = (len(classes) + 1) // 2
        classes = classes[:half] if split == "train" else classes[half:]

    prefixes = {
        name: tuple("/".join(name.split("/")[: level + 1]) for level in range(depth)) for name in classes
    }
    listing = Listing(
        keys=tuple(prefixes[name] for name in classes for _ in found[name]),
        names=tuple({prefix[level]: prefix[level] for prefix in prefixes.values()} for level in range(depth)),
        base=path,
        paths=tuple(picture for name in classes for picture in found[name]),
    )
    return listing, (*("group", "subgroup")[: depth - 1], "class")


def deepfashion(place: Place, split: str, protocol: str) -> Listing:
    """In-shop with its tree, ids shared by all splits: category > product > variation.

    As filename_parse.py of salesforce/hierarchicalContrastiveLearning has it: the category is the folder, so
    MEN/Denim and WOMEN/Denim are one; 02_1_front.jpg is variation 02 of its product, whose folder is called
    after the item.
    """
    listing = inshop(place, split, protocol)
    lists = place.manifest.marks[0]
    file = next(place.folder / name for name in lists if (place.folder / name).exists())
    every = [_variation(row[0], file) for row in _table(file, 3, header=2)]
    return replace(
        listing,
        keys=tuple(_variation(path, file) for path in listing.paths),
        names=(
            {category: category for category, _, _ in every},
            {product: product[1] for _, product, _ in every},
            {variation: "/".join(variation[1:]) for _, _, variation in every},
        ),
    )


def _variation(path: str, file: Path) -> tuple[str, tuple[str, str], tuple[str, str, str]]:
    """Category, product and variation of img/MEN/Denim/id_00000080/01_1_front.jpg: 'Denim', and this with
    'id_00000080', and these with '01', so that equal numbers in other products are other variations.
    """
    parts = path.split("/")
    number = re.match(r"(\d+)_", parts[-1])
    if len(parts) < 4 or number is None:
        raise ValueError(
            f"{file}: {path[:200]} is not .../CATEGORY/PRODUCT/VV_V_view.jpg as In-shop's pictures are; "
            "get it again"
        )
    return parts[-3], (parts[-3], parts[-2]), (parts[-3], parts[-2], number[1])


def modelnet40(place: Place, split: str, protocol: str) -> Listing:
    """CATEGORY/{train,test}/NAME_VVV.png or .jpg: NAME is the model, VVV the view. Category ids are shared by
    train and test; the models of the two are different ones.
    """
    top, keys, paths, names = place.folder, [], [], {}
    for category in _folders(top):
        for part in ("train", "test"):
            for picture in _pictures(top / category / part) if (top / category / part).is_dir() else ():
                model = f"{category}/{picture.rpartition('_')[0]}"
                if not picture.rpartition("_")[0]:
                    raise ValueError(
                        f"{top / category / part / picture} is not named MODEL_VIEW as MVCNN's renders are; "
                        "remove or rename it"
                    )
                names[category, model] = model
                if part == split:
                    keys.append((category, (category, model)))
                    paths.append(f"{category}/{part}/{picture}")
    return Listing(
        keys=tuple(keys),
        names=({category: category for category, _ in names}, names),
        shared=True,
        base=top,
        paths=tuple(paths),
    )


def inaturalist(place: Place, split: str, protocol: str) -> Listing:
    """train2017.json or val2017.json name the pictures, GROUP/SPECIES/*.jpg; group is the super category.

    The pictures lie where torchvision.datasets.INaturalist puts them (2017), or as unpacked
    (train_val_images).
    """
    folders = place.manifest.marks[0]
    base = next(place.folder / name for name in folders if (place.folder / name).exists())
    parts = {}
    for part, file in (("train", "train2017.json"), ("test", "val2017.json")):
        try:
            images = json.loads(_text(place.folder / file))["images"]
            parts[part] = [tuple(image["file_name"].split("/")[-3:]) for image in images]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{place.folder / file} is not iNaturalist's list: {_reason(error)}; get it again"
            ) from error
        if wrong := [names for names in parts[part] if len(names) != 3]:
            raise ValueError(
                f"{place.folder / file}: {_short('/'.join(wrong[0]))} is not GROUP/SPECIES/picture; get it "
                "again"
            )
    every = {names[:2] for part in parts.values() for names in part}
    return Listing(
        keys=tuple((group, (group, species)) for group, species, _ in parts[split]),
        names=({group: group for group, _ in every}, {key: key[1] for key in every}),
        shared=True,
        base=base,
        paths=tuple("/".join(names) for names in parts[split]),
    )


def imagenet(place: Place, split: str, protocol: str) -> Listing:
    """train and val as torchvision.datasets.ImageFolder reads them; above the class, a super class from
    WordNet.

    The authors' code wants a list class > super class that was not released; see `superclasses` for ours.
    """
    from torchvision.datasets import ImageFolder

    file = place.folder / "wordnet.is_a.txt"
    classes = _folders(place.folder / "train")
    try:
        above = superclasses([(parent, child) for parent, child in _table(file, 2)], classes)
    except ValueError as error:
        raise ValueError(f"{place.folder}: {error}") from error
    part = place.folder / ("train" if split == "train" else "val")
    samples = ImageFolder(str(part)).samples
    found = [(Path(path).parent.name, Path(path).name) for path, _ in samples]
    if unknown := sorted({name for name, _ in found} - set(classes)):
        raise ValueError(f"{part / unknown[0]} is no class of {place.folder / 'train'}; remove it")
    return Listing(
        keys=tuple((above[name], (above[name], name)) for name, _ in found),
        names=({above[name]: above[name] for name in classes}, {(above[n], n): n for n in classes}),
        shared=True,
        base=part,
        paths=tuple(f"{name}/{picture}" for name, picture in found),
    )


def superclasses(is_a: Sequence[tuple[str, str]], classes: Sequence[str], least: int = 10) -> dict[str, str]:
    """Class -> its super class: the ancestor in WordNet that covers the fewest of `classes`, but at least
    `least`.

    is_a: (parent, child), a graph without cycles in which a child may have several parents. Of ancestors that
    cover equally many, the one farthest from the roots (longest path), then the smallest id. A class without
    any such ancestor is its own super class. Our rule: that of arXiv:2204.13207 was not found.
    """
    parents: dict[str, set[str]] = {}
    for parent, child in is_a:
        parents.setdefault(child, set()).add(parent)
    above: dict[str, frozenset[str]] = {}
    depth: dict[str, int] = {}

    def climb(node: str, path: tuple[str, ...]) -> None:
        if node in path:
            raise ValueError(f"wordnet.is_a.txt says that {_short(node)} is above itself; get it again")
        if node not in above:
            own = parents.get(node, set())
            for parent in own:
                climb(parent, (*path, node))
            above[node] = frozenset(own).union(*(above[parent] for parent in own))
            depth[node] = 1 + max((depth[parent] for parent in own), default=-1)

    covered: Counter[str] = Counter()
    for name in classes:
        try:
            climb(name, ())
        except RecursionError as error:
            raise ValueError(
                f"wordnet.is_a.txt puts {_short(name)} below a chain that is too long to follow; get it again"
            ) from error
        covered.update(above[name])
    return {
        name: min(
            (node for node in above[name] if covered[node] >= least),
            key=lambda node: (covered[node], -depth[node], node),
            default=name,
        )
        for name in classes
    }


READERS: dict[str, Callable[[Place, str, str], Listing]] = {
    "mnist": mnist,
    "omniglot": omniglot,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cub": cub,
    "cub_100": cub_100,
    "mini_imagenet": mini_imagenet,
    "cars": cars,
    "sop": sop,
    "inshop": inshop,
    "deepfashion": deepfashion,
    "modelnet40": modelnet40,
    "inaturalist": inaturalist,
    "imagenet": imagenet,
    "market1501": person,
    "dukemtmc": person,
}
"""By the manifest's name."""


# --- Files and folders --------------------------------------------------------------------------------------


def _text(file: Path) -> str:
    """A list as text. ValueError when it is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8 (byte {error.start}); get it again") from error


def _table(file: Path, columns: int, *, header: int = 0) -> list[list[str]]:
    """Rows of a list of words divided by blanks; the last column takes the rest of the line where names hold
    blanks.
    """
    rows = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        if number <= header or not line.strip():
            continue
        row = line.split(maxsplit=columns - 1)
        if len(row) != columns:
            raise ValueError(
                f"{file}, line {number}: {_short(line)} has {len(row)} columns, expected {columns}; get it "
                "again"
            )
        rows.append([*row[:-1], row[-1].strip()])
    return rows


def _by_number(file: Path, columns: int, pictures: Mapping[str, str]) -> dict[str, list[str]]:
    """The other columns of a list whose first is the number of a picture, of which each has a line."""
    rows = {row[0]: [*row[1:-1], *row[-1].split()] for row in _table(file, columns)}
    for number in pictures:
        if len(rows.get(number, ())) != columns - 1:
            raise ValueError(
                f"{file} has no line of {columns} columns for picture {_short(number)} of images.txt; get it "
                "again"
            )
    return rows


def _records(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that has these columns among others."""
    try:
        rows = list(csv.DictReader(io.StringIO(_text(file), newline="")))
    except csv.Error as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}; get it again") from error
    for number, row in enumerate(rows, 2):
        if missing := [name for name in columns if row.get(name) is None]:
            raise ValueError(f"{file}, row {number}: no column {missing[0]}; get it again")
    return rows


def _whole(file: Path, text: str | float) -> int:
    """A number of a list, cut to an integer."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise ValueError(f"{file}: {_short(text)} is no number below 1e9; get it again")
    return int(value)


def _leads_out(path: str) -> bool:
    """Whether a path of a list is absolute, climbs out of its folder, or cannot be the name of a file."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return True
    parts = path.split("/")
    return not path or not parts[0] or ".." in parts or "\0" in path or len(path) > 1000


def _short(value: object) -> str:
    """A value of a file for a message: quoted, on one line, and no longer than 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _reason(error: Exception) -> str:
    """What a library says is wrong with a file, on one short line."""
    return " ".join((str(error) or type(error).__name__).split())[:200]


class ListMissing(FileNotFoundError):
    """The pictures are there, but not the list that a protocol needs."""


def _split(top: Path, split: str) -> list[tuple[str, str]]:
    """(file name, class) per line of split/<split>.csv; one header line, further columns are passed over."""
    file = top / "split" / f"{split}.csv"
    if not file.exists():
        raise ListMissing(
            f"{file} is missing; protocol 'fewshot' needs the lists train.csv, val.csv and test.csv"
        )
    rows = []
    for number, line in enumerate(_text(file).splitlines()[1:], 2):
        name, comma, rest = line.partition(",")
        if not comma or not name.strip() or not rest.split(",")[0].strip():
            raise ValueError(f"{file}, line {number}: {_short(line)} is not filename,label; get it again")
        rows.append((name.strip(), rest.split(",")[0].strip()))
    return rows


def _disjoint(top: Path, parts: Mapping[str, set[str]]) -> None:
    """ValueError when two lists of a few-shot split share a class."""
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := sorted(parts[a] & parts[b]):
            raise ValueError(
                f"{top / 'split'}: class {_short(both[0])} is in {a}.csv and in {b}.csv; get the lists again"
            )


def _folders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
        )


def _pictures(path: Path) -> list[str]:
    """Names of the picture files in `path`, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and entry.is_file()
        )


def _leaves(top: Path, name: str) -> list[tuple[str, list[str]]]:
    """(path below top, pictures) of every folder that holds pictures; a folder without any is an error."""
    if name.count("/") > 7:  # a link to a folder above has no end
        raise ValueError(
            f"class folder {top / name} is nested more than 8 deep; at most 3 levels can be read, and no "
            "link may lead back"
        )
    below = [leaf for child in _folders(top / name) for leaf in _leaves(top, f"{name}/{child}".lstrip("/"))]
    own = _pictures(top / name)
    if own and below:
        raise ValueError(
            f"{top / name / own[0]} lies beside class folders such as {top / below[0][0]}; nest all "
            f"pictures equally deep"
        )
    if name and not own and not below:
        raise ValueError(f"class folder {top / name} holds no picture; fill or remove it")
    return [(name, own)] if own and name else below


def stamp(base: Path, names: Sequence[str]) -> str:
    """Changes when one of the files does: place, names, sizes and times. FileNotFoundError names the first
    missing one.
    """
    facts = []
    for name in names:
        try:
            status = (base / name).stat()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{base / name} is missing, though the lists of the data set name it"
            ) from error
        except OSError as error:
            raise OSError(
                f"{base}: the picture {_short(name)} that the lists name cannot be read: {error.strerror}; "
                "get them again"
            ) from error
        facts.append((name, status.st_size, status.st_mtime_ns))
    return cache.key(str(base.resolve()), facts)
