"""Measure a few-shot checkpoint on stored episodes.

Protocol. Test classes are disjoint from training classes. Every test picture is resized to cfg.resize, cut
to its centre and embedded once, with the running statistics of batch norm. Then, for each way and shot of the
configuration, 10,000 stored episodes are drawn from these embeddings (episodes.py; TEST_SEED, the same for
all rows and seeds): way classes, shot support pictures and 15 queries each. The accuracy of an episode is the
share of its queries whose own class has the largest logit; reported are the mean over episodes and half its
95 % interval, 1.96 population standard deviations over root 10,000. That interval is over episodes alone: it
says nothing about another training run, for which there are seeds.

`accuracy` is the figure of the published tables: validation way, training shot. `capped` is the share of test
embeddings at the projection radius or the clip, `norm` the mean norm of the encoder's output.

The checkpoint's epoch is the last one, or the best of validation (cfg.selection). With cfg.val_share > 0 the
held-out training classes are measured instead of the test classes. Without a checkpoint, pixels PRESET:
nearest prototype by squared Euclidean distance of raw pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import config, gallery, run
from common.data.dataset import Dataset
from common.metrics import episode_interval
from common.results import Figure, Measured
from hyperbolic_embeddings.fewshot.episodes import TEST_SEED, VAL_SEED, accuracies, draw
from hyperbolic_embeddings.fewshot.presets import FewShot
from hyperbolic_embeddings.fewshot.protonet import ProtoHead
from hyperbolic_embeddings.fewshot.train import build, embed, load, protocol, validation_set


def measure(
    cfg: FewShot,
    checkpoint: Mapping[str, Any] | None,
    device: torch.device,
    *,
    split: str | None = None,
    export: Path | None = None,
) -> tuple[dict[str, Figure], Measured]:
    """(metric -> figure, what they are about). split: default 'test', or 'val' when classes were held out."""
    split = split or ("val" if cfg.val_share > 0 else "test")
    if split == "val":
        pictures = validation_set(cfg)
    else:
        pictures = load(cfg, split, cfg.resize)
    encoder, head = restored(cfg, checkpoint)
    z = embed(encoder.to(device), cfg, pictures, device)  # (N, D)

    figures: dict[str, Figure] = {}
    head = head.to(device).eval()
    seed = VAL_SEED if split == "val" else TEST_SEED
    settings = [(way, shot) for way in cfg.test_ways for shot in cfg.test_shots]
    for way, shot in dict.fromkeys([(cfg.val_way, cfg.shot), *settings]):
        rows = draw(pictures.label, way, shot, cfg.test_query, cfg.test_episodes, seed=seed)
        found = Figure(*episode_interval(accuracies(head, z, rows, shot)))
        if (way, shot) == (cfg.val_way, cfg.shot):
            figures["accuracy"] = found
        figures[f"{way}way-{shot}shot"] = found
    figures["norm"] = Figure(float(z.norm(dim=1).mean()), unit="length")
    if cfg.geometry == "hyperbolic" and checkpoint is not None:
        figures["capped"] = Figure(float(head.capped(z).float().mean()))
    figures["temperature"] = Figure(float(head.temperature.detach()), unit="logit")
    figures["parameters"] = Figure(float(sum(p.numel() for p in encoder.parameters())), unit="count")

    if export is not None:
        c = head.c if head.geometry == "hyperbolic" else None
        gallery.export(
            export, embedding=head.embed(z), dataset=pictures, protocol=protocol(cfg), crop=cfg.crop, c=c
        )
    selection = cfg.selection if checkpoint is not None and cfg.epochs else "last"
    return figures, Measured(pictures.name, split, selection)


@torch.no_grad()
def embedded(checkpoint: Path) -> tuple[FewShot, Tensor, Dataset]:
    """(configuration, points x (N, D), test pictures) of a checkpoint, on the CPU."""
    loaded = run.load_checkpoint(checkpoint, paper="hyperbolic_embeddings")
    cfg = config.restore(FewShot, loaded["config"], checkpoint)
    encoder, head = restored(cfg, loaded)
    pictures = load(cfg, "test", cfg.resize)
    return cfg, head.eval().embed(embed(encoder, cfg, pictures, torch.device("cpu"))), pictures


def restored(cfg: FewShot, checkpoint: Mapping[str, Any] | None) -> tuple[nn.Module, ProtoHead]:
    """(encoder, head) as trained; without a checkpoint raw pixels under the squared Euclidean distance."""
    if checkpoint is None:
        if cfg.backbone != "pixels":
            raise ValueError(
                "evaluate pixels measures no network: add --backbone pixels, so that the row says so"
            )
        return nn.Flatten(), ProtoHead("euclidean-squared")
    state = checkpoint["state"]
    best = config.stored_part(state, "best")
    chosen = best if cfg.selection == "val" and best.get("encoder") else state
    parts = ("encoder", "head")
    encoder, head = run.load_network(lambda: build(cfg), chosen, "the checkpoint", *parts)
    return encoder.eval(), head
