"""Telling single pictures apart groups them: `python -m instance_discrimination.lesson [--out FIGURE]`.

A "picture" is a point of the plane; its class is its direction from the origin, its length means nothing.
The network is never told the classes. It learns to recognise each single picture after an augmentation that
changes the length and shakes the rest, by the cosine between its output and a memory bank with one unit
vector per picture. What the augmentation makes alike cannot be told apart, and ends up in one place on the
circle.

Printed: accuracy of a vote of neighbours, in the plane and on the circle; the exact softmax beside NCE with
m noise pictures; what the temperature does; how well NCE's gradient agrees with the one it estimates.
Nothing is downloaded; about fifteen seconds on one core.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize

from common import config, plots, typos
from common.metrics import knn_predict
from instance_discrimination.losses import (
    draw_noise,
    estimated_log_z,
    nce_loss_of_scores,
    noise_scores,
    softmax_loss,
)
from instance_discrimination.memory import MemoryBank

CLASSES, PICTURES, STEPS, NEIGHBOURS = 5, 200, 400, 10


def pictures(seed: int) -> tuple[Tensor, Tensor]:
    """x (N, 2) and classes (N,): five directions, lengths from 0.1 to 3."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(PICTURES) % CLASSES
    angle = 2 * math.pi * y / CLASSES + 0.25 * torch.randn(PICTURES, generator=generator)
    length = 0.1 + 2.9 * torch.rand(PICTURES, generator=generator)
    return length[:, None] * torch.stack([angle.cos(), angle.sin()], 1), y


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Another length, a third to three times the old one, and a little of anything."""
    stretch = 3 ** (2 * torch.rand(len(x), 1, generator=generator) - 1)
    return stretch * x + 0.05 * torch.randn(x.shape, generator=generator)


def train(x: Tensor, noise: int, tau: float, seed: int = 0) -> tuple[nn.Module, MemoryBank, float]:
    """Encoder, bank and last loss; noise: m of NCE, 0 for the exact softmax."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    bank = MemoryBank(len(x), 2, momentum=0.5, generator=generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    index, loss = torch.arange(len(x)), torch.zeros(())
    for step in range(STEPS):
        v = normalize(net(augment(x, generator)), dim=1)
        if noise == 0:
            loss = softmax_loss(v, bank.rows, index, tau)  # Eq. (2) and (3)
        else:
            drawn = draw_noise(index, noise, len(x), seed, step)
            scores = noise_scores(v, bank.rows, index, drawn, tau)
            bank.start_log_z(estimated_log_z(scores, len(x)))  # Eq. (8)
            loss = nce_loss_of_scores(scores, bank.log_z, len(x))  # Eq. (6) and (7)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bank.update(index, v.detach())
    return net, bank, loss.item()


def vote(rows: Tensor, y: Tensor, queries: Tensor, wanted: Tensor, tau: float = 0.07) -> float:
    predicted = knn_predict(normalize(rows, dim=1), y, normalize(queries, dim=1), NEIGHBOURS, tau, CLASSES)
    return float((predicted == wanted).float().mean())


def vote_in_the_plane(x: Tensor, y: Tensor, queries: Tensor, wanted: Tensor) -> float:
    """The same vote, unweighted, among the nearest points of the plane."""
    near = torch.cdist(queries, x).topk(NEIGHBOURS, largest=False).indices
    return float((y[near].mode(1).values == wanted).float().mean())


def agreement(v: Tensor, bank: MemoryBank, noise: int, tau: float, own_z: bool, draws: int = 10) -> float:
    """Mean cosine between the gradients of NCE and of the softmax with respect to v (N, 2).

    Z: the mean over the pictures, a constant as in Eq. (8), or with own_z the exact Z_i of each picture.
    """
    index = torch.arange(len(v))
    log_z = (v.detach() @ bank.rows.T / tau).logsumexp(1, keepdim=True)  # (N, 1), Eq. (5)
    log_z = log_z if own_z else log_z.logsumexp(0, keepdim=True) - math.log(len(v))

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, v)[0].flatten()

    exact = gradient(softmax_loss(v, bank.rows, index, tau))
    found = []
    for step in range(draws):
        scores = noise_scores(v, bank.rows, index, draw_noise(index, noise, len(v), 0, step), tau)
        estimate = gradient(nce_loss_of_scores(scores - log_z, torch.zeros(()), len(v)))
        found.append(torch.cosine_similarity(estimate, exact, 0))
    return float(torch.stack(found).mean())


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lessons/instance_discrimination.png"))
    out = parser.parse_args(argv).out
    config.require_free("--out", out)

    (x, y), (queries, wanted) = pictures(0), pictures(1)
    print(f"{PICTURES} pictures, {CLASSES} classes that training never sees, new pictures as queries")
    plane = vote_in_the_plane(x, y, queries, wanted)
    print(f"  vote of {NEIGHBOURS} neighbours in the plane: {100 * plane:.0f} %")
    shown = {}
    for name, noise, tau in (
        ("softmax, tau 0.1", 0, 0.1),
        ("softmax, tau 1", 0, 1.0),
        ("NCE, m = 1, tau 0.1", 1, 0.1),
        ("NCE, m = 10, tau 0.1", 10, 0.1),
        ("NCE, m = 200, tau 0.1", 200, 0.1),
    ):
        net, bank, loss = train(x, noise, tau)
        with torch.no_grad():
            v, u = normalize(net(x), dim=1), normalize(net(queries), dim=1)
        near = (v[y == 0] @ v[y == 0].T).mean()
        print(
            f"  {name + ':':23}{100 * vote(v, y, u, wanted):.0f} % on the circle, "
            f"mean cosine inside a class {near:.2f}, loss {loss:.2f}"
        )
        shown[name] = v
    net, bank, _ = train(x, 0, 0.1)
    v = normalize(net(x), dim=1).detach().requires_grad_()
    for name, own_z in (("one constant", False), ("each picture its own", True)):
        told = ", ".join(f"{agreement(v, bank, m, 0.1, own_z):.2f} at m = {m}" for m in (1, 100, 10_000))
        print(f"  cosine of the gradients of NCE and softmax, Z {name}: {told}")
    draw(x, y, shown, out)
    print(out)


def draw(x: Tensor, y: Tensor, shown: dict[str, Tensor], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    panels = {"the pictures": x} | shown
    generator = torch.Generator().manual_seed(7)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(9, 6.2))
        for axes, (name, points) in zip(figure.subplots(2, 3).flat, panels.items()):
            if points is not x:  # a little off the circle, so that coinciding points can be counted
                points = points * (1 + 0.06 * torch.randn(len(points), 1, generator=generator))
            for label in range(CLASSES):
                axes.scatter(*points[y == label].T, s=7, color=plots.PALETTE[label], linewidths=0, alpha=0.8)
            axes.set(aspect="equal", title=name)
            axes.set_axis_off()
        figure.savefig(out, metadata={"Software": None})


if __name__ == "__main__":
    config.command(main)
