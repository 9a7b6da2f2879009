"""Any embedding as points of the Poincaré disk: `python -m hyperbolic_embeddings.projection EXPORT.npz`.

EXPORT.npz is what `python -m <paper>.evaluate CHECKPOINT --export FILE.npz` writes (common.gallery). Tangent
PCA: rows become tangent vectors at a centre, the two directions with the largest sum of squares are kept, and
the exponential map takes the result to the disk.

    symbol   shape    meaning
    c        ()       the ball and the disk have curvature -c
    x        (N, D)   points of the ball
    m        (D,)     centre: the hyperbolic mean of x (Einstein midpoint), or the origin
    u        (N, D)   log_0((-m) (+) x), tangent vectors after the centre is moved to the origin
    V        (D, 2)   first two right singular vectors of u: u is not centred once more
    y        (N, 2)   exp_0(u V), points of the disk

The share of the sum of squared distances from the centre that survives stands in the title. A distance from
the centre is never enlarged: d(0, y) = 2 |u V| <= 2 |u| = d(m, x). Euclidean rows are read as tangent vectors
at the origin, which is what a network with a hyperbolic head makes of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from common import config, gallery, plots
from common.metrics.contract import full_precision, require_embeddings
from hyperbolic_embeddings import poincare

BORDER = 1e-9
"""Points stay at (1 - BORDER) / sqrt(c) or below; in float64, exp_0 of 18 / sqrt(c) rounds to the border."""
SHOWN = 0.9
"""Of the disk's radius: where automatic curvature puts the outermost points but a twentieth."""


@torch.no_grad()
def tangent_pca(x: Tensor, c: float, *, centred: bool = True) -> tuple[Tensor, float]:
    """(y (N, 2) float64 in the disk, share of the squared distances from the centre that is kept).

    x: (N, D) points of the ball of curvature -c. centred: the centre is their hyperbolic mean, else the
    origin, from which a hyperbolic classifier measures certainty. Signs: on each axis the farthest point is
    positive. D = 1 gets a second coordinate of 0. ValueError: points outside the ball, one point only, a
    bad c.
    """
    require_embeddings("x", x)
    poincare.require_points("x", x, c)
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} row; a projection needs at least 2")
    with full_precision(x.device):
        x = x.double()
        if centred:
            x = poincare.mobius_add(-poincare.hyperbolic_mean(x, c), x, c)
            x = poincare.project(x, c, BORDER)
        u = poincare.logmap0(x, c)
        _, _, rows = torch.linalg.svd(u, full_matrices=False)
        v = rows[:2].T  # (D, 2)
        flat = u @ v
        flat = flat * flat.gather(0, flat.abs().argmax(0, keepdim=True)).sign()
        total = float(u.square().sum())
        kept = float(flat.square().sum()) / total if total > 0 else 1.0
        if flat.shape[1] < 2:
            flat = torch.cat([flat, torch.zeros_like(flat)], 1)
        return poincare.project(poincare.expmap0(flat, c), c, BORDER), kept


def to_ball(rows: Tensor, c: float) -> Tensor:
    """(N, D) float64 points of the ball: exp_0 of Euclidean rows, which are tangent vectors at the origin."""
    return poincare.project(poincare.expmap0(rows.double(), c), c, BORDER)


def fitting_curvature(rows: Tensor) -> float:
    """c with which 19 of 20 Euclidean rows (N, D) come to lie within SHOWN of the disk's radius."""
    far = float(rows.double().norm(dim=1).quantile(0.95))
    return (math.atanh(SHOWN) / far) ** 2 if far > 0 else 1.0


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hyperbolic_embeddings.projection",
        description="Draw an export as points of the Poincaré disk, by tangent PCA.",
    )
    parser.add_argument("export", type=Path, help="written by python -m <paper>.evaluate CHECKPOINT --export")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: the export's name with .png")
    parser.add_argument(
        "--c", type=float, default=0.0, help="curvature -c; default: one that fills the disk (Euclidean rows)"
    )
    parser.add_argument(
        "--points", action="store_true", help="the rows are points of the ball already, not tangent vectors"
    )
    parser.add_argument(
        "--origin", action="store_true", help="keep the origin in the centre instead of the hyperbolic mean"
    )
    parser.add_argument("--level", type=int, default=-1, help="level of the labels that gives the colours")
    parser.add_argument("--most", type=int, default=2000, help="rows drawn, at random (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default 0)")
    args = parser.parse_args(argv)
    read = gallery.read_export(args.export)
    if args.c < 0:
        raise ValueError(f"--c {args.c}: the curvature is -c, give a number above 0")
    if args.points and not args.c:
        raise ValueError("--points needs --c: the ball that the rows are points of")
    if not -len(read.levels) <= args.level < len(read.levels):
        raise ValueError(f"--level {args.level}: the export has the levels {', '.join(read.levels)}")
    if args.most < 2:
        raise ValueError(f"--most {args.most}: give at least 2 rows")
    random = torch.Generator().manual_seed(args.seed)
    own = torch.randperm(len(read.embedding), generator=random)[: args.most]
    rows = read.embedding[own]
    require_embeddings("embedding", rows)
    c = args.c or fitting_curvature(rows)
    y, kept = tangent_pca(rows.double() if args.points else to_ball(rows, c), c, centred=not args.origin)
    names = [read.names[args.level][i] for i in read.labels[own, args.level].tolist()]
    out = args.out or args.export.with_suffix(".png")
    title = f"{read.dataset}/{read.split}: {100 * kept:.0f} % of the squared distance kept, c = {c:.3g}"
    plots.poincare_disk(y.numpy(), names, out, c, title=title)
    print(f"{100 * kept:.1f} % of the squared distance from the centre kept, c = {c:.6g}")
    print(out)


if __name__ == "__main__":
    config.command(main)
