"""One HTML file from the pages of all papers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.files import write_atomically
from common.report import page
from common.report.page import PaperPage, paper_page
from common.report.prose import sentence
from common.results import tables
from common.results.render import Page, papers_on_disk


def write(out: Path = Path("results/index.html")) -> tuple[int, int]:
    """Write the report on every paper in the current folder; (bytes, of them pictures).

    Raises ValueError when there is no paper here.
    """
    names = papers_on_disk()
    if not names:
        raise ValueError(
            "no paper here (a folder with tables.py and reproduce.md); run it at the repository's root"
        )
    pages = [paper_page(Page(name)) for name in names]
    text = html(pages).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    return len(text), sum(len(picture.source) for one in pages for picture in one.pictures)


def html(pages: Sequence[PaperPage]) -> str:
    """The whole report. Every value is escaped; style and script stand inside, named by their hash."""
    environment = Environment(
        loader=PackageLoader("common.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"sentence": sentence, "kind": page.kind}
    environment.globals |= {
        "tables": tables, "claim_verdicts": page.CLAIM_VERDICTS, "number_verdicts": page.NUMBER_VERDICTS,
    }  # fmt: skip
    inlined = {
        name: files("common.report").joinpath(f"templates/{name}").read_text("utf-8") for name in INLINED
    }
    return environment.get_template("index.html.jinja").render(
        pages=pages,
        inlined={name: Markup(text) for name, text in inlined.items()},
        hashes={name: _policy_hash(text) for name, text in inlined.items()},
    )


INLINED = ("style.css", "early.js", "report.js")


def _policy_hash(text: str) -> str:
    """As a content security policy names the one style or script that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
