"""Frames that scroll sideways: they say so, can be focused, and diagrams begin at what differs."""

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from reports.html.page import render_page
from tests.factories import ALL_NAMES, make_results

NAMES = ("target", *ALL_NAMES[-3:])
OVERFLOWS = "frame => frame.scrollWidth > frame.clientWidth + 2"
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with diagrams, wide tables and narrow ones."""
    path = tmp_path_factory.mktemp("frames") / "report.html"
    results = make_results({name: range(2) for name in NAMES})
    path.write_text(render_page(results), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser: Browser, report: str) -> Iterator[Callable[..., Page]]:
    """Opens the page in a window of some width; what it complains about fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def opened(width: int, **habits: object) -> Page:
        habits = {"viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"} | habits
        page = browser.new_page(**habits)  # type: ignore[arg-type]
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        # Such as a ResizeObserver that runs in circles.
        page.add_init_script("addEventListener('error', event => console.log(event.message))")
        page.goto(report)
        page.evaluate(PAINTED)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


def visible_frames(page: Page) -> list[Locator]:
    return page.locator("main .scroll:visible").all()


def hint(frame: Locator) -> Locator:
    """The element before the frame, if it is its hint."""
    return frame.locator("xpath=preceding-sibling::*[1][contains(@class, 'frame-hint')]")


def check_frames(page: Page) -> int:
    """Frames can be focused and say that they scroll if and only if they do; returns how many do."""
    num_wide = 0
    for frame in visible_frames(page):
        is_wide = bool(frame.evaluate(OVERFLOWS))
        assert (frame.get_attribute("tabindex") == "0") == is_wide
        assert hint(frame).is_visible() == is_wide
        num_wide += is_wide
    return num_wide


def test_only_frames_that_overflow_can_be_focused_and_say_so(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(360)
    assert check_frames(page) == len(visible_frames(page)) > len(NAMES)
    assert "scrolls sideways" in hint(page.locator("#numbers .scroll")).inner_text()
    expect(page.locator(".frame-hint").first).to_have_attribute("aria-hidden", "true")
    # A wider window takes both away, and a narrow one brings them back.
    page.set_viewport_size({"width": 1900, "height": 800})
    page.evaluate(PAINTED)
    assert check_frames(page) < len(visible_frames(page)) / 2
    page.set_viewport_size({"width": 360, "height": 800})
    page.evaluate(PAINTED)
    assert check_frames(page) == len(visible_frames(page))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hint_goes_when_the_frame_has_been_scrolled_and_nothing_moves(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(360)
    frame = page.locator("#numbers .scroll")
    expect(hint(frame)).to_have_text("scrolls sideways →")
    frame.focus()
    top = frame.evaluate("frame => frame.getBoundingClientRect().top")
    page.keyboard.press("ArrowRight")
    expect(hint(frame)).not_to_be_visible()
    assert frame.evaluate("frame => frame.getBoundingClientRect().top") == top
    # Not even a window of another size brings it back.
    page.set_viewport_size({"width": 400, "height": 800})
    page.evaluate(PAINTED)
    expect(hint(frame)).not_to_be_visible()
    assert frame.get_attribute("tabindex") == "0"


def marked_box(frame: Locator) -> Locator:
    return frame.locator(".diagram g:is(.removed, .added, .changed, .moved):not(.shape)").first


def is_in_sight(frame: Locator) -> bool:
    """Whether the first marked box of a frame's diagram stands within the frame."""
    return bool(
        marked_box(frame).evaluate(
            """box => {
                const inner = box.getBoundingClientRect();
                const outer = box.closest(".scroll").getBoundingClientRect();
                return inner.left >= outer.left && inner.right <= outer.right;
            }"""
        )
    )


def test_diagrams_begin_at_what_differs(open_page: Callable[..., Page]) -> None:
    page = open_page(360)
    target, *others = page.locator(".diagram-frame .scroll").all()
    assert marked_box(target).count() == 0
    assert target.evaluate("frame => frame.scrollLeft") == 0
    assert all(is_in_sight(frame) for frame in others)
    moved = [frame for frame in others if frame.evaluate("frame => frame.scrollLeft") > 0]
    assert moved
    for frame in moved:
        # It has moved by itself, which is no reason to say no more that it can be.
        expect(hint(frame)).to_be_visible()
        assert "←" in hint(frame).inner_text()
    moved[0].evaluate("frame => { frame.scrollLeft = 0 }")
    expect(hint(moved[0])).not_to_be_visible()
    # Where the reader has scrolled to, it stays.
    page.set_viewport_size({"width": 420, "height": 800})
    page.evaluate(PAINTED)
    assert moved[0].evaluate("frame => frame.scrollLeft") == 0


def test_figures_begin_at_their_zero_line(open_page: Callable[..., Page]) -> None:
    page = open_page(390)
    frame = page.locator("#differences .scroll").first
    assert frame.evaluate(OVERFLOWS)
    is_shown = """frame => {
        const inner = frame.querySelector(".plot .zero").getBoundingClientRect();
        const outer = frame.getBoundingClientRect();
        return outer.left < inner.left && inner.right < outer.right;
    }"""
    assert frame.evaluate(is_shown)
    frame.evaluate("frame => { frame.scrollLeft = 0 }")
    assert not frame.evaluate(is_shown)


def test_frames_in_closed_parts_are_ready_when_these_open(open_page: Callable[..., Page]) -> None:
    page = open_page(360)
    details = page.locator("details:has(> .scroll)").first
    frame = details.locator("> .scroll")
    expect(frame).not_to_be_visible()
    heights = details.evaluate(
        """async details => {
            const heights = [];
            // After each frame was painted: two of them end before the third begins.
            const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            details.open = true;
            for (let i = 0; i < 5; i++) {
                await painted();
                heights.push(details.getBoundingClientRect().height);
            }
            return heights;
        }"""
    )
    assert frame.evaluate(OVERFLOWS)
    expect(hint(frame)).to_be_visible()
    assert len(set(heights)) == 1


def test_without_a_script_every_frame_can_be_focused(browser: Browser, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    frames = page.locator("main .scroll")
    assert frames.count() == page.locator("main .scroll[tabindex='0']").count() > 0
    expect(page.locator(".frame-hint")).to_have_count(0)
    context.close()


def test_paper_has_no_hint(open_page: Callable[..., Page]) -> None:
    page = open_page(360)
    num_hints = page.locator(".frame-hint:visible").count()
    assert num_hints > 0
    page.emulate_media(media="print")
    page.evaluate(PAINTED)
    expect(page.locator(".frame-hint:visible")).to_have_count(0)
    page.emulate_media(media="screen")
    page.evaluate(PAINTED)
    assert check_frames(page) == num_hints


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_frames_are_accessible(open_page: Callable[..., Page], scheme: str) -> None:
    page = open_page(360, color_scheme=scheme)
    results = Axe().run(page, context={"include": [["#numbers"], ["#entries"]]})
    assert results.response["violations"] == [], results.generate_report()
