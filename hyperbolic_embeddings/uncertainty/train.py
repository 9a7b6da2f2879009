"""Train a classifier of digits whose certainty is measured afterwards (Figures 1 and 5, Table 2).

As the authors' mnist.py: Adam, negative log-likelihood, 10 passes over all 60,000 training pictures, no
schedule, no augmentation. Neither the test pictures nor Omniglot are looked at. The weights of the last three
epochs stay in the checkpoint, because at n = 2 the accuracy still swings from epoch to epoch: evaluate.py
measures them all, so that nothing has to be held out.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute, config, data, distributed
from common.data.dataset import Dataset
from common.data.samplers import ShuffleSampler
from common.run import LossMeter, Run, not_finite
from hyperbolic_embeddings.uncertainty.model import SIDE, Network, standardise
from hyperbolic_embeddings.uncertainty.presets import Uncertainty

KEPT = 3
"""Epochs whose weights stay in the checkpoint."""


def train(cfg: Uncertainty, run: Run) -> None:
    check(cfg)
    device = run.device

    # Data: the pictures lie on the device as uint8 and become floats batch by batch.
    dataset = load(cfg, "train")
    assert dataset.pixels is not None
    pixels, labels = dataset.pixels.to(device), dataset.label.to(device)
    sampler = ShuffleSampler(len(dataset), cfg.batch, seed=cfg.seed)

    model = build(cfg, dataset.classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=cfg.lr, fused=True)

    steps = cfg.epoch_steps or len(sampler)
    last = LastEpochs()
    state = {"model": model, "optimiser": optimiser, "last": last}
    done = run.resume(**state)
    for epoch in run.progress(range(done, cfg.epochs), cfg.epochs - done, run.preset):
        model.train()
        started, losses, capped = time.monotonic(), LossMeter(device), LossMeter(device)
        first, pictures = epoch * steps, 0
        for step, rows in enumerate(batches(sampler, first, steps), start=first):
            index = torch.tensor(rows).to(device, non_blocking=True)
            own = distributed.share(index)
            with compute.autocast(device, cfg.precision):
                try:
                    u, _, logits = model(standardise(pixels[own], cfg.mean, cfg.std))  # (b, n), (b, K)
                except ValueError as error:
                    # On the CPU the layers refuse NaN themselves, but they do not know the step.
                    raise not_finite(step) from error
            u, logits = distributed.gather(u, len(index)), distributed.gather(logits, len(index))
            loss = F.cross_entropy(logits, labels[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            distributed.average_gradients(model.parameters())
            optimiser.step()
            losses.add(loss)
            pictures += len(rows)
            capped.add((u.detach().norm(dim=1) >= model.cap).float().mean())
        seconds = time.monotonic() - started
        last.add(model)
        run.log(
            epoch=epoch + 1,
            step=first + losses.steps,
            loss=losses.mean(before=first),
            capped_share=capped.mean(),
            images_per_second=round(pictures / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
        )
        run.save(epoch + 1, finished=epoch + 1 == cfg.epochs, **state)
    if done >= cfg.epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(cfg.epochs, finished=True, **state)


def check(cfg: Uncertainty) -> None:
    """Say what cannot work before anything is written, and before hours of training what cannot be measured
    afterwards: a missing out-of-domain set raises DataMissing.
    """
    config.require_limits(cfg)
    if not 0 < cfg.c < math.inf:
        raise ValueError(f"--c {cfg.c}: give a finite number above 0")
    if cfg.data != "embedded":
        data.resolve(cfg.outside, "real")


def load(cfg: Uncertainty, split: str) -> Dataset:
    """A split of the in-domain set: 28 x 28 grey pictures, the same classes in 'train' and 'test'."""
    return data.load(cfg.data, split, size=SIDE, protocol="classification", channels=1)


def build(cfg: Uncertainty, classes: int) -> Network:
    """The network of cfg, with freshly initialised weights."""
    return Network(
        cfg.dim,
        classes,
        hyperbolic=cfg.head == "hyperbolic",
        c=cfg.c,
        mode=cfg.mode,
        correction=cfg.correction,
        clip=cfg.clip,
    )


def batches(sampler: ShuffleSampler, first: int, steps: int) -> Iterator[list[int]]:
    """Rows of the pictures of steps first .. first + steps - 1. Shuffled passes over all pictures follow one
    another, whatever the length of an epoch.
    """

    def passes() -> Iterator[list[int]]:
        for number in itertools.count(first // len(sampler)):
            sampler.set_epoch(number)
            yield from sampler

    skip = first % len(sampler)
    return itertools.islice(passes(), skip, skip + steps)


class LastEpochs:
    """Weights after each of the last KEPT epochs, oldest first; a part of the checkpoint."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def add(self, model: nn.Module) -> None:
        copy = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        self.weights = [*self.weights, copy][-KEPT:]

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = list(state_dict["weights"])
