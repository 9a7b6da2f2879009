"""Two kills of each paper; `make torture` has twenty."""

import os
import subprocess
import sys
from pathlib import Path


def test_killed_runs_end_where_unbroken_ones_do():
    """In a process of its own, which has not computed anything yet: its children are forks."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--kills", "2"],
        cwd=Path(__file__).parents[1], env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip().endswith("8 runs killed, 0 differences")


def test_a_broken_resume_would_be_noticed():
    """The comparison has teeth: without the optimiser's state the second epoch goes elsewhere."""
    script = (
        "import torch\n"
        "from tests import torture\n"
        "torch.optim.Optimizer.load_state_dict = lambda self, state: None\n"
        "torture.EVENTS = ('log',)\n"
        "torture.main(['hierarchical_multilabel', '--kills', '1', '--seed', '4'])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert told.returncode == 1
    assert "differs" in told.stderr
