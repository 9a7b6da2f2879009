"""Every configuration behind Table 5 (arXiv:1904.02239v2); tables.py says which row has which.

No code of this experiment is public. Sources of the defaults: [review] a review of the paper; [recalled]
remembered, not checked against the PDF; [field] unknown, the default of KaiyangZhou/deep-person-reid, a
common library of this field; [ours] ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class ReID:
    """A ResNet with a small embedding, trained to tell persons apart, searched across cameras."""

    LIMITS: ClassVar[dict[str, str]] = {
        "narrow": "[1, inf)",
        "pad": "[0, inf)",
        "eps": "(0, 1)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none."""

    # Data
    data: str = "market1501"
    """market1501 or dukemtmc [review], or 'embedded'."""
    size: int = 256
    """Pictures are loaded as squares of this side in pixels; their height [field]."""
    narrow: int = 2
    """Columns that are averaged to one before the network: 2 makes 256 x 128 of 256 x 256 (note R5)
    [field].
    """
    pad: int = 10
    """Pixels of black added on each side before a random crop back to `size`; 0: no crop [ours]."""
    flip: float = 0.5
    """Probability of a horizontal flip [field]."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean per channel that is subtracted; ImageNet's [field]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation per channel that is divided by; ImageNet's [field]."""
    workers: int = 8
    """Processes that decode pictures which do not fit in memory."""

    # Network (model.py)
    network: Literal["resnet50", "small"] = "resnet50"
    """ResNet-50 [review], stride 2 in its last stage [field]; small: four convolutions, for smoke [ours]."""
    weights: str = "IMAGENET1K_V1"
    """torchvision's name of the initial weights, or 'none'; that ImageNet weights were used is assumed
    [field].
    """
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of the small network's stages [ours]."""
    dim: int = 128
    """D, size of the embedding: 32, 64 or 128 [recalled]."""
    head: Literal["euclidean", "hyperbolic", "flat"] = "hyperbolic"
    """Classifier of the persons: linear, exp_0 and hyperbolic MLR [review], or its limit c -> 0, 4 <x - p,
    a>, the control that the paper lacks [ours].
    """
    c: float = 1e-5
    """The ball has curvature -c [recalled]; of the hyperbolic head."""
    eps: float = 1e-3
    """Points stay at (1 - eps) / sqrt(c) or below, as in the authors' other experiments; of the hyperbolic
    head.
    """
    mode: Literal["exact", "released"] = "exact"
    """Formulas without or with the constants of the authors' code; of the hyperbolic head [ours]."""
    correction: bool = False
    """Weigh the gradient as the authors' ToPoincare does by default; unknown here (note R3) [ours]."""

    # Optimisation
    epochs: int = 300
    """Passes over the training pictures [review]."""
    batch: int = 32
    """Pictures per step [field]."""
    lr: float = 3e-4
    """Adam's learning rate: 3e-4 is sch#1, 6e-4 sch#2 [recalled]; that it is Adam [field]."""
    milestones: tuple[int, ...] = (200, 270)
    """Epochs after which the learning rate falls to a tenth, in both schedules [recalled]."""
    weight_decay: float = 5e-4
    """Of all weights, as a part of the gradient [field]."""

    # Machine
    seed: int = 0
    """Initial weights, order and augmentation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the network up to its pool; embedding, head and evaluation stay float32."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


SCHEDULES = {"sch1": 3e-4, "sch2": 6e-4}
"""Learning rates of the two schedules of Table 5 [recalled]."""
DIMS = (32, 64, 128)

MARKET = ReID()
PRESETS: dict[str, tuple[str, ReID]] = {
    "market": ("Table 5: Market-1501", MARKET),
    "duke": ("Table 5: DukeMTMC-reID, which was withdrawn", replace(MARKET, data="dukemtmc")),
    "smoke-reid": (
        "seconds, generated drawings, no claim",
        replace(
            MARKET,
            data="embedded",
            size=32,
            narrow=1,
            pad=2,
            flip=0.0,
            workers=0,
            network="small",
            weights="none",
            widths=(8, 16),
            dim=8,
            epochs=2,
            batch=48,
            lr=3e-3,
            milestones=(1,),
        ),
    ),
}
