"""The tables of instance discrimination that this folder reproduces (arXiv:1805.01978), row by row, at both
budgets.

`python -m instance_discrimination.tables` prints them as JSON for `common.reproduce` and `common.results`.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from common import config
from common.plan import Column, Plan, Row, Table
from instance_discrimination.presets import (
    COST_SIZES,
    LAMBDAS,
    MINI,
    MINI_SHARES,
    PRESETS,
    ROWS,
    SHARES,
    WATCHED,
)

SMALL, LARGE = "_exact1000", "_jpeg10000"
"""Test pictures of CIFAR-10: the first 1,000, exact in every copy; all 10,000, of which 9,000 exist here as
JPEG.
"""

TOLD = {"": "", SMALL: ", 1,000 exact", LARGE: ", all 10,000"}
"""What a column's header says of them."""


def both(metric: str, label: str, *, published: bool = False) -> tuple[Column, ...]:
    """The metric on the exact test pictures and on all; published: first on the published test batch."""
    names = ("", SMALL, LARGE) if published else (SMALL, LARGE)
    return tuple(Column(metric=metric + name, label=label + TOLD[name]) for name in names)


KNN, SVM, BANK = both("knn", "kNN"), both("svm", "SVM"), both("knn_bank", "kNN by the bank")
LOSS = (Column(metric="train_loss", label="last loss", percent=False),)
RECIPE = (Column(metric="knn", label="kNN"), Column(metric="knn_bank", label="kNN by the bank"), *LOSS)
HELD_OUT_NOTE = "On 2,000 training pictures that are neither trained on nor vote."
TEST_NOTE = (
    "1,000 exact: the first 1,000 test pictures, bit by bit; all 10,000: 9,000 of them only exist as JPEG "
    "here."
)
BANK_NOTE = (
    "Instances: 5,000 training pictures, which are the memory bank; kNN and SVM have the labels of 20,000."
)

PACE, MEASURING = 1000, 2.0
"""Pictures a second of `cifar10-mini` on one core; minutes of measuring it, most of them for the SVM."""


def minutes(images: int = MINI.images, epochs: int = MINI.epochs, measuring: float = MEASURING) -> float:
    """Of one core for one seed of `cifar10-mini`, by estimate."""
    return round(images * epochs / PACE / 60 + measuring, 1)


CONSTANT_Z: dict[str, Any] = {"loss": "nce", "z": "first-batch", "lr": 0.003}
"""Overrides of the mini presets: NCE with the constant Z of the paper and of the released code, at a learning
rate at which it does not run away.
"""

changes = partial(config.changes, PRESETS)


def row(label: str, preset: str, minutes: float, target: str = "", baseline: str = "", **fields: Any) -> Row:
    return Row(
        label=label,
        preset=preset,
        overrides=changes(preset, **fields),
        target=target,
        minutes=minutes,
        baseline=baseline,
    )


def part(images: int, labelled: int) -> dict[str, Any]:
    """Overrides of a row that trains on some of the pictures and is measured with the labels of all."""
    return {"images": images, "labelled": labelled}


def knn_only(shared: bool) -> dict[str, Any]:
    """Overrides of a row in a table of kNN alone: it spares SVM and probes, unless the same run is a row of
    Table 1 as well.
    """
    return {} if shared else {"svm": False, "probe_epochs": 0}


def dimension(d: int) -> dict[str, Any]:
    """Overrides of a row of the mini table `dimension`."""
    return {"dim": d, **knn_only(d == MINI.dim)}


def share(n: int) -> dict[str, Any]:
    """Overrides of a row of the mini table `images`."""
    return {"images": n, **knn_only(n == MINI.images)}


def pull(v: float) -> dict[str, Any]:
    """Overrides of a row of the mini table `proximal`: lambda = v, constant Z."""
    return {**CONSTANT_Z, "proximal": v}


def mini(
    name: str, title: str, rows: tuple[Row, ...], columns: tuple[Column, ...], note: str = "", **more: Any
) -> Table:
    return Table(
        name=name,
        budget="mini",
        title=title,
        dataset="cifar10",
        split=more.pop("split", "test"),
        rows=rows,
        columns=columns,
        note=" ".join(told for told in (TEST_NOTE if SMALL in columns[0].metric else "", note) if told),
        **more,
    )


def baselines(preset: str) -> tuple[Row, Row]:
    return (
        row("raw pixels", preset, 1, baseline="pixels", backbone="pixels"),
        row("untrained network", preset, MEASURING, epochs=0),
    )


def recipes(preset: str) -> tuple[Row, ...]:
    """What the recipe of budget mini is chosen from: variants of equal cost, the released one among them."""
    one = partial(row, preset=preset, minutes=minutes(measuring=1))
    return (
        one("as chosen"),
        one("no flip", flip=0.0),
        one("hue jitter 0.4", hue=0.4),
        one("no flip, hue jitter 0.4: as released", flip=0.0, hue=0.4),
        one("batch 128: as released", batch=128),
        one("learning rate 0.1", lr=0.1),
        one("learning rate 0.003", lr=0.003),
        one("cosine schedule", schedule="cosine"),
        one("20,000 pictures, 10 epochs", images=20_000, epochs=10, milestones=(6, 8)),
    )


def nce_recipes(preset: str) -> tuple[Row, ...]:
    """What NCE with m = 4096 needs in a short run: the ways to set Z, and the proximal term with each."""
    one = partial(row, preset=preset, minutes=minutes(measuring=1))
    return (
        one("as chosen: Z by moving average", loss="nce"),
        one("the same, lambda = 30", loss="nce", proximal=30.0),
        one("moving Z, learning rate 0.003", loss="nce", lr=0.003),
        one("constant Z, as released", **{**CONSTANT_Z, "lr": PRESETS[preset][1].lr}),
        one("constant Z, learning rate 0.003", **pull(0.0)),
        one("constant Z, learning rate 0.003, lambda = 30", **pull(30.0)),
        one("the same, overwritten: the paper's text", **pull(30.0), bank_momentum=0.0),
    )


def ablations(preset: str, minutes: float, **base: Any) -> tuple[Row, ...]:
    """What paper and released code disagree on, one at a time, around NCE with m = 4096 and a constant Z."""

    def nce(label: str, **fields: Any) -> Row:
        return row(label, preset, minutes, **{"loss": "nce", **base, **fields})

    flipped = PRESETS[preset][1].flip > 0
    return (
        nce("NCE, m = 4096"),
        nce("proximal term, lambda = 30", proximal=30.0),
        nce("bank rows overwritten", bank_momentum=0.0),
        nce("overwritten, lambda = 30: the paper's text", bank_momentum=0.0, proximal=30.0),
        nce("tau = 0.07", temperature=0.07),
        nce("no flip" if flipped else "with flip", flip=0.0 if flipped else 0.5),
        nce("Z by moving average", z="ema"),
        nce("Z in closed form", z="closed-form"),
        nce("noise without the picture itself", exclude_positive=True),
    )


def mini_tables() -> tuple[Table, ...]:
    base, watched, labels = "cifar10-mini", "cifar10-mini-watched", "cifar10-mini-labels"
    unmeasured = minutes(measuring=1)  # without SVM and probes
    stages = ("conv1", *(f"res{n + 1}" for n in range(len(PRESETS[base][1].widths))), "pool")
    return (
        mini(
            "table1",
            "Table 1: parametric and non-parametric softmax, NCE; a narrow network on CIFAR-10",
            (*baselines(base), *(row(label, base, minutes(), **fields) for label, fields in ROWS.items())),
            (*KNN, *SVM, *BANK),
            BANK_NOTE,
            default=("raw pixels", "untrained network", "non-parametric softmax", "NCE, m = 4096"),
        ),
        mini(
            "recipe",
            "The recipe of this budget beside others of the same length, on held-out training pictures",
            recipes(watched),
            RECIPE,
            f"Exact softmax. {HELD_OUT_NOTE}",
            split="val",
        ),
        mini(
            "recipe-nce",
            "The recipe of this budget for NCE, m = 4096, on held-out training pictures",
            nce_recipes(watched),
            RECIPE,
            HELD_OUT_NOTE,
            split="val",
        ),
        mini(
            "long",
            "A longer run of the exact softmax against raw pixels",
            (
                row("raw pixels", "cifar10-mini-long", 1, baseline="pixels", backbone="pixels"),
                row("non-parametric softmax, long", "cifar10-mini-long", 20),
            ),
            (*KNN, *SVM, *BANK),
            "Instances and labels: 20,000 training pictures.",
        ),
        mini(
            "ablations",
            "Where paper and released code differ, one change at a time, at learning rate 0.003",
            ablations(base, minutes(), **CONSTANT_Z),
            (*KNN, *LOSS),
            BANK_NOTE,
        ),
        mini(
            "dimension",
            "Table 4 as a proxy on CIFAR-10: embedding size",
            tuple(row(f"D = {d}", base, unmeasured, **dimension(d)) for d in (32, 64, 128, 256)),
            KNN,
            BANK_NOTE,
        ),
        mini(
            "images",
            "Table 5 as a proxy on CIFAR-10: share of the training pictures",
            tuple(
                row(
                    f"{n / 20_000:.1%} of 20,000".replace(".0%", "%"),
                    base,
                    minutes(n, measuring=1),
                    **share(n),
                )
                for n in (500, 2000, 5000, 20_000)
            ),
            KNN,
            "Equal numbers of epochs, so that more pictures are also more steps; labels of all 20,000 vote.",
        ),
        mini(
            "layers",
            "Tables 2 and 3 as a proxy on CIFAR-10: linear probes on every stage",
            (
                row("untrained network", base, MEASURING, epochs=0),
                row("non-parametric softmax", base, minutes()),
            ),
            tuple(Column(metric=f"probe_{stage}{LARGE}", label=stage) for stage in stages),
            "On all 10,000 test pictures, 9,000 of them JPEG; probes are trained on 20,000 labels.",
        ),
        mini(
            "proximal",
            "Figure 3 as a proxy on CIFAR-10: proximal term, NCE with m = 4096, constant Z",
            tuple(row(f"lambda = {v:g}", watched, unmeasured, **pull(v)) for v in LAMBDAS),
            (
                *(Column(metric=f"loss@{e}", label=f"loss at {e}", percent=False) for e in WATCHED),
                *(Column(metric=f"heldout_knn_bank@{e}", label=f"kNN at {e}") for e in WATCHED),
            ),
            "Loss without the proximal term, mean over an epoch; kNN by the memory bank on 2,000 held-out "
            "training pictures. Learning rate 0.003.",
            split="val",
        ),
        mini(
            "consistency",
            "Figure 4 as a proxy on CIFAR-10: loss and kNN accuracy along training",
            (row("non-parametric softmax", watched, unmeasured),),
            (
                *(Column(metric=f"heldout_knn_bank@{e}", label=f"kNN at {e}") for e in WATCHED),
                *(Column(metric=f"loss@{e}", label=f"loss at {e}", percent=False) for e in WATCHED),
            ),
            "kNN by the memory bank on 2,000 held-out training pictures, after so many epochs.",
            split="val",
        ),
        mini(
            "labels",
            "Figure 6 as a proxy on CIFAR-10: fine-tuning on a share of 20,000 labels",
            (
                row("from scratch", labels, 4, epochs=0),
                row("fine-tuned from instance discrimination", labels, minutes(measuring=4)),
            ),
            tuple(
                Column(metric=f"finetune_{100 * s:g}%{LARGE}", label=f"{100 * s:g} %") for s in MINI_SHARES
            ),
            "Top-1 on all 10,000 test pictures, 9,000 of them JPEG. The paper shows top-5 on ImageNet.",
        ),
        mini(
            "cost",
            "Section 3.2: microseconds per picture of the loss against the number n of instances, m = 4096",
            (row("loss, gradient and update", base, 2, baseline="cost", loss="nce"),),
            (
                *(
                    Column(metric=f"{name}_us@{n}", label=f"{name}, n = {n:,}", percent=False)
                    for name in ("nce", "softmax")
                    for n in COST_SIZES
                ),
                *(
                    Column(metric=f"{name}_exponent", label=f"{name}, exponent", percent=False)
                    for name in ("nce", "softmax")
                ),
            ),
            "NCE gathers m rows of the bank per picture. Exponent: slope of log time over log n.",
            split="cost",
        ),
    )


PUBLISHED_NOTE = f"No addition: the published test batch, where a copy has it. {TEST_NOTE}"
IMAGENET_NOTE = "Published: camera-ready; the arXiv version has other numbers for the ResNets."
GPU = 10
"""Minutes of one current data-centre GPU for 200 epochs of CIFAR-10: estimated, like all costs here."""
DECODING = 1_281_167 / 2_200 / 60
"""Minutes of one pass over ImageNet, bound by what 16 cores decode: about 2,200 pictures a second."""
NAMES = {"alexnet": "AlexNet", "vgg16": "VGG16", "resnet18": "ResNet18", "resnet50": "ResNet50"}
SLUGS = ("param-softmax", "non-param-softmax", "nce-m-1", "nce-m-10", "nce-m-512", "nce-m-4096")


def paper(
    name: str, title: str, rows: tuple[Row, ...], columns: tuple[Column, ...], note: str, **more: Any
) -> Table:
    more = {"dataset": "cifar10", "split": "test", **more}
    return Table(name=name, budget="paper", title=title, rows=rows, columns=columns, note=note, **more)


def paper_tables() -> tuple[Table, ...]:
    return (*cifar_tables(), *imagenet_tables())


def cifar_tables() -> tuple[Table, ...]:
    """Table 1 by the released recipe, and Tables 4 and 5, Figures 3, 4 and 6 as proxies."""
    base, watched = "cifar10", "cifar10-watched"
    knn, svm = both("knn", "kNN", published=True), both("svm", "SVM", published=True)
    bank = both("knn_bank", "kNN by the bank", published=True)
    quarters = tuple(range(25, 201, 25))
    return (
        paper(
            "table1",
            "Table 1: CIFAR-10, ResNet-18, 200 epochs",
            tuple(
                row(label, base, GPU, f"table1/{slug}", **fields)
                for (label, fields), slug in zip(ROWS.items(), SLUGS)
            ),
            (*knn, *svm, *bank),
            PUBLISHED_NOTE,
        ),
        paper(
            "ablations",
            "Where paper and released code differ, CIFAR-10",
            ablations(base, GPU),
            (*knn, *bank),
            PUBLISHED_NOTE,
        ),
        paper(
            "dimension",
            "Table 4 as a proxy: embedding size, CIFAR-10",
            tuple(row(f"D = {d}", base, GPU, dim=d) for d in (32, 64, 128, 256)),
            knn,
            PUBLISHED_NOTE,
        ),
        paper(
            "images",
            "Table 5 as a proxy: share of the training pictures, CIFAR-10",
            tuple(
                row(
                    f"{n / 50_000:.0%}",
                    base,
                    max(1.0, GPU * n / 50_000),
                    **({} if n == 50_000 else part(n, 50_000)),
                )
                for n in (500, 5000, 15_000, 50_000)
            ),
            knn,
            f"{PUBLISHED_NOTE} Labels of all 50,000 training pictures vote.",
        ),
        paper(
            "proximal",
            "Figure 3 as a proxy: proximal term, NCE with m = 4096, CIFAR-10",
            tuple(row(f"lambda = {v:g}", watched, GPU, loss="nce", proximal=v) for v in LAMBDAS),
            (*LOSS, *(Column(metric=f"loss@{e}", label=f"loss at {e}", percent=False) for e in quarters[:4])),
            "Loss without the proximal term, mean over an epoch.",
            split="val",
        ),
        paper(
            "consistency",
            "Figure 4 as a proxy: loss and kNN accuracy along training, CIFAR-10",
            (row("non-parametric softmax", watched, GPU), row("NCE, m = 4096", watched, GPU, loss="nce")),
            (
                *(Column(metric=f"heldout_knn_bank@{e}", label=f"kNN at {e}") for e in quarters),
                *(Column(metric=f"loss@{e}", label=f"loss at {e}", percent=False) for e in quarters),
            ),
            "kNN by the memory bank on 5,000 held-out training pictures, after so many epochs.",
            split="val",
        ),
        paper(
            "labels",
            "Figure 6 as a proxy: fine-tuning on a share of the labels, CIFAR-10",
            (
                row("from scratch", base, 2, epochs=0, label_shares=SHARES),
                row("fine-tuned from instance discrimination", base, GPU + 2, label_shares=SHARES),
            ),
            tuple(
                Column(metric=f"finetune_{100 * s:g}%{suffix}", label=f"{100 * s:g} %{told}")
                for suffix, told in TOLD.items()
                for s in SHARES
            ),
            f"{PUBLISHED_NOTE} Top-1; the paper shows top-5 on ImageNet.",
        ),
    )


def imagenet_tables() -> tuple[Table, ...]:
    """Tables 2 to 6. Probes are trained for the rows of Table 2 and 3 only; its ResNet-18 is a row of Table 4
    and of Table 5 as well.
    """
    knn = Column(metric="knn", label="kNN")
    probes = tuple(Column(metric=f"probe_conv{n}", label=f"conv{n}, linear") for n in range(1, 6))
    train = round(DECODING * PRESETS["imagenet-resnet18"][1].epochs)
    probe = round(DECODING * PRESETS["imagenet-resnet18"][1].probe_epochs)
    small = "imagenet-resnet18"
    return (
        paper(
            "imagenet",
            "Table 2: ImageNet, linear probes and kNN",
            tuple(row(f"Ours {NAMES[k]}", f"imagenet-{k}", train + probe, f"table2/ours-{k}") for k in NAMES),
            (knn, *probes),
            IMAGENET_NOTE,
            dataset="imagenet",
        ),
        paper(
            "places205",
            "Table 3: Places205 with features of ImageNet",
            tuple(
                row(
                    f"Ours {NAMES[k]}",
                    f"imagenet-{k}",
                    2 * probe,
                    f"table3/ours-{k}",
                    "transfer",
                    data="places205",
                )
                for k in NAMES
            ),
            (knn, *probes),
            f"{IMAGENET_NOTE} Uses the finished runs of Table 2.",
            dataset="places205",
        ),
        paper(
            "imagenet-dimension",
            "Table 4: embedding size, ImageNet, ResNet-18",
            tuple(
                row(f"D = {d}", small, train, f"table4/embedding-size-{d}", dim=d, **unless(d == 128))
                for d in (32, 64, 128, 256)
            ),
            (knn,),
            IMAGENET_NOTE,
            dataset="imagenet",
        ),
        paper(
            "imagenet-images",
            "Table 5: share of the training pictures, ImageNet, ResNet-18",
            tuple(
                row(
                    f"{share:g} %",
                    small,
                    max(60, round(train * share / 100)),
                    f"table5/training-set-{slug}",
                    **({} if share == 100 else part(round(1_281_167 * share / 100), 1_281_167)),
                    **unless(share == 100),
                )
                for share, slug in ((0.1, "0-1"), (1, "1"), (10, "10"), (30, "30"), (100, "100"))
            ),
            (knn,),
            IMAGENET_NOTE,
            dataset="imagenet",
        ),
        paper(
            "voc07",
            "Table 6: detection on PASCAL VOC 2007",
            tuple(
                row(f"Ours {NAMES[k]}", f"imagenet-{k}", 180, f"table6/{slug}", "voc07", data="voc07")
                for k, slug in (
                    ("alexnet", "alexnet-ours-alexnet"),
                    ("vgg16", "vgg16-ours-vgg"),
                    ("resnet50", "resnet-50-ours-resnet"),
                )
            ),
            (Column(metric="map", label="mAP"),),
            f"{IMAGENET_NOTE} Uses the finished runs of Table 2.",
            dataset="voc07",
        ),
    )


def unless(shared: bool) -> dict[str, Any]:
    """Rows that Table 2 does not share are measured without probes."""
    return {} if shared else {"probe_epochs": 0}


PLAN = Plan(
    paper="instance_discrimination",
    title="Unsupervised Feature Learning via Non-Parametric Instance Discrimination (2018)",
    tables=(*mini_tables(), *paper_tables()),
    presets={name: asdict(cfg) for name, (_, cfg) in PRESETS.items()},
)

if __name__ == "__main__":
    print(PLAN.to_json())
