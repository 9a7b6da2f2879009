from pathlib import Path

import pandas as pd
import pytest

from common.results import append, load_published, load_runs, table_text, terminal_table
from common.results.published import COLUMNS
from common.results.tables import duration, grid, percent

MINI, PAPER = 0, 1
HEADER = ",".join(COLUMNS)


def published(root: Path, *lines: str) -> pd.DataFrame:
    """lines: kind, value, verified[, metric]."""
    (root / "published").mkdir(exist_ok=True)
    rows = []
    for line in lines:
        kind, value, verified, *metric = line.split(",")
        rows.append(
            f"best/mg,,{kind},Table 9,MG,cub,,{(metric or ['recall@1'])[0]},{value},,share,page 7,{verified}"
        )
    (root / "published" / "toy.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return load_published("toy", root)


def lines(text: str) -> dict[str, list[str]]:
    """First cell -> the other cells, of each line of a Markdown table without escaped pipes."""
    rows = [
        [c.strip() for c in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows}


def test_mean_and_standard_deviation_in_percent(tmp_path, measurement, plan):
    append(
        "toy",
        [
            measurement(
                preset="omniglot",
                dataset="omniglot",
                overrides={"backbone": "pixels"},
                seed=s,
                value=v,
                minutes=m,
            )
            for s, v, m in ((0, 0.70, 1.0), (1, 0.72, 9.0), (2, 0.74, 2.04))
        ],
        tmp_path,
    )
    text = table_text(plan, plan.tables[MINI], load_runs("toy", tmp_path), published(tmp_path))
    assert "**Pairs**" in text
    assert lines(text)["omniglot, test"] == ["R@1", "R@2", "seeds", "min / seed"]
    assert lines(text)["pixels"] == ["72.0 ± 2.0", "·", "3", "2.0"]


def test_one_seed_has_no_deviation_and_no_run_has_an_estimate(tmp_path, measurement, plan):
    row = measurement(preset="omniglot", dataset="omniglot", overrides={"backbone": "pixels"}, value=0.7)
    append("toy", [row], tmp_path)
    text = table_text(plan, plan.tables[MINI], load_runs("toy", tmp_path), published(tmp_path))
    assert lines(text)["pixels"] == ["70.0", "·", "1", "12.0"]
    assert "| S \\| &lt;M&gt; " in text
    assert "≈ 1.6" in text
    assert "not run" in text


def test_a_row_is_found_whatever_the_spelling_of_its_overrides(tmp_path, measurement, plan):
    append(
        "toy",
        [
            measurement(
                preset="omniglot", dataset="omniglot", overrides={"tau": 1, "config": "SM"}, value=0.61
            ),
            measurement(
                preset="omniglot", dataset="omniglot", overrides={"tau": 2, "config": "SM"}, value=0.99
            ),
            measurement(
                preset="omniglot",
                dataset="omniglot",
                overrides={"tau": 1, "config": "SM"},
                value=0.98,
                split="val",
            ),
            measurement(preset="other", dataset="omniglot", overrides={"tau": 1, "config": "SM"}, value=0.97),
        ],
        tmp_path,
    )
    text = table_text(plan, plan.tables[MINI], load_runs("toy", tmp_path), published(tmp_path))
    assert "61.0" in text
    assert not any(stray in text for stray in ("99.0", "98.0", "97.0"))


def test_one_configuration_under_two_targets_counts_once(tmp_path, measurement, plan):
    old = measurement(preset="omniglot", dataset="omniglot", overrides={"backbone": "pixels"}, value=0.1)
    append("toy", [old, {**old, "target": "t/r", "value": 0.7, "date": "2025-02-01T00:00:00Z"}], tmp_path)
    text = table_text(plan, plan.tables[MINI], load_runs("toy", tmp_path), published(tmp_path))
    assert lines(text)["pixels"] == ["70.0", "·", "1", "12.0"]


def three(measurement, centre: float, **changed) -> list[dict]:
    return [measurement(seed=s, value=centre + (s - 1) / 1000, **changed) for s in range(3)]


def test_published_ours_difference_verdict(tmp_path, measurement, plan):
    append("toy", three(measurement, 0.781), tmp_path)
    text = table_text(
        plan, plan.tables[PAPER], load_runs("toy", tmp_path), published(tmp_path, "paper,0.7921,yes")
    )
    assert lines(text)["cub, test"] == [
        "metric",
        "paper",
        "ours",
        "difference",
        "verdict",
        "seeds",
        "min / seed",
    ]
    assert lines(text)["MG"] == ["R@1", "79.21", "78.1 ± 0.1", "-1.1", "below", "3", "12.0"]


def test_an_unchecked_number_is_marked_and_is_no_target(tmp_path, measurement, plan):
    append("toy", three(measurement, 0.781), tmp_path)
    text = table_text(
        plan, plan.tables[PAPER], load_runs("toy", tmp_path), published(tmp_path, "paper,0.792,no")
    )
    cells = lines(text)["MG"]
    assert cells[:5] == ["R@1", "79.2†", "78.1 ± 0.1", "", "no verdict (published value unchecked)"]
    assert "† not checked against the PDF" in text


def test_peers_and_counts_never_stand_beside_ours(tmp_path, measurement, plan):
    append("toy", three(measurement, 0.781), tmp_path)
    facts = published(tmp_path, "peer,0.6611,yes", "computed,0.6622,yes")
    text = table_text(plan, plan.tables[PAPER], load_runs("toy", tmp_path), facts)
    assert lines(text)["MG"] == ["R@1", "–", "78.1 ± 0.1", "", "", "3", "12.0"]
    assert "66." not in text


def test_the_authors_code_has_a_column_of_its_own(tmp_path, measurement, plan):
    append("toy", three(measurement, 0.781), tmp_path)
    facts = published(tmp_path, "authors-code,0.7810,yes", "authors-code,0.8484,yes,recall@2")
    text = table_text(plan, plan.tables[PAPER], load_runs("toy", tmp_path), facts)
    assert lines(text)["cub, test"][1:3] == ["paper", "authors' code"]
    assert lines(text)["MG"][:6] == ["R@1", "–", "78.1", "78.1 ± 0.1", "0.0", "reproduced (authors' code)"]
    assert lines(text)[""][:4] == ["R@2", "–", "84.84", "·"]
    facts = published(
        tmp_path, "authors-code,0.781,yes", "paper,0.9,yes"
    )  # the paper's own number comes first
    text = table_text(plan, plan.tables[PAPER], load_runs("toy", tmp_path), facts)
    assert lines(text)["MG"][:6] == ["R@1", "90.0", "78.1", "78.1 ± 0.1", "-11.9", "below"]


@pytest.mark.parametrize("named", [True, False], ids=["named in overrides", "the preset's own data"])
@pytest.mark.parametrize("name", ["embedded", "cub-embedded", "omniglot-embedded"])
def test_embedded_rows_stand_alone(tmp_path, measurement, plan, name, named):
    pixels, data = {"backbone": "pixels"}, {"data": name} if named else {}
    rows = [
        *three(measurement, 0.781),
        *three(measurement, 0.111, dataset=name, overrides=data),
        *three(measurement, 0.888, dataset="omniglot", preset="omniglot", overrides=pixels),
        *three(measurement, 0.222, dataset=name, preset="omniglot", overrides=pixels | data),
    ]
    append("toy", rows, tmp_path)
    runs, facts = load_runs("toy", tmp_path), published(tmp_path, "paper,0.7921,yes")
    for table, real, made in ((plan.tables[PAPER], "78.1", "11.1"), (plan.tables[MINI], "88.8", "22.2")):
        beside, alone = table_text(plan, table, runs, facts), table_text(plan, table, runs, facts, "embedded")
        assert real in beside
        assert made not in beside
        assert made in alone
        assert not any(number in alone for number in (real, "79.2"))
        assert "say nothing about the published" in alone
        assert "embedded, test" in alone


def test_another_data_set_does_not_belong_into_a_table(tmp_path, plan):
    with pytest.raises(ValueError, match="about omniglot; runs on cub do not belong"):
        table_text(plan, plan.tables[MINI], load_runs("toy", tmp_path), published(tmp_path), "cub")


def test_the_terminal_gets_plain_text(tmp_path, measurement, plan):
    published(tmp_path)
    append(
        "toy",
        [measurement(preset="omniglot", dataset="omniglot", overrides={"backbone": "pixels"})],
        tmp_path,
    )
    text = terminal_table(plan, plan.tables[MINI], root=tmp_path)
    assert text.startswith("Toy (2019): Pairs\n")
    assert "S | <M>" in text
    assert "50.0" in text
    assert not any(mark in text for mark in ("**", "\\|", "&lt;"))
    assert "50.0" not in terminal_table(plan, plan.tables[MINI], synthetic=True, root=tmp_path)


def test_cells_cannot_break_the_table():
    text = grid(["a|b"], [["<script>x</script>"], ["one\ntwo\\"], ["a & b"]], "l")
    assert text.splitlines()[0].startswith("| a\\|b ")
    assert "&lt;script&gt;" in text
    assert "one two\\\\" in text
    assert "a &amp; b" in text


def test_figures():
    assert [percent(x, signed=True) for x in (0.0123, -0.0004, 0.0004, -0.0123)] == [
        "+1.2",
        "0.0",
        "0.0",
        "-1.2",
    ]
    assert [duration(m) for m in (1.6, 59.4, 99, 100, 2700)] == [
        "1.6 min",
        "59 min",
        "99 min",
        "1.7 h",
        "45.0 h",
    ]
