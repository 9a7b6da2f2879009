import csv
from pathlib import Path

import pytest

from common.results import find, load_published
from common.results.published import COLUMNS
from common.results.rows import only

ROOT = Path(__file__).parents[3] / "results"
PAPERS = sorted(path.stem for path in (ROOT / "published").glob("*.csv"))

CELLS = dict(
    zip(
        COLUMNS,
        (
            "best/mg",
            "",
            "paper",
            "Table 9",
            "MG",
            "cub",
            "",
            "recall@1",
            "0.792",
            "",
            "share",
            "page 7",
            "yes",
        ),
    )
)


def write(root: Path, *rows: dict[str, str]) -> None:
    (root / "published").mkdir(exist_ok=True)
    with (root / "published" / "toy.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**CELLS, **row} for row in rows)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_published_file_obeys_the_schema(paper):
    frame = load_published(paper, ROOT)
    assert (len(frame) > 0) == (paper != "compare"), "what compares papers has no published number"
    assert frame["source"].str.len().gt(0).all()


@pytest.mark.skipif(
    "cgd_retrieval" not in PAPERS, reason="results/published/cgd_retrieval.csv is not in this checkout"
)
def test_cgd_anchors():
    """The numbers that everything else leans on, as their sources print them."""
    cgd = load_published("cgd_retrieval", ROOT)

    def value(target, dataset, metric, kind):
        cell = find(cgd, target, dataset, metric, kind)
        return cell and (cell.value, cell.verified)

    checkpoint = [
        value("sota-cub-cars/cgd-mg-resnet50", "cub", f"recall@{k}", "authors-code") for k in (1, 2, 4, 8)
    ]
    assert checkpoint == [(0.7681, True), (0.8484, True), (0.9060, True), (0.9433, True)]
    assert value("sota-cub-cars/cgd-best", "cub", "recall@1", "paper") == (0.792, True)
    assert value("sota-cub-cars/cgd-best", "cars", "recall@1", "paper") == (0.948, True)
    assert value("sota-sop-inshop/cgd-best", "sop", "recall@1", "paper") == (0.842, True)
    assert value("sota-sop-inshop/cgd-best", "inshop", "recall@1", "paper") == (0.919, True)
    assert value("sota-cub-cars/cgd-mg-resnet50", "cub", "recall@1", "paper") is None
    assert value("table3/cgd", "cub", "recall@1", "paper") is None


@pytest.mark.skipif(
    "cgd_retrieval" not in PAPERS, reason="results/published/cgd_retrieval.csv is not in this checkout"
)
def test_nobody_elses_number_stands_as_the_papers():
    cgd = load_published("cgd_retrieval", ROOT)
    paper = only(cgd, kind="paper")
    assert len(paper) == 100
    assert not paper["source"].str.contains("leftthomas/CGD README|naver/cgd|OML|Proxy-Anchor").any()
    assert sorted(paper["value"].dropna()) == [0.792, 0.842, 0.919, 0.948]
    assert set(cgd.loc[cgd["source"].str.startswith("naver/cgd README"), "kind"]) == {"authors-code"}
    assert set(cgd.loc[cgd["source"].str.startswith("leftthomas"), "kind"]) == {"peer"}


def test_find_takes_the_kind_it_is_asked_for(tmp_path):
    write(
        tmp_path,
        {"kind": "peer", "value": "0.9"},
        {"kind": "authors-code", "value": "0.7"},
        {"value": ""} | {"verified": "no"},
    )
    frame = load_published("toy", tmp_path)
    assert find(frame, "best/mg", "cub", "recall@1", "paper") is None
    code = find(frame, "best/mg", "cub", "recall@1", "authors-code")
    assert code is not None
    assert code.value == 0.7
    assert find(frame, "best/mg", "cars", "recall@1", "authors-code") is None
    with pytest.raises(ValueError, match="kind 'README'"):
        find(frame, "best/mg", "cub", "recall@1", "README")


def test_two_settings_of_one_cell_are_not_silently_mixed(tmp_path):
    write(tmp_path, {"setting": "cropped"}, {"setting": "uncropped", "value": "0.66"})
    with pytest.raises(ValueError, match="has 2 values of recall@1 on cub"):
        find(load_published("toy", tmp_path), "best/mg", "cub", "recall@1", "paper")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"value": "76.81"}, r"line 2: value 76.81 is no share in \[0, 1\]"),
        ({"value": "76.81", "unit": "%"}, "unit '%'"),
        ({"value": "about 5", "unit": "points"}, "is no plain number"),
        ({"value": ""}, "verified is yes but there is no value"),
        ({"kind": "readme"}, "kind 'readme'"),
        ({"verified": "maybe"}, "verified 'maybe'"),
        ({"target": "T3/CGD"}, "target 'T3/CGD'"),
        ({"metric": "Recall@1"}, "lower case"),
        ({"source": ""}, "source is empty"),
    ],
)
def test_bad_cells_are_named(tmp_path, changed, message):
    write(tmp_path, changed)
    with pytest.raises(ValueError, match=message):
        load_published("toy", tmp_path)


def test_a_target_names_one_row_and_a_cell_stands_once(tmp_path):
    write(tmp_path, {}, {"row": "SG", "metric": "recall@2"})
    with pytest.raises(ValueError, match="line 3: target best/mg already names"):
        load_published("toy", tmp_path)
    write(tmp_path, {}, {"value": "0.5"})
    with pytest.raises(ValueError, match="line 3: the same cell as line 2"):
        load_published("toy", tmp_path)


def test_a_missing_file_says_what_to_write(tmp_path):
    with pytest.raises(FileNotFoundError, match="target,paper_version,kind"):
        load_published("toy", tmp_path)
