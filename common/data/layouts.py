"""Write the embedded set in the official folder layout of a published data set.

    python -m common.data.layouts LAYOUT FOLDER [--families F] [--kinds K] [--instances I] [--size S]

So every reader, and every command with its protocol, can be run from files on disk to a result on any
machine, without the published pictures. FOLDER becomes what an unpacked download looks like; next to the data
lies EMBEDDED.txt, by which readers know that these are not the published pictures: they skip the published
counts and call the set `<name>-embedded`.

    layout    below FOLDER                                                       classes
    cub       CUB_200_2011/images/NNN.Name/*.jpg, five lists and split/*.csv     train from 1, test from 101
    cars      car_ims/*.jpg, cars_annos.mat                                      train from 1, test from 99
    sop       <family>_final/ID_k.JPG, Ebay_train.txt, Ebay_test.txt             train, then test
    inshop    img/WOMEN/<family>/id_NNNNNNNN/*.jpg, list_eval_partition.txt      train, then test
    omniglot  omniglot-py/images_{background,evaluation}/<family>/characterNN/   train; test
    mnist     MNIST/raw/*-ubyte                                                  the same in both
    cifar10   cifar-10-batches-py/                                               the same in both
    cifar100  cifar-100-python/                                                  the same in both
    mini_imagenet  mini_imagenet/images/*.jpg, mini_imagenet/split/*.csv         train; val; test
    market1501  Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg    train; test
    dukemtmc  DukeMTMC-reID/, likewise                                           train; test
    folder    {train,test}/<family>/<kind>/*.png                                 train; test

Sources of the layouts: the README files of the data sets; for MNIST http://yann.lecun.com/exdb/mnist, for
CIFAR https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from common import config, typos
from common.data import embedded
from common.data.dataset import Dataset

# families, kinds, instances, size when none are given; a size that the layout fixes stands in _SIZE as well.
_DEFAULT = {
    "cub": (4, 3, 8, 64),
    "cars": (4, 3, 8, 64),
    "sop": (4, 3, 6, 64),
    "inshop": (4, 3, 6, 64),
    "omniglot": (4, 3, 20, 105),
    "mnist": (5, 2, 20, 28),
    "cifar10": (5, 2, 20, 32),
    "cifar100": (20, 5, 10, 32),
    "mini_imagenet": (4, 3, 8, 64),
    "market1501": (4, 3, 8, 32),
    "dukemtmc": (4, 3, 8, 32),
    "folder": (4, 3, 8, 64),
}
LAYOUTS = tuple(_DEFAULT)
# The folder that the official archive unpacks to, where it has one.
_HOME = {
    "cub": "CUB_200_2011",
    "omniglot": "omniglot-py",
    "mnist": "MNIST",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mini_imagenet": "mini_imagenet",
    "market1501": "Market-1501-v15.09.15",
    "dukemtmc": "DukeMTMC-reID",
}
_SIZE = {"omniglot": 105, "mnist": 28, "cifar10": 32, "cifar100": 32}
# Classes per half (cub, cars: the split is a rule on class numbers) or in all.
_MOST = {"cub": 100, "cars": 98, "mnist": 10, "cifar10": 10, "cifar100": 100}


def write(
    layout: str,
    folder: Path | str,
    *,
    families: int | None = None,
    kinds: int | None = None,
    instances: int | None = None,
    size: int | None = None,
    seed: int = 0,
    ambiguity: float = 0.3,
) -> None:
    """Write `layout` (one of LAYOUTS) below `folder`: families x kinds classes per split.

    Values left out are small ones that fit the layout. size: side of the drawings in pixels; in cub and cars
    they lie off the centre of a larger picture, and the box says where. All or nothing: a write that fails
    leaves no folder behind. Raises FileExistsError when the folder holds something already, ValueError for
    values that the layout cannot hold.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(LAYOUTS)}")
    default = _DEFAULT[layout]
    families, kinds, instances, size = (
        standard if value is None else value
        for value, standard in zip((families, kinds, instances, size), default)
    )
    if size != _SIZE.get(layout, size):
        raise ValueError(
            f"size is {size}, but pictures of {layout} have {_SIZE[layout]} pixels; leave size out"
        )
    if families * kinds > _MOST.get(layout, families * kinds):
        raise ValueError(
            f"families x kinds is {families} x {kinds} = {families * kinds}, but the layout of {layout} "
            f"has room for {_MOST[layout]}; give fewer"
        )
    if layout == "inshop" and instances < 2:
        raise ValueError(
            f"instances is {instances}; inshop needs at least 2, one for the query and one for the gallery"
        )
    if layout in CAMERAS and instances < 3:
        raise ValueError(
            f"instances is {instances}; {layout} needs at least 3, so that a query has a match before "
            "another camera"
        )
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is not an empty folder; name another folder, or remove it first"
        )

    parameters = {
        "families": families,
        "kinds": kinds,
        "instances": instances,
        "size": size,
        "ambiguity": ambiguity,
        "seed": seed,
    }
    channels = 1 if layout in ("omniglot", "mnist") else 3
    second = "seen" if layout in ("mnist", "cifar10", "cifar100") else "test"
    train, test = (embedded.make(**parameters, channels=channels, split=split) for split in ("train", second))

    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new.chmod(0o755)  # mkdtemp makes it private
        home = new / _HOME.get(layout, ".")
        home.mkdir(exist_ok=True)
        match layout:
            case "cub":
                _cub(home, train, test, seed)
            case "cars":
                _cars(new, train, test, seed)
            case "sop":
                _sop(new, train, test)
            case "inshop":
                _inshop(new, train, test)
            case "omniglot":
                _omniglot(home, train, test)
            case "mnist":
                _mnist(home / "raw", train, test)
            case "cifar10":
                _cifar10(home, train, test)
            case "cifar100":
                _cifar100(home, train, test)
            case "mini_imagenet":
                val = embedded.make(**parameters, channels=channels, split="val")
                _mini_imagenet(home, train, val, test)
            case "market1501" | "dukemtmc":
                nobody = embedded.make(**parameters, channels=channels, split="val")
                _person(home, layout, train, test, nobody)
            case "folder":
                _folder(new, train, test)
        note = f"Generated drawings in the folder layout of '{layout}', not the published pictures.\n"
        note += "".join(f"{name} {value}\n" for name, value in {"layout": layout, **parameters}.items())
        for place in {new, home}:  # home too: one data root may hold several sets
            (place / "EMBEDDED.txt").write_text(note)
        os.replace(new, folder)  # replaces an empty folder too
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _picture(data: Dataset, i: int) -> Image.Image:
    array = data.picture(i).permute(1, 2, 0).numpy()
    return Image.fromarray(array if data.channels == 3 else array[..., 0])


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".jpg":
        image.save(path, quality=95, subsampling=0)  # colour at full resolution: strokes are thin
    else:
        image.save(path)


def _table(path: Path, rows: list[str]) -> None:
    path.write_text("".join(f"{row}\n" for row in rows))


def _within_class(data: Dataset, i: int) -> int:
    """Number of picture i among those of its class: rows are in the order of the tree."""
    return i % (len(data) // data.classes)


def _in_a_frame(
    data: Dataset, i: int, chance: np.random.Generator
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The drawing somewhere in a larger coloured picture with grey bars; its box x, y, width, height."""
    side = data.size
    width, height = (int(side * (1.3 + 0.5 * u)) for u in chance.random(2))
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = (255 * chance.random(3)).astype(np.uint8)
    for start, grey in zip(chance.integers(width, size=3), chance.integers(256, size=3)):
        frame[:, start : start + side // 8] = grey
    x, y = int(chance.integers(width - side + 1)), int(chance.integers(height - side + 1))
    image = Image.fromarray(frame)
    image.paste(_picture(data, i), (x, y))
    return image, (x, y, side, side)


def _cub(root: Path, train: Dataset, test: Dataset, seed: int) -> None:
    """Retrieval splits by class number, train <= 100; train_test_split.txt is that of classification.

    split/*.csv, the few-shot split: the train classes, and every other test class for val and for test.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    classes, images, labels, split, boxes = [], [], [], [], []
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for data, first in ((train, 1), (test, 101)):
        folders = [f"{first + c:03d}.{_title(name)}" for c, name in enumerate(data.names[-1])]
        classes += [f"{first + c} {name}" for c, name in enumerate(folders)]
        for i, c in enumerate(data.label.tolist()):
            number = len(images) + 1
            image, box = _in_a_frame(data, i, chance)
            file = f"{folders[c]}/{folders[c][4:]}_{_within_class(data, i) + 1:04d}_{number}.jpg"
            _save(image, root / "images" / file)
            images.append(f"{number} {file}")
            labels.append(f"{number} {first + c}")
            split.append(f"{number} {i % 2}")
            boxes.append(f"{number} " + " ".join(f"{value:.1f}" for value in box))
            part = "train" if data is train else ("val", "test")[c % 2]
            lists[part].append(f"{Path(file).name},{folders[c]},0,0")
    (root / "split").mkdir()
    for part, rows in lists.items():
        _table(root / "split" / f"{part}.csv", ["filename, label, concept_label", *rows])
    _table(root / "classes.txt", classes)
    _table(root / "images.txt", images)
    _table(root / "image_class_labels.txt", labels)
    _table(root / "train_test_split.txt", split)
    _table(root / "bounding_boxes.txt", boxes)


def _title(name: str) -> str:
    """'train03.2' -> 'Train03_2'."""
    return name.replace(".", "_").capitalize()


def _cars(root: Path, train: Dataset, test: Dataset, seed: int) -> None:
    """Retrieval splits by class number, train <= 98. Boxes as in MATLAB: from 1, last pixel included."""
    chance = np.random.Generator(np.random.PCG64(seed))
    # All 196 names are there, as in the official file; numbers between the two halves name no picture.
    names = [f"unused {number}" for number in range(1, 197)]
    rows = []
    for data, first in ((train, 1), (test, 99)):
        names[first - 1 : first - 1 + data.classes] = data.names[-1]
        for i, c in enumerate(data.label.tolist()):
            image, (x, y, w, h) = _in_a_frame(data, i, chance)
            file = f"car_ims/{len(rows) + 1:06d}.jpg"
            _save(image, root / file)
            rows.append((file, x + 1, y + 1, x + w, y + h, first + c, i % 2))
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    annotations = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        annotations[0, i] = row
    class_names = np.empty((1, len(names)), dtype=object)
    class_names[0] = names
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": class_names})


def _sop(root: Path, train: Dataset, test: Dataset) -> None:
    """A family is a super-class, a kind is a product. All three numbers count on from train to test."""
    image_id = class_id = super_id = 0
    for data, file in ((train, "Ebay_train.txt"), (test, "Ebay_test.txt")):
        rows = ["image_id class_id super_class_id path"]
        for i, (family, kind) in enumerate(data.labels.tolist()):
            image_id += 1
            item = 110000000000 + class_id + kind + 1
            path = f"{data.names[0][family]}_final/{item}_{_within_class(data, i)}.JPG"
            _save(_picture(data, i), root / path)
            rows.append(f"{image_id} {class_id + kind + 1} {super_id + family + 1} {path}")
        _table(root / file, rows)
        class_id, super_id = class_id + data.classes, super_id + len(data.names[0])


def _inshop(root: Path, train: Dataset, test: Dataset) -> None:
    """Of each test item every other picture is a query, the rest are the gallery."""
    rows = []
    views = ("1_front", "2_side", "3_back", "4_full", "7_additional")
    for data, first in ((train, 1), (test, 1 + train.classes)):
        for i, (family, kind) in enumerate(data.labels.tolist()):
            item, number = f"id_{first + kind:08d}", _within_class(data, i)
            name = f"{number // len(views) + 1:02d}_{views[number % len(views)]}.jpg"
            path = f"img/WOMEN/{_title(data.names[0][family])}/{item}/{name}"
            _save(_picture(data, i), root / path)
            status = "train" if data is train else ("query", "gallery")[number % 2]
            rows.append(f"{path} {item} {status}")
    _table(root / "list_eval_partition.txt", [str(len(rows)), "image_name item_id evaluation_status", *rows])


def _omniglot(root: Path, train: Dataset, test: Dataset) -> None:
    """One bit per pixel, black on white."""
    first = 1
    for data, part in ((train, "images_background"), (test, "images_evaluation")):
        kinds = data.classes // len(data.names[0])
        for i, (family, kind) in enumerate(data.labels.tolist()):
            path = root / part / _title(data.names[0][family]) / f"character{kind % kinds + 1:02d}"
            image = _picture(data, i).point([255] * 128 + [0] * 128).convert("1")
            _save(image, path / f"{first + kind:04d}_{_within_class(data, i) + 1:02d}.png")
        first += data.classes


def _mixed(data: Dataset, seed: int) -> np.ndarray:
    """A fixed random order: in the published files the classes are mixed."""
    return np.random.Generator(np.random.PCG64(seed)).permutation(len(data))


def _mnist(root: Path, train: Dataset, test: Dataset) -> None:
    root.mkdir()
    for data, part in ((train, "train"), (test, "t10k")):
        order = _mixed(data, 0)
        assert data.pixels is not None
        pixels, labels = data.pixels.numpy()[order, 0], data.label.numpy()[order].astype(np.uint8)
        head = struct.pack(">IIII", 0x803, *pixels.shape)
        (root / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (root / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, len(labels)) + labels.tobytes()
        )


def _rows(data: Dataset, order: np.ndarray, split: str) -> tuple[list[str], np.ndarray]:
    """File names, and (N, 3072) pixels: all of red, all of green, all of blue, each row by row."""
    assert data.pixels is not None
    names = [f"{data.names[-1][c]}_{split}_{i:06d}.png" for i, c in zip(order, data.label[order].tolist())]
    return names, data.pixels.numpy()[order].reshape(len(order), -1)


def _cifar10(root: Path, train: Dataset, test: Dataset) -> None:
    batches = [
        (f"data_batch_{b}", train, part) for b, part in enumerate(np.array_split(_mixed(train, 0), 5), 1)
    ]
    batches.append(("test_batch", test, _mixed(test, 0)))
    for file, data, order in batches:
        names, pixels = _rows(data, order, data.split)
        title = f"training batch {file[-1]} of 5" if data is train else "testing batch 1 of 1"
        batch = {
            "batch_label": title,
            "labels": data.label[order].tolist(),
            "data": pixels,
            "filenames": names,
        }
        (root / file).write_bytes(_pickled(batch))
    meta = {"num_cases_per_batch": len(train) // 5, "label_names": list(train.names[-1]), "num_vis": 3072}
    (root / "batches.meta").write_bytes(_pickled(meta))


def _cifar100(root: Path, train: Dataset, test: Dataset) -> None:
    """A family is a coarse label, a kind is a fine one."""
    for file, data in (("train", train), ("test", test)):
        order = _mixed(data, 0)
        names, pixels = _rows(data, order, data.split)
        coarse, fine = data.labels[order].T.tolist()
        title = "training batch 1 of 1" if data is train else "testing batch 1 of 1"
        batch = {
            "filenames": names,
            "batch_label": title,
            "fine_labels": fine,
            "coarse_labels": coarse,
            "data": pixels,
        }
        (root / file).write_bytes(_pickled(batch))
    meta = {"fine_label_names": list(train.names[1]), "coarse_label_names": list(train.names[0])}
    (root / "meta").write_bytes(_pickled(meta))


def _mini_imagenet(root: Path, train: Dataset, val: Dataset, test: Dataset) -> None:
    """A kind gets a made-up WordNet id; a file is called after it and its number in the class."""
    (root / "split").mkdir()
    first = 0
    for data in (train, val, test):
        rows = ["filename,label"]
        for i, c in enumerate(data.label.tolist()):
            label = f"n{90_000_000 + first + c:08d}"
            name = f"{label}{_within_class(data, i) + 1:08d}.jpg"
            _save(_picture(data, i), root / "images" / name)
            rows.append(f"{name},{label}")
        _table(root / "split" / f"{data.split}.csv", rows)
        first += data.classes


CAMERAS = {"market1501": 6, "dukemtmc": 8}


def _person(root: Path, layout: str, train: Dataset, test: Dataset, nobody: Dataset) -> None:
    """A kind is a person. Of each person's test pictures, the first before each camera is a query.

    Pictures are upright, twice as high as wide. Before every camera the strips above and below the drawing
    have another grey. Drawings of `nobody`, whose kinds are in neither split, are junk (-1) and distractors
    (0000) in market1501, persons who appear before one camera only in dukemtmc.
    """
    cameras = CAMERAS[layout]

    def save(data: Dataset, i: int, part: str, person: int, camera: int) -> None:
        frame = Image.new("RGB", (data.size, 2 * data.size), (24 + 24 * camera,) * 3)
        frame.paste(_picture(data, i), (0, data.size // 2))
        if layout == "market1501":
            name = f"{person:04d}" if person >= 0 else "-1"
            name += f"_c{camera}s1_{i:06d}_{_within_class(data, i):02d}.jpg"
        else:
            name = f"{person:04d}_c{camera}_f{i:07d}.jpg"
        _save(frame, root / part / name)

    for data, first in ((train, 1), (test, 1 + train.classes)):
        for i, c in enumerate(data.label.tolist()):
            # Two pictures of a person follow each other before one camera: some matches must be left out.
            number = _within_class(data, i)
            camera = number // 2 % cameras + 1
            query = number % 2 == 0 and number < 2 * cameras
            part = "bounding_box_train" if data is train else "query" if query else "bounding_box_test"
            save(data, i, part, first + c, camera)
    last = 1 + train.classes + test.classes
    for i, c in enumerate(nobody.label.tolist()):
        if layout == "market1501":
            save(nobody, i, "bounding_box_test", (0, -1)[i % 2], i % cameras + 1)
        else:
            save(nobody, i, "bounding_box_test", last + c, c % cameras + 1)


def _folder(root: Path, train: Dataset, test: Dataset) -> None:
    for data in (train, test):
        for i, (family, kind) in enumerate(data.labels.tolist()):
            path = root / data.split / data.names[0][family] / data.names[1][kind]
            _save(_picture(data, i), path / f"{_within_class(data, i):04d}.png")


def _pickled(value: object) -> bytes:
    """A pickle as Python 2 wrote it (protocol 2): dictionaries, lists, strings, integers, uint8 arrays.

    The published CIFAR files hold Python 2 strings, which a reader sees as str with encoding='latin1' and as
    bytes with encoding='bytes'. Python 3's own pickler cannot write such strings.
    """
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    match value:
        case bool() | None:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"J" + struct.pack("<i", value)
        case str() | bytes():
            text = value.encode("ascii") if isinstance(value, str) else value
            return b"T" + struct.pack("<i", len(text)) + text
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case dict():
            return b"}(" + b"".join(_opcodes(part) for pair in value.items() for part in pair) + b"u"
        case np.ndarray() if value.dtype == np.uint8:
            kind = b"cnumpy\ndtype\n" + _opcodes(("u1", 0, 1)) + b"R"
            kind += _opcodes((3, "|", None, None, None, -1, -1, 0)) + b"b"
            empty = (
                b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
                + _opcodes((0,))
                + _opcodes("b")
                + b"tR"
            )
            state = b"(" + _opcodes(1) + _opcodes(value.shape) + kind + _opcodes(False)
            return empty + state + _opcodes(value.tobytes()) + b"tb"
    raise TypeError(f"cannot pickle a {type(value).__name__} as Python 2 did")


def main(argv: list[str]) -> None:
    parser = typos.Parser(
        prog="python -m common.data.layouts",
        description="Write the embedded set in the official folder layout of a published data set.",
    )
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("folder", type=Path, help="new or empty folder")
    parser.add_argument("--families", type=int, help="per split")
    parser.add_argument("--kinds", type=int, help="per family")
    parser.add_argument("--instances", type=int, help="pictures per kind")
    parser.add_argument("--size", type=int, help="side of the drawings in pixels")
    parser.add_argument(
        "--ambiguity", type=float, default=0.3, help="share of ambiguous drawings (default 0.3)"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args(argv))
    config.require_free_folder("folder", given["folder"])
    write(given.pop("layout"), given.pop("folder"), **given)


if __name__ == "__main__":
    config.command(main)
