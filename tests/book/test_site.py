"""The built site: strict, offline, right in a browser. Skipped without the extra `book` or Chromium."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import shutil
import threading
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest

from book import lessons, sources

PAPERS = ["cgd_retrieval", "hierarchical_multilabel", "hyperbolic_embeddings", "instance_discrimination"]
MISSING = "the reading pages are built with the extra 'book': pip install -e '.[book]'"
WAIT = 120_000  # ms; a busy machine is slow to start a browser


def build(pages: Path, out: Path) -> int:
    from sphinx.cmd.build import build_main

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = ["-b", "html", "-q", "-E", "-W", "--keep-going", "-d", f"{out}.doctrees"]
        return build_main([*options, str(pages), str(out)])


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    for module in ("sphinx", "furo", "myst_parser", "latex2mathml"):
        pytest.importorskip(module, reason=MISSING)
    place = tmp_path_factory.mktemp("book")
    figure = place / "lesson.png"  # the lessons have tests of their own
    shutil.copy(sources.ROOT / "results/figures/cgd_retrieval/combinations.png", figure)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(sources.ROOT):
        patch.setattr(lessons, "run", lambda paper: (f"printed by {paper}\n", figure))
        assert build(sources.PAGES, place / "site") == 0
    return place / "site"


class Loaded(HTMLParser):
    """Addresses of what a browser loads by itself; links to click on are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("img", "script", "iframe", "source", "video", "audio", "embed"):
            self.found += [given.get("src") or "", given.get("srcset") or ""]
        if tag == "link":
            self.found.append(given.get("href") or "")


def test_nothing_is_loaded_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 5
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        for address in parser.found:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
    for sheet in site.rglob("*.css"):
        for address in re.findall(
            r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", sheet.read_text(encoding="utf-8")
        ):
            assert not re.match(r"(https?:)?//", address), f"{sheet.name} loads {address}"


@pytest.mark.parametrize("paper", PAPERS)
def test_code_and_numbers_are_those_of_the_repository(site, paper):
    text = (site / f"{paper}.html").read_text(encoding="utf-8")
    plain = re.sub(r"<[^>]+>", "", text)
    assert f"printed by {paper}" in plain
    for name in sources.equations(paper):
        assert name.replace("`", "") in plain.replace("&amp;", "&"), f"{name} is not on the page"
    assert "<math" in text
    assert not re.search(r"<script[^>]*mathjax", text, re.IGNORECASE)
    assert text.count("<details>") == sum(
        each.name == "answer"
        for each in sources.directives((sources.PAGES / f"{paper}.md").read_text("utf-8"))
    )


def test_a_missing_function_fails_the_build_with_page_and_directive(site, tmp_path, capsys):
    pages = tmp_path / "pages"
    shutil.copytree(sources.PAGES / "_static", pages / "_static")
    shutil.copy(sources.PAGES / "conf.py", pages)
    (pages / "index.md").write_text("# Index\n\n```{toctree}\nhyperbolic_embeddings\n```\n", encoding="utf-8")
    (pages / "hyperbolic_embeddings.md").write_text(
        "# A page\n\n:::{beside} Section 4 projection\n:code: poincare.py:projected\n\ntext\n:::\n\n"
        "$$\\nocommand{x}$$\n",
        encoding="utf-8",
    )
    with contextlib.chdir(sources.ROOT):
        assert build(pages, tmp_path / "site") != 0
    said = capsys.readouterr().err
    assert re.search(r"hyperbolic_embeddings\.md:3: .*beside Section 4 projection: .*has no projected", said)
    assert re.search(r"nocommand", said)


# --- In a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    found = next(
        (shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None
    )
    if found is None:
        pytest.skip("the browser tests need Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=WAIT)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def opened(browser, address):
    """A page of the browser; errors on its console and requests to elsewhere fail the test."""

    @contextlib.contextmanager
    def at(width: int, scheme: str = "light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(WAIT)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith((address, "file:", "data:", "blob:")) else wrong.append(r.url),
        )
        yield page
        page.close()
        assert not wrong, wrong

    return at


@pytest.mark.parametrize("paper", PAPERS)
def test_a_page_opens_and_fits_a_phone(opened, address, paper):
    for width in (390, 1280):
        with opened(width) as page:
            page.goto(f"{address}/{paper}.html")
            measured = page.evaluate(
                "() => ({wide: document.documentElement.scrollWidth,"
                " math: [...document.querySelectorAll('math')].filter(m => !m.closest('details'))"
                ".map(m => m.getBoundingClientRect()).map(b => Math.min(b.width, b.height))})"
            )
            assert measured["wide"] <= width
            assert len(measured["math"]) > 10
            assert min(measured["math"]) > 2


def test_code_stands_beside_the_equation_and_below_it_on_a_phone(opened, address):
    for width, beside in ((1280, True), (390, False)):
        with opened(width) as page:
            page.goto(f"{address}/hyperbolic_embeddings.html")
            text, code = (page.locator(f".beside-{part}").first.bounding_box() for part in ("text", "code"))
            assert (code["x"] > text["x"] + text["width"] - 1) == beside
            assert (code["y"] > text["y"] + text["height"] - 1) != beside


def test_an_answer_is_hidden_until_it_is_asked_for(opened, address):
    with opened(1280) as page:
        page.goto(f"{address}/cgd_retrieval.html")
        answer = page.locator("details").first
        assert not answer.locator("p").first.is_visible()
        answer.locator("summary").click()
        assert answer.locator("p").first.is_visible()


@pytest.mark.parametrize("words", ["Möbius addition", "memory bank"])
def test_search_works_offline(opened, address, site, words):
    page_of = {"Möbius addition": "hyperbolic_embeddings", "memory bank": "instance_discrimination"}[words]
    with opened(1280) as page:
        page.goto(f"{address}/search.html?q={words}")
        found = page.locator("#search-results li a").first
        found.wait_for()
        links = page.locator("#search-results li a").evaluate_all(
            "all => all.map(a => a.getAttribute('href'))"
        )
        assert any(link.startswith(page_of) for link in links)


def test_search_works_from_the_file_system(browser, site):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{(site / 'search.html').as_uri()}?q=Möbius addition")
    page.locator("#search-results li a").first.wait_for()
    assert "hyperbolic_embeddings" in page.locator("#search-results li a").first.get_attribute("href")
    page.close()
