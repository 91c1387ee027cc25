"""The built site in a browser: ``make test-site`` builds it and names its folder in ``SITE``."""

import os
from pathlib import Path

import pytest

from tests import browser as checks

SITE = Path(os.environ.get("SITE", ""))
ALL = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html")) if "SITE" in os.environ else []
# One of each sort: home, tutorial, theorems, reference.
PAGES = (
    "index.html",
    "tutorials/student.html",
    "_generated/theorems-fednpg.html",
    "_generated/reference-solvers.html",
)
SCROLLS = f"{checks.SCROLLS}, .math, .table-wrapper, .genindextable, .domainindex-table"
DRAWERS = ".sidebar-drawer, .toc-drawer"

pytestmark = [
    checks.needs_chromium,
    pytest.mark.skipif(not ALL, reason="no site: SITE names the folder of a built one, see make test-site"),
]


@pytest.fixture(scope="module")
def browser():
    with checks.chromium() as chromium:
        yield chromium


@pytest.mark.parametrize("size", checks.SIZES)
@pytest.mark.parametrize("name", ALL)
def test_a_page_opens_without_complaint_and_fits(browser, name, size):
    with checks.opened(browser, SITE / name, size) as (page, said):
        assert said == []
        checks.fits(page, SCROLLS, DRAWERS)


@pytest.mark.parametrize("scheme", checks.SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out(browser, name, scheme):
    with checks.opened(browser, SITE / name, "desktop", scheme) as (page, said):
        assert said == []
        checks.stands_out(page)


@pytest.mark.parametrize("size", checks.SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_headings_keys_and_links(browser, name, size):
    with checks.opened(browser, SITE / name, size) as (page, _):
        checks.reads_in_order(page)
        checks.leads_somewhere(page)
        checks.keys_follow(page)


def test_dark_is_dark(browser):
    ground = "getComputedStyle(document.body).backgroundColor"
    shades = []
    for scheme in checks.SCHEMES:
        with checks.opened(browser, SITE / "index.html", "desktop", scheme) as (page, _):
            shades.append(checks.luminance(page.evaluate(ground)))
    assert shades[0] > 0.8 > 0.2 > shades[1]
