"""splits.py: who is seen, who is not, and that nobody is both."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.data.dataset import Dataset
from hierarchical_multilabel import splits
from hierarchical_multilabel.splits import PARTS, check_tree, drawn, joined, load, read, training_set


def dataset(name, split, levels, paths, *, known=None, extra=None):
    """Pictures of one pixel that tells them apart; paths: names of their levels, coarse to fine."""
    full = [tuple("/".join(path[: l + 1]) for l in range(len(path))) for path in paths]
    known = full if known is None else [tuple("/".join(p[: l + 1]) for l in range(len(p))) for p in known]
    names = [sorted({path[l] for path in known}) for l in range(len(levels))]
    labels = [[names[l].index(path[l]) for l in range(len(levels))] for path in full]
    number = torch.arange(len(paths))
    mark = torch.full_like(number, sum(map(ord, split)) % 200)
    pixels = torch.stack([number % 200, number // 200, mark], 1)[:, :, None, None]
    return Dataset(
        name=name,
        split=split,
        labels=torch.tensor(labels),
        levels=levels,
        names=tuple(map(tuple, names)),
        size=1,
        pixels=pixels.to(torch.uint8),
        extra=extra or {},
    )


def fashion(split, products):
    paths = [
        (category, f"id{p}", f"{v:02}")
        for category in read("deepfashion")["categories"][::2]
        for p in products
        for v in range(2)
    ]
    known = [
        (category, f"id{p}", f"{v:02}")
        for category in read("deepfashion")["categories"]
        for p in range(9)
        for v in range(2)
    ]
    return dataset("deepfashion", split, ("category", "product", "variation"), paths, known=known)


def models(split, numbers):
    paths = [(c, f"{n}") for c in read("modelnet40")["categories"] for n in numbers for _ in range(3)]
    known = [(c, f"{n}") for c in read("modelnet40")["categories"] for n in range(9)]
    return dataset("modelnet40", split, ("category", "model"), paths, known=known)


def drawings(split, alphabets):
    paths = [(a, f"{c}") for a in alphabets for c in range(3) for _ in range(20)]
    drawer = torch.arange(1, 21).repeat(len(paths) // 20)
    return dataset("omniglot", split, ("alphabet", "character"), paths, extra={"drawer": drawer})


def birds(split, species):
    paths = [(f"order{s % 4}", f"family{s % 4}", f"{s}") for s in species for _ in range(7)]
    return dataset("cub_100", split, ("order", "family", "species"), paths)


WORLD = {
    "deepfashion": {"train": fashion("train", (0, 1)), "query": fashion("query", (2, 3)),
                    "gallery": fashion("gallery", (2, 3))},
    "modelnet40": {"train": models("train", (0, 1)), "test": models("test", (2,))},
    "omniglot": {"train": drawings("train", "abcdefgh"), "test": drawings("test", "xyz")},
    "cub_100": {"train": birds("train", range(12)), "test": birds("test", range(12, 20))},
}  # fmt: skip


@pytest.fixture
def world(monkeypatch):
    asked = []

    def find(name, split, *, size, protocol):
        asked.append((name, split))
        expected = "classification" if name == "modelnet40" else "retrieval"
        assert protocol == expected
        return WORLD[name][split]

    monkeypatch.setattr(splits.data, "load", find)
    return asked


def pictures(*parts):
    return {tuple(row) for part in parts if part is not None for row in part.pixels[:, :, 0, 0].tolist()}


def names(part, level):
    return {part.names[level][i] for i in part.labels[:, level].tolist()}


CASES = [
    (name, {"hold_out": hold, "val_share": share})
    for name in WORLD
    for hold in (False, True)
    for share in (0.0, 0.25)
    if not (hold and name in ("omniglot", "cub_100"))
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_seen_categories_are_those_of_train_and_unseen_ones_are_not(world, name, options):
    parts = load(name, size=1, **options)
    level = -1 if name == "cub_100" and not options["val_share"] else 0  # unseen species of seen orders
    if parts.unseen is not None:
        assert not names(parts.unseen, level) & names(parts.train, level)
    if parts.seen is not None:
        assert names(parts.seen, 0) <= names(parts.train, 0)
        assert not pictures(parts.seen) & pictures(parts.train)
        assert parts.seen.names == parts.train.names, "the probe compares ids"
    if parts.unseen is not None:
        assert not pictures(parts.unseen) & pictures(parts.train, parts.seen)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_training_reads_the_same_pictures_and_no_others(world, name, options):
    parts = load(name, size=1, **options)
    world.clear()
    alone = training_set(name, size=1, **options)
    assert set(world) == {(name, "train")}
    assert torch.equal(alone.labels, parts.train.labels)
    assert alone.pixels is not None
    assert parts.train.pixels is not None
    assert torch.equal(alone.pixels, parts.train.pixels)


@pytest.mark.parametrize("name", ["deepfashion", "modelnet40"])
def test_held_out_categories_are_those_of_the_list_and_nothing_is_lost(world, name):
    plain, held = load(name, size=1), load(name, size=1, hold_out=True)
    assert plain.unseen is None
    listed = set(read(name)["unseen"]["category"])
    assert held.unseen is not None
    assert names(held.unseen, 0) <= listed
    for part in PARTS[:2]:
        assert not names(getattr(held, part), 0) & listed
    everything = [getattr(plain, part) for part in PARTS]
    assert pictures(*everything) == pictures(*(getattr(held, part) for part in PARTS))
    assert (held.gallery is None) == (name == "modelnet40")


def test_deepfashion_queries_search_the_gallery(world):
    parts = load("deepfashion", size=1)
    assert parts.seen is WORLD["deepfashion"]["query"]
    assert parts.gallery is WORLD["deepfashion"]["gallery"]


def test_omniglot_is_divided_by_drawers_and_alphabets(world):
    parts = load("omniglot", size=1)
    assert parts.seen is not None
    drawers = read("omniglot")["seen_drawers"]
    assert set(parts.seen.extra["drawer"].tolist()) == set(drawers)
    assert not set(parts.train.extra["drawer"].tolist()) & set(drawers)
    assert names(parts.seen, 1) == names(parts.train, 1)
    assert parts.unseen is WORLD["omniglot"]["test"]


def test_a_fifth_of_each_class_is_kept_for_seen(world):
    parts = load("cub_100", size=1)
    assert parts.seen is not None
    assert torch.bincount(parts.seen.label).tolist() == [1] * 12
    assert torch.bincount(parts.train.label).tolist() == [6] * 12


@pytest.mark.parametrize("name", ["omniglot", "cub_100"])
def test_with_nothing_set_aside_every_picture_trains(world, name):
    parts = load(name, size=1, set_aside=False)
    assert parts.train is WORLD[name]["train"]
    assert parts.seen is None
    assert parts.unseen is WORLD[name]["test"]
    world.clear()
    assert training_set(name, size=1, set_aside=False) is WORLD[name]["train"]
    assert world == [(name, "train")]


@pytest.mark.parametrize("name", WORLD)
def test_choosing_hyper_parameters_touches_no_test_picture(world, name):
    test = [part for split, part in WORLD[name].items() if split != "train"]
    parts = load(name, size=1, val_share=0.25)
    found = pictures(*(getattr(parts, part) for part in PARTS))
    assert found == pictures(WORLD[name]["train"])
    assert not found & pictures(*test)
    assert parts.unseen is not None
    assert parts.unseen.split == "val"


# Lists


def test_the_lists_follow_their_rule():
    for name, count in (("deepfashion", 5), ("modelnet40", 10)):
        lists = read(name)
        assert lists["unseen"]["category"] == drawn(lists["categories"], count, lists["seed"])
    assert read("omniglot")["seen_drawers"] == drawn(range(1, 21), 4, 0)
    cifar = read("cifar100")
    away = drawn(list(cifar["superclasses"]), 4, 0)
    assert cifar["unseen"]["superclass"] == away
    ones = [
        drawn(cifar["superclasses"][name], 1, place)[0]
        for place, name in enumerate(sorted(cifar["superclasses"]))
        if name not in away
    ]
    assert cifar["unseen"]["class"] == sorted(ones)
    assert len(cifar["superclasses"]) == 20
    assert all(len(classes) == 5 for classes in cifar["superclasses"].values())


def test_drawn_is_the_rule_of_the_docstring():
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3)).tolist()
    assert drawn(list("fedcba"), 2, 3) == sorted("abcdef"[i] for i in order[:2])


def test_lists_that_are_not_there_are_named(world):
    with pytest.raises(ValueError, match=r"no list of unseen categories for cub_100; there is for cifar100"):
        load("cub_100", size=1, hold_out=True)
    with pytest.raises(ValueError, match=r"lists/omniglot\.json names no unseen categories"):
        load("omniglot", size=1, hold_out=True)


def test_a_list_of_other_names_is_noticed(world, monkeypatch):
    monkeypatch.setattr(splits, "read", lambda name: {"unseen": {"category": ["Hats"]}})
    with pytest.raises(ValueError, match="none of its pictures are in an unseen category"):
        load("deepfashion", size=1, hold_out=True)


# Trees and joins


def test_a_node_with_two_parents_is_no_tree():
    good = WORLD["cub_100"]["train"]
    check_tree(good)
    check_tree(None)
    labels = good.labels.clone()
    labels[0, 1] = 3
    with pytest.raises(ValueError, match=r"cub_100: family .* lies under several nodes of level order"):
        check_tree(dataclasses.replace(good, labels=labels))


def test_parts_that_do_not_fit_are_not_joined():
    train, test = WORLD["cub_100"].values()
    with pytest.raises(ValueError, match="other names or sizes cannot be joined"):
        joined([train, test], "both")
    on_disk = dataclasses.replace(train, pixels=None, paths=(Path("a"),) * len(train))
    with pytest.raises(ValueError, match="some of its parts fit in memory"):
        joined([train, on_disk], "both")
    both = joined([on_disk, on_disk], "both")
    assert both.paths == on_disk.paths * 2  # type: ignore[operator]
    assert len(both) == 2 * len(train)


# Own pictures


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))

    def write(*classes, each=5):
        for i, name in enumerate(classes):
            for j in range(each):
                path = tmp_path / "own" / name / f"{j}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (20 * i, 40 * j, 7)).save(path)
        return f"folder:{tmp_path / 'own'}"

    return write


@pytest.mark.parametrize("above", ["", "group/", "group/sub/"])
def test_own_pictures_are_halved_by_class(own, above):
    name = own(*(f"{above}{c}" for c in "abcd"))
    parts = load(name, size=8)
    assert parts.seen is not None
    assert parts.unseen is not None
    assert names(parts.train, -1) == names(parts.seen, -1) == {f"{above}a", f"{above}b"}
    assert names(parts.unseen, -1) == {f"{above}c", f"{above}d"}
    assert (len(parts.train), len(parts.seen), len(parts.unseen)) == (8, 2, 10)
    assert torch.equal(training_set(name, size=8).labels, parts.train.labels)


def test_own_test_pictures_of_trained_classes_are_seen(own):
    name = own("train/g/a", "train/g/b", "train/h/c", "test/g/b", "test/h/c", "test/h/d")
    parts = load(name, size=8)
    assert len(parts.train) == 15, "nothing of train is kept back"
    assert parts.seen is not None
    assert parts.unseen is not None
    assert names(parts.seen, -1) == {"g/b", "h/c"}
    assert parts.seen.names == parts.train.names
    assert names(parts.unseen, -1) == {"h/d"}
    assert len(training_set(name, size=8)) == 15
    for row in parts.seen.labels.tolist():
        assert parts.seen.names[0][row[0]] == parts.seen.names[1][row[1]].split("/")[0]


def test_own_pictures_with_the_same_classes_in_both(own):
    name = own("train/a", "train/b", "test/a", "test/b")
    parts = load(name, size=8)
    assert parts.unseen is None
    assert parts.seen is not None
    assert (len(parts.train), len(parts.seen)) == (10, 10)


def test_own_validation_does_not_look_at_own_test_pictures(own):
    name = own(*(f"{part}/{g}/{c}" for part in ("train", "test") for g in "wxyz" for c in "ab"))
    parts = load(name, size=8, val_share=0.25)
    assert parts.seen is None
    assert parts.unseen is not None
    assert len(names(parts.unseen, 0)) == 2
    assert len(parts.train) + len(parts.unseen) == 40
