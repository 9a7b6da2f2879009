"""Every configuration behind a row of the uncertainty experiment (Figures 1 and 5, Table 2).

Sources of the defaults: [A] the authors' mnist.py, [I] an author's answer in issue 13 of their repository,
[ours] ours, for the reason given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """A small network on MNIST whose scores of certainty are compared between MNIST and Omniglot."""

    LIMITS: ClassVar[dict[str, str]] = {
        "clip": "[0, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none (tables.py names them per row)."""

    # Data
    data: str = "mnist"
    """In-domain set [A]; a name in the catalogue with 28-pixel grey pictures, or 'embedded'."""
    outside: str = "omniglot"
    """Out-of-domain set, all of its pictures (note U1); read by evaluate.py alone. 'embedded' takes drawings
    of families that were not trained on, whatever stands here."""
    mean: float = 0.1307
    """Subtracted from grey values in [0, 1] [A]."""
    std: float = 0.3081
    """Divisor after that [A]."""

    # Network (model.py)
    head: Literal["hyperbolic", "euclidean"] = "hyperbolic"
    """hyperbolic: exp_0, then multinomial logistic regression in the ball; euclidean: one linear layer."""
    dim: int = 2
    """n, size of the embedding: 2, 8, 16, 20 in Table 2."""
    c: float = 0.05
    """The ball has curvature -c; 0.05 is the paper's for this experiment [I], their script's default is 1.0
    (note U2). Unused by the Euclidean head."""
    mode: Literal["released", "exact"] = "released"
    """Constants of the authors' code, which set the scale of their runs, or the exact forms (note U3)."""
    correction: bool = True
    """Multiply the gradient at the ball by (1 - c |z|^2)^2 / 4 [A] (note U4)."""
    clip: float = 0.0
    """Largest feature norm before exp_0, after Guo et al. (arXiv:2107.11472); 0: none [A]."""

    # Optimisation
    batch: int = 64
    """Pictures per step [A]."""
    epochs: int = 10
    """Epochs [A]; after each a checkpoint is written."""
    epoch_steps: int = 0
    """Steps of an epoch; 0: one pass over the training pictures [A]."""
    lr: float = 1e-3
    """Adam's learning rate [A]."""

    # Machine
    seed: int = 0
    """Initial weights and order [A has one seed, 1]."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N [ours]."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the layers before the head [A]; the head, the loss and evaluation stay float32."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU) [ours]."""


HYPERBOLIC = Uncertainty()
# The head's own fields keep their defaults: they are unused, and a row's overrides stay short.
EUCLIDEAN = replace(HYPERBOLIC, head="euclidean")
SHORT = {"epochs": 2, "epoch_steps": 938}
"""The short variants: two passes over MNIST, and the same number of steps on the small embedded set."""

PRESETS: dict[str, tuple[str, Uncertainty]] = {
    "mnist-hyperbolic": (
        "the authors' MNIST training at the paper's c, n = 2",
        HYPERBOLIC,
    ),
    "mnist-euclidean": ("the same network and training with a linear classifier", EUCLIDEAN),
    "mnist-hyperbolic-short": (
        "mini: mnist-hyperbolic, 2 of its 10 epochs",
        replace(HYPERBOLIC, **SHORT),
    ),
    "mnist-euclidean-short": (
        "mini: mnist-euclidean, 2 of its 10 epochs",
        replace(EUCLIDEAN, **SHORT),
    ),
    "smoke-uncertainty": (
        "seconds, generated drawings, no claim",
        replace(HYPERBOLIC, data="embedded", epochs=2, epoch_steps=5),
    ),
}
