"""Results of strangers: what their CSV files hold comes out of Markdown as text, or is not read.

tests/common/report does the same with the HTML report.
"""

import csv
import io
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from common.plan import Column, Plan, Row, Table
from common.results import append, load_runs, published, rows
from common.results.tables import grid, table_text

from .conftest import one_sentence

MEASURED = {
    "target": "best/mg", "preset": "cub", "overrides": {"tau": 0.5}, "dataset": "cub", "split": "test",
    "metric": "recall@1", "value": 0.5, "unit": "share", "interval": None, "seed": 0, "selection": "last",
    "epochs": 15, "minutes": 12.0, "device": "GPU", "peak_memory_mb": 900.0, "commit": "abc",
    "torch": "2.9.0", "command": "python -m toy.evaluate last.pt --record", "checkpoint": "0" * 64,
    "date": "2025-01-01T00:00:00Z",
}  # fmt: skip
SHOWN = (
    *(
        "<script>alert(1)</script>",
        "=cmd()|'/c calc'!A0",
        "a | b",
        "\\|",
        "back\\slash",
        "&lt;b&gt;",
        "<!-- x -->",
    ),
    *('"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "-->", "| --- |", "ü日本", "two  blanks"),
    *(
        "`code`",
        "**bold**",
        "_x_ y_",
        "a_b_c",
        "~~no~~",
        "![p](https://tracker/p.png)",
        "[x](javascript:alert(1))",
    ),
    *("<https://a.org>", "`a | b`", "\\`"),
)


def cells_of(markdown: str) -> list[list[str]]:
    """The text of each cell of the one table that Markdown holds; HTML in it would not be text."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    assert sum(token.type == "table_open" for token in tokens) == 1
    assert all(token.type != "html_block" for token in tokens)
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            children = token.children or []
            assert {child.type for child in children} <= {"text", "text_special"}, token.content
            rows[-1].append("".join(child.content for child in children))
    return rows


def test_cells_come_out_of_markdown_as_text():
    body = [[text, str(i), text] for i, text in enumerate(SHOWN)]
    found = cells_of(grid(["a", "b | c", "<i>"], body, "lrl"))
    assert found[0] == ["a", "b | c", "<i>"]
    for row, expected in zip(found[1:], body, strict=True):
        assert row == [" ".join(cell.split()) for cell in expected]


def test_published_cells_come_out_of_markdown_as_text(tmp_path):
    (tmp_path / "published").mkdir()
    quoted = [text.replace('"', '""') for text in SHOWN]
    lines = [
        f'a/b{i},,paper,"{text}","{text}",cub,"{text}",recall@1,0.5,,share,"{text}",yes'
        for i, text in enumerate(quoted)
    ]
    (tmp_path / "published/toy.csv").write_text("\n".join([",".join(published.COLUMNS), *lines]) + "\n")
    frame = published.load_published("toy", tmp_path)
    names = ("table", "row", "setting", "source")
    body = frame[list(names)].to_numpy().tolist()
    for row, text in zip(cells_of(grid(names, body, "llll"))[1:], SHOWN, strict=True):
        assert row == [" ".join(text.split())] * 4


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[2Jcleared", "\u202eltr", "tab\tbed", "\ud800"])
def test_no_control_character_comes_into_the_tables(text, tmp_path):
    """Neither is it written nor, from a file that somebody else has written with hashes that fit, read."""
    with pytest.raises(ValueError, match="line break or control character"):
        append("toy", [{**MEASURED, "device": text}], tmp_path)
    append("toy", [MEASURED], tmp_path)
    path = tmp_path / "runs/toy.csv"
    header, values = csv.reader(path.read_text().splitlines())
    cells = {**dict(zip(header, values)), "device": text}
    cells["sha256"] = rows.row_hash(cells)
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header, list(cells.values())])
    path.write_bytes(out.getvalue().encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"toy\.csv, (line 2|line 3|after line \d): ") as caught:
        load_runs("toy", tmp_path)
    one_sentence(caught.value, path, "restore the file")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"value": "1e400"}, "value is not as"),
        ({"value": "0.50"}, "value is not as"),
        ({"value": "7"}, "value is not as"),
        ({"seed": "9" * 5000}, "seed is not as"),
        ({"overrides": "[" * 5000}, "target is not as|overrides is not as"),
        ({"overrides": "[1]"}, "overrides is not as"),
        ({"selection": "best-on-test"}, "selection is not as"),
        ({"target": "../../x/y"}, "target is not as"),
    ],
)
def test_a_row_that_append_would_not_write_is_not_read(changed, told, tmp_path):
    """Though its hash fits."""
    append("toy", [MEASURED], tmp_path)
    path = tmp_path / "runs/toy.csv"
    header, values = csv.reader(path.read_text().splitlines())
    cells = {**dict(zip(header, values)), **changed}
    cells["sha256"] = rows.row_hash(cells)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, list(cells.values())])
    with pytest.raises(
        ValueError, match=told.replace("is not as", "is not as `append` writes it|")
    ) as caught:
        load_runs("toy", tmp_path)
    one_sentence(caught.value, path, "restore the file")


def test_remarks_come_out_of_markdown_as_text(tmp_path):
    """The devices of a table's runs stand in a line below it."""
    append("toy", [{**MEASURED, "device": f"GPU {' '.join(SHOWN)}"}], tmp_path)
    table = Table(
        name="t", budget="mini", title="T", dataset="cub", split="test",
        columns=(Column(metric="recall@1", label="R"),),
        rows=(Row(label="r", preset="cub", overrides={"tau": 0.5}),),
    )  # fmt: skip
    plan = Plan(paper="toy", title="Toy", tables=(table,), presets={"cub": {}})
    none = published.load_published("toy", _with_none_published(tmp_path))
    page = table_text(plan, table, load_runs("toy", tmp_path), none)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    last = next(token for token in reversed(tokens) if token.type == "inline")
    kinds = [child.type for child in last.children or ()]
    assert set(kinds) <= {"text", "text_special", "em_open", "em_close"}
    assert kinds.count("em_open") == 1
    shown = "".join(child.content for child in last.children or ())
    assert " ".join(" ".join(SHOWN).split()) in shown


def _with_none_published(root: Path) -> Path:
    (root / "published").mkdir()
    (root / "published/toy.csv").write_text(",".join(published.COLUMNS) + "\n")
    return root
