"""The tables of CGD that this folder reproduces, row by row (arXiv:1903.10663v4), at both budgets.

`python -m cgd_retrieval.tables` prints them as JSON for `common.reproduce` and `common.results`.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from cgd_retrieval.presets import (
    CONFIGS,
    OMNIGLOT,
    PRESETS,
    RANKINGS,
    TRICKS,
)
from common import config
from common.plan import Column, Plan, Row, Table

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


changes = partial(config.changes, PRESETS)


def omniglot(label: str, **fields: Any) -> Row:
    return Row(label=label, preset="omniglot", overrides=changes("omniglot", **fields), minutes=MINUTES)


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
            (*BASELINES, *(omniglot(c, config=c) for c in CONFIGS)),
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
                omniglot(f"{c}, D = {d}", dim=d, config=c)
                for d in (48, OMNIGLOT.dim)
                for c in ("S", "SM", "SMG")
            ),
        ),
        mini(
            "rankings",
            "Ranking losses, on Omniglot",
            tuple(
                Row(
                    label=r,
                    preset="omniglot-rankings",
                    overrides=changes("omniglot-rankings", ranking=r),
                    minutes=1.5 * MINUTES,
                )
                for r in RANKINGS
            ),
            note="All five train 1,800 steps, half as long again as elsewhere: with 1,200 steps HAP2S-E, "
            "whose triplets are satisfied early, ended at 81.7 ± 0.6.",
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
            title="Omniglot with a wider network, quarter turns and a longer schedule",
            dataset="omniglot",
            split="test",
            columns=MINI,
            rows=(Row(label="SG", preset="omniglot-long", minutes=25),),
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
                    Row(label=c, preset="cub-100", overrides=changes("cub-100", config=c), minutes=5)
                    for c in ("S", "M", "SM")
                ),
            ),
        ),
        *paper_tables(),
    )


SE_RESNET50: dict[str, Any] = {"backbone": "se_resnet50", "weights": "in1k"}

BEST = "The best published entries do not name their backbone; that it is SE-ResNet-50 is inferred."


def paper_tables() -> tuple[Table, ...]:
    """Published settings; minutes of one current data-centre GPU, estimated from 6.2 GMAC a picture and not
    measured.
    """

    def row(label: str, preset: str, target: str, minutes: float = 12, **changed: Any) -> Row:
        return Row(
            label=label,
            preset=preset,
            target=target,
            overrides=changes(preset, **changed),
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
                row("ranking loss only", "cub", "table1/ranking-only", auxiliary=False),
                row("ranking + classification loss", "cub", "table1/ranking-and-classification"),
            ),
        ),
        cub(
            "tricks",
            "Table 2: label smoothing (LS) and temperature scaling (TS)",
            (
                *(
                    row(label, "cub", f"table2/{slug}", **TRICKS[k])
                    for k, label, slug in (
                        ("none", "neither", "none"),
                        ("ls", "LS", "label-smoothing"),
                        ("ts", "TS", "temperature-scaling"),
                    )
                ),
                row("LS + TS", "cub", "table2/both"),
            ),
        ),
        cub(
            "frameworks",
            "Table 3: frameworks A, B and CGD",
            (
                row("A", "cub", "table3/framework-a", framework="A"),
                row("B", "cub", "table3/framework-b", framework="B"),
                row("CGD", "cub", "table3/cgd"),
            ),
        ),
        cub(
            "fusion",
            "Table 4: sum against concatenation",
            (
                row("sum of branches of size D", "cub", "table4/sum", fusion="sum"),
                row("sum of branches of size D / 2", "cub", "table4/sum", fusion="sum-small"),
                row("concatenation", "cub", "table4/concat"),
            ),
        ),
        cub(
            "rankings",
            "Ranking losses",
            tuple(
                row(r, "cub", f"ranking-losses/{slug}", ranking=r)
                for r, slug in zip(RANKINGS, ("batch-hard", "semi-hard", "hap2s-p", "hap2s-other", "margin"))
            ),
        ),
        cub(
            "backbones",
            "Backbones",
            (
                row("BN-Inception", "cub", "backbones/bn-inception", backbone="bn_inception", weights="none"),
                row("ShuffleNet-v2", "cub", "backbones/shufflenet-v2", backbone="shufflenet_v2"),
                row("ResNet-50", "cub", "backbones/cgd-mg-resnet50"),
                row("SE-ResNet-50", "cub", "backbones/se-resnet50", **SE_RESNET50),
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
                rows=tuple(row(c, d, f"combinations/{c.lower()}", m, config=c) for c in CONFIGS),
            )
            for d, title, split, m in (
                ("cub", "CUB-200-2011", "test", 12),
                ("cars", "CARS196", "test", 10),
                ("sop", "Stanford Online Products", "test", 75),
                ("inshop", "In-shop", "query", 33),
            )
        ),
        *(
            Table(
                name=f"sota-{d}",
                budget="paper",
                title=title,
                dataset=d,
                split=split,
                columns=at.get(d, RECALL),
                rows=(
                    row(f"CGD ({c}), ResNet-50", d, f"{table}/cgd-{c.lower()}-resnet50", m),
                    row(f"CGD ({c}), SE-ResNet-50", d, f"{table}/cgd-best", m, **SE_RESNET50),
                ),
                note=BEST,
            )
            for d, title, split, c, table, m in (
                ("cub", "CUB-200-2011, cropped", "test", "MG", "sota-cub-cars", 12),
                ("cars", "CARS196, cropped", "test", "SG", "sota-cub-cars", 10),
                ("sop", "Stanford Online Products", "test", "SG", "sota-sop-inshop", 75),
                ("inshop", "DeepFashion In-shop", "query", "GS", "sota-sop-inshop", 33),
            )
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
