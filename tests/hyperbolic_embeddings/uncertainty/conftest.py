"""Runs of the uncertainty experiment in a folder of their own."""

import dataclasses
from pathlib import Path

import pytest
import torch

from common import config, data
from common.data import embedded
from common.run import Run, load_checkpoint
from hyperbolic_embeddings.uncertainty import evaluate, train
from hyperbolic_embeddings.uncertainty.presets import PRESETS


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working folder with its own data root and cache."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("DATA_ROOT", "data"), ("DATA_CACHE", "cache"), ("DATA", "auto")):
        monkeypatch.setenv(name, str(tmp_path / value) if name != "DATA" else value)
    return tmp_path


@pytest.fixture(autouse=True)
def small_embedded_set(monkeypatch):
    """4 families of 3 kinds instead of 12 of 6: drawn in a moment."""
    load = embedded.load

    def small(split, **keywords):
        return load(split, **{**keywords, "families": 4, "kinds": 3, "instances": 8})

    monkeypatch.setattr(embedded, "load", small)


def fit(*words: str) -> Path:
    """Train a preset with overrides; the checkpoint."""
    preset, cfg = config.parse(PRESETS, list(words))
    cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data))
    run = Run("hyperbolic_embeddings", preset, cfg, config.overrides(PRESETS, preset, cfg), list(words))
    if not run.finished:
        train.train(cfg, run)
    return run.folder / "last.pt"


def judge(path: Path, **keywords):
    """(figures, what they are about, configuration, checkpoint)."""
    checkpoint = load_checkpoint(path)
    cfg = config.restore(type(PRESETS["mnist-hyperbolic"][1]), checkpoint["config"], path)
    figures, measured = evaluate.measure(cfg, checkpoint, torch.device("cpu"), **keywords)
    return figures, measured, cfg, checkpoint


@pytest.fixture
def runs():
    """The two functions above, for test files that cannot import this one."""
    return fit, judge
