"""Train instance discrimination: `python -m instance_discrimination.train PRESET [--field value ...]`.
Prints the checkpoint path last.

No step waits for the device: pictures lie there as uint8, noise is a function of (seed, step, picture), the
loss is read once per epoch. On a GPU: channels-last, bfloat16 autocast with head and losses in float32 (their
products in TF32, unless --precision float32), fused SGD, and torch.compile by --compile. No GPU has run this
code yet; the times in the tables of budget `paper` are estimates.
"""

from __future__ import annotations

import dataclasses
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute, config, distributed
from common.data import counter
from common.data.loading import embed
from common.metrics import knn_predict
from common.run import LossMeter, Run, not_finite
from instance_discrimination import losses as one_process
from instance_discrimination import model as networks
from instance_discrimination import pictures, sharding
from instance_discrimination.losses import (
    draw_noise,
    estimated_log_z,
    expected_log_z,
    nce_loss_of_scores,
    proximal_term,
)
from instance_discrimination.memory import MemoryBank
from instance_discrimination.presets import PRESETS, Config

_BANK = 70  # purpose of a generator; never renumber


def main(argv: list[str]) -> None:
    preset, cfg = config.parse(PRESETS, argv, prog="python -m instance_discrimination.train")
    check(cfg)
    cfg = dataclasses.replace(cfg, data=pictures.resolve(cfg.data))
    sets = pictures.split(cfg)
    check_counts(cfg, sets)
    run = Run("instance_discrimination", preset, cfg, config.overrides(PRESETS, preset, cfg), argv)
    device = run.device
    if run.finished:
        print(run.folder / "last.pt")
        return
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not cfg.deterministic

    # Data: uint8 pictures on the device, augmented there; row i of the training set is instance i.
    n = len(sets.training)
    source = pictures.loader(cfg, sets.training, device)
    judge = pictures.loader(cfg, sets.held_out, device) if sets.held_out and cfg.val_every else None
    steps = math.ceil(n / cfg.batch)

    # Section 3: the encoder f_theta, and the memory bank of v_i or, for Eq. (1), a weight w_i per instance.
    model = build(cfg).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distributed.synchronise_batch_norm(model)
    encode = torch.compile(model, dynamic=False) if cfg.compile else model
    state: dict[str, nn.Module] = {"model": model}
    classifier, bank = None, None
    if cfg.loss == "parametric":
        state["classifier"] = classifier = networks.ParametricSoftmax(n, cfg.dim).to(device)
    else:
        draw = counter.generator(cfg.seed, _BANK)
        bank = MemoryBank(n, cfg.dim, cfg.bank_momentum, init=cfg.bank_init, generator=draw).to(device)
        if cfg.z == "closed-form":
            bank.start_log_z(expected_log_z(n, cfg.dim, cfg.temperature))
        if distributed.world() > 1:
            bank = sharding.ShardedMemoryBank(bank)
        state["bank"] = bank
    optimiser = torch.optim.SGD(
        [p for part in state.values() for p in part.parameters()],
        lr=cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        fused=device.type == "cuda",
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: learning_rate(cfg, epoch))

    parts = {**state, "optimiser": optimiser, "schedule": schedule}
    done = run.resume(**parts)
    for epoch in run.progress(range(done, cfg.epochs), cfg.epochs - done, preset):
        model.train()
        started, first = time.monotonic(), epoch * steps
        losses, pulls, alike = LossMeter(device), LossMeter(device), LossMeter(device)
        for step, (images, index) in enumerate(pictures.batches(cfg, source, epoch), start=first):
            with compute.autocast(device, precision(cfg, device)):
                v = encode(images, unit=cfg.loss != "parametric" or cfg.parametric_unit)  # (b, D) float32
            v = distributed.gather(v, len(index))  # (B, D): the loss sees the batch of all ranks
            try:
                loss, pull = instance_loss(cfg, v, index, bank, classifier, step)
            except ValueError as error:
                # On the CPU the losses refuse NaN themselves, but they do not know the step.
                raise error if v.isfinite().all() else not_finite(step) from error
            optimiser.zero_grad(set_to_none=True)
            (loss if pull is None else loss + cfg.proximal * pull).backward()  # Eq. (10)
            distributed.average_gradients(p for part in state.values() for p in part.parameters())
            optimiser.step()
            losses.add(loss)
            if pull is not None:
                pulls.add(pull)
            if bank is not None:
                with torch.no_grad():
                    alike.add((v.detach() * bank.rows_of(index)).sum(1).mean())
                bank.update(index, v.detach())
        loss, rate = losses.mean(before=first), schedule.get_last_lr()[0]  # the device is waited for here
        schedule.step()
        seconds = time.monotonic() - started
        run.log(
            epoch=epoch + 1,
            step=first + steps,
            loss=loss,
            **({"proximal": pulls.mean(before=first)} if cfg.proximal else {}),
            **({"similarity": alike.mean(before=first)} if bank is not None else {}),
            **({"log_z": float(bank.log_z)} if bank is not None and cfg.loss == "nce" else {}),
            lr=rate,
            images_per_second=round(n / seconds, 1),
            seconds=round(seconds, 2),
            peak_memory_mb=round(compute.peak_memory_mb(device), 1),
            **watch(cfg, model, bank, sets, judge, epoch + 1),
        )
        if (epoch + 1) % cfg.save_every == 0 or epoch + 1 == cfg.epochs:
            run.save(epoch + 1, finished=epoch + 1 == cfg.epochs, **parts)
    if done >= cfg.epochs:  # an untrained network, or a run killed between its last checkpoint and done.json
        run.save(cfg.epochs, finished=True, **parts)
    print(run.folder / "last.pt")


Bank = MemoryBank | sharding.ShardedMemoryBank


def instance_loss(
    cfg: Config, v: Tensor, index: Tensor, bank: Bank | None, classifier: nn.Module | None, step: int
) -> tuple[Tensor, Tensor | None]:
    """(loss of the batch, Eq. (9)'s proximal term or None). v (B, D), index (B,) rows of the bank.

    Estimates Z on the way, by cfg.z (note D5).
    """
    if classifier is not None:
        return F.cross_entropy(classifier(v), index), None  # Eq. (1)
    assert bank is not None
    if isinstance(bank, sharding.ShardedMemoryBank):
        form, rows, z = sharding, bank, bank.own
    else:
        form, rows, z = one_process, bank.rows, bank
    pull = proximal_term(v, bank.rows_of(index)) if cfg.proximal else None  # Eq. (9)
    if cfg.loss == "softmax":
        return form.softmax_loss(v, rows, index, cfg.temperature), pull  # Eq. (2), (3)
    n = bank.size
    noise = draw_noise(index, cfg.noise, n, cfg.seed, step, exclude_positive=cfg.exclude_positive)  # (B, m)
    scores = form.noise_scores(v, rows, index, noise, cfg.temperature)  # (B, 1 + m)
    if cfg.z == "first-batch":
        z.start_log_z(estimated_log_z(scores, n))  # Eq. (8), over all columns as released
    elif cfg.z == "ema":
        z.average_log_z(estimated_log_z(scores[:, 1:], n), cfg.z_momentum)
    return nce_loss_of_scores(scores, z.log_z, n, eps=cfg.eps), pull  # Eq. (7)


@torch.no_grad()
def watch(
    cfg: Config,
    model: networks.Encoder,
    bank: Bank | None,
    sets: pictures.Split,
    judge: pictures.Loader | pictures.PhotographLoader | None,
    epoch: int,
) -> dict[str, float]:
    """kNN accuracy of the held-out training pictures by the memory bank, every cfg.val_every epochs and
    after the last. Test pictures are never seen in training.
    """
    if judge is None or sets.held_out is None or bank is None:
        return {}
    if epoch % cfg.val_every and epoch != cfg.epochs:
        return {}
    model.eval()
    with compute.autocast(bank.log_z.device, "float32"):
        v = embed(judge, lambda x: {"v": model(x.contiguous(memory_format=torch.channels_last))})["v"]
    labels = sets.training.label.to(v.device)
    rows = bank.whole().rows.to(v.device) if isinstance(bank, sharding.ShardedMemoryBank) else bank.rows
    predicted = knn_predict(rows, labels, v, cfg.k, cfg.temperature, sets.training.classes)
    return {"heldout_knn_bank": float((predicted.cpu() == sets.held_out.label).double().mean())}


def build(cfg: Config) -> networks.Encoder:
    """The network of cfg with fresh weights."""
    if cfg.backbone == "resnet-cifar":
        return networks.resnet_cifar(cfg.dim, cfg.widths, cfg.blocks, cfg.stem_stride)
    if cfg.backbone == "small":
        return networks.small(cfg.dim, cfg.widths, cfg.pools)
    make = {"resnet18": networks.resnet18, "resnet50": networks.resnet50}
    make |= {"alexnet": networks.alexnet, "vgg16": networks.vgg16}
    return make[cfg.backbone](cfg.dim)


def precision(cfg: Config, device: torch.device) -> str:
    """For common.compute.autocast."""
    if cfg.precision == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    return cfg.precision


def learning_rate(cfg: Config, epoch: int) -> float:
    """Factor on cfg.lr in an epoch: x0.1 per milestone, or half a cosine."""
    if cfg.schedule == "step":
        return 0.1 ** sum(epoch >= m for m in cfg.milestones)
    return 0.5 * (1 + math.cos(math.pi * min(epoch / max(cfg.epochs, 1), 1)))


def check(cfg: Config) -> None:
    """Say what cannot work before anything is read or written."""
    config.require_limits(cfg)
    if cfg.backbone == "pixels":
        raise ValueError(
            "--backbone pixels: there is nothing to train; use "
            "python -m instance_discrimination.evaluate pixels"
        )
    if cfg.proximal and cfg.loss == "parametric":
        raise ValueError(
            f"--proximal {cfg.proximal}: the parametric softmax has no memory bank to pull towards; "
            "use --proximal 0"
        )
    if cfg.batch < 2:
        raise ValueError(f"--batch {cfg.batch}: batch norm needs 2 pictures; give at least 2")
    if not 0 <= cfg.bank_momentum < 1:
        raise ValueError(
            f"--bank-momentum {cfg.bank_momentum}: give the weight of the old row, from 0 to below 1"
        )
    if not 0 < cfg.z_momentum < 1:
        raise ValueError(f"--z-momentum {cfg.z_momentum}: give the weight of the old Z, between 0 and 1")
    warped = [name for name in ("rotate", "shift", "zoom", "shear") if getattr(cfg, name)]
    if pictures.base_name(cfg.data) in pictures.IMAGE_FOLDERS and (warped or cfg.crop_area == 1):
        option, value = (warped[0], getattr(cfg, warped[0])) if warped else ("crop-area", cfg.crop_area)
        raise ValueError(
            f"--{option} {value} with --data {cfg.data}: photographs of any shape are cropped and never "
            "warped; leave it out"
        )
    if cfg.val_every and not cfg.held_out:
        raise ValueError(
            f"--val-every {cfg.val_every} needs pictures to measure on; give --held-out 2000 as well"
        )


def check_counts(cfg: Config, sets: pictures.Split) -> None:
    """Say what does not fit the data before a run is claimed."""
    fewest = min(len(sets.training) if cfg.loss != "parametric" else len(sets.labelled), len(sets.labelled))
    if cfg.k > fewest:
        raise ValueError(f"--k {cfg.k} but the bank has {fewest} rows; give a k of at most {fewest}")
    if len(sets.training) < 2:
        raise ValueError(
            f"--images {cfg.images}: {sets.training.name} has {len(sets.training)} training pictures; give "
            "at least two instances"
        )


if __name__ == "__main__":
    config.command(main)
