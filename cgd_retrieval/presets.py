"""Every configuration behind a row of CGD's tables (arXiv:1903.10663v4); tables.py says which row has which.

Sources of the defaults: [B] a review of v4 (kmhana.tistory.com), [A] an author's answer in naver/cgd issue 3,
[U] the unofficial code leftthomas/CGD, [ours] chosen on held-out training classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

CONFIGS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")


Backbone = Literal["small", "resnet50", "se_resnet50", "shufflenet_v2", "bn_inception", "pixels"]
Ranking = Literal["batch-hard", "semi-hard", "hap2s-p", "hap2s-e", "margin", "none"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Combination of multiple global descriptors."""

    LIMITS: ClassVar[dict[str, str]] = {
        "enlarged": "[1, inf)",
        "crop_area": "(0, 1]",
        "colour": "[0, inf)",
        "margin": "[0, inf)",
        "smoothing": "[0, 1]",
        "classes_per_batch": "[1, inf)",
        "images_per_class": "[2, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none."""

    # Data
    data: str = "cub"
    """Name in the catalogue (`python -m common.data list`), 'embedded', or folder:PATH for own pictures."""
    crop: bool = False
    """Cut CUB and CARS pictures to their bounding box first (note D8, D9)."""
    size: int = 224
    """Side of the network's input in pixels [B]."""
    enlarged: int = 252
    """Side that training pictures are resized to before the random crop to `size` [B]; equal to size: no
    crop.
    """
    crop_area: tuple[float, float] = (1.0, 1.0)
    """Least and greatest share of the area of a random resized crop, in place of the plain one [ours]; 1 1:
    the plain one [B].
    """
    val_share: float = 0.0
    """Share of the training classes that is held out as validation classes; 0 for the final rows."""
    val_level: Literal["class", "coarsest"] = "class"
    """What val_share counts and holds out: classes, or ids of the coarsest level, such as whole alphabets
    [ours].
    """
    flip: float = 0.5
    """Probability of a horizontal flip [B]; 0 for drawings."""
    colour: float = 0.0
    """Strength of the change of brightness, contrast and saturation [ours]; 0: none [B]."""
    rotate: float = 0.0
    """Random rotation, at most this many degrees either way; for drawings [ours]."""
    shift: float = 0.0
    """Random translation, at most this share of the side; for drawings [ours]."""
    zoom: float = 0.0
    """Random scale 1 - zoom to 1 + zoom; for drawings [ours]."""
    shear: float = 0.0
    """Random shear, at most this many degrees; for drawings [ours]."""
    quarter_turns: bool = False
    """Training classes turned by 90, 180 and 270 degrees are classes of their own; for drawings [ours]."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean per channel that is subtracted; ImageNet's [official evaluation script]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation per channel that is divided by; ImageNet's."""

    # Network (model.py, backbones.py)
    backbone: Backbone = "resnet50"
    """The paper's four [B], our small one, or pixels: none at all, for `evaluate pixels`."""
    weights: str = "IMAGENET1K_V1"
    """Initial weights by torchvision's (or timm's) name; 'none' trains from scratch. V1 is what [U] uses
    (note D6).
    """
    widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the small backbone's stages [ours]."""
    stride: Literal["stage4", "stage3", "none", "both"] = "stage4"
    """Whose down-sampling is removed: stage4 (the paper's wording), stage3 [U], none, both (note D1)."""
    freeze_bn: bool = False
    """Keep the backbone's running statistics frozen: [U] does, the authors did not [A] (note D3)."""
    config: str = "MG"
    """One of the 12 combinations; the first letter feeds the auxiliary head."""
    dim: int = 1536
    """D, size of the embedding [B]."""
    framework: Literal["CGD", "A", "B"] = "CGD"
    """CGD, or the frameworks A and B of Figure 2."""
    fusion: Literal["concat", "sum", "sum-small"] = "concat"
    """concat, or the sums of Table 4: sum (branches of size D), sum-small (branches of size D / n)."""
    learnable_p: bool = False
    """Learn GeM's exponent; the paper fixes p = 3 [B]."""

    # Losses (losses.py)
    ranking: Ranking = "batch-hard"
    """The paper trains with batch-hard triplets and compares the others; none: L_cls alone."""
    margin: float = 0.1
    """m of the triplet and HAP2S losses [B]."""
    auxiliary: bool = True
    """Add the classification loss L_cls."""
    temperature: float = 0.5
    """tau of L_cls [B]; 1 switches temperature scaling off."""
    smoothing: float = 0.1
    """epsilon of L_cls [U]; not stated in anything read of the paper; 0 switches label smoothing off."""

    # Optimisation
    classes_per_batch: int = 32
    """P classes of K pictures make a batch: 128 [B]."""
    images_per_class: int = 4
    """K; 4 in [U], unknown for the paper (note D12)."""
    short_classes: Literal["error", "repeat", "drop"] = "repeat"
    """Classes with fewer than K training pictures: error, repeat (draw with replacement) or drop."""
    steps: int = 1500
    """Optimiser steps; CUB: 1500 [A]."""
    epoch_steps: int = 0
    """Steps of an epoch, after which a checkpoint is written; 0: one pass over the training pictures
    [ours].
    """
    lr: float = 1e-4
    """Adam's learning rate [B][A]."""
    schedule: Literal["step", "cosine"] = "step"
    """step: times 0.1 at each milestone [A]; cosine: to 0 over all steps [ours]."""
    milestones: tuple[int, ...] = (400, 800)
    """Steps at which the learning rate falls, CUB [A]."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly [ours]."""
    weight_decay: float = 0.0
    """Not stated in the paper; 0 in [U] (note D15)."""

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

CUB = Config(crop=True, workers=8)
# Only CUB's schedule is known from the authors; the other lengths are [U]'s, with its drops at 60 and 80 %.
CARS = replace(CUB, data="cars", config="SG", steps=1240, milestones=(744, 992))
SOP = replace(CUB, data="sop", config="SG", crop=False, steps=9300, milestones=(5580, 7440))
INSHOP = replace(CUB, data="inshop", config="GS", crop=False, steps=4040, milestones=(2424, 3232))

# --- Budget mini: a small network from scratch, chosen on a fifth of the training classes ---

OMNIGLOT = Config(
    data="omniglot",
    size=32,
    enlarged=32,
    flip=0.0,
    rotate=12.0,
    shift=0.08,
    zoom=0.12,
    shear=8.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    backbone="small",
    weights="none",
    widths=(16, 32, 64, 64),
    config="SM",
    dim=384,
    steps=1200,
    lr=4e-3,
    schedule="cosine",
    warmup=50,
    milestones=(),
)
CUB_100 = replace(
    OMNIGLOT,
    data="cub_100",
    size=64,
    enlarged=72,
    flip=0.5,
    rotate=0.0,
    shift=0.0,
    zoom=0.0,
    shear=0.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    steps=700,
    lr=2e-3,
)

RANKINGS: tuple[Ranking, ...] = ("batch-hard", "semi-hard", "hap2s-p", "hap2s-e", "margin")
TRICKS: dict[str, dict[str, Any]] = {  # Table 2: label smoothing (LS) and temperature scaling (TS)
    "none": {"temperature": 1.0, "smoothing": 0.0},
    "ls": {"temperature": 1.0},
    "ts": {"smoothing": 0.0},
}
"""Overrides of Table 2's arms; LS + TS is the default."""

PRESETS: dict[str, tuple[str, Config]] = {
    "cub": ("CUB-200-2011, boxes, ResNet-50, MG: the row behind the authors' released model", CUB),
    "cars": ("CARS196, boxes, ResNet-50, SG", CARS),
    "sop": ("Stanford Online Products, ResNet-50, SG", SOP),
    "inshop": ("DeepFashion In-shop, ResNet-50, GS", INSHOP),
    "omniglot": ("mini: 32-pixel drawings, small network, two minutes of one core", OMNIGLOT),
    "omniglot-rankings": (
        "mini: the same, half as long again, for losses whose triplets fall silent early",
        replace(OMNIGLOT, steps=1800),
    ),
    "omniglot-long": (
        "mini: Omniglot with a wider network, quarter turns and a longer schedule",
        # Chosen on six held-out background alphabets, 2,400 steps, one seed: recall@1 0.911, 0.909 without
        # quarter turns. SG joins the two best single descriptors of the table `selection`.
        replace(
            OMNIGLOT,
            size=36,
            enlarged=36,
            widths=(32, 64, 96, 128),
            config="SG",
            auxiliary=False,
            quarter_turns=True,
            lr=3e-3,
            steps=5000,
        ),
    ),
    "cub-100": ("mini: 100 classes of CUB at 64 pixels, from scratch", CUB_100),
    "smoke": (
        "seconds, generated drawings, no claim",
        replace(
            OMNIGLOT,
            data="embedded",
            widths=(8, 8, 16, 16),
            dim=48,
            classes_per_batch=8,
            images_per_class=4,
            steps=6,
            epoch_steps=3,
            warmup=0,
        ),
    ),
}
