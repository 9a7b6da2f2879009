"""Topic of hierarchical_multilabel: its losses against a pass of SupCon for each level."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.measure import Case, Contender
from hierarchical_multilabel.losses import (
    RELEASED_BASE_TEMPERATURE,
    exponential,
    himulcon_loss,
    himulcone_loss,
)

TAU = 0.1
Loss = Callable[[Tensor], Tensor]


def levels(scale: str) -> list[Case]:
    """B images with V = 2 views, D = 128, and L = 4 levels: 8 groups, each node with 4 children."""
    sizes = {"tiny": [24], "small": [256], "full": [512, 2048]}[scale]
    losses = (
        ("HiMulCon", "paper", _himulcon),
        ("HiMulConE", "paper", _himulcone),
        ("HiMulConE", "released", _released),
    )
    return [
        Case(
            title=f"{name}, {form} form, forward and backward, B = {b}, V = 2, L = 4",
            build=lambda b=b, build=build: build(b),
            baseline="a pass for each level",
            tolerance=1e-5,
        )
        for b in sizes
        for name, form, build in losses
    ]


def _inputs(b: int) -> tuple[Tensor, Tensor]:
    """z (B, 2, 128) with some of the tree in it, labels (B, 5)."""
    g = torch.Generator().manual_seed(0)
    leaf = torch.randint(8 * 4**3, (b,), generator=g)  # nodes of the finest level
    labels = torch.stack([leaf // 4**up for up in (3, 2, 1, 0)] + [torch.arange(b)], 1)
    z = torch.randn(b, 2, 128, generator=g)
    for column in labels.T[:-1]:
        z += torch.randn(int(column.max()) + 1, 1, 128, generator=g)[column]
    return normalize(z, dim=2), labels


def _step(rows: Tensor, loss: Loss) -> float:
    """Norm of the gradient behind the normalisation, which pytorch-metric-learning does itself."""
    rows = rows.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(normalize(rows, dim=2)), rows)
    return float(gradient.norm())


def _positives(labels: Tensor, l: int, views: int) -> Tensor:
    """(VB, VB) bool: other views that share level l, from a comparison of whole prefixes."""
    prefix = labels[:, : labels.shape[1] - l]
    same = (prefix[:, None] == prefix).all(2).repeat(views, views)
    return same & ~torch.eye(len(same), dtype=torch.bool)


def _supcon(z: Tensor, positive: Tensor, worst: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(mean over anchors, largest pair loss) of one level; pair losses are raised to worst."""
    rows = z.transpose(0, 1).flatten(0, 1)
    s = rows @ rows.T / TAU
    ell = -s.masked_fill(torch.eye(len(s), dtype=torch.bool), -torch.inf).log_softmax(1)  # (VB, VB)
    if worst is not None:
        ell = torch.maximum(ell, worst)
    ell = torch.where(positive, ell, 0)
    return (ell.sum(1) / positive.sum(1)).mean(), ell.max()


def _himulcon(b: int) -> list[Contender]:
    rows, labels = _inputs(b)
    levels = labels.shape[1] - 1

    def each_level(z: Tensor) -> Tensor:
        means = [_supcon(z, _positives(labels, l, 2))[0] for l in range(1, levels + 1)]
        return torch.stack([exponential(l) * mean for l, mean in enumerate(means, 1)]).sum() / levels

    def metric_learning(z: Tensor) -> Tensor:
        from pytorch_metric_learning.losses import SupConLoss
        from pytorch_metric_learning.reducers import MeanReducer

        loss, views = SupConLoss(temperature=TAU, reducer=MeanReducer()), z.transpose(0, 1).flatten(0, 1)
        # Equal ids mean equal nodes here, so one column is enough.
        means = [loss(views, labels[:, levels - l].repeat(2)) for l in range(1, levels + 1)]
        return torch.stack([exponential(l) * mean for l, mean in enumerate(means, 1)]).sum() / levels

    return [
        Contender(name="ours", run=lambda: _step(rows, lambda z: himulcon_loss(z, labels, TAU))),
        Contender(name="a pass for each level", run=lambda: _step(rows, each_level)),
        Contender(
            name="pytorch-metric-learning, each level",
            run=lambda: _step(rows, metric_learning),
            packages=("pytorch_metric_learning",),
            pip="pytorch-metric-learning",
        ),
    ]


def _himulcone(b: int) -> list[Contender]:
    rows, labels = _inputs(b)
    levels = labels.shape[1] - 1

    def each_level(z: Tensor) -> Tensor:
        total, worst = z.new_zeros(()), z.new_zeros(())
        for l in range(1, levels + 1):
            mean, worst = _supcon(z, _positives(labels, l, 2), worst)
            total = total + exponential(l) * mean
        return total / levels

    return [
        Contender(name="ours", run=lambda: _step(rows, lambda z: himulcone_loss(z, labels, TAU))),
        Contender(name="a pass for each level", run=lambda: _step(rows, each_level)),
    ]


def _released(b: int) -> list[Contender]:
    rows, labels = _inputs(b)
    columns = labels.shape[1]

    def each_level(z: Tensor) -> Tensor:
        total, worst, kept = z.new_zeros(()), z.new_zeros(()), labels
        for l in range(1, columns):
            worst = torch.maximum(worst, _supcon(z, _positives(kept, l, 2))[0])
            total = total + exponential(l) * worst
            prefix = kept[:, : columns - l]
            _, node = prefix.unique(dim=0, return_inverse=True)
            # Of each node the first image, in the order of the prefixes.
            first = (node == torch.arange(int(node.max()) + 1)[:, None]).long().argmax(1)
            z, kept = z[first], kept[first]
        return total / columns * (TAU / RELEASED_BASE_TEMPERATURE)

    return [
        Contender(name="ours", run=lambda: _step(rows, lambda z: himulcone_loss(z, labels, TAU, "released"))),
        Contender(name="a pass for each level", run=lambda: _step(rows, each_level)),
    ]
