"""What stands in the file: the CSVs' numbers, every value as text, nothing from outside."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.report import prose, write
from common.report.intervals import HALF, marks
from common.report.pictures import picture, pictures
from common.report.site import html
from common.results import load_runs
from common.results.published import COLUMNS
from common.results.rows import only

from .conftest import CLAIMS, HOSTILE, comparison, parse

REPOSITORY = Path(__file__).parents[3]


def one(nodes):
    assert len(nodes) == 1, [n.text for n in nodes]
    return nodes[0]


def body(table):
    """Cells of each line, the text of each."""
    return [[c.text for c in row.children if not isinstance(c, str)] for row in table.find("tr")[1:]]


def test_means_of_a_mini_table_are_those_of_the_csv(report, monkeypatch):
    monkeypatch.chdir(report.folder)
    runs = only(load_runs("toy"), dataset="omniglot")
    table = one(one(report.tree.find(id="toy.mini.tricks")).find("table", class_="numbers"))
    lines = body(table)
    assert [line[0] for line in lines] == ["pixels", f"SM {HOSTILE}", "never run"]
    assert [line[1:5] for line in lines] == [
        ["32.0 ± 1.0", "·", "3", "2.0"],
        ["85.0 ± 1.0", "92.0 ± 1.0", "3", "2.0"],
        ["·", "·", "0", "≈ 7.5"],
    ]
    exact = [float(data.attributes["value"]) for data in table.find("data")]
    groups = runs.groupby(["overrides", "metric"], sort=False)["value"].mean()
    assert exact == [pytest.approx(value, rel=1e-12) for value in groups]


def test_every_run_of_the_csv_stands_behind_its_table(report, monkeypatch):
    monkeypatch.chdir(report.folder)
    runs = load_runs("toy")
    for place, dataset in (
        ("toy.mini.tricks", "omniglot"),
        ("toy.mini.tricks.embedded", "embedded"),
        ("toy.paper.best", "cub"),
    ):
        shown = one(one(report.tree.find(id=place)).find("table", class_="runs")).find("data")
        wanted = only(runs, dataset=dataset)
        assert sorted(float(d.attributes["value"]) for d in shown) == sorted(wanted["value"])
        for data in shown:
            half = wanted.loc[wanted["value"] == float(data.attributes["value"]), "interval"].iloc[0]
            written = f"{100 * float(data.attributes['value']):.2f}"
            assert data.text == written + ("" if math.isnan(half) else f" ± {100 * half:.2f}")


def test_published_ours_difference_verdict(report):
    table = one(one(report.tree.find(id="toy.paper.best")).find("table", class_="numbers"))
    lines = body(table)
    assert lines[0][:7] == ["MG", "R@1 |u|", "79.2", "76.81", "71.0 ± 1.0", "-8.2", "▼below"]
    assert lines[1][1:6] == ["87.65†", "–", "80.0", "", "–no verdict (published value unchecked)"]
    assert lines[2][0] == "SG"
    overview = one(report.tree.find(id="overview")).find("tr", class_="number")
    assert [[c.text for c in row.children if not isinstance(c, str)][2:] for row in overview] == [
        ["79.2", "71.0 ± 1.0", "-8.2", "▼below"],
        ["87.65†", "80.0", "", "–no verdict (published value unchecked)"],
    ]


def test_runs_on_drawings_stand_apart_without_published_numbers(report):
    sheet = one(report.tree.find(id="toy.mini.tricks.embedded"))
    assert "(embedded set)" in sheet.text
    assert "say nothing about the published ones" in sheet.text
    assert "99.9" not in one(report.tree.find(id="toy.mini.tricks")).text


def test_claims_with_their_evidence(report):
    claim = one(report.tree.find("article", id="toy.C1"))
    assert claim.attributes["data-verdict"] == "contradicted"
    assert "+1.2 [+0.4, +2.0] points" in claim.text
    assert "-2.0 [-3.0, -1.0] points" in claim.text
    assert {a.attributes["href"] for a in claim.find("a")} == {"#toy.mini.tricks"}
    assert one(report.tree.find("article", id="toy.C2")).attributes["data-budget"] == "paper"
    later = one(report.tree.find("article", id="toy.C3"))
    assert later.attributes["data-verdict"] == "not run"
    assert later.find("a") == []  # its table is not in the plan
    rests = one(one(report.tree.find(id="toy.mini.tricks")).find(class_="rests"))
    assert rests.text == "Claims that rest on it: C1 ✗contradicted"
    counts = {
        t.text
        for t in one(report.tree.find("article", class_="paper-line", **{"data-paper": "toy"})).find(
            class_="tally"
        )
    }
    assert counts == {"1 ✗contradicted", "1 …not enough seeds", "1 ·not run"}


def test_tables_without_a_row_of_ours_are_a_short_list(report):
    waiting = one(report.tree.find("details", id="toy.paper.waiting"))
    assert "open" not in waiting.attributes
    assert one([c for c in waiting.children if not isinstance(c, str) and c.name == "summary"]).text == (
        "Waiting budget paper ≈ 3.0 h, one GPU"
    )
    assert "make reproduce-toy BUDGET=paper TABLE=waiting" in waiting.text
    assert "94.81" in waiting.text


def test_the_commands_of_a_row(report):
    table = one(one(report.tree.find(id="toy.mini.tricks")).find("table", class_="numbers"))
    copied = [b.attributes["data-copy"].splitlines() for b in table.find("button")]
    assert copied[0] == [
        f"python -m toy.evaluate pixels omniglot --backbone pixels --seed {seed} --record"
        for seed in range(3)
    ]
    assert len(copied[1]) == 6
    assert copied[1][0] == "python -m toy.train omniglot --config SM --seed 0"
    assert re.fullmatch(
        r"python -m toy\.evaluate runs/toy/omniglot-[0-9a-f]{8}-s0/last\.pt --record", copied[1][1]
    )
    embedded = one(report.tree.find(id="toy.mini.tricks.embedded")).find("button")
    assert any("--data embedded" in b.attributes["data-copy"] for b in embedded)


def test_hostile_text_comes_out_as_text(report):
    text, tree = report.text, report.tree
    assert len(tree.find("script")) == 2
    assert all(img.attributes["src"].startswith("data:image/png;base64,") for img in tree.find("img"))
    everything = [tree, *tree.find()]
    handlers = [n for node in everything for n in node.attributes if n.startswith("on")]
    assert handlers == []
    assert [n for node in everything for n in node.attributes if n == "style"] == []
    addresses = [a.attributes["href"] for a in tree.find("a")]
    assert {a for a in addresses if not a.startswith("#")} == {"https://example.org/a"}
    sheet, claim, best = (one(tree.find(id=f"toy{x}")) for x in (".mini.tricks", ".C1", ".paper.best"))
    assert one(sheet.find("h3")).text == f"Tricks {HOSTILE} budget mini"
    assert HOSTILE in [th.text for th in sheet.find("thead")[0].find("th")]  # a column
    assert f"SM {HOSTILE}" in [th.text for th in sheet.find("th", class_="row-name")]
    assert any(f"on CPU {HOSTILE};" in td.text for td in sheet.find("td", class_="facts"))
    assert one(claim.find("h3")).text == f"✗contradicted C1 Both help {HOSTILE}"
    assert f"page 7 {HOSTILE}" in best.text
    assert (
        one(one(tree.find("section", id="toy")).find("p", class_="headline")).text == f"one holds {HOSTILE}"
    )
    assert "<script>alert" not in text


def test_a_hostile_caption_is_text(report):
    figures = one(report.tree.find(id="toy")).find("figure")
    assert [one(f.find("img")).attributes["alt"] for f in figures] == [f"A curve {HOSTILE}", "gallery x"]
    assert one(figures[0].find("figcaption")).text == f"A curve {HOSTILE}. Seeds are dots."


def test_nothing_from_outside_and_no_path_of_this_machine(report):
    assert re.findall(r"url\(|@import|\bfetch\b|XMLHttp|<link[^>]+href=\"(?!data:,)", report.text) == []
    for node in report.tree.find():
        for name in ("src", "srcset", "data", "poster", "action", "xlink:href"):
            assert node.attributes.get(name, "data:").startswith("data:")
    for path in (str(report.folder), str(Path.home()) + "/", str(Path.cwd()), "/tmp/", "file:"):
        assert path not in report.text


def test_the_policy_allows_exactly_the_styles_and_scripts_inside(report):
    policy = one(report.tree.find("meta", **{"http-equiv": "Content-Security-Policy"})).attributes["content"]
    assert "default-src 'none'" in policy
    inside = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", report.text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in inside]
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == set(hashes)
    assert len(hashes) == 3


def test_places_are_unique_and_links_lead_to_them(report):
    ids = [n.attributes["id"] for n in report.tree.find() if "id" in n.attributes]
    assert len(ids) == len(set(ids))
    links = {a.attributes["href"][1:] for a in report.tree.find("a") if a.attributes["href"].startswith("#")}
    assert links <= set(ids)
    named = {n.attributes["aria-labelledby"] for n in report.tree.find() if "aria-labelledby" in n.attributes}
    assert named <= set(ids)


def test_tables_are_tables(report):
    for table in report.tree.find("table"):
        head = one(table.find("thead"))
        assert all(th.attributes.get("scope") == "col" for th in head.find("th"))
        rows = [r for part in table.find("tbody") for r in part.find("tr")]
        first = [next(c for c in r.children if not isinstance(c, str)) for r in rows]
        assert all(r.find("th") or c.name == "td" for r, c in zip(rows, first))
        assert rows[0].find("th")


def test_a_paper_with_nothing_has_a_page(report):
    page = one(report.tree.find("section", id="void"))
    assert page.text.startswith("Void")
    assert page.find("table") == []
    assert "Nothing measured yet." in one(report.tree.find("article", **{"data-paper": "void"})).text


def test_only_empty_papers_make_a_report(report):
    tree = parse(html([report.pages[1]]))
    assert "no table at budget paper with a published number has been run" in tree.text
    assert "Newest measurement: none" in tree.text


def test_the_command(tmp_path, monkeypatch):
    """Plan and claims are asked for in processes; the file is written whole."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    paper = tmp_path / "toy"
    paper.mkdir()
    (paper / "__init__.py").touch()
    (paper / "tables.py").write_text(
        "print('" + json.dumps({"paper": "toy", "title": "Toy", "tables": [], "presets": {}}) + "')"
    )
    (paper / "claims.py").write_text(f"import json\nprint({json.dumps([comparison(comparison='S - M')])!r})")
    (paper / "reproduce.md").write_text("# Toy (2019): [it holds]\n")
    (tmp_path / "results" / "published").mkdir(parents=True)
    (tmp_path / "results" / "published" / "toy.csv").write_text(",".join(COLUMNS) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "common.report", "--out", "out/report.html"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"out/report\.html: 0\.\d MB, of it 0\.0 MB pictures", done.stdout)
    assert "it holds" in parse((tmp_path / "out" / "report.html").read_text()).text
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["report.html"]


def test_where_there_is_no_paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no paper here .*repository's root"):
        write()


def test_the_opening_of_a_page():
    text = "# A: B (2020): [holds]\n\nPaper: *X*.\n\n## What holds up\n\nIt **does**.\n\n### Part\nno\n"
    found = prose.opening(text + "## Next\nno")
    assert (found.title, found.headline) == ("A: B (2020)", "holds")
    assert found.paper == "<p>Paper: <em>X</em>.</p>\n"
    assert found.findings == "<p>It <strong>does</strong>.</p>\n"
    bare = prose.opening("# Only a title")
    assert (bare.title, bare.headline, bare.paper, bare.findings) == ("Only a title", "", "", "")


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "&#106;avascript:x",
        "file:///etc",
    ],
)
def test_no_link_to_a_script(address):
    assert "href" not in prose.sentence(f"[x]({address}) and <{address}>")


def test_links_to_files_are_text_and_to_the_web_stay():
    assert prose.sentence("[a](../data/a.md) [b](https://b.org)") == 'a <a href="https://b.org">b</a>'
    assert prose.sentence("![x](https://tracker.org/p.png)").count("<img") == 0


def test_the_first_caption_counts():
    found = prose.captions(["![One](a/x.png)\n\n*More of it.*\n![Two](y.png)\n**bold**", "![Other](x.png)"])
    assert [(n, c.text, c.note) for n, c in found.items()] == [
        ("x.png", "One", "More of it."),
        ("y.png", "Two", ""),
    ]


def test_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(ValueError, match=r"a\.png is no PNG"):
        picture(tmp_path / "a.png", None)
    assert pictures(tmp_path / "none", {}) == []


def test_intervals_share_one_scale():
    first, second, third = marks([*CLAIMS[:2], comparison(difference=None, low=None, high=None, n=0)])
    assert third is None
    assert first is not None
    assert second is not None
    scale = HALF / (1.05 * 0.03)
    for mark, claim in ((first, CLAIMS[0]), (second, CLAIMS[1])):
        assert (mark.low, mark.mean, mark.high) == tuple(
            pytest.approx(scale * claim[k], abs=0.05) for k in ("low", "difference", "high")
        )
        assert not mark.cut_low
        assert not mark.cut_high


def test_an_interval_of_two_seeds_does_not_set_the_scale():
    wide = comparison(low=-5.0, high=7.0, n=2)
    narrow, cut = marks([comparison(), wide])
    assert narrow == marks([comparison()])[0]
    assert cut is not None
    assert (cut.low, cut.high, cut.cut_low, cut.cut_high) == (-HALF, HALF, True, True)
    assert marks([comparison(low=math.nan, high=math.nan)]) == [None]
    assert marks([comparison(difference=0.0, low=0.0, high=0.0)])[0] is not None
