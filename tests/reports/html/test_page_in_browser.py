"""The whole report in a browser: accessible, at every width, by keyboard, on paper, without a script."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from reports.html.page import render_page
from tests.factories import make_exhibits, make_results, make_timing

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
OVERFLOWS = "frame => frame.scrollWidth > frame.clientWidth + 2"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a factorial, live networks, images, times and divergence."""
    single = ("target", "no-batchnorm", "no-dropout", "no-gap", "no-fc-head", "no-relu")
    combined = ("no-batchnorm+no-dropout", "no-batchnorm+no-gap", "no-dropout+no-gap",
                "no-batchnorm+no-dropout+no-gap")  # fmt: skip
    results = make_results(
        {**{name: range(3) for name in (*single, *combined)}, "no-momentum": [0]},
        timing=make_timing(),
        diverged=["no-momentum"],
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(results, make_exhibits(results.study)), encoding="utf-8")
    return path


@pytest.fixture
def open_report(open_page: Callable[..., Page], report: Path) -> Callable[..., Page]:
    """Opens the report at a width and a fragment."""

    def opened(width: int = 1300, fragment: str = "", **options: object) -> Page:
        viewport = {"width": width, "height": 900}
        page = open_page(report.as_uri() + fragment, viewport=viewport, **options)
        if options.get("java_script_enabled", True):
            page.evaluate(PAINTED)
        return page

    return opened


def resize(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(PAINTED)


def open_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 360)])
def test_axe_finds_nothing(open_report: Callable[..., Page], scheme: str, width: int) -> None:
    page = open_report(width, "#numbers?sort=difference&show=no", color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    open_everything(page)
    # With a link to copy, and with predictions of the networks.
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
    page.locator("#numbers-tools .copy").click()
    page.locator(".draw-sample").first.click()
    expect(page.locator("#draw-status")).to_contain_text("The target predicts")
    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    found = [
        (violation["id"], node["html"][:200])
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]
    assert found == [] and results.response["passes"]


def test_everything_fits_every_width(open_report: Callable[..., Page]) -> None:
    page = open_report(320)
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
    assert page.locator("svg text").count() > 100


def test_keyboard_reaches_every_control_and_shows_the_focus(
    open_report: Callable[..., Page],
) -> None:
    page = open_report(900)
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
    open_report: Callable[..., Page],
) -> None:
    page = open_report(fragment="#entry-no-gap")
    top = page.locator("#entry-no-gap").bounding_box()
    assert top is not None and abs(top["y"]) < 100
    without_numbers = page.evaluate(
        """[...document.querySelectorAll('main .wide-plot')].filter(plot =>
            !(plot.closest('article') || plot.closest('section')).querySelector('table')).length"""
    )
    assert without_numbers == 0


def test_paper_has_every_result_and_no_controls(open_report: Callable[..., Page]) -> None:
    page = open_report(360, "#numbers?show=pool")
    num_hints = page.locator(".frame-hint:visible").count()
    page.emulate_media(media="print")
    page.evaluate(PAINTED)
    expect(page.locator(".frame-hint:visible")).to_have_count(0)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    findings = page.locator("article.entry .finding")
    assert findings.count() == findings.locator("visible=true").count() == 6
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


def test_page_works_without_a_script(open_report: Callable[..., Page]) -> None:
    page = open_report(fragment="#numbers?sort=accuracy", java_script_enabled=False)
    frames = page.locator("main .scroll")
    assert frames.count() == page.locator("main .scroll[tabindex='0']").count() > 0
    expect(page.locator("button:visible, input:visible, .frame-hint")).to_have_count(0)
    expect(page.locator("#draw-needs-script")).to_be_visible()
    expect(page.locator("#draw-live")).to_be_hidden()
    assert page.locator("#numbers tbody tr:visible").count() == 7
    card = page.locator("details.predict").first
    card.locator("> summary").click()
    expect(card.locator(".predicted")).to_be_visible()
    expect(card.locator("form")).not_to_be_visible()


def test_errors_in_one_part_leave_the_others_working(
    open_page: Callable[..., Page], report: Path, tmp_path: Path, problems: list[str]
) -> None:
    text = report.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    for name in ("live-data", "results-data"):
        begin = f'<script type="application/json" id="{name}">'
        assert begin in text
        text = text.replace(begin, f"{begin}broken")
    broken.write_text(text, encoding="utf-8")
    page = open_page(f"{broken.as_uri()}#numbers?sort=name&order=descending")
    assert len(problems) == 2
    problems.clear()
    expect(page.locator("#downloads")).not_to_be_visible()
    expect(page.locator("#draw-live")).to_be_hidden()
    expect(page.locator("#numbers [aria-sort=descending]")).to_have_count(1)
    expect(page.get_by_role("button", name="Predict first")).to_be_visible()
    # A changed script does not run at all.
    broken.write_text(report.read_text(encoding="utf-8").replace('"use strict";', '"use  strict";'))
    page = open_page(broken.as_uri())
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
    open_report: Callable[..., Page],
) -> None:
    page = open_report(360)
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


def test_figures_begin_at_zero(open_report: Callable[..., Page]) -> None:
    page = open_report(360)
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
