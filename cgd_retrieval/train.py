"""Train CGD: `python -m cgd_retrieval.train PRESET [--field value ...]`. Prints the checkpoint path last."""

from __future__ import annotations

import dataclasses
import math
import time

import torch
from torch import Tensor

from cgd_retrieval import backbones
from cgd_retrieval.losses import (
    auxiliary_loss,
    batch_hard_triplet_loss,
    hap2s_loss,
    margin_loss,
    semi_hard_triplet_loss,
)
from cgd_retrieval.model import CGD
from cgd_retrieval.presets import PRESETS, Config
from common import compute, config, data, distributed
from common.data.augment import Augment
from common.data.dataset import Dataset, with_quarter_turns
from common.data.loading import Loader, embed
from common.data.samplers import PKSampler
from common.data.splits import hold_out_classes
from common.metrics import recall_at_k
from common.run import LossMeter, Run, not_finite


def main(argv: list[str]) -> None:
    preset, cfg = config.parse(PRESETS, argv, prog="python -m cgd_retrieval.train")
    cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data))
    check(cfg)
    run = Run("cgd_retrieval", preset, cfg, config.overrides(PRESETS, preset, cfg), argv)
    device = run.device
    if run.finished:
        print(run.folder / "last.pt")
        return

    # Data: training classes only; validation classes, if any, are set aside and never drawn from.
    train, val = training_sets(cfg)
    loader = Loader(train, augmentation(cfg), device=device, workers=cfg.workers)
    judge = Loader(val, augmentation(cfg), device=device, workers=cfg.workers) if val else None
    sampler = PKSampler(
        train.label,
        cfg.classes_per_batch,
        cfg.images_per_class,
        seed=cfg.seed,
        steps=cfg.epoch_steps or None,
        short=cfg.short_classes,
    )

    # Sections 3.1 to 3.3, Figure 1: backbone, main module (branches), auxiliary module (classifier).
    model = build(cfg, train.classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(cfg, step))

    # Figure 1: L = L_rank + L_cls, equal weights.
    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
    epochs = math.ceil(cfg.steps / len(sampler))
    done = run.resume(**state)
    for epoch in run.progress(range(done, epochs), epochs - done, preset):
        model.train()
        started, ranked, classified = time.monotonic(), LossMeter(device), LossMeter(device)
        first = epoch * len(sampler)
        batches = loader.epoch(sampler, seed=cfg.seed, epoch=epoch)
        for step, (images, labels, _) in zip(range(first, min(first + len(sampler), cfg.steps)), batches):
            with compute.autocast(device, cfg.precision):
                psi, logits = model(images.contiguous(memory_format=torch.channels_last))  # (b, D), (b, M)
            y = labels[:, -1]  # (B,)
            psi = distributed.gather(psi, len(y))  # (B, D): the losses see the batch of all ranks
            logits = logits if logits is None else distributed.gather(logits, len(y))
            # Of the margin loss's negatives: as the augmentation, a function of the seed and the step.
            draw = torch.Generator(device).manual_seed(cfg.seed * 1_000_003 + step)
            l_cls = psi.new_zeros(())
            try:
                l_rank = torch.stack([ranking_loss(cfg, z, y, draw) for z in model.ranked(psi)]).sum()
                if logits is not None:
                    l_cls = auxiliary_loss(logits, y, cfg.temperature, cfg.smoothing)
            except ValueError as error:
                # On the CPU the losses refuse NaN themselves, but they do not know the step.
                finite = psi.isfinite().all() and (logits is None or logits.isfinite().all())
                raise error if finite else not_finite(step) from error
            optimiser.zero_grad(set_to_none=True)
            (l_rank + l_cls).backward()
            distributed.average_gradients(model.parameters())
            optimiser.step()
            schedule.step()
            ranked.add(l_rank)
            classified.add(l_cls)
        seconds = time.monotonic() - started
        pictures = ranked.steps * cfg.classes_per_batch * cfg.images_per_class
        run.log(
            epoch=epoch + 1,
            step=first + ranked.steps,
            rank_loss=ranked.mean(before=first),
            class_loss=classified.mean(before=first),
            lr=schedule.get_last_lr()[0],
            images_per_second=round(pictures / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
            **({"val_recall_at_1": validate(model, judge)} if judge else {}),
        )
        run.save(epoch + 1, finished=epoch + 1 == epochs, **state)
    if done >= epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(epochs, finished=True, **state)
    print(run.folder / "last.pt")


def check(cfg: Config) -> None:
    """Say what cannot work before anything is written."""
    config.require_limits(cfg)
    if cfg.ranking == "none" and not cfg.auxiliary:
        raise ValueError(
            "--ranking none with --no-auxiliary leaves nothing to learn from; keep one of the two losses"
        )
    if cfg.backbone == "pixels":
        raise ValueError(
            "--backbone pixels: there is nothing to train; use python -m cgd_retrieval.evaluate pixels"
        )
    if cfg.enlarged < cfg.size:
        raise ValueError(
            f"--enlarged {cfg.enlarged} is below --size {cfg.size}; the random crop needs that size: give it"
        )


def training_sets(cfg: Config) -> tuple[Dataset, Dataset | None]:
    """Training classes, and the validation classes at the network's input size when cfg.val_share > 0."""
    train, val = data.load(cfg.data, "train", size=cfg.enlarged, crop=cfg.crop), None
    if cfg.val_share > 0:
        train = held_out(cfg, train)[0]
        val = validation_set(cfg)
    return with_quarter_turns(train) if cfg.quarter_turns else train, val


def validation_set(cfg: Config) -> Dataset:
    """The training classes that cfg.val_share holds out, resized straight to the input size."""
    return held_out(cfg, data.load(cfg.data, "train", size=cfg.size, crop=cfg.crop))[1]


def held_out(cfg: Config, train: Dataset) -> tuple[Dataset, Dataset]:
    """(what is left to train on, what is held out) by cfg.val_share and cfg.val_level."""
    return hold_out_classes(train, cfg.val_share, level=0 if cfg.val_level == "coarsest" else -1)


@torch.no_grad()
def validate(model: CGD, loader: Loader) -> float:
    """recall@1 of the embedding among the validation pictures."""
    model.eval()
    psi = embed(loader, lambda images: {"psi": model(images)[0].float().cpu()})["psi"]
    return recall_at_k(psi, loader.dataset.label, (1,))[1]


def augmentation(cfg: Config) -> Augment:
    """Enlarge, random crop, flip (note D7); for drawings a small affine change instead."""
    resized = cfg.crop_area != (1.0, 1.0)
    return Augment(
        size=cfg.size,
        random_crop=cfg.enlarged > cfg.size and not resized,
        resized_crop=cfg.crop_area if resized else None,
        flip=cfg.flip,
        brightness=cfg.colour,
        contrast=cfg.colour,
        saturation=cfg.colour,
        rotate=cfg.rotate,
        translate=cfg.shift,
        scale=(1 - cfg.zoom, 1 + cfg.zoom),
        shear=cfg.shear,
        mean=cfg.mean,
        std=cfg.std,
    )


def build(cfg: Config, classes: int) -> CGD:
    """The network of cfg, with freshly initialised (or ImageNet) weights."""
    weights = None if cfg.weights == "none" else cfg.weights
    backbone = backbones.build(cfg.backbone, weights, cfg.stride, widths=cfg.widths)
    return CGD(
        backbone,
        cfg.config,
        cfg.dim,
        classes,
        framework=cfg.framework,
        fusion=cfg.fusion,
        learnable_p=cfg.learnable_p,
        auxiliary=cfg.auxiliary,
        freeze_bn=cfg.freeze_bn,
    )


def ranking_loss(cfg: Config, z: Tensor, labels: Tensor, draw: torch.Generator) -> Tensor:
    """L_rank on z (B, k): the paper's batch-hard triplet loss, or one of those it compares with."""
    if cfg.ranking == "batch-hard":
        return batch_hard_triplet_loss(z, labels, cfg.margin)
    if cfg.ranking == "semi-hard":
        return semi_hard_triplet_loss(z, labels, cfg.margin)
    if cfg.ranking == "margin":
        return margin_loss(z, labels, generator=draw)
    if cfg.ranking == "none":
        return z.new_zeros(())
    return hap2s_loss(z, labels, cfg.margin, variant="P" if cfg.ranking == "hap2s-p" else "E")


def learning_rate(cfg: Config, step: int) -> float:
    """Factor on cfg.lr at a step: linear warm-up, then x0.1 per milestone or half a cosine."""
    rise = min(1.0, (step + 1) / cfg.warmup) if cfg.warmup else 1.0
    if cfg.schedule == "step":
        return rise * 0.1 ** sum(step >= m for m in cfg.milestones)
    return rise * 0.5 * (1 + math.cos(math.pi * min(step / max(cfg.steps, 1), 1)))


if __name__ == "__main__":
    config.command(main)
