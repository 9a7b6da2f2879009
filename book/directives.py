"""Sphinx extension: the directives that sources.py describes, and LaTeX to MathML without JavaScript."""

# The tools of the extra `book` need not be there.
# pyright: reportMissingImports=false

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives as option
from docutils.statemachine import StringList
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book import lessons, sources
from common.results.render import Page

log = logging.getLogger(__name__)
page_of = cache(Page)


class Citing(SphinxDirective):
    """A directive of a paper's page; what it cites in vain is an error with page, line and directive."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    @property
    def paper(self) -> str:
        return self.env.docname

    @property
    def argument(self) -> str:
        return self.arguments[0] if self.arguments else ""

    def run(self) -> list[nodes.Node]:
        try:
            return self.nodes()
        except ValueError as error:
            raise self.error(f"{self.name} {self.argument}: {error}") from error

    def nodes(self) -> list[nodes.Node]:
        raise NotImplementedError

    def markdown(self, text: str, into: nodes.Element) -> nodes.Element:
        lines = text.splitlines()
        self.state.nested_parse(
            StringList(lines, source=f"{self.paper}: {self.name}"), self.content_offset, into
        )
        return into

    def body(self, into: nodes.Element) -> nodes.Element:
        self.state.nested_parse(self.content, self.content_offset, into)
        return into


def box(*classes: str) -> nodes.container:
    return nodes.container(classes=list(classes))


class Paper(Citing):
    """Title, reference, reading order and the origin of the equation numbers, from reproduce.md."""

    def nodes(self) -> list[nodes.Node]:
        title, reference = sources.heading(self.paper)
        mark = "† marks them on this page." if sources.UNCHECKED in sources.note(self.paper) else ""
        text = f"{reference}\n\n{sources.note(self.paper)} {mark}\n\nState of the reproduction: {title}."
        return [self.markdown(text, box("paper"))]


class Beside(Citing):
    option_spec: ClassVar[Any] = {
        "code": option.unchanged_required,
        "docstring": option.flag,
        "start": option.unchanged,
        "end": option.unchanged,
    }

    def nodes(self) -> list[nodes.Node]:
        given = {name: value or "" for name, value in self.options.items()}
        shown = sources.cited_code(self.paper, sources.Directive("beside", self.argument, given, self.lineno))
        left, right = box("beside-text"), box("beside-code")
        label = nodes.paragraph(classes=["equation-name"])
        label += nodes.Text(self.argument)
        if sources.UNCHECKED in sources.note(self.paper):
            label += nodes.Text("\N{NO-BREAK SPACE}†")
        left += label
        self.body(left)
        for each in shown:
            where = nodes.paragraph(classes=["code-name"])
            where += nodes.literal("", f"{each.path}:{each.name}")
            where += nodes.Text(f", line {each.line}")
            right += where
            right += nodes.literal_block(each.text, each.text, language="python")
            self.env.note_dependency(str(sources.ROOT / each.path))
        whole = box("beside")
        whole += [left, right]
        return [whole]


class NotShown(Citing):
    def nodes(self) -> list[nodes.Node]:
        equation = sources.known(self.paper, self.argument)
        code = ", ".join(f"`{file}:{name}`" for file, name in equation.code)
        whole = self.markdown(f"**{equation.name}**, {code}: not shown.", box("not-shown"))
        return [self.body(whole)]


class Deviation(Citing):
    def nodes(self) -> list[nodes.Node]:
        whole = box("deviations")
        for name, row in sources.cited_deviations(self.paper, self.argument).items():
            parts = [f"*{heading}:* {cell}" for heading, cell in row.items() if cell not in ("", "-")]
            self.markdown(f"**{name}** {' · '.join(parts)}", whole)
        return [whole]


class Results(Citing):
    def nodes(self) -> list[nodes.Node]:
        table = page_of(self.paper).block(self.argument)
        return [self.markdown(table, box("results", f"results-{self.argument.replace('/', '-')}"))]


class Lesson(Citing):
    def nodes(self) -> list[nodes.Node]:
        printed, figure = lessons.run(self.paper)
        command = f"python -m {self.paper}.lesson"
        text = f"$ {command}\n{printed}"
        whole = box("lesson")
        whole += nodes.literal_block(text, text, language="text")
        place = os.path.relpath(figure, Path(self.env.doc2path(self.paper)).parent)
        image = nodes.image(uri=place, alt=f"What {command} draws")
        image["candidates"] = {}
        whole += image
        return [self.body(whole)]


class Folded(nodes.General, nodes.Element):
    """<details>: closed until the reader opens it."""


class Exercise(Citing):
    def nodes(self) -> list[nodes.Node]:
        return [self.body(box("exercise"))]


class Answer(Citing):
    def nodes(self) -> list[nodes.Node]:
        return [self.body(Folded())]


# --- Math ---------------------------------------------------------------------------------------------------


def mathml(latex: str, *, display: bool, node: nodes.Element) -> str:
    """MathML of a formula; what the converter does not know is a warning, so an error of the build."""
    try:
        found = convert(latex, display="block" if display else "inline")
    except Exception as error:
        log.warning("formula %s: %s", latex, error, location=node)
        return ""
    if "\\" in found:
        log.warning("formula %s: a command that the converter does not know", latex, location=node)
    return found


def visit_inline(self: Any, node: nodes.Element) -> None:
    self.body.append(mathml(node.astext(), display=False, node=node))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.Element) -> None:
    # The place scrolls, not the page, so it can be reached by keyboard as well.
    self.body.append(
        f'<div class="formula" tabindex="0">{mathml(node.astext(), display=True, node=node)}</div>'
    )
    raise nodes.SkipNode


def visit_folded(self: Any, node: Folded) -> None:
    self.body.append("<details><summary>Answer</summary>\n")


def depart_folded(self: Any, node: Folded) -> None:
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(Folded, html=(visit_folded, depart_folded))
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    for name, directive in {
        "paper": Paper, "beside": Beside, "not-shown": NotShown, "deviation": Deviation, "results": Results,
        "lesson": Lesson, "exercise": Exercise, "answer": Answer,
    }.items():  # fmt: skip
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
