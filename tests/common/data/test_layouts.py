"""Each layout is read back by independent lines, or by torchvision, and compared with its drawings."""

import csv
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat

from common.data import embedded, layouts
from common.data.dataset import Dataset, decode

SIZES = {"families": 3, "kinds": 2, "instances": 4}


def drawn(split: str, size: int, channels: int = 3, **sizes: int) -> Dataset:
    return embedded.load(split, size=size, channels=channels, **{**SIZES, **sizes})


def assert_like(got: torch.Tensor, expected: torch.Tensor) -> None:
    """JPEG costs 1.5 to 2.5 grey levels on average; a box that is off by one pixel 4.7 to 17."""
    assert got.shape == expected.shape
    assert (got.double() - expected.double()).abs().mean() < 3.5


def table(path: Path) -> list[list[str]]:
    with path.open() as file:
        return list(csv.reader(file, delimiter=" "))


def test_cub(tmp_path):
    layouts.write("cub", tmp_path, size=40, **SIZES)
    root = tmp_path / "CUB_200_2011"
    classes = {int(number): name for number, name in table(root / "classes.txt")}
    assert sorted(classes) == [*range(1, 7), *range(101, 107)]
    assert all(name.startswith(f"{number:03d}.") for number, name in classes.items())
    names = ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    images, labels, official, boxes = ({r[0]: r[1:] for r in table(root / f"{n}.txt")} for n in names)
    assert list(images) == [str(i) for i in range(1, 49)]
    assert images.keys() == labels.keys() == official.keys() == boxes.keys()
    assert sorted(str(p.relative_to(root / "images")) for p in root.glob("images/*/*")) == sorted(
        file for (file,) in images.values()
    )
    rows = {"train": [i for i in images if int(labels[i][0]) <= 100]}
    rows["test"] = [i for i in images if i not in rows["train"]]
    for split, first in (("train", 1), ("test", 101)):
        data = drawn(split, 40)
        assert [int(labels[i][0]) - first for i in rows[split]] == data.label.tolist()
        for row, i in enumerate(rows[split]):
            (file,) = images[i]
            assert file.startswith(classes[int(labels[i][0])] + "/")
            x, y, w, h = (int(float(value)) for value in boxes[i])
            with Image.open(root / "images" / file) as image:
                assert image.width > 40
                assert image.height > 40
            assert_like(decode(root / "images" / file, 40, box=(x, y, w, h)), data.picture(row))
        # Both halves of the classification split hold every class.
        for half in ("0", "1"):
            assert {labels[i][0] for i in rows[split] if official[i] == [half]} == {
                labels[i][0] for i in rows[split]
            }
    corners = {tuple(box[:2]) for box in boxes.values()}
    assert len(corners) > 24  # off-centre, each in its own place


def test_cars(tmp_path):
    layouts.write("cars", tmp_path, size=40, **SIZES)
    mat = loadmat(tmp_path / "cars_annos.mat", squeeze_me=True)
    rows, names = mat["annotations"], mat["class_names"]
    assert rows.dtype.names == (
        "relative_im_path",
        "bbox_x1",
        "bbox_y1",
        "bbox_x2",
        "bbox_y2",
        "class",
        "test",
    )
    assert len(names) == 196
    at = 0
    for split, first in (("train", 1), ("test", 99)):
        data = drawn(split, 40)
        for row in range(len(data)):
            r = rows[at]
            assert int(r["class"]) == first + data.label[row]
            assert names[int(r["class"]) - 1] == data.names[-1][data.label[row]]
            x1, y1, x2, y2 = (int(r[f"bbox_{corner}"]) for corner in ("x1", "y1", "x2", "y2"))
            box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
            assert_like(decode(tmp_path / str(r["relative_im_path"]), 40, box=box), data.picture(row))
            at += 1
    assert at == len(rows) == len(list(tmp_path.glob("car_ims/*.jpg")))
    assert set(rows["test"].tolist()) == {0, 1}


def test_cars_has_the_shapes_of_the_official_file(tmp_path):
    """Unsqueezed, as scipy shows the published cars_annos.mat: (1, N) structs whose cells are arrays."""
    layouts.write("cars", tmp_path, size=32, **SIZES)
    mat = loadmat(tmp_path / "cars_annos.mat")
    assert mat["annotations"].shape == (1, 48)
    assert mat["class_names"].shape == (1, 196)
    assert mat["annotations"][0, 0]["relative_im_path"][0] == "car_ims/000001.jpg"
    assert mat["annotations"][0, 0]["class"].shape == (1, 1)
    assert mat["class_names"][0, 0][0] == "train00.0"


def test_sop(tmp_path):
    layouts.write("sop", tmp_path, size=32, **SIZES)
    seen, number = set(), 0
    for split, first in (("train", 0), ("test", 1)):
        data = drawn(split, 32)
        head, *rows = table(tmp_path / f"Ebay_{split}.txt")
        assert head == ["image_id", "class_id", "super_class_id", "path"]
        assert len(rows) == len(data)
        for i, (image_id, class_id, super_id, path) in enumerate(rows):
            number += 1
            family, kind = data.labels[i].tolist()
            assert (int(image_id), int(class_id), int(super_id)) == (
                number,
                6 * first + kind + 1,
                3 * first + family + 1,
            )
            assert path.split("/")[0] == f"{data.names[0][family]}_final"
            assert_like(decode(tmp_path / path, 32), data.picture(i))
            seen.add(path)
    assert seen == {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*_final/*.JPG")}


def test_inshop(tmp_path):
    layouts.write("inshop", tmp_path, size=32, **{**SIZES, "instances": 11})
    count, head, *lines = (tmp_path / "list_eval_partition.txt").read_text().splitlines()
    assert head.split() == ["image_name", "item_id", "evaluation_status"]
    rows = [line.split() for line in lines]
    assert int(count) == len(rows) == len(list(tmp_path.glob("img/WOMEN/*/id_*/*.jpg")))
    items = {}
    for split in ("train", "query", "gallery"):
        data = drawn(split, 32, instances=11)
        part = [r for r in rows if r[2] == split]
        assert len(part) == len(data)
        items[split] = {item for _, item, _ in part}
        assert len(items[split]) == 6
        for i, (path, item, _) in enumerate(part):
            assert path.split("/")[:2] == ["img", "WOMEN"]
            assert path.split("/")[3] == item == sorted(items[split])[data.label[i]]
            assert_like(decode(tmp_path / path, 32), data.picture(i))
    assert items["query"] == items["gallery"]
    assert not items["query"] & items["train"]


def test_omniglot(tmp_path):
    layouts.write("omniglot", tmp_path, **SIZES)
    numbers = []
    for split, part in (("train", "images_background"), ("test", "images_evaluation")):
        data = drawn(split, 105, channels=1)
        files = sorted((tmp_path / "omniglot-py" / part).glob("*/character[0-9][0-9]/[0-9]*_[0-9]*.png"))
        assert len(files) == len(data)
        for i, file in enumerate(
            files
        ):  # names of families, characters and files sort in the order of the tree
            with Image.open(file) as image:
                assert (image.mode, image.size) == ("1", (105, 105))
                paper = torch.from_numpy(np.array(image))
            assert torch.equal(~paper, data.picture(i)[0] >= 128)  # ink is black
            numbers.append(file.name[:4])
            assert int(file.stem[5:]) == i % 4 + 1
    assert numbers == [f"{c:04d}" for c in range(1, 13) for _ in range(4)]
    assert len({file.parent for file in tmp_path.rglob("*.png")}) == 12


def by_bytes(pixels: torch.Tensor | None, labels: torch.Tensor) -> list[tuple[bytes, int]]:
    assert pixels is not None
    return sorted((p.numpy().tobytes(), int(l)) for p, l in zip(pixels, labels))


def test_mnist_is_read_by_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    layouts.write("mnist", tmp_path)
    for split, train in (("train", True), ("seen", False)):
        data = drawn(split, 28, channels=1, families=5, kinds=2, instances=20)
        got = torchvision.datasets.MNIST(tmp_path, train=train)
        assert got.data.shape == (200, 28, 28)
        assert by_bytes(got.data, got.targets) == by_bytes(data.pixels, data.label)
        assert got.targets.unique().tolist() == list(range(10))
        assert got.targets[:10].unique().numel() > 2  # mixed


# numpy >= 2.4 warns about the way in which numpy 1 pickled a dtype; the published files do the same.
@pytest.mark.filterwarnings("ignore:.*align should be passed")
@pytest.mark.parametrize(("name", "sizes"), [("cifar10", (5, 2, 20)), ("cifar100", (20, 5, 10))])
def test_cifar_is_read_by_torchvision(tmp_path, name, sizes, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    reader = torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    layouts.write(name, tmp_path)
    families, kinds, instances = sizes
    for split, train in (("train", True), ("seen", False)):
        data = embedded.load(split, size=32, families=families, kinds=kinds, instances=instances)
        got = reader(tmp_path, train=train)
        assert tuple(got.classes) == data.names[-1]
        pixels = torch.from_numpy(got.data).permute(0, 3, 1, 2).contiguous()
        assert by_bytes(pixels, torch.tensor(got.targets)) == by_bytes(data.pixels, data.label)


@pytest.mark.filterwarnings("ignore:.*align should be passed")
def test_cifar_pickles_look_as_python_2_wrote_them(tmp_path):
    layouts.write("cifar100", tmp_path)
    for file in ("train", "test", "meta"):
        raw = (tmp_path / "cifar-100-python" / file).read_bytes()
        assert raw[:2] == b"\x80\x02"
        text, plain = pickle.loads(raw, encoding="latin1"), pickle.loads(raw, encoding="bytes")
        assert {k.encode() for k in text} == set(plain)
        assert b"_codecs" not in raw  # what Python 3 would write
        if file != "meta":
            assert text["data"].dtype == np.uint8
            assert (text["data"] == plain[b"data"]).all()
            assert (np.array(text["coarse_labels"]) == np.array(text["fine_labels"]) // 5).all()
            assert all(type(name) is bytes for name in plain[b"filenames"])
        else:
            assert (len(text["fine_label_names"]), len(text["coarse_label_names"])) == (100, 20)


def test_pickler_refuses_what_it_cannot_write():
    with pytest.raises(TypeError, match="float"):
        layouts._pickled({"a": 1.5})


def test_folder(tmp_path):
    layouts.write("folder", tmp_path, size=32, **SIZES)
    for split in ("train", "test"):
        data = drawn(split, 32)
        files = sorted((tmp_path / split).glob("*/*/*.png"))
        assert len(files) == len(data)
        for i, file in enumerate(files):
            assert (file.parent.parent.name, file.parent.name) == tuple(
                data.names[level][data.labels[i, level]] for level in (0, 1)
            )
            assert torch.equal(decode(file, 32), data.picture(i))


def test_cub_has_a_few_shot_split_of_its_classes(tmp_path):
    layouts.write("cub", tmp_path, size=32, **SIZES)
    top = tmp_path / "CUB_200_2011"
    known = {row[1] for row in table(top / "classes.txt")}
    parts = []
    for split in ("train", "val", "test"):
        head, *rows = (top / "split" / f"{split}.csv").read_text().splitlines()
        assert head.startswith("filename, label")
        for row in rows:
            assert (top / "images" / row.split(",")[1] / row.split(",")[0]).exists()
        parts.append({row.split(",")[1] for row in rows})
    assert set.union(*parts) == known
    assert sum(map(len, parts)) == len(known)
    assert all(int(name[:3]) <= 100 for name in parts[0])


def test_mini_imagenet(tmp_path):
    layouts.write("mini_imagenet", tmp_path, size=32, **SIZES)
    top, seen = tmp_path / "mini_imagenet", set()
    for split in ("train", "val", "test"):
        data = drawn(split, 32)
        head, *rows = (top / "split" / f"{split}.csv").read_text().splitlines()
        assert head == "filename,label"
        assert len(rows) == len(data)
        labels = [row.split(",")[1] for row in rows]
        assert [sorted(set(labels)).index(label) for label in labels] == data.label.tolist()
        assert not seen & set(labels)
        seen |= set(labels)
        for i in (0, len(rows) - 1):
            assert_like(decode(top / "images" / rows[i].split(",")[0], 32), data.picture(i))


@pytest.mark.parametrize(
    ("layout", "home"), [("market1501", "Market-1501-v15.09.15"), ("dukemtmc", "DukeMTMC-reID")]
)
def test_persons_before_cameras(tmp_path, layout, home):
    """6 persons a split, 8 pictures each, two in a row before one camera; 'nobody' besides in the gallery."""
    layouts.write(layout, tmp_path, size=24, **{**SIZES, "instances": 8})
    folders = {"bounding_box_train": 48, "query": 24, "bounding_box_test": 24 + 48}
    found: dict[str, list[tuple[int, int]]] = {}
    for folder, count in folders.items():
        files = sorted((tmp_path / home / folder).iterdir())
        assert len(files) == count
        named = [re.fullmatch(NAMES[layout], file.name) for file in files]
        assert all(named), files[named.index(None)] if None in named else ""
        found[folder] = [(int(m[1]), int(m[2])) for m in named if m]
        for file in files:
            with Image.open(file) as image:
                assert image.size == (24, 48), "upright"
    train, query, gallery = found.values()
    assert {person for person, _ in train} == set(range(1, 7))
    assert {person for person, _ in query} == set(range(7, 13))
    assert len(set(query)) == len(query), "one query per person and camera"
    nobody = [(person, camera) for person, camera in gallery if person not in range(7, 13)]
    assert len(nobody) == 48
    if layout == "market1501":
        assert {person for person, _ in nobody} == {0, -1}
    else:
        alone = {person: {c for p, c in nobody if p == person} for person, _ in nobody}
        assert len(alone) == 6
        assert all(len(cameras) == 1 for cameras in alone.values())
    for person, camera in query:
        assert (person, camera) in gallery, "a picture before the same camera, which no score may count"
        assert any(p == person and c != camera for p, c in gallery)


def test_a_person_is_drawn_between_two_grey_strips(tmp_path):
    layouts.write("market1501", tmp_path, size=32, **SIZES)
    data = drawn("train", 32)
    for i in (0, 5, len(data) - 1):
        (file,) = (tmp_path / "Market-1501-v15.09.15/bounding_box_train").glob(f"*s1_{i:06d}_*.jpg")
        assert int(file.name[:4]) == data.label[i] + 1
        with Image.open(file) as image:
            whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert_like(whole[:, 16:48], data.picture(i))
        assert whole[:, :12].float().std() < 2


NAMES = {"market1501": r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d\d\.jpg", "dukemtmc": r"(\d{4})_c([1-8])_f\d{7}\.jpg"}
HOME = {"cub": "CUB_200_2011", "omniglot": "omniglot-py", "mnist": "MNIST"}
HOME |= {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "mini_imagenet": "mini_imagenet"}
HOME |= {"market1501": "Market-1501-v15.09.15", "dukemtmc": "DukeMTMC-reID"}


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_says_that_it_is_generated(layout, tmp_path):
    sizes = {} if layout in ("mnist", "cifar10", "cifar100") else {**SIZES, "instances": 3}
    layouts.write(layout, tmp_path / "a" / "b", seed=5, **sizes)
    for place in {"", HOME.get(layout, "")}:
        note = (tmp_path / "a" / "b" / place / "EMBEDDED.txt").read_text().splitlines()
        assert note[0].startswith(f"Generated drawings in the folder layout of '{layout}'")
        facts = dict(line.split() for line in note[1:])
        assert (facts["layout"], facts["seed"]) == (layout, "5")
        assert all(facts[k] == str(v) for k, v in sizes.items())
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]  # no temporary folder stays


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("layout", ["cub", "sop", "cifar10"])
def test_the_same_parameters_write_the_same_bytes(layout, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        layouts.write(layout, tmp_path / name, instances=2, seed=seed)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert everything(tmp_path / "a") != everything(tmp_path / "c")


def test_refuses_a_folder_in_use(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not an empty folder; name another folder"):
        layouts.write("sop", tmp_path)
    assert everything(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        layouts.write("sop", tmp_path / "notes.txt")


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(layouts, "_save", fail)
    with pytest.raises(OSError, match="disk full"):
        layouts.write("cub", tmp_path / "new", **SIZES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layout", "wrong", "said"),
    [
        ("birds", {}, "layout is 'birds'; choose one of cub, cars"),
        ("cub", {"families": 51, "kinds": 2}, "51 x 2 = 102, but the layout of cub has room for 100"),
        ("cars", {"families": 50, "kinds": 2}, "room for 98"),
        ("mnist", {"families": 6}, "room for 10"),
        ("omniglot", {"size": 28}, "size is 28, but pictures of omniglot have 105 pixels"),
        ("inshop", {"instances": 1}, "instances is 1; inshop needs at least 2"),
        ("sop", {"kinds": 1}, "kinds is 1"),
        ("market1501", {"instances": 2}, "instances is 2; market1501 needs at least 3"),
    ],
)
def test_refuses_what_does_not_fit(layout, wrong, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        layouts.write(layout, tmp_path / "new", **wrong)
    assert not list(tmp_path.iterdir())


def test_command(tmp_path):
    arguments = ["--families", "2", "--kinds", "2", "--instances", "2", "--size", "24", "--seed", "1"]
    layouts.main(["sop", str(tmp_path / "sop"), *arguments])
    layouts.write("sop", tmp_path / "same", families=2, kinds=2, instances=2, size=24, seed=1)
    assert everything(tmp_path / "sop") == everything(tmp_path / "same")
    with pytest.raises(OSError, match="not an empty folder"):
        layouts.main(["sop", str(tmp_path / "sop")])


def test_command_ends_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "common.data.layouts", "mnist", str(tmp_path / "x"), "--size", "30"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: size is 30")
    assert "Traceback" not in done.stderr
