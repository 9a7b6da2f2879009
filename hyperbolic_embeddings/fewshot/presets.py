"""Every configuration behind a row of Tables 3 and 4 (arXiv:1904.02239v2), at both budgets.

Sources of the defaults: [C] the authors' code, leymir/hyperbolic-image-embeddings at 6633edb, folder
examples/fewshot; [G] Guo et al., arXiv:2107.11472; [ours] chosen on alphabets held out of training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

Geometry = Literal["euclidean-squared", "euclidean", "cosine", "hyperbolic"]
Mode = Literal["released", "exact"]


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Few-shot classification with prototypes."""

    LIMITS: ClassVar[dict[str, str]] = {
        "resize": "[1, inf)",
        "crop_area": "(0, 1]",
        "jitter": "[0, inf)",
        "pools": "[0, inf)",
        "clip": "[0, inf)",
        "eps": "(0, 1)",
        "shot": "[1, inf)",
        "way": "[1, inf)",
        "query": "[1, inf)",
        "epoch_episodes": "[1, inf)",
        "step": "[1, inf)",
        "gamma": "(0, inf)",
        "val_way": "[1, inf)",
        "val_episodes": "[1, inf)",
        "test_ways": "[1, inf)",
        "test_shots": "[1, inf)",
        "test_query": "[1, inf)",
        "test_episodes": "[1, inf)",
    }
    """Where numbers have to lie, beside those of common.config."""

    target: str = ""
    """Row of results/published that this run answers; empty: none."""

    # Data
    data: str = "mini_imagenet"
    """Name in the catalogue (`python -m common.data list`), 'embedded', or folder:PATH for own pictures."""
    protocol: Literal["fewshot", "retrieval"] = "fewshot"
    """Which classes of CUB, CUB-100 and mini-ImageNet train and which test: the lists of few-shot work [C],
    or the halves of retrieval work, which have no validation classes [ours]. Other data sets have one
    division only.
    """
    crop: bool = False
    """Cut CUB's pictures to their bounding box first; the authors' script does not (note W6)."""
    channels: int = 3
    """1 (grey) or 3 (colour): what the encoder sees [C]."""
    size: int = 84
    """Side of the encoder's input in pixels [C]."""
    stored: int = 128
    """Side at which training pictures are kept on the device [ours] (note W5)."""
    resize: int = 92
    """Side that validation and test pictures are resized to before the central crop to `size` [C]."""
    resized_crop: bool = True
    """Train on random resized crops [C]; off: the whole picture."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Least and greatest share of the area of these crops [C]."""
    jitter: float = 0.4
    """Strength of the random brightness, contrast and colour [C]."""
    flip: float = 0.5
    """Probability of a horizontal flip [C]; 0 for drawings."""
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
    """Mean per channel that is subtracted; ImageNet's [C]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation per channel that is divided by; ImageNet's [C]."""
    val_share: float = 0.0
    """Share of the coarsest level of the training set (alphabets, orders) that is held out to choose settings
    on; 0 for the final rows [ours].
    """

    # Encoder (backbones.py)
    backbone: Literal["conv4", "resnet12", "resnet18", "small", "pixels"] = "conv4"
    """The paper's three [C], the small one of common.networks [ours], or pixels: none at all, for `evaluate
    pixels`.
    """
    dim: int = 1600
    """Channels of Conv4's last layer [C] (note W1); the others do not read it: the ResNets have 512."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the small backbone's stages; the last are the embedding [ours]."""
    pools: int = 2
    """Stages of the small backbone that end in 2x2 max-pooling [ours]."""
    pool: Literal["max", "flatten"] = "max"
    """Conv4: maximum over the last map [C], or all its places, the usual ProtoNet."""

    # Head (protonet.py)
    geometry: Geometry = "hyperbolic"
    """hyperbolic [C], and its controls."""
    temperature: float = 1.0
    """Divides the logits [C]."""
    learn_temperature: bool = False
    """The temperature is learned, starting from `temperature`; the authors' is fixed [C]."""
    c: float = 0.01
    """The ball has curvature -c [C]."""
    clip: float = 0.0
    """Largest norm before the exponential map [G]; 0: none, as [C]."""
    eps: float = 1e-3
    """Points stay at (1 - eps) / sqrt(c) or below: 1e-3 [C], 4e-3 in geoopt at float32."""
    mode: Mode = "released"
    """released: the constants of [C], which set the scale of the published runs; exact: none of them."""
    correction: bool = False
    """Scale gradients by the conformal factor; every published few-shot configuration switches it off [C]."""

    # Training
    shot: int = 1
    """Support pictures per class in training and validation [C]."""
    way: int = 30
    """Classes of a training episode [C]."""
    query: int = 15
    """Query pictures per class of a training episode [C]."""
    epochs: int = 200
    """Epochs [C]; 0: an untrained network."""
    epoch_episodes: int = 100
    """Training episodes of an epoch [C]."""
    lr: float = 0.005
    """Adam's learning rate [C]."""
    schedule: Literal["step", "cosine"] = "step"
    """step: times gamma after every `step` epochs [C]; cosine: to 0 over all episodes [ours]."""
    step: int = 80
    """Epochs between two falls of the learning rate [C]."""
    gamma: float = 0.5
    """Factor of each fall [C]."""

    # Validation and test (episodes.py)
    selection: Literal["val", "last"] = "val"
    """val: the epoch with the best validation accuracy is kept [C]; last: the last one."""
    val_way: int = 5
    """Way of a validation episode [C]."""
    val_episodes: int = 500
    """Stored validation episodes, the same after every epoch; [C] draws 500 anew (note W3)."""
    test_ways: tuple[int, ...] = (5,)
    """Ways of the stored test episodes [C]."""
    test_shots: tuple[int, ...] = (1,)
    """Shots of the stored test episodes [C]."""
    test_query: int = 15
    """Queries per class in validation and test [C]."""
    test_episodes: int = 10_000
    """Stored test episodes for each way and shot [C]."""

    # Machine
    seed: int = 0
    """Initial weights, episodes of training, augmentation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the encoder; head and evaluation stay float32."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


# --- Published settings: configs/mini and configs/birds of the authors' code ---

MINI = FewShot(target="table3/conv4-1shot")
FIVE: dict[str, Any] = {"shot": 5, "way": 20, "c": 0.005, "test_shots": (5,)}
"""What the 5-shot configurations of mini-ImageNet share."""
MINI_RES18 = replace(MINI, target="table3/resnet18-1shot", backbone="resnet18", lr=0.001)
MINI_RES12 = replace(MINI, target="table3/resnet12-1shot", backbone="resnet12", lr=0.001, step=40, gamma=0.8)
CUB = replace(
    MINI,
    target="table4/conv4-1shot",
    data="cub",
    resize=84,
    dim=1024,
    way=5,
    lr=0.001,
    step=50,
    gamma=0.8,
    c=0.05,
)

# --- Budget mini: 28-pixel drawings, the usual 64 channels, chosen on alphabets held out of training ---

OMNIGLOT = FewShot(
    data="omniglot",
    channels=1,
    size=28,
    stored=28,
    resize=28,
    resized_crop=False,
    jitter=0.0,
    flip=0.0,
    rotate=12.0,
    shift=0.08,
    zoom=0.12,
    shear=8.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    dim=64,
    c=0.05,
    query=5,
    epochs=10,
    lr=2e-3,
    schedule="cosine",
    selection="last",
    test_ways=(5, 20),
    test_shots=(1, 5),
)
CUB_100 = replace(
    MINI,
    target="",
    data="cub_100",
    size=64,
    stored=80,
    resize=64,
    dim=64,
    c=0.05,
    way=20,
    query=5,
    epochs=12,
    epoch_episodes=50,
    lr=1e-3,
    schedule="cosine",
    test_shots=(1, 5),
)

GEOMETRIES: dict[str, dict[str, Any]] = {
    "Euclidean, squared": {"geometry": "euclidean-squared"},
    "Euclidean, -2 |x - y|": {"geometry": "euclidean"},
    "cosine": {"geometry": "cosine", "temperature": 0.1, "learn_temperature": True},
    "hyperbolic": {},
    "hyperbolic, exact formulas": {"mode": "exact"},
    "hyperbolic, clipped": {"clip": 2.3},
    "hyperbolic, projection 4e-3": {"eps": 4e-3},
    "hyperbolic, all at the cap": {"eps": 0.1},
    "hyperbolic, nearly flat": {"c": 1e-4, "mode": "exact"},
}
"""Overrides of every arm of the comparison; the hyperbolic head as released is the default."""

PRESETS: dict[str, tuple[str, FewShot]] = {
    "mini-imagenet-conv4-1shot": ("published: mini-ImageNet, Conv4, 1 shot", MINI),
    "mini-imagenet-conv4-5shot": (
        "published: mini-ImageNet, Conv4, 5 shots",
        replace(MINI, **FIVE, target="table3/conv4-5shot", step=60, gamma=0.8),
    ),
    "mini-imagenet-resnet18-1shot": ("published: mini-ImageNet, ResNet18, 1 shot", MINI_RES18),
    "mini-imagenet-resnet18-5shot": (
        "published: mini-ImageNet, ResNet18, 5 shots",
        replace(MINI_RES18, **FIVE, target="table3/resnet18-5shot", step=40),
    ),
    "mini-imagenet-resnet12-1shot": ("published: mini-ImageNet, ResNet12, 1 shot", MINI_RES12),
    "mini-imagenet-resnet12-5shot": (
        "published: mini-ImageNet, ResNet12, 5 shots",
        replace(MINI_RES12, **FIVE, target="table3/resnet12-5shot", lr=0.005, step=50),
    ),
    "cub-conv4-1shot": ("published: CUB-200-2011, Conv4, 1 shot", CUB),
    "cub-conv4-5shot": (
        "published: CUB-200-2011, Conv4, 5 shots",
        replace(CUB, target="table4/conv4-5shot", shot=5, c=0.01, step=40, test_shots=(5,)),
    ),
    "omniglot-protonet": ("mini: 28-pixel drawings, Conv4, 1,000 episodes of 30 ways", OMNIGLOT),
    "omniglot-short": (
        "mini: the same with 300 episodes, for the default target",
        replace(OMNIGLOT, epochs=3),
    ),
    "cub-100-protonet": ("mini: 100 classes of CUB at 64 pixels, Conv4, 600 episodes of 20 ways", CUB_100),
    "smoke-fewshot": (
        "seconds, generated drawings, no claim",
        replace(
            OMNIGLOT,
            data="embedded",
            size=16,
            stored=16,
            resize=16,
            dim=16,
            way=8,
            query=3,
            epochs=2,
            epoch_episodes=3,
            selection="val",
            val_episodes=20,
            test_episodes=50,
        ),
    ),
}
