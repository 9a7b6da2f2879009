"""A small repository whose every text is hostile, its report, and that report as parsed HTML."""

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.plan import Column, Plan, Row, Table
from common.report.page import paper_page
from common.report.site import html
from common.results import append
from common.results.published import COLUMNS
from common.results.render import Page

HOSTILE = """<script>alert('1')</script>"><img src=x onerror=alert(2)> javascript:alert(3)"""
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x08\0\0\0\0\xd1\x49\x29\x74"
    b"\0\0\0\x0aIDATx\x9cc\xf8\xff\x1f\0\x03\0\x01\xff\xa5\x7d\xf0\xc2\0\0\0\0IEND\xaeB`\x82"
)
PAGE = f"""# Toy (2019): [one holds {HOSTILE}]

Paper: *Toys*, [code](https://example.org/a), [data](../data/x.md), [bad](javascript:alert(5)).

## What holds up

**It** does. {HOSTILE}

<!-- table: claims -->
not this
<!-- /table -->

<!-- ![A curve {HOSTILE}](../results/figures/toy/curve.png) -->

*Seeds are `dots`.*
"""
VOID = {"meta", "link", "img", "input", "br", "hr", "col", "line", "circle", "path"}


class Node:
    """An element: name, attributes, children (elements and text)."""

    def __init__(self, name: str, attributes: dict[str, str]):
        self.name, self.attributes = name, attributes
        self.children: list[Node | str] = []

    def find(self, name: str = "", **attributes: str) -> list["Node"]:
        """Descendants with this name and these attributes; class_ is one of the classes."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                has = {**child.attributes, "class_": child.attributes.get("class", "")}
                if name in ("", child.name) and all(
                    v in has.get(k, "").split() if k == "class_" else has.get(k) == v
                    for k, v in attributes.items()
                ):
                    found.append(child)
                found += child.find(name, **attributes)
        return found

    @property
    def text(self) -> str:
        joined = "".join(c if isinstance(c, str) else c.text for c in self.children)
        return " ".join(joined.split())


class Tree(HTMLParser):
    """The document as nodes; fails on an end tag that closes nothing open."""

    def __init__(self, text: str):
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(text)
        assert self.open == [self.root], f"not closed: {[n.name for n in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> inside <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(text: str) -> Node:
    return Tree(text).root


@pytest.fixture(scope="session")
def plan() -> Plan:
    recall = (Column(metric="recall@1", label="R@1 |u|"), Column(metric="recall@2", label=HOSTILE))
    tricks = Table(
        name="tricks", budget="mini", title=f"Tricks {HOSTILE}", dataset="omniglot", split="test",
        columns=recall, note="See `tricks` and [this](javascript:alert(4)).",
        rows=(
            Row(label="pixels", preset="omniglot", overrides={"backbone": "pixels"}, baseline="pixels"),
            Row(label=f"SM {HOSTILE}", preset="omniglot", overrides={"config": "SM"}, minutes=1.6),
            Row(label="never run", preset="omniglot", overrides={"config": "G"}, minutes=7.5),
        ),
    )  # fmt: skip
    best = Table(
        name="best", budget="paper", title="Best", dataset="cub", split="test", columns=recall,
        rows=(
            Row(label="MG", preset="cub", target="best/mg"),
            Row(label="SG", preset="cub", overrides={"config": "SG"}),
        ),
    )  # fmt: skip
    waiting = Table(
        name="waiting", budget="paper", title="Waiting", dataset="cars", split="test", columns=recall[:1],
        rows=(Row(label="A", preset="cub", overrides={"config": "A"}, target="wait/a", minutes=90),),
        seeds=(0, 1),
    )  # fmt: skip
    presets = {"omniglot": {"data": "omniglot"}, "cub": {"data": "cub"}}
    return Plan(paper="toy", title="Toy (2019)", tables=(tricks, best, waiting), presets=presets)


def comparison(**changed: Any) -> dict[str, Any]:
    return {
        "id": "C1", "statement": f"Both help {HOSTILE}", "comparison": f"S - M {HOSTILE}",
        "difference": 0.0123, "low": 0.004, "high": 0.02, "n": 3, "unit": "share", "verdict": "supported",
        "table": "tricks",
    } | changed  # fmt: skip


CLAIMS = [
    comparison(),
    comparison(comparison="G - M", difference=-0.02, low=-0.03, high=-0.01, verdict="contradicted"),
    comparison(id="C2", difference=2.5, low=-900.0, high=900.0, n=2, unit="bits", verdict="not enough seeds",
               statement="Bits", table="paper/best"),
    comparison(id="C3", difference=None, low=None, high=None, n=0, verdict="not enough seeds",
               statement="Later", table="elsewhere"),
]  # fmt: skip


def measurement(**changed: Any) -> dict[str, Any]:
    row = {
        "target": "", "preset": "omniglot", "overrides": {}, "dataset": "omniglot", "split": "test",
        "metric": "recall@1", "value": 0.5, "unit": "share", "interval": None, "seed": 0, "selection": "last",
        "epochs": 3, "minutes": 2.0, "device": f"CPU {HOSTILE}", "peak_memory_mb": 900.0,
        "commit": "a" * 40 + " / " + "b" * 40, "torch": "2.9.0",
        "command": f"python -m toy.evaluate {HOSTILE}", "date": "2025-01-01T00:00:00Z",
    } | changed  # fmt: skip
    mark = repr((row["preset"], row["overrides"], row["seed"], row["dataset"])).encode()
    return {"checkpoint": hashlib.sha256(mark).hexdigest(), **row}


def page_of(plan: Plan, claims: list[dict[str, Any]]) -> Page:
    """The page without the two processes that print plan and claims."""
    page = Page(plan.paper)
    page.__dict__ |= {"plan": plan, "claims": claims}
    return page


@pytest.fixture(scope="session")
def report(tmp_path_factory, plan):
    """(folder, text, tree, pages): the report on a paper with everything and on one with nothing."""
    folder: Path = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "results" / "published").mkdir(parents=True)
        (folder / "results" / "figures" / "toy").mkdir(parents=True)
        for name in ("curve", "gallery-x"):
            (folder / "results" / "figures" / "toy" / f"{name}.png").write_bytes(PNG)
        quoted = HOSTILE.replace('"', '""')
        facts = [
            f'best/mg,,paper,Table 9,MG,cub,cropped,recall@1,0.7920,,share,"page 7 {quoted}",yes',
            "best/mg,,authors-code,Table 9,MG,cub,cropped,recall@1,0.7681,,share,README,yes",
            "best/mg,,paper,Table 9,MG,cub,cropped,recall@2,0.8765,,share,memory,no",
            "wait/a,,paper,Table 8,A,cars,,recall@1,0.9481,,share,page 8,yes",
        ]
        for paper in ("toy", "void"):
            (folder / paper).mkdir()
            lines = [",".join(COLUMNS), *(facts if paper == "toy" else [])]
            (folder / "results" / "published" / f"{paper}.csv").write_text("\n".join(lines) + "\n")
        (folder / "toy" / "reproduce.md").write_text(PAGE)
        (folder / "void" / "reproduce.md").write_text("# Void\n")
        (folder / "README.md").write_text("# All\n")
        arms = (
            ({"backbone": "pixels"}, "recall@1", 0.31, None),
            ({"config": "SM"}, "recall@1", 0.84, 0.0123),
            ({"config": "SM"}, "recall@2", 0.91, None),
        )
        rows = [
            measurement(overrides=o, metric=metric, seed=seed, value=value + seed / 100, interval=half)
            for o, metric, value, half in arms
            for seed in range(3)
        ]
        cub = {"preset": "cub", "dataset": "cub", "target": "best/mg"}
        rows += [measurement(**cub, seed=seed, value=value) for seed, value in enumerate((0.70, 0.71, 0.72))]
        rows.append(measurement(**cub, metric="recall@2", value=0.8))
        drawings = {"config": "SM", "data": "embedded"}
        rows.append(measurement(value=0.999, overrides=drawings, dataset="embedded"))
        append("toy", rows)
        empty = Plan(paper="void", title="Void", tables=(), presets={})
        pages = [paper_page(page_of(plan, json.loads(json.dumps(CLAIMS)))), paper_page(page_of(empty, []))]
        text = html(pages)
        (folder / "results" / "index.html").write_text(text)
    return SimpleNamespace(folder=folder, text=text, tree=parse(text), pages=pages)
