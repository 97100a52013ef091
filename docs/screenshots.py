"""Take the picture in the README: the committed reference report in a browser.

Run by `make screenshots`; it needs Chromium, and playwright from the test extra.
"""

import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

DOCS = Path(__file__).resolve().parent
REPORT = DOCS / "reference" / "report.html"
WIDTH, HEIGHT = 1200, 860
STROKES = (
    (
        (0.36, 0.28), (0.60, 0.22), (0.60, 0.36), (0.48, 0.48), (0.60, 0.56), (0.58, 0.74),
        (0.36, 0.80),
    ),
    ((0.36, 0.28), (0.36, 0.42), (0.48, 0.48)),
)  # fmt: skip
"""A digit on which the networks disagree, in shares of the canvas."""


def main() -> None:
    """Write `draw.png` next to this file."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce"
        )
        page.goto(REPORT.as_uri())
        draw(page)
        take(page, "#draw", DOCS / "draw.png")
        chromium.close()


def draw(page: Page) -> None:
    """Draw the digit with the mouse, as a reader would."""
    canvas = page.locator("#draw canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for stroke in STROKES:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=6)
        page.mouse.up()
    expect(page.locator("#draw-status")).to_contain_text("The target predicts")


def take(page: Page, anchor: str, path: Path) -> None:
    """Save what fits the window of a section, in few colours to keep the file small."""
    page.locator(anchor).evaluate("section => section.scrollIntoView(true)")
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
