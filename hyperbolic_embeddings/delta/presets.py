"""Every configuration behind Table 1 (arXiv:1904.02239v2); tables.py says which row has which.

Sources of the defaults: [code] the authors' repository, hyptorch/delta.py; [sec] a public project that quotes
the table; [recalled] remembered, not checked against the PDF; [ours] ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class Delta:
    """delta_rel of the features that a given network makes of pictures."""

    LIMITS: ClassVar[dict[str, str]] = {
        "points": "[3, inf)",
        "tries": "[1, inf)",
        "bases": "[1, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this measurement answers; empty: none."""

    # Pictures
    data: str = "cub"
    """Name in the catalogue, 'embedded', or folder:PATH; the table has CIFAR10, CIFAR100, CUB, MiniImageNet
    [sec].
    """
    protocol: Literal["retrieval", "classification", "fewshot"] = "classification"
    """Whose training split the pictures come from; unknown for the paper (note G4) [ours]."""
    stored: int = 224
    """Side in pixels that pictures are loaded at; a smaller one than `size` is enlarged on the device
    [ours].
    """
    workers: int = 0
    """Processes that decode pictures which do not fit in memory."""

    # Features
    network: str = "resnet34"
    """What the points are: a torchvision network's penultimate layer (inception_v3, resnet34, vgg19 [sec]),
    'pixels', 'export:FILE.npz' (rows written by any evaluate --export, by Euclidean distance, those of a ball
    too), or a space of spaces.py without pictures: isotropic, sphere, tree, disk [ours].
    """
    weights: str = "IMAGENET1K_V1"
    """torchvision's name of the weights, or 'none' for random ones; ImageNet [sec], which of torchvision's is
    unknown [ours].
    """
    size: int = 224
    """Side of the network's input; 224, 299 for Inception v3, as they were trained [ours]."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean per channel that is subtracted; ImageNet's."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation per channel that is divided by; ImageNet's."""
    batch: int = 64
    """Pictures that go through the network at a time [ours]."""
    dim: int = 512
    """D of the spaces without pictures; that of ResNet34 [ours]."""

    # Sample
    points: int = 1500
    """N, points in a sample [code]; delta_rel depends on it."""
    tries: int = 10
    """Samples, over which mean and standard deviation are taken [code]."""
    replacement: bool = False
    """Draw with replacement, as the authors' code does (note G2); off: all points of a sample differ
    [ours].
    """
    bases: int = 4
    """Base points; `delta_rel` is that of the first alone, as in [code], `delta_rel_bases` the largest
    (note G3) [ours].
    """

    # Machine
    seed: int = 0
    """Samples, random weights and null clouds."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


CUB = Delta(workers=8)
CIFAR10 = Delta(data="cifar10", stored=32)
MINI_IMAGENET = Delta(data="mini_imagenet", protocol="fewshot", stored=224, workers=8)
# Budget mini: random weights and pixels on what small machines have, at N = 500.
MINI = Delta(weights="none", stored=64, size=64, points=500, tries=10)

PRESETS: dict[str, tuple[str, Delta]] = {
    "delta-cub": ("Table 1: CUB-200-2011, ImageNet features", CUB),
    "delta-cifar10": ("Table 1: CIFAR-10, ImageNet features", CIFAR10),
    "delta-cifar100": ("Table 1: CIFAR-100, ImageNet features", replace(CIFAR10, data="cifar100")),
    "delta-mini-imagenet": ("Table 1: mini-ImageNet, ImageNet features", MINI_IMAGENET),
    "delta-cub-100-mini": ("mini: 100 bird species, random weights", replace(MINI, data="cub_100")),
    "delta-cifar10-mini": (
        "mini: CIFAR-10, random weights",
        replace(MINI, data="cifar10", stored=32, size=32),
    ),
    "delta-omniglot-mini": (
        "mini: Omniglot, random weights",
        replace(MINI, data="omniglot", protocol="retrieval", stored=32, size=32),
    ),
    "delta-mnist-mini": ("mini: MNIST, random weights", replace(MINI, data="mnist", stored=28, size=28)),
    "smoke-delta": (
        "seconds, generated drawings, no claim",
        replace(MINI, data="embedded", network="resnet18", stored=32, size=32, points=60, tries=2, bases=2),
    ),
}
