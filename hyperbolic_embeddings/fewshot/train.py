"""Train a prototypical network in one of four geometries, episode by episode (Section 5.2)."""

from __future__ import annotations

import copy
import itertools
import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute, config, data, distributed
from common.data.augment import Augment
from common.data.dataset import Dataset, with_quarter_turns
from common.data.loading import Loader
from common.data.loading import embed as embed_all
from common.data.samplers import EpisodeSampler
from common.data.splits import hold_out_classes
from common.networks import SmallCNN, first_stages
from common.run import LossMeter, Run, not_finite
from hyperbolic_embeddings.fewshot import backbones
from hyperbolic_embeddings.fewshot.episodes import VAL_SEED, accuracies, draw
from hyperbolic_embeddings.fewshot.presets import FewShot
from hyperbolic_embeddings.fewshot.protonet import ProtoHead


def train(cfg: FewShot, run: Run) -> None:
    """Train cfg in run's folder; a killed run goes on from its last epoch."""
    check(cfg)
    device = run.device

    # Data: uint8 pictures stay on the device; an episode is gathered and augmented as one batch.
    pictures = training_set(cfg)
    loader = Loader(pictures, augmentation(cfg), device=device)
    sampler = EpisodeSampler(pictures.label, cfg.way, cfg.shot, cfg.query, cfg.epoch_episodes, seed=cfg.seed)
    check_test_episodes(cfg)
    val = validation_set(cfg) if cfg.selection == "val" or cfg.val_share > 0 else None
    val_rows = (
        draw(val.label, cfg.val_way, cfg.shot, cfg.test_query, cfg.val_episodes, seed=VAL_SEED)
        if val
        else None
    )

    encoder, head = build(cfg)
    encoder = encoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(encoder)
    head = head.to(device)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=cfg.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda episode: learning_rate(cfg, episode))
    truth = torch.arange(cfg.way, device=device).repeat_interleave(cfg.query)  # (W Q,)

    best = Best()
    state = {"encoder": encoder, "head": head, "optimiser": optimiser, "schedule": schedule, "best": best}
    done = run.resume(**state)
    for epoch in run.progress(range(done, cfg.epochs), cfg.epochs - done, run.preset):
        encoder.train()
        started, losses, capped, norms = time.monotonic(), *(LossMeter(device) for _ in range(3))
        for images, _, index in loader.epoch(sampler, seed=cfg.seed, epoch=epoch):
            # One pass for support and query together, so batch norm sees the whole episode (note W4).
            with compute.autocast(device, cfg.precision):
                z = encoder(_channels(images, cfg.channels))
            z = distributed.gather(z.float(), len(index))  # (W (S + Q), D): the episode of all ranks
            z = z.view(cfg.way, cfg.shot + cfg.query, -1)  # (W, S + Q, D)
            try:
                x = head.embed(z)
            except ValueError as error:
                # On the CPU the head refuses NaN itself, but it does not know the step.
                raise (
                    error if z.isfinite().all() else not_finite(epoch * len(sampler) + losses.steps)
                ) from error
            logits = head.logits(
                x[:, cfg.shot :].flatten(0, 1), head.prototypes(x[:, : cfg.shot])
            )  # (W Q, W)
            loss = F.cross_entropy(logits, truth)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            distributed.average_gradients([*encoder.parameters(), *head.parameters()])
            optimiser.step()
            schedule.step()
            losses.add(loss)
            capped.add(head.capped(z).float().mean())
            norms.add(z.detach().norm(dim=-1).mean())
        seconds = time.monotonic() - started
        row: dict[str, Any] = {}
        if val is not None and val_rows is not None:
            z = embed(encoder, cfg, val, device)
            row["val_accuracy"] = float(accuracies(head.eval(), z, val_rows, cfg.shot).mean())
            head.train()
            if cfg.selection == "val":
                best.offer(row["val_accuracy"], epoch + 1, encoder, head)
        run.log(
            epoch=epoch + 1,
            step=(epoch + 1) * len(sampler),
            loss=losses.mean(before=epoch * len(sampler)),
            capped=capped.mean(),
            norm=norms.mean(),
            temperature=float(head.temperature.detach()),
            lr=schedule.get_last_lr()[0],
            images_per_second=round(losses.steps * cfg.way * (cfg.shot + cfg.query) / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
            **row,
        )
        run.save(epoch + 1, finished=epoch + 1 == cfg.epochs, **state)
    if done >= cfg.epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(cfg.epochs, finished=True, **state)


class Best:
    """The weights of the epoch with the highest validation accuracy; among equals the first."""

    def __init__(self) -> None:
        self.accuracy, self.epoch = -math.inf, 0
        self.encoder: dict[str, Tensor] = {}
        self.head: dict[str, Tensor] = {}

    def offer(self, accuracy: float, epoch: int, encoder: nn.Module, head: nn.Module) -> None:
        if accuracy > self.accuracy:
            self.load_state_dict(
                {
                    "accuracy": accuracy,
                    "epoch": epoch,
                    "encoder": copy.deepcopy(encoder.state_dict()),
                    "head": copy.deepcopy(head.state_dict()),
                }
            )

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


def check(cfg: FewShot) -> None:
    """Say what cannot work before anything is written."""
    config.require_limits(cfg)
    if cfg.backbone == "pixels":
        raise ValueError(
            "--backbone pixels: there is nothing to train; "
            "use python -m hyperbolic_embeddings.evaluate pixels"
        )
    if not cfg.resized_crop and cfg.stored != cfg.size:
        raise ValueError(
            f"--stored {cfg.stored} with --no-resized-crop: training would see the centre only; "
            f"give --stored {cfg.size}"
        )
    if cfg.resize < cfg.size:
        raise ValueError(
            f"--resize {cfg.resize} is below --size {cfg.size}; the central crop needs that size: give it"
        )
    if not 0 < cfg.c < math.inf:
        raise ValueError(f"--c {cfg.c}: give a finite number above 0")
    if cfg.channels not in (1, 3):
        raise ValueError(f"--channels {cfg.channels}: give 1 (grey) or 3 (colour)")


def check_test_episodes(cfg: FewShot) -> None:
    """Before hours of training: the test classes are enough for the episodes that evaluation will draw."""
    if cfg.val_share > 0:
        return  # the held-out training classes are measured instead
    labels = load(cfg, "test", cfg.resize, resident=None).label
    for way, shot in [(cfg.val_way, cfg.shot), *itertools.product(cfg.test_ways, cfg.test_shots)]:
        try:
            draw(labels, way, shot, cfg.test_query, 1, seed=0)
        except ValueError as error:
            raise ValueError(f"test episodes: {error} (--test-ways, --test-shots, --test-query)") from error


def load(cfg: FewShot, split: str, size: int, *, resident: bool | None = True) -> Dataset:
    """A split, in memory unless asked otherwise."""
    return data.load(
        cfg.data,
        split,
        size=size,
        protocol=protocol(cfg),
        crop=cfg.crop,
        channels=cfg.channels,
        resident=resident,
    )


def protocol(cfg: FewShot) -> str:
    """For common.data.load. CUB, CUB-100 and mini-ImageNet have few-shot splits of their own; others do
    not.
    """
    return "retrieval" if cfg.data.startswith(("omniglot", "folder:")) else cfg.protocol


def training_set(cfg: FewShot) -> Dataset:
    """Training classes at cfg.stored pixels, without those that cfg.val_share holds out."""
    pictures = load(cfg, "train", cfg.stored)
    if cfg.val_share > 0:
        pictures, _ = hold_out_classes(pictures, cfg.val_share, level=0)
    return with_quarter_turns(pictures) if cfg.quarter_turns else pictures


def validation_set(cfg: FewShot) -> Dataset:
    """Validation classes, resized for evaluation: those held out of the training classes if cfg.val_share is
    above 0, else the split 'val' of the data set.
    """
    if cfg.val_share > 0:
        return hold_out_classes(load(cfg, "train", cfg.resize), cfg.val_share, level=0)[1]
    return load(cfg, "val", cfg.resize)


def augmentation(cfg: FewShot) -> Augment:
    """Random resized crop, flip, brightness, contrast, colour; for drawings a small affine change instead."""
    return Augment(
        size=cfg.size,
        resized_crop=cfg.crop_area if cfg.resized_crop else None,
        flip=cfg.flip,
        brightness=cfg.jitter,
        contrast=cfg.jitter,
        saturation=cfg.jitter,
        rotate=cfg.rotate,
        translate=cfg.shift,
        scale=(1 - cfg.zoom, 1 + cfg.zoom),
        shear=cfg.shear,
        mean=cfg.mean,
        std=cfg.std,
    )


def build(cfg: FewShot) -> tuple[nn.Module, ProtoHead]:
    """(encoder, head) of cfg, freshly initialised."""
    head = ProtoHead(
        cfg.geometry,
        temperature=cfg.temperature,
        learn_temperature=cfg.learn_temperature,
        c=cfg.c,
        clip=cfg.clip,
        eps=cfg.eps,
        mode=cfg.mode,
        correction=cfg.correction,
    )
    if cfg.backbone == "resnet12":
        return backbones.ResNet12(channels=cfg.channels), head
    if cfg.backbone == "resnet18":
        return backbones.ResNet18(channels=cfg.channels), head
    if cfg.backbone == "small":
        pooled = first_stages(cfg.pools, cfg.widths)
        return SmallCNN(cfg.widths, pooled, channels=cfg.channels, average=True), head
    return backbones.Conv4(cfg.dim, channels=cfg.channels, size=cfg.size, pool=cfg.pool), head


@torch.no_grad()
def embed(encoder: nn.Module, cfg: FewShot, pictures: Dataset, device: torch.device) -> Tensor:
    """z (N, D) float32 on the device, of all pictures once: resized, centre crop, running statistics."""
    was = encoder.training
    encoder.eval()
    loader = Loader(pictures, Augment(size=cfg.size, mean=cfg.mean, std=cfg.std), device=device)
    z = embed_all(loader, lambda images: {"z": encoder(_channels(images, cfg.channels)).float()})["z"]
    encoder.train(was)
    return z


def _channels(images: Tensor, channels: int) -> Tensor:
    """Grey pictures leave the loader with three equal channels: one of them is enough."""
    return images[:, :channels].contiguous(memory_format=torch.channels_last)


def learning_rate(cfg: FewShot, episode: int) -> float:
    """Factor on cfg.lr before a training episode."""
    if cfg.schedule == "step":
        return cfg.gamma ** (episode // cfg.epoch_episodes // cfg.step)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, episode / max(1, cfg.epochs * cfg.epoch_episodes))))
