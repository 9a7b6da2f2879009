"""Held-out classes and images: disjoint, complete, stratified, reproducible."""

import pytest
import torch

from common.data.dataset import Dataset
from common.data.splits import hold_out_classes, hold_out_images

COUNTS = [1, 2, 5, 10, 20, 4, 8, 3, 9, 7]  # images of each class; class c has parent c // 4


def dataset(counts=COUNTS) -> Dataset:
    fine = torch.tensor([c for c, n in enumerate(counts) for _ in range(n)])
    fine = fine[torch.randperm(len(fine), generator=torch.Generator().manual_seed(0))]
    n = len(fine)
    return Dataset(
        name="toy",
        split="train",
        labels=torch.stack([fine // 4, fine], 1),
        levels=("kind", "class"),
        names=(
            tuple(f"kind{i}" for i in range((len(counts) + 3) // 4)),
            tuple(f"class{i}" for i in range(len(counts))),
        ),
        size=2,
        channels=1,
        pixels=torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2),
    )


def identities(d: Dataset) -> list[int]:
    assert d.pixels is not None
    return d.pixels[:, 0, 0, 0].tolist()


def names(d: Dataset) -> list[tuple[str, str]]:
    return [(d.names[0][a], d.names[1][b]) for a, b in d.labels.tolist()]


@pytest.mark.parametrize(("share", "held"), [(0.2, 2), (0.25, 3), (0.24, 2), (0.01, 2), (0.99, 8), (0.5, 5)])
def test_classes_are_disjoint_and_relabelled(share, held):
    whole = dataset()
    train, val = hold_out_classes(whole, share)
    assert (train.split, val.split) == ("train", "val")
    assert val.classes == held
    assert train.classes == 10 - held
    assert not set(train.names[1]) & set(val.names[1])
    assert sorted(identities(train) + identities(val)) == list(range(len(whole)))
    for part in (train, val):
        assert identities(part) == sorted(identities(part))  # order kept
        assert part.label.unique().tolist() == list(range(part.classes))
        want = names(whole)
        assert names(part) == [want[i] for i in identities(part)]


def test_class_rule_is_the_documented_one():
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    _, val = hold_out_classes(dataset(), 0.3, seed=3)
    assert set(val.names[1]) == {f"class{i}" for i in order[:3].tolist()}


def test_a_coarser_level_is_held_out_whole():
    whole = dataset([3] * 40)  # ten kinds of four classes
    train, val = hold_out_classes(whole, 0.3, level=0)
    assert (len(val.names[0]), len(val.names[1])) == (3, 12)
    assert not set(train.names[0]) & set(val.names[0])
    assert sorted(identities(train) + identities(val)) == list(range(len(whole)))
    with pytest.raises(ValueError, match=r"level = 2: toy has the levels kind, class"):
        hold_out_classes(whole, level=2)
    with pytest.raises(ValueError, match="3 ids of level kind"):
        hold_out_classes(dataset(), level=0)


def test_images_are_stratified():
    whole = dataset()
    train, val = hold_out_images(whole, 0.25, seed=1)
    held = [(val.label == c).sum().item() for c in range(10)]
    assert held == [0, 1, 1, 3, 5, 1, 2, 1, 2, 2]  # floor(n / 4 + 1/2), one image of a class stays
    assert sorted(identities(train) + identities(val)) == list(range(len(whole)))
    assert train.names == val.names == whole.names
    assert train.label.unique().tolist() == list(range(10))
    for part in (train, val):
        assert names(part) == [names(whole)[i] for i in identities(part)]
    train, _ = hold_out_images(whole, 0.99)
    assert [(train.label == c).sum().item() for c in range(10)] == [1] * 10


@pytest.mark.parametrize("split", [hold_out_classes, hold_out_images])
def test_seed_decides(split):
    def one(seed):
        return identities(split(dataset(), 0.3, seed=seed)[1])

    assert one(0) == one(0)
    assert len({tuple(one(s)) for s in range(6)}) > 1
    before = torch.get_rng_state()
    one(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_impossible_requests():
    with pytest.raises(ValueError, match="toy/train has 3 classes"):
        hold_out_classes(dataset([4, 4, 4]))
    with pytest.raises(ValueError, match="holds out no picture"):
        hold_out_images(dataset([2, 2]), 0.1)
    for share in (0.0, 1.0, 20):
        with pytest.raises(ValueError, match="share = "):
            hold_out_classes(dataset(), share)
        with pytest.raises(ValueError, match="share = "):
            hold_out_images(dataset(), share)
