"""Train an encoder: `python -m hierarchical_multilabel.train PRESET [--field value ...]`. Prints the
checkpoint path last. The linear probe is part of the measurement, see evaluate.py.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute, config, data, distributed
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader
from common.data.samplers import ShuffleSampler
from common.run import LossMeter, Run, not_finite
from hierarchical_multilabel import losses, model, splits
from hierarchical_multilabel.presets import HIERARCHICAL, PRESETS, Config
from hierarchical_multilabel.sampler import HierarchicalSampler, positives_per_level


def main(argv: list[str]) -> None:
    preset, cfg = config.parse(PRESETS, argv, prog="python -m hierarchical_multilabel.train")
    cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data))
    check(cfg)
    run = Run("hierarchical_multilabel", preset, cfg, config.overrides(PRESETS, preset, cfg), argv)
    device = run.device
    if run.finished:
        print(run.folder / "last.pt")
        return

    # Data: seen categories only. Labels (N, L) from coarse to fine; the picture itself is the last column.
    train = splits.training_set(
        cfg.data,
        size=cfg.stored,
        hold_out=cfg.hold_out,
        val_share=cfg.val_share,
        set_aside=cfg.set_aside,
    )
    loader = Loader(train, augmentation(cfg), device=device, workers=cfg.workers)
    sampler = batches(cfg, train)
    levels = len(train.levels)
    if cfg.method == "supcon":
        column(cfg, levels)  # a level that is not there is refused before anything is written

    # Section 4: encoder and projection head; for cross-entropy a linear classifier instead.
    encoder = build(cfg, classes(cfg, train)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(encoder)
    trained = [p for p in encoder.parameters() if p.requires_grad]
    if cfg.optimiser == "sgd":
        optimiser = torch.optim.SGD(trained, lr=cfg.lr, momentum=0.9, weight_decay=cfg.weight_decay)
    else:
        optimiser = torch.optim.Adam(trained, lr=cfg.lr, weight_decay=cfg.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(cfg, step))
    watched = Watch(levels).to(device)

    state = {"model": encoder, "optimiser": optimiser, "schedule": schedule, "watched": watched}
    epochs = math.ceil(cfg.steps / len(sampler))
    done = run.resume(**state)
    for epoch in run.progress(range(done, epochs), epochs - done, preset):
        encoder.train()
        started, meter, pictures = time.monotonic(), LossMeter(device), 0
        before = watched.snapshot()
        first = epoch * len(sampler)
        drawn = loader.epoch(sampler, seed=cfg.seed, epoch=epoch, views=cfg.views)
        for step, (images, labels, index) in zip(range(first, min(first + len(sampler), cfg.steps)), drawn):
            x = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (b V, 3, H, W)
            with compute.autocast(device, cfg.precision):
                _, z, logits = encoder(x)
            z = distributed.gather(z.unflatten(0, (-1, cfg.views)), len(index))  # (B, V, D), of all ranks
            if logits is not None:
                logits = distributed.gather(logits.unflatten(0, (-1, cfg.views)), len(index)).flatten(0, 1)
            tree = torch.column_stack([labels, index])  # (B, K), note D12
            try:
                loss = objective(cfg, z, logits, tree)
                watched.add(tree, statistics(cfg, z, tree))
            except ValueError as error:  # on the CPU the losses refuse NaN, but they do not know the step
                if z.isfinite().all():
                    raise
                raise not_finite(step) from error
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            distributed.average_gradients(trained)
            optimiser.step()
            schedule.step()
            meter.add(loss)
            pictures += len(index) * cfg.views
        seconds = time.monotonic() - started
        run.log(
            epoch=epoch + 1,
            step=first + meter.steps,
            loss=meter.mean(before=first),
            lr=schedule.get_last_lr()[0],
            images_per_second=round(pictures / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
            **watched.since(before),
        )
        run.save(epoch + 1, finished=epoch + 1 == epochs, **state)
    if done >= epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(epochs, finished=True, **state)
    print(run.folder / "last.pt")


def check(cfg: Config) -> None:
    """Say what cannot work before anything is written."""
    config.require_limits(cfg)
    if cfg.backbone == "pixels":
        raise ValueError(
            "--backbone pixels: there is nothing to train; use python -m hierarchical_multilabel.evaluate "
            "pixels"
        )
    if cfg.method == "simclr" and cfg.views < 2:
        raise ValueError(
            f"--views {cfg.views} with --method simclr: its only positives are other views; give 2"
        )
    if cfg.positives != "inclusive" and cfg.form == "released":
        raise ValueError(
            "--positives lowest is an option of --form paper; the released code has no such choice: use "
            "--positives inclusive"
        )
    if cfg.stored < cfg.size:
        raise ValueError(f"--stored {cfg.stored} is below --size {cfg.size}; give at least the input's size")


def augmentation(cfg: Config) -> Augment:
    """Resized crop, flip, colour (note O6); for drawings a small affine change instead."""
    return Augment(
        size=cfg.size,
        resized_crop=None if cfg.crop == (1.0, 1.0) else cfg.crop,
        flip=cfg.flip,
        rotate=cfg.rotate,
        translate=cfg.shift,
        scale=(1 - cfg.zoom, 1 + cfg.zoom),
        shear=cfg.shear,
        brightness=cfg.colour,
        contrast=cfg.colour,
        saturation=cfg.colour,
        jitter=cfg.colour_share,
        mean=cfg.mean,
        std=cfg.std,
    )


def batches(cfg: Config, train: Dataset) -> HierarchicalSampler | ShuffleSampler:
    """The sampler of cfg; a batch is never larger than the training set."""
    batch = min(cfg.batch, len(train))
    if cfg.sampler == "random":
        return ShuffleSampler(len(train), batch, seed=cfg.seed, drop_last=True)
    tree = torch.column_stack([train.labels, torch.arange(len(train))])
    return HierarchicalSampler(tree, batch, seed=cfg.seed, steps=cfg.epoch_steps or None)


def build(cfg: Config, classes: int) -> model.Encoder:
    """The network of cfg, with freshly initialised (or ImageNet) weights."""
    return model.build(
        cfg.backbone,
        None if cfg.weights == "none" else cfg.weights,
        widths=cfg.widths,
        pools=cfg.pools,
        frozen=cfg.frozen,
        dim=cfg.dim,
        classes=classes,
    )


def classes(cfg: Config, train: Dataset) -> int:
    """Classes of the linear classifier that cross-entropy trains; 0 for the other methods."""
    return len(train.names[column(cfg, len(train.levels))]) if cfg.method == "cross-entropy" else 0


def column(cfg: Config, levels: int) -> int:
    """Column of the labels that holds level cfg.level, 1 the finest."""
    if cfg.level > levels:
        raise ValueError(
            f"--level {cfg.level}: {cfg.data} has {levels} levels, 1 is the finest; give 1 to {levels}"
        )
    return levels - cfg.level


def objective(cfg: Config, z: Tensor, logits: Tensor | None, tree: Tensor) -> Tensor:
    """The loss of cfg on z (B, V, D) or logits (B V, M); tree (B, K): coarse to fine, the picture.  -> ()"""
    levels = tree.shape[1] - 1
    if cfg.method == "simclr":
        return losses.simclr_loss(z, cfg.temperature)
    if cfg.method == "cross-entropy":
        assert logits is not None
        return F.cross_entropy(logits, tree[:, column(cfg, levels)].repeat_interleave(cfg.views))
    if cfg.method == "supcon":
        return losses.supcon_loss(z, tree[:, column(cfg, levels)], cfg.temperature)
    weight = penalty(cfg, levels)
    if cfg.method == "himulcon":
        return losses.himulcon_loss(z, tree, cfg.temperature, cfg.form, weight, positives=cfg.positives)
    constrained = losses.hicone_loss if cfg.method == "hicone" else losses.himulcone_loss
    threshold = "attached" if cfg.form == "released" else cfg.threshold
    return constrained(
        z, tree, cfg.temperature, cfg.form, weight, positives=cfg.positives, threshold=threshold
    )


def statistics(cfg: Config, z: Tensor, tree: Tensor) -> losses.LevelStatistics | None:
    """What the constraint does, or would do under HiMulCon, in the form of cfg; None for the baselines."""
    if cfg.method not in HIERARCHICAL:
        return None
    return losses.level_statistics(z.detach(), tree, cfg.temperature, cfg.form, positives=cfg.positives)


def penalty(cfg: Config, levels: int) -> Callable[[int], float]:
    """lambda_l of Eq. (4) and (7) as a function of the level, 1 the finest (note D10)."""
    if cfg.penalty == "exp":
        return losses.exponential
    if cfg.penalty == "pow2":
        return losses.power_of_two
    if cfg.penalty == "reciprocal":
        return lambda l: 1 / l
    if cfg.penalty == "one":
        return lambda l: 1.0
    return lambda l: losses.exponential(levels + 1 - l)


def learning_rate(cfg: Config, step: int) -> float:
    """Factor on cfg.lr at a step: half a cosine down to cfg.floor; the warm-up is a line that meets it."""
    warmup = min(cfg.warmup, cfg.steps // 2)
    if step < warmup:
        top = learning_rate(cfg, warmup)
        return cfg.warmup_from + (top - cfg.warmup_from) * (step + 1) / warmup
    half = 0.5 * (1 + math.cos(math.pi * min(step / max(cfg.steps, 1), 1)))
    return cfg.floor + (1 - cfg.floor) * half


class Watch(nn.Module):
    """Sums over all steps, as buffers: a checkpoint carries them.

    steps: all steps. positives (L,): of each level, finest first, the share of pictures with another picture
    of the batch whose finest common level it is. watched: steps with LevelStatistics; of these active_steps:
    steps in which the constraint raised at least one term, active and terms: how many terms it raised and
    could raise, losses (L,): level losses without constraint and penalty.
    """

    steps: Tensor
    positives: Tensor
    watched: Tensor
    active_steps: Tensor
    active: Tensor
    terms: Tensor
    losses: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        for name in ("steps", "watched", "active_steps", "active", "terms"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        for name in ("positives", "losses"):
            self.register_buffer(name, torch.zeros(levels, dtype=torch.float64))

    def add(self, tree: Tensor, found: losses.LevelStatistics | None) -> None:
        self.steps += 1
        self.positives += positives_per_level(tree).share
        if found is None:
            return
        active = found.active.sum()
        self.watched += 1
        self.active_steps += (active > 0).long()
        self.active += active
        self.terms += found.terms.sum()
        self.losses += found.losses.double()

    def snapshot(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.named_buffers()}

    def since(self, before: dict[str, Tensor]) -> dict[str, float]:
        """For the log: shares and means per step since a snapshot."""
        now = {name: (value - before[name]).cpu() for name, value in self.named_buffers()}
        steps, watched = max(int(now["steps"]), 1), int(now["watched"])
        row = {f"level_{l}_positives": float(x) / steps for l, x in enumerate(now["positives"], start=1)}
        if not watched:
            return row
        return row | {
            "active_steps": float(now["active_steps"]) / watched,
            "active_terms": float(now["active"]) / max(int(now["terms"]), 1),
            **{f"level_{l}_loss": float(x) / watched for l, x in enumerate(now["losses"], start=1)},
        }


if __name__ == "__main__":
    config.command(main)
