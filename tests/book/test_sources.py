"""What the pages cite is there, and what is not is found. Needs none of the tools that build the site."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from book import lessons, sources

PAPERS = ["cgd_retrieval", "hierarchical_multilabel", "hyperbolic_embeddings", "instance_discrimination"]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the papers and pages in which a test may plant something wrong."""
    root = Path(sources.ROOT)
    for paper in PAPERS:
        shutil.copytree(root / paper, tmp_path / paper, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("book/pages", "common/metrics", "results/figures"):
        shutil.copytree(root / folder, tmp_path / folder)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "PAGES", tmp_path / "book/pages")
    sources.reproduce.cache_clear()
    yield tmp_path
    sources.reproduce.cache_clear()


def plant(file: Path, right: str, wrong: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong), encoding="utf-8")


def test_every_paper_has_a_page():
    assert sources.papers() == PAPERS


@pytest.mark.parametrize("paper", PAPERS)
def test_everything_that_a_page_cites_is_there(paper):
    assert not sources.check(sources.PAGES / f"{paper}.md")


@pytest.mark.parametrize("paper", PAPERS)
def test_every_function_of_the_equation_map_exists(paper):
    found = sources.equations(paper)
    assert len(found) >= 8
    for equation in found.values():
        assert equation.code
        for file, name in equation.code:
            sources.code(paper, file, name)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_id_of_reproduce_md_is_read_from_the_table(paper):
    lines = "\n".join(sources.section(paper, "Deviations"))
    assert list(sources.deviations(paper)) == re.findall(r"^\| ([A-Z]\d+) \|", lines, re.MULTILINE)


@pytest.mark.parametrize("paper", PAPERS)
def test_names_in_the_table_of_symbols_occur_in_the_code(paper):
    text = (sources.PAGES / f"{paper}.md").read_text(encoding="utf-8")
    table = sources.rows(text.split("## Symbols")[1].split("\n## ")[0].splitlines())
    code = "\n".join(path.read_text(encoding="utf-8") for path in (sources.ROOT / paper).rglob("*.py"))
    names = [name for row in table[1:] for name in re.findall(r"`([^`]+)`", row[3])]
    assert len(names) >= 5
    for name in names:
        for word in re.findall(r"[A-Za-z_]\w*", name):
            assert re.search(rf"\b{word}\b", code), f"{word} of the table of symbols is not in {paper}"


@pytest.mark.parametrize("paper", PAPERS)
def test_a_page_has_exercises_with_answers(paper):
    text = (sources.PAGES / f"{paper}.md").read_text(encoding="utf-8")
    names = [each.name for each in sources.directives(text)]
    assert 4 <= names.count("exercise") <= 8
    assert names.count("answer") == names.count("exercise")
    for one in ("paper", "lesson"):
        assert names.count(one) == 1


# --- What is not there is found -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "right", "wrong", "sentence"),
    [
        ("hyperbolic_embeddings/poincare.py", "def mobius_add(", "def moebius_add(", "has no mobius_add"),
        ("cgd_retrieval/model.py", "def _fuse(", "def _join(", "has no CGD._fuse"),
        ("hyperbolic_embeddings/reproduce.md", "| P1 |", "| P9 |", "no deviation P1"),
        ("hyperbolic_embeddings/reproduce.md", "table: mini/fewshot -", "table: mini/few -", "no table"),
        ("hyperbolic_embeddings/reproduce.md", "| Section 4 projection |", "| Section 4 clip |", "no row of"),
        ("cgd_retrieval/reproduce.md", "| Figure 2", "| Eq. (9) | `model.py:CGD` |\n| Figure 2", "not on"),
        ("instance_discrimination/train.py", "loss + cfg.proximal", "loss + cfg.weight", "0 lines of main"),
        ("book/pages/cgd_retrieval.md", "maps-omniglot.png", "maps.png", "there is no figure"),
        ("book/pages/cgd_retrieval.md", ":code: losses.py:aux", ":code: loss.py:aux", "there is no file"),
        ("book/pages/cgd_retrieval.md", "losses.py:auxiliary_loss", "losses.py:hap2s_loss", "none of"),
    ],
)  # fmt: skip
def test_a_planted_error_is_one_sentence_with_page_and_directive(copy, file, right, wrong, sentence):
    plant(copy / file, right, wrong)
    found = [line for paper in PAPERS for line in sources.check(copy / f"book/pages/{paper}.md")]
    assert any(sentence in line for line in found), found
    for line in found:
        assert re.match(r"\w+\.md(, line \d+, [\w-]+)?: ", line)
        assert "\n" not in line


def test_the_command_names_page_and_directive(copy):
    from book.__main__ import main

    plant(copy / "hierarchical_multilabel/losses.py", "def _worst_pairs(", "def _worst(")
    with pytest.raises(
        ValueError, match=r"hierarchical_multilabel\.md, line \d+, beside: .*has no _worst_pairs"
    ):
        main([])


# --- Cutting code -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "file", "name"),
    [
        ("hyperbolic_embeddings", "poincare.py", "mobius_add"),
        ("cgd_retrieval", "model.py", "CGD._fuse"),
        ("instance_discrimination", "memory.py", "MemoryBank"),
    ],
)
def test_code_is_that_of_the_file(paper, file, name):
    whole = sources.code(paper, file, name, docstring=True)
    lines = (sources.ROOT / whole.path).read_text(encoding="utf-8").splitlines()[whole.line - 1 :]
    indent = len(lines[0]) - len(lines[0].lstrip())
    for shown, there in zip(whole.text.splitlines(), lines):
        assert shown == there[indent:]
    bare = sources.code(paper, file, name)
    assert '"""' not in bare.text
    trees = [ast.parse(text) for text in (whole.text, bare.text)]
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body.pop(0)
    assert ast.dump(trees[0]) == ast.dump(trees[1])


def test_part_of_a_function():
    part = sources.code(
        "instance_discrimination",
        "losses.py",
        "nce_loss_of_scores",
        start="log_p = scores",
        end="log_p = scores",
    )
    assert part.text.startswith("log_p = scores - log_z")
    assert "\n" not in part.text
    with pytest.raises(ValueError, match="lines of softmax_loss"):
        sources.code("instance_discrimination", "losses.py", "softmax_loss", start="v")


def test_directives_in_fenced_code_are_not_read():
    text = "```\n:::{deviation} X1\n:::\n```\n:::{beside} Eq. (1)\n:code: a.py:f, g\n:start: x\n\ntext\n:::"
    assert sources.directives(text) == [
        sources.Directive("beside", "Eq. (1)", {"code": "a.py:f, g", "start": "x"}, 5)
    ]


def test_an_escaped_bar_stays_in_its_cell():
    assert sources.cells(r"| D11 | \|P(i)\| | b |") == ["D11", r"\|P(i)\|", "b"]


def test_a_lesson_runs_again_when_its_code_has_changed(tmp_path, monkeypatch):
    started = []

    def begun(command, **about):
        started.append(command)
        Path(command[-1]).write_bytes(b"drawn")
        return subprocess.CompletedProcess(
            command, 0, stdout=f"told {len(started)}\n{command[-1]}\n", stderr=""
        )

    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(lessons.subprocess, "run", begun)
    for code, told in (("a", "told 1\n"), ("a", "told 1\n"), ("b", "told 2\n")):
        monkeypatch.setattr(lessons, "code_fingerprint", lambda module, code=code: f"{module} {code}")
        assert lessons.run("cgd_retrieval") == (told, tmp_path / "runs/lessons/cgd_retrieval.png")
    assert [command[1:3] for command in started] == [["-m", "cgd_retrieval.lesson"]] * 2
