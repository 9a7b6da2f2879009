"""docs/reliability.md names tests that exist."""

import re
from pathlib import Path

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
