"""From a Dataset to batches on the device: (images [B, 3, s, s] float32, labels [B, L] int64, index [B]
int64); with `views`, images [B, V, 3, s, s]. Under torchrun images are this rank's share of the batch, labels
and index are those of the whole batch (common.distributed).

Pictures in memory are moved to the device once, as uint8. Pictures on disk are decoded to the same uint8 by
worker processes which do nothing else. Either way the same Augment then runs on the device, so a batch does
not depend on where its pictures came from, nor on the number of workers. torch's global random state is never
read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
import torch.utils.data
from torch import Tensor

from common import compute, distributed
from common.data.augment import Augment, normalise
from common.data.dataset import Dataset

Batch = tuple[Tensor, Tensor, Tensor]


class Sampler(Protocol):
    """Whatever yields the rows of each batch: see common.data.samplers."""

    def set_epoch(self, epoch: int) -> None: ...

    def __iter__(self) -> Iterator[list[int] | Tensor]: ...

    def __len__(self) -> int: ...


class Loader:
    """Batches of one data set on one device.

    loader = Loader(train, augment, device=device, workers=4)
    for images, labels, index in loader.epoch(sampler, seed=0, epoch=3): ...
    for images, labels, index in loader.all(): ...
    """

    def __init__(
        self, dataset: Dataset, augment: Augment, *, device: torch.device | str = "cpu", workers: int = 0
    ) -> None:
        """workers: processes that decode pictures on disk (0: this process); unused for pictures in
        memory."""
        if workers < 0:
            raise ValueError(f"workers = {workers}: give 0 or more processes")
        self.dataset = dataset
        self.augment = augment
        self.device = torch.device(device)
        self.workers = workers
        self.labels = dataset.labels.to(self.device)  # (N, L)
        self.pixels = None if dataset.pixels is None else dataset.pixels.to(self.device)  # (N, C, H, W) uint8

    def epoch(
        self, sampler: Sampler, *, seed: int, epoch: int, views: int | None = None
    ) -> Generator[Batch, None, None]:
        """The batches of one epoch, augmented: a pure function of (data set, augment, sampler, seed, epoch).

        views: V versions of each picture, augmented apart: images [B, V, 3, s, s], of which [:, 0] is what
        comes without views. Calls sampler.set_epoch(epoch). An episode (way, shot + query) comes out flat,
        class after class. Raises ValueError naming the file when a picture cannot be read.
        """
        if views is not None and views < 1:
            raise ValueError(f"views = {views}: give at least 1 version of each picture")
        sampler.set_epoch(epoch)
        for pixels, own, index in self._pictures(shared(sampler)):
            # Parameters are drawn from the index on the CPU; see Augment.__call__.
            if views is None:
                images = self.augment(pixels, own, seed, epoch)
            else:
                images = torch.stack([self.augment(pixels, own, seed, epoch, v) for v in range(views)], 1)
            yield self._batch(images, index)

    def all(self, batch: int = 256, rows: Tensor | None = None) -> Generator[Batch, None, None]:
        """Every picture once, or those of `rows`, in this order, without augmentation (see `normalise`)."""
        a = self.augment
        for pixels, _, index in self._pictures(in_order(len(self.dataset), batch, rows)):
            yield self._batch(normalise(pixels, a.size, a.mean, a.std), index)

    def _batch(self, images: Tensor, index: Tensor) -> Batch:
        index = index.to(self.device, non_blocking=True)
        return images, self.labels[index], index

    def _pictures(self, batches: Iterable[Rows]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """([b, C, H, W] uint8 on the device, their rows [b], the whole batch's rows [B]), rows on the CPU."""
        if self.pixels is not None:
            for own, index in batches:
                yield self.pixels[own.to(self.device, non_blocking=True)], own, index
            return
        yield from decoded(_Decoder(self.dataset), batches, self.workers, self.device)


def decoded(
    decoder: torch.utils.data.Dataset, batches: Iterable[Rows], workers: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What a decoder makes of each batch of rows, decoded ahead by worker processes: pictures on the device,
    their rows and the whole batch's rows on the CPU.

    decoder[Rows]: (pictures, own rows, whole rows), or a sentence in place of the pictures, which is raised
    as ValueError. OSError when a worker has died.
    """
    stream = iter(
        torch.utils.data.DataLoader(
            decoder,
            batch_size=None,  # the decoder receives a whole batch of rows
            sampler=batches,
            collate_fn=_unchanged,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else iterating draws a number from the global state
        )
    )
    try:
        for pixels, own, index in stream:
            if isinstance(pixels, str):
                raise ValueError(pixels)
            yield pixels.to(device, non_blocking=True), own, index
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(
            f"a process that decodes pictures has died ({str(error).splitlines()[0]}); out of memory, most "
            "likely: use fewer --workers and start the same command again; the last checkpoint is kept"
        ) from error
    finally:
        del stream  # ends the workers now, also when the reader stops early or a picture is broken


class _Decoder(torch.utils.data.Dataset):
    """Rows -> (uint8 pictures, rows). An unreadable picture comes back as its message: an exception that
    leaves a worker would arrive wrapped in that worker's traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, rows: Rows) -> tuple[Tensor | str, Tensor, Tensor]:
        try:
            return torch.stack([self.dataset.picture(i) for i in rows.own.tolist()]), rows.own, rows.whole
        except (OSError, ValueError) as error:
            return str(error), rows.own, rows.whole


class Rows(NamedTuple):
    """One batch of a data set."""

    own: Tensor
    """(b,) rows whose pictures this rank reads."""
    whole: Tensor
    """(B,) rows of all ranks."""


def shared(batches: Iterable[list[int] | Tensor]) -> Iterator[Rows]:
    """Each batch of rows with this rank's share of it."""
    for rows in batches:
        whole = torch.as_tensor(rows, dtype=torch.int64).reshape(-1)
        yield Rows(distributed.share(whole), whole)


def in_order(n: int, batch: int, rows: Tensor | None = None) -> Iterator[Rows]:
    """Rows 0 .. n - 1, or those given, in batches that no other rank has a share in."""
    if batch < 1:
        raise ValueError(f"batch = {batch}: give at least 1 picture")
    rows = torch.arange(n) if rows is None else rows
    return (Rows(part, part) for part in (rows.split(batch) if len(rows) else ()))


class Pictures(Protocol):
    """A Loader, as far as `embed` needs to know it."""

    dataset: Dataset

    def all(self, batch: int = 256, rows: Tensor | None = None) -> Iterator[Batch]: ...


def embed(
    source: Pictures, network: Callable[[Tensor], dict[str, Tensor]], *, batch: int = 256
) -> dict[str, Tensor]:
    """What a network makes of every picture, in the order of the data set, without augmentation.

    network: images [B, 3, s, s] -> name -> (B, ...). Returns name -> (N, ...). Under torchrun each rank
    embeds a share of the pictures, and all of them get everything. Out of memory: half as many at a time.
    """
    n = len(source.dataset)
    rows = distributed.share(torch.arange(n))

    def embedded(batch: int) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        for images, _, _ in source.all(batch, rows):
            for name, value in network(images).items():
                parts.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in parts.items()}

    found = compute.halving(embedded, batch, "pictures")
    return {name: distributed.gather(value, n) for name, value in found.items()}


def _unchanged(batch: Any) -> Any:
    return batch
