"""The whole report in a browser: accessible, at every width, by keyboard, on paper, without a script."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ablations.analysis.summary import Results
from reports.html.page import render_page
from tests.factories import DIGITS, make_results, make_spec
from tests.reports.html.pages import PAINTED

REFERENCE_REPORT = Path(__file__).resolve().parents[3] / "docs" / "reference" / "report.html"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def resize(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(PAINTED)


def open_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")


@pytest.mark.parametrize(
    ("fragment", "scheme", "width"),
    [("#entry-no-gap", "light", 1300), ("#entry-no-gap", "dark", 360), ("#predict", "light", 360)],
)
def test_axe_finds_nothing(
    open_page: Callable[..., Page], report: Path, fragment: str, scheme: str, width: int
) -> None:
    page = open_page(report, fragment, width, color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    if fragment == "#predict":
        page.get_by_label("lower").check()
        page.get_by_role("button", name="Show the result").click()
    else:
        page.get_by_label("more statistics").check()
        open_everything(page)
    page.locator(".draw-sample").first.click()
    expect(page.locator("#draw-status")).to_contain_text("The target predicts")
    # The package's own function reads the script in the encoding of the locale.
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    results = page.evaluate("values => axe.run({runOnly: {type: 'tag', values}})", WCAG)
    assert results["passes"]
    assert not results["violations"]


def test_everything_fits_every_width(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report, width=320)
    open_everything(page)
    for width in (320, 360, 768, 1600):
        resize(page, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        clipped = page.evaluate(
            """[...document.querySelectorAll('svg text')].filter(text => {
                const inner = text.getBoundingClientRect();
                const outer = text.ownerSVGElement.getBoundingClientRect();
                return inner.left < outer.left - 1 || inner.right > outer.right + 1;
            }).map(text => text.textContent)"""
        )
        assert clipped == []
        small = page.evaluate(
            """[...document.querySelectorAll('button, select, label:has(input), input:not([type=radio], [type=checkbox])')]
            .map(one => [one.outerHTML, one.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.width < 24 || box.height < 24)).map(([text]) => text)"""
        )
        assert small == []
        boxes = page.locator(".diagram ol ol > li")
        outside = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
        assert boxes.evaluate_all(outside) == 0
    assert page.locator("svg text").count() > 100


def test_keyboard_reaches_every_control_and_shows_the_focus(
    open_page: Callable[..., Page], report: Path
) -> None:
    page = open_page(report, width=900)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, has_outline = page.evaluate(
            """(() => { const one = document.activeElement, style = getComputedStyle(one);
            return [one.tagName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2] })()"""
        )
        seen.add(name)
        assert has_outline, name
    assert {"A", "BUTTON", "INPUT"} <= seen


def test_diagrams_mark_differences_by_shape(page: Page) -> None:
    def look(selector: str, name: str) -> str:
        box = page.locator(f".diagram ol ol > {selector}").first
        return box.evaluate(f"element => getComputedStyle(element)['{name}']")

    tiny = "parts => parts.filter(one => parseFloat(getComputedStyle(one).fontSize) < 12).length"
    assert page.locator(".diagram *").evaluate_all(tiny) == 0
    assert look("li.removed", "borderTopStyle") == "dashed"
    assert look("li.removed del", "textDecorationLine") == "line-through"
    assert look("li.added", "borderTopWidth") == "3px"
    assert look("li.changed", "borderTopStyle") == "double"
    assert look("li.kept", "borderTopStyle") == "solid"
    assert look("li.kept", "borderTopWidth") == "1px"


def test_paper_is_a_summary_of_at_most_six_pages(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, "", 360)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for section in ("#answer .lead", "#effects .only-wide", "#data table", "#methods > p"):
        expect(page.locator(f"{section}:visible").first).to_be_visible()
    assert page.locator("#data tbody tr:visible").count() == len(results.rows)
    expect(
        page.locator("#explore, #draw, body > nav, main button:not(th button)").locator(
            "visible=true"
        )
    ).to_have_count(0)
    # Chromium draws no button in a header that it repeats.
    expect(page.locator("#data th > button").first).to_have_css("display", "contents")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 6


def test_page_works_without_a_script(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, java_script_enabled=False)
    expect(page.locator("button:visible")).to_have_count(0)
    expect(page.locator("#draw-needs-script")).to_be_visible()
    expect(page.get_by_text("run in your browser")).to_be_hidden()
    expect(page.locator("#draw-live")).to_be_hidden()
    assert page.locator("#data tbody tr:visible").count() == len(results.rows)
    # Every network is a fold.
    panels = page.locator(".panel")
    assert panels.count() == len(results.rows) + len(results.combinations)
    expect(page.locator(".panel .diagram:visible")).to_have_count(1)
    page.locator("#entry-no-gap > summary").click()
    expect(page.locator("#entry-no-gap .facts")).to_be_visible()


def test_projector_shows_a_section_a_screen(page: Page) -> None:
    size = "parseFloat(getComputedStyle(document.body).fontSize)"
    before = page.evaluate(size)
    page.get_by_role("button", name="Projector").click()
    assert page.evaluate(size) == 1.5 * before
    heights = "sections => sections.map(one => one.offsetHeight)"
    assert min(page.locator("main > section").evaluate_all(heights)) >= 900
    page.locator("#title").click()
    for anchor, key in (
        ("explore", "ArrowRight"),
        ("effects", "ArrowRight"),
        ("explore", "ArrowLeft"),
    ):
        page.keyboard.press(key)
        top = page.locator(f"#{anchor}").evaluate("one => one.getBoundingClientRect().top")
        assert abs(top) < 60, anchor
    # A remote's keys do not skip what is below the screen.
    page.keyboard.press("PageDown")
    top = page.locator("#effects").evaluate("one => one.getBoundingClientRect().top")
    assert top > 60


@pytest.mark.parametrize("width", [360, 1440])
def test_the_reference_report_is_short(open_page: Callable[..., Page], width: int) -> None:
    page = open_page(REFERENCE_REPORT, "", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing opens scrolled, and row names are on screen.
    scrolled = "[...document.querySelectorAll('*')].filter(one => one.scrollLeft > 0).length"
    assert page.evaluate(scrolled) == 0
    if width == 1440:
        num_words = len(page.locator("body").inner_text().split())
        assert 1000 < num_words <= 2500
        assert page.evaluate("document.documentElement.scrollHeight") <= 12 * 900


def test_on_a_phone_names_stand_above_marks_and_every_study_is_on_screen(
    open_page: Callable[..., Page], results: Results, tmp_path: Path
) -> None:
    other = make_results(
        {"target": range(3), "no-gap": range(3)}, spec=make_spec(DIGITS, "scikit-learn digits")
    )
    path = tmp_path / "page.html"
    path.write_text(render_page(results, others=[other]), encoding="utf-8")
    page = open_page(path, width=360)
    expect(page.locator("#effects .of-effects .only-narrow")).to_be_visible()
    expect(page.locator("#effects .only-wide:visible")).to_have_count(0)
    cells = page.locator("#elsewhere td")
    assert cells.count() == 3
    assert cells.evaluate_all("all => all.every(one => one.getBoundingClientRect().right <= 360)")
    expect(cells.last).to_be_visible()
    resize(page, 1300)
    expect(page.locator("#effects .of-effects .only-wide")).to_be_visible()


def test_errors_in_one_part_leave_the_others_working(
    open_page: Callable[..., Page], report: Path, tmp_path: Path, problems: list[str]
) -> None:
    text = report.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace('id="live-data">', 'id="live-data">broken'), encoding="utf-8")
    page = open_page(broken)
    assert len(problems) == 1
    problems.clear()
    expect(page.locator("#draw-live")).to_be_hidden()
    expect(page.locator("#data th button").first).to_be_visible()
    expect(page.get_by_role("link", name="Predict first")).to_be_visible()
    # A changed script does not run at all.
    broken.write_text(text.replace('"use strict";', '"use  strict";'), encoding="utf-8")
    page = open_page(broken)
    assert problems and all("Content Security Policy" in problem for problem in problems)
    problems.clear()
    expect(page.locator("#draw-live")).to_be_hidden()
