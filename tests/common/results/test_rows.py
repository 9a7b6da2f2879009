import csv
import hashlib
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from common.results import append, canonical, has_checkpoint, load_runs, newest
from common.results.rows import COLUMNS


def file(root: Path) -> Path:
    return root / "runs" / "toy.csv"


def test_a_row_comes_back_as_it_was_given(tmp_path, measurement):
    given = measurement(
        value=2 / 3, interval=0.0123456789, overrides={"tau": 0.5, "a": (1, 2.0)}, target="t/r"
    )
    assert append("toy", [given], tmp_path) == 1
    row = load_runs("toy", tmp_path).iloc[0]
    assert row["value"] == 0.666667
    assert row["interval"] == 0.0123457
    assert row["overrides"] == '{"a": [1, 2], "tau": 0.5}'
    assert (row["seed"], row["epochs"], row["target"], row["device"]) == (0, 15, "t/r", "GPU")


def test_whole_numbers_keep_all_digits(tmp_path, measurement):
    append("toy", [measurement(metric="parameters", unit="count", value=26858658.0)], tmp_path)
    assert load_runs("toy", tmp_path)["value"].tolist() == [26858658]


def test_the_hash_is_the_documented_one(tmp_path, measurement):
    append("toy", [measurement()], tmp_path)
    header, cells = csv.reader(file(tmp_path).read_text().splitlines())
    assert tuple(header) == COLUMNS
    assert cells[-1] == hashlib.sha256(json.dumps(cells[:-1]).encode()).hexdigest()


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_an_edited_cell_is_found_and_named(tmp_path, measurement, column):
    append("toy", [measurement(seed=s) for s in range(3)], tmp_path)
    lines = list(csv.reader(file(tmp_path).read_text().splitlines()))
    lines[2][column] += "1"
    with file(tmp_path).open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(lines)
    with pytest.raises(ValueError, match=r"toy\.csv, line 3: the cells do not match.*git checkout"):
        load_runs("toy", tmp_path)
    before = file(tmp_path).read_bytes()
    with pytest.raises(ValueError, match="line 3"):  # nothing is built upon a damaged file
        append("toy", [measurement(seed=9)], tmp_path)
    assert file(tmp_path).read_bytes() == before


def test_a_torn_row_is_found(tmp_path, measurement):
    append("toy", [measurement(seed=s) for s in range(2)], tmp_path)
    file(tmp_path).write_bytes(file(tmp_path).read_bytes()[:-90])
    with pytest.raises(ValueError, match="line 3"):
        load_runs("toy", tmp_path)


def test_no_file_is_no_rows(tmp_path):
    runs = load_runs("toy", tmp_path)
    assert list(runs.columns) == list(COLUMNS)
    assert len(newest(runs)) == 0
    assert not has_checkpoint("toy", "0" * 64, tmp_path)


def test_a_measurement_is_appended_once(tmp_path, measurement):
    rows = [measurement(seed=s, metric=m) for s in range(2) for m in ("recall@1", "recall@2")]
    assert append("toy", rows, tmp_path) == 4
    again = [{**row, "date": "2026-01-01T00:00:00Z"} for row in rows]
    assert append("toy", [*again, measurement(seed=2), measurement(seed=2)], tmp_path) == 1
    assert len(load_runs("toy", tmp_path)) == 5


def test_the_same_checkpoint_with_another_value_is_a_new_row(tmp_path, measurement):
    """A repaired metric must not be swallowed; and going back to the old value is not either."""
    for value in (0.5, 0.6, 0.5):
        assert append("toy", [measurement(value=value)], tmp_path) == 1


def test_has_checkpoint(tmp_path, measurement):
    row = measurement()
    append("toy", [row], tmp_path)
    assert has_checkpoint("toy", row["checkpoint"], tmp_path)
    assert not has_checkpoint("toy", "0" * 64, tmp_path)


def test_newest_goes_by_place_whatever_the_date(tmp_path, measurement):
    dates = ["2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z", "2025-01-01T00:00:00Z"]
    for value, date in zip((0.1, 0.2, 0.3), dates):
        append(
            "toy",
            [measurement(value=value, date=date, checkpoint=hashlib.sha256(date.encode()).hexdigest())],
            tmp_path,
        )
    append("toy", [measurement(value=0.9, overrides={"x": 1})], tmp_path)
    assert newest(load_runs("toy", tmp_path))["value"].tolist() == [0.3, 0.9]


def test_overrides_do_not_depend_on_order_or_on_float_spelling():
    assert canonical({"b": 1.0, "a": True}) == canonical({"a": True, "b": 1}) == '{"a": true, "b": 1}'
    assert canonical({"a": 1.5}) != canonical({"a": 1})
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"selection": "best-on-test"},
            r"row 1 \(recall@1\): selection = 'best-on-test'; use 'last' or 'val'",
        ),
        ({"value": 76.8}, r"value = 76.8 is no share in \[0, 1\]"),
        ({"value": float("nan")}, "value = nan is not finite"),
        ({"value": "high"}, "value = 'high' is no number"),
        ({"seed": 0.5}, "seed = 0.5; give a whole number"),
        ({"seed": -1}, "seed = -1; give 0 or more"),
        ({"overrides": "{}"}, "overrides is str; give a mapping"),
        ({"checkpoint": "last.pt"}, "checkpoint = 'last.pt'; give the sha256"),
        ({"target": "table3"}, "target = 'table3'; give table/row"),
        ({"date": "yesterday"}, "date = 'yesterday'; give UTC"),
        ({"preset": ""}, "preset is empty"),
        ({"command": "a\nb"}, "line break"),
        ({"colour": "red"}, "has unknown colour"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(tmp_path, measurement, changed, message):
    with pytest.raises((ValueError, TypeError), match=message):
        append("toy", [measurement(**changed)], tmp_path)
    assert not file(tmp_path).exists()


def test_one_bad_row_keeps_the_good_ones_out(tmp_path, measurement):
    with pytest.raises(ValueError, match="row 2"):
        append("toy", [measurement(), measurement(value=2)], tmp_path)
    assert not file(tmp_path).exists()


def test_a_missing_column_is_named(tmp_path, measurement):
    row = measurement()
    del row["torch"]
    with pytest.raises(ValueError, match="lacks torch"):
        append("toy", [row], tmp_path)


def test_the_paper_is_a_name_and_no_path(tmp_path, measurement):
    with pytest.raises(ValueError, match="folder"):
        append("../toy", [measurement()], tmp_path)


def _append_many(root: Path, first: int, rows: list[dict]) -> None:
    for i, row in enumerate(rows):
        append("toy", [{**row, "seed": first + i}], root)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_two_processes_lose_nothing(tmp_path, measurement):
    context = multiprocessing.get_context("fork")
    rows = [measurement()] * 50
    workers = [context.Process(target=_append_many, args=(tmp_path, first, rows)) for first in (0, 50)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(load_runs("toy", tmp_path)["seed"]) == list(range(100))
    assert [p.name for p in sorted(file(tmp_path).parent.iterdir())] == [".lock", "toy.csv"]


def _append_and_be_killed(root: Path, row: dict) -> None:
    os.replace = lambda *_: os.kill(
        os.getpid(), signal.SIGKILL
    )  # the draft is complete, the file not yet replaced
    append("toy", [row], root)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_kill_before_the_replacement_leaves_the_old_file(tmp_path, measurement):
    append("toy", [measurement()], tmp_path)
    before = file(tmp_path).read_bytes()
    worker = multiprocessing.get_context("fork").Process(
        target=_append_and_be_killed, args=(tmp_path, measurement(seed=1))
    )
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert file(tmp_path).read_bytes() == before
    assert append("toy", [measurement(seed=1)], tmp_path) == 1  # the dead process holds no lock
    assert load_runs("toy", tmp_path)["seed"].tolist() == [0, 1]
