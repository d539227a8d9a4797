"""Pages in a real browser: no errors, quick, by keyboard, light and dark, on a phone, on paper."""

from __future__ import annotations

import base64

import pytest
from browser import CHROMIUM, Browser
from test_html_page import HOSTILE, SHOWN, hostile, page, study

from greenai_core.testing.sample_reports import sample_report

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt install chromium"),
]

SIZE = (1200, 900)
USABLE_S = 1.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def shown(browser, tmp_path):
    """Show a page: ``shown(content) -> browser``."""

    def show(content, scheme="light", size=SIZE):
        file = tmp_path / "page.html"
        file.write_bytes(content)
        browser.size(*size)
        browser.prefer(scheme)
        browser.open(file)
        browser.run("localStorage.removeItem('greenai-theme')")
        browser.open(file)
        return browser

    return show


FOCUSED = "document.activeElement"
TIP = "document.getElementById('tip')"


@pytest.mark.parametrize("kind", SHOWN)
def test_no_kind_of_page_has_errors_or_asks_the_network(shown, kind):
    one = shown(page(sample_report(kind), sample_report(kind, known=False)))
    assert one.complaints() == []
    assert one.run("document.documentElement.dataset.ready") is not None
    assert one.run("document.querySelectorAll('table').length") >= 2


@pytest.mark.parametrize("kind", SHOWN)
def test_hostile_texts_are_text(shown, kind):
    one = shown(page(hostile(sample_report(kind))))
    assert one.complaints() == []
    assert one.run("document.scripts.length") == 1
    assert one.run("document.images.length") == 0
    assert HOSTILE[:20] in one.run("document.body.textContent")


def test_a_study_of_200_cells_is_usable_within_a_second(shown):
    """In time of the processor, parsing, layout and script: other work is no fault of the page."""
    content = page(study(20, tuple("abcde"), batches=(1, 8)))
    assert len(content) < 3_000_000
    one = shown(content)
    took = []
    for _ in range(3):
        before = one.processor_s()
        one.send("Page.reload")
        one.wait_for("Page.loadEventFired")
        one.run("document.body.offsetHeight")
        took.append(one.processor_s() - before)
    assert 0 < min(took) < USABLE_S, took
    assert one.complaints() == []


def test_the_page_is_read_by_keyboard(shown):
    one = shown(page(study(8, ("a", "b"))))
    one.press("Tab")
    assert one.run(f"{FOCUSED}.className") == "skip"
    assert one.run(f"{FOCUSED}.getBoundingClientRect().left") >= 0  # it is seen when focused
    one.press("Enter")
    assert one.run(f"{FOCUSED}.id") == "content"
    for _ in range(60):
        one.press("Tab")
        if one.run(f"{FOCUSED}.matches('.p')"):
            break
    first = one.run(f"{FOCUSED}.getAttribute('aria-label')")
    assert first.startswith("a, 64\n")
    assert one.run(f"{TIP}.hidden") is False
    assert one.run(f"{TIP}.textContent") == first
    one.press("ArrowRight")
    assert one.run(f"{FOCUSED}.getAttribute('aria-label')").startswith("a, 128\n")
    one.press("ArrowDown")
    assert one.run(f"{FOCUSED}.getAttribute('aria-label')").startswith("b, 128\n")
    one.press("Escape")
    assert one.run(f"{TIP}.hidden") is True
    inside = one.run(f"{FOCUSED}.closest('figure').id")
    one.press("Tab")
    assert one.run(f"{FOCUSED}.matches('.p') && {FOCUSED}.closest('figure').id") != inside


def test_everything_that_takes_focus_shows_it(shown):
    one = shown(page(sample_report("study"), sample_report("bench")))
    unseen = []
    for _ in range(80):
        one.press("Tab")
        if one.run(f"{FOCUSED} === document.body"):
            break
        style = one.run(
            f"(() => {{ const s = getComputedStyle({FOCUSED});"
            " return s.outlineStyle !== 'none' || s.filter !== 'none' })()"
        )
        if not style:
            unseen.append(one.run(f"{FOCUSED}.outerHTML.slice(0, 120)"))
    assert unseen == []


def test_series_and_axes_are_switched(shown):
    one = shown(page(study(8, ("a", "b"))))
    figure = "document.getElementById('picture-energy')"
    assert one.run(f"getComputedStyle({figure}.querySelector('[data-series=\"1\"]')).display") != (
        "none"
    )
    one.run(f"{figure}.querySelectorAll('.series')[1].click()")
    assert one.run(f"getComputedStyle({figure}.querySelector('[data-series=\"1\"]')).display") == (
        "none"
    )
    assert one.run(f"{figure}.querySelectorAll('.series')[1].getAttribute('aria-pressed')") == (
        "false"
    )
    one.run(f"{figure}.querySelector('.axes').click()")
    shown_axes = f"{figure}.querySelector('.drawing:not([hidden])').dataset.axes"
    assert one.run(shown_axes) == "log"
    label = f"{figure}.querySelector('[data-axes=log] .p').getAttribute('aria-label')"
    assert one.run(label).startswith("a, 64\n")


def test_long_tables_are_sorted(shown):
    one = shown(page(study(16)))
    table = (
        "[...document.querySelectorAll('table.sortable')]"
        ".find(t => t.tHead.rows[0].cells[1].textContent.startsWith('size'))"
    )
    column = f"[...{table}.tBodies[0].rows].map(r => Number(r.cells[1].textContent))"
    sizes = one.run(column)
    one.run(f"{table}.tHead.rows[0].cells[1].querySelector('button').click()")
    one.run(f"{table}.tHead.rows[0].cells[1].querySelector('button').click()")
    assert one.run(column) == sorted(sizes, reverse=True)
    assert one.run(f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == "descending"


def background(one):
    return one.run("getComputedStyle(document.body).backgroundColor")


def test_colours_follow_the_system_until_told(shown):
    content = page(sample_report("bench"))
    assert background(shown(content, "light")) == "rgb(255, 255, 255)"
    one = shown(content, "dark")
    dark = background(one)
    assert dark != "rgb(255, 255, 255)"
    one.run("document.getElementById('theme').click()")
    assert one.run("document.getElementById('theme').textContent") == "Colours: light"
    assert background(one) == "rgb(255, 255, 255)"
    one.prefer("light")
    one.run("document.getElementById('theme').click()")
    assert background(one) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(shown, scheme):
    """At least 4.5:1 of what is written on the paper, WCAG's level AA."""
    one = shown(page(sample_report("grade"), study(8, tuple("abcdefgh"))), scheme)
    worst = one.run(
        """(() => {
          const light = (c) => { const f = c.match(/[\\d.]+/g).slice(0, 3).map((v) => {
            v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const of = (c) => { const l = light(c);
            return (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05); };
          let worst = [99, ""];
          for (const e of document.querySelectorAll(
              "p:not(.letter), li, td, th, code, a, .tag, .span, summary, svg text, .m:not(.h)")) {
            const s = getComputedStyle(e);
            const ratio = of(e instanceof SVGElement ? s.fill : s.color);
            const need = e.matches(".m") ? 1.5 : 1;
            if (ratio * need < worst[0]) worst = [ratio * need, e.outerHTML.slice(0, 100)];
          }
          return worst; })()"""
    )
    assert worst[0] >= 4.5, worst


@pytest.mark.parametrize("kind", SHOWN)
def test_a_phone_shows_it_without_scrolling_sideways(shown, kind):
    one = shown(page(sample_report(kind), sample_report(kind)), size=(390, 844))
    assert one.run("document.documentElement.scrollWidth") <= 390
    small = one.run(
        "[...document.querySelectorAll('.drawing:not([hidden]) svg')]"
        ".map(s => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)"
    )
    assert all(size >= 9 for size in small), small  # letters that can be read


def test_on_paper_it_is_dark_on_white_and_unfolded(shown):
    one = shown(page(study(8)), "dark")
    one.prefer("dark", "print")
    assert background(one) == "rgb(255, 255, 255)"
    assert one.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    printed = base64.b64decode(one.send("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    # Chromium moves a whole grid to the next page, and leaves its heading alone on the last one.
    assert one.run("getComputedStyle(document.querySelector('.pictures')).display") == "block"
    one.prefer("light", "")


def test_pictures_are_there_without_the_script(shown, browser):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        one = shown(page(study(8)))
        assert one.run("document.documentElement.dataset.ready") is None
        assert one.run("document.querySelectorAll('.drawing:not([hidden]) .p').length") > 10
        assert one.run("document.getElementById('theme').hidden") is True
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
