"""Networks in the page: they compute as PyTorch does, from drawings and from test images."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load, save

from ablations.analysis.summary import AblationResult, Results, summarise
from ablations.inspection.load import Exhibits, Gallery, ShownImage, load_exhibits
from ablations.records.study import load_study
from ablations.training.batches import InputScale, prepare_pixels
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from reports.html.live import NUM_DISPUTED, disputed_images, live_network, make_live
from tests.reports.html.pages import HOSTILE, write_page

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
FEW = ("target", "no-batchnorm", "no-gap-matched")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Bag", "Boot")

# Points of strokes, in shares of the board.
Strokes = list[list[tuple[float, float]]]
ONE = [[(0.5, 0.1), (0.49, 0.5), (0.5, 0.9)]]
SEVEN = [[(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]]


@pytest.fixture(scope="module")
def exhibits() -> Exhibits:
    """The trained networks of the committed study, and its images."""
    return load_exhibits(REFERENCE, load_study(REFERENCE))


@pytest.fixture(scope="module")
def results(exhibits: Exhibits) -> Results:
    """The runs of a few of these networks, which respond quickly."""
    records = tuple(exhibits.shown_runs[name] for name in FEW)
    return summarise(replace(load_study(REFERENCE), records=records))


@pytest.fixture(scope="module")
def gallery(exhibits: Exhibits) -> Gallery:
    assert exhibits.gallery
    return exhibits.gallery


@pytest.fixture(scope="module")
def report(results: Results, exhibits: Exhibits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("live") / "live.html", results, exhibits)


def on_board(page: Page, strokes: Strokes) -> Strokes:
    """Strokes in pixels of the window, with the board scrolled into it."""
    board = page.locator("#draw-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    return [
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        for stroke in strokes
    ]


def draw_by_mouse(page: Page, strokes: Strokes) -> None:
    for first, *rest in on_board(page, strokes):
        page.mouse.move(*first)
        page.mouse.down()
        for point in rest:
            page.mouse.move(*point, steps=5)
        page.mouse.up()


def draw_by_touch(page: Page, strokes: Strokes) -> None:
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for first, *rest in on_board(page, strokes):
        touch("touchStart", first)
        for point in rest:
            touch("touchMove", point)
        touch("touchEnd")


def torch_logits(row: AblationResult, exhibits: Exhibits, *images: ShownImage) -> torch.Tensor:
    run_spec = row.runs[0].run_spec
    network = build_network(run_spec.network).eval()
    network.load_state_dict(load(exhibits.weights[row.ablation.name]))
    scale = InputScale(0.1307, 0.3081) if run_spec.training.normalise_input else InputScale()
    pixels = torch.tensor([list(image.pixels) for image in images], dtype=torch.uint8)
    with torch.no_grad():
        return network(prepare_pixels(pixels.reshape(-1, 28, 28), scale))


def predictions(results: Results, exhibits: Exhibits, image: ShownImage) -> list[int]:
    """As PyTorch computes them."""
    return [int(torch_logits(row, exhibits, image).argmax()) for row in results.rows]


def read_grey(page: Page, selector: str) -> np.ndarray:
    """The pixels of canvases, 0 to 255, one row per canvas."""
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


def test_every_network_computes_as_in_pytorch(
    page: Page, results: Results, exhibits: Exhibits, gallery: Gallery
) -> None:
    study = replace(results.study, records=tuple(exhibits.shown_runs.values()))
    all_results, images = summarise(study), gallery.images[:10]
    live = make_live(all_results, exhibits)
    logits = page.evaluate(
        """([networks, images]) => networks.map(prepareNetwork).map(network =>
            images.map(image => {
                const pixels = Float32Array.from(image, byte => byte / 255);
                return [...runNetwork(network, pixels).logits];
            }))""",
        [live.networks, [list(image.pixels) for image in images]],
    )
    for row, found in zip(all_results.rows, logits, strict=True):
        expected = torch_logits(row, exhibits, *images)
        assert (torch.tensor(found) - expected).abs().max() < 1e-4, row.ablation.name


def test_drawing_by_mouse_and_touch(page: Page) -> None:
    predictions, status = page.locator(".draw-class"), page.locator("#draw-status")
    draw_by_mouse(page, ONE)
    expect(predictions.first).to_have_text("1")
    expect(page.locator("#draw-hint")).to_be_hidden()
    # The visible sentence is updated at once, screen readers get one update after a pause.
    expect(page.locator("#draw-sentence")).to_have_attribute("aria-hidden", "true")
    expect(page.locator("#draw-sentence")).to_contain_text("The target predicts 1 (")
    expect(status).to_contain_text("The target predicts 1 (")
    draw_by_mouse(page, [[(0.1, 0.9), (0.9, 0.9), (0.9, 0.1), (0.1, 0.1)]])
    page.locator("#draw-undo").click()
    expect(predictions.first).to_have_text("1")
    page.locator("#draw-clear").click()
    expect(predictions).to_have_text(["–"] * len(FEW))
    expect(status).to_have_text("Nothing is drawn yet.")
    expect(page.locator("#draw-stages canvas")).to_have_count(0)
    page.locator("#draw-undo").click()
    expect(predictions).to_have_text(["–"] * len(FEW))
    # On a phone, too.
    page.set_viewport_size({"width": 360, "height": 740})
    draw_by_touch(page, SEVEN)
    expect(predictions.first).to_have_text("7")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_picking_an_image_by_keyboard(
    page: Page, results: Results, exhibits: Exhibits, gallery: Gallery
) -> None:
    image = gallery.image(gallery.samples[2])
    words = f"test image {image.number} (class {image.class_index})"
    button = page.get_by_role("button", name=words)
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#draw-status")).to_contain_text(f"This is {words}")
    expected = [str(answer) for answer in predictions(results, exhibits, image)]
    expect(page.locator(".draw-class")).to_have_text(expected)
    disputed = page.get_by_role("group", name=re.compile("networks disagree")).locator("button")
    expect(disputed).to_have_count(NUM_DISPUTED)
    disputed.first.click()
    image = gallery.image(disputed_images(gallery)[0])
    expect(page.locator("#draw-sentence")).to_contain_text(f"This is test image {image.number} (")
    target, *others = predictions(results, exhibits, image)
    for card, found in zip(page.locator(".draw-answer").all()[1:], others, strict=True):
        words = "✓ agrees" if found == target else "≠ differs"
        expect(card.locator(".draw-agreement")).to_have_text(words)
        expect(card.locator(".draw-sentence")).to_contain_text(f"Probabilities: {found} ")
        expect(card.locator(".draw-top")).to_have_text(str(found))
    # A stroke begins a new drawing.
    draw_by_mouse(page, ONE)
    expect(disputed.first).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".draw-class").first).to_have_text("1")


def test_feature_maps(page: Page, results: Results, exhibits: Exhibits) -> None:
    draw_by_mouse(page, SEVEN)
    captions = page.locator("#draw-stages figcaption")
    expect(captions).to_have_text(
        ["stage 1: 8 maps of 14 × 14", "stage 2: 16 maps of 7 × 7", "stage 3: 32 maps of 7 × 7"]
    )
    expect(page.locator("#draw-stages canvas")).to_have_count(8 + 16 + 32)
    page.get_by_label("Feature maps of").select_option("no-gap-matched")
    expect(captions.last).to_have_text("stage 3: 14 maps of 7 × 7")
    # Every map shows its channel on the scale of its stage.
    pixels = read_grey(page, "#draw-seen")[0] / 255
    live = make_live(results, exhibits)
    values = page.evaluate(
        """([network, pixels]) =>
            [...runNetwork(prepareNetwork(network), Float32Array.from(pixels)).stages[2].values]""",
        [live.networks[FEW.index("no-gap-matched")], pixels.tolist()],
    )
    values = np.array(values).reshape(14, 49)
    expected = 255 * (values - values.min()) / (values.max() - values.min())
    # The picture was read back in 256 steps.
    assert np.abs(read_grey(page, "#draw-stages figure:last-child canvas") - expected).max() < 5


def test_drawings_are_prepared_as_mnist(page: Page) -> None:
    def picture(strokes: Strokes) -> np.ndarray:
        pixels = page.evaluate("strokes => [...pictureOfStrokes(strokes)]", strokes)
        return np.array(pixels).reshape(28, 28)

    strokes = [[(0.2, 0.1), (0.8, 0.3), (0.3, 0.9)], [(0.3, 0.5), (0.6, 0.5)]]
    original = picture(strokes)
    rows, columns = np.nonzero(original)
    # 20 pixels, or one more where they do not begin at the edge of a pixel.
    assert 20 <= np.ptp(rows) + 1 <= 21 and np.ptp(columns) < np.ptp(rows)
    grid = np.arange(28) + 0.5
    assert original.sum(0) @ grid / original.sum() == pytest.approx(14.5, abs=0.1)
    assert original.sum(1) @ grid / original.sum() == pytest.approx(14.5, abs=0.1)
    assert original.max() == 1 and ((original > 0) & (original < 1)).mean() > 0.05
    for scale, shift_x, shift_y in [(1, 0.15, -0.08), (0.5, 0, 0), (0.4, 0.5, 0.2), (1.1, -0.1, 0)]:
        moved = [
            [(scale * x + shift_x, scale * y + shift_y) for x, y in stroke] for stroke in strokes
        ]
        assert np.abs(picture(moved) - original).max() < 1e-3
    assert 3 < picture([[(0.9, 0.2)]]).sum() < 10, "a dot stays a dot"


def test_classes_with_names(
    open_page: Callable[..., Page], tmp_path: Path, results: Results, exhibits: Exhibits
) -> None:
    class_names = [*CLOTHES, HOSTILE]
    gallery = msgspec.structs.replace(exhibits.gallery, class_names=class_names)
    named = replace(exhibits, gallery=gallery)
    page = open_page(write_page(tmp_path / "clothes.html", results, named))
    expect(page.locator("#draw h2")).to_have_text("Try the networks")
    image = next(image for image in gallery.images if class_names[image.class_index] == HOSTILE)
    name = f"test image {image.number} (class {HOSTILE})"
    page.get_by_role("button", name=name).click()
    expected = [class_names[answer] for answer in predictions(results, exhibits, image)]
    expect(page.locator(".draw-class")).to_have_text(expected)
    # Images come before the board, for readers who do not know what to draw.
    expect(page.locator(".draw-samples ~ .draw-board")).to_have_count(1)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_images_that_most_networks_dispute_are_offered(gallery: Gallery) -> None:
    counts = Counter(
        number
        for variant in gallery.variants.values()
        for number, answer in variant.answers.items()
        if answer.class_index != gallery.target_answers[number].class_index
    )
    found = disputed_images(gallery)
    assert len(found) == NUM_DISPUTED and not set(found) & set(gallery.samples)
    shown = [counts[number] for number in found]
    rest = [counts[number] for number in counts if number not in (*found, *gallery.samples)]
    assert shown == sorted(shown, reverse=True) and shown[-1] >= max(rest)


@pytest.mark.parametrize("name", ["target", "no-batchnorm"])
def test_a_network_that_diverged_has_no_prediction(
    open_page: Callable[..., Page], tmp_path: Path, results: Results, exhibits: Exhibits, name: str
) -> None:
    nan = {
        key: value * torch.nan if value.is_floating_point() else value
        for key, value in load(exhibits.weights[name]).items()
    }
    diverged = replace(exhibits, weights=exhibits.weights | {name: save(nan)})
    page = open_page(write_page(tmp_path / "diverged.html", results, diverged))
    draw_by_mouse(page, ONE)
    found = ["–" if other == name else "1" for other in FEW]
    expect(page.locator(".draw-class")).to_have_text(found)
    words = "The target has no prediction" if name == "target" else "The target predicts 1"
    expect(page.locator("#draw-status")).to_contain_text(words)


def test_weights_of_another_network_are_refused(exhibits: Exhibits) -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        live_network("target", "", TARGET, exhibits.weights["no-batchnorm"], 0.0, 1.0)
