"""Every configuration of this folder: one experiment of the paper each (arXiv:1904.02239v2)."""

from __future__ import annotations

from typing import Any

from hyperbolic_embeddings.delta.presets import PRESETS as DELTA
from hyperbolic_embeddings.delta.presets import Delta
from hyperbolic_embeddings.fewshot.presets import PRESETS as FEWSHOT
from hyperbolic_embeddings.fewshot.presets import FewShot
from hyperbolic_embeddings.reid.presets import PRESETS as REID
from hyperbolic_embeddings.reid.presets import ReID
from hyperbolic_embeddings.uncertainty.presets import PRESETS as UNCERTAINTY
from hyperbolic_embeddings.uncertainty.presets import Uncertainty

Config = Uncertainty | FewShot | ReID | Delta

PRESETS: dict[str, tuple[str, Any]] = {**UNCERTAINTY, **FEWSHOT, **REID, **DELTA}
