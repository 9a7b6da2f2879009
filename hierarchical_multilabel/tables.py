"""The tables of this folder, row by row (arXiv:2204.13207v1), at both budgets.

`python -m hierarchical_multilabel.tables` prints them as JSON for `common.reproduce` and `common.results`.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from common import config
from common.plan import Column, Plan, Row, Table
from hierarchical_multilabel.presets import HIERARCHICAL, OMNIGLOT, PRESETS

METHODS: dict[str, dict[str, Any]] = {
    "SimCLR": {"method": "simclr"},
    "cross-entropy, characters": {"method": "cross-entropy"},
    "SupCon, alphabets": {"method": "supcon", "level": 2},
    "SupCon, characters": {"method": "supcon"},
    "HiMulCon": {"method": "himulcon"},
    "HiMulCon, as released": {"method": "himulcon", "form": "released"},
    "HiConE": {"method": "hicone"},
    "HiConE, as released": {"method": "hicone", "form": "released"},
    "HiMulConE": {},
    "HiMulConE, as released": {"form": "released"},
}
"""Overrides of the mini presets: baselines, then the paper's losses as printed and as released."""

CONSTRAINED = tuple(
    label for label, fields in METHODS.items() if fields.get("method", OMNIGLOT.method) in HIERARCHICAL
)
"""Rows in which the constraint acts, or, for HiMulCon, would act."""

PENALTIES = {
    "exp(1/l)": "exp",
    "2^(1/l)": "pow2",
    "1/l": "reciprocal",
    "1 at every level": "one",
    "exp turned round": "coarse",
}
BATCHES = (24, 48, 96, 192)

MINUTES, CUB_MINUTES = 2.0, 4.0
"""Of one core for one seed of a row of Omniglot or CUB-100, training and measuring."""


def column(metric: str, label: str) -> Column:
    return Column(metric=metric, label=label)


MEASURED = (
    column("unseen/character/recall@1", "character R@1"),
    column("unseen/character/recall@5", "R@5"),
    column("unseen/alphabet/knn@20", "alphabet 20-NN"),
    column("unseen/alphabet/violation", "violations"),
)
PROBED = (
    *MEASURED,
    column("unseen/character/probe", "probe character"),
    column("unseen/alphabet/probe", "probe alphabet"),
    column("seen/character/probe", "seen: probe character"),
    column("seen/alphabet/probe", "probe alphabet "),
)
CLUSTERS = (
    column("unseen/alphabet/nmi", "NMI alphabet"),
    column("unseen/character/nmi", "NMI character"),
    column("unseen/character/nmi-within", "NMI character in alphabet"),
    column("seen/alphabet/nmi", "seen: NMI alphabet"),
    column("seen/character/recall@1", "seen: character R@1"),
)
CONSTRAINT = (
    column("active_steps", "active steps"),
    column("active_terms", "active terms"),
)


changes = partial(config.changes, PRESETS)


def row(label: str, preset: str, minutes: float = MINUTES, target: str = "", **fields: Any) -> Row:
    return Row(
        label=label, preset=preset, overrides=changes(preset, **fields), minutes=minutes, target=target
    )


def baselines(preset: str) -> tuple[Row, ...]:
    return (
        Row(
            label="raw pixels",
            preset=preset,
            overrides={"backbone": "pixels"},
            baseline="pixels",
            minutes=1.0,
        ),
        row("untrained network", preset, 0.7, steps=0),
    )


def mini(
    name: str,
    title: str,
    rows: tuple[Row, ...],
    columns: tuple[Column, ...] = PROBED,
    note: str = "",
    default: tuple[str, ...] = (),
    dataset: str = "omniglot",
    split: str = "test",
) -> Table:
    return Table(
        name=name,
        budget="mini",
        title=title,
        dataset=dataset,
        split=split,
        rows=rows,
        columns=columns,
        note=note,
        default=default,
    )


def tables() -> tuple[Table, ...]:
    methods = tuple(row(label, "omniglot", **fields) for label, fields in METHODS.items())
    unseen = "Unseen alphabets unless said otherwise; alphabets are never found by the query's own character."
    return (
        mini(
            "losses",
            "Losses under one sampler, network and schedule, on Omniglot",
            (*baselines("omniglot"), *methods),
            note=unseen,
            default=(
                "raw pixels",
                "untrained network",
                "SupCon, characters",
                "HiMulCon",
                "HiConE",
                "HiMulConE",
                "HiMulConE, as released",
            ),
        ),
        mini(
            "clusters",
            "Clustering (NMI) and seen characters, the same runs",
            (*baselines("omniglot"), *methods),
            CLUSTERS,
            note="k-means with the true number of nodes; in alphabet: inside each one, mean over drawings.",
        ),
        mini(
            "constraint",
            "How often HiConE's constraint is active, the same runs",
            tuple(own for own in methods if own.label in CONSTRAINED),
            (*CONSTRAINT, *MEASURED[2:]),
            note="Share of training steps in which at least one term is raised, and share of all terms that "
            "could be; a term is a pair as printed, a level mean as released. For HiMulCon: would be raised.",
        ),
        mini(
            "threshold",
            "Raised pairs pull at the worst finer pair (attached), or at nothing (detached), on Omniglot",
            tuple(
                row(f"{label}, {threshold}", "omniglot", threshold=threshold, **METHODS[label])
                for label in ("HiConE", "HiMulConE")
                for threshold in ("detached", "attached")
            ),
            (*MEASURED, CONSTRAINT[1]),
            note=f"{unseen} The losses have equal values in both rows (O13).",
        ),
        mini(
            "penalty",
            "Level penalties of HiMulConE, on Omniglot",
            tuple(row(label, "omniglot", penalty=name) for label, name in PENALTIES.items()),
            note=unseen,
        ),
        mini(
            "positives",
            "HiMulConE with all positives of a level or only those of no finer one (D3), on Omniglot",
            tuple(row(name, "omniglot", positives=name) for name in ("inclusive", "lowest")),
            note=unseen,
        ),
        mini(
            "batch",
            "Pictures per batch, equal numbers of pictures, on Omniglot",
            tuple(
                row(
                    f"{label}, {size}",
                    "omniglot",
                    batch=size,
                    steps=OMNIGLOT.steps * OMNIGLOT.batch // size,
                    **fields,
                )
                for label, fields in (("SupCon", METHODS["SupCon, characters"]), ("HiMulConE", {}))
                for size in BATCHES
            ),
            note=f"{unseen} The paper's first author says that this was not studied (issue 2).",
        ),
        mini(
            "sampler",
            "Hierarchical against random batches, on Omniglot",
            tuple(
                row(f"{label}, {sampler}", "omniglot", sampler=sampler, **METHODS[label])
                for label in ("SupCon, characters", "HiMulConE", "HiMulConE, as released")
                for sampler in ("hierarchical", "random")
            ),
            note=unseen,
        ),
        mini(
            "cub-100",
            "Photographs: 100 species of CUB at 64 pixels, from scratch",
            (
                *baselines("cub-100"),
                *(
                    row(label.replace("characters", "species"), "cub-100", CUB_MINUTES, **METHODS[label])
                    for label in (
                        "SimCLR",
                        "SupCon, characters",
                        "HiMulCon",
                        "HiConE",
                        "HiMulConE",
                        "HiMulConE, as released",
                    )
                ),
            ),
            (
                column("unseen/species/recall@1", "species R@1"),
                column("unseen/species/recall@5", "R@5"),
                column("unseen/family/knn@20", "family 20-NN"),
                column("unseen/order/knn@20", "order 20-NN"),
                column("unseen/family/violation", "violations in family"),
                column("unseen/species/probe", "probe species"),
                column("seen/species/probe", "seen: probe species"),
            ),
            note="Unseen species unless said otherwise; 7 of their 17 families and 5 of their 7 orders are "
            "seen. A family or an order is never found by the query's own species or family, so that family "
            "20-NN is at most 86.1 and order 20-NN at most 76.7: elsewhere there is no other one.",
            dataset="cub_100",
        ),
        mini(
            "cifar-100",
            "Photographs: CIFAR-100, ResNet-18, four super classes and one class of each other held out",
            tuple(
                row(
                    label.replace("characters", "classes").replace("alphabets", "super classes"),
                    "cifar-100",
                    400,
                    **METHODS[label],
                )
                for label in METHODS
            ),
            (
                column("unseen/class/recall@1", "class R@1"),
                column("unseen/superclass/knn@20", "super class 20-NN"),
                column("unseen/class/probe", "probe class"),
                column("seen/class/probe", "seen: probe class"),
                column("seen/superclass/probe", "probe super class"),
            ),
            note="Unseen classes unless said otherwise. For one GPU; on CPU cores it takes days.",
            dataset="cifar100",
            split="held-out",
        ),
        *paper_tables(),
    )


FORMS = {"released": "as released", "paper": "as printed"}
LOSSES = {"himulcon": "HiMulCon", "hicone": "HiConE", "himulcone": "HiMulConE"}
BASELINES: dict[str, dict[str, Any]] = {
    "simclr": {"method": "simclr"},
    "cross-entropy": {"method": "cross-entropy"},
    "supcon": {"method": "supcon"},
}
NAMES = {"simclr": "SimCLR", "cross-entropy": "Cross Entropy", "supcon": "SupCon"}


def paper_tables() -> tuple[Table, ...]:
    """Published settings; minutes of one current data-centre GPU, estimated from 8.2 GFLOP a picture forward,
    two views, three quarters of the network trained, and not measured.
    """
    minutes = {"deepfashion": 120.0, "modelnet40": 180.0, "imagenet": 12_000.0, "inaturalist": 5_500.0}
    level = {"deepfashion": 3, "modelnet40": 2, "imagenet": 1, "inaturalist": 1}
    at = {"deepfashion": "category", "modelnet40": "category", "imagenet": "class", "inaturalist": "species"}
    title = {
        "deepfashion": "DeepFashion In-shop",
        "modelnet40": "ModelNet40",
        "imagenet": "ImageNet",
        "inaturalist": "iNaturalist",
    }
    open_rows = (
        "Which of the three losses the published best row is, is not stated in anything read; it stands "
        "beside each HiMulConE row."
    )

    def rows(table: str, preset: str, best: str = "", **changed: Any) -> tuple[Row, ...]:
        """Baselines and the three losses in both forms; best: target of the published best row."""
        own = [
            row(NAMES[name], preset, minutes[preset], f"{table}/{name}",
                **({"level": level[preset]} if name != "simclr" else {}), **fields, **changed)
            for name, fields in BASELINES.items()
        ]  # fmt: skip
        for method, label in LOSSES.items():
            for form, words in FORMS.items():
                target = best if best and method == "himulcone" else f"{table}/{method}"
                if table == "classification-full" and method != "himulcone":
                    target = ""  # whether these rows are in the paper was not seen
                own.append(
                    row(f"{label}, {words}", preset, minutes[preset], target, method=method, form=form,
                        **changed)
                )  # fmt: skip
        return tuple(own)

    def paper(
        name: str, heading: str, preset: str, rows: tuple[Row, ...], columns: tuple[Column, ...], note: str
    ) -> Table:
        held_out = any(r.overrides.get("hold_out") for r in rows)
        return Table(
            name=name,
            budget="paper",
            title=heading,
            dataset=PRESETS[preset][1].data,
            split="held-out" if held_out else "test",
            rows=rows,
            columns=columns,
            note=note,
        )

    full = [
        paper(
            f"full-{preset}",
            f"Linear probe, full data: {title[preset]}, {at[preset]}",
            preset,
            rows(
                "classification-full",
                preset,
                "" if preset in ("inaturalist", "modelnet40") else "classification-full/proposed",
            ),
            (column(f"seen/{at[preset]}/probe", f"top-1 {at[preset]}"),),
            open_rows,
        )
        for preset in ("imagenet", "deepfashion", "inaturalist", "modelnet40")
    ]
    split_note = f"Which categories the paper holds out is not known; ours are lists/. {open_rows}"
    held = [
        paper(
            f"unseen-{preset}",
            f"Linear probe, seen and unseen categories: {title[preset]}",
            preset,
            rows("seen-unseen", preset, "seen-unseen/proposed", hold_out=True),
            (
                column("seen/category/probe", "top-1 seen"),
                column("unseen/category/probe", "top-1 unseen"),
            ),
            split_note,
        )
        for preset in ("deepfashion", "modelnet40")
    ]
    finest = {"deepfashion": "variation", "modelnet40": "model"}
    nmi = [
        paper(
            f"nmi-{preset}",
            f"Clustering (NMI): {title[preset]}",
            preset,
            rows("nmi", preset, "nmi/proposed"),
            (
                column("seen/category/nmi", "category"),
                column(f"seen/{finest[preset]}/nmi-within", f"{finest[preset]} in category"),
            ),
            f"The paper's sub-category figure is that of one category. {open_rows}",
        )
        for preset in ("deepfashion", "modelnet40")
    ]
    retrieval = [
        paper(
            f"retrieval-{which}-{preset}",
            f"Retrieval of sub-categories, {words}: {title[preset]}",
            preset,
            rows(f"retrieval-{which}", preset, "", **({"hold_out": True} if which == "unseen" else {})),
            tuple(
                column(f"{'unseen' if which == 'unseen' else 'seen'}/{finest[preset]}/recall@{k}", f"top-{k}")
                for k in (1, 5, 10)
            ),
            "No usable published number was seen, nor the paper's list of k.",
        )
        for which, words in (("full", "full data"), ("unseen", "unseen categories"))
        for preset in ("deepfashion", "modelnet40")
    ]
    ablation = paper(
        "penalty",
        "Table 2: level penalties, ImageNet",
        "imagenet",
        tuple(
            row(label, "imagenet", minutes["imagenet"], f"lambda/{'exp' if name == 'exp' else 'other'}",
                penalty=name)
            for label, name in PENALTIES.items()
        ),
        (column("seen/class/probe", "top-1 class"),),
        "Which other functions the paper tried was not seen.",
    )  # fmt: skip
    return (*full, *held, *nmi, *retrieval, ablation)


PLAN = Plan(
    paper="hierarchical_multilabel",
    title="Use All The Labels: Hierarchical Multi-Label Contrastive Learning (2022)",
    tables=tables(),
    presets={name: asdict(cfg) for name, (_, cfg) in PRESETS.items()},
)

if __name__ == "__main__":
    print(PLAN.to_json())
