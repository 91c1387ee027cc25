"""The report and an example in a browser: complaints, width, contrast, reading and key order, formulas."""

import re
import shutil
from itertools import pairwise

import numpy as np
import pytest

from tabular_fedrl.claims import StudyData
from tabular_fedrl.claims.discovery import select
from tabular_fedrl.claims.suite import verify_all
from tabular_fedrl.examples import load
from tabular_fedrl.examples.page import page
from tabular_fedrl.report import save_results, write_report
from tests.commandline import THEOREM

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser test needs Chromium")

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
PAGES = ("index.html", "theorems/tiny.range.html", "theorems/fednpg.l4.html", "example.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "mine.py").write_text(THEOREM)
    theorems = [*select(str(folder / "mine.py")), *select("fednpg.l4")]
    results = verify_all(theorems)
    T = np.array([10, 100, 1000])
    curve = {"T": T, "lhs": 1 / T, "rhs": 2 / T}
    table = {"title": "Far " * 30, "head": ["method"] * 12, "rows": [[0.123456789] * 12]}
    results.studies["tiny.range.curve"] = StudyData(curve, {"caption": "A curve", "tables": [table]})
    results.plots["tiny.range.curve"] = "no such plot"
    save_results(results, theorems, folder / "report")
    write_report(folder / "report")
    # A student's notebook is a page of the same make.
    (folder / "report" / "example.html").write_text(page(load("simplex")))
    return folder / "report"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, report):
    """``opened(name, size, scheme)``: the page, and what the browser complained about or asked for."""
    contexts = []

    def open_(name, size="desktop", scheme="light"):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto((report / name).as_uri())
        return page, said

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_complaint_and_fits(opened, name, size, scheme):
    page, said = opened(name, size, scheme)
    assert said == []
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    # Whatever is wider than the screen is inside something that scrolls.
    wide = """[...document.querySelectorAll('body *')]
      .filter(x => x.getBoundingClientRect().right > innerWidth + 1 && !x.closest('.scroll, .formula, pre'))
      .map(x => x.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []


def luminance(colour):
    parts = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_measure_of_contrast():
    assert (luminance("rgb(255, 255, 255)") + 0.05) / (luminance("rgb(0, 0, 0)") + 0.05) == pytest.approx(21)
    assert (luminance("rgb(255, 255, 255)") + 0.05) / (luminance("rgb(119, 119, 119)") + 0.05) < 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out(opened, name, scheme):
    """Contrast of at least 4.5 to 1 (WCAG 2, level AA) for every colour of text on the page's ground."""
    page, _ = opened(name, scheme=scheme)
    read = """[...document.querySelectorAll('body *')].filter(x => x.innerText && x.innerText.trim())
      .map(x => { let up = x; while (up && getComputedStyle(up).backgroundColor === 'rgba(0, 0, 0, 0)')
        up = up.parentElement;
        return [getComputedStyle(x).color, getComputedStyle(up || document.body).backgroundColor] })"""
    pairs = {tuple(pair) for pair in page.evaluate(read)}
    assert len(pairs) > 2
    for ink, ground in pairs:
        low, high = sorted([luminance(ink), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


@pytest.mark.parametrize("name", PAGES)
def test_what_a_screen_reader_meets(opened, name):
    page, _ = opened(name)
    names = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(x => x.tagName)")
    levels = [int(name[1]) for name in names]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("main").count() == page.locator("footer").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    for image in page.locator("img").all():
        assert image.get_attribute("alt")
    for table in page.locator("table").all():
        assert table.locator("thead th[scope=col]").count() > 1


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_follows_the_page(opened, name):
    """The Tab key visits links and what unfolds in the order in which they stand."""
    page, _ = opened(name)
    count = page.locator("a[href], summary").count()
    places = []
    here = """() => { const x = document.activeElement;
      return [...document.querySelectorAll('body *')].indexOf(x) }"""
    for _ in range(3 * count + 20):
        page.keyboard.press("Tab")
        place = page.evaluate(here)
        if place < 0 or place in places:
            break
        places.append(place)
    assert len(places) >= count
    assert places == sorted(places)


def heights(page, selector):
    measure = "(all) => all.map(x => x.getBoundingClientRect()).map(x => x.width && x.height)"
    return page.locator(selector).evaluate_all(measure)


def test_formulas_are_typeset(opened):
    page, _ = opened("theorems/fednpg.l4.html")
    assert len(heights(page, "math")) > 5
    assert min(heights(page, "math")) > 0
    # A fraction is higher than a letter: the browser lays formulas out and does not print their source.
    assert max(heights(page, "mfrac")) > 1.5 * min(heights(page, "math mi"))
    assert page.locator("annotation").first.bounding_box() is None


def test_links_lead_somewhere(opened, report):
    for name in PAGES:
        page, _ = opened(name)
        for target in page.evaluate("[...document.querySelectorAll('a[href]')].map(x => x.href)"):
            path, _, anchor = target.removeprefix("file://").partition("#")
            assert (report / path).exists()
            if anchor:
                assert f'id="{anchor}"' in (report / path).read_text()
