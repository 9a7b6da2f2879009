"""Measuring: every published layout end to end on generated drawings; checkpoints that cannot be measured."""

import json
from pathlib import Path

import pytest
import torch

from cgd_retrieval import evaluate, train
from common import results
from common.data import layouts

TINY = (
    "--backbone small --weights none --widths 8 8 --size 24 --enlarged 28 --dim 16 --steps 2 "
    "--classes-per-batch 2 --images-per-class 2 --workers 0"
).split()


def trained(capsys, *words: str) -> Path:
    train.main(list(words))
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA", "real")
    return tmp_path


@pytest.mark.parametrize(
    ("preset", "split"), [("cub", "test"), ("cars", "test"), ("sop", "test"), ("inshop", "query")]
)
def test_every_published_layout_trains_and_is_measured(place, capsys, preset, split):
    layouts.write(preset, place / "data", families=4, kinds=2, instances=6, size=40)
    checkpoint = trained(capsys, preset, *TINY)
    evaluate.main([str(checkpoint), "--record", "--export", "out.npz"])
    assert "recall@1" in capsys.readouterr().out
    rows = results.load_runs("cgd_retrieval")
    assert set(rows["dataset"]) == {f"{preset}-embedded"}, "generated drawings never pass for the real set"
    assert set(rows["split"]) == {split}
    assert "raw_first/recall@1" in set(rows["metric"])


def test_own_pictures_in_nested_folders(place, capsys):
    layouts.write("folder", place / "own", families=4, kinds=2, instances=6, size=40)
    checkpoint = trained(capsys, "cub-100", "--data", f"folder:{place / 'own'}", *TINY)
    evaluate.main([str(checkpoint)])
    assert "recall@1" in capsys.readouterr().out


def test_validation_classes_are_neither_trained_on_nor_tested(place, capsys):
    layouts.write("cub", place / "data", families=8, kinds=2, instances=6, size=40)
    checkpoint = trained(capsys, "cub", *TINY, "--val-share", "0.25")
    loaded = torch.load(checkpoint, weights_only=True)
    log = [json.loads(line) for line in (checkpoint.parent / "log.jsonl").read_text().splitlines()]
    assert len(loaded["state"]["model"]["classifier.1.bias"]) == 12, "16 training classes, 4 of them held out"
    evaluate.main([str(checkpoint), "--record"])
    rows = results.load_runs("cgd_retrieval")
    assert set(rows["split"]) == {"val"}
    last = rows[rows["metric"] == "recall@1"]["value"].item()
    assert log[-1]["val_recall_at_1"] == pytest.approx(last, abs=1e-6), "the log's figure is the recorded one"


def test_recorded_recall_is_that_of_a_naive_search(place, capsys):
    layouts.write("cub", place / "data", families=4, kinds=2, instances=6, size=40)
    checkpoint = trained(capsys, "cub", *TINY)
    evaluate.main([str(checkpoint), "--record", "--export", "out.npz"])
    import numpy as np

    saved = np.load("out.npz", allow_pickle=False)
    z, y = saved["embedding"].astype(np.float64), saved["labels"][:, -1]
    hit = 0
    for i in range(len(z)):
        order = sorted((j for j in range(len(z)) if j != i), key=lambda j: ((z[i] - z[j]) ** 2).sum())
        hit += y[order[0]] == y[i]
    rows = results.load_runs("cgd_retrieval")
    assert rows[rows["metric"] == "recall@1"]["value"].item() == pytest.approx(hit / len(z), abs=1e-6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(["smoke", "--steps", "1"])
    return next(folder.rglob("last.pt"))


def test_checkpoints_that_cannot_be_measured_are_named(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        evaluate.main([str(tmp_path / "none.pt")])
    whole = torch.load(checkpoint, weights_only=True)
    other = tmp_path / "other.pt"
    torch.save({**whole, "paper": "hyperbolic_embeddings"}, other)
    with pytest.raises(ValueError, match="a checkpoint of hyperbolic_embeddings, not of cgd_retrieval"):
        evaluate.main([str(other)])
    torch.save({**whole, "config": {**whole["config"], "unheard": 1}}, other)
    with pytest.raises(ValueError, match=r"another version .*unheard"):
        evaluate.main([str(other)])
    other.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short"):
        evaluate.main([str(other)])
    with pytest.raises(ValueError, match="--nonsense: unknown argument"):
        evaluate.main([str(checkpoint), "--nonsense"])
    with pytest.raises(ValueError, match="held out no classes"):
        evaluate.main([str(checkpoint), "--split", "val"])


def test_a_results_file_edited_by_hand_takes_no_more_rows(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    evaluate.main([str(checkpoint), "--record"])
    path = tmp_path / "results/runs/cgd_retrieval.csv"
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if ",recall@1," in line)
    lines[at] = lines[at].replace(",recall@1,0.", ",recall@1,0.9", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=f"line {at + 1}: the cells do not match their sha256"):
        evaluate.main([str(checkpoint), "--record"])
    assert path.read_text().splitlines() == lines
