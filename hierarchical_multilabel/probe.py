"""The linear probe: how well a linear classifier on frozen features names the nodes of a level.

The released code (classification/eval_deepfashion.py) trains one linear layer by SGD for 100 epochs, without
weight decay, on features of pictures that are not augmented. That is multinomial logistic regression, a
convex problem; here it is solved by L-BFGS over all rows, with a small L2 term that makes the solution unique
(note O5). No validation picture chooses anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.arguments import finite_number, require_finite, require_tensor, whole_number

BLOCK = 1 << 24
"""Logits held at a time."""


def fit(
    features: Tensor, labels: Tensor, classes: int, *, decay: float = 1e-3, iterations: int = 50
) -> tuple[Tensor, Tensor]:
    """(W [M, F], b [M]) that minimises mean cross-entropy of W h + b plus decay / 2 |W|^2.

    features (N, F) float32, labels (N,) int64 in 0 .. classes - 1. Starts at 0 and is the same every time on
    the same machine. iterations: of L-BFGS. Scale the features first, see `standardise`.
    """
    require_tensor("features", features, "(N, F)")
    require_tensor("labels", labels, "(N,)", torch.int64)
    require_finite("features", features)
    whole_number("classes", classes)
    whole_number("iterations", iterations)
    finite_number("decay", decay)
    if decay < 0:
        raise ValueError(f"decay is {decay}; give 0 or more")
    if len(features) != len(labels):
        raise ValueError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)}: give one label per row"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}, not 0 to {classes - 1}; give ids "
            f"below classes = {classes}"
        )
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_grad=1e-5,
        line_search_fn="strong_wolfe",
    )
    blocks = list(zip(*(part.split(max(1, BLOCK // classes)) for part in (features, labels))))

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = decay / 2 * weight.square().sum()
        total.backward()
        for h, y in blocks:
            loss = F.cross_entropy(torch.addmm(bias, h, weight.T), y, reduction="sum") / len(labels)
            loss.backward()
            total = total.detach() + loss.detach()
        return total.detach()

    with torch.enable_grad():
        optimiser.step(closure)
    return weight.detach(), bias.detach()


def predict(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N,) int64: the class of the largest logit."""
    require_tensor("features", features, "(N, F)")
    require_tensor("weight", weight, "[M, F]")
    require_tensor("bias", bias, "[M]")
    if weight.shape[1] != features.shape[1] or len(bias) != len(weight):
        raise ValueError(
            f"features {tuple(features.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do "
            "not fit; give (N, F), [M, F] and [M]"
        )
    step = max(1, BLOCK // len(weight))
    return torch.cat([torch.addmm(bias, h, weight.T).argmax(1) for h in features.split(step)])


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """The features with the mean of train's rows taken away and divided by one number, train's root mean
    square deviation.
    """
    for name, part in (("train", train), *(("others", part) for part in others)):
        require_tensor(name, part, "(N, F)")
        if part.shape[1] != train.shape[1]:
            raise ValueError(
                f"{name} has shape {tuple(part.shape)} and train {tuple(train.shape)}; give features of one "
                "network"
            )
    centre = train.mean(0)
    spread = (train - centre).square().mean().sqrt().clamp(min=torch.finfo(train.dtype).tiny)
    return tuple((part - centre) / spread for part in (train, *others))


def accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    decay: float = 1e-3,
    iterations: int = 50,
) -> float:
    """Top-1 accuracy on test of the probe fitted on train; ids need not be contiguous.

    A test picture of a class that train has not counts as wrong.
    """
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        require_tensor(name, features, "(N, F)")
        require_tensor(f"{name}_labels", labels, "(N,)", torch.int64)
        require_finite(name, features)
        if len(labels) != len(features):
            raise ValueError(
                f"{name}_labels has {len(labels)} labels for {len(features)} rows; give one label per row"
            )
    if test.shape[1] != train.shape[1]:
        raise ValueError(
            f"test has shape {tuple(test.shape)} and train {tuple(train.shape)}; give features of one network"
        )
    classes, y = train_labels.unique(return_inverse=True)
    train, test = standardise(train, test)
    weight, bias = fit(train, y, len(classes), decay=decay, iterations=iterations)
    return float((classes[predict(test, weight, bias)] == test_labels).double().mean())
