"""The driver, on a toy paper whose runs take no time: what it runs, skips, reports and survives."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TABLES = """
from dataclasses import asdict
from common.plan import Column, Plan, Row, Table
from toy.presets import PRESETS
one = Row(label="one", preset="a", minutes=0.1)
two = Row(label="two", preset="a", overrides={"lr": 0.5}, minutes=0.1)
bad = Row(label="bad", preset="a", overrides={"lr": -1.0}, minutes=0.1)
slow = Row(label="slow", preset="a", overrides={"sleep": 600.0}, minutes=0.1)
base = Row(label="base", preset="a", baseline="nothing", minutes=0.1)
columns = (Column(metric="recall@1", label="R@1"),)
def table(name, rows, **more):
    about = dict(name=name, title=name, budget="mini", dataset="embedded", split="test", columns=columns)
    return Table(rows=rows, **about, **more)
presets = {n: asdict(c) for n, (_, c) in PRESETS.items()}
print(Plan(paper="toy", title="Toy", presets=presets, tables=(
    table("first", (base, one, two), default=("base", "one")), table("second", (one,)),
    table("broken", (bad, one)), table("slow", (slow,)))).to_json())
"""
PRESETS = '''
from dataclasses import dataclass
@dataclass(frozen=True, kw_only=True)
class Config:
    lr: float = 0.1
    """Rate."""
    sleep: float = 0.0
    """Seconds."""
    data: str = "embedded"
    """Data."""
    seed: int = 0
    """Seed."""
    device: str = "cpu"
    """Device."""
    deterministic: bool = False
    """Strict."""
PRESETS = {"a": ("toy", Config()), "b": ("other", Config(lr=0.2))}
'''
TRAIN = """
import sys, time
from toy.presets import PRESETS
from common import config
from common.run import Run
import torch
def main(argv):
    preset, cfg = config.parse(PRESETS, argv)
    run = Run("toy", preset, cfg, config.overrides(PRESETS, preset, cfg), argv)
    layer = torch.nn.Linear(1, 1)
    run.resume(model=layer)
    time.sleep(cfg.sleep)
    torch.nn.init.constant_(layer.weight, cfg.lr + cfg.seed)
    run.save(1, finished=True, model=layer)
if __name__ == "__main__":
    config.command(main)
"""
EVALUATE = """
import sys
from pathlib import Path
from common import config, results, run
from common.files import file_hash
def main(argv):
    facts = dict(target="", overrides={}, preset="a", seed=0, checkpoint="none", epochs=0, minutes=0.0)
    if argv[0] != "nothing":
        c = run.load_checkpoint(Path(argv[0]))
        facts = dict(target="", overrides=c["overrides"], preset=c["preset"], seed=c["config"]["seed"],
                     checkpoint=file_hash(Path(argv[0])), epochs=1, minutes=0.1)
    results.append("toy", [dict(
        facts, dataset="embedded", split="test", metric="recall@1", value=0.5, unit="share", interval=None,
        selection="last", device="cpu", peak_memory_mb=1.0, commit="c", torch="2", command="x",
        date=run.now())])
if __name__ == "__main__":
    config.command(main)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(ROOT / "common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "toy").mkdir()
    (folder / "results/published").mkdir(parents=True)
    header = (ROOT / "results/published/cgd_retrieval.csv").read_text().splitlines()[0]
    (folder / "results/published/toy.csv").write_text(header + "\n")
    for name, text in {
        "__init__": "",
        "tables": TABLES,
        "presets": PRESETS,
        "train": TRAIN,
        "evaluate": EVALUATE,
    }.items():
        (folder / f"toy/{name}.py").write_text(text)
    return folder


def compared(text: str) -> str:
    """A module of the toy paper, turned into one of the plan that compares papers."""
    for old, new in (
        ('preset="a"', 'preset="toy/a"'),
        ('c["preset"]', '"toy/a"'),
        ("presets = {n:", 'presets = {f"toy/{n}":'),
        ('"toy"', '"two.compare"'),
    ):
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def comparing(place):
    (place / "two/compare").mkdir(parents=True)
    (place / "results/published/compare.csv").write_bytes((place / "results/published/toy.csv").read_bytes())
    for name, text in {"tables": TABLES, "evaluate": EVALUATE}.items():
        (place / f"two/compare/{name}.py").write_text(compared(text))
    return place


def start(place: Path, *words: str, paper: str = "toy") -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DATA": "synthetic"}
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [sys.executable, "-m", "common.reproduce", paper, *words],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Behind nohup or & of a script Ctrl-C is ignored, and what is started there inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def drive(place: Path, *words: str, paper: str = "toy") -> tuple[int, str, str]:
    process = start(place, *words, paper=paper)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def folders(place: Path) -> set[str]:
    return {p.parent.name for p in place.glob("runs/toy/*/done.json")}


def test_the_driver_from_first_run_to_nothing_left(place):
    status, out, err = drive(place)
    assert status == 0, err
    assert "2 runs, 0 finished; 2 to go" in out
    assert folders(place) == {"a-s0"}, "only the default rows, only the first seed"
    assert "50.0" in out, "the table is printed"

    status, out, err = drive(place, "--table", "first", "second", "--seeds", "0", "1")
    assert status == 0, err
    # base, one, two at two seeds: the second table shares its row with the first; base and one have seed 0.
    assert "6 runs, 2 finished; 4 to go" in out
    assert len(folders(place)) == 4

    rows = (place / "results/runs/toy.csv").read_text()
    shutil.rmtree(place / "runs/toy/a-s0")
    status, out, err = drive(place, "--table", "second", "--seeds", "0")
    assert status == 0, err
    assert "1 runs, 0 finished; 1 to go" in out, "rows in results/ do not make a cell finished"
    assert (place / "results/runs/toy.csv").read_text().startswith(rows)

    for what in ("its rows are gone", "other code measures"):
        if what == "its rows are gone":
            (place / "results/runs/toy.csv").unlink()
        else:
            with open(place / "toy/evaluate.py", "a") as file:
                file.write("\nOTHER = 1\n")
        status, out, err = drive(place, "--table", "first", "--seeds", "0")
        assert status == 0, err
        assert "3 runs, 0 finished; 3 to go" in out or what == "other code measures", what
        assert "3 runs, 3 finished" not in out, what


def test_a_plan_that_compares_papers_trains_by_their_commands_and_measures_by_its_own(comparing):
    own = comparing / "results/runs/toy.csv"
    before = own.read_text() if own.exists() else None
    status, out, err = drive(comparing, "--table", "first", "--seeds", "0", paper="two.compare")
    assert status == 0, err
    assert "3 runs, 0 finished; 3 to go" in out, "what the paper has measured is not measured here"
    assert (comparing / "runs/toy/a-s0/done.json").exists(), "trained as the paper trains"
    assert (comparing / "results/runs/compare.csv").read_text().count("toy/a") == 3
    assert "50.0" in out, "the table is printed from these rows"
    log = (comparing / "runs/two.compare/logs/toy-a-s0.txt").read_text().splitlines()
    assert [line for line in log if line.startswith("$")] == [
        "$ python -m toy.train a --seed 0",
        "$ python -m two.compare.evaluate runs/toy/a-s0/last.pt --record",
    ]
    assert (own.read_text() if own.exists() else None) == before, "nor are rows of the paper written"

    status, out, err = drive(comparing, "--table", "first", "--seeds", "0", paper="two.compare")
    assert status == 0, err
    assert "3 runs, 3 finished; 0 to go" in out


def test_a_failed_run_does_not_stop_the_others_and_is_told_last(place):
    status, _, err = drive(place, "--table", "broken", "--seeds", "3")
    assert status == 2
    assert "1 of 2 runs failed" in err
    assert "--lr -1.0: give a number above 0" in err
    assert "a-s3" in folders(place)


def test_ctrl_c_ends_the_children_and_keeps_nothing_half(place):
    process = start(place, "--table", "slow", "--seeds", "0")
    deadline = time.monotonic() + 240
    while not any('"sleep": 600.0' in p.read_text() for p in place.glob("runs/toy/a-*/config.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)  # the sleeping child is ended, not waited for
    assert process.returncode == 130
    assert "the same command goes on" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--table", "nonsense"],
            "toy has no mini table nonsense; choose from first, second, broken, slow, all",
        ),
        (["--budget", "paper"], "budget paper has no default rows for toy"),
    ],
)
def test_bad_input_is_one_sentence(place, words, told):
    status, _, err = drive(place, *words)
    assert status == 2
    assert told in err
    assert "Traceback" not in err
