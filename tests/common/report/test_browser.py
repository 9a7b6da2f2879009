"""The report in headless Chromium; skipped where there is no browser or no Playwright."""

import shutil

import pytest

sync = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def open_page(browser, report):
    """open_page(place, **options of the context) -> page; at the end, nothing was logged or requested."""
    contexts, said = [], []
    address = (report.folder / "results" / "index.html").as_uri()

    def make(place="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("data:", address)) else said.append(r.url))
        page.goto(address + (f"#{place}" if place else ""))
        return page

    yield make
    for context in contexts:
        context.close()
    assert said == []


def shown(page, css):
    return page.eval_on_selector_all(
        css, "all => all.filter(one => one.checkVisibility()).map(one => one.id)"
    )


def test_one_page_at_a_time(open_page):
    page = open_page()
    assert shown(page, ".page") == ["overview"]
    page.click(".top nav a[href='#toy']")
    assert shown(page, ".page") == ["toy"]
    assert page.get_attribute(".top nav a[href='#toy']", "aria-current") == "page"
    page.click("article.claim a[href='#toy.mini.tricks']")
    assert shown(page, ".page") == ["toy"]
    assert page.eval_on_selector("[id='toy.mini.tricks']", "one => one.getBoundingClientRect().top") < 200
    page.go_back()
    page.go_back()
    assert shown(page, ".page") == ["overview"]


def test_a_link_opens_the_table_that_waits(open_page):
    page = open_page("toy.paper.waiting")
    assert page.get_attribute("[id='toy.paper.waiting']", "open") is not None


def test_filters(open_page):
    page = open_page("toy")
    everything = shown(page, "article.claim")
    assert everything == ["toy.C1", "toy.C2", "toy.C3"]
    page.select_option("select[name=verdict]", "contradicted")
    assert shown(page, "article.claim") == ["toy.C1"]
    assert shown(page, ".sheet") == ["toy.mini.tricks"]  # what the claim rests on
    assert page.inner_text("output") == "1 of 3 claims, 1 of 4 tables"
    page.select_option("select[name=verdict]", "below")
    assert shown(page, "article.claim") == []
    assert shown(page, ".sheet") == ["toy.paper.best"]
    rows = page.eval_on_selector_all("[id='toy.paper.best'] tbody.line", "all => all.map(one => one.hidden)")
    assert rows == [False, True]
    page.select_option("select[name=budget]", "mini")
    assert page.is_visible("#toy > .nothing")
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelector('output').textContent.startsWith('3 of 3')")
    assert shown(page, "article.claim") == everything
    page.select_option("select[name=budget]", "paper")
    assert shown(page, ".sheet") == ["toy.paper.best", "toy.paper.waiting"]


def test_filter_by_paper_on_the_overview_only(open_page):
    page = open_page()
    page.select_option("select[name=paper]", "void")
    assert page.eval_on_selector_all("#overview article", "all => all.map(one => one.hidden)") == [
        True,
        False,
    ]
    assert page.is_visible("#overview > .nothing")
    page.click(".top nav a[href='#toy']")
    assert not page.is_visible("select[name=paper]")
    assert len(shown(page, "article.claim")) == 3


def test_a_count_leads_to_its_claims(open_page):
    page = open_page()
    page.click("#overview a[data-pick='contradicted']")
    page.wait_for_function("document.querySelector('output').textContent.startsWith('1 of 3')")
    assert shown(page, "article.claim") == ["toy.C1"]


def test_a_link_into_what_the_filters_hide_shows_it(open_page):
    page = open_page("toy")
    page.select_option("select[name=budget]", "paper")
    page.evaluate("location.hash = 'toy.mini.tricks'")
    page.wait_for_function("!document.getElementById('toy.mini.tricks').hidden")


@pytest.mark.parametrize("place", ["", "toy", "toy.paper.waiting", "void"])
def test_no_horizontal_scroll_on_a_phone(open_page, place):
    page = open_page(place, viewport={"width": 390, "height": 844})
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_copy(open_page):
    page = open_page("toy.mini.tricks", permissions=["clipboard-read", "clipboard-write"])
    button = page.locator("[id='toy.mini.tricks'] table.numbers button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("[...document.querySelectorAll('.copy')].some(one => one.textContent == 'Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == button.get_attribute("data-copy")


def test_dark_and_light(open_page):
    def ground(page):
        red = page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0]
        return "dark" if int(red) < 100 else "light"

    page = open_page(color_scheme="dark")
    assert ground(page) == "dark"
    page.click(".theme")
    assert page.inner_text(".theme") == "Light"
    assert ground(page) == "light"
    page.reload()
    assert ground(page) == "light"  # it is remembered
    assert ground(open_page(color_scheme="light")) == "light"


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const words = [...document.querySelectorAll(".verdict, .remark, a, th, td, summary, code")];
  return Math.min(...words.map((one) => {
    const ink = light(getComputedStyle(one).color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_has_contrast(open_page, scheme):
    assert open_page("toy", color_scheme=scheme).evaluate(CONTRAST) >= 4.5


def test_without_script_and_on_paper(open_page, browser, report):
    still = open_page("toy", java_script_enabled=False)
    assert still.is_visible("#toy")
    assert not still.is_visible("select[name=verdict]")
    assert not still.locator(".copy").first.is_visible()
    page = open_page()
    page.emulate_media(media="print")
    assert shown(page, ".page") == ["overview", "toy", "void"]
    assert not page.is_visible(".top")
