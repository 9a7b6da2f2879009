"""What a curved space is for, on points one can see: `python -m hyperbolic_embeddings.lesson [--out FIGURE]`.

1. A tree needs room that grows exponentially with the depth. A ball of curvature -c has it, the plane does
   not: the same loss places the same tree in both, and we measure by how much distances are wrong.
2. A classifier on the ball leaves points that it is unsure of near the centre. So does an ordinary one in
   the plane: the length of its features says as much. Both are measured.

Nothing is downloaded; about fifteen seconds on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor, nn

from common import config, plots, typos
from common.metrics import gromov_delta
from hyperbolic_embeddings import poincare
from hyperbolic_embeddings.layers import HyperbolicMLR, ToPoincare
from hyperbolic_embeddings.uncertainty.scores import auroc, log_p_max

C = 1.0
LEVELS = 6


# 1. A tree: node 0 is the root, nodes 2i + 1 and 2i + 2 are the children of node i.
def tree_distances(levels: int = LEVELS) -> Tensor:
    """(N, N) float64: number of edges between two nodes of a binary tree of N = 2^levels - 1 nodes."""
    n = 2**levels - 1
    paths = []
    for node in range(n):
        path = [node]
        while path[-1]:
            path.append((path[-1] - 1) // 2)
        paths.append(set(path))
    # From a node up to the last common ancestor and down again: what is on one path to the root only.
    return torch.tensor([[len(a ^ b) for b in paths] for a in paths], dtype=torch.float64)


def place(tree: Tensor, start: Tensor, curved: bool, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """Points (N, 2) whose distances follow `tree` up to one factor, and those distances divided by it.

    The loss is the mean of (d_ij / (s t_ij) - 1)^2 over all pairs, with s learnt; the same in both spaces.
    """
    u = start.clone().requires_grad_()
    log_s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    pair = tuple(torch.triu_indices(len(tree), len(tree), 1))
    optimiser = torch.optim.Adam([u, log_s], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x = poincare.expmap0(u, C) if curved else u
        a, b = x[pair[0]], x[pair[1]]
        d = poincare.distance(a, b, C) if curved else (a - b).norm(dim=1)
        loss = (d / (log_s.exp() * tree[pair]) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    x = (poincare.expmap0(u, C) if curved else u).detach()
    d = poincare.pairwise_distance(x, x, C) if curved else torch.cdist(x, x)
    return x, d / log_s.detach().exp()


def distortion(d: Tensor, tree: Tensor) -> tuple[float, float]:
    """Mean of |d / t - 1| over pairs, and the largest stretch over the smallest."""
    ratio = (d / tree)[torch.triu(torch.ones_like(tree), 1) > 0]
    return float((ratio - 1).abs().mean()), float(ratio.max() / ratio.min())


# 2. Three clouds that overlap: a point between two of them could be of either.
CENTRES = torch.tensor([[0.0, 1.0], [-0.87, -0.5], [0.87, -0.5]])


def clouds(points: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, 2), labels (N,), and the probability of the likeliest class (N,), which we know exactly."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(points) % 3
    x = CENTRES[y] + 0.5 * torch.randn(points, 2, generator=generator)
    sure = (-torch.cdist(x, CENTRES).square() / (2 * 0.5**2)).softmax(1).amax(1)
    return x, y, sure


def classify(curved: bool, seed: int) -> tuple[float, float, float, Tensor, Tensor]:
    """Accuracy; AUROC, clear against doubtful points, of distance from the centre and of p_max; z; sure."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    if curved:
        net = nn.Sequential(body, ToPoincare(C), HyperbolicMLR(2, 3, C))
    else:
        net = nn.Sequential(body, nn.Identity(), nn.Linear(2, 3))
    x, y, _ = clouds(600, seed=0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    x, y, sure = clouds(1500, seed=1)
    with torch.no_grad():
        z = net[:2](x)  # a point of the ball, or a feature of the plane
        score = poincare.distance0(z, C) if curved else z.norm(dim=1)
        logits = net[2](z)
    accuracy = float((logits.argmax(1) == y).float().mean())
    clear, doubtful = sure > 0.95, sure < 0.65
    p_max = log_p_max(logits)
    return accuracy, auroc(score[clear], score[doubtful]), auroc(p_max[clear], p_max[doubtful]), z, sure


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lessons/hyperbolic_embeddings.png"))
    out = parser.parse_args(argv).out
    config.require_free("--out", out)

    tree = tree_distances()
    delta, diameter = gromov_delta(distances=tree)
    print(f"a binary tree of {len(tree)} nodes, delta_rel {2 * delta / diameter:.2f}")
    placed = {}
    x = 0.1 * torch.randn(len(tree), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, curved in (("plane", False), ("disk", True)):
        x, d = place(tree, x, curved)  # the disk starts from where the plane ended
        mean, worst = distortion(d, tree)
        delta, diameter = gromov_delta(distances=d)
        placed[name] = x
        print(
            f"  in the {name}: distances off by {100 * mean:.0f} % on average, "
            f"largest stretch / smallest {worst:.1f}, delta_rel {2 * delta / diameter:.2f}"
        )

    print("three overlapping clouds: does the distance from the centre tell clear points from doubtful ones?")
    drawn = {}
    for name, curved in (("plane", False), ("disk", True)):
        runs = [classify(curved, seed) for seed in range(3)]
        drawn[name] = runs[0][3:]
        accuracy = ", ".join(f"{100 * run[0]:.0f}" for run in runs)
        centre, p_max = (", ".join(f"{run[i]:.2f}" for run in runs) for i in (1, 2))
        score = "d(0, z)" if curved else "|z|"
        print(f"  {name}: AUROC of {score} {centre}; of p_max {p_max}; accuracy {accuracy} % (three seeds)")
    draw(placed, drawn, out)
    print(out)


def draw(placed: dict[str, Tensor], drawn: dict[str, tuple[Tensor, Tensor]], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(8, 8))
        axes = figure.subplots(2, 2)
        for column, name in enumerate(("plane", "disk")):
            top, bottom = axes[:, column]
            x, (z, sure) = placed[name], drawn[name]
            for node in range(1, len(x)):
                top.plot(
                    *edge(x[(node - 1) // 2], x[node], name == "disk").T, color=plots.GREY, linewidth=0.8
                )
            top.scatter(
                *x.T, c=[plots.PALETTE[(i + 1).bit_length() - 1] for i in range(len(x))], s=16, zorder=2
            )
            top.set_title(f"the tree in the {name}, coloured by level")
            bottom.plot(0, 0, "+", color="#D55E00", markersize=9)
            shown = bottom.scatter(*z.T, c=sure.numpy(), cmap="viridis", s=6, linewidths=0)
            bottom.set_title(f"features in the {name}, coloured by certainty")
            for ax in (top, bottom):
                frame(ax, name == "disk")
        figure.colorbar(shown, ax=axes[1], shrink=0.7, label="probability of the likeliest class, known")
        figure.savefig(out, metadata={"Software": None})


def edge(parent: Tensor, child: Tensor, curved: bool) -> Tensor:
    """(T, 2): points of the straight line, in the disk of the geodesic exp_x(t log_x(y)), 0 <= t <= 1."""
    t = torch.linspace(0, 1, 20, dtype=parent.dtype)[:, None]
    if not curved:
        return parent + t * (child - parent)
    x = parent.expand(20, 2)
    return poincare.expmap(x, t * poincare.logmap(parent, child, C), C)


def frame(axes: Axes, disk: bool) -> None:
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    if disk:
        axes.add_patch(Circle((0, 0), 1 / C**0.5, fill=False, color=plots.INK, linewidth=1))


if __name__ == "__main__":
    config.command(main)
