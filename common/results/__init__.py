"""Published numbers, our rows, the comparison of the two, claims, and the rendered tables.

Read in this order: rows.py, record.py, published.py, verdicts.py, tables.py, render.py.
"""

from common.results.published import find, load_published
from common.results.record import Figure, Measured, record, show_figures
from common.results.render import COMPARISON, render, render_tables_of
from common.results.rows import append, canonical, has_baseline, has_checkpoint, load_runs, newest
from common.results.tables import table_text, terminal_table
from common.results.verdicts import (
    ClaimResult,
    claim_entries,
    claim_verdict,
    combine,
    number_verdict,
    paired,
)

__all__ = [
    "COMPARISON", "ClaimResult", "Figure", "Measured", "append", "canonical", "claim_entries",
    "claim_verdict", "combine", "find", "has_baseline", "has_checkpoint", "load_published", "load_runs",
    "newest", "number_verdict", "paired", "record", "render", "render_tables_of", "show_figures",
    "table_text", "terminal_table",
]  # fmt: skip
