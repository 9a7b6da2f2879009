"""Which pictures a run trains on, is watched on and is measured on, and how they reach the network.

    training     pictures with an instance each: row i of this set is row i of the memory bank
    labelled     pictures whose labels vote (kNN) or are learned from (SVM, probes): those trained on, or more
    held out     pictures of the training split that are neither; kNN on them is what recipes are chosen by

Small pictures (CIFAR-10) lie on the device as uint8 and are augmented there, see common.data. ImageNet and
Places205 are image folders, data root/NAME/{train,val}/CLASS/*.JPEG: workers decode and crop, the device
does the rest. Both orders of the colour steps are the released code's: CIFAR jitter, then grey; ImageNet
grey, then jitter (note D9).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.utils.data
import torchvision
from PIL import Image
from torch import Tensor

from common import compute, data, distributed
from common.data.augment import Augment, luminance, normalise
from common.data.catalogue import DataMissing, data_root
from common.data.dataset import Dataset
from common.data.loading import Loader, Rows, Sampler, decoded, in_order, shared
from common.data.samplers import ShuffleSampler
from common.data.splits import hold_out_images
from instance_discrimination.presets import Config

IMAGE_FOLDERS = ("imagenet", "places205")
"""Data sets that are read as image folders, with the pictures' own aspect ratio."""
OWN_TEST_SHARE = 0.2
"""Share of own pictures, per class, that is only measured on."""
AT_ONCE = 8
"""Batches that are augmented together: the pictures are the same, and a GPU is launched at less often."""

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """The three sets of one run. `training` is the first rows of `labelled`, or the other way round."""

    training: Dataset
    labelled: Dataset
    held_out: Dataset | None


def resolve(name: str) -> str:
    """The name that can be loaded; see common.data.resolve. An image folder that is missing is an error:
    generated drawings never take its place.
    """
    if base_name(name) in IMAGE_FOLDERS:
        image_folder(name, "train")
        return name
    return data.resolve(name)


def split(cfg: Config) -> Split:
    """Training, labelled and held-out pictures of cfg.

    One permutation of the training split, the same for every run seed, decides: its last `held_out` rows
    are held out, its first `images` are trained on, its first `labelled` vote (0: all that are left; the
    trained ones). Generated drawings stand in for any data set: where they are fewer, all of them are used.
    """
    whole = load(cfg.data, "train", cfg.size, cfg.protocol)
    n = len(whole)
    if whole.name == "embedded":
        held_out = min(cfg.held_out, n // 5)
        most = n - held_out
        cfg = replace(cfg, held_out=held_out, images=min(cfg.images, most), labelled=min(cfg.labelled, most))
    for name in ("images", "labelled", "held_out"):
        if not 0 <= getattr(cfg, name) <= n:
            raise ValueError(
                f"--{name.replace('_', '-')} {getattr(cfg, name)}: {whole.name} has {n} training pictures; "
                "give at most that"
            )
    rest = n - cfg.held_out
    images = cfg.images or rest
    labelled = cfg.labelled or images
    if max(images, labelled) > rest or not rest:
        raise ValueError(
            f"--images {cfg.images}, --labelled {cfg.labelled}, --held-out {cfg.held_out} need more than the "
            f"{n} training pictures of {whole.name}; lower one of them"
        )
    if images == labelled == n:
        return Split(whole, whole, None)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    training = whole.subset(order[:images])
    return Split(
        training,
        training if labelled == images else whole.subset(order[:labelled]),
        whole.subset(order[rest:], split="val") if cfg.held_out else None,
    )


def load(name: str, part: str, size: int, protocol: str = "classification") -> Dataset:
    """'train' or 'test' of a data set; protocol 'classification': the classes are the same in both,
    'retrieval': none of them is, see common.data.load.

    Of the first kind, own pictures, folder:PATH: the folders train and test when there are such, with the
    same classes; else a fifth of the pictures of each class is for testing.
    """
    if base_name(name) in IMAGE_FOLDERS:
        return image_folder(name, part, size)
    if protocol == "retrieval" or not name.startswith("folder:"):
        return data.load(name, part, size=size, protocol=protocol)
    whole = data.load(name, "all", size=size)
    top = Path(name.removeprefix("folder:")).expanduser()
    if (top / "train").is_dir() and (top / "test").is_dir():
        train, test = (data.load(name, p, size=size) for p in ("train", "test"))
        if train.names != test.names:
            raise ValueError(
                f"{name}: train and test hold other classes; kNN needs the same ones in both, so put each "
                "class into both folders, or all classes into one"
            )
        return train if part == "train" else test
    train, test = hold_out_images(whole, OWN_TEST_SHARE)
    return train if part == "train" else test.subset(torch.arange(len(test)), split="test")


def base_name(name: str) -> str:
    """'imagenet' of 'imagenet-embedded'."""
    return name.removesuffix("-embedded")


def image_folder(name: str, part: str, size: int = 224) -> Dataset:
    """data root/NAME/train or, for 'test', val: one folder per class. DataMissing says how it must lie.

    Beside generated drawings lies EMBEDDED.txt, and their set is called NAME-embedded.
    """
    top = data_root() / base_name(name)
    folder = top / ("val" if part == "test" else part)
    if not folder.is_dir():
        raise DataMissing(
            f"{name}: there is no folder {folder}; put the pictures there as train/CLASS/*.JPEG and "
            "val/CLASS/*.JPEG, or set DATA_ROOT to the folder that holds them"
        )
    found = torchvision.datasets.ImageFolder(str(folder))
    return Dataset(
        name=base_name(name) + "-embedded" * (top / "EMBEDDED.txt").exists(),
        split=part,
        labels=torch.tensor(found.targets, dtype=torch.int64)[:, None],
        levels=("class",),
        names=(tuple(found.classes),),
        size=size,
        paths=tuple(Path(path) for path, _ in found.samples),
    )


# --- On the way to the network ------------------------------------------------------------------------------


def augmentation(cfg: Config) -> Augment:
    """As in the released code: resized crop, colour jitter, grey, and a flip for ImageNet only (note D8); for
    drawings a small affine change instead.
    """
    return Augment(
        size=cfg.size,
        resized_crop=(cfg.crop_area, 1.0) if cfg.crop_area < 1 else None,
        flip=cfg.flip,
        rotate=cfg.rotate,
        translate=cfg.shift,
        scale=(1 - cfg.zoom, 1 + cfg.zoom),
        shear=cfg.shear,
        brightness=cfg.jitter,
        contrast=cfg.jitter,
        saturation=cfg.jitter,
        hue=cfg.hue,
        grey=cfg.grey,
        mean=cfg.mean,
        std=cfg.std,
    )


def loader(cfg: Config, pictures: Dataset, device: torch.device) -> Loader | PhotographLoader:
    """Batches of these pictures: resident ones by common.data.Loader, photographs of any shape by workers."""
    if pictures.paths is not None and base_name(pictures.name) in IMAGE_FOLDERS:
        return PhotographLoader(pictures, augmentation(cfg), device, cfg.workers)
    return Loader(pictures, augmentation(cfg), device=device, workers=cfg.workers)


def batches(cfg: Config, source: Loader | PhotographLoader, epoch: int) -> Iterator[Batch]:
    """(images [B, 3, s, s] channels-last, index [B]) of one epoch on the device; the last batch may be
    smaller (released: kept). A pure function of (cfg, epoch). Under torchrun images are this rank's share.
    """
    at_once = AT_ONCE if source.dataset.pixels is not None and distributed.world() == 1 else 1
    sampler = ShuffleSampler(len(source.dataset), cfg.batch * at_once, seed=cfg.seed)
    for images, _, index in source.epoch(sampler, seed=cfg.seed, epoch=epoch):
        images = images.contiguous(memory_format=torch.channels_last)
        yield from zip(images.split(cfg.batch), index.split(cfg.batch))


class PhotographLoader:
    """Pictures of any shape, decoded and cropped by worker processes; the interface of common.data.Loader.

    Training: a resized crop (torchvision's RandomResizedCrop, drawn from seed, epoch and row). Measuring:
    shorter side to 8/7 of the size, central crop [released code: 256, 224]. Bilinear with antialiasing, as
    Pillow does it.
    """

    def __init__(self, dataset: Dataset, augment: Augment, device: torch.device, workers: int) -> None:
        self.dataset, self.augment, self.device = dataset, augment, device
        self.workers = min(workers, compute.cores())  # the batches do not depend on how many there are
        self.labels = dataset.labels.to(device)
        # On the device, grey comes before jitter: it is taken out of the augmentation and done first.
        plain = {
            name: getattr(augment, name) for name in ("flip", "brightness", "contrast", "saturation", "hue")
        }
        self.colour = Augment(size=augment.size, mean=augment.mean, std=augment.std, **plain)

    def epoch(self, sampler: Sampler, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(images [B, 3, s, s], labels [B, 1], index [B]) on the device; a pure function of (seed, epoch)."""
        sampler.set_epoch(epoch)
        for pixels, own, rows in self._decoded(shared(sampler), (seed, epoch)):
            if self.augment.grey:
                pixels = some_grey(pixels, own, self.augment.grey, seed, epoch)
            yield self._batch(self.colour(pixels, own, seed, epoch), rows)

    def all(self, batch: int = 256, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every picture once, or those of `rows`, in this order, without augmentation."""
        a = self.augment
        for pixels, _, index in self._decoded(in_order(len(self.dataset), batch, rows), None):
            yield self._batch(normalise(pixels, a.size, a.mean, a.std), index)

    def _batch(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = rows.to(self.device, non_blocking=True)
        return images, self.labels[index], index

    def _decoded(
        self, batches: Iterable[Rows], draw: tuple[int, int] | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """([b, 3, s, s] uint8 on the device, their rows [b], the whole batch's rows [B]), rows on the CPU."""
        return decoded(Crops(self.dataset, self.augment, draw), batches, self.workers, self.device)


class Crops(torch.utils.data.Dataset):
    """Rows -> ([B, 3, s, s] uint8, rows); an unreadable picture comes back as its message.

    draw: (seed, epoch) of random windows; None: the central one.
    """

    def __init__(self, dataset: Dataset, augment: Augment, draw: tuple[int, int] | None) -> None:
        self.paths, self.augment, self.draw = dataset.paths or (), augment, draw

    def __getitem__(self, rows: Rows) -> tuple[Tensor | str, Tensor, Tensor]:
        try:
            return torch.stack([self.picture(i) for i in rows.own.tolist()]), rows.own, rows.whole
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return f"{error}; replace or remove this file", rows.own, rows.whole

    def picture(self, row: int) -> Tensor:
        """(3, s, s) uint8"""
        size, path = self.augment.size, self.paths[row]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"cannot read picture {path}: {error}") from error
        if self.draw is None:
            short, (w, h) = round(size * 8 / 7), image.size
            larger = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
            image = image.resize(larger, Image.Resampling.BILINEAR)
            left, top = round((image.width - size) / 2), round((image.height - size) / 2)
            image = image.crop((left, top, left + size, top + size))
        else:
            window = self.augment.draw(torch.tensor([row]), image.height, image.width, *self.draw).window
            top, left, height, width = window[0].tolist()
            image = image.crop((left, top, left + width, top + height))  # nothing bleeds in from beside it
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def some_grey(pixels: Tensor, rows: Tensor, share: float, seed: int, epoch: int) -> Tensor:
    """[B, 3, s, s] uint8 with a share of the pictures grey: the draw of Augment's grey step, done first."""
    drawn = Augment(size=1, grey=share).draw(rows, 1, 1, seed, epoch).grey  # (B,)
    grey = luminance(pixels.float()).round_().to(torch.uint8)  # (B, 1, s, s)
    chosen = drawn.to(pixels.device, non_blocking=True)[:, None, None, None]
    return torch.where(chosen, grey, pixels)
