"""Pictures of the uncertainty experiment: Figure 1 (the disk), Figure 5 (histograms), and Table 2 as curves.

    uncertainty-disk-classes.png     test pictures of the in-domain set in the disk, coloured by class
    uncertainty-disk-outside.png     the same disk: in-domain against out-of-domain
    uncertainty-histogram-*.png      a score in-domain and out-of-domain; hyperbolic: d(0, z), euclidean: |u|
    uncertainty-ks.png               KS distance of every score over n, from results/runs

`disk` and `histogram` take any checkpoint of the experiment; `draw` takes finished ones of n = 2, real data
and long training first.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import config, data, plots, results, run
from common.data.dataset import Dataset
from common.results.tables import is_embedded
from hyperbolic_embeddings.projection import tangent_pca
from hyperbolic_embeddings.uncertainty.claims import EUCLIDEAN, HYPERBOLIC, values
from hyperbolic_embeddings.uncertainty.evaluate import describe, network, out_of_domain
from hyperbolic_embeddings.uncertainty.model import Network
from hyperbolic_embeddings.uncertainty.presets import Uncertainty
from hyperbolic_embeddings.uncertainty.tables import DIMS
from hyperbolic_embeddings.uncertainty.train import load

PAPER = "hyperbolic_embeddings"
POINTS = 3000
"""Pictures per set in a disk."""
LINES = {
    "hyperbolic, d(0, z)": (HYPERBOLIC, "ks_distance"),
    "hyperbolic, p_max": (HYPERBOLIC, "ks_p_max"),
    "Euclidean, |u|": (EUCLIDEAN, "ks_norm"),
    "Euclidean, p_max": (EUCLIDEAN, "ks_p_max"),
}


def draw(folder: Path, runs: Path = Path("runs")) -> None:
    """Everything that can be drawn from results/runs and from finished run folders below `runs`; what is
    missing is said in one line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for head in ("hyperbolic", "euclidean"):
        checkpoint = chosen(head, runs)
        if checkpoint is None:
            print(
                f"no finished {head} run of the uncertainty experiment with n = 2; "
                f"run python -m {PAPER}.train mnist-{head}"
            )
            continue
        try:
            histogram(checkpoint, folder)
            if head == "hyperbolic":
                disk(checkpoint, folder)
        except data.DataMissing:
            print(f"{checkpoint.parent}: its data are not here, so its pictures stay as they are")
    curves(folder)


def chosen(head: str, runs: Path) -> Path | None:
    """The checkpoint to draw of the runs with this head and n = 2."""
    return run.to_draw(PAPER, lambda cfg: "outside" in cfg and (cfg["head"], cfg["dim"]) == (head, 2), runs)


def disk(checkpoint: Path, folder: Path) -> None:
    """Figure 1: the points z of a hyperbolic network in the disk. n above 2: `disk_points`."""
    cfg, model, inside, outside = opened(checkpoint)
    if model.to_ball is None:
        raise ValueError(f"{checkpoint} has a Euclidean head and no ball to draw; give a hyperbolic run")
    title = f"n = {cfg.dim}, c = {cfg.c:g}" + ("" if cfg.dim == 2 else ", tangent PCA")
    near, far = sample(inside), sample(outside)
    points = disk_points(model, torch.cat([describe(model, cfg, part)[0] for part in (near, far)]))
    path = folder / "uncertainty-disk-classes.png"
    plots.poincare_disk(points[: len(near)], near.label, path, cfg.c, title=f"{near.name}, {title}")
    print(path)
    path = folder / "uncertainty-disk-outside.png"
    names = [near.name] * len(near) + [outside_name(near, far)] * len(far)
    plots.poincare_disk(points, names, path, cfg.c, title=title)
    print(path)


def disk_points(model: Network, u: Tensor) -> Tensor:
    """Features (N, n) of a hyperbolic network -> points (N, 2) of the disk, float64.

    n = 2: z itself. Else tangent PCA about the origin, so that the distance from it keeps its meaning.
    """
    assert model.to_ball is not None
    z = model.to_ball(u.double())
    return z if z.shape[1] == 2 else tangent_pca(z, float(model.to_ball.c), centred=False)[0]


def histogram(checkpoint: Path, folder: Path) -> None:
    """Figure 5: d(0, z) of a hyperbolic network, or |u| of a Euclidean one, in-domain and out-of-domain.

    The title says how many pictures lie in the spike at the cap, which is the last bin and the work of the
    projection alone.
    """
    cfg, model, inside, outside = opened(checkpoint)
    u, far = (describe(model, cfg, part)[0] for part in (inside, outside))
    other = outside_name(inside, outside)
    title, xlabel, bins = f"Euclidean head, n = {cfg.dim}", "feature norm |u|", 48
    groups = {inside.name: u.norm(dim=1), other: far.norm(dim=1)}
    if model.to_ball is not None:
        groups = {inside.name: model.distance0(u), other: model.distance0(far)}
        at_cap = [f"{name} {(d >= 2 * model.cap).double().mean():.0%}" for name, d in groups.items()]
        xlabel, title = "d(0, z)", f"c = {cfg.c:g}, n = {cfg.dim}"
        if any((d >= 2 * model.cap).any() for d in groups.values()):
            title += f"; at the cap {2 * model.cap:.3g}: {', '.join(at_cap)}"
            bins = np.linspace(0, 2 * model.cap, 49).tolist()
    path = folder / f"uncertainty-histogram-{cfg.head}.png"
    plots.histogram({k: v.numpy() for k, v in groups.items()}, path, xlabel, bins, title=title)
    print(path)


def curves(folder: Path) -> None:
    """Table 2 as curves: mean and 95 % interval over the seeds of the published training."""
    runs = results.load_runs(PAPER)
    series, dims = {}, []
    for label, (preset, metric) in LINES.items():
        found = {n: list(values(runs, metric, preset, dim=n).values()) for n in DIMS}
        dims = [n for n in DIMS if found[n]] if not series else dims
        if not dims or any(not found[n] for n in dims):
            print("rows of Table 2 are missing; run make reproduce-hyperbolic TABLE=uncertainty")
            return
        series[label] = (
            [sum(found[n]) / len(found[n]) for n in dims],
            [plots.student_half_width(found[n]) if len(found[n]) > 1 else math.nan for n in dims],
        )
    path = folder / "uncertainty-ks.png"
    label = "KS distance, MNIST to Omniglot, 95 % interval"
    plots.lines(dims, series, path, "n", label, percent=True, log_x=True)
    print(path)


def opened(checkpoint: Path) -> tuple[Uncertainty, Network, Dataset, Dataset]:
    """(configuration, network, test pictures, out-of-domain pictures) of a checkpoint."""
    loaded = run.load_checkpoint(checkpoint, paper=PAPER)
    cfg = config.restore(Uncertainty, loaded["config"], checkpoint)
    inside = load(cfg, "test")
    return cfg, network(cfg, loaded, inside.classes, torch.device("cpu")), inside, out_of_domain(cfg)


def sample(dataset: Dataset) -> Dataset:
    """At most POINTS pictures, spread evenly over the set."""
    if len(dataset) <= POINTS:
        return dataset
    return dataset.subset(torch.linspace(0, len(dataset) - 1, POINTS).long())


def outside_name(inside: Dataset, outside: Dataset) -> str:
    """What the out-of-domain pictures are called; on the embedded set both sets have one name."""
    return f"{outside.name}, other families" if is_embedded(inside.name) else outside.name
