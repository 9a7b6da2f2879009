import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.results import append, render
from common.results.published import COLUMNS
from common.results.render import rewrite

REPOSITORY = Path(__file__).parents[3]
PAGE = """# Toy

<!-- table: mini/pairs -->
old
<!-- /table -->

<!-- table: embedded/pairs -->
<!-- /table -->
<!-- table: paper/best -->
<!-- /table -->
<!-- table: claims -->
<!-- /table -->
<!-- table: published -->
<!-- /table -->
<!-- table: peers -->
<!-- /table -->
<!-- table: commands -->
<!-- /table -->
The end.
"""
README = """# All

<!-- table: overview -->
<!-- /table -->

```
<!-- table: how markers look -->
```

<!-- table: toy/mini/pairs -->
<!-- /table -->
"""
COMPARISON = {
    "id": "C1",
    "statement": "Both | help",
    "comparison": "S - M",
    "difference": 0.0123,
    "low": 0.004,
    "high": 0.02,
    "n": 3,
    "unit": "share",
    "verdict": "supported",
    "table": "mini/pairs",
}
CLAIMS = [
    COMPARISON,
    {
        **COMPARISON,
        "comparison": "G - M",
        "difference": -0.02,
        "low": -0.03,
        "high": -0.01,
        "verdict": "contradicted",
    },
    {
        **COMPARISON,
        "id": "C2",
        "statement": "Bits",
        "difference": 2.5,
        "low": None,
        "high": None,
        "n": 1,
        "unit": "bits",
        "verdict": "not enough seeds",
    },
]


@pytest.fixture
def repository(tmp_path, monkeypatch, plan, measurement):
    """A repository with one paper, entered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    paper = tmp_path / "toy"
    paper.mkdir()
    (paper / "__init__.py").touch()
    (paper / "tables.py").write_text(f"print({plan.to_json()!r})")
    (paper / "claims.py").write_text(f"print({json.dumps(CLAIMS)!r})")
    (paper / "reproduce.md").write_text(PAGE)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "results" / "published").mkdir(parents=True)
    facts = [
        "best/mg,,paper,Table 9,MG,cub,cropped,recall@1,0.792,,share,page 7,yes",
        "best/mg,,paper,Table 9,MG,cub,cropped,recall@2,0.8765,,share,from memory,no",
        "other/x,,peer,Peers,X,cub,,recall@1,0.6611,,share,their README,yes",
        "other/y,,peer,Table 9,Y,cub,,recall@1,0.55,,share,from memory,no",
    ]
    (tmp_path / "results" / "published" / "toy.csv").write_text("\n".join([",".join(COLUMNS), *facts]) + "\n")
    append(
        "toy",
        [
            measurement(
                preset="omniglot", dataset=name, overrides={"backbone": "pixels", **data}, seed=s, value=value
            )
            for name, data, value in (("omniglot", {}, 0.7), ("embedded", {"data": "embedded"}, 0.1))
            for s in range(3)
        ],
    )
    return tmp_path


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "common.results", *words], capture_output=True, text=True)


def block(path: Path, name: str) -> str:
    return path.read_text().split(f"<!-- table: {name} -->\n")[1].split("\n<!-- /table -->")[0]


def test_round_trip(repository):
    before = Path("README.md").read_text(), Path("toy/reproduce.md").read_text()
    stale = render(check=True)
    assert stale[0] == "README.md: overview"
    assert len(stale) == 9
    assert (
        Path("README.md").read_text(),
        Path("toy/reproduce.md").read_text(),
    ) == before  # check changes nothing
    assert render() == stale
    assert render(check=True) == render() == []
    page = Path("toy/reproduce.md").read_text()
    assert page.startswith("# Toy\n\n<!-- table: mini/pairs -->\n**Pairs**\n")
    assert page.endswith("<!-- /table -->\nThe end.\n")
    assert "<!-- table: how markers look -->\n```" in Path("README.md").read_text()
    assert block(Path("README.md"), "toy/mini/pairs") == block(Path("toy/reproduce.md"), "mini/pairs")


def test_check_names_file_and_marker(repository):
    render()
    assert command("render", "--check").returncode == 0
    page = Path("toy/reproduce.md")
    page.write_text(page.read_text().replace("70.0 ± 0.0", "99.9 ± 0.0"))
    edited = page.read_text()
    done = command("render", "--check")
    assert done.returncode == 1
    assert done.stderr == "toy/reproduce.md: mini/pairs differs from results/; run make tables\n"
    assert page.read_text() == edited


def test_embedded_rows_render_only_where_they_are_asked_for(repository):
    render()
    page = Path("toy/reproduce.md")
    assert "10.0" in block(page, "embedded/pairs")
    assert all("10.0 ± 0.0" not in block(page, name) for name in ("mini/pairs", "paper/best", "claims"))
    assert "10.0 ± 0.0" not in Path("README.md").read_text()


def test_published_holds_the_papers_checked_cells_only(repository):
    render()
    text = block(Path("toy/reproduce.md"), "published")
    assert "recall@1 79.2 %" in text
    assert "page 7" in text
    assert "87.65" not in text
    assert "66.11" not in text


def test_peers_hold_others_numbers_with_a_mark_on_unchecked_ones(repository):
    render()
    text = block(Path("toy/reproduce.md"), "peers")
    assert "recall@1 66.11 %" in text
    assert "recall@1 55.0† %" in text
    assert "79.2" not in text


def test_claims_and_overview(repository):
    render()
    text = block(Path("toy/reproduce.md"), "claims")
    assert "+1.2 [+0.4, +2.0] points" in text
    assert "-2.0 [-3.0, -1.0] points" in text
    assert "+2.5 bits" in text
    assert "Both \\| help" in text
    assert text.count("**contradicted**") == 1  # the claim as a whole
    overview = block(Path("README.md"), "overview").splitlines()[2]
    cells = [c.strip() for c in overview.strip("|").split("|")]
    assert cells == ["Toy (2019)", "0 of 1", "0 of 1", "0", "1", "0", "1", "[reproduce.md](toy/reproduce.md)"]


def test_commands_name_the_cost(repository):
    render()
    text = block(Path("toy/reproduce.md"), "commands")
    assert "| `make reproduce-toy TABLE=pairs` " in text
    assert "5.4 min, one core" in text  # (0.2 + 1.6) minutes, three seeds
    assert "| `make reproduce-toy BUDGET=paper TABLE=best` " in text
    assert "36 min, one GPU" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<!-- table: mini/nothing -->\n<!-- /table -->\n",
            r"line 1, marker mini/nothing: no such table; choose from claims",
        ),
        ("\n<!-- table: claims -->\nno end\n", "line 2: marker claims is not closed"),
        ("<!-- table: claims -->\n<!-- table: claims -->\n<!-- /table -->", "not closed before the next"),
        ("<!-- /table -->\n", "line 1: <!-- /table --> without"),
    ],
)
def test_bad_markers_are_named_and_no_file_is_touched(repository, text, message):
    Path("toy/reproduce.md").write_text(text)
    with pytest.raises(ValueError, match=rf"toy/reproduce\.md, {message}" if "line" in message else message):
        render()
    assert Path("README.md").read_text() == README


def test_bad_input_is_one_sentence_and_exit_status_2(repository):
    Path("toy/reproduce.md").write_text("<!-- table: claims -->\n")
    done = command("render")
    assert done.returncode == 2
    assert (
        done.stderr == "error: toy/reproduce.md, line 1: marker claims is not closed; add <!-- /table -->\n"
    )


def test_an_unknown_paper_is_named(repository):
    with pytest.raises(ValueError, match=r"no paper cgd here .* known: toy"):
        render(["cgd"])


def test_a_failing_claims_module_says_so(repository):
    Path("toy/claims.py").write_text("raise SystemExit('no rows of preset x')")
    with pytest.raises(ValueError, match=r"toy\.claims` failed: no rows of preset x"):
        render()


def test_show(repository):
    done = command("show", "toy", "mini/pairs", "--embedded")
    assert "10.0 ± 0.0" in done.stdout
    assert "70.0" not in done.stdout
    done = command("show", "toy", "mini/none")
    assert (done.returncode, done.stderr) == (
        2,
        "error: toy has no table mini/none; choose one of: mini/pairs, paper/best\n",
    )


def test_the_longest_fence_wins(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("````\n```\n<!-- table: a -->\n````\n<!-- table: b -->\n<!-- /table -->\n")
    assert rewrite(page, lambda name: f"[{name}]") == (
        "````\n```\n<!-- table: a -->\n````\n<!-- table: b -->\n[b]\n<!-- /table -->\n",
        ["b"],
    )


@pytest.mark.skipif(not (REPOSITORY / "README.md").exists(), reason="there is no README.md yet")
def test_this_repository_is_rendered(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert render(check=True) == []
