"""Measure delta_rel: `python -m hyperbolic_embeddings.evaluate delta PRESET [--field value ...] [--record]`.

Protocol. `points` pictures of the split (train, unless --split says otherwise) are drawn `tries` times,
each time without replacement; the features of each sample have Euclidean distances, and 2 delta / diameter
is taken for the first base point (`delta_rel`, as the authors do) and as the largest over `bases` base
points (`delta_rel_bases`). Figures are means over the tries, with the 95 % Student interval of the mean;
the tries share pictures, so the interval is about this split and not about a population of data sets.

Beside each sample, null clouds of the same N and D: `null_isotropic`, `null_sphere`, and `null_spectrum`, a
Gaussian cloud whose covariance has the sample's eigenvalues. A feature set is more hyperbolic than its
spectrum alone says only where delta_rel lies below null_spectrum.

`c_eq5` and `c_self_consistent` are Eq. (5) with 0.144 and with 0.0568, at the mean delta_rel.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from common import compute, data, gallery
from common.data import counter
from common.data.dataset import Dataset
from common.plots import student_half_width
from common.results import Figure, Measured
from hyperbolic_embeddings.delta import extractors, spaces
from hyperbolic_embeddings.delta.hyperbolicity import (
    RADIUS,
    SELF_CONSISTENT,
    curvature,
    draw_rows,
    euclidean,
    mean_and_spread,
    relative_delta,
)
from hyperbolic_embeddings.delta.presets import Delta

SPLIT = "train"
EXPORT = "export:"
SAMPLE, NULL = 0, 1  # streams of random numbers; never renumber


def measure(
    cfg: Delta, device: torch.device, *, split: str | None = None, export: Path | None = None
) -> tuple[dict[str, Figure], Measured]:
    """(metric -> figure, what was measured). ValueError for settings that cannot work, before any picture
    is read.
    """
    compute.seed_everything(cfg.seed, deterministic=cfg.deterministic)
    check(cfg, split, export)
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    if cfg.network in get_args(spaces.Space):
        for t in range(cfg.tries):
            d = space_distances(cfg, counter.generator(cfg.seed, t, NULL)).to(device)
            first, largest = relative_delta(d, cfg.bases)
            add("delta_rel", first)
            add("delta_rel_bases", largest)
        figures, measured = {}, Measured(cfg.data, split or SPLIT)
        if cfg.network in ("isotropic", "sphere"):
            figures["dim"] = Figure(float(cfg.dim), unit="count")
    else:
        points, rows, measured = embed(cfg, device, split, export)  # (M, D) and, into it, (tries, N)
        for t, own in enumerate(rows):
            x = points[own].to(device)
            first, largest = relative_delta(euclidean(x), cfg.bases)
            add("delta_rel", first)
            add("delta_rel_bases", largest)
            random, (n, dim) = counter.generator(cfg.seed, t, NULL), x.shape
            for name, cloud in (
                ("null_isotropic", spaces.isotropic(n, dim, random)),
                ("null_spectrum", spaces.spectrum_matched(x, random)),
                ("null_sphere", spaces.sphere(n, dim, random)),
            ):
                add(name, relative_delta(euclidean(cloud.to(device)))[0])
        figures = {"dim": Figure(float(points.shape[1]), unit="count")}

    figures["points"] = Figure(float(cfg.points), unit="count")
    for name, values in found.items():
        figures[name] = Figure(mean_and_spread(values)[0], half_width(values), "ratio")
    figures["delta_rel_spread"] = Figure(mean_and_spread(found["delta_rel"])[1], unit="ratio")
    if figures["delta_rel"].value > 1e-6:  # a tree has 0 up to rounding, and no finite c
        for name, constant in (("c_eq5", None), ("c_self_consistent", SELF_CONSISTENT)):
            relative = figures["delta_rel"].value
            c = curvature(relative) if constant is None else curvature(relative, constant)
            figures[name] = Figure(c, unit="curvature")
    return figures, measured


def check(cfg: Delta, split: str | None, export: Path | None) -> None:
    """Say what cannot work before a picture is read."""
    for name, least in (("points", 3), ("tries", 1), ("bases", 1), ("size", 1), ("stored", 1), ("dim", 1)):
        if getattr(cfg, name) < least:
            raise ValueError(f"--{name} {getattr(cfg, name)}: give at least {least}")
    if cfg.bases > cfg.points:
        raise ValueError(f"--bases {cfg.bases} exceeds --points {cfg.points}; lower it")
    if cfg.network in get_args(spaces.Space) and export:
        raise ValueError(f"--export: {cfg.network} is made of no pictures; choose a network to export")
    if cfg.network.startswith(EXPORT) and (split or export):
        raise ValueError(
            f"{cfg.network} names its own split and is an export; leave --split and --export out"
        )


def space_distances(cfg: Delta, random: torch.Generator) -> Tensor:
    """(N, N) distances of one sample of the space cfg.network."""
    if cfg.network == "tree":
        return spaces.tree_distances(cfg.points, random)
    if cfg.network == "disk":
        return spaces.disk_distances(cfg.points, RADIUS, random)
    draw = spaces.isotropic if cfg.network == "isotropic" else spaces.sphere
    return euclidean(draw(cfg.points, cfg.dim, random))


def embed(
    cfg: Delta, device: torch.device, split: str | None, export: Path | None
) -> tuple[Tensor, Tensor, Measured]:
    """(points (M, D) on the CPU, rows of each try in it (tries, N), what they are).

    Only pictures that some try draws go through the network, unless all of them are to be exported.
    """
    random = counter.generator(cfg.seed, SAMPLE)
    if cfg.network.startswith(EXPORT):
        read = gallery.read_export(cfg.network.removeprefix(EXPORT))
        rows = draw_rows(
            len(read.embedding), cfg.points, cfg.tries, replacement=cfg.replacement, random=random
        )
        return read.embedding, rows, Measured(read.dataset, read.split)

    pictures = load(cfg, split or SPLIT)
    rows = draw_rows(len(pictures), cfg.points, cfg.tries, replacement=cfg.replacement, random=random)
    wanted = torch.arange(len(pictures)) if export else rows.unique()
    net = None if cfg.network == "pixels" else extractors.network(cfg.network, cfg.weights, cfg.seed)
    points = extractors.features(
        net,
        pictures.subset(wanted),
        size=cfg.size,
        mean=cfg.mean,
        std=cfg.std,
        device=device,
        workers=cfg.workers,
        batch=cfg.batch,
    )
    if export:
        gallery.export(export, embedding=points, dataset=pictures, protocol=cfg.protocol)
    place = torch.full((len(pictures),), -1).index_put_((wanted,), torch.arange(len(wanted)))
    return points, place[rows], Measured(pictures.name, pictures.split)


def load(cfg: Delta, split: str) -> Dataset:
    """The split as pictures of cfg.stored x cfg.stored pixels."""
    return data.load(cfg.data, split, size=cfg.stored, protocol=cfg.protocol)


def half_width(values: list[float]) -> float | None:
    """Of the 95 % Student interval of the mean; None for one try."""
    return student_half_width(values) if len(values) > 1 else None
