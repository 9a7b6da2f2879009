"""Runs of the few-shot experiment in a folder of their own."""

import dataclasses
from pathlib import Path

import pytest
import torch

from common import config, data
from common.run import Run, load_checkpoint
from hyperbolic_embeddings.fewshot import evaluate, train
from hyperbolic_embeddings.fewshot.presets import PRESETS, FewShot


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with its own data root and cache."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("DATA_ROOT", "data"), ("DATA_CACHE", "cache")):
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("DATA", "real")
    return tmp_path


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
    cfg = config.restore(FewShot, checkpoint["config"], path)
    figures, measured = evaluate.measure(cfg, checkpoint, torch.device("cpu"), **keywords)
    return figures, measured, cfg, checkpoint


@pytest.fixture
def runs(place):
    """The two functions above, for test files that cannot import this one."""
    return fit, judge
