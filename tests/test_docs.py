"""docs/reliability.md names tests that exist, and counts what they try."""

import re
from pathlib import Path

from tests import test_bad_input, test_losses_on_two_ranks, test_torchrun, torture
from tests.common import test_fuzz

ROOT = Path(__file__).parents[1]


def test_every_named_test_exists():
    text = (ROOT / "docs/reliability.md").read_text()
    file, checked = None, 0
    for name in re.findall(r"`([^`\n]+)`", text):
        if name.startswith("tests/"):
            file = ROOT / name
            assert file.exists(), name
        elif name.startswith("test_"):
            assert file is not None, name
            assert re.search(rf"^def {name}\(", file.read_text(), re.MULTILINE), f"{file}: no {name}"
            checked += 1
    assert checked > 20


def test_the_counts_are_those_of_the_tests():
    text = (ROOT / "docs/reliability.md").read_text()
    told = {what: int(n.replace(",", "")) for what, n in re.findall(r"^\| (.+?) \| ([\d,]+) \|", text, re.M)}
    assert told == {
        "kills by `make torture`, over four papers": 20 * len(torture.PAPERS),
        "kills in the test suite": 2 * len(torture.PAPERS),
        f"mutated files, over {len(test_fuzz.INPUTS)} readers": sum(test_fuzz.INPUTS.values()),
        "wrong calls of functions": len(test_bad_input.ROWS),
        "wrong words for commands": len(test_bad_input.table(test_bad_input.COMMANDS)),
        "numbers out of their limits": len(test_bad_input.bad_numbers()),
        "losses on two ranks": len(test_losses_on_two_ranks.LOSSES),
        "training and measuring on two ranks": len(test_torchrun.CASES),
    }
