"""common.data.readers through common.data.load: hand-written layouts, the layout writer, and real data."""

import gzip
import hashlib
import os
import pickle
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from common.data import MANIFESTS, Dataset, load
from common.data.manifests import MINI_IMAGENET_CLASSES
from common.data.readers import _unpickle

REAL = os.environ.get("DATA_ROOT")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def counts(monkeypatch):
    """Give a set other published counts, those of a hand-written layout."""

    def change(name, **protocols):
        monkeypatch.setitem(MANIFESTS, name, replace(MANIFESTS[name], counts=protocols, contents={}))

    return change


def pixels(data: Dataset) -> Tensor:
    assert data.pixels is not None
    return data.pixels


def picture(path, colour=(10, 20, 30), size=(8, 6), box=None, inner=(200, 100, 50)):
    """A picture of one colour; `box` (x, y, w, h) of another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    if box:
        x, y, w, h = box
        image.paste(inner, (x, y, x + w, y + h))
    image.save(path)


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


# --- CUB -------------------------------------------------------------------------------------------------


@pytest.fixture
def cub(root, counts):
    """Three classes, two on the train side; boxes that reach over the border."""
    top = root / "CUB_200_2011"
    pictures = ["001.Alba/a1.png", "001.Alba/a2.png", "100.Cent/c1.png", "101.Over/o1.png", "101.Over/o2.png"]
    for i, name in enumerate(pictures):
        picture(top / "images" / name, (i, 0, 0), size=(12, 10), box=(2, 3, 5, 4))
    lines(top / "images.txt", *(f"{i + 1} {name}" for i, name in enumerate(pictures)))
    lines(top / "classes.txt", "1 001.Alba", "100 100.Cent", "101 101.Over")
    lines(top / "image_class_labels.txt", "1 1", "2 1", "3 100", "4 101", "5 101")
    lines(top / "train_test_split.txt", "1 1", "2 0", "3 1", "4 0", "5 1")
    lines(top / "bounding_boxes.txt", *(f"{i + 1} 2.0 3.9 5.0 4.9" for i in range(5)))
    counts(
        "cub",
        retrieval={"train": (3, 2), "test": (2, 1)},
        classification={"train": (3, 3), "test": (2, 2)},
    )
    return top


def test_cub_divides_the_classes_at_100(cub):
    train, test = load("cub", "train", size=4), load("cub", "test", size=4)
    assert train.label.tolist() == [0, 0, 1]
    assert train.names == (("001.Alba", "100.Cent"),)
    assert test.label.tolist() == [0, 0]
    assert test.names == (("101.Over",),)
    assert train.levels == ("species",)
    assert (train.name, train.split) == ("cub", "train")


def test_cub_classification_shares_the_ids(cub):
    train = load("cub", "train", size=4, protocol="classification")
    test = load("cub", "test", size=4, protocol="classification")
    assert train.label.tolist() == [0, 1, 2]
    assert test.label.tolist() == [0, 2]
    assert train.names == test.names == (("001.Alba", "100.Cent", "101.Over"),)


def test_cub_crop_cuts_to_the_truncated_box(cub):
    train = load(
        "cub", "train", size=1, crop=True
    )  # x 2, y 3, w 5, h 4 after truncation: exactly the inner colour
    assert pixels(train)[:, :, 0, 0].tolist() == [[200, 100, 50]] * 3
    whole = load("cub", "train", size=1)
    assert pixels(whole)[:, 0, 0, 0].max() < 100  # another cache entry


def test_cub_on_disk_gives_the_same_pixels(cub):
    for crop in (False, True):
        a = load("cub", "train", size=5, crop=crop)
        b = load("cub", "train", size=5, crop=crop, resident=False)
        assert b.pixels is None
        assert torch.equal(pixels(a), torch.stack([b.picture(i) for i in range(3)]))
        assert (b.boxes is not None) == crop


def test_a_split_too_large_for_memory_stays_on_disk(cub, monkeypatch):
    from common.data import catalogue

    monkeypatch.setattr(catalogue, "RESIDENT", 3 * 3 * 4 * 4)
    assert load("cub", "train", size=4).paths is None
    assert load("cub", "train", size=5).pixels is None
    assert load("cub", "train", size=5, resident=True).paths is None


def test_a_changed_picture_is_decoded_again(cub):
    before = pixels(load("cub", "test", size=2)).clone()
    picture(cub / "images/101.Over/o1.png", (90, 90, 90), size=(13, 10))
    after = pixels(load("cub", "test", size=2))
    assert after[0, 0, 0, 0] == 90
    assert torch.equal(before[1], after[1])


def test_grey_and_colour_are_cached_apart(cub):
    grey = load("cub", "train", size=2, channels=1)
    assert pixels(grey).shape == (3, 1, 2, 2)
    assert pixels(load("cub", "train", size=2)).shape == (3, 3, 2, 2)
    assert grey.channels == 1


def test_a_listed_picture_that_is_missing_is_named(cub):
    (cub / "images/001.Alba/a2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a2\.png is missing"):
        load("cub", "train", size=4, resident=False)


def test_a_picture_that_cannot_be_read_is_named(cub):
    (cub / "images/001.Alba/a2.png").write_bytes(b"\x89PNG but not really")
    with pytest.raises(ValueError, match=r"cannot read picture .*a2\.png"):
        load("cub", "train", size=4)


def test_wrong_counts_are_one_sentence(cub, counts):
    counts("cub", retrieval={"train": (5864, 100), "test": (5924, 100)})
    expected = r"cub/train .*CUB_200_2011: expected 5864 pictures of 100 classes, found 3 of 2"
    with pytest.raises(ValueError, match=expected):
        load("cub", "train", size=4)


def test_generated_drawings_never_pass_for_the_published_set(cub, counts):
    counts("cub", retrieval={"train": (5864, 100), "test": (5924, 100)})
    lines(cub / "EMBEDDED.txt", "generated")
    data = load("cub", "train", size=4)
    assert data.name == "cub-embedded"
    assert len(load("cub-embedded", "train", size=4)) == 3
    (cub / "EMBEDDED.txt").unlink()
    with pytest.raises(FileNotFoundError, match="not generated drawings"):
        load("cub-embedded", "train", size=4)


def test_crop_without_the_boxes_file(cub):
    (cub / "bounding_boxes.txt").unlink()
    assert len(load("cub", "train", size=4)) == 3
    with pytest.raises(ValueError, match="boxes is missing"):
        load("cub", "train", size=4, crop=True)


def test_a_damaged_list_names_the_line(cub):
    lines(cub / "images.txt", "1 001.Alba/a1.png", "2")
    with pytest.raises(ValueError, match=r"images\.txt, line 2: '2' has 1 columns, expected 2"):
        load("cub", "train", size=4)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"split": "val"}, ValueError, "split is 'val'; cub .retrieval. has train, test"),
        ({"protocol": "fewshot"}, ValueError, "protocol is 'fewshot'; cub has retrieval, classification"),
        ({"channels": 2}, ValueError, "channels is 2"),
        ({"size": 0}, ValueError, "size is 0"),
        ({"size": 32.0}, TypeError, "size is 32.0"),
        ({"name": "cab"}, ValueError, "there is no data set 'cab'; choose one of mnist"),
    ],
)
def test_bad_requests(cub, change, error, match):
    request = {"name": "cub", "split": "train", "size": 4, **change}
    with pytest.raises(error, match=match):
        load(request.pop("name"), request.pop("split"), **request)


# --- Cars, SOP, In-shop ----------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["cars", "."])
def test_cars(root, counts, top):
    box = (3, 2, 4, 5)  # x, y, w, h from 0; MATLAB counts from 1 and includes both corners
    rows = [("car_ims/000001.png", 98), ("car_ims/000002.png", 99), ("car_ims/000003.png", 1)]
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    annotations = np.empty((1, 3), dtype=[(name, object) for name in fields])
    for i, (name, label) in enumerate(rows):
        picture(root / top / name, size=(12, 10), box=box)
        annotations[0, i] = (name, 4, 3, 7, 7, label, 0)
    models = np.empty((1, 196), dtype=object)
    models[0] = [f"model {number}" for number in range(1, 197)]
    savemat(root / top / "cars_annos.mat", {"annotations": annotations, "class_names": models})
    counts("cars", retrieval={"train": (2, 2), "test": (1, 1)})
    train, test = load("cars", "train", size=3, crop=True), load("cars", "test", size=3)
    assert train.label.tolist() == [1, 0]
    assert train.names == (("model 1", "model 98"),)
    assert test.names == (("model 99",),)
    assert pixels(train).flatten(2).float().std(2).max() == 0  # the box, and nothing beside it
    assert pixels(train)[0, :, 0, 0].tolist() == [200, 100, 50]


def test_cars_that_are_no_list(root, counts):
    (root / "cars/car_ims").mkdir(parents=True)
    savemat(root / "cars/cars_annos.mat", {"something": np.zeros(3)})
    with pytest.raises(ValueError, match=r"cars_annos\.mat is not CARS196's list"):
        load("cars", "train", size=3)


def test_sop(root, counts):
    top = root / "Stanford_Online_Products"
    head = "image_id class_id super_class_id path"
    train = ["1 1 1 bicycle_final/1_0.png", "2 1 1 bicycle_final/1_1.png", "3 2 12 toaster_final/2_0.png"]
    for row in [*train, "4 3 12 toaster_final/3_0.png"]:
        picture(top / row.split()[-1])
    lines(top / "Ebay_train.txt", head, *train)
    lines(top / "Ebay_test.txt", head, "4 3 12 toaster_final/3_0.png")
    counts("sop", retrieval={"train": (3, 2), "test": (1, 1)})
    data = load("sop", "train", size=4)
    assert data.labels.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert data.levels == ("category", "product")
    assert data.names == (("bicycle", "toaster"), ("1", "2"))
    assert load("sop", "test", size=4).names == (("toaster",), ("3",))


@pytest.mark.parametrize(
    ("list_at", "images_at"),
    [("list_eval_partition.txt", "img"), ("Eval/list_eval_partition.txt", "Img/img")],
)
def test_inshop_query_and_gallery_share_the_ids(root, counts, list_at, images_at):
    top = root / "inshop"
    rows = [
        ("img/WOMEN/a.png", "id_00000001", "train"),
        ("img/WOMEN/b.png", "id_00000007", "query"),
        ("img/WOMEN/c.png", "id_00000002", "gallery"),
        ("img/WOMEN/d.png", "id_00000007", "gallery"),
        ("img/WOMEN/e.png", "id_00000002", "query"),
    ]
    for name, _, _ in rows:
        picture(top / images_at / name.removeprefix("img/"))
    head = (str(len(rows)), "image_name item_id evaluation_status")
    lines(top / list_at, *head, *(f"{name}  {item}  {status}" for name, item, status in rows))
    counts("inshop", retrieval={"train": (1, 1), "query": (2, 2), "gallery": (2, 2)})
    train, query, gallery = (load("inshop", split, size=4) for split in ("train", "query", "gallery"))
    assert query.names == gallery.names == (("id_00000002", "id_00000007"),)
    assert query.label.tolist() == [1, 0]
    assert gallery.label.tolist() == [0, 1]
    assert train.names == (("id_00000001",),)


# --- Persons ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "top", "form"),
    [
        ("market1501", "Market-1501-v15.09.15", "{person}_c{camera}s1_000451_03.jpg"),
        ("dukemtmc", "DukeMTMC-reID", "{person}_c{camera}_f0046182.jpg"),
    ],
)
def test_persons_and_cameras_stand_in_the_names(root, counts, name, top, form):
    def place(folder, *who):
        for person, camera in who:
            picture(root / top / folder / form.format(person=person, camera=camera))

    place("bounding_box_train", ("0002", 1), ("0002", 3), ("0007", 6))
    place("query", ("0003", 2), ("0010", 1))
    place("bounding_box_test", ("0003", 2), ("0003", 4), ("0010", 5), ("0000", 1), ("-1", 3), ("-1", 4))
    (root / top / "query/Thumbs.db").touch()  # as in the published archive
    counts(name, retrieval={"train": (3, 2), "query": (2, 2), "gallery": (6, 4)})
    train, query, gallery = (load(name, split, size=4) for split in ("train", "query", "gallery"))
    assert train.label.tolist() == [0, 0, 1]
    assert train.names == (("0002", "0007"),)
    assert train.extra["person"].tolist() == [2, 2, 7]
    assert train.extra["camera"].tolist() == [1, 3, 6]
    assert query.extra["person"].tolist() == [3, 10]
    assert query.names == gallery.names == (("-1", "0000", "0003", "0010"),)
    assert sorted(zip(gallery.extra["person"].tolist(), gallery.extra["camera"].tolist())) == [
        (-1, 3), (-1, 4), (0, 1), (3, 2), (3, 4), (10, 5)
    ]  # fmt: skip
    assert [query.names[0][i] for i in query.label.tolist()] == ["0003", "0010"]
    picture(root / top / "query" / "someone.jpg")
    with pytest.raises(ValueError, match=r"someone\.jpg is not named as .*'s pictures are"):
        load(name, "gallery", size=4)


def test_counts_of_the_published_person_sets_are_asserted(root):
    assert MANIFESTS["market1501"].counts["retrieval"] == {
        "train": (12_936, 751), "query": (3_368, 750), "gallery": (19_732, 752)
    }  # fmt: skip
    assert MANIFESTS["dukemtmc"].counts["retrieval"] == {
        "train": (16_522, 702), "query": (2_228, 702), "gallery": (17_661, 1_110)
    }  # fmt: skip
    assert "withdrew" in MANIFESTS["dukemtmc"].manual
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        picture(root / "market1501" / folder / "0002_c1s1_000451_03.jpg")
    with pytest.raises(ValueError, match="expected 12936 pictures of 751 classes, found 1 of 1"):
        load("market1501", "train", size=4)


# --- Omniglot, MNIST, CIFAR ------------------------------------------------------------------------------


def test_omniglot(root, counts):
    for part, alphabet, character, number in (
        ("images_background", "Greek", "character02", 9),
        ("images_background", "Balinese", "character01", 1),
        ("images_background", "Greek", "character01", 8),
        ("images_evaluation", "Atlantean", "character01", 965),
    ):
        for drawer in (1, 12):
            image = Image.new("1", (105, 105), 1)
            image.paste(0, (0, 0, 105, 35))  # ink in the upper third
            file = root / "omniglot-py" / part / alphabet / character / f"{number:04d}_{drawer:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    counts("omniglot", retrieval={"train": (6, 3), "test": (2, 1)})
    data = load("omniglot", "train", size=3)
    assert data.levels == ("alphabet", "character")
    assert data.labels.tolist() == [[0, 0]] * 2 + [[1, 1]] * 2 + [[1, 2]] * 2
    assert data.names[1] == ("Balinese/character01", "Greek/character01", "Greek/character02")
    assert data.extra["drawer"].tolist() == [1, 12] * 3
    assert data.channels == 1
    column = pixels(data)[0, 0, :, 1].tolist()
    assert column[0] > 200  # ink comes out bright
    assert column[2] == 0
    assert 0 < column[1] < 128  # grey before resizing, so the border is antialiased
    colour = load("omniglot", "train", size=3, channels=3)
    assert torch.equal(pixels(colour), pixels(data).expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match="always decoded into memory"):
        load("omniglot", "train", size=3, resident=False)
    (root / "omniglot-py/images_background/Greek/character01/copy of 3.png").touch()
    with pytest.raises(ValueError, match=r"copy of 3\.png is not named XXXX_YY\.png"):
        load("omniglot", "train", size=3)


def idx(array):
    return (
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return {
        f"{part}-{kind}": idx(rng.integers(0, high, shape, dtype=np.uint8))
        for part, n in (("train", 5), ("t10k", 3))
        for kind, high, shape in (("images-idx3-ubyte", 256, (n, 28, 28)), ("labels-idx1-ubyte", 10, (n,)))
    }


def test_mnist_in_torchvisions_layout(root, counts, digits, monkeypatch):
    (root / "MNIST/raw").mkdir(parents=True)
    for name, data in digits.items():
        (root / "MNIST/raw" / name).write_bytes(data)
    labels = list(digits["train-labels-idx1-ubyte"][8:])
    found = {"retrieval": {"train": (5, len(set(labels))), "test": (3, 3)}}
    counts("mnist", **found)
    data = load("mnist", "train", size=28)
    assert data.label.tolist() == labels
    assert data.names == (tuple("0123456789"),)
    assert pixels(data).numpy().tobytes() == digits["train-images-idx3-ubyte"][16:]
    assert pixels(load("mnist", "train", size=14, channels=3)).shape == (5, 3, 14, 14)
    wrong = replace(MANIFESTS["mnist"], contents={"raw/train-labels-idx1-ubyte": "0" * 32})
    monkeypatch.setitem(MANIFESTS, "mnist", wrong)
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte is not the published file"):
        load("mnist", "train", size=28)


def test_mnist_packed(root, counts, digits, monkeypatch):
    files = []
    (root / "mnist").mkdir()
    for file in MANIFESTS["mnist"].packed:
        data = gzip.compress(digits[file.name.removesuffix(".gz")])
        (root / "mnist" / file.name).write_bytes(data)
        files.append(replace(file, sha256=hashlib.sha256(data).hexdigest()))
    labels = list(digits["train-labels-idx1-ubyte"][8:])
    changed = {"train": (5, len(set(labels))), "test": (3, 3)}
    manifest = replace(MANIFESTS["mnist"], counts={"retrieval": changed})
    monkeypatch.setitem(MANIFESTS, "mnist", manifest)
    with pytest.raises(ValueError, match="expected 0b367032e93c5d0c"):
        load("mnist", "train", size=28)
    monkeypatch.setitem(MANIFESTS, "mnist", replace(manifest, packed=tuple(files)))
    data = load("mnist", "train", size=28)
    assert pixels(data).numpy().tobytes() == digits["train-images-idx3-ubyte"][16:]
    assert data.label.tolist() == labels


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (2, 3072), dtype=np.uint8) for _ in range(6)]


def write_cifar(folder, files, monkeypatch, kind):
    """Pickles, and torchvision told that their MD5 are the published ones."""
    import torchvision

    folder.mkdir()
    md5 = {}
    for name, value in files.items():
        data = pickle.dumps(value, protocol=2)
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()
    reader = getattr(torchvision.datasets, kind)
    monkeypatch.setattr(reader, "train_list", [[n, md5[n]] for n, _ in reader.train_list])
    monkeypatch.setattr(reader, "test_list", [[n, md5[n]] for n, _ in reader.test_list])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5[reader.meta["filename"]]})


def test_cifar10(root, counts, batches, monkeypatch):
    names = [*(f"data_batch_{b}" for b in range(1, 6)), "test_batch"]
    files = {n: {"data": d, "labels": [i, 9 - i]} for i, (n, d) in enumerate(zip(names, batches))}
    files["batches.meta"] = {"label_names": [f"kind {i}" for i in range(10)]}
    write_cifar(root / "cifar-10-batches-py", files, monkeypatch, "CIFAR10")
    counts("cifar10", classification={"train": (10, 10), "test": (2, 2)})
    train = load("cifar10", "train", size=32, protocol="classification")
    assert train.label.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert torch.equal(pixels(train), torch.from_numpy(np.concatenate(batches[:5])).view(10, 3, 32, 32))
    assert train.extra["exact"].tolist() == [1] * 10
    test = load("cifar10", "test", size=16, protocol="classification", channels=1)
    assert pixels(test).shape == (2, 1, 16, 16)
    assert test.label.tolist() == [5, 4]
    assert test.names == train.names
    with (root / "cifar-10-batches-py/data_batch_3").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="does not have its published MD5"):
        load("cifar10", "test", size=32, protocol="classification")


def test_cifar100(root, counts, batches, monkeypatch):
    def batch(d, fine, coarse):
        return {"data": d, "fine_labels": fine, "coarse_labels": coarse}

    files = {"train": batch(batches[0], [99, 0], [19, 1]), "test": batch(batches[1], [3, 3], [4, 4])}
    files["meta"] = {
        "fine_label_names": [f"fine {i}" for i in range(100)],
        "coarse_label_names": [f"coarse {i}" for i in range(20)],
    }
    write_cifar(root / "cifar-100-python", files, monkeypatch, "CIFAR100")
    counts("cifar100", retrieval={"train": (2, 2), "test": (2, 1)})
    data = load("cifar100", "train", size=32)
    assert data.levels == ("superclass", "class")
    assert data.labels.tolist() == [[19, 99], [1, 0]]
    assert data.names[0][19] == "coarse 19"
    assert torch.equal(pixels(data), torch.from_numpy(batches[0]).view(2, 3, 32, 32))
    assert load("cifar100", "test", size=32).labels.tolist() == [[4, 3], [4, 3]]


def test_a_hostile_pickle_calls_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": Hostile()}))
    with pytest.raises(ValueError, match=r"data_batch_1 is not a CIFAR batch: it asks for .*open"):
        _unpickle(tmp_path / "data_batch_1")
    assert not (tmp_path / "evil").exists()


# --- Own pictures ----------------------------------------------------------------------------------------


@pytest.fixture
def own(root, tmp_path):
    def make(*names):
        for i, name in enumerate(names):
            picture(tmp_path / "own" / name, (i, i, i))
        return f"folder:{tmp_path / 'own'}"

    return make


def test_folder_halves_the_classes(own):
    name = own("d/1.png", "a/2.png", "a/1.JPG", "c/1.webp", "b/1.bmp", "e/1.tif")
    train, test, every = (load(name, split, size=2) for split in ("train", "test", "all"))
    assert train.names == (("a", "b", "c"),)
    assert test.names == (("d", "e"),)
    assert every.names == (("a", "b", "c", "d", "e"),)
    assert train.label.tolist() == [0, 0, 1, 2]
    assert train.levels == ("class",)
    assert (train.name, train.channels) == (name, 3)
    assert pixels(train)[:, 0, 0, 0].tolist() == [2, 1, 4, 3]  # 1.JPG before 2.png


def test_folder_nesting_is_the_hierarchy(own):
    name = own("x/p/k/1.png", "x/p/l/1.png", "x/q/k/1.png", "y/p/k/1.png", "y/p/k/2.png")
    data = load(name, "all", size=2)
    assert data.levels == ("group", "subgroup", "class")
    assert data.names == (("x", "y"), ("x/p", "x/q", "y/p"), ("x/p/k", "x/p/l", "x/q/k", "y/p/k"))
    assert data.labels.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 2, 3]]
    train, test = load(name, "train", size=2), load(name, "test", size=2)
    assert train.names[-1] == ("x/p/k", "x/p/l")
    assert test.labels.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]  # relabelled at every level


def test_folder_with_its_own_splits(own):
    name = own("train/a/1.png", "train/b/1.png", "test/b/1.png", "test/c/1.png", "val/d/1.png")
    assert load(name, "train", size=2).names == (("a", "b"),)
    assert load(name, "test", size=2).names == (("b", "c"),)
    assert load(name, "val", size=2).names == (("d",),)
    every = load(name, "all", size=2)
    assert every.names == (("a", "b", "c", "d"),)
    assert every.label.tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a/1.png", "b/1.png", "loose.png"], r"loose\.png lies beside the class folders"),
        (["a/1.png", "b/x/1.png", "c/1.png", "d/1.png"], "b/x is nested 2 deep, a is 1 deep"),
        (["a/1.png", "a/x/1.png"], r"1\.png lies beside class folders"),
        (["a/b/c/d/1.png"], "nested 4 deep; at most 3"),
        (["a/1.png", "b/1.png", "c/1.png"], "has 3 classes; a train and a test half need at least 4"),
        (["train/loose.png", "train/a/1.png", "test/a/1.png"], r"loose\.png lies beside"),
    ],
)
def test_folders_that_cannot_be_read(own, names, match):
    with pytest.raises(ValueError, match=match):
        load(own(*names), "train", size=2)


def test_folder_that_is_missing_or_empty_or_has_an_empty_class(own, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load(f"folder:{tmp_path}/none", "train", size=2)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "README.txt").touch()
    with pytest.raises(ValueError, match="holds no picture"):
        load(f"folder:{tmp_path}/own", "train", size=2)
    (tmp_path / "own" / "void").mkdir()
    with pytest.raises(ValueError, match=r"void holds no picture; fill or remove it"):
        load(own("a/1.png"), "all", size=2)


def test_folder_names_the_picture_that_cannot_be_read(own, tmp_path):
    name = own("a/1.png", "b/1.png", "c/1.png", "d/1.png")
    (tmp_path / "own/b/1.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cannot read picture .*b/1\.png"):
        load(name, "train", size=2)


def test_folder_has_neither_boxes_nor_other_protocols_nor_splits(own):
    name = own("a/1.png", "b/1.png", "c/1.png", "d/1.png")
    with pytest.raises(ValueError, match="no boxes"):
        load(name, "train", size=2, crop=True)
    with pytest.raises(ValueError, match="has retrieval"):
        load(name, "train", size=2, protocol="fewshot")
    with pytest.raises(ValueError, match=r"split is 'val'.* has train, test, all"):
        load(name, "val", size=2)


# --- The embedded set, itself and in every published layout ----------------------------------------------


def test_the_embedded_set_takes_the_place_of_any_other(root):
    data = load("embedded", "train", size=16, crop=True)
    assert (data.name, data.size, data.channels) == ("embedded", 16, 3)
    assert load("embedded", "query", size=16, channels=1).channels == 1
    train = load("embedded", "train", size=16, protocol="classification")
    test = load("embedded", "test", size=16, protocol="classification")
    assert train.names == test.names


BY_HAND = {"cub_100", "deepfashion", "modelnet40", "inaturalist", "imagenet"}
"""Sets whose layouts are written by hand, here and in test_trees.py."""


@pytest.mark.parametrize("layout", [name for name in MANIFESTS if name not in BY_HAND])
def test_every_layout_of_the_writer_is_read(root, layout):
    layouts = pytest.importorskip("common.data.layouts")
    root.rmdir()
    layouts.write(layout, root)
    for protocol, splits in MANIFESTS[layout].counts.items():
        for split in splits:
            data = load(layout, split, size=16, protocol=protocol, crop=MANIFESTS[layout].boxes)
            assert data.name == f"{layout}-embedded"
            assert data.levels == MANIFESTS[layout].levels
            assert len(data.label.unique()) > 1
            assert float(pixels(data).float().std()) > 1


def test_the_writers_folder_layout_is_read(root):
    layouts = pytest.importorskip("common.data.layouts")
    layouts.write("folder", root / "own")
    data = load(f"folder:{root}/own", "train", size=16)
    assert data.name == f"folder:{root}/own-embedded"
    assert len(load(data.name, "test", size=16)) == len(data)
    assert data.levels == ("group", "class")


# --- Few-shot lists ---------------------------------------------------------------------------------------


@pytest.fixture
def birds(cub, counts):
    """The few-shot split of FEAT on the three hand-written classes: file names without their folder."""
    lines(
        cub / "split/train.csv",
        "filename, label, concept_label",
        "a1.png,001.Alba,1,2",
        "a2.png,001.Alba,1,2",
    )
    lines(cub / "split/val.csv", "filename, label, concept_label", "o1.png,101.Over,1", "o2.png,101.Over,1")
    lines(cub / "split/test.csv", "filename, label, concept_label", "c1.png,100.Cent,3")
    counts("cub", fewshot={"train": (2, 1), "val": (2, 1), "test": (1, 1)})
    return cub


def test_cub_few_shot_takes_the_classes_that_the_lists_name(birds):
    found = {split: load("cub", split, size=4, protocol="fewshot") for split in ("train", "val", "test")}
    assert {split: data.names for split, data in found.items()} == {
        "train": (("001.Alba",),), "val": (("101.Over",),), "test": (("100.Cent",),),
    }  # fmt: skip
    assert [len(data) for data in found.values()] == [2, 2, 1]
    paths = load("cub", "val", size=4, protocol="fewshot", resident=False).paths
    assert [path.name for path in paths or ()] == ["o1.png", "o2.png"]


def test_cub_few_shot_lists_that_are_missing_damaged_or_overlap(birds):
    lines(birds / "split/test.csv", "filename, label", "c1.png,100.Cent", "o1.png,101.Over")
    with pytest.raises(ValueError, match=r"'101.Over' is in val.csv and in test.csv"):
        load("cub", "train", size=4, protocol="fewshot")
    lines(birds / "split/test.csv", "filename, label", "c1.png;100.Cent")
    with pytest.raises(ValueError, match=r"test.csv, line 2: 'c1.png;100.Cent' is not filename,label"):
        load("cub", "train", size=4, protocol="fewshot")
    lines(birds / "split/test.csv", "filename, label", "c1.png,100.Centaur")
    with pytest.raises(ValueError, match=r"names class '100.Centaur', which classes.txt has not"):
        load("cub", "test", size=4, protocol="fewshot")
    (birds / "split/test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"test.csv is missing; protocol 'fewshot' needs the lists"):
        load("cub", "train", size=4, protocol="fewshot")


def test_mini_imagenet_reads_the_lists_and_knows_their_classes(root, counts):
    top = root / "mini_imagenet"
    classes = {"train": ["n01532829", "n01558993"]}
    classes |= {split: text.split() for split, text in MINI_IMAGENET_CLASSES.items()}
    assert [len(classes[split]) for split in ("val", "test")] == [16, 20]
    assert not set(classes["val"]) & set(classes["test"])
    for split, labels in classes.items():
        for label in labels:
            picture(top / "images" / f"{label}00000001.png", (7, 8, 9), size=(12, 9))
        lines(top / f"split/{split}.csv", "filename,label", *(f"{w}00000001.png,{w}" for w in labels))
    counts("mini_imagenet", fewshot={"train": (2, 2), "val": (16, 16), "test": (20, 20)})
    for split, labels in classes.items():
        data = load("mini_imagenet", split, size=4, protocol="fewshot")
        assert data.names == (tuple(sorted(labels)),)
        assert pixels(data).unique().tolist() == [7, 8, 9]
    swapped = (top / "split/val.csv").read_text()
    (top / "split/train.csv").write_text(swapped)
    with pytest.raises(
        ValueError, match=r"train\.csv is not the list of Ravi and Larochelle: class n01855672 is in it"
    ):
        load("mini_imagenet", "train", size=4, protocol="fewshot")
    (top / "split/test.csv").write_text(swapped)
    with pytest.raises(ValueError, match=r"test\.csv is not the list of Ravi and Larochelle"):
        load("mini_imagenet", "test", size=4, protocol="fewshot")


# --- Real data -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """One cache for all tests on real data: unpacking Omniglot takes seconds."""
    return tmp_path_factory.mktemp("real-cache")


@pytest.fixture
def real(kept, monkeypatch):
    if not REAL:
        pytest.skip("DATA_ROOT is not set: no real data")

    def get(name, split, **how):
        if not (Path(REAL or "") / name).is_dir():
            pytest.skip(f"{name} is not in DATA_ROOT")
        return load(name, split, root=REAL, **how)

    monkeypatch.setenv("DATA_CACHE", str(kept))
    return get


def test_real_mnist(real):
    train, test = real("mnist", "train", size=28), real("mnist", "test", size=28)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.label[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert float(pixels(train).double().mean() / 255) == pytest.approx(0.1306604762738429)


def test_real_cifar10(real):
    train = real("cifar10", "train", size=32)
    assert train.label[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert Counter(train.label.tolist()) == dict.fromkeys(range(10), 5000)
    mean = [float(pixels(train)[:, c].double().mean() / 255) for c in range(3)]
    std = [float(pixels(train)[:, c].double().div(255).std(correction=0)) for c in range(3)]
    assert mean == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
    assert std == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-8)
    assert train.names[0][6] == "frog"


def test_real_cifar10_first_batch_is_bit_exact(real):
    train = real("cifar10", "train", size=32)
    rows = torch.cat([train.label[:10_000, None].byte(), pixels(train)[:10_000].flatten(1)], 1)
    # data_batch_1.bin of the published binary version: label, then the planes R, G, B
    assert hashlib.sha1(rows.numpy().tobytes()).hexdigest() == "aadd24acce27caa71bf4b10992e9e7b2d74c2540"


def test_real_cifar10_test_says_which_pictures_are_exact(real):
    test = real("cifar10", "test", size=32)
    assert test.label[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert test.extra["exact"].tolist() == [1] * 1000 + [0] * 9000
    assert Counter(test.label.tolist()) == dict.fromkeys(range(10), 1000)


def test_real_omniglot(real):
    train, test = real("omniglot", "train", size=28), real("omniglot", "test", size=28)
    assert [len(names) for names in (*train.names, *test.names)] == [30, 964, 20, 659]
    assert (len(train), len(test)) == (19_280, 13_180)
    assert (train.label.bincount() == 20).all()
    assert train.extra["drawer"].view(-1, 20).tolist() == [list(range(1, 21))] * 964
    assert 0.03 < float(pixels(train).float().mean() / 255) < 0.15  # ink is bright and thin
    parent = {}  # the alphabet is a function of the character
    for alphabet, character in train.labels.tolist():
        assert parent.setdefault(character, alphabet) == alphabet


@pytest.mark.parametrize(
    ("protocol", "split", "pictures", "classes"),
    [
        ("retrieval", "train", 2949, 50),
        ("retrieval", "test", 2953, 50),
        ("fewshot", "train", 2736, 46),
        ("fewshot", "val", 1866, 32),
        ("fewshot", "test", 1300, 22),
        ("classification", "train", 2999, 100),
        ("classification", "test", 2903, 100),
    ],
)
def test_real_cub_100(real, protocol, split, pictures, classes):
    data = real("cub_100", split, size=64, protocol=protocol, resident=False)
    assert (len(data), data.classes, len(data.label.unique())) == (pictures, classes, classes)
    assert data.levels == ("order", "family", "species")
    for fine in (1, 2):
        pairs = {(row[fine], row[fine - 1]) for row in data.labels.tolist()}
        assert len(pairs) == len({child for child, _ in pairs})  # a tree
    assert data.picture(0).shape == (3, 64, 64)


def test_real_cub_100_halves_are_disjoint_and_cropped_already(real):
    train, test = (real("cub_100", split, size=8, resident=False) for split in ("train", "test"))
    assert not set(train.names[-1]) & set(test.names[-1])
    assert train.names[-1][0] == "Black_footed_Albatross"
    with pytest.raises(ValueError, match="already cut"):
        real("cub_100", "train", size=8, crop=True)
