"""The report and an example in a browser: complaints, width, contrast, reading and key order, formulas."""

from contextlib import ExitStack

import numpy as np
import pytest

from tabular_fedrl.claims import StudyData
from tabular_fedrl.claims.discovery import select
from tabular_fedrl.claims.suite import verify_all
from tabular_fedrl.examples import load
from tabular_fedrl.examples.page import page
from tabular_fedrl.report import save_results, write_report
from tests import browser as checks
from tests.commandline import THEOREM

pytestmark = checks.needs_chromium

PAGES = ("index.html", "theorems/tiny.range.html", "theorems/fednpg.l4.html", "example.html")
# A formula within a line that is wider than a phone.
WIDE = r":math:`F(\pi) - F(q) = \frac{1}{1-\gamma} \sum_s d(s) \sum_a \pi(a|s) A(s, a) + \sum_s \rho(s)`."


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "mine.py").write_text(THEOREM.replace("**Statement.**", f"{WIDE}\n\n    **Statement.**"))
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
    with checks.chromium() as chromium:
        yield chromium


@pytest.fixture
def opened(browser, report):
    """``opened(name, size, scheme)``: the page, and what the browser complained about or asked for."""
    with ExitStack() as stack:
        yield lambda name, *how: stack.enter_context(checks.opened(browser, report / name, *how))


@pytest.mark.parametrize("scheme", checks.SCHEMES)
@pytest.mark.parametrize("size", checks.SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_complaint_and_fits(opened, name, size, scheme):
    page, said = opened(name, size, scheme)
    assert said == []
    checks.fits(page)


def test_the_measure_of_contrast():
    assert checks.contrast("rgb(255, 255, 255)", "rgb(0, 0, 0)") == pytest.approx(21)
    assert checks.contrast("rgb(255, 255, 255)", "rgb(119, 119, 119)") < 4.5


@pytest.mark.parametrize("scheme", checks.SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out(opened, name, scheme):
    page, _ = opened(name, "desktop", scheme)
    checks.stands_out(page)


@pytest.mark.parametrize("name", PAGES)
def test_what_a_screen_reader_meets(opened, name):
    page, _ = opened(name)
    checks.reads_in_order(page)
    assert page.locator("main").count() == page.locator("footer").count() == 1
    for table in page.locator("table").all():
        assert table.locator("thead th[scope=col]").count() > 1


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_follows_the_page(opened, name):
    page, _ = opened(name)
    checks.keys_follow(page)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(opened, name):
    page, _ = opened(name)
    checks.leads_somewhere(page)


@pytest.mark.parametrize(
    "check, body",
    [
        (checks.fits, "<div style='width: 500px'>x</div>"),
        (checks.fits, "<div style='overflow: hidden'><p class=formula style='width: 500px'>x</p></div>"),
        (checks.stands_out, "<p style='color: #999'>x</p><p>y</p>"),
        (checks.reads_in_order, "<h3>x</h3>"),
        (checks.reads_in_order, "<img src='data:,'>"),
        (checks.keys_follow, "<a href='#' tabindex=2>x</a><a href='#' tabindex=1>y</a>"),
        (checks.leads_somewhere, "<a href='nowhere.html'>x</a>"),
    ],
)
def test_the_checks_see_what_is_wrong(browser, tmp_path, check, body):
    path = tmp_path / "wrong.html"
    path.write_text(f"<!doctype html><html lang=en><title>x</title><body><h1>t</h1>{body}</body></html>")
    with checks.opened(browser, path, "phone") as (page, _), pytest.raises(AssertionError):
        check(page)


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
