"""Every configuration behind a row of the paper's tables (Wu et al., CVPR 2018, arXiv:1805.01978).

Sources of the defaults: [P] the paper, [C] its released code (zhirongw/lemniscate.pytorch at f7cfe29), [ours]
chosen on held-out training pictures or by us where neither says anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

Backbone = Literal["resnet-cifar", "small", "resnet18", "resnet50", "alexnet", "vgg16", "pixels"]
Loss = Literal["softmax", "nce", "parametric"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Instance discrimination. The defaults: Table 1's exact softmax on CIFAR-10, by the released recipe."""

    LIMITS: ClassVar[dict[str, str]] = {
        "images": "[0, inf)",
        "labelled": "[0, inf)",
        "held_out": "[0, inf)",
        "val_every": "[0, inf)",
        "crop_area": "(0, 1]",
        "jitter": "[0, inf)",
        "hue": "[0, 0.5]",
        "grey": "[0, 1]",
        "blocks": "[1, inf)",
        "pools": "[0, inf)",
        "stem_stride": "[1, inf)",
        "noise": "[1, inf)",
        "proximal": "[0, inf)",
        "eps": "[0, inf)",
        "momentum": "[0, 1)",
        "k": "[1, inf)",
        "svm_images": "[0, inf)",
        "svm_c": "(0, inf)",
        "probe_epochs": "[0, inf)",
        "probe_lr": "(0, inf)",
        "label_shares": "(0, 1)",
        "finetune_epochs": "[0, inf)",
        "finetune_lr": "(0, inf)",
        "save_every": "[1, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none."""

    # Data (pictures.py)
    data: str = "cifar10"
    """Name in the catalogue, imagenet, places205, 'embedded', or folder:PATH for own pictures."""
    protocol: Literal["classification", "retrieval"] = "classification"
    """classification: test pictures show the training classes [P]; retrieval: classes that training never saw
    (Omniglot, CUB-100), so training labels cannot vote, and embeddings are for --export [ours].
    """
    images: int = 0
    """Training pictures that are instances, the first of one permutation; 0: all. A share in Table 5 [P]."""
    labelled: int = 0
    """Training pictures whose labels kNN, SVM and probes use, from the same permutation; 0: those trained on.
    Table 5 uses all of them [P].
    """
    held_out: int = 0
    """Training pictures set aside, on which kNN accuracy is logged; 0 for the final rows."""
    val_every: int = 0
    """Epochs between these measurements; 0: never."""
    size: int = 32
    """Side of the network's input in pixels [C]."""
    crop_area: float = 0.2
    """Smallest share of the area that the random resized crop keeps [C]; 1: no crop, for drawings [ours]."""
    jitter: float = 0.4
    """Brightness, contrast and saturation of the colour jitter [C]."""
    hue: float = 0.4
    """Hue of the colour jitter, in turns [C]."""
    grey: float = 0.2
    """Probability that a picture loses its colour [C]."""
    flip: float = 0.0
    """Probability of a horizontal flip: none on CIFAR, 0.5 on ImageNet [C] (note D8)."""
    rotate: float = 0.0
    """Random rotation, at most this many degrees either way; for drawings [ours]."""
    shift: float = 0.0
    """Random translation, at most this share of the side; for drawings [ours]."""
    zoom: float = 0.0
    """Random scale 1 - zoom to 1 + zoom; for drawings [ours]."""
    shear: float = 0.0
    """Random shear, at most this many degrees; for drawings [ours]."""
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    """Mean per channel that is subtracted [C]."""
    std: tuple[float, float, float] = (0.2023, 0.1994, 0.2010)
    """Standard deviation per channel that is divided by [C]."""

    # Network (model.py)
    backbone: Backbone = "resnet-cifar"
    """resnet-cifar: 3x3 stem, no pooling [C]; small: that of common.networks [ours]; others: torchvision's;
    pixels: none, for `evaluate pixels`.
    """
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the stages of resnet-cifar, ResNet-18's [C], or of small."""
    pools: int = 2
    """Stages of small that end in 2x2 max-pooling [ours]."""
    blocks: int = 2
    """Basic blocks per stage of resnet-cifar; ResNet-18's [C]."""
    stem_stride: int = 1
    """Stride of resnet-cifar's first convolution; 1 [C], 2 to train on a CPU [ours]."""
    dim: int = 128
    """D, size of the embedding [P]."""

    # Loss and memory bank (losses.py, memory.py)
    loss: Loss = "softmax"
    """softmax: exact, Eq. (2); nce: Eq. (7); parametric: Eq. (1)."""
    noise: int = 4096
    """m, noise instances per picture of nce [P]."""
    temperature: float = 0.1
    """tau, in training and in kNN. 0.1 on CIFAR [C]; the text says 0.07 [P] (note D4)."""
    bank_momentum: float = 0.5
    """Weight of the old bank row: 0.5 [C]; 0 overwrites, as the text says [P] (note D2)."""
    bank_init: Literal["paper", "released"] = "released"
    """Rows before the first visit: released, entries uniform in +- sqrt(3 / D) [C]; paper, unit vectors
    (note D14).
    """
    z: Literal["first-batch", "closed-form", "ema"] = "first-batch"
    """Where the constant Z of Eq. (8) comes from: the first batch [C], its expected value, a moving average
    (note D5).
    """
    z_momentum: float = 0.99
    """Weight of the old Z per step, for z = ema; 0.99 is K. He's in issue 23 of HobbitLong/CMC."""
    proximal: float = 0.0
    """lambda of Eq. (9)-(10); 0 [C], which lacks the term; 0, 10, 30, 50 in Figure 3 [P] (note D1)."""
    exclude_positive: bool = False
    """Never draw a picture's own instance as noise: False [C], True as the text says [P] (note D3)."""
    eps: float = 1e-7
    """Added to both denominators of h: 1e-7 [C]; 0 [P] (note D15)."""
    parametric_unit: bool = False
    """Parametric softmax: normalise its input. As printed, Eq. (1) does not [P] (note D6)."""

    # Optimisation
    batch: int = 128
    """Pictures per step; the last batch of an epoch is smaller and kept [C]."""
    epochs: int = 200
    """Passes over the training pictures [C]."""
    lr: float = 0.03
    """Learning rate of SGD [C]."""
    momentum: float = 0.9
    """Of SGD, no Nesterov [C]."""
    weight_decay: float = 5e-4
    """5e-4 on CIFAR, 1e-4 on ImageNet [C] (note D11)."""
    schedule: Literal["step", "cosine"] = "step"
    """step: times 0.1 at each milestone [C]; cosine: to 0 over all epochs [ours]."""
    milestones: tuple[int, ...] = (120, 160)
    """Epochs at which the learning rate falls [C] (note D10)."""

    # Measuring (evaluate.py, probes.py, finetune.py)
    k: int = 200
    """Neighbours that vote [P]."""
    svm: bool = True
    """Fit the linear SVM of Table 1 [P]. Not on ImageNet, whose tables have none: 1,000 classes take days."""
    svm_images: int = 0
    """Labelled pictures that the linear SVM is fitted on, the first ones; 0: all. Not stated in the paper."""
    svm_c: float = 1.0
    """C of LinearSVC on standardised features [ours]; not stated in the paper (note D7)."""
    probe_epochs: int = 0
    """Passes of the linear probes on every stage; 0: none are trained."""
    probe_lr: float = 0.01
    """Learning rate of the probes, times 0.1 after each third [ours]; the paper states no solver."""
    label_shares: tuple[float, ...] = ()
    """Shares of the labelled pictures that fine-tuning (Figure 6) uses, one after the other."""
    finetune_epochs: int = 70
    """Passes of fine-tuning [P]."""
    finetune_lr: float = 0.01
    """Learning rate of fine-tuning, times 0.1 at 3/7 and 6/7 of the epochs: every 30 of 70 [P]."""

    # Machine
    seed: int = 0
    """Initial weights, bank, order, augmentation and noise."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Of the backbone; auto: bfloat16 on a GPU, float32 on a CPU. Head and losses stay float32, on a GPU with
    products in TF32 unless this is float32; evaluation is float32 throughout [ours].
    """
    compile: bool = False
    """Compile the network with torch.compile; pays on a GPU where launching kernels dominates."""
    workers: int = 0
    """Processes that decode image folders; never more than there are cores."""
    save_every: int = 1
    """Epochs between checkpoints: what a kill costs at most. The last epoch is always kept."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


# --- The published setting: CIFAR-10, by the released recipe ---

CIFAR = Config(target="table1/non-param-softmax", save_every=5)
NOISE = (1, 10, 512, 4096)
"""m of Table 1's NCE rows."""

# --- ImageNet: the released recipe; one crop per picture, one GPU ---

IMAGENET = Config(
    data="imagenet",
    size=224,
    flip=0.5,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    backbone="resnet18",
    loss="nce",
    temperature=0.07,
    batch=256,
    weight_decay=1e-4,
    svm=False,
    probe_epochs=30,
    workers=16,
)

# --- Budget mini: a narrow network and a cheaper recipe; the tables `recipe` and `recipe-nce` compare it with
# others on held-out training pictures ---

MINI = replace(
    CIFAR,
    target="",
    images=5000,
    labelled=20000,
    flip=0.5,
    hue=0.0,
    widths=(24, 48, 96),
    blocks=1,
    stem_stride=2,
    z="ema",
    batch=32,
    epochs=40,
    milestones=(24, 32),
    probe_epochs=15,
    finetune_epochs=28,
    save_every=1,
)
OMNIGLOT = replace(
    MINI,
    data="omniglot",
    protocol="retrieval",
    images=0,
    labelled=0,
    crop_area=1.0,
    jitter=0.0,
    grey=0.0,
    flip=0.0,
    rotate=12.0,
    shift=0.08,
    zoom=0.12,
    shear=8.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    backbone="small",
    widths=(16, 32, 64, 128),
    epochs=5,
    milestones=(3, 4),
    svm=False,
    probe_epochs=0,
)
"""For benchmarks/compare: the recipe of MINI on the data, network and length that all methods have there."""
CUB_100 = replace(
    OMNIGLOT,
    data="cub_100",
    size=64,
    crop_area=0.5,
    jitter=0.4,
    flip=0.5,
    rotate=0.0,
    shift=0.0,
    zoom=0.0,
    shear=0.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    pools=3,
    epochs=16,
    milestones=(10, 13),
)
WATCHED = (5, 10, 20, 40)
"""Epochs after which the tables show held-out kNN accuracy."""
LAMBDAS = (0.0, 10.0, 30.0, 50.0)
"""lambda of Figure 3."""
SHARES = (0.01, 0.02, 0.04, 0.1, 0.2)
"""Shares of labels of Figure 6."""
MINI_SHARES = (0.01, 0.04, 0.2)
COST_SIZES = (10_000, 40_000, 160_000, 640_000)
"""n at which the cost of the loss is measured."""

ROWS: dict[str, dict[str, Any]] = {
    "parametric softmax": {"loss": "parametric"},
    "non-parametric softmax": {},
    **{f"NCE, m = {m}": {"loss": "nce", "noise": m} for m in NOISE},
}
"""Overrides of Table 1's six rows."""

PRESETS: dict[str, tuple[str, Config]] = {
    "cifar10": ("Table 1: exact softmax, released recipe, 200 epochs on one GPU", CIFAR),
    "cifar10-watched": (
        "Figures 3 and 4 as proxies: cifar10 with 5,000 held-out pictures along training",
        replace(CIFAR, target="", held_out=5000, val_every=25, svm=False),
    ),
    "imagenet-resnet18": ("Tables 2 to 5: ResNet-18, NCE m = 4096, 200 epochs", IMAGENET),
    "imagenet-resnet50": ("Tables 2, 3, 6: ResNet-50", replace(IMAGENET, backbone="resnet50")),
    "imagenet-alexnet": ("Tables 2, 3, 6: AlexNet", replace(IMAGENET, backbone="alexnet")),
    "imagenet-vgg16": ("Tables 2, 3, 6: VGG-16", replace(IMAGENET, backbone="vgg16")),
    "cifar10-mini": ("mini: narrow network, 5,000 instances, minutes of one core", MINI),
    "cifar10-mini-long": (
        "mini: wider network, 20,000 instances, about 20 minutes of one core",
        # No schedule of the table `recipe` beats the cosine on held-out pictures.
        replace(MINI, images=20000, widths=(32, 64, 128), epochs=30, schedule="cosine", milestones=()),
    ),
    "cifar10-mini-watched": (
        "mini: cifar10-mini with held-out pictures along training: Figures 3 and 4, choice of the recipe",
        replace(MINI, held_out=2000, val_every=5, svm=False, probe_epochs=0),
    ),
    "cifar10-mini-labels": (
        "mini: cifar10-mini, then fine-tuning on few labels, Figure 6",
        replace(MINI, label_shares=MINI_SHARES, svm=False, probe_epochs=0),
    ),
    "omniglot": ("mini: 32-pixel drawings, the network that all papers share, unseen test classes", OMNIGLOT),
    "cub-100": ("mini: 100 classes of CUB at 64 pixels, unseen test classes", CUB_100),
    "smoke": (
        "seconds, generated drawings, no claim",
        replace(
            MINI,
            data="embedded",
            images=0,
            labelled=0,
            widths=(8, 8),
            dim=16,
            epochs=2,
            milestones=(),
            k=10,
            probe_epochs=1,
        ),
    ),
}
