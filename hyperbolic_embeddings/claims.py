"""The paper's claims, and the findings that no table of the paper controls for, with their verdicts.

`python -m hyperbolic_embeddings.claims` prints them as JSON for `common.results`. C1 to C9 are the paper's
claims, F1 to F9 the controls (reproduce.md says what each is); every comparison is paired over seeds and its
verdict is that of the 95 % Student interval.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from common import results
from hyperbolic_embeddings.delta.claims import claims as delta
from hyperbolic_embeddings.fewshot.claims import claims as fewshot
from hyperbolic_embeddings.reid.claims import claims as reid
from hyperbolic_embeddings.uncertainty.claims import claims as uncertainty


def claims(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per comparison: id, statement, comparison, difference, low, high, n, unit, verdict, table."""
    entries = [*delta(runs), *uncertainty(runs), *fewshot(runs), *reid(runs)]
    return sorted(entries, key=lambda entry: (entry["id"][0], int(entry["id"][1:])))


if __name__ == "__main__":
    print(json.dumps(claims(results.load_runs("hyperbolic_embeddings")), indent=1))
