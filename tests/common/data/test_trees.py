"""Sets with a tree of labels, from hand-written layouts through common.data.load."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from common.data import MANIFESTS, load
from common.data.readers import superclasses


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
        monkeypatch.setitem(MANIFESTS, name, replace(MANIFESTS[name], counts=protocols))

    return change


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


def tree(data):
    """(names of a picture's levels, coarse to fine) for every picture."""
    return [tuple(names[i] for names, i in zip(data.names, row)) for row in data.labels.tolist()]


# --- DeepFashion In-shop ---------------------------------------------------------------------------------


@pytest.fixture
def inshop(root):
    rows = [
        ("MEN/Denim/id_00000001/01_1_front.png", "train"),
        ("MEN/Denim/id_00000001/01_2_side.png", "train"),
        ("MEN/Denim/id_00000001/02_1_front.png", "train"),
        ("WOMEN/Denim/id_00000002/01_1_front.png", "query"),
        ("WOMEN/Denim/id_00000002/01_7_additional.png", "gallery"),
        ("WOMEN/Skirts/id_00000003/01_1_front.png", "gallery"),
        ("WOMEN/Skirts/id_00000003/01_4_full.png", "query"),
    ]
    for i, (name, _) in enumerate(rows):
        picture(root / "inshop/img" / name, i)
    text = [str(len(rows)), "image_name item_id evaluation_status"]
    text += [f"img/{name} {name.split('/')[2]} {status}" for name, status in rows]
    (root / "inshop/list_eval_partition.txt").write_text("\n".join(text))
    return root / "inshop"


def test_deepfashion_is_inshop_with_category_product_and_variation(inshop, counts):
    for name in ("inshop", "deepfashion"):
        counts(name, retrieval={"train": (3, None), "query": (2, None), "gallery": (2, None)})
    train, query, gallery = (load("deepfashion", split, size=4) for split in ("train", "query", "gallery"))
    assert train.levels == ("category", "product", "variation")
    one = "id_00000001"
    assert tree(train) == [("Denim", one, f"{one}/01")] * 2 + [("Denim", one, f"{one}/02")]
    two, three = "id_00000002", "id_00000003"
    assert tree(query) == [("Denim", two, f"{two}/01"), ("Skirts", three, f"{three}/01")]
    assert tree(gallery) == tree(query)
    assert train.names == query.names == gallery.names  # the same ids everywhere
    assert query.labels[0, 0] == train.labels[0, 0]  # MEN/Denim and WOMEN/Denim are one category
    # variation 01 of one product is not variation 01 of another
    assert query.labels[0, 2] != train.labels[0, 2]
    assert load("inshop", "train", size=4).levels == ("item",)  # as it was


def test_an_unknown_number_of_classes_is_not_checked_but_that_of_pictures_is(inshop, counts):
    counts("deepfashion", retrieval={"train": (4, None), "query": (2, None), "gallery": (2, None)})
    with pytest.raises(ValueError, match="expected 4 pictures, found 3 of 2"):
        load("deepfashion", "train", size=4)


def test_deepfashion_says_which_picture_is_named_otherwise(inshop, counts):
    counts("deepfashion", retrieval={"train": (1, None)})
    picture(inshop / "img/MEN/Denim/id_00000009/front.png")
    (inshop / "list_eval_partition.txt").write_text(
        "1\nimage_name item_id status\nimg/MEN/Denim/id_00000009/front.png id_00000009 train\n"
    )
    with pytest.raises(ValueError, match=r"id_00000009/front\.png is not .*VV_V_view"):
        load("deepfashion", "train", size=4)


# --- ModelNet40 ------------------------------------------------------------------------------------------


def test_modelnet40(root, counts):
    top = root / "modelnet40v1"
    for category in ("airplane", "xbox"):
        for part, models in (("train", ("0001", "0002")), ("test", ("0101",))):
            for model in models:
                for view in ("001", "002"):
                    picture(top / category / part / f"{category}_{model}_{view}.jpg")
    counts("modelnet40", classification={"train": (8, 4), "test": (4, 2)})
    train, test = (load("modelnet40", part, size=4, protocol="classification") for part in ("train", "test"))
    assert train.levels == ("category", "model")
    assert tree(train)[:3] == [("airplane", "airplane/airplane_0001")] * 2 + [
        ("airplane", "airplane/airplane_0002")
    ]
    assert tree(test) == [(c, f"{c}/{c}_0101") for c in ("airplane", "xbox") for _ in range(2)]
    assert train.names == test.names
    assert not set(train.label.tolist()) & set(test.label.tolist())
    picture(top / "xbox/test/lonely.jpg")
    with pytest.raises(ValueError, match=r"lonely\.jpg is not named MODEL_VIEW"):
        load("modelnet40", "train", size=4, protocol="classification")


# --- iNaturalist -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["2017", "train_val_images"])
def test_inaturalist(root, counts, where):
    top, lists = root / "inaturalist", {"train2017": [], "val2017": []}
    for part, name in (
        ("train2017", "Aves/Ardea alba/a.jpg"),
        ("train2017", "Plantae/Acer rubrum/b.jpg"),
        ("val2017", "Aves/Ardea alba/c.jpg"),
        ("val2017", "Aves/Bubo bubo/d.jpg"),
    ):
        picture(top / where / name)
        lists[part].append({"file_name": f"train_val_images/{name}"})
    for part, images in lists.items():
        (top / f"{part}.json").write_text(json.dumps({"images": images}))
    counts("inaturalist", classification={"train": (2, 2), "test": (2, 2)})
    train, test = (load("inaturalist", part, size=4, protocol="classification") for part in ("train", "test"))
    assert train.levels == ("group", "species")
    assert tree(train) == [("Aves", "Ardea alba"), ("Plantae", "Acer rubrum")]
    assert tree(test) == [("Aves", "Ardea alba"), ("Aves", "Bubo bubo")]
    assert train.names == test.names
    (top / "val2017.json").write_text("[]")
    with pytest.raises(ValueError, match=r"val2017\.json is not iNaturalist's list"):
        load("inaturalist", "test", size=4, protocol="classification")


def test_inaturalist_lies_where_torchvision_puts_it(root):
    from torchvision.datasets.inaturalist import DATASET_MD5, DATASET_URLS, INaturalist

    file = MANIFESTS["inaturalist"].files[0]
    assert (file.urls[0], file.md5) == (DATASET_URLS["2017"], DATASET_MD5["2017"])
    picture(root / "inaturalist/2017/Aves/Ardea alba/a.jpg")
    found = INaturalist(root / "inaturalist", version="2017", target_type=["super", "full"])
    assert len(found) == 1
    assert found.category_name("super", 0) == "Aves"


# --- ImageNet --------------------------------------------------------------------------------------------

WORDNET = [
    ("n0", "n1"), ("n0", "n2"), ("n1", "n11"), ("n1", "n12"), ("n11", "a"), ("n11", "b"), ("n12", "c"),
    ("n2", "d"), ("n2", "c"), ("n0", "e"), ("n2", "n3"), ("n3", "f"),
]  # fmt: skip


def test_superclasses_are_the_smallest_groups_that_are_large_enough():
    classes = ["a", "b", "c", "d", "e", "f"]
    # n11 covers a b, n1 covers a b c, n2 covers c d f, n0 all
    assert superclasses(WORDNET, classes, least=2) == {
        "a": "n11", "b": "n11", "c": "n1", "d": "n2", "e": "n0", "f": "n2",
    }  # fmt: skip
    # n1 and n2 cover three each and are equally deep: the smaller id
    assert superclasses(WORDNET, classes, least=3)["c"] == "n1"
    assert set(superclasses(WORDNET, classes, least=4).values()) == {"n0"}
    assert superclasses(WORDNET, classes, least=7) == {name: name for name in classes}
    # a chain covers equally many all the way: its lowest node
    assert superclasses([("r", "s"), ("s", "t"), ("t", "a"), ("t", "b")], ["a", "b"], least=2)["a"] == "t"


def test_a_wordnet_with_a_cycle_is_refused():
    with pytest.raises(ValueError, match="is above itself"):
        superclasses([("a", "b"), ("b", "a")], ["a"])


def test_imagenet(root, counts, monkeypatch):
    from common.data import readers

    monkeypatch.setattr(readers.superclasses, "__defaults__", (2,))
    for part in ("train", "val"):
        for i, name in enumerate("abcdef"):
            picture(root / "imagenet" / part / name / f"{name}_1.JPEG", i)
    (root / "imagenet/wordnet.is_a.txt").write_text("".join(f"{p} {c}\n" for p, c in WORDNET))
    counts("imagenet", classification={"train": (6, 6), "test": (6, 6)})
    train, test = (load("imagenet", part, size=4, protocol="classification") for part in ("train", "test"))
    assert train.levels == ("superclass", "class")
    above = superclasses(WORDNET, list("abcdef"), 2)
    assert tree(train) == tree(test) == [(above[name], name) for name in "abcdef"]
    assert train.names == test.names
    assert train.pixels is not None
    # colours tell the classes apart: names and pictures belong together
    assert torch.equal(train.pixels[:, 0, 0, 0], torch.arange(6, dtype=torch.uint8))
    picture(root / "imagenet/val/zebra/z.JPEG")
    with pytest.raises(ValueError, match="zebra is no class of"):
        load("imagenet", "test", size=4, protocol="classification")
