"""Networks in the page: they answer as PyTorch does, and a reader can ask them in any way."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from jinja2 import ChoiceLoader, DictLoader
from playwright.sync_api import Browser, BrowserContext, Page, expect
from safetensors.torch import load, save

from ablations.catalogue.entries import CATALOGUE
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.inspection.gallery import ShownImage
from ablations.training.batches import InputScale, prepare_pixels
from mnist_blocks.network import build_network
from reports.html import page as pages
from reports.html.live import (
    NUM_DISPUTED,
    Live,
    LiveVariant,
    disputed_images,
    live_networks,
    live_samples,
)
from tests.factories import make_exhibits, make_results
from tests.reports.html.test_page import HOSTILE

REPOSITORY = Path(__file__).resolve().parents[3]
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
FEW = ("target", "no-batchnorm", "no-gap-matched")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Bag", "Boot")
BODY = (
    '{% extends "base.html" %}{% block title %}Live{% endblock %}{% block main %}BODY{% endblock %}'
)
NETWORKS = "JSON.parse(document.getElementById('live-data').textContent).networks"

FRAME = '<div class="scroll" tabindex="0" role="region" aria-label="Frame">narrow</div>'

# Points of strokes, in shares of the board.
ONE = [[(0.5, 0.1), (0.49, 0.5), (0.5, 0.9)]]
SEVEN = [[(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]]


@cache
def variants() -> list[LiveVariant]:
    """Every entry of the catalogue with the weights of the committed study's seed 0."""
    found = []
    for entry in CATALOGUE:
        weights = REPOSITORY / "docs/reference" / entry.name / "seed-0/weights.safetensors"
        is_normalised = entry.training_spec.normalise_input
        mean, std = (MNIST_MEAN, MNIST_STD) if is_normalised else (0.0, 1.0)
        label = f"without {entry.removes}"
        found.append(
            LiveVariant(entry.name, label, entry.network_spec, weights.read_bytes(), mean, std)
        )
    return found


def write_page(path: Path, body: str = '{% include "draw.html" %}', **values: object) -> Path:
    """A page of the report with nothing but this in it."""
    make_environment = pages.template_environment

    def with_body():
        environment = make_environment()
        assert environment.loader
        template = DictLoader({"body.html": BODY.replace("BODY", body)})
        # The environment itself is everybody's, and stays what it is.
        return environment.overlay(loader=ChoiceLoader([template, environment.loader]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "template_environment", with_body)
        path.write_text(pages.render_template("body.html", **values))
    return path


def make_live(dataset: Dataset, chosen: list[LiveVariant], class_names: tuple[str, ...]) -> Live:
    shown = [
        ShownImage(
            number,
            int(dataset.test_labels[number]) % len(class_names),
            dataset.test_images[number].tobytes(),
        )
        for number in range(6)
    ]
    samples = live_samples(shown, class_names)
    return Live(live_networks(chosen), class_names, dataset.title, samples, seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def live_file(folder: Path, digits: Dataset) -> Path:
    """A page with a few networks: none is slow to draw and to check."""
    few = [variant for variant in variants() if variant.name in FEW]
    live = make_live(digits, few, digits.class_names)
    return write_page(folder / "live.html", has_script=True, live=live)


def open_page(context: BrowserContext, file: Path) -> Page:
    """Open a file, and collect what goes wrong in `page.problems`."""
    page = context.new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on(
        "request", lambda request: request.url == file.as_uri() or page.problems.append(request.url)
    )
    page.goto(file.as_uri())
    return page


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        offline=True, has_touch=True, viewport={"width": 1280, "height": 900}
    )
    yield context
    for page in context.pages:
        assert page.problems == []
    context.close()


@pytest.fixture
def page(context: BrowserContext, live_file: Path) -> Page:
    return open_page(context, live_file)


def on_board(page: Page, strokes: list) -> list[list[tuple[float, float]]]:
    """Strokes in pixels of the window, with the board scrolled into it."""
    board = page.locator("#draw-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    return [
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        for stroke in strokes
    ]


def draw_by_mouse(page: Page, strokes: list) -> None:
    for first, *rest in on_board(page, strokes):
        page.mouse.move(*first)
        page.mouse.down()
        for point in rest:
            page.mouse.move(*point, steps=5)
        page.mouse.up()


def draw_by_touch(page: Page, strokes: list) -> None:
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for first, *rest in on_board(page, strokes):
        touch("touchStart", first)
        for point in rest:
            touch("touchMove", point)
        touch("touchEnd")


def answer_of(page: Page, name: str):
    return page.locator(".draw-answer", has=page.get_by_text(name, exact=True)).locator(
        ".draw-class"
    )


def torch_logits(variant: LiveVariant, images: np.ndarray) -> torch.Tensor:
    network = build_network(variant.network).eval()
    network.load_state_dict(load(variant.weights_safetensors))
    with torch.no_grad():
        return network(prepare_pixels(torch.tensor(images), InputScale(variant.mean, variant.std)))


def test_every_network_answers_as_in_pytorch(
    context: BrowserContext, folder: Path, mnist_folder: Path
) -> None:
    dataset = load_dataset("mnist", mnist_folder)
    live = make_live(dataset, variants(), dataset.class_names)
    page = open_page(context, write_page(folder / "all.html", has_script=True, live=live))
    assert (dataset.mean, dataset.std) == (MNIST_MEAN, MNIST_STD)
    images = dataset.test_images[:20]
    result = page.evaluate(
        f"""images => {{
            const networks = {NETWORKS}.map(prepareNetwork);
            const milliseconds = [];
            const logits = images.map(image => {{
                const start = performance.now();
                const pixels = Float32Array.from(image, byte => byte / 255);
                const found = networks.map(network => [...runNetwork(network, pixels).logits]);
                milliseconds.push(performance.now() - start);
                return found;
            }});
            return {{ logits, milliseconds }};
        }}""",
        images.reshape(20, -1).tolist(),
    )
    found = torch.tensor(result["logits"])
    expected = torch.stack([torch_logits(variant, images) for variant in variants()], dim=1)
    largest = (found - expected).abs().amax(dim=(0, 2))
    print(f"\nall variants, one image: median {np.median(result['milliseconds']):.0f} ms")
    print(f"largest difference of a logit: {largest.max():.1e}")
    for variant, difference in zip(variants(), largest, strict=True):
        assert difference < 1e-4, variant.name


@pytest.mark.parametrize("draw", [draw_by_mouse, draw_by_touch])
def test_drawing(page: Page, draw: Any) -> None:
    draw(page, ONE)
    expect(answer_of(page, "target")).to_have_text("1")
    expect(page.locator("#draw-status")).to_contain_text("The target answers 1 (")
    expect(page.locator("#draw-hint")).to_be_hidden()
    page.locator("#draw-clear").click()
    draw(page, SEVEN)
    expect(answer_of(page, "target")).to_have_text("7")


def test_undo_and_clear(page: Page) -> None:
    answers = page.locator(".draw-class")
    draw_by_mouse(page, ONE + [[(0.1, 0.9), (0.9, 0.9), (0.9, 0.1), (0.1, 0.1)]])
    expect(answer_of(page, "target")).not_to_have_text("–")
    page.locator("#draw-undo").click()
    expect(answer_of(page, "target")).to_have_text("1")
    expect(page.locator("#draw-status")).to_contain_text("answers 1")
    page.locator("#draw-clear").click()
    expect(answers).to_have_text(["–"] * len(FEW))
    expect(page.locator("#draw-status")).to_have_text("Nothing is drawn yet.")
    expect(page.locator("#draw-stages canvas")).to_have_count(0)
    assert page.evaluate(
        "[...document.querySelectorAll('.draw-fill')].every(bar => bar.offsetHeight === 0)"
    )
    page.locator("#draw-undo").click()
    expect(answers).to_have_text(["–"] * len(FEW))


def test_picking_an_image_by_keyboard(page: Page, digits: Dataset) -> None:
    label = digits.test_labels[2]
    button = page.get_by_role("button", name=f"test image 2, {'an' if label == 8 else 'a'} {label}")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#draw-status")).to_contain_text("This is test image 2, a")
    expected = [
        str(torch_logits(variant, digits.test_images[2:3]).argmax().item())
        for variant in variants()
        if variant.name in FEW
    ]
    expect(page.locator(".draw-class")).to_have_text(expected)
    for card, answer in zip(page.locator(".draw-answer").all()[1:], expected[1:], strict=True):
        words = "✓ agrees" if answer == expected[0] else "≠ differs"
        expect(card.locator(".draw-agreement")).to_have_text(words)
        expect(card.locator(".draw-sentence")).to_contain_text(f"Probabilities: {answer} ")
        expect(card.locator(".draw-top")).to_have_text(answer)
    # A stroke begins a drawing of its own.
    draw_by_mouse(page, ONE)
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(answer_of(page, "target")).to_have_text("1")


def watch(page: Page, name: str) -> None:
    """Collect every text of an element in a list of its own, from the page's beginning."""
    page.evaluate(
        """name => {
            const element = document.getElementById(name);
            const texts = (window[name] = []);
            new MutationObserver(() => texts.push(element.textContent)).observe(element, { childList: true });
        }""",
        name,
    )


def test_the_answer_is_said_once(page: Page) -> None:
    watch(page, "draw-status")
    page.wait_for_timeout(900)
    # What stands there from the beginning is not written again.
    assert page.evaluate("window['draw-status']") == []
    draw_by_mouse(page, ONE + [[(0.2, 0.9), (0.8, 0.9)]])
    expect(page.locator("#draw-status")).to_contain_text("The target answers")
    page.wait_for_timeout(1000)
    said = page.evaluate("window['draw-status']")
    # On a slow machine, the beginning of a drawing may be followed by a pause.
    assert 1 <= len(said) <= 2
    assert len(set(said)) == len(said)
    # To ask for the same picture again is not worth a word.
    number = len(said)
    page.evaluate("document.querySelectorAll('.draw-sample')[1].click()")
    expect(page.locator("#draw-status")).to_contain_text("test image 1")
    page.evaluate("document.querySelectorAll('.draw-sample')[1].click()")
    page.wait_for_timeout(1000)
    assert len(page.evaluate("window['draw-status']")) == number + 1


def test_the_sentence_changes_with_the_answers(page: Page) -> None:
    sentence = page.locator("#draw-sentence")
    expect(sentence).to_have_attribute("aria-hidden", "true")
    expect(sentence).to_have_text("Nothing is drawn yet.")
    # Whenever something is painted, the sentence is that of the tiles.
    page.evaluate(
        """() => {
            window.wrong = [];
            window.painted = 0;
            function look() {
                const answer = document.querySelector(".draw-class").textContent;
                const words = document.getElementById("draw-sentence").textContent;
                const expected = answer === "–" ? "Nothing is drawn yet." : ` answers ${answer} (`;
                if (!words.includes(expected)) wrong.push([answer, words]);
                painted += answer !== "–";
                setTimeout(look);
            }
            look();
        }"""
    )
    draw_by_mouse(page, ONE)
    expect(sentence).to_contain_text("The target answers 1 (")
    # Those who listen are told after a pause.
    expect(page.locator("#draw-status")).to_have_text("Nothing is drawn yet.")
    expect(page.locator("#draw-status")).to_contain_text("The target answers 1 (")
    page.locator("#draw-clear").click()
    draw_by_mouse(page, SEVEN)
    expect(sentence).to_contain_text("The target answers 7 (")
    assert page.evaluate("painted") > 0
    assert page.evaluate("wrong") == []


def test_ink_beside_the_board_does_not_count(page: Page) -> None:
    points = page.evaluate("[-3, 0, 0.4, 1, 1.2].map(withinBoard)")
    assert points == [0, 0, 0.4, 1, 1]
    # An L whose foot runs far out of the board is the same L as one that ends at its edge.
    found = []
    for end in (0.999, 1.4):
        draw_by_mouse(page, [[(0.5, 0.1), (0.5, 0.9), (end, 0.9)]])
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        found.append(read_grey(page, "#draw-seen"))
        page.locator("#draw-clear").click()
    assert np.abs(found[1] - found[0]).mean() < 2


@pytest.mark.parametrize("kind", ["lostpointercapture", "pointercancel"])
def test_board_outlives_a_pointer_that_is_lost(page: Page, kind: str) -> None:
    [[first, second, third]] = on_board(page, ONE)
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*second)
    page.evaluate(
        """kind => {
            const board = document.getElementById("draw-board");
            board.dispatchEvent(new PointerEvent(kind, { pointerId: 1 }));
            // Nor is the board told that the button went up.
            addEventListener("pointerup", (event) => event.stopPropagation(), { capture: true, once: true });
        }""",
        kind,
    )
    page.mouse.up()
    page.wait_for_timeout(100)
    before = read_grey(page, "#draw-seen")
    page.mouse.move(*third)
    page.wait_for_timeout(100)
    assert np.array_equal(read_grey(page, "#draw-seen"), before)
    page.locator("#draw-clear").evaluate("button => button.click()")
    draw_by_touch(page, SEVEN)
    expect(answer_of(page, "target")).to_have_text("7")
    page.locator("#draw-clear").click()
    draw_by_mouse(page, ONE)
    expect(answer_of(page, "target")).to_have_text("1")


def test_feature_maps(page: Page) -> None:
    draw_by_mouse(page, SEVEN)
    captions = page.locator("#draw-stages figcaption")
    expect(captions).to_have_text(
        ["stage 1: 8 maps of 14 × 14", "stage 2: 16 maps of 7 × 7", "stage 3: 32 maps of 7 × 7"]
    )
    expect(page.locator("#draw-stages canvas")).to_have_count(8 + 16 + 32)
    page.get_by_label("Feature maps of").select_option("no-gap-matched")
    expect(captions.last).to_have_text("stage 3: 14 maps of 7 × 7")
    expect(page.locator("#draw-stages canvas")).to_have_count(8 + 16 + 14)
    # Every map is painted from its own channel, on its stage's scale.
    values = page.evaluate(
        f"""pixels => {{
            const network = {NETWORKS}.find(({{ name }}) => name === "no-gap-matched");
            const {{ stages }} = runNetwork(prepareNetwork(network), Float32Array.from(pixels));
            return [...stages[2].values];
        }}""",
        (read_grey(page, "#draw-seen")[0] / 255).tolist(),
    )
    values = np.array(values).reshape(14, 49)
    expected = 255 * (values - values.min()) / (values.max() - values.min())
    # The picture was read back in 256 steps.
    assert np.abs(read_grey(page, "#draw-stages figure:last-child canvas") - expected).max() < 5


def read_grey(page: Page, selector: str) -> np.ndarray:
    """The pixels of canvases, 0 to 255, a row for each canvas."""
    values = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].map(canvas => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
            return [...data].filter((_, i) => i % 4 === 0);
        })""",
        selector,
    )
    return np.array(values, dtype=float)


def picture(page: Page, strokes: list) -> np.ndarray:
    pixels = page.evaluate("strokes => [...pictureOfStrokes(strokes)]", strokes)
    return np.array(pixels).reshape(28, 28)


def test_drawings_are_prepared_as_mnist_was(page: Page) -> None:
    strokes = [[(0.2, 0.1), (0.8, 0.3), (0.3, 0.9)], [(0.3, 0.5), (0.6, 0.5)]]
    original = picture(page, strokes)
    rows, columns = np.nonzero(original)
    # 20 pixels, and where they do not begin at a pixel's edge, one more.
    assert 20 <= np.ptp(rows) + 1 <= 21
    assert np.ptp(columns) < np.ptp(rows)
    grid = np.arange(28) + 0.5
    assert original.sum(0) @ grid / original.sum() == pytest.approx(14.5, abs=0.1)
    assert original.sum(1) @ grid / original.sum() == pytest.approx(14.5, abs=0.1)
    assert original.max() == 1
    assert ((original > 0) & (original < 1)).mean() > 0.05
    for scale, shift_x, shift_y in [(1, 0.15, -0.08), (0.5, 0, 0), (0.4, 0.5, 0.2), (1.1, -0.1, 0)]:
        moved = [
            [(scale * x + shift_x, scale * y + shift_y) for x, y in stroke] for stroke in strokes
        ]
        assert np.abs(picture(page, moved) - original).max() < 1e-3
    dot = picture(page, [[(0.9, 0.2)]])
    assert 3 < dot.sum() < 10


def test_shifted_and_small_drawings_by_mouse_look_the_same(page: Page) -> None:
    found = []
    for scale, shift in [(1, 0), (0.5, 0.05), (0.5, 0.45)]:
        draw_by_mouse(page, [[(scale * x + shift, scale * y + shift) for x, y in SEVEN[0]]])
        # What the mouse did last is in the picture after the next frame.
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        found.append(read_grey(page, "#draw-seen"))
        page.locator("#draw-clear").click()
    # The mouse moves in whole pixels of the screen.
    assert np.abs(found[1] - found[0]).mean() < 2
    assert np.abs(found[2] - found[0]).mean() < 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(context: BrowserContext, live_file: Path, scheme: Any) -> None:
    page = open_page(context, live_file)
    page.emulate_media(color_scheme=scheme)
    draw_by_mouse(page, [[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.5), (0.5, 0.9)]])
    expect(page.locator("#draw-status")).to_contain_text("The target answers")
    results = Axe().run(page, context="#draw")
    assert results.violations_count == 0, results.generate_report()


def test_on_a_phone_and_on_paper(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    draw_by_touch(page, SEVEN)
    expect(answer_of(page, "target")).to_have_text("7")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for target in page.locator("#draw :is(button, select)").all():
        box = target.bounding_box()
        assert box and min(box["width"], box["height"]) >= 24
    page.emulate_media(media="print")
    expect(page.locator("#draw")).to_be_hidden()


def test_without_script(browser: Browser, live_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(live_file.as_uri())
    expect(page.locator("#draw-needs-script")).to_be_visible()
    expect(page.locator("#draw-live")).to_be_hidden()
    context.close()


def test_a_changed_script_does_not_run(browser: Browser, live_file: Path, folder: Path) -> None:
    changed = folder / "changed.html"
    changed.write_text(live_file.read_text().replace('"use strict";', '"use  strict";'))
    context = browser.new_context(offline=True)
    page = open_page(context, changed)
    assert any("Content Security Policy" in problem for problem in page.problems)
    expect(page.locator("#draw-live")).to_be_hidden()
    context.close()


def test_classes_with_names(context: BrowserContext, folder: Path, digits: Dataset) -> None:
    live = make_live(digits, variants()[:3], (*CLOTHES, HOSTILE))
    live = live._replace(networks=[live.networks[0] | {"name": "target"}, *live.networks[1:]])
    live.networks[1]["label"] = HOSTILE
    page = open_page(context, write_page(folder / "clothes.html", has_script=True, live=live))
    expect(page.locator("#draw h2")).to_have_text("Try the networks")
    label = digits.test_labels[0]
    assert label < len(CLOTHES)
    page.get_by_role("button", name=f"test image 0, {CLOTHES[label]}").click()
    answers = [
        (*CLOTHES, HOSTILE)[torch_logits(variant, digits.test_images[:1]).argmax()]
        for variant in variants()[:3]
    ]
    expect(page.locator(".draw-class")).to_have_text(answers)
    # Images come before the board for readers who would not know what to draw.
    order = page.evaluate(
        "document.querySelector('.draw-samples').compareDocumentPosition(document.getElementById('draw-board'))"
    )
    assert order == 4
    expect(page.locator(".draw-answer").nth(1)).to_contain_text(HOSTILE)
    assert page.locator("#draw img").count() == 0
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_images_that_most_networks_dispute_are_offered() -> None:
    results = make_results(
        {name: range(2) for name in ("target", "no-relu", "no-gap", "no-dropout")}
    )
    gallery = make_exhibits(results.study).gallery
    assert gallery is not None
    found = disputed_images(gallery)

    def num_disputing(number: int) -> int:
        said = gallery.target_answers[number].class_index
        answers = [one.answers.get(number) for one in gallery.variants.values()]
        return sum(answer is not None and answer.class_index != said for answer in answers)

    counts = [num_disputing(number) for number in found]
    assert 0 < len(found) <= NUM_DISPUTED and min(counts) > 0
    assert counts == sorted(counts, reverse=True)
    assert not set(found) & set(gallery.samples)
    rest = {image.number for image in gallery.images} - {*found, *gallery.samples}
    assert max(map(num_disputing, rest)) <= counts[-1]


def test_disputed_images_stand_apart_and_can_be_picked(
    context: BrowserContext, folder: Path, digits: Dataset
) -> None:
    live = make_live(digits, variants()[:2], digits.class_names)
    samples = [
        sample._replace(is_disputed=number > 3) for number, sample in enumerate(live.samples)
    ]
    file = write_page(
        folder / "disputed.html", has_script=True, live=live._replace(samples=samples)
    )
    page = open_page(context, file)
    group = page.get_by_role("group", name=re.compile("networks disagree"))
    expect(group.locator("button")).to_have_count(2)
    button = group.locator("button").last
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#draw-sentence")).to_contain_text(f"This is {samples[-1].words}.")


def test_samples_fit_a_phone(context: BrowserContext, folder: Path, digits: Dataset) -> None:
    live = make_live(digits, variants()[:1], digits.class_names)
    live = live._replace(samples=(2 * live.samples)[:10])
    page = open_page(context, write_page(folder / "samples.html", has_script=True, live=live))
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 740})
        for button in page.locator(".draw-samples button").all():
            box = button.bounding_box()
            assert box and min(box["width"], box["height"]) >= 24
            assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_a_network_that_diverged_has_no_answer(
    context: BrowserContext, folder: Path, digits: Dataset
) -> None:
    target, other = variants()[:2]
    weights = load(other.weights_safetensors)
    nothing = save(
        {
            name: value * torch.nan if value.is_floating_point() else value
            for name, value in weights.items()
        }
    )
    diverged = other._replace(weights_safetensors=nothing)
    for number, chosen in enumerate(([target, diverged], [diverged, target])):
        live = make_live(digits, chosen, digits.class_names)
        file = write_page(folder / f"diverged-{number}.html", has_script=True, live=live)
        page = open_page(context, file)
        draw_by_mouse(page, ONE)
        expect(answer_of(page, "target")).to_have_text("1")
        expect(answer_of(page, other.name)).to_have_text("–")
    expect(page.locator("#draw-status")).to_contain_text("The target has no answer")


def test_broken_networks_leave_the_rest_working(
    browser: Browser, live_file: Path, folder: Path
) -> None:
    broken = folder / "broken.html"
    begin = 'id="live-data">'
    text = live_file.read_text()
    assert begin in text
    broken.write_text(text.replace(begin, f"{begin}broken").replace("<h2", FRAME + "<h2"))
    context = browser.new_context(offline=True)
    page = open_page(context, broken)
    assert len(page.problems) == 1  # type: ignore[attr-defined]
    expect(page.locator("#draw-live")).to_be_hidden()
    # Another part of the page, whose script stands after that.
    expect(page.locator(".scroll")).not_to_have_attribute("tabindex", "0")
    context.close()


def test_only_pages_that_ask_have_the_script(folder: Path) -> None:
    silent = write_page(folder / "silent.html", body="nothing").read_text()
    assert "<script" not in silent
    assert "script-src" not in silent
    loud = write_page(folder / "loud.html", body="nothing", has_script=True).read_text()
    assert loud.count("<script>") == 1
    assert '<script>"use strict";' in loud


def test_scripts_cannot_end_their_own_element() -> None:
    script = pages.strict_script()
    assert "</" not in script
    assert "<!--" not in script
    assert "innerHTML" not in script


def test_weights_of_another_network_are_refused() -> None:
    target, other = variants()[:2]
    with pytest.raises(RuntimeError, match="Missing key"):
        live_networks([target._replace(weights_safetensors=other.weights_safetensors)])
