"""What a paper's reproduce.md says in its first lines, and the captions of its pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_PICTURE = re.compile(
    r"!\[(?P<caption>[^\]]*)\]\((?P<path>[^)\s]+)\)(?:\s*-->)?(?:\n\n\*(?P<note>[^*\n][^*]*)\*(?=\n|$))?"
)
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).disable("image")
"""HTML in the source comes out as text, and so does a link to a script (markdown-it refuses it)."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The first lines of a reproduce.md: `# Title: [headline]`, what the paper is, what holds up."""

    title: str
    headline: str
    """The verdict in the title line, without its brackets."""
    paper: Markup
    findings: Markup


@dataclass(frozen=True, kw_only=True)
class Caption:
    """`![caption](path)`, with the line in italics that may follow it."""

    text: str
    note: str = ""


def opening(page: str) -> Opening:
    """From the text of a reproduce.md. A part that the page does not have is empty."""
    first, _, rest = page.lstrip().partition("\n")
    title, _, headline = first.removeprefix("#").strip().partition(": [")
    paper, *chapters = re.split(r"^## ", rest, flags=re.MULTILINE)
    holds = next((c for c in chapters if c.startswith("What holds up\n")), "\n")
    findings = re.split(r"^(?:<!--\s*table:|#)", holds.partition("\n")[2], flags=re.MULTILINE)[0]
    return Opening(
        title=title,
        headline=headline.removesuffix("]"),
        paper=paragraphs(paper),
        findings=paragraphs(findings),
    )


def captions(pages: Sequence[str]) -> dict[str, Caption]:
    """Name of a picture -> its caption, in the order of first mention; also of pictures in comments, which
    stand there until their runs are made.
    """
    found: dict[str, Caption] = {}
    for page in pages:
        for match in _PICTURE.finditer(page):
            note = " ".join((match["note"] or "").split())
            caption = Caption(text=" ".join(match["caption"].split()), note=note)
            found.setdefault(Path(match["path"]).name, caption)
    return found


def paragraphs(text: str) -> Markup:
    """Markdown as HTML."""
    tokens = _MARKDOWN.parse(_COMMENT.sub("", text))
    return Markup(_MARKDOWN.renderer.render(_without_files(tokens), _MARKDOWN.options, {}))


def sentence(text: str) -> Markup:
    """One line of Markdown as HTML, without a paragraph around it."""
    tokens = _MARKDOWN.parseInline(text)
    return Markup(_MARKDOWN.renderer.render(_without_files(tokens), _MARKDOWN.options, {}))


def _without_files(tokens: list[Token]) -> list[Token]:
    """Links to files of the repository become plain text: the report travels without them."""
    for token in tokens:
        kept: list[bool] = []  # of the links that are open here
        for child in token.children or ():
            if child.type == "link_open":
                kept.append(str(child.attrs.get("href", "")).startswith(("https://", "http://")))
                child.hidden = not kept[-1]
            elif child.type == "link_close":
                child.hidden = not kept.pop()
    return tokens
