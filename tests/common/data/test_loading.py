"""Batches: the same from memory and from disk, with any number of workers; failures in one sentence."""

import gc
import multiprocessing
from dataclasses import replace

import pytest
import torch
from PIL import Image

from common.data.augment import Augment, normalise
from common.data.dataset import Dataset
from common.data.loading import Loader
from common.data.samplers import EpisodeSampler, PKSampler, ShuffleSampler

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # a machine with one core
]

AUGMENT = Augment(
    size=12,
    resized_crop=(0.3, 1.0),
    flip=0.5,
    brightness=0.3,
    contrast=0.3,
    hue=0.2,
    grey=0.2,
    mean=(0.4, 0.5, 0.6),
    std=0.25,
)


def resident(n=30, channels=3, size=14) -> Dataset:
    g = torch.Generator().manual_seed(0)
    fine = torch.arange(n) % 6
    return Dataset(
        name="toy",
        split="train",
        labels=torch.stack([fine // 3, fine], 1),
        levels=("kind", "class"),
        names=(("a", "b"), tuple("abcdef")),
        size=size,
        channels=channels,
        pixels=torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8),
    )


def on_disk(d: Dataset, folder) -> Dataset:
    assert d.pixels is not None
    paths = []
    for i, picture in enumerate(d.pixels):
        array = picture[0].numpy() if d.channels == 1 else picture.permute(1, 2, 0).contiguous().numpy()
        paths.append(folder / f"{i:03d}.png")
        Image.fromarray(array).save(paths[-1])
    return replace(d, pixels=None, paths=tuple(paths))


def same(a, b):
    a, b = list(a), list(b)
    assert len(a) == len(b) > 0
    for x, y in zip(a, b):
        assert len(x) == len(y) == 3
        for s, t in zip(x, y):
            assert s.dtype == t.dtype
            assert torch.equal(s, t)


@pytest.mark.parametrize("channels", [1, 3])
def test_memory_and_disk_give_the_same_bits(tmp_path, channels):
    memory = resident(channels=channels)
    disk = on_disk(memory, tmp_path)
    sampler = PKSampler(memory.label, 3, 2, seed=0)
    want = Loader(memory, AUGMENT)
    for workers in (0, 2):
        got = Loader(disk, AUGMENT, workers=workers)
        for epoch in (0, 1):
            same(got.epoch(sampler, seed=4, epoch=epoch), want.epoch(sampler, seed=4, epoch=epoch))
        same(got.all(batch=7), want.all(batch=7))
    assert not multiprocessing.active_children()


def test_epoch_is_the_augmented_rows_of_the_sampler():
    d = resident()
    sampler = ShuffleSampler(len(d), 8, seed=1)
    batches = list(Loader(d, AUGMENT).epoch(sampler, seed=4, epoch=3))
    sampler.set_epoch(3)
    assert [index.tolist() for _, _, index in batches] == list(sampler)
    for images, labels, index in batches:
        assert images.dtype == torch.float32
        assert images.shape == (len(index), 3, 12, 12)
        assert torch.equal(labels, d.labels[index])
        assert d.pixels is not None
        assert torch.equal(images, AUGMENT(d.pixels[index], index, 4, 3))


def test_views_are_versions_of_the_same_pictures(tmp_path):
    d = resident()
    sampler = ShuffleSampler(len(d), 8, seed=1)
    for source in (d, on_disk(d, tmp_path)):
        loader = Loader(source, AUGMENT)
        plain = list(loader.epoch(sampler, seed=4, epoch=3))
        for views in (1, 3):
            for (one, _, index), (images, labels, rows) in zip(
                plain, loader.epoch(sampler, seed=4, epoch=3, views=views), strict=True
            ):
                assert images.shape == (len(index), views, 3, 12, 12)
                assert torch.equal(rows, index)
                assert torch.equal(labels, d.labels[index])
                assert torch.equal(images[:, 0], one)
                for v in range(1, views):
                    assert d.pixels is not None
                    assert torch.equal(images[:, v], AUGMENT(d.pixels[index], index, 4, 3, v))
                    assert (images[:, v] != images[:, v - 1]).flatten(1).any(1).all()
    with pytest.raises(ValueError, match="views = 0"):
        next(Loader(d, AUGMENT).epoch(sampler, seed=4, epoch=3, views=0))


def test_epochs_and_seeds_differ_and_repeat():
    loader, sampler = Loader(resident(), AUGMENT), ShuffleSampler(30, 30, seed=1)

    def pictures(seed, epoch):
        images, _, index = next(loader.epoch(sampler, seed=seed, epoch=epoch))
        return images[index.argsort()]

    first = pictures(0, 0)
    assert not torch.equal(pictures(0, 1), first)
    assert not torch.equal(pictures(1, 0), first)
    assert torch.equal(pictures(0, 0), first)


def test_all_is_in_order_and_plain():
    d = resident()
    batches = list(Loader(d, AUGMENT).all(batch=8))
    assert [len(b[0]) for b in batches] == [8, 8, 8, 6]
    images, labels, index = (torch.cat(part) for part in zip(*batches))
    assert torch.equal(index, torch.arange(30))
    assert torch.equal(labels, d.labels)
    assert d.pixels is not None
    assert torch.equal(images, normalise(d.pixels, 12, AUGMENT.mean, AUGMENT.std))


def test_episodes_come_out_flat(tmp_path):
    d = resident()
    sampler = EpisodeSampler(d.label, 3, 1, 2, 4, seed=0)
    for source in (d, on_disk(d, tmp_path)):
        got = list(Loader(source, AUGMENT).epoch(sampler, seed=0, epoch=2))
        for (_, labels, index), episode in zip(got, sampler, strict=True):
            assert torch.equal(index.view(3, 3), episode)
            assert (labels[:, 1].view(3, 3) == labels[::3, 1:]).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_picture_is_named_in_one_sentence(tmp_path, workers):
    disk = on_disk(resident(), tmp_path)
    bad = tmp_path / "011.png"
    bad.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"cannot read picture .*011\.png") as caught:
        list(Loader(disk, AUGMENT, workers=workers).all(batch=4))
    text = str(caught.value)
    assert "Traceback" not in text
    assert "\n" not in text
    assert caught.value.__cause__ is None
    del caught
    gc.collect()
    assert not multiprocessing.active_children()


def test_stopping_early_ends_the_workers(tmp_path):
    loader = Loader(on_disk(resident(), tmp_path), AUGMENT, workers=2)
    stream = loader.all(batch=2)
    next(stream)
    assert multiprocessing.active_children()
    stream.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_untouched(tmp_path, workers):
    loader = Loader(on_disk(resident(), tmp_path), AUGMENT, workers=workers)
    before = torch.get_rng_state()
    list(loader.epoch(ShuffleSampler(30, 8, seed=0), seed=0, epoch=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_bad_numbers():
    with pytest.raises(ValueError, match="workers = -1"):
        Loader(resident(), AUGMENT, workers=-1)
    with pytest.raises(ValueError, match="batch = 0"):
        next(Loader(resident(), AUGMENT).all(batch=0))
    with pytest.raises(ValueError, match="smaller than size = 20"):
        next(Loader(resident(), Augment(size=20)).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_draws_the_same_parameters(tmp_path):
    d = resident()
    sampler = ShuffleSampler(len(d), 8, seed=1)
    here = list(Loader(d, AUGMENT).epoch(sampler, seed=0, epoch=0))
    for source in (d, on_disk(d, tmp_path)):
        there = list(Loader(source, AUGMENT, device="cuda", workers=1).epoch(sampler, seed=0, epoch=0))
        for (x, labels, index), (y, other, rows) in zip(here, there, strict=True):
            assert y.is_cuda
            assert other.is_cuda
            assert torch.equal(labels, other.cpu())
            assert torch.equal(index, rows.cpu())
            torch.testing.assert_close(y.cpu(), x, rtol=0, atol=1e-3)
