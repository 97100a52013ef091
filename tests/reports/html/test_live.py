"""Networks in the page: they compute as PyTorch does, from drawings and from test images."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load, save

from ablations.analysis.summary import AblationResult, Results, summarise
from ablations.inspection.load import Exhibits, ShownImage, load_exhibits
from ablations.records.study import load_study
from ablations.training.batches import InputScale, prepare_pixels
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from reports.html.live import DIGITS, NUM_DISPUTED, disputed_images, live_network, make_live
from tests.reports.html.pages import HOSTILE, write_page

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
FEW = ("target", "no-batchnorm", "no-gap-matched")

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
def report(results: Results, exhibits: Exhibits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("live") / "live.html", results, exhibits)


def draw(page: Page, strokes: Strokes, *, by_touch: bool = False) -> None:
    board = page.locator("#draw-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        if by_touch:
            touches = [[{"x": x, "y": y}] for x, y in places]
            kinds = ["touchStart", *["touchMove"] * (len(touches) - 1), "touchEnd"]
            for kind, points in zip(kinds, [*touches, []], strict=True):
                session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        else:
            page.mouse.move(*places[0])
            page.mouse.down()
            for place in places[1:]:
                page.mouse.move(*place, steps=5)
            page.mouse.up()


def pick(page: Page, words: str) -> None:
    """A test image, by keyboard."""
    button = page.get_by_role("button", name=f"test image {words}")
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")


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


def shown_answers(answers: list[int], class_names: Sequence[str] = DIGITS) -> list[str]:
    """In the order of the page: the target, the first of the others beside it, all others."""
    return [class_names[answer] for answer in (*answers[:2], *answers[1:])]


def test_networks_compute_as_in_pytorch(page: Page, results: Results, exhibits: Exhibits) -> None:
    study = replace(results.study, records=tuple(exhibits.shown_runs.values()))
    all_results, images = summarise(study), exhibits.gallery.images[:10]
    live = make_live(all_results, exhibits)
    outputs = page.evaluate(
        """([networks, images]) => networks.map(prepareNetwork).map(network =>
            images.map(image => {
                const pixels = Float32Array.from(image, byte => byte / 255);
                const { logits, probabilities } = runNetwork(network, pixels);
                return [[...logits], [...probabilities]];
            }))""",
        [live.networks, [list(image.pixels) for image in images]],
    )
    for row, found in zip(all_results.rows, outputs, strict=True):
        expected = torch_logits(row, exhibits, *images)
        logits, probabilities = torch.tensor(found).unbind(1)
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().max(), row.ablation.name
        assert (probabilities - expected.softmax(1)).abs().max() < 1e-4, row.ablation.name


def test_a_disputed_image_comes_first(page: Page, results: Results, exhibits: Exhibits) -> None:
    # It waits until the section is near.
    page.wait_for_timeout(500)
    expect(page.locator("#draw-status")).to_be_empty()
    page.locator("#draw").scroll_into_view_if_needed()
    image = exhibits.gallery.image(disputed_images(exhibits.gallery)[0])
    expect(page.locator("#draw-status")).to_contain_text(f"Test image {image.number} (")
    expect(page.locator(".draw-sample").first).to_have_attribute("aria-pressed", "true")
    answers = predictions(results, exhibits, image)
    assert len(set(answers)) > 1
    expect(page.locator(".draw-class")).to_have_text(shown_answers(answers))


def test_the_section_is_short(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    pick(page, "726 (class 7)")
    words, strip = [page.locator(one).inner_text().split() for one in ("#draw", ".draw-strip")]
    assert 50 < len(words) - len(strip) <= 100
    height = page.locator("#draw").evaluate(
        """section => {
            const last = section.querySelector(".draw-strip").lastElementChild;
            for (let i = 2; i < 23; i++) last.after(last.cloneNode(true));
            section.style.width = "1080px";
            return section.offsetHeight;
        }"""
    )
    assert height < 900


def test_drawings_are_compared_with_the_target(page: Page) -> None:
    status = page.locator("#draw-status")
    draw(page, ONE)
    expect(status).to_have_text("The target predicts 1. The others: 2 of 2 agree.")
    expect(page.locator(".draw-word")).to_have_text(["", "agrees", "agrees", "agrees"])
    page.locator("#draw-clear").click()
    expect(page.locator(".draw-class")).to_have_text(["–"] * 4)
    expect(status).to_have_text("Nothing is drawn.")
    # On a phone, too.
    page.set_viewport_size({"width": 360, "height": 740})
    draw(page, SEVEN, by_touch=True)
    expect(status).to_contain_text("The target predicts 7.")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_images_are_judged_by_class(page: Page, results: Results, exhibits: Exhibits) -> None:
    answers = predictions(results, exhibits, exhibits.gallery.image(726))
    assert answers == [1, 4, 7]
    pick(page, "726 (class 7)")
    expect(page.locator("#draw-status")).to_have_text(
        "Test image 726 (class 7). The target predicts 1: wrong. The others: 1 of 2 right."
    )
    expect(page.locator(".draw-class")).to_have_text(shown_answers(answers))
    expect(page.locator(".draw-symbol")).to_have_text(["✗", "✗", "✗", "✓"])
    expect(page.locator(".draw-word")).to_have_text(["wrong", "wrong", "wrong", "right"])
    # The selected network is shown beside the target.
    page.get_by_role("button", name="pooling, at the same size 7 right").press("Enter")
    expect(page.locator(".draw-strip [aria-pressed=true]")).to_contain_text("global average")
    target, chosen = page.locator(".draw-panel").all()
    expect(target.locator(".draw-top")).to_have_text("1")
    expect(chosen.locator(".draw-top")).to_have_text("7")
    expect(chosen).to_contain_text("Without global average pooling, at the same size")
    expect(chosen.get_by_role("img")).to_have_accessible_name(re.compile(r"^7 \d\d\.\d\s%, "))
    # A stroke begins a new drawing.
    draw(page, ONE)
    expect(page.locator(".draw-sample[aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#draw-status")).to_contain_text("The target predicts 1.")


def test_feature_maps(page: Page) -> None:
    draw(page, SEVEN)
    captions = page.locator(".draw-stages figcaption")
    expect(captions).to_have_count(0)
    page.locator("#draw-maps summary").click()
    page.locator(".draw-strip button").last.click()
    sizes = ("1: 8 maps of 14 × 14", "2: 16 maps of 7 × 7", "3: 32 maps of 7 × 7")
    words = [f"stage {size}" for size in (*sizes, *sizes[:2], "3: 14 maps of 7 × 7")]
    expect(captions).to_have_text(words)
    # Rows of eight maps with a gap, all on one scale.
    grey = page.evaluate(
        """() => {
            const values = Float32Array.from({ length: 9 }, (_, i) => i - 4);
            const canvas = stageFigure({ name: "stage1", channels: 9, side: 1, values }).lastChild;
            return [...canvas.getContext("2d").getImageData(0, 0, 15, 3).data];
        }"""
    )
    shown = np.array(grey).reshape(3, 15, 4)[::2, ::2, 0].flatten()[:9]
    assert shown == pytest.approx(np.linspace(0, 255, 9), abs=1)


def test_drawings_are_prepared_as_mnist(page: Page) -> None:
    def picture(strokes: Strokes) -> np.ndarray:
        pixels = page.evaluate("strokes => [...pictureOfStrokes(strokes)]", strokes)
        return np.array(pixels).reshape(28, 28)

    strokes = [[(0.2, 0.1), (0.8, 0.3), (0.3, 0.9)], [(0.3, 0.5), (0.6, 0.5)]]
    original = picture(strokes)
    rows, columns = np.nonzero(original)
    # 20 pixels, or one more where they do not begin at the edge of a pixel.
    assert 20 <= np.ptp(rows) + 1 <= 21 and np.ptp(columns) < np.ptp(rows)
    for axis in (0, 1):
        centre = original.sum(axis) @ (np.arange(28) + 0.5) / original.sum()
        assert centre == pytest.approx(14.5, abs=0.1)
    assert original.max() == 1 and ((original > 0) & (original < 1)).mean() > 0.05
    for scale, shift in [(1, 0.15), (0.5, 0), (1.1, -0.1), (0.04, 0.7)]:
        moved = [[(scale * x + shift, scale * y + 0.1) for x, y in stroke] for stroke in strokes]
        assert np.abs(picture(moved) - original).max() < 1e-3
    dot = picture([[(0.9, 0.2)]])
    assert 3 < dot.sum() < 10, "a dot stays a dot"
    assert np.abs(picture([[(0.9, 0.2), (0.91, 0.2)]]) - dot).max() < 1e-3, "a finger that taps"


def test_classes_with_names(
    open_page: Callable[..., Page], tmp_path: Path, results: Results, exhibits: Exhibits
) -> None:
    class_names = [*DIGITS[:9], HOSTILE]
    gallery = msgspec.structs.replace(exhibits.gallery, class_names=class_names)
    named = write_page(tmp_path / "named.html", results, replace(exhibits, gallery=gallery))
    page = open_page(named)
    expect(page.locator("#draw h2")).to_have_text("Try the networks")
    image = next(image for image in gallery.images if class_names[image.class_index] == HOSTILE)
    pick(page, f"{image.number} (class {HOSTILE})")
    expected = shown_answers(predictions(results, exhibits, image), class_names)
    expect(page.locator(".draw-class")).to_have_text(expected)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_target_alone(
    open_page: Callable[..., Page], tmp_path: Path, results: Results, exhibits: Exhibits
) -> None:
    target = msgspec.structs.replace(results, rows=results.rows[:1])
    page = open_page(write_page(tmp_path / "target.html", target, exhibits))
    draw(page, ONE)
    expect(page.locator("#draw-status")).to_have_text("The target predicts 1.")
    expect(page.locator(".draw-panel")).to_have_count(1)
    expect(page.locator(".draw-strip")).to_have_count(0)
    without_target = {name: exhibits.weights[name] for name in FEW[1:]}
    assert make_live(results, replace(exhibits, weights=without_target)) is None


def test_images_that_most_networks_dispute_are_offered(exhibits: Exhibits) -> None:
    gallery = exhibits.gallery
    counts = Counter(
        number
        for variant in gallery.variants.values()
        for number, answer in variant.answers.items()
        if answer.class_index != gallery.target_answers[number].class_index
        and number not in gallery.samples
    )
    most = [count for _, count in counts.most_common(NUM_DISPUTED)]
    assert [counts[number] for number in disputed_images(gallery)] == most


def test_a_network_that_diverged_has_no_prediction(
    open_page: Callable[..., Page], tmp_path: Path, results: Results, exhibits: Exhibits
) -> None:
    target, other = "has no prediction: it diverged.", "predicts 1. The others: 1 of 2 agree."
    for name, words in (("target", target), ("no-batchnorm", other)):
        nan = {
            key: value * torch.nan if value.is_floating_point() else value
            for key, value in load(exhibits.weights[name]).items()
        }
        diverged = replace(exhibits, weights=exhibits.weights | {name: save(nan)})
        page = open_page(write_page(tmp_path / f"{name}.html", results, diverged))
        draw(page, ONE)
        expect(page.locator("[data-judgement=diverged]").first).to_contain_text("– diverged")
        expect(page.locator("#draw-status")).to_have_text(f"The target {words}")


def test_weights_of_another_network_are_refused(exhibits: Exhibits) -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        live_network("", TARGET, exhibits.weights["no-batchnorm"], 0.0, 1.0)
