"""Every configuration behind a row of this folder's tables (arXiv:2204.13207v1); tables.py says which row has
which.

Sources of the defaults: [U] the released code, salesforce/hierarchicalContrastiveLearning at f075235, with
the command of its README; [B] a review (velog, 2022); [ours] chosen on held-out training alphabets, or a
choice that nothing read of the paper decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

Method = Literal["simclr", "cross-entropy", "supcon", "himulcon", "hicone", "himulcone"]
Penalty = Literal["exp", "pow2", "reciprocal", "one", "coarse"]
Backbone = Literal["small", "resnet18", "resnet50", "pixels"]
HIERARCHICAL: tuple[Method, ...] = ("himulcon", "hicone", "himulcone")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hierarchical multi-label contrastive learning."""

    LIMITS: ClassVar[dict[str, str]] = {
        "crop": "(0, 1]",
        "colour": "[0, inf)",
        "colour_share": "[0, 1]",
        "frozen": "[0, 4]",
        "pools": "[0, inf)",
        "level": "[1, inf)",
        "views": "[1, inf)",
        "warmup_from": "[0, inf)",
        "floor": "[0, 1]",
        "probe_decay": "[0, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none."""

    # Data (splits.py)
    data: str = "deepfashion"
    """Name in the catalogue (`python -m common.data list`), 'embedded', or folder:PATH for own pictures."""
    hold_out: bool = False
    """Leave the categories of lists/<data>.json out of training: the paper's unseen categories [B]; the lists
    are ours.
    """
    set_aside: bool = True
    """Where the data set has no other pictures of the training categories, set some aside to measure `seen`
    on (splits.py); off: train on all of them and measure unseen categories alone [ours].
    """
    val_share: float = 0.0
    """Share of the coarsest groups of the training set (alphabets, say) that is held out of training and
    measured instead of the test set; 0 for the final rows [ours].
    """
    size: int = 224
    """Side of the network's input in pixels [U]."""
    stored: int = 256
    """Side that training pictures are resized to before they are augmented; Resize of [U] is for tests
    [ours].
    """
    crop: tuple[float, float] = (0.8, 1.0)
    """Random resized crop: least and greatest share of the area [U]; 1 1: none."""
    flip: float = 0.5
    """Probability of a horizontal flip [U]; 0 for drawings."""
    colour: float = 0.4
    """Strength of the change of brightness, contrast and saturation [U]; 0 for drawings."""
    colour_share: float = 0.8
    """Probability that a picture's colour is changed at all [U]."""
    rotate: float = 0.0
    """Random rotation, at most this many degrees either way; for drawings [ours]."""
    shift: float = 0.0
    """Random translation, at most this share of the side; for drawings [ours]."""
    zoom: float = 0.0
    """Random scale 1 - zoom to 1 + zoom; for drawings [ours]."""
    shear: float = 0.0
    """Random shear, at most this many degrees; for drawings [ours]."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean per channel that is subtracted; ImageNet's [U]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation per channel that is divided by; ImageNet's [U]."""

    # Network (model.py)
    backbone: Backbone = "resnet50"
    """resnet50 [U], resnet18 with a small-image stem, our small one, or pixels: none at all, for `evaluate
    pixels`.
    """
    weights: str = "IMAGENET1K_V1"
    """Initial weights by torchvision's name; 'none' trains from scratch. [U] starts from a file that was not
    released (note O2).
    """
    frozen: int = 2
    """Stages of the ResNet, with the stem, that keep their weights: [U] trains layer3, layer4 and the head
    (note O3).
    """
    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of the small backbone's stages [ours]."""
    pools: int = 2
    """Stages of the small backbone that end in 2x2 max-pooling [ours]."""
    dim: int = 128
    """D, size of the embedding [U]."""

    # Loss (losses.py)
    method: Method = "himulcone"
    """The paper's three losses and its baselines; [U] trains himulcone by default."""
    form: Literal["paper", "released"] = "paper"
    """Of the paper's losses: as printed with the authors' erratum, or as their code computes it (notes D1 to
    D18).
    """
    level: int = 1
    """Level of supcon and cross-entropy, 1 the finest."""
    penalty: Penalty = "exp"
    """lambda_l: exp(1/l) as in the training command of [U], 2^(1/l) as in its loss's default, 1/l, 1 at every
    level, or exp(1/(L + 1 - l)), which is exp turned round.
    """
    positives: Literal["inclusive", "lowest"] = "inclusive"
    """Of the paper form: all pictures that share the level, or only those that share no finer one (D3)."""
    threshold: Literal["attached", "detached"] = "detached"
    """Of HiConE and HiMulConE in the paper form: whether the gradient of the pairs that are raised falls on
    the worst finer pair, or nowhere (note O13). On held-out training alphabets only 'detached' learned
    [ours].
    """
    temperature: float = 0.1
    """tau [U, README]; its parser says 0.07."""
    views: int = 2
    """V, versions of each picture [U]."""

    # Sampler (sampler.py)
    sampler: Literal["hierarchical", "random"] = "hierarchical"
    """One partner per level for each anchor [B], or random batches as a control."""
    batch: int = 512
    """B, pictures of a batch, before the views [U]."""

    # Optimisation
    optimiser: Literal["sgd", "adam"] = "sgd"
    """SGD with momentum 0.9 [U]; Adam for the small network [ours]."""
    steps: int = 5100
    """Optimiser steps; [U] takes 100 passes, 25,882 / 512 steps each."""
    epoch_steps: int = 51
    """Steps of an epoch, after which a checkpoint is written; 0: one pass over the training pictures
    [ours].
    """
    lr: float = 0.5
    """Learning rate [U, README]."""
    warmup: int = 510
    """Steps over which the learning rate rises, at most half of all: 10 passes [U]."""
    warmup_from: float = 0.02
    """Share of the learning rate that the warm-up starts from: 0.01 of 0.5 [U]."""
    floor: float = 0.001
    """Share of the learning rate that the cosine ends at: 0.1 to the power of 3 [U]."""
    weight_decay: float = 1e-4
    """Weight decay [U]."""

    # Evaluation (evaluate.py, probe.py)
    embedding: Literal["head", "features"] = "head"
    """What retrieval, clustering and violations are measured on: the head's output, as tsne_viz.py of [U]
    clusters it, or the features before the head, as its probe sees them. Cross-entropy has no head.
    """
    probe_decay: float = 1e-3
    """L2 term of the linear probe; [U] has none and stops after 100 passes (note O5)."""

    # Machine
    seed: int = 0
    """Initial weights, order and augmentation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the backbone; losses and evaluation stay float32."""
    workers: int = 0
    """Processes that decode pictures which do not fit in memory."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


# --- The published setting: 224 pixels, ImageNet weights, one GPU ---

DEEPFASHION = Config(workers=12, form="released")
MODELNET40 = replace(DEEPFASHION, data="modelnet40", steps=7500, epoch_steps=75, warmup=750)
IMAGENET = replace(
    DEEPFASHION,
    data="imagenet",
    weights="none",
    frozen=0,
    crop=(0.2, 1.0),
    steps=250_300,
    epoch_steps=2503,
    warmup=25_030,
)
INATURALIST = replace(
    IMAGENET,
    data="inaturalist",
    weights="IMAGENET1K_V1",
    steps=113_200,
    epoch_steps=1132,
    warmup=11_320,
)

# --- Budget mini: a small network from scratch, chosen on a fifth of the training alphabets ---

OMNIGLOT = Config(
    data="omniglot",
    size=32,
    stored=32,
    crop=(1.0, 1.0),
    flip=0.0,
    colour=0.0,
    rotate=12.0,
    shift=0.08,
    zoom=0.12,
    shear=8.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    backbone="small",
    weights="none",
    frozen=0,
    widths=(16, 32, 64, 96),
    batch=96,
    optimiser="adam",
    steps=500,
    epoch_steps=50,
    lr=3e-3,
    warmup=25,
    warmup_from=0.0,
    floor=0.0,
    weight_decay=0.0,
)
CUB_100 = replace(
    OMNIGLOT,
    data="cub_100",
    size=64,
    stored=72,
    crop=(0.5, 1.0),
    flip=0.5,
    colour=0.4,
    rotate=0.0,
    shift=0.0,
    zoom=0.0,
    shear=0.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    widths=(16, 32, 64, 96),
    pools=3,
    steps=500,
)
CIFAR_100 = replace(
    CUB_100,
    data="cifar100",
    hold_out=True,
    size=32,
    stored=32,
    backbone="resnet18",
    batch=256,
    optimiser="sgd",
    steps=6250,
    epoch_steps=125,
    lr=0.5,
    warmup=625,
    warmup_from=0.02,
    floor=0.001,
    weight_decay=1e-4,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "deepfashion": ("DeepFashion In-shop, ResNet-50, HiMulConE as released", DEEPFASHION),
    "modelnet40": ("views of ModelNet40, ResNet-50, HiMulConE as released", MODELNET40),
    "imagenet": ("ImageNet with super classes of WordNet, ResNet-50 from scratch", IMAGENET),
    "inaturalist": ("iNaturalist 2017, ResNet-50", INATURALIST),
    "omniglot": ("mini: 32-pixel drawings, small network, HiMulConE as printed", OMNIGLOT),
    "cub-100": ("mini: 100 classes of CUB at 64 pixels, from scratch", CUB_100),
    "cifar-100": ("CIFAR-100, ResNet-18 from scratch, unseen classes held out; a GPU", CIFAR_100),
    "smoke": (
        "seconds, generated drawings, no claim",
        replace(
            OMNIGLOT, data="embedded", widths=(8, 8, 16), dim=16, batch=24, steps=6, epoch_steps=3, warmup=0
        ),
    ),
}
