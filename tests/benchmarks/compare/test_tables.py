"""tables.py: what the rows of a table share, computed from their configurations; commands that are read."""

import importlib
from typing import Any

import pytest
import torch

from benchmarks.compare.tables import PAPERS, plan, tables
from cgd_retrieval import train as cgd
from common import config
from common.plan import Plan
from hierarchical_multilabel import train as hierarchical
from hyperbolic_embeddings.fewshot import train as fewshot
from instance_discrimination import pictures as instance_pictures
from instance_discrimination import train as instance

TRAINING_PICTURES = {"omniglot": 19_280, "cub_100": 2_949}
SEEN = {"omniglot": 96_000, "cub_100": 48_000}
CLASSES = 7
AUGMENTED_BY = {
    "cgd_retrieval": cgd,
    "hierarchical_multilabel": hierarchical,
    "hyperbolic_embeddings": fewshot,
    "instance_discrimination": instance_pictures,
}
"""Modules that have the paper's `augmentation`."""


def configured(table):
    """(label, paper, configuration) of every row, as the command line reads it."""
    for row in table.rows:
        paper, _, preset = row.preset.partition("/")
        name, cfg = config.parse(PAPERS[paper], [preset, *config.flags(row.overrides)])
        assert config.overrides(PAPERS[paper], name, cfg) == row.overrides, row.label
        yield row, paper, cfg


def trained(table):
    return [(row, paper, cfg) for row, paper, cfg in configured(table) if row.train]


def seen(paper: str, cfg: Any) -> int:
    """Pictures, views counted, that training sees."""
    if paper == "cgd_retrieval":
        return cfg.steps * cfg.classes_per_batch * cfg.images_per_class
    if paper == "hierarchical_multilabel":
        return cfg.steps * cfg.batch * cfg.views
    if paper == "hyperbolic_embeddings":
        return cfg.epochs * cfg.epoch_episodes * cfg.way * (cfg.shot + cfg.query)
    assert (cfg.images, cfg.labelled, cfg.held_out) == (0, 0, 0), "all pictures"
    return cfg.epochs * TRAINING_PICTURES[cfg.data]


def trunk(paper: str, cfg: Any) -> tuple[torch.nn.Module, int]:
    """(what maps pictures to the last map or its mean, size of the embedding)."""
    if paper == "cgd_retrieval":
        model = cgd.build(cfg, CLASSES)
        return model.backbone, model.dim
    if paper == "hierarchical_multilabel":
        return hierarchical.build(cfg, 0).backbone, cfg.dim
    if paper == "hyperbolic_embeddings":
        encoder, _ = fewshot.build(cfg)
        return encoder, encoder.channels  # type: ignore[return-value]
    model = instance.build(cfg)
    return torch.nn.Sequential(*model.stages.values()), cfg.dim


@pytest.mark.parametrize("table", tables(), ids=lambda t: t.name)
def test_all_rows_have_the_same_data_network_and_length(table):
    assert len({row.label for row in table.rows}) == len(table.rows)
    assert len(table.seeds) >= 3
    x = torch.rand(2, 3, 32 if table.dataset == "omniglot" else 64, 32 if table.dataset == "omniglot" else 64)
    shapes, maps = set(), set()
    for row, paper, cfg in trained(table):
        assert cfg.data == table.dataset, row.label
        assert cfg.size == x.shape[2], row.label
        network, dim = trunk(paper, cfg)
        assert dim == 128, row.label
        shapes.add(tuple(tuple(p.shape) for p in network.parameters()))
        found = network.eval()(x)
        maps.add(found.shape[2:] if found.ndim == 4 else "mean")
        if row.label != "untrained network":
            assert seen(paper, cfg) == pytest.approx(SEEN[table.dataset], rel=0.02), row.label
        assert getattr(cfg, "val_share", 0) == 0
        assert getattr(cfg, "held_out", 0) == 0
        assert getattr(cfg, "set_aside", False) is False, f"{row.label} trains on every picture"
        assert getattr(cfg, "protocol", "retrieval") == "retrieval" or cfg.data == "omniglot", row.label
    assert len(shapes) == 1, "one network"
    assert maps == {(8, 8), "mean"}, "and one pooling"


@pytest.mark.parametrize("table", tables(), ids=lambda t: t.name)
def test_all_rows_train_on_the_same_augmented_pictures(table):
    """Bit for bit, from the same stored pictures, seed and epoch."""
    index, found = torch.arange(9), {}
    for row, paper, cfg in trained(table):
        module = AUGMENTED_BY[paper]
        stored = getattr(cfg, "stored", getattr(cfg, "enlarged", cfg.size))
        assert stored == cfg.size, row.label
        pixels = torch.randint(256, (9, 3, stored, stored), dtype=torch.uint8,
                               generator=torch.Generator().manual_seed(0))  # fmt: skip
        found[row.label] = module.augmentation(cfg)(pixels, index, 5, 2)
    first = found["SimCLR"]
    for label, images in found.items():
        assert torch.equal(images, first), label
    assert (first.std((0, 1)) > 0).any()


def test_only_what_has_to_differ_does():
    """SimCLR draws without labels; the released form, the losses and the geometries are one option each."""
    for table in tables():
        rows = {row.label: row.overrides for row in table.rows}
        printed = rows["HiMulConE, as printed"]
        assert rows["HiMulConE, as released"] == {**printed, "form": "released"}
        assert rows["SupCon"] == {**printed, "method": "supcon"}
        assert rows["SimCLR"] == {**printed, "method": "simclr", "sampler": "random"}
        hyperbolic = rows["ProtoNet, hyperbolic"]
        assert rows["ProtoNet, Euclidean"] == {**hyperbolic, "geometry": "euclidean-squared"}
        assert rows["untrained network"] == {**hyperbolic, "geometry": "euclidean-squared", "epochs": 0}


def test_the_plan_survives_json_and_names_every_preset():
    again = Plan.from_json(plan().to_json())
    assert {row.preset for table in again.tables for row in table.rows} == set(again.presets)
    for table, own in zip(again.tables, tables()):
        assert [row.label for row in table.rows] == [row.label for row in own.rows]
    for paper in PAPERS:
        assert importlib.import_module(f"{paper}.train")
