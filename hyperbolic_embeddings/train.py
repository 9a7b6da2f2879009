"""Train one experiment: `python -m hyperbolic_embeddings.train PRESET [--field value ...]`.

The preset decides which: uncertainty/train.py, fewshot/train.py and reid/train.py are the scripts to read.
Prints the checkpoint path last.
"""

from __future__ import annotations

import dataclasses

from common import config, data
from common.run import Run
from hyperbolic_embeddings.delta.presets import Delta
from hyperbolic_embeddings.fewshot import train as fewshot
from hyperbolic_embeddings.fewshot.presets import FewShot
from hyperbolic_embeddings.presets import PRESETS
from hyperbolic_embeddings.reid import train as reid
from hyperbolic_embeddings.uncertainty import train as uncertainty
from hyperbolic_embeddings.uncertainty.presets import Uncertainty


def main(argv: list[str]) -> None:
    preset, cfg = config.parse(PRESETS, argv, prog="python -m hyperbolic_embeddings.train")
    if isinstance(cfg, Delta):
        raise ValueError(
            f"preset {preset} measures a given network and trains none; "
            f"use python -m hyperbolic_embeddings.evaluate delta {preset}"
        )
    cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data))
    run = Run("hyperbolic_embeddings", preset, cfg, config.overrides(PRESETS, preset, cfg), argv)
    if not run.finished:
        if isinstance(cfg, Uncertainty):
            uncertainty.train(cfg, run)
        elif isinstance(cfg, FewShot):
            fewshot.train(cfg, run)
        else:
            reid.train(cfg, run)
    print(run.folder / "last.pt")


if __name__ == "__main__":
    config.command(main)
