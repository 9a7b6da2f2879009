"""Which pictures are used for what, and the two ways in which they reach the network."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from common.data import embedded, layouts
from common.data.augment import Augment
from common.data.catalogue import DataMissing
from instance_discrimination import pictures
from instance_discrimination.presets import IMAGENET, PRESETS

CPU = torch.device("cpu")
SMOKE = dataclasses.replace(PRESETS["smoke"][1], batch=16)


def image_folder(root: Path, name: str = "imagenet", each: int = 4) -> None:
    """Drawings in the layout of ImageNet: NAME/{train,val}/CLASS/*.JPEG, of several shapes."""
    drawn = embedded.make(families=3, kinds=2, instances=each, size=40)
    for part in ("train", "val"):
        for i in range(len(drawn)):
            folder = root / name / part / f"n{int(drawn.label[i]):08d}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(drawn.pixels[i].permute(1, 2, 0).numpy())
            image.resize((40 + 3 * (i % 4), 48 - 2 * (i % 3))).save(folder / f"{i}.JPEG", quality=95)
    (root / name / "EMBEDDED.txt").write_text("drawings\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


# --- Which ones ---------------------------------------------------------------------------------------------


def rows_of(part, whole) -> list[int]:
    """Rows of `whole` that a subset consists of, by their pixels (all drawings differ)."""
    known = {p.numpy().tobytes(): i for i, p in enumerate(whole.pixels)}
    return [known[p.numpy().tobytes()] for p in part.pixels]


def test_the_three_sets_nest_and_never_meet_the_held_out_ones():
    cfg = dataclasses.replace(SMOKE, images=50, labelled=120, held_out=40)
    whole, sets = pictures.load("embedded", "train", 32), pictures.split(cfg)
    training, labelled, held = (rows_of(s, whole) for s in (sets.training, sets.labelled, sets.held_out))
    assert (len(training), len(labelled), len(held)) == (50, 120, 40)
    assert labelled[:50] == training
    assert len(set(labelled)) == 120
    assert not set(held) & set(labelled)
    other = pictures.split(dataclasses.replace(cfg, seed=5, held_out=0))
    assert rows_of(other.training, whole) == training, (
        "neither the run's seed nor held-out pictures change it"
    )
    assert torch.equal(sets.training.label, whole.label[training])


def test_retrieval_trains_and_tests_on_different_classes(monkeypatch):
    """The embedded set has both divisions: kinds of train drawn again, and kinds that train never saw."""
    asked, load = [], pictures.data.load

    def find(name, split, **options):
        asked.append((split, options["protocol"]))
        return load(name, split, **options)

    monkeypatch.setattr(pictures.data, "load", find)
    cfg = dataclasses.replace(SMOKE, protocol="retrieval")
    train = pictures.split(cfg).training
    unseen = pictures.load(cfg.data, "test", 32, cfg.protocol)
    seen = pictures.load(SMOKE.data, "test", 32, SMOKE.protocol)
    assert asked == [("train", "retrieval"), ("test", "retrieval"), ("test", "classification")]
    assert not {unseen.names[0][i] for i in unseen.labels[:, 0]} & {
        train.names[0][i] for i in train.labels[:, 0]
    }
    assert seen.names == train.names


def test_augmentation_of_drawings_and_of_photographs():
    drawings = PRESETS["omniglot"][1]
    assert pictures.augmentation(drawings) == Augment(
        size=32, rotate=12.0, translate=0.08, scale=(1 - 0.12, 1 + 0.12), shear=8.0,
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    )  # fmt: skip
    assert pictures.augmentation(PRESETS["cifar10"][1]).resized_crop == (0.2, 1.0)


def test_all_pictures_keep_their_own_order():
    sets = pictures.split(SMOKE)
    assert sets.held_out is None
    assert sets.training is sets.labelled
    assert torch.equal(sets.training.pixels, pictures.load("embedded", "train", 32).pixels)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"images": 1000}, "--images 1000: cifar10-embedded has 48 training pictures"),
        ({"held_out": 1000}, "--held-out 1000"),
        ({"labelled": 1000}, "--labelled 1000"),
        ({"images": 40, "held_out": 10}, "lower one of them"),
    ],
)
def test_more_pictures_than_there_are_is_one_sentence(changed, told, place, monkeypatch):
    monkeypatch.setenv("DATA", "real")
    layouts.write("cifar10", place, families=2, kinds=2, instances=12)
    with pytest.raises(ValueError, match=told):
        pictures.split(dataclasses.replace(SMOKE, data="cifar10", **changed))


def test_drawings_stand_in_for_any_data_set():
    """Of fewer pictures than a preset asks for all are used, and a fifth at most is held out."""
    n = len(pictures.load("embedded", "train", 32))
    for name in ("cifar10-mini", "cifar10-mini-watched", "cifar10-mini-long"):
        sets = pictures.split(dataclasses.replace(PRESETS[name][1], data="embedded"))
        held = n // 5 if sets.held_out else 0
        assert (len(sets.training), len(sets.labelled)) == (n - held, n - held)
        assert sets.held_out is None or len(sets.held_out) == held


def test_own_pictures_train_and_test_share_their_classes(tmp_path):
    def save(folder, names):
        for name in names:
            (folder / name).mkdir(parents=True)
            for i in range(5):
                Image.new("RGB", (20, 20), (i * 40, len(name) * 9, 80)).save(folder / name / f"{i}.png")

    save(tmp_path / "flat", ("ant", "bee", "cat"))
    train, test = (pictures.load(f"folder:{tmp_path / 'flat'}", part, 16) for part in ("train", "test"))
    assert (len(train), len(test)) == (12, 3)
    assert train.names == test.names
    assert sorted(test.label.tolist()) == [0, 1, 2]
    assert (train.split, test.split) == ("train", "test")
    save(tmp_path / "own" / "train", ("ant", "bee"))
    save(tmp_path / "own" / "test", ("ant", "bee"))
    assert len(pictures.load(f"folder:{tmp_path / 'own'}", "test", 16)) == 10
    save(tmp_path / "other" / "train", ("ant", "bee"))
    save(tmp_path / "other" / "test", ("ant", "cow"))
    with pytest.raises(ValueError, match="other classes"):
        pictures.load(f"folder:{tmp_path / 'other'}", "test", 16)


# --- On the way to the network ------------------------------------------------------------------------------


def epoch_of(cfg, epoch: int = 0):
    sets = pictures.split(cfg)
    return list(pictures.batches(cfg, pictures.loader(cfg, sets.training, CPU), epoch))


def test_an_epoch_is_every_picture_once_and_keeps_the_last_small_batch():
    cfg = dataclasses.replace(SMOKE, images=70)
    batches = epoch_of(cfg)
    assert [len(i) for _, i in batches] == [16, 16, 16, 16, 6]
    assert sorted(torch.cat([i for _, i in batches]).tolist()) == list(range(70))
    images = batches[0][0]
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.shape == (16, 3, 32, 32)


def test_batches_augmented_together_are_the_batches_augmented_apart(monkeypatch):
    cfg = dataclasses.replace(SMOKE, images=150, hue=0.4)
    together = epoch_of(cfg, 3)
    monkeypatch.setattr(pictures, "AT_ONCE", 1)
    apart = epoch_of(cfg, 3)
    assert len(together) == len(apart) == 10
    for (x, i), (y, j) in zip(together, apart):
        assert torch.equal(i, j)
        assert torch.equal(x, y)


def test_order_and_augmentation_change_with_epoch_and_seed_only():
    cfg = dataclasses.replace(SMOKE, images=32)
    first, again, later = epoch_of(cfg), epoch_of(cfg), epoch_of(cfg, 1)
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(first, again))
    assert not torch.equal(first[0][1], later[0][1])
    assert not torch.equal(first[0][1], epoch_of(dataclasses.replace(cfg, seed=1))[0][1])


def test_photographs_are_measured_on_torchvisions_central_crop(place):
    image_folder(place)
    cfg = dataclasses.replace(IMAGENET, workers=0, size=28)
    sets = pictures.split(cfg)
    assert sets.training.name == "imagenet-embedded"
    images = torch.cat([x for x, _, _ in pictures.loader(cfg, sets.training, CPU).all(5)])
    view = transforms.Compose([
        transforms.Resize(32), transforms.CenterCrop(28),
        transforms.ToTensor(), transforms.Normalize(cfg.mean, cfg.std),
    ])  # fmt: skip
    for i, path in enumerate(sets.training.paths):
        torch.testing.assert_close(images[i], view(Image.open(path).convert("RGB")), rtol=0, atol=1e-5)


def test_photographs_are_trained_on_torchvisions_resized_crop(place):
    image_folder(place)
    cfg = dataclasses.replace(IMAGENET, workers=0, size=24, flip=0.0, jitter=0.0, hue=0.0, grey=0.0, batch=10)
    training = pictures.split(cfg).training
    source = pictures.loader(cfg, training, CPU)
    law = Augment(size=24, resized_crop=(0.2, 1.0))
    seen = 0
    for images, index in pictures.batches(cfg, source, 4):
        for x, i in zip(images, index.tolist()):
            picture = Image.open(training.paths[i]).convert("RGB")
            window = (
                law.draw(torch.tensor([i]), picture.height, picture.width, cfg.seed, 4).window[0].tolist()
            )
            crop = functional.resized_crop(picture, *window, [24, 24], transforms.InterpolationMode.BILINEAR)
            wanted = functional.normalize(functional.to_tensor(crop), list(cfg.mean), list(cfg.std))
            torch.testing.assert_close(x, wanted, rtol=0, atol=1e-5)
            seen += 1
    assert seen == len(training)


def test_on_photographs_grey_comes_before_jitter(place):
    image_folder(place)
    cfg = dataclasses.replace(IMAGENET, workers=0, size=24, grey=1.0, batch=24)
    sets = pictures.split(cfg)
    (images, _), *_ = pictures.batches(cfg, pictures.loader(cfg, sets.training, CPU), 0)
    pixels = images * torch.tensor(cfg.std)[:, None, None] + torch.tensor(cfg.mean)[:, None, None]
    assert (pixels - pixels[:, :1]).abs().max() < 1e-5, "saturation and hue leave a grey picture grey"
    drawn = Augment(size=1, grey=0.4).draw(torch.arange(24), 1, 1, 0, 0).grey
    raw = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8)
    some = pictures.some_grey(raw, torch.arange(24), 0.4, 0, 0)
    assert 0 < int(drawn.sum()) < 24
    assert torch.equal((some == some[:, :1]).all((1, 2, 3)), drawn)
    assert torch.equal(some[~drawn], raw[~drawn])


def test_workers_do_not_change_the_batches_and_never_outnumber_the_cores(place):
    image_folder(place)
    cfg = dataclasses.replace(IMAGENET, size=24, batch=9, workers=0)
    assert cfg.workers < IMAGENET.workers
    training = pictures.split(cfg).training
    alone, helped = (
        pictures.loader(cfg, training, CPU),
        pictures.PhotographLoader(training, pictures.augmentation(cfg), CPU, 1),
    )
    for (x, i), (y, j) in zip(pictures.batches(cfg, alone, 1), pictures.batches(cfg, helped, 1)):
        assert torch.equal(i, j)
        assert torch.equal(x, y)
    many = pictures.PhotographLoader(training, pictures.augmentation(cfg), CPU, 10_000)
    assert many.workers <= pictures.compute.cores()


def test_a_broken_photograph_is_named(place):
    image_folder(place)
    cfg = dataclasses.replace(IMAGENET, workers=0, size=24)
    training = pictures.split(cfg).training
    training.paths[7].write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match=training.paths[7].name):
        list(pictures.loader(cfg, training, CPU).all())


def test_a_missing_image_folder_says_how_it_must_lie(place):
    with pytest.raises(DataMissing, match=r"train/CLASS/\*\.JPEG"):
        pictures.resolve("imagenet")
