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

An export of a hyperbolic checkpoint says that its rows are points of a ball, and of which; the rows of any
other are read as tangent vectors at the origin, which is what a network with a hyperbolic head makes of them.

The share of the sum of squared distances from the centre that survives stands in the title. A distance from
the centre is never enlarged: d(0, y) = 2 |u V| <= 2 |u| = d(m, x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from common import config, gallery, plots, typos
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
        raise ValueError(f"x has {len(x)} row; give at least 2")
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
    require_embeddings("rows", rows)
    return poincare.project(poincare.expmap0(rows.double(), c), c, BORDER)


def fitting_curvature(rows: Tensor) -> float:
    """c with which 19 of 20 Euclidean rows (N, D) come to lie within SHOWN of the disk's radius."""
    require_embeddings("rows", rows)
    far = float(rows.double().norm(dim=1).quantile(0.95))
    return (math.atanh(SHOWN) / far) ** 2 if far > 0 else 1.0


def main(argv: Sequence[str]) -> None:
    parser = typos.Parser(
        prog="python -m hyperbolic_embeddings.projection",
        description="Draw an export as points of the Poincaré disk, by tangent PCA.",
    )
    parser.add_argument("export", type=Path, help="written by python -m <paper>.evaluate CHECKPOINT --export")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: the export's name with .png")
    parser.add_argument(
        "--c",
        type=float,
        default=0.0,
        help="curvature -c; default: that of the export's ball, else one that fills the disk",
    )
    parser.add_argument(
        "--points",
        action="store_true",
        help="the rows are points of the ball of --c, not tangent vectors; only for exports that do not say",
    )
    parser.add_argument(
        "--origin", action="store_true", help="keep the origin in the centre instead of the hyperbolic mean"
    )
    parser.add_argument("--level", type=int, default=-1, help="level of the labels that gives the colours")
    parser.add_argument("--most", type=int, default=2000, help="rows drawn, at random (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default 0)")
    args = parser.parse_args(argv)
    config.require_free("--out", args.out)
    read = gallery.read_export(args.export)
    if not 0 <= args.c < math.inf:
        raise ValueError(f"--c {args.c}: the curvature is -c, give a finite number above 0")
    if read.c is not None and args.c and not math.isclose(args.c, read.c, rel_tol=1e-6):
        raise ValueError(
            f"--c {args.c}: the rows of {args.export} are points of the ball with c = {read.c:g}; "
            "leave --c out"
        )
    points, c = args.points or read.c is not None, read.c or args.c
    if points and not c:
        raise ValueError("--points without --c: add --c of the ball that the rows are points of")
    levels = len(read.levels)
    if not -levels <= args.level < levels:
        raise ValueError(
            f"--level {args.level}: the export has the levels {', '.join(read.levels)}; "
            f"choose from {-levels} to {levels - 1}"
        )
    if args.most < 2:
        raise ValueError(f"--most {args.most}: give at least 2 rows")
    random = torch.Generator().manual_seed(args.seed)
    own = torch.randperm(len(read.embedding), generator=random)[: args.most]
    rows = read.embedding[own]
    require_embeddings("embedding", rows)
    c = c or fitting_curvature(rows)
    y, kept = tangent_pca(rows.double() if points else to_ball(rows, c), c, centred=not args.origin)
    names = [read.names[args.level][i] for i in read.labels[own, args.level].tolist()]
    out = args.out or args.export.with_suffix(".png")
    title = f"{read.dataset}/{read.split}, {100 * kept:.0f} % kept, c = {c:.3g}"
    plots.poincare_disk(y.numpy(), names, out, c, title=title)
    print(f"rows read as {'points of the ball' if points else 'tangent vectors at the origin'}, c = {c:.6g}")
    print(f"{100 * kept:.1f} % of the squared distance from the centre kept")
    print(out)


if __name__ == "__main__":
    config.command(main)
