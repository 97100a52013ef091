"""Networks in the page: they compute as PyTorch does, from drawings and from test images."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from jinja2 import ChoiceLoader, DictLoader
from playwright.sync_api import Locator, Page, expect
from safetensors.torch import load, save

from ablations.catalogue.entries import CATALOGUE
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.inspection.load import ShownImage
from ablations.training.batches import InputScale, prepare_pixels
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network
from reports.html import page as pages
from reports.html.live import NUM_DISPUTED, Live, disputed_images, live_network, live_sample
from tests.factories import make_exhibits, make_results
from tests.reports.html.test_page import HOSTILE

REPOSITORY = Path(__file__).resolve().parents[3]
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
FEW = ("target", "no-batchnorm", "no-gap-matched")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Bag", "Boot")
BODY = (
    '{% extends "base.html" %}{% block title %}Live{% endblock %}'
    '{% block main %}{% include "draw.html" %}{% endblock %}'
)
NETWORKS = "JSON.parse(document.getElementById('live-data').textContent).networks"
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class LiveVariant(NamedTuple):
    """The arguments of `live_network`."""

    name: str
    label: str
    spec: NetworkSpec
    weights_safetensors: bytes
    mean: float
    std: float


# Points of strokes, in shares of the board.
Strokes = list[list[tuple[float, float]]]
ONE = [[(0.5, 0.1), (0.49, 0.5), (0.5, 0.9)]]
SEVEN = [[(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]]


@cache
def variants() -> list[LiveVariant]:
    """All entries of the catalogue with the weights of the committed study's seed 0."""
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


def few_variants() -> list[LiveVariant]:
    return [variant for variant in variants() if variant.name in FEW]


def write_page(path: Path, live: Live) -> str:
    """Write a page that has only live networks; returns its address."""
    environment = pages.template_environment()
    assert environment.loader
    loader = ChoiceLoader([DictLoader({"body.html": BODY}), environment.loader])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "template_environment", lambda: environment.overlay(loader=loader))
        path.write_text(pages.render_template("body.html", has_script=True, live=live))
    return path.as_uri()


def make_live(
    dataset: Dataset, chosen: list[LiveVariant], class_names: tuple[str, ...] | None = None
) -> Live:
    names = class_names or dataset.class_names
    shown = [
        ShownImage(number, int(dataset.test_labels[number]) % len(names), image.tobytes())
        for number, image in enumerate(dataset.test_images[:6])
    ]
    samples = [live_sample(image, names) for image in shown]
    networks = [live_network(*variant) for variant in chosen]
    return Live(networks, names, dataset.title, samples, seed=0)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> str:
    """Of a page with three networks, and with images on which they disagree."""
    live = make_live(digits, few_variants())
    samples = [sample | {"is_disputed": number > 3} for number, sample in enumerate(live.samples)]
    path = tmp_path_factory.mktemp("live") / "live.html"
    return write_page(path, live._replace(samples=samples))


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    return open_page(address, viewport={"width": 1280, "height": 900})


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


def prediction_of(page: Page, name: str) -> Locator:
    card = page.locator(".draw-answer", has=page.get_by_text(name, exact=True))
    return card.locator(".draw-class")


def torch_logits(variant: LiveVariant, images: np.ndarray) -> torch.Tensor:
    network = build_network(variant.spec).eval()
    network.load_state_dict(load(variant.weights_safetensors))
    with torch.no_grad():
        return network(prepare_pixels(torch.tensor(images), InputScale(variant.mean, variant.std)))


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
    open_page: Callable[..., Page], tmp_path: Path, mnist_folder: Path
) -> None:
    dataset = load_dataset("mnist", mnist_folder)
    assert (dataset.mean, dataset.std) == (MNIST_MEAN, MNIST_STD)
    page = open_page(write_page(tmp_path / "all.html", make_live(dataset, variants())))
    images = dataset.test_images[:10]
    logits = page.evaluate(
        f"""images => {{
            const networks = {NETWORKS}.map(prepareNetwork);
            return images.map(image => {{
                const pixels = Float32Array.from(image, byte => byte / 255);
                return networks.map(network => [...runNetwork(network, pixels).logits]);
            }});
        }}""",
        images.reshape(10, -1).tolist(),
    )
    expected = torch.stack([torch_logits(variant, images) for variant in variants()], dim=1)
    largest = (torch.tensor(logits) - expected).abs().amax(dim=(0, 2))
    for variant, difference in zip(variants(), largest, strict=True):
        assert difference < 1e-4, variant.name


def test_drawing_by_mouse_and_touch(page: Page) -> None:
    predictions, status = page.locator(".draw-class"), page.locator("#draw-status")
    draw_by_mouse(page, ONE)
    expect(prediction_of(page, "target")).to_have_text("1")
    expect(page.locator("#draw-hint")).to_be_hidden()
    # The visible sentence is updated at once, screen readers get one update after a pause.
    expect(page.locator("#draw-sentence")).to_have_attribute("aria-hidden", "true")
    expect(page.locator("#draw-sentence")).to_contain_text("The target predicts 1 (")
    expect(status).to_contain_text("The target predicts 1 (")
    draw_by_mouse(page, [[(0.1, 0.9), (0.9, 0.9), (0.9, 0.1), (0.1, 0.1)]])
    page.locator("#draw-undo").click()
    expect(prediction_of(page, "target")).to_have_text("1")
    page.locator("#draw-clear").click()
    expect(predictions).to_have_text(["–"] * len(FEW))
    expect(status).to_have_text("Nothing is drawn yet.")
    expect(page.locator("#draw-stages canvas")).to_have_count(0)
    page.locator("#draw-undo").click()
    expect(predictions).to_have_text(["–"] * len(FEW))
    # On a phone, too.
    page.set_viewport_size({"width": 360, "height": 740})
    draw_by_touch(page, SEVEN)
    expect(prediction_of(page, "target")).to_have_text("7")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_picking_an_image_by_keyboard(page: Page, digits: Dataset) -> None:
    label = digits.test_labels[2]
    button = page.get_by_role("button", name=f"test image 2 (class {label})")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#draw-status")).to_contain_text("This is test image 2 (class")
    expected = [
        str(torch_logits(variant, digits.test_images[2:3]).argmax().item())
        for variant in few_variants()
    ]
    expect(page.locator(".draw-class")).to_have_text(expected)
    for card, found in zip(page.locator(".draw-answer").all()[1:], expected[1:], strict=True):
        words = "✓ agrees" if found == expected[0] else "≠ differs"
        expect(card.locator(".draw-agreement")).to_have_text(words)
        expect(card.locator(".draw-sentence")).to_contain_text(f"Probabilities: {found} ")
        expect(card.locator(".draw-top")).to_have_text(found)
    disputed = page.get_by_role("group", name=re.compile("networks disagree")).locator("button")
    expect(disputed).to_have_count(2)
    disputed.last.click()
    expect(page.locator("#draw-sentence")).to_contain_text("This is test image 5 (class")
    # A stroke begins a new drawing.
    draw_by_mouse(page, ONE)
    expect(disputed.last).to_have_attribute("aria-pressed", "false")
    expect(prediction_of(page, "target")).to_have_text("1")


def test_feature_maps(page: Page) -> None:
    draw_by_mouse(page, SEVEN)
    captions = page.locator("#draw-stages figcaption")
    expect(captions).to_have_text(
        ["stage 1: 8 maps of 14 × 14", "stage 2: 16 maps of 7 × 7", "stage 3: 32 maps of 7 × 7"]
    )
    expect(page.locator("#draw-stages canvas")).to_have_count(8 + 16 + 32)
    page.get_by_label("Feature maps of").select_option("no-gap-matched")
    expect(captions.last).to_have_text("stage 3: 14 maps of 7 × 7")
    # Every map shows its channel on the scale of its stage.
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
    open_page: Callable[..., Page], tmp_path: Path, digits: Dataset
) -> None:
    class_names = (*CLOTHES, HOSTILE)
    live = make_live(digits, variants()[:3], class_names)
    live.networks[1]["label"] = HOSTILE
    page = open_page(write_page(tmp_path / "clothes.html", live))
    expect(page.locator("#draw h2")).to_have_text("Try the networks")
    page.get_by_role(
        "button", name=f"test image 0 (class {class_names[digits.test_labels[0]]})"
    ).click()
    expected = [
        class_names[torch_logits(variant, digits.test_images[:1]).argmax()]
        for variant in variants()[:3]
    ]
    expect(page.locator(".draw-class")).to_have_text(expected)
    # Images come before the board, for readers who do not know what to draw.
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
        of_target = gallery.target_answers[number].class_index
        answers = [one.answers.get(number) for one in gallery.variants.values()]
        return sum(answer is not None and answer.class_index != of_target for answer in answers)

    counts = [num_disputing(number) for number in found]
    assert 0 < len(found) <= NUM_DISPUTED and min(counts) > 0
    assert counts == sorted(counts, reverse=True)
    assert not set(found) & set(gallery.samples)
    rest = {image.number for image in gallery.images} - {*found, *gallery.samples}
    assert max(map(num_disputing, rest)) <= counts[-1]


def test_a_network_that_diverged_has_no_prediction(
    open_page: Callable[..., Page], tmp_path: Path, digits: Dataset
) -> None:
    target, other = variants()[:2]
    nan = {
        name: value * torch.nan if value.is_floating_point() else value
        for name, value in load(other.weights_safetensors).items()
    }
    diverged = other._replace(weights_safetensors=save(nan))
    for number, chosen in enumerate(([target, diverged], [diverged, target])):
        live = make_live(digits, chosen)
        page = open_page(write_page(tmp_path / f"diverged-{number}.html", live))
        draw_by_mouse(page, ONE)
        expect(prediction_of(page, "target")).to_have_text("1")
        expect(prediction_of(page, other.name)).to_have_text("–")
    expect(page.locator("#draw-status")).to_contain_text("The target has no prediction")


def test_weights_of_another_network_are_refused() -> None:
    target, other = variants()[:2]
    with pytest.raises(RuntimeError, match="Missing key"):
        live_network(*target._replace(weights_safetensors=other.weights_safetensors))
