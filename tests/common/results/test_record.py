import pytest
import torch

from common import results
from common.results import Figure, Measured

FACTS = {
    "preset": "smoke",
    "changed": {"lr": 0.1},
    "target": "",
    "seed": 3,
    "measured": Measured("embedded", "val", "val"),
    "argv": ["my runs/last.pt", "--record"],
    "device": torch.device("cpu"),
}


def test_a_trained_measurement_carries_the_facts_of_its_training(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"weights")
    checkpoint = {"epoch": 7, "seconds": 90.0, "device": "GPU X", "peak_memory_mb": 12.0, "commit": "abc"}
    figures = {"recall@1": Figure(0.5, 0.01), "parameters": Figure(3.0, unit="count")}
    assert results.record("paper", figures, checkpoint=checkpoint, path=path, root=tmp_path, **FACTS) == 2
    row, count = results.load_runs("paper", tmp_path).to_dict("records")
    assert (row["value"], row["interval"], row["unit"], count["unit"]) == (0.5, 0.01, "share", "count")
    assert (row["epochs"], row["minutes"], row["device"], row["seed"]) == (7, 1.5, "GPU X", 3)
    assert (row["dataset"], row["split"], row["selection"]) == ("embedded", "val", "val")
    assert row["commit"].startswith("abc / ")
    assert row["command"] == "python -m paper.evaluate 'my runs/last.pt' --record"
    again = results.record("paper", figures, checkpoint=checkpoint, path=path, root=tmp_path, **FACTS)
    assert again == 0  # the same measurement of the same file is not written twice


def test_a_baseline_has_no_checkpoint(tmp_path):
    results.record("paper", {"recall@1": Figure(0.5)}, root=tmp_path, **FACTS)
    (row,) = results.load_runs("paper", tmp_path).to_dict("records")
    assert (row["checkpoint"], row["epochs"], row["minutes"]) == ("none", 0, 0)


def test_a_checkpoint_needs_its_path(tmp_path):
    with pytest.raises(ValueError, match="with its path"):
        results.record("paper", {}, checkpoint={}, root=tmp_path, **FACTS)


def test_figures_are_shown_with_interval_and_unit(capsys):
    results.show_figures(
        {"a": Figure(0.25, 0.01), "long name": Figure(3.0, unit="ms"), "n": Figure(1234, unit="count")}
    )
    assert capsys.readouterr().out.splitlines() == [
        "a          0.2500 ± 0.0100",
        "long name  3.0000 ms",
        "n          1,234",
    ]
