"""The tables of Hyperbolic Image Embeddings that this folder reproduces (arXiv:1904.02239v2).

`python -m hyperbolic_embeddings.tables` prints them as JSON for `common.reproduce` and `common.results`.
"""

from __future__ import annotations

from dataclasses import asdict

from common.plan import Plan
from hyperbolic_embeddings.delta.tables import TABLES as DELTA
from hyperbolic_embeddings.fewshot.tables import TABLES as FEWSHOT
from hyperbolic_embeddings.presets import PRESETS
from hyperbolic_embeddings.reid.tables import TABLES as REID
from hyperbolic_embeddings.uncertainty.tables import TABLES as UNCERTAINTY

PLAN = Plan(
    paper="hyperbolic_embeddings",
    title="Hyperbolic Image Embeddings (2020)",
    tables=(*UNCERTAINTY, *FEWSHOT, *DELTA, *REID),
    presets={name: asdict(cfg) for name, (_, cfg) in PRESETS.items()},
)

if __name__ == "__main__":
    print(PLAN.to_json())
