"""The benchmarks run, agree, and tell who used more memory."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import measure, topics
from benchmarks.__main__ import main

ROOT = Path(__file__).parents[2]


def planted(scale: str) -> list[measure.Case]:
    """Contenders that agree (unless tiny), one that is not installed, and one that holds 90 MB."""

    def hold() -> float:
        return float(torch.ones(90 * 10**6 // 8, dtype=torch.float64)[0])

    def build() -> list[measure.Contender]:
        return [
            measure.Contender(name="ours", run=lambda: 1.0),
            measure.Contender(name="peer", run=lambda: 2.0 if scale == "tiny" else 1.0),
            measure.Contender(
                name="absent", run=lambda: 0.0, packages=("torch", "no_such_package"), pip="no-such-package"
            ),
            measure.Contender(name="large", run=lambda: None if scale == "tiny" else hold()),
        ]

    return [measure.Case(title="planted", build=build)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("topic", topics.TOPICS)
def test_contenders_agree_at_the_smallest_size(topic):
    for case in topics.TOPICS[topic]("tiny"):
        contenders = [c for c in case.build() if not c.missing]
        ours, *others = [c.run() for c in contenders]
        assert ours is not None
        assert any(value is not None for value in others)
        assert all(value is None or abs(value - ours) <= case.tolerance for value in others)
        assert case.baseline in ("", *(c.name for c in contenders))


def test_memory_is_what_was_held():
    """In a fresh process, as always: this one may have been told to keep what it frees."""
    for contender, megabytes in ((0, 0), (3, 90)):
        script = (
            "import multiprocessing; from tests.benchmarks.test_benchmarks import measure, planted; "
            "ours, theirs = multiprocessing.Pipe(duplex=False); "
            f"measure._probe(theirs, planted, 'small', 0, {contender}, 1); print(ours.recv())"
        )
        told = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True
        ).stdout
        assert float(told) == pytest.approx(megabytes, abs=5)
    assert 0 <= measure.extra_memory_mb(topics.delta, "tiny", 0, 0) < 30  # in a process of its own


def test_table(monkeypatch):
    monkeypatch.setattr(measure, "extra_memory_mb", lambda *a: 0.0)
    rows = measure.measure(planted, "small", 0, 1)
    assert [row.value for row in rows] == [1.0, 1.0, None, 1.0]
    assert rows[2].name == "absent: not installed (pip install no-such-package)"
    assert math.isnan(rows[2].seconds)
    text = measure.table(planted("small")[0], rows)
    assert text.startswith("### planted\n\n| contender")
    assert len({line.count("|") for line in text.splitlines()[2:]}) == 1
    with pytest.raises(ValueError, match=r"peer gives 2\.0, ours gives 1\.0"):
        measure.measure(planted, "tiny", 0, 1)


def test_command(capsys, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        main(["recal"])
    assert stop.value.code == 2
    assert "no topic 'recal'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["delta", "--rounds", "0"])
    assert "--rounds is 0" in capsys.readouterr().err
    monkeypatch.setitem(topics.TOPICS, "delta", lambda scale: topics.delta("tiny"))
    monkeypatch.setattr(measure, "extra_memory_mb", lambda *a: 1.0)
    main(["delta", "--scale", "small", "--rounds", "1", "--threads", str(torch.get_num_threads())])
    assert "### Gromov delta, n = 40" in capsys.readouterr().out
