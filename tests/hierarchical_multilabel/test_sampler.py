"""sampler.py: every draw is replayed against what the tree offered at that moment; planted bugs."""

import random
import types
from collections import Counter
from pathlib import Path

import pytest
import torch

from common.data import samplers
from hierarchical_multilabel import sampler as module
from hierarchical_multilabel.sampler import HierarchicalSampler, positives_per_level


def regular(*children):
    """(N, K): a tree whose nodes have so many children, level by level; the images are the last level."""
    rows = torch.cartesian_prod(*(torch.arange(n) for n in children)).view(-1, len(children))
    rows[:, -1] = torch.arange(len(rows))
    return rows


def irregular(seed, n=40, columns=4):
    """Nodes of very unequal size, lonely ones among them; ids begin anew under each parent."""
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, columns, generator=g) ** 2 * 4).long()
    labels[:, -1] = torch.arange(n)
    return labels


def relation(labels, i, j):
    """Finest common level of two images, 1 the finest; K: nothing in common but the root."""
    depth = 0
    while depth < len(labels[i]) - 1 and labels[i][depth] == labels[j][depth]:
        depth += 1
    return len(labels[i]) - depth


def replay(labels, batches, size):
    """AssertionError unless each draw is one that the rules allow. Returns the anchors."""
    labels, n = labels.tolist(), len(labels)
    group, fresh, anchors = len(labels[0]) + 1, set(range(n)), []
    for batch in batches:
        assert len(batch) == size
        assert len(set(batch)) == size, "an image twice in a batch"
        for at, image in enumerate(batch):
            before, l = set(batch[:at]), at % group
            if l == 0:
                if not fresh - before:
                    fresh = set(range(n))  # a new pass
                assert image in fresh, "an anchor that was drawn before"
                anchors.append(image)
                fresh.discard(image)
                continue
            anchor = batch[at - l]
            free = [j for j in range(n) if j not in before]
            levels = {relation(labels, anchor, j) for j in free}
            wanted = min((x for x in levels if x >= l), default=None)
            if wanted is not None:
                assert relation(labels, anchor, image) == wanted, "a better partner was there"
                free = [j for j in free if relation(labels, anchor, j) == wanted]
            if fresh & set(free):
                assert image in fresh, "drawn again although a new one was there"
            fresh.discard(image)
    return anchors


@pytest.mark.parametrize("size", [1, 2, 7, 25, 40])
@pytest.mark.parametrize("seed", range(4))
def test_every_draw_is_the_best_one_left(size, seed):
    labels = irregular(seed)
    for steps in (None, 6):
        draws = HierarchicalSampler(labels, size, seed=seed, steps=steps)
        batches = list(draws)
        assert len(batches) == len(draws) == (40 // size if steps is None else steps)
        anchors = replay(labels, batches, size)
        if steps is None:
            assert len(set(anchors)) == len(anchors), "an anchor drawn twice"


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_any_depth(columns):
    labels = irregular(1, columns=columns)
    replay(labels, list(HierarchicalSampler(labels, 12, seed=3)), 12)


def test_a_group_holds_a_partner_for_each_level():
    labels = regular(4, 3, 3, 4)
    for batch in HierarchicalSampler(labels, 25, seed=0):
        for at in range(0, 25, 5):
            anchor, *partners = batch[at : at + 5]
            assert [relation(labels.tolist(), anchor, j) for j in partners] == [1, 2, 3, 4]


def test_a_cut_group_loses_its_coarsest_partners():
    labels = regular(4, 3, 3, 4)
    (batch,) = HierarchicalSampler(labels, 8, seed=0, steps=1)
    assert [relation(labels.tolist(), batch[5], j) for j in batch[6:]] == [1, 2]


def test_a_pure_function_of_seed_and_epoch():
    labels = irregular(0)

    def drawn(seed, epoch):
        one = HierarchicalSampler(labels, 8, seed=seed)
        one.set_epoch(epoch)
        return list(one)

    torch.manual_seed(0)
    random.seed(0)
    first = drawn(1, 2)
    torch.manual_seed(1)
    random.seed(1)
    state = random.getstate()
    again = HierarchicalSampler(labels, 8, seed=1)
    list(again)  # epoch 0
    again.set_epoch(2)
    assert list(again) == first == drawn(1, 2)
    assert random.getstate() == state
    assert len({str(drawn(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_the_batches_of_one(ranks):
    labels = irregular(2)
    whole = list(HierarchicalSampler(labels, 12, seed=0))
    parts = [list(HierarchicalSampler(labels, 12, seed=0, rank=r, ranks=ranks)) for r in range(ranks)]
    assert [[i for part in step for i in part] for step in zip(*parts)] == whole
    assert {len(part) for rank in parts for part in rank} == {12 // ranks}


def test_ranks_keep_the_partners():
    """Of the released sampler's finest partners 86 % are random images on eight ranks."""
    labels = regular(8, 4, 3, 3)
    for rank in range(8):
        for batch in HierarchicalSampler(labels, 40, seed=0, rank=rank, ranks=8):
            assert [relation(labels.tolist(), batch[0], j) for j in batch[1:]] == [1, 2, 3, 4]


def test_children_are_as_likely_as_their_siblings():
    """Drawn by node, not by image: a node of one image as often as one of fifty."""
    sizes = [30, 1, 50, 3]
    labels = torch.tensor([(0, child) for child, n in enumerate(sizes) for _ in range(n)])
    labels = torch.column_stack([labels, torch.arange(len(labels))])
    seen = Counter()
    for epoch in range(1500):
        one = HierarchicalSampler(labels, 3, seed=0, steps=1)
        one.set_epoch(epoch)
        (batch,) = one
        if labels[batch[0], 1] == 0:
            seen[int(labels[batch[2], 1])] += 1
    total = sum(seen.values())
    assert total > 300
    assert seen.keys() == {1, 2, 3}
    for count in seen.values():
        assert count / total == pytest.approx(1 / 3, abs=0.08)


def test_work_grows_with_the_number_of_images(monkeypatch):
    calls = Counter()
    descend, contains = HierarchicalSampler._descend, module._Fresh.__contains__

    def counted(self, *arguments):
        calls["steps"] += 1
        return descend(self, *arguments)

    def looked(self, image):
        calls["steps"] += 1
        return contains(self, image)

    monkeypatch.setattr(HierarchicalSampler, "_descend", counted)
    monkeypatch.setattr(module._Fresh, "__contains__", looked)
    work = []
    for products in (10, 40):
        calls.clear()
        labels = regular(6, products, 2, 3)
        list(HierarchicalSampler(labels, 25, seed=0))
        work.append(calls["steps"])
    assert 3 < work[1] / work[0] < 5


def test_a_data_loader_takes_it():
    labels = irregular(0)
    draws = HierarchicalSampler(labels, 8, seed=0)
    loader = torch.utils.data.DataLoader(list(range(40)), batch_sampler=draws)  # pyright: ignore
    assert [batch.tolist() for batch in loader] == list(draws)


def test_its_random_numbers_are_its_own():
    assert module._TREE not in (samplers._CLASSES, samplers._EPISODES, samplers._ROWS)


def test_describe():
    draws = HierarchicalSampler(regular(4, 3, 3, 4), 23, seed=0)
    assert draws.describe() == (
        "6 batches of 4 groups of 5 (an anchor and one partner for each of 4 levels) and one group of 3 "
        "from 144 images"
    )


# What a batch offers


def test_positives_per_level_are_those_of_a_count():
    labels = irregular(3, n=30)
    ids = labels.tolist()
    share, mean = [], []
    for l in (1, 2, 3):
        counts = [sum(j != i and relation(ids, i, j) == l for j in range(30)) for i in range(30)]
        share.append(sum(c > 0 for c in counts) / 30)
        mean.append(sum(counts) / 30)
    found = positives_per_level(labels)
    assert found.share.tolist() == pytest.approx(share)
    assert found.mean.tolist() == pytest.approx(mean)


def test_hierarchical_batches_offer_what_random_ones_do_not():
    labels = regular(20, 10, 5, 4)
    (hierarchical,) = HierarchicalSampler(labels, 50, seed=0, steps=1)
    (shuffled, *_) = samplers.ShuffleSampler(len(labels), 50, seed=0, drop_last=True)
    rich, poor = (positives_per_level(labels[torch.tensor(rows)]).share for rows in (hierarchical, shuffled))
    assert rich.tolist()[0] >= 0.4  # the anchor and its partner of level 1, of five
    assert (rich - poor)[:2].min() > 0.1


# Planted bugs

PLANTED = {
    "partners may be the anchor's own kind": ("(pool, node, child, batch", "(pool, node, None, batch"),
    "levels from the coarse end": ("if level >= l:", "if level >= self.group - l:"),
    "used images first": (
        "for pool in (fresh.children, self.children):\n                    found",
        "for pool in (self.children, fresh.children):\n                    found",
    ),
    "anchors drawn again": ("if i in fresh and i not in batch", "if i not in batch"),
    "partners stay fresh": ("fresh.discard(partner)", "pass"),
    "images twice in a batch": ("None if node in batch else node", "node"),
    "the first child always": ("start = int(draw.random() * len(members))", "start = 0"),
    "ids compared without their parents": ("labels[:, :depth]", "labels[:, depth - 1 : depth]"),
}  # fmt: skip


def accepted(broken) -> bool:
    try:
        for seed in range(3):
            labels = irregular(seed)
            replay(labels, list(broken.HierarchicalSampler(labels, 20, seed=seed)), 20)
            partners = set()
            for epoch in range(20):
                one = broken.HierarchicalSampler(regular(1, 1, 5), 2, seed=seed, steps=1)
                one.set_epoch(epoch)
                partners |= set(map(tuple, one))
            assert len(partners) > 8  # of 20 ordered pairs
    except (AssertionError, IndexError):
        return False
    return True


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_noticed(bug):
    source = Path(module.__file__).read_text()
    right, wrong = PLANTED[bug]
    assert source.count(right) == 1
    broken = types.ModuleType("broken")
    exec(compile(source.replace(right, wrong), "broken", "exec"), broken.__dict__)
    assert not accepted(broken)


def test_the_right_sampler_is_accepted():
    assert accepted(module)


# Bad input


def test_bad_input_is_one_clear_sentence():
    labels = irregular(0)
    for wrong, told in (
        ({"batch": 41}, "batch = 41 is larger than the 40 images; lower batch"),
        ({"batch": 0}, "batch = 0"),
        ({"batch": 9, "ranks": 2}, "batch = 9 cannot be split over 2 ranks"),
        ({"batch": 8, "rank": 2, "ranks": 2}, "rank = 2 of ranks = 2"),
        ({"batch": 8, "steps": 0}, "steps = 0"),
    ):
        with pytest.raises(ValueError, match=told):
            HierarchicalSampler(labels, seed=0, **wrong)
    with pytest.raises(ValueError, match=r"labels have 1 column; .* give K >= 2 columns"):
        HierarchicalSampler(labels[:, -1:], 4, seed=0)
    with pytest.raises(TypeError, match=r"labels must be int64 \[N, K\], got torch.float32 \(40, 4\)"):
        HierarchicalSampler(labels.float(), 4, seed=0)
    with pytest.raises(TypeError, match=r"got torch.int64 \(40,\)"):
        HierarchicalSampler(labels[:, 0], 4, seed=0)
