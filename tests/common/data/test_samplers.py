"""Samplers: the laws of a batch, of an epoch, of ranks and of seeds."""

import sys
import types
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from common.data import samplers as samplers_module
from common.data.samplers import EpisodeSampler, PKSampler, ShuffleSampler

# Class ids with gaps, shuffled rows, sizes 4 .. 9.
SIZES = {3: 4, 5: 9, 8: 6, 11: 7, 12: 5, 20: 8, 21: 4}
LABELS = torch.tensor([c for c, n in SIZES.items() for _ in range(n)])
LABELS = LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))]


def rows(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [torch.as_tensor(batch).tolist() for batch in sampler]


def flat(batches):
    return [row for batch in batches for row in batch]


def check_pk_batches(m):
    sampler = m.PKSampler(LABELS, 4, 3, seed=0, steps=60)
    batches = rows(sampler)
    assert len(batches) == len(sampler) == 60
    for batch in batches:
        assert len(batch) == len(set(batch)) == 12
        classes = LABELS[batch].view(4, 3)
        assert (classes == classes[:, :1]).all()  # class after class
        assert len(classes[:, 0].unique()) == 4


def check_pk_passes(m):
    """Without replacement: after any batch, counts of classes differ by at most one, likewise images."""
    seen, images = Counter(), {c: Counter() for c in SIZES}
    for batch in rows(m.PKSampler(LABELS, 4, 3, seed=0, steps=60)):
        seen.update(LABELS[batch][::3].tolist())
        for row in batch:
            images[int(LABELS[row])][row] += 1
        assert max(seen[c] for c in SIZES) - min(seen[c] for c in SIZES) <= 1
        for c, n in SIZES.items():
            counts = list(images[c].values()) + [0] * (n - len(images[c]))
            assert max(counts) - min(counts) <= 1


def check_ranks(m):
    for make in (
        lambda **r: m.PKSampler(LABELS, 4, 3, seed=2, steps=9, **r),
        lambda **r: m.ShuffleSampler(44, 8, seed=2, **r),
        lambda **r: m.ShuffleSampler(43, 8, seed=2, drop_last=True, **r),
    ):
        whole = rows(make(), 5)
        for ranks in (2, 4):
            parts = [rows(make(rank=r, ranks=ranks), 5) for r in range(ranks)]
            assert [flat(step) for step in zip(*parts)] == whole
            assert all(len(make(rank=r, ranks=ranks)) == len(whole) for r in range(ranks))


def check_seeds(m):
    for make in (
        lambda seed: m.PKSampler(LABELS, 4, 3, seed=seed),
        lambda seed: m.EpisodeSampler(LABELS, 3, 1, 2, 4, seed=seed),
        lambda seed: m.ShuffleSampler(43, 8, seed=seed),
    ):
        one = make(0)
        first = rows(one, 0)
        assert rows(one, 1) != first
        assert rows(one, 0) == rows(make(0), 0) == first  # no state is carried over
        assert rows(make(1), 0) != first


def check_shuffle(m):
    batches = rows(m.ShuffleSampler(43, 8, seed=0))
    assert [len(b) for b in batches] == [8] * 5 + [3]
    assert sorted(flat(batches)) == list(range(43))
    assert flat(batches) != list(range(43))
    dropped = m.ShuffleSampler(43, 8, seed=0, drop_last=True)
    assert rows(dropped) == batches[:5]
    assert len(dropped) == 5


def check_episodes(m):
    sampler = m.EpisodeSampler(LABELS, 5, 1, 3, 200, seed=0)
    seen = Counter()
    for episode in sampler:
        assert episode.shape == (5, 4)
        assert episode.dtype == torch.int64
        classes = LABELS[episode]
        assert (classes == classes[:, :1]).all()
        assert len(classes[:, 0].unique()) == 5
        assert len(episode.unique()) == 20
        seen.update(episode[:, 0].tolist())
    assert len(seen) == len(LABELS)  # every picture was a support at some time
    assert len(sampler) == 200
    parts = [rows(m.EpisodeSampler(LABELS, 5, 1, 3, 200, seed=0, rank=r, ranks=2)) for r in (0, 1)]
    assert [e for pair in zip(*parts) for e in pair] == rows(sampler)


CHECKS = [check_pk_batches, check_pk_passes, check_ranks, check_seeds, check_shuffle, check_episodes]


@pytest.mark.parametrize("check", CHECKS)
def test_laws(check):
    check(samplers_module)


PLANTED = [
    ("card not in held", "True", check_pk_batches),
    ("self.shuffled = last + self.shuffled", "pass", check_pk_passes),
    (
        "classes.deal(self.p)",
        "torch.randperm(len(self.members), generator=random)[: self.p].tolist()",
        check_pk_passes,
    ),
    ("batch[self.rank * share : (self.rank + 1) * share]", "batch[self.rank :: self.ranks]", check_ranks),
    ("self.epoch, _CLASSES", "0, _CLASSES", check_seeds),
    ("self.epoch, _EPISODES", "0, _EPISODES", check_seeds),
    ("self.epoch, _ROWS", "0, _ROWS", check_seeds),
    ("_EPISODES, episode)", "_EPISODES)", check_episodes),
    ("self.n // self.batch if self.drop_last", "self.n // self.batch if True", check_shuffle),
    ("range(self.rank, self.episodes, self.ranks)", "range(len(self))", check_episodes),
]


@pytest.mark.parametrize(("right", "wrong", "check"), PLANTED, ids=[wrong for _, wrong, _ in PLANTED])
def test_planted_bug_is_caught(right, wrong, check, monkeypatch):
    source = Path(samplers_module.__file__).read_text()
    assert source.count(right) >= 1, f"{right!r} is no longer in samplers.py"
    module = types.ModuleType("planted_samplers")
    monkeypatch.setitem(sys.modules, "planted_samplers", module)
    exec(compile(source.replace(right, wrong), "planted_samplers", "exec"), module.__dict__)
    with pytest.raises(AssertionError):
        check(module)


def test_default_steps_see_as_many_images_as_there_are():
    assert len(PKSampler(LABELS, 4, 3, seed=0)) == len(LABELS) // 12
    assert len(PKSampler(LABELS, 7, 4, seed=0)) == 1


def test_balanced_classes_are_seen_exactly_once_per_epoch():
    labels = torch.arange(12).repeat_interleave(6)
    batches = rows(PKSampler(labels, 4, 3, seed=0))
    assert sorted(flat(batches)) == list(range(72))


def test_short_class_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"class 3 has 4 images but k = 5 \(and 1 more classes"):
        PKSampler(LABELS, 4, 5, seed=0)
    with pytest.raises(ValueError, match="class 5 has 9 images but k = 10"):
        PKSampler(LABELS[LABELS == 5], 1, 10, seed=0)


def test_short_class_repeats_only_there():
    sampler = PKSampler(LABELS, 7, 5, seed=0, steps=40, short="repeat")
    repeated = Counter()
    for batch in rows(sampler):
        for c in torch.tensor(batch).view(7, 5):
            assert (LABELS[c] == LABELS[c[0]]).all()
            repeated[int(LABELS[c[0]])] += len(c.unique()) < 5
    assert repeated[3] == repeated[21] == 40  # 5 of 4
    assert sum(repeated.values()) == 80
    assert sampler.describe() == (
        "40 batches of 7 classes x 5 images from 7 classes with 43 images; "
        "2 classes of fewer than 5 images drawn with replacement (ids 3, 21)"
    )


def test_short_class_is_dropped():
    sampler = PKSampler(LABELS, 5, 5, seed=0, short="drop")
    assert {int(c) for batch in rows(sampler) for c in LABELS[batch]} == {5, 8, 11, 12, 20}
    assert len(sampler) == 35 // 25
    assert "2 classes of fewer than 5 images left out (ids 3, 21)" in sampler.describe()
    assert ";" not in PKSampler(LABELS, 4, 3, seed=0).describe()
    with pytest.raises(ValueError, match="only 5 classes"):
        PKSampler(LABELS, 6, 5, seed=0, short="drop")


def test_last_shuffled_batch_is_filled_up_for_the_ranks():
    parts = [rows(ShuffleSampler(43, 8, seed=0, rank=r, ranks=2)) for r in (0, 1)]
    assert [[len(b) for b in part] for part in parts] == [[4] * 5 + [2]] * 2
    drawn = Counter(flat(parts[0] + parts[1]))
    assert set(drawn) == set(range(43))
    assert drawn.total() == 44
    assert drawn[rows(ShuffleSampler(43, 8, seed=0))[0][0]] == 2


def test_refuses_impossible_requests():
    with pytest.raises(ValueError, match="p = 8 classes per batch but only 7"):
        PKSampler(LABELS, 8, 2, seed=0)
    with pytest.raises(ValueError, match="p = 4 classes cannot be split over 3 ranks"):
        PKSampler(LABELS, 4, 2, seed=0, rank=0, ranks=3)
    with pytest.raises(ValueError, match="rank = 2 of ranks = 2"):
        PKSampler(LABELS, 4, 2, seed=0, rank=2, ranks=2)
    with pytest.raises(ValueError, match="k = 0"):
        PKSampler(LABELS, 4, 0, seed=0)
    with pytest.raises(ValueError, match="short = 'ignore'"):
        PKSampler(LABELS, 4, 2, seed=0, short="ignore")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"dataset\.label"):
        PKSampler(LABELS[:, None], 4, 2, seed=0)
    with pytest.raises(ValueError, match="way = 8 classes per episode but only 7"):
        EpisodeSampler(LABELS, 8, 1, 1, 5, seed=0)
    with pytest.raises(ValueError, match=r"class 3 has 4 images but shot \+ query = 2 \+ 3 = 5"):
        EpisodeSampler(LABELS, 5, 2, 3, 5, seed=0)
    with pytest.raises(ValueError, match="5 episodes cannot be split over 2 ranks"):
        EpisodeSampler(LABELS, 5, 1, 1, 5, seed=0, ranks=2)
    with pytest.raises(ValueError, match="batch = 9 cannot be split over 2 ranks"):
        ShuffleSampler(20, 9, seed=0, ranks=2)
    with pytest.raises(ValueError, match="drop_last leaves nothing"):
        ShuffleSampler(5, 9, seed=0, drop_last=True)


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    check_seeds(samplers_module)
    assert torch.equal(torch.get_rng_state(), before)


def test_serves_as_batch_sampler_of_a_dataloader():
    sampler = PKSampler(LABELS, 4, 3, seed=0)
    loader = DataLoader(TensorDataset(LABELS), batch_sampler=sampler)
    assert [b.tolist() for (b,) in loader] == [LABELS[b].tolist() for b in sampler]
    assert len(loader) == len(sampler)
