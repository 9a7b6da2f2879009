"""Measure a checkpoint: `python -m hierarchical_multilabel.evaluate runs/.../last.pt [--record] [--export
FILE]`.

Protocol. Two groups of pictures, both never trained on (splits.py): `seen/...`, other pictures of the
categories that the encoder was trained on, and `unseen/...`, pictures of categories it never saw. Pictures
are resized straight to the input size, without augmentation. Figures are called GROUP/LEVEL/FIGURE:

    recall@K    share of pictures with one of their own node among the K nearest others. Finest level: all
                other pictures are searched. Above it pictures of the query's own next finer node are left
                out, so that an alphabet is never found through another drawing of the same character
    knn@20      the 20 nearest pictures vote, with the same exception; levels above the finest only
    probe       top-1 accuracy of a linear probe on features before the head (probe.py), fitted on training
                pictures (seen), or on a part of the unseen pictures: 4 of 5 pictures of each class for the
                finest level, 4 of 5 finer nodes of each node above it. Left out where train has none of the
                nodes, and for raw pixels
    nmi         of k-means (k = number of nodes, scikit-learn, one start) with the nodes
    nmi-within  the same inside each node of the coarsest level, mean weighted by pictures; finest level only
    violation   see measures.violation_rate: the coarser partner is at least as near as the finer one

In-shop's query pictures search its gallery; everything else searches its own group. Rows are compared by
cosine, exactly and in float32; a picture without a partner is a miss, ties count against it. `active_steps`
and `active_terms` say in which share of training steps, and on which share of terms, the constraint was
active.

Instead of a checkpoint, `pixels PRESET [--field value ...]` measures raw pixels (l2-normalised) of the
preset's data.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from common import config, data, distributed, gallery, results, run, typos
from common.arguments import require_tensor, whole_number
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader, embed
from common.metrics import nmi, recall_at_k
from common.metrics.contract import require_embeddings
from common.results import Figure, Measured
from hierarchical_multilabel import measures, probe, splits
from hierarchical_multilabel.model import Encoder
from hierarchical_multilabel.presets import PRESETS, Config
from hierarchical_multilabel.train import build

KS = (1, 5, 10)
"""K of the retrieval figures; the paper's list was not found."""
VOTES = 20
"""Neighbours that vote on a coarse level."""
MOST_CLUSTERS = 1000
"""k-means with more clusters than this is left out: it takes hours."""


def main(argv: list[str]) -> None:
    parser = typos.Parser(
        prog="python -m hierarchical_multilabel.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkpoint", help="last.pt of a run folder, or the word pixels followed by a preset")
    parser.add_argument(
        "--record", action="store_true", help="append the figures to results/runs/hierarchical_multilabel.csv"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE.npz", help="write the embeddings of the unseen pictures"
    )
    parser.add_argument("--device", default="auto")
    args, rest = parser.parse_known_args(argv)
    device = distributed.join(args.device)
    config.require_free("--export", args.export)
    if args.checkpoint == "pixels":
        preset, cfg = config.parse(PRESETS, rest, prog="python -m hierarchical_multilabel.evaluate pixels")
        cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data), backbone="pixels")
        encoder, checkpoint = None, None
    elif rest:
        raise ValueError(parser.unknown(rest, "a checkpoint carries its own configuration; "))
    else:
        encoder, cfg, checkpoint = load_model(Path(args.checkpoint), device)
        preset = checkpoint["preset"]

    parts = splits.load(
        cfg.data, size=cfg.size, hold_out=cfg.hold_out, val_share=cfg.val_share, set_aside=cfg.set_aside
    )
    figures: dict[str, Figure] = {}
    described = {
        name: describe(encoder, cfg, part, device)
        for name in splits.PARTS
        if (part := getattr(parts, name)) is not None
    }
    for group in ("seen", "unseen"):
        part: Dataset | None = getattr(parts, group)
        if part is None:
            continue
        searched = (described["gallery"][1], parts.gallery) if group == "seen" and parts.gallery else None
        h, z = described[group]
        found = retrieval(z, part, searched) | clustering(z, part)
        if encoder is not None:
            for level, sets in probe_sets(group, part, h, parts.train, described["train"][0]).items():
                on_device = [tensor.to(device) for tensor in sets]
                found[f"{level}/probe"] = probe.accuracy(*on_device, decay=cfg.probe_decay)
        figures |= {f"{group}/{name}": Figure(value) for name, value in found.items()}
    if encoder is not None and checkpoint is not None:
        figures["parameters"] = Figure(float(sum(p.numel() for p in encoder.parameters())), unit="count")
        figures |= activity(checkpoint)

    results.show_figures(figures)
    if args.export:
        export(args.export, cfg, parts, described)
        print(args.export)
    if args.record:
        results.record(
            "hierarchical_multilabel",
            figures,
            preset=preset,
            changed=config.overrides(PRESETS, preset, cfg),
            target=cfg.target,
            seed=cfg.seed,
            measured=Measured(parts.train.name, measured_split(cfg)),
            argv=argv,
            device=device,
            checkpoint=checkpoint,
            path=None if checkpoint is None else Path(args.checkpoint),
        )


def measured_split(cfg: Config) -> str:
    """Name of the split in results: val, held-out (categories of lists/) or test."""
    return "val" if cfg.val_share > 0 else "held-out" if cfg.hold_out else "test"


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[Encoder, Config, dict[str, Any]]:
    """(network in evaluation mode, its configuration, the checkpoint's facts)."""
    path = Path(path)
    checkpoint = run.load_checkpoint(path, device, paper="hierarchical_multilabel")
    cfg = config.restore(Config, checkpoint["config"], path)
    bias = config.stored_part(checkpoint["state"], "model").get("classifier.bias")
    fresh, classes = dataclasses.replace(cfg, weights="none", frozen=0), 0 if bias is None else len(bias)
    encoder = run.load_network(lambda: build(fresh, classes), checkpoint["state"], path, "model")
    encoder = encoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return encoder.eval(), cfg, checkpoint


@torch.no_grad()
def describe(
    encoder: Encoder | None, cfg: Config, dataset: Dataset, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(features (N, F) for the probe, unit rows (N, D) for everything else), float32 on the CPU.

    The unit rows are the head's output or the features, as cfg.embedding says; without a network both are the
    pixels.
    """
    loader = Loader(
        dataset, Augment(size=cfg.size, mean=cfg.mean, std=cfg.std), device=device, workers=cfg.workers
    )

    def network(images: Tensor) -> dict[str, Tensor]:
        if encoder is None:
            h = z = images[:, : dataset.channels].flatten(1)
        else:
            h, z, _ = encoder(images.contiguous(memory_format=torch.channels_last))
        unit = normalize(h if cfg.embedding == "features" else z, dim=1)
        return {"features": h.float().cpu(), "unit": unit.float().cpu()}

    found = embed(loader, network)
    return found["features"], found["unit"]


def retrieval(z: Tensor, part: Dataset, searched: tuple[Tensor, Dataset] | None = None) -> dict[str, float]:
    """'LEVEL/recall@K', 'LEVEL/knn@20' and 'LEVEL/violation' of one group; searched: rows and pictures of a
    gallery."""
    rows, labels = (None, None) if searched is None else (searched[0], searched[1].labels)
    most = len(z) - 1 if rows is None else len(rows)
    ks = [k for k in KS if k <= most]
    found: dict[str, float] = {}
    last = len(part.levels) - 1
    for level, name in enumerate(part.levels):
        if level == last:
            fine = None if labels is None else labels[:, level]
            recall = recall_at_k(z, part.labels[:, level], ks, rows, fine) if ks else {}
        else:
            recall = measures.coarse_recall_at_k(z, part.labels, level, ks, rows, labels) if ks else {}
            if most >= VOTES:
                found[f"{name}/knn@{VOTES}"] = measures.coarse_knn_accuracy(
                    z, part.labels, level, VOTES, rows, labels
                )
        found |= {f"{name}/recall@{k}": value for k, value in recall.items()}
    rates = measures.violation_rate(z, part.labels)
    return found | {f"{part.levels[level]}/violation": rate for level, rate in rates.items()}


def clustering(z: Tensor, part: Dataset) -> dict[str, float]:
    """'LEVEL/nmi', and 'LEVEL/nmi-within' for the finest level of several."""
    found: dict[str, float] = {}
    for level, name in enumerate(part.levels):
        nodes = part.labels[:, level]
        if 1 < len(nodes.unique()) <= min(MOST_CLUSTERS, len(z)):
            found[f"{name}/nmi"] = nmi(nodes, clusters(z, len(nodes.unique())))
    if len(part.levels) > 1:
        coarsest, finest = part.labels[:, 0], part.labels[:, -1]
        total, pictures = 0.0, 0
        for node in coarsest.unique():
            own = (coarsest == node).nonzero()[:, 0]
            k = len(finest[own].unique())
            if 1 < k <= MOST_CLUSTERS:
                total += nmi(finest[own], clusters(z[own], k)) * len(own)
                pictures += len(own)
        if pictures:
            found[f"{part.levels[-1]}/nmi-within"] = total / pictures
    return found


def clusters(rows: Tensor, k: int) -> Tensor:
    """(N,) int64: k-means with k-means++ from one fixed start."""
    require_embeddings("rows", rows)
    if whole_number("k", k) > len(rows):
        raise ValueError(f"k = {k} clusters of {len(rows)} rows; give a k of at most {len(rows)}")
    return torch.from_numpy(KMeans(k, n_init="auto", random_state=0).fit(rows.numpy()).labels_).long()


def probe_sets(
    group: str, part: Dataset, h: Tensor, train: Dataset, train_h: Tensor
) -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Level -> features and ids to fit the probe on, features and ids to test it on."""
    sets: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for level, name in enumerate(part.levels):
        y = part.labels[:, level]
        if group == "seen":
            known = train.labels[:, level]
            if torch.isin(y, known).any() and len(known.unique()) > 1:
                sets[name] = (train_h, known, h, y)
        else:
            test = held_out(part.labels, level)
            if test.any() and len(y[~test].unique()) > 1:
                sets[name] = (h[~test], y[~test], h[test], y[test])
    return sets


def held_out(labels: Tensor, level: int, share: float = 0.2, seed: int = 0) -> Tensor:
    """(N,) bool: what the probe of `level` on unseen categories is tested on.

    Finest level: of each class a share of its pictures. Above it: of each node of `level` a share of its
    finer nodes with all their pictures, as products do not come back in DeepFashion's test set. A share of n
    is floor(share * n + 1/2), at least one and never all; drawn by one torch.randperm seeded with `seed`.
    """
    require_tensor("labels", labels, "(N, L)", torch.int64)
    if not 0 <= whole_number("level", level, least=-1) < labels.shape[1]:
        raise ValueError(f"level is {level}; give a level from 0 to {labels.shape[1] - 1}")
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; give a number above 0 and below 1")
    finest = level == labels.shape[1] - 1
    unit = torch.arange(len(labels)) if finest else labels[:, level + 1].unique(return_inverse=True)[1]
    order = torch.randperm(int(unit.max()) + 1, generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for node in labels[:, level].unique():
        own = (labels[:, level] == node).nonzero()[:, 0]
        units = unit[own].unique()
        count = min(max(math.floor(share * len(units) + 0.5), 1), len(units) - 1)
        first = units[order[units].argsort()[:count]]
        held[own[torch.isin(unit[own], first)]] = True
    return held


def activity(checkpoint: dict[str, Any]) -> dict[str, Figure]:
    """Shares of training steps and of terms in which the constraint was active; none if it was not
    watched."""
    watched = config.stored_part(checkpoint["state"], "watched")
    steps = int(watched.get("watched", 0))
    if not steps:
        return {}
    return {
        "active_steps": Figure(int(watched["active_steps"]) / steps),
        "active_terms": Figure(int(watched["active"]) / max(int(watched["terms"]), 1)),
    }


def export(
    path: Path, cfg: Config, parts: splits.Splits, described: dict[str, tuple[Tensor, Tensor]]
) -> None:
    """Embeddings of the unseen pictures, or of the seen ones where there are no others, for
    common.gallery."""
    name = "unseen" if parts.unseen is not None else "seen"
    part: Dataset | None = getattr(parts, name)
    if part is None or part.split not in ("test", "query") or cfg.hold_out or cfg.val_share > 0:
        raise ValueError(
            f"--export: the {name} pictures are no split of {cfg.data} that can be loaded again by its name; "
            "train without --hold-out and --val-share, and give own pictures test classes that are either "
            "all in train or none"
        )
    same = cfg.data.removesuffix("-embedded") in splits.SAME_CLASSES
    protocol = "classification" if same else "retrieval"
    whole = data.load(cfg.data, part.split, size=cfg.size, protocol=protocol)  # own pictures: with their ids
    gallery.export(path, embedding=described[name][1], dataset=whole, protocol=protocol)


if __name__ == "__main__":
    config.command(main)
