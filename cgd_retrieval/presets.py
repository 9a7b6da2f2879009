"""Every configuration behind a row of CGD's tables, and the tables themselves (arXiv:1903.10663v4).

`python -m cgd_retrieval.presets` prints the plan as JSON for `common.reproduce` and `common.results`.
Sources of the defaults: [B] a review of v4 (kmhana.tistory.com), [A] an author's answer in naver/cgd issue 3,
[U] the unofficial code leftthomas/CGD, [ours] chosen on held-out training classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from common.plan import Column, Plan, Row, Table

CONFIGS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Combination of multiple global descriptors."""

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
    val_share: float = 0.0
    """Share of the training classes that is held out as validation classes; 0 for the final rows."""
    flip: float = 0.5
    """Probability of a horizontal flip [B]; 0 for drawings."""
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
    backbone: str = "resnet50"
    """small, resnet50, se_resnet50, shufflenet_v2 or bn_inception."""
    weights: str = "IMAGENET1K_V1"
    """Initial weights by torchvision's (or timm's) name; 'none' trains from scratch. V1 is what [U] uses
    (note D6).
    """
    widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the small backbone's stages [ours]."""
    stride: str = "stage4"
    """Whose down-sampling is removed: stage4 (the paper's wording), stage3 [U], none, both (note D1)."""
    freeze_bn: bool = False
    """Keep the backbone's running statistics frozen: [U] does, the authors did not [A] (note D3)."""
    config: str = "MG"
    """One of the 12 combinations; the first letter feeds the auxiliary head."""
    dim: int = 1536
    """D, size of the embedding [B]."""
    framework: str = "CGD"
    """CGD, or the frameworks A and B of Figure 2."""
    fusion: str = "concat"
    """concat, or the sums of Table 4: sum (branches of size D), sum-small (branches of size D / n)."""
    learnable_p: bool = False
    """Learn GeM's exponent; the paper fixes p = 3 [B]."""

    # Losses (losses.py)
    ranking: str = "batch-hard"
    """batch-hard, semi-hard, hap2s-p, hap2s-e, margin, or none."""
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
    short_classes: str = "repeat"
    """Classes with fewer than K training pictures: error, repeat (draw with replacement) or drop."""
    steps: int = 1500
    """Optimiser steps; CUB: 1500 [A]."""
    epoch_steps: int = 0
    """Steps of an epoch, after which a checkpoint is written; 0: one pass over the training pictures
    [ours].
    """
    lr: float = 1e-4
    """Adam's learning rate [B][A]."""
    schedule: str = "step"
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
    precision: str = "float32"
    """Of the backbone: float32, tf32 or bfloat16; losses and evaluation stay float32."""
    workers: int = 0
    """Processes that decode pictures which do not fit in memory."""
    deterministic: bool = False
    """Refuse operations without a deterministic kernel (GPU)."""


# --- The published setting: 224 pixels, ImageNet weights, one GPU ---

CUB = Config(crop=True, workers=8)
# Only CUB's schedule is known from the authors; the other lengths are [U]'s iterations, with its drops at 60 and 80 %.
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

RANKINGS = ("batch-hard", "semi-hard", "hap2s-p", "hap2s-e", "margin")
TRICKS = {  # Table 2: label smoothing (LS) and temperature scaling (TS)
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
    "omniglot-long": (
        "mini: Omniglot with a wider network and a longer schedule",
        replace(OMNIGLOT, size=32, enlarged=32, widths=(32, 64, 128, 128), steps=6000),
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


# --- The tables ---

RECALL = tuple(Column(metric=f"recall@{k}", label=f"R@{k}") for k in (1, 2, 4, 8))
MINI = (
    *RECALL[:2],
    Column(metric="map@r", label="MAP@R"),
    Column(metric="raw_first/recall@1", label="R@1 of raw f"),
)
BASELINES = (
    Row(
        label="raw pixels",
        preset="omniglot",
        overrides={"backbone": "pixels"},
        baseline="pixels",
        minutes=0.2,
    ),
    Row(label="untrained network", preset="omniglot", overrides={"steps": 0}, minutes=0.2),
)
MINUTES = 1.6
"""Of one core for one seed of an Omniglot row."""


def omniglot(
    label: str, *, minutes: float = MINUTES, target: str = "", **changed: str | int | float | bool
) -> Row:
    return Row(
        label=label,
        preset="omniglot",
        overrides=dict(sorted(changed.items())),
        minutes=minutes,
        target=target,
    )


def combination(config: str) -> Row:
    return omniglot(config) if config == OMNIGLOT.config else omniglot(config, config=config)


def mini(
    name: str, title: str, rows: tuple[Row, ...], note: str = "", default: tuple[str, ...] = ()
) -> Table:
    return Table(
        name=name,
        budget="mini",
        title=title,
        dataset="omniglot",
        split="test",
        rows=rows,
        columns=MINI,
        note=note,
        default=default,
    )


def tables() -> tuple[Table, ...]:
    both = omniglot("LS + TS")
    return (
        mini(
            "combinations",
            "Figure of 12 combinations, on Omniglot",
            (*BASELINES, *map(combination, CONFIGS)),
            default=("raw pixels", "untrained network", "S", "M", "SM", "SMG"),
        ),
        mini(
            "auxiliary",
            "Table 1: auxiliary classification loss, on Omniglot",
            (omniglot("ranking loss only", auxiliary=False), omniglot("ranking + classification loss")),
        ),
        mini(
            "tricks",
            "Table 2: label smoothing (LS) and temperature scaling (TS), on Omniglot",
            (
                *(omniglot({"none": "neither", "ls": "LS", "ts": "TS"}[k], **v) for k, v in TRICKS.items()),
                both,
            ),
        ),
        mini(
            "frameworks",
            "Table 3: frameworks A, B and CGD, on Omniglot",
            (omniglot("A", framework="A"), omniglot("B", framework="B"), omniglot("CGD")),
        ),
        mini(
            "fusion",
            "Table 4: sum against concatenation, on Omniglot",
            (
                omniglot("sum of branches of size D", fusion="sum"),
                omniglot("sum of branches of size D / 2", fusion="sum-small"),
                omniglot("concatenation"),
            ),
        ),
        mini(
            "dimension",
            "Output size D and number of descriptors, on Omniglot",
            tuple(
                omniglot(
                    f"{c}, D = {d}",
                    **({} if d == OMNIGLOT.dim else {"dim": d}),
                    **({} if c == OMNIGLOT.config else {"config": c}),
                )
                for d in (48, OMNIGLOT.dim)
                for c in ("S", "SM", "SMG")
            ),
        ),
        mini(
            "rankings",
            "Ranking losses, on Omniglot",
            tuple(omniglot(r) if r == OMNIGLOT.ranking else omniglot(r, ranking=r) for r in RANKINGS),
        ),
        Table(
            name="selection",
            budget="mini",
            title="Single descriptors on held-out training classes of Omniglot",
            dataset="omniglot",
            split="val",
            columns=MINI,
            rows=tuple(omniglot(c, config=c, val_share=0.2) for c in "SMG"),
            note="A fifth of the training characters is held out; the test characters are not looked at.",
        ),
        Table(
            name="long",
            budget="mini",
            title="Omniglot with a wider network and a longer schedule",
            dataset="omniglot",
            split="test",
            columns=MINI,
            rows=(Row(label="SM", preset="omniglot-long", minutes=30),),
        ),
        Table(
            name="cub-100",
            budget="mini",
            title="Real photographs: 100 classes of CUB at 64 pixels, from scratch",
            dataset="cub_100",
            split="test",
            columns=MINI,
            rows=(
                Row(
                    label="raw pixels",
                    preset="cub-100",
                    overrides={"backbone": "pixels"},
                    baseline="pixels",
                    minutes=0.2,
                ),
                Row(label="untrained network", preset="cub-100", overrides={"steps": 0}, minutes=0.3),
                *(
                    Row(label=c, preset="cub-100", overrides={} if c == "SM" else {"config": c}, minutes=5)
                    for c in ("S", "M", "SM")
                ),
            ),
        ),
        *paper_tables(),
    )


def paper_tables() -> tuple[Table, ...]:
    """Published settings; minutes of one current data-centre GPU, estimated from 6.2 GMAC a picture and not
    measured.
    """

    def row(
        label: str, preset: str, target: str, minutes: float = 12, **changed: str | int | float | bool
    ) -> Row:
        return Row(
            label=label,
            preset=preset,
            target=target,
            overrides=dict(sorted(changed.items())),
            minutes=minutes,
        )

    def cub(name: str, title: str, rows: tuple[Row, ...]) -> Table:
        note = "The paper's table does not say (in anything read) which data set it used; ours uses CUB."
        return Table(
            name=name,
            budget="paper",
            title=title,
            dataset="cub",
            split="test",
            rows=rows,
            columns=RECALL,
            note=note,
        )

    at = {
        k: tuple(Column(metric=f"recall@{i}", label=f"R@{i}") for i in v)
        for k, v in {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}.items()
    }
    return (
        cub(
            "auxiliary",
            "Table 1: auxiliary classification loss",
            (
                row("ranking loss only", "cub", "", auxiliary=False),
                row("ranking + classification loss", "cub", ""),
            ),
        ),
        cub(
            "tricks",
            "Table 2: label smoothing (LS) and temperature scaling (TS)",
            (
                *(
                    row({"none": "neither", "ls": "LS", "ts": "TS"}[k], "cub", "", **v)
                    for k, v in TRICKS.items()
                ),
                row("LS + TS", "cub", ""),
            ),
        ),
        cub(
            "frameworks",
            "Table 3: frameworks A, B and CGD",
            (row("A", "cub", "", framework="A"), row("B", "cub", "", framework="B"), row("CGD", "cub", "")),
        ),
        cub(
            "fusion",
            "Table 4: sum against concatenation",
            (
                row("sum of branches of size D", "cub", "", fusion="sum"),
                row("sum of branches of size D / 2", "cub", "", fusion="sum-small"),
                row("concatenation", "cub", ""),
            ),
        ),
        cub(
            "rankings",
            "Ranking losses",
            tuple(row(r, "cub", "", **({} if r == CUB.ranking else {"ranking": r})) for r in RANKINGS),
        ),
        cub(
            "backbones",
            "Backbones",
            (
                row("BN-Inception", "cub", "", backbone="bn_inception", weights="none"),
                row("ShuffleNet-v2", "cub", "", backbone="shufflenet_v2"),
                row("ResNet-50", "cub", ""),
                row("SE-ResNet-50", "cub", "", backbone="se_resnet50"),
            ),
        ),
        *(
            Table(
                name=f"combinations-{d}",
                budget="paper",
                title=f"Figure of 12 combinations, {title}",
                dataset=d,
                split=split,
                columns=RECALL[:1] if d in ("sop", "inshop") else RECALL,
                rows=tuple(row(c, d, "", m, **({} if c == base.config else {"config": c})) for c in CONFIGS),
            )
            for d, title, split, m, base in (
                ("cub", "CUB-200-2011", "test", 12, CUB),
                ("cars", "CARS196", "test", 10, CARS),
                ("sop", "Stanford Online Products", "test", 75, SOP),
                ("inshop", "In-shop", "query", 33, INSHOP),
            )
        ),
        Table(
            name="sota-cub",
            budget="paper",
            title="CUB-200-2011, cropped",
            dataset="cub",
            split="test",
            columns=RECALL,
            rows=(row("CGD (MG), ResNet-50", "cub", ""),),
        ),
        Table(
            name="sota-cars",
            budget="paper",
            title="CARS196, cropped",
            dataset="cars",
            split="test",
            columns=RECALL,
            rows=(row("CGD (SG), ResNet-50", "cars", "", 10),),
        ),
        Table(
            name="sota-sop",
            budget="paper",
            title="Stanford Online Products",
            dataset="sop",
            split="test",
            columns=at["sop"],
            rows=(row("CGD (SG), ResNet-50", "sop", "", 75),),
        ),
        Table(
            name="sota-inshop",
            budget="paper",
            title="DeepFashion In-shop",
            dataset="inshop",
            split="query",
            columns=at["inshop"],
            rows=(row("CGD (GS), ResNet-50", "inshop", "", 33),),
        ),
    )


PLAN = Plan(
    paper="cgd_retrieval",
    title="Combination of Multiple Global Descriptors (2019)",
    tables=tables(),
    presets={name: asdict(cfg) for name, (_, cfg) in PRESETS.items()},
)

if __name__ == "__main__":
    print(PLAN.to_json())
