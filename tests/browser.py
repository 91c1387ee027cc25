"""What a page must stand in a browser: no complaint, no sideways scrolling, contrast, order for readers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium")

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
SCHEMES = ("light", "dark")
SCROLLS = ".scroll, .formula, .inline, pre"
"""What may be wider than the screen, because it scrolls by itself."""


@contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(browser, path: Path, size="desktop", scheme="light"):
    """The page of a file, and what the browser complained about or asked for elsewhere."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.goto(path.resolve().as_uri())
    yield page, said
    context.close()


def fits(page, scrolls: str = SCROLLS, drawers: str = "dialog") -> None:
    """Nothing sticks out of the screen but the inside of what scrolls by itself, and what slides in.

    Everything that folds is opened first.
    """
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = """([scrolls, drawers]) => {
      const out = (x) => x.getBoundingClientRect().right > innerWidth + 1
      const held = (x) => { const y = x && x.closest(scrolls)
        return y && (!out(y) || held(y.parentElement)) }
      return [...document.querySelectorAll('body *')].filter(x => out(x) && !held(x) && !x.closest(drawers))
        .map(x => x.outerHTML.slice(0, 80)) }"""
    assert page.evaluate(wide, [scrolls, drawers]) == []


def luminance(colour: str) -> float:
    parts = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink: str, ground: str) -> float:
    low, high = sorted([luminance(ink), luminance(ground)])
    return (high + 0.05) / (low + 0.05)


def stands_out(page) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, level AA) for every colour of text on the page's ground."""
    read = """[...document.querySelectorAll('body *')]
      .filter(x => [...x.childNodes].some(y => y.nodeType === 3 && y.data.trim()) && x.checkVisibility({
        visibilityProperty: true, opacityProperty: true}))
      .map(x => { let up = x; while (up && getComputedStyle(up).backgroundColor === 'rgba(0, 0, 0, 0)')
        up = up.parentElement;
        return [getComputedStyle(x).color, getComputedStyle(up || document.body).backgroundColor] })"""
    pairs = {tuple(pair) for pair in page.evaluate(read)}
    assert len(pairs) > 1
    faint = {pair: contrast(*pair) for pair in pairs if contrast(*pair) < 4.5}
    assert not faint


def reads_in_order(page) -> None:
    """One main heading, which comes first, none skipped; images described, tables with heads."""
    names = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(x => x.tagName)")
    levels = [int(name[1]) for name in names]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"
    for image in page.locator("img").all():
        assert image.get_attribute("alt")


def keys_follow(page) -> None:
    """The Tab key visits links and what unfolds in the order in which they stand."""
    # A link that is not shown (a menu that is closed) takes no part.
    shown = """[...document.querySelectorAll('a[href], summary')]
      .filter(x => x.checkVisibility({visibilityProperty: true})).length"""
    count = page.evaluate(shown)
    here = """() => [...document.querySelectorAll('body *')].indexOf(document.activeElement)"""
    places: list[int] = []
    for _ in range(3 * count + 20):
        page.keyboard.press("Tab")
        place = page.evaluate(here)
        if place < 0 or place in places:
            break
        places.append(place)
    assert len(places) >= count
    assert places == sorted(places)


def leads_somewhere(page) -> None:
    """Every link to a file leads to one, and to a place in it."""
    for target in page.evaluate("[...document.querySelectorAll('a[href]')].map(x => x.href)"):
        if not target.startswith("file:"):
            continue
        path, _, anchor = target.removeprefix("file://").partition("#")
        assert Path(path).is_file(), target
        if anchor:
            assert f'id="{anchor}"' in Path(path).read_text(), target
