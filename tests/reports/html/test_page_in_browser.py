"""The whole report in a browser: accessible, at every width, by keyboard, on paper, without a script."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import Results
from tests.reports.html.pages import PAINTED
from tests.reports.html.test_predict import cards, guess

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def resize(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(PAINTED)


def open_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")


@pytest.mark.parametrize(
    ("fragment", "scheme", "width"),
    [
        ("#numbers?sort=difference&show=no", "light", 1300),
        ("#numbers?sort=difference&show=no", "dark", 360),
        # The results are hidden.
        ("#predict", "light", 360),
    ],
)
def test_axe_finds_nothing(
    open_page: Callable[..., Page], report: Path, fragment: str, scheme: str, width: int
) -> None:
    page = open_page(report, fragment, width, color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    for card, chosen in zip(cards(page).all(), ("worse", "hardly", "better"), strict=False):
        guess(card, chosen)
    if fragment != "#predict":
        open_everything(page)
        # With a link to copy.
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject() }")
        page.locator("#numbers-tools .copy").click()
    page.locator(".draw-sample").first.click()
    expect(page.locator("#draw-status")).to_contain_text("The target predicts")
    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()


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
    assert {"A", "BUTTON", "DIV"} <= seen


def test_figures_have_numbers_and_links_lead_to_their_cards(
    open_page: Callable[..., Page], report: Path
) -> None:
    page = open_page(report, "#entry-no-gap")
    top = page.locator("#entry-no-gap").bounding_box()
    assert top is not None and abs(top["y"]) < 100
    without_numbers = "main :is(section, article):has(.wide-plot):not(:has(table))"
    expect(page.locator(without_numbers)).to_have_count(0)


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


def test_paper_has_every_result_and_no_controls(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, "#numbers?show=pool", 360)
    num_hints = page.locator(".frame-hint:visible").count()
    page.emulate_media(media="print")
    page.evaluate(PAINTED)
    expect(page.locator(".frame-hint:visible")).to_have_count(0)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    compared = [row for row in results.rows if row.difference_pct]
    findings = page.locator("article.entry .finding")
    assert findings.count() == findings.locator("visible=true").count() == len(compared)
    expect(
        page.locator("main button:not(th button):visible, input:visible, #draw:visible")
    ).to_have_count(0)
    # The number of shown rows is on paper only if some are hidden.
    expect(page.locator("#numbers-tools .count")).to_be_visible()
    expect(page.locator("#evidence-tools")).not_to_be_visible()
    num_pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert 10 < num_pages < 60
    page.emulate_media(media="screen")
    page.evaluate(PAINTED)
    assert page.locator(".frame-hint:visible").count() == num_hints > 0


def test_page_works_without_a_script(
    open_page: Callable[..., Page], report: Path, results: Results
) -> None:
    page = open_page(report, "#numbers?sort=accuracy", java_script_enabled=False)
    frames = page.locator("main .scroll")
    assert frames.count() == page.locator("main .scroll[tabindex='0']").count() > 0
    expect(page.locator("button:visible, input:visible, .frame-hint")).to_have_count(0)
    expect(page.locator("#draw-needs-script")).to_be_visible()
    expect(page.locator("#draw-live")).to_be_hidden()
    assert page.locator("#numbers tbody tr:visible").count() == len(results.rows)
    card = page.locator("details.predict").first
    card.locator("> summary").click()
    expect(card.locator(".predicted")).to_be_visible()
    expect(card.locator("form")).not_to_be_visible()


def test_errors_in_one_part_leave_the_others_working(
    open_page: Callable[..., Page], report: Path, tmp_path: Path, problems: list[str]
) -> None:
    text = report.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub('id="(live|results)-data">', r"\g<0>broken", text), encoding="utf-8")
    page = open_page(broken, "#numbers?sort=name&order=descending")
    assert len(problems) == 2
    problems.clear()
    expect(page.locator("#downloads")).not_to_be_visible()
    expect(page.locator("#draw-live")).to_be_hidden()
    expect(page.locator("#numbers [aria-sort=descending]")).to_have_count(1)
    expect(page.get_by_role("button", name="Predict first")).to_be_visible()
    # A changed script does not run at all.
    broken.write_text(text.replace('"use strict";', '"use  strict";'), encoding="utf-8")
    page = open_page(broken)
    assert problems and all("Content Security Policy" in problem for problem in problems)
    problems.clear()
    expect(page.locator("#draw-live")).to_be_hidden()


# ---- Frames that scroll sideways


def hint(frame: Locator) -> Locator:
    """The element before the frame, if it is its hint."""
    return frame.locator("xpath=preceding-sibling::*[1][contains(@class, 'frame-hint')]")


def check_frames(page: Page) -> tuple[int, int]:
    """Frames have a focus and a hint if and only if they scroll; returns how many do, and all."""
    frames = page.locator("main .scroll:visible").evaluate_all(
        """frames => frames.map(frame => [
            frame.scrollWidth > frame.clientWidth + 2,
            frame.getAttribute("tabindex") === "0",
            Boolean(frame.previousElementSibling?.matches(".frame-hint:not([hidden], .past)")),
        ])"""
    )
    assert all(is_wide == has_focus == has_hint for is_wide, has_focus, has_hint in frames)
    return sum(is_wide for is_wide, *_ in frames), len(frames)


def test_only_frames_that_overflow_have_a_focus_and_a_hint(
    open_page: Callable[..., Page], report: Path
) -> None:
    page = open_page(report, width=360)
    expect(page.locator(".frame-hint").first).to_have_attribute("aria-hidden", "true")
    num_wide, num_frames = check_frames(page)
    assert num_wide > num_frames / 2
    resize(page, 1900)
    assert check_frames(page)[0] < num_wide
    resize(page, 360)
    assert check_frames(page)[0] == num_wide
    # The hint disappears when the reader scrolls; nothing moves, and it does not return.
    frame = page.locator("#numbers .scroll")
    expect(hint(frame)).to_have_text("scrolls sideways →")
    frame.focus()
    top = frame.evaluate("frame => frame.getBoundingClientRect().top")
    page.keyboard.press("ArrowRight")
    expect(hint(frame)).not_to_be_visible()
    assert frame.evaluate("frame => frame.getBoundingClientRect().top") == top
    resize(page, 400)
    expect(hint(frame)).not_to_be_visible()
    assert frame.get_attribute("tabindex") == "0"


def test_figures_begin_at_zero(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report, width=360)
    is_shown = """frame => {
        const mark = frame.querySelector(".plot .zero");
        const inner = mark.getBoundingClientRect(), outer = frame.getBoundingClientRect();
        return inner.left >= outer.left && inner.right <= outer.right;
    }"""
    frames = page.locator(".scroll").filter(has=page.locator(".plot .zero")).all()
    assert frames and all(frame.evaluate(is_shown) for frame in frames)
    moved = [frame for frame in frames if frame.evaluate("frame => frame.scrollLeft") > 0]
    assert moved
    expect(hint(moved[0])).to_contain_text("←")
    moved[0].evaluate("frame => { frame.scrollLeft = 0 }")
    expect(hint(moved[0])).not_to_be_visible()
    # A new width does not move a frame that the reader has scrolled.
    resize(page, 420)
    assert moved[0].evaluate("frame => frame.scrollLeft") == 0
