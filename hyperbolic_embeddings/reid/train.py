"""Train a re-identification network; started by `python -m hyperbolic_embeddings.train PRESET`."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from common import compute, data, distributed
from common.data.augment import Augment
from common.data.loading import Loader
from common.data.samplers import ShuffleSampler
from common.run import LossMeter, Run, not_finite
from hyperbolic_embeddings.reid.model import build
from hyperbolic_embeddings.reid.presets import ReID


def train(cfg: ReID, run: Run) -> None:
    check(cfg)
    device = run.device

    # Data: training persons only; query and gallery show other persons.
    pictures = data.load(cfg.data, "train", size=cfg.size)
    loader = Loader(pictures, augmentation(cfg), device=device, workers=cfg.workers)
    sampler = ShuffleSampler(len(pictures), cfg.batch, seed=cfg.seed, drop_last=True)

    # Section 5.3: ResNet-50, embedding, head. The two schedules differ in the learning rate.
    model = build(cfg, pictures.classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(cfg.milestones), 0.1)

    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
    done = run.resume(**state)
    for epoch in run.progress(range(done, cfg.epochs), cfg.epochs - done, run.preset):
        model.train()
        started, meter = time.monotonic(), LossMeter(device)
        right = torch.zeros((), device=device, dtype=torch.int64)
        for step, (images, labels, _) in enumerate(loader.epoch(sampler, seed=cfg.seed, epoch=epoch)):
            y = labels[:, -1]
            images = images.contiguous(memory_format=torch.channels_last)
            with compute.autocast(device, cfg.precision):
                z = model.embed(images)  # (b, D)
            z = distributed.gather(z, len(y))  # (B, D)
            try:
                logits = model.classify(z)  # (B, M)
            except ValueError as error:
                # On the CPU the geometry refuses NaN itself, but does not know the step.
                raise error if z.isfinite().all() else not_finite(epoch * len(sampler) + step) from error
            loss = F.cross_entropy(logits, y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            distributed.average_gradients(model.parameters())
            optimiser.step()
            meter.add(loss)
            right += (logits.argmax(1) == y).sum()
        schedule.step()
        seconds = time.monotonic() - started
        run.log(
            epoch=epoch + 1,
            loss=meter.mean(before=epoch * len(sampler)),
            train_accuracy=float(right) / (meter.steps * cfg.batch),
            norm=float(z.detach().norm(dim=1).mean()),  # of the last batch: where exp_0 begins to bend
            lr=optimiser.param_groups[0]["lr"],
            images_per_second=round(meter.steps * cfg.batch / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
        )
        run.save(epoch + 1, finished=epoch + 1 == cfg.epochs, **state)
    if done >= cfg.epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(cfg.epochs, finished=True, **state)


def check(cfg: ReID) -> None:
    """Say what cannot work before anything is written."""
    for name, least in (("epochs", 0), ("pad", 0), ("workers", 0), ("size", 1), ("narrow", 1), ("dim", 1)):
        if getattr(cfg, name) < least:
            raise ValueError(f"--{name} {getattr(cfg, name)}: give at least {least}")
    if cfg.batch < 2:
        raise ValueError(f"--batch {cfg.batch}: batch normalisation needs 2 pictures; give at least 2")
    if cfg.size % cfg.narrow:
        raise ValueError(f"--size {cfg.size} is no multiple of --narrow {cfg.narrow}; change one of them")
    if not cfg.lr > 0:
        raise ValueError(f"--lr {cfg.lr}: give a learning rate above 0")
    if not cfg.c > 0:
        raise ValueError(f"--c {cfg.c}: the curvature is -c, give a number above 0; for none --head flat")


def augmentation(cfg: ReID) -> Augment:
    """Padding and random crop, flip."""
    return Augment(
        size=cfg.size,
        random_crop=cfg.pad > 0,
        pad=cfg.pad,
        flip=cfg.flip,
        mean=cfg.mean,
        std=cfg.std,
    )
