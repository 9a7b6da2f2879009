"""evaluate.py end to end on generated drawings: what is recorded, and what a wrong word gets."""

from pathlib import Path

import pytest

from benchmarks.compare import evaluate
from benchmarks.compare.measures import measure
from cgd_retrieval import train
from common import gallery, results, run
from common.files import file_hash


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "synthetic")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return tmp_path


def test_a_checkpoint_is_exported_by_its_paper_and_measured_here(place):
    train.main(["smoke", "--steps", "1", "--epoch-steps", "1", "--seed", "4"])
    (path,) = Path().glob("runs/cgd_retrieval/*/last.pt")
    evaluate.main([str(path), "--record", "--export", "out.npz"])
    rows = results.load_runs("benchmarks.compare")
    assert (place / "results/runs/compare.csv").exists()
    assert not (place / "results/runs/cgd_retrieval.csv").exists(), "the paper's rows are its own"
    facts = rows.iloc[0]
    assert (facts["preset"], facts["dataset"], facts["split"]) == ("cgd_retrieval/smoke", "embedded", "test")
    assert (facts["seed"], facts["checkpoint"]) == (4, file_hash(path))
    assert facts["command"].startswith(f"python -m benchmarks.compare.evaluate {path} --record")

    found = dict(zip(rows["metric"], rows["value"]))
    export = gallery.read_export("out.npz")
    wanted = {name: f.value for name, f in measure(export.embedding, export.labels, export.levels).items()}
    checkpoint = run.load_checkpoint(path)
    wanted |= {"seconds": checkpoint["seconds"], "peak_memory": checkpoint["peak_memory_mb"]}
    assert found == pytest.approx(wanted, rel=1e-5)
    assert {"family/knn", "kind/knn", "family/nmi", "kind/nmi"} <= set(found)


def test_raw_pixels_are_a_row_without_training(place):
    words = ["pixels", "cgd_retrieval/smoke", "--backbone", "pixels", "--seed", "2", "--record"]
    evaluate.main(words)
    rows = results.load_runs("benchmarks.compare")
    assert set(rows["checkpoint"]) == {"none"}
    assert set(rows["overrides"]) == {'{"backbone": "pixels"}'}
    assert set(rows["seed"]) == {2}
    assert not {"seconds", "peak_memory"} & set(rows["metric"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing.pt"], "no checkpoint at nothing.pt; train first"),
        (["nothing.pt", "--recrod"], "--recrod"),
        (["pixels"], "give PAPER/PRESET, of a paper that is one of cgd_retrieval"),
        (["pixels", "cgd/smoke"], "pixels cgd/smoke: give PAPER/PRESET"),
        (["nothing.pt", "--export", "."], "that is a folder"),
    ],
)
def test_bad_input_is_one_sentence(place, words, told):
    with pytest.raises((ValueError, FileNotFoundError, SystemExit)) as caught:
        evaluate.main(words)
    assert told in str(caught.value) or isinstance(caught.value, SystemExit)


def test_what_the_papers_command_says_is_passed_on(place):
    with pytest.raises(ValueError, match=r"evaluate pixels omniglot --export .*` failed: .*\S"):
        evaluate.embed("cgd_retrieval", ["pixels", "omniglot", "--export", "/"])
