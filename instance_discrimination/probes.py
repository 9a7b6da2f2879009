"""Linear probes on every stage of a frozen encoder: the columns conv1 to conv5 of Tables 2 and 3 of Wu et
al., CVPR 2018 (arXiv:1805.01978).

    symbol   shape          meaning
    map      (B, C, h, w)   output of one stage
    f        (B, F)         the map, averaged over a grid of side s: the largest with F = C s s at most 9,216
    y        (B,)           class

The paper says "linear classifier" and neither pooling, solver nor augmentation (note D12). Here: f with the
mean and deviation of its batch norm (no scale, no shift), one linear layer, cross-entropy, SGD with
momentum 0.9 and the learning rate cut to a tenth after each third of the epochs; resident pictures without
augmentation, photographs with random resized crops and flips. All stages are trained side by side in one
pass; each is alone in its own loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute
from common.arguments import require_tensor, whole_number
from common.data import counter
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader
from common.data.samplers import ShuffleSampler
from instance_discrimination.model import Encoder
from instance_discrimination.pictures import PhotographLoader
from instance_discrimination.presets import Config

MOST = 9216
"""Numbers per picture that a probe sees at most: 10K in the paper's baselines (Table 2)."""
MOST_RESIDENT = 1024
"""Likewise for 32-pixel pictures, whose maps of all stages stay in memory."""
BATCH = 256
_ORDER = 71  # purpose of a generator; never renumber

Layers = dict[str, Tensor]


class Probes(nn.Module):
    """name -> logits (B, classes) of every stage's f (B, F)."""

    def __init__(self, widths: dict[str, int], classes: int):
        """widths: F of each stage."""
        super().__init__()
        if not widths:
            raise ValueError("widths is {}; give the F of at least one stage")
        for name, width in widths.items():
            whole_number(f"widths[{name!r}]", width)
        whole_number("classes", classes)
        self.layers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, classes))
                for name, width in widths.items()
            }
        )

    def forward(self, layers: Layers) -> Layers:
        if not self.layers.keys() <= layers.keys():
            raise ValueError(
                f"layers has {', '.join(layers) or 'nothing'}; give every stage of {', '.join(self.layers)}"
            )
        return {name: probe(layers[name]) for name, probe in self.layers.items()}


def pooled(map_: Tensor, most: int) -> Tensor:
    """(B, C, h, w) -> (B, F): averages over a grid of s x s cells, C s s at most `most`, s at most the
    map's side.
    """
    require_tensor("map_", map_, "(B, C, h, w)", torch.float32, torch.float64, torch.bfloat16, torch.float16)
    whole_number("most", most)
    side = min(math.isqrt(max(most // map_.shape[1], 1)), map_.shape[2], map_.shape[3])
    return F.adaptive_avg_pool2d(map_.float(), side).flatten(1)


def measure(
    model: Encoder, cfg: Config, labelled: Dataset, queries: Dataset, device: torch.device
) -> dict[str, Tensor]:
    """Stage -> predicted class (Q,) int64 on the CPU of each query, by probes trained on `labelled`: Table 2
    and Table 3.

    The last entry, 'pool', is the probe on what the embedding's linear layer sees.
    """
    model.eval()
    resident = labelled.pixels is not None
    view = Augment(size=cfg.size, mean=cfg.mean, std=cfg.std)
    crops = Augment(size=cfg.size, resized_crop=(cfg.crop_area, 1.0), flip=0.5, mean=cfg.mean, std=cfg.std)
    test = source(cfg, queries, view, device)
    train = source(cfg, labelled, view if resident else crops, device)
    most = MOST_RESIDENT if resident else MOST

    kept = [(seen(model, images, most), y[:, -1]) for images, y, _ in train.all()] if resident else []
    first = kept[0][0] if resident else seen(model, next(iter(test.all(2)))[0], most)
    with torch.random.fork_rng(devices=[], enabled=True):
        torch.manual_seed(counter.key(cfg.seed, _ORDER) % 2**63)
        probes = Probes({name: f.shape[1] for name, f in first.items()}, labelled.classes).to(device)
    optimiser = torch.optim.SGD(probes.parameters(), lr=cfg.probe_lr, momentum=0.9)
    third = max(1, math.ceil(cfg.probe_epochs / 3))
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, third, 0.1)

    rows = {name: torch.cat([f[name] for f, _ in kept]) for name in first} if resident else {}
    labels = labelled.label.to(device)
    sampler = ShuffleSampler(len(labelled), BATCH, seed=cfg.seed)
    for epoch in range(cfg.probe_epochs):
        probes.train()
        for f, y in (
            shuffled(rows, labels, sampler, epoch)
            if resident
            else (
                (seen(model, x, most), y[:, -1])
                for x, y, _ in train.epoch(sampler, seed=cfg.seed, epoch=epoch)
            )
        ):
            if len(y) < 2:
                continue  # batch norm has no deviation of one picture
            loss = torch.stack([F.cross_entropy(logits, y) for logits in probes(f).values()]).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        schedule.step()

    probes.eval()
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for images, _, _ in test.all():
            for name, logits in probes(seen(model, images, most)).items():
                found.setdefault(name, []).append(logits.argmax(1).cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


@torch.no_grad()
def seen(model: Encoder, images: Tensor, most: int) -> Layers:
    """name -> f (B, F) float32 of every stage, and of the vector before the embedding's linear layer."""
    with compute.autocast(images.device, "float32"):
        maps = model.maps(images.contiguous(memory_format=torch.channels_last))
        last = next(reversed(maps.values()))
        return {name: pooled(m, most) for name, m in maps.items()} | {"pool": model.neck(last).float()}


def shuffled(
    rows: Layers, labels: Tensor, sampler: ShuffleSampler, epoch: int
) -> Iterator[tuple[Layers, Tensor]]:
    """The kept rows in the batches of one epoch."""
    sampler.set_epoch(epoch)
    for batch in sampler:
        index = torch.tensor(batch).to(labels.device, non_blocking=True)
        yield {name: f[index] for name, f in rows.items()}, labels[index]


def source(cfg: Config, pictures: Dataset, view: Augment, device: torch.device) -> Loader | PhotographLoader:
    if pictures.pixels is None:
        return PhotographLoader(pictures, view, device, cfg.workers)
    return Loader(pictures, view, device=device)
