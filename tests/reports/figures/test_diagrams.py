"""The diagrams: every difference is marked by shape and word, and nothing else is."""

import re
from collections import Counter
from dataclasses import fields, replace
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.summary import layer_table
from reports.figures.diagram_parts import changed_parts
from reports.figures.diagrams import ablation_diagram
from reports.html.page import read_text
from tests.strategies import network_specs

every_ablation = pytest.mark.parametrize("ablation", CATALOGUE, ids=lambda entry: entry.name)

TRAINING_WORDS = {
    "num_epochs": "Number of epochs",
    "batch_size": "Batch size",
    "learning_rate": "Learning rate",
    "momentum": "Momentum",
    "drop_learning_rate_after": "Drop of the learning rate",
    "augment": "Zooming and rotating of images",
    "normalise_input": "Normalisation of the input",
    "num_train_images": "Choice of training images",
}
REMOVED_TRAINING = {
    "momentum": "momentum 0.9",
    "drop_learning_rate_after": "÷ 10 after 75 %",
    "augment": "zoom and rotate",
    "normalise_input": "normalise",
}
"""The box of what an ablation of training switches off."""
ODD = {
    "five stages": (
        NetworkSpec(
            channels=(4, 8, 16, 24, 512), convs_per_stage=3, hidden_features=(),
            block="conv-relu-bn", downsample="stride",
        ),
        TrainingSpec(5, 32, 0.1, 0.5, 0.5, num_train_images=2000),
    ),
    "one stage": (
        NetworkSpec(
            channels=(512,), convs_per_stage=1, block="bn-relu-conv", hidden_features=(64, 9)
        ),
        TARGET_TRAINING,
    ),
}  # fmt: skip


class Drawn(NamedTuple):
    """A box as it was drawn."""

    classes: set[str]
    lines: list[str]
    x: float
    y: float
    width: float
    height: float


def boxes_of(svg: str) -> list[Drawn]:
    boxes = []
    for group in ElementTree.fromstring(svg).iter("g"):
        classes = set(group.attrib["class"].split())
        if "output" not in classes:
            rect = next(group.iter("rect"))
            sides = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
            boxes.append(Drawn(classes, [text.text or "" for text in group.iter("text")], *sides))
    return boxes


def labels(boxes: list[Drawn], mark: str) -> Counter[str]:
    return Counter(box.lines[0] for box in boxes if mark in box.classes)


def label(description: str) -> str:
    """A layer's words without what follows the channels: `conv 3×3, 8 → 16`."""
    words = re.sub(r", (stride 2|no bias)", "", description)
    return re.sub(r"(\d)x(\d)", r"\1×\2", words).replace("->", "→")


def draw(ablation: Ablation) -> str:
    return ablation_diagram(ablation.network_spec, ablation.training_spec, ablation.name)


trainings = st.fixed_dictionaries(
    {},
    optional={
        "num_epochs": st.sampled_from([1, 5, 100]),
        "batch_size": st.sampled_from([2, 64]),
        "learning_rate": st.sampled_from([0.001, 0.1, 3.0]),
        "momentum": st.sampled_from([0.0, 0.5, 0.99]),
        "drop_learning_rate_after": st.sampled_from([None, 0.5, 1.0]),
        "augment": st.just(False),
        "normalise_input": st.just(False),
        "num_train_images": st.sampled_from([2, 2000]),
    },
).map(lambda changes: replace(TARGET_TRAINING, **changes))


@every_ablation
def test_what_differs_is_marked_and_nothing_else_is(ablation: Ablation) -> None:
    was, now = (
        {row.name: row.description for row in layer_table(spec)}
        for spec in (TARGET, ablation.network_spec)
    )
    svg = draw(ablation)
    boxes = boxes_of(svg)
    switched_off = [REMOVED_TRAINING[field] for field in ablation.training]
    missing = Counter([label(was[name]) for name in was if name not in now] + switched_off)
    new = Counter(label(now[name]) for name in now if name not in was)
    # What moved is removed at one place and added at another.
    moved = labels(boxes, "removed") - missing
    assert labels(boxes, "removed") == missing + moved
    assert labels(boxes, "added") == new + moved
    in_both = [[name for name in one if name in other] for one, other in ((was, now), (now, was))]
    assert bool(moved) == (in_both[0] != in_both[1])
    changed = [label(now[name]) for name in now if name in was and now[name] != was[name]]
    assert labels(boxes, "changed") == Counter(changed)
    assert len(boxes) == len({*was, *now}) + 10 + moved.total()
    for box in boxes:
        words = " ".join(box.lines[1:])
        assert ("× removed" in words) == ("removed" in box.classes)
        assert ("+ added" in words) == ("added" in box.classes)
        assert bool(re.search("was |now", words)) == ("changed" in box.classes)
    # The page decides on the looks.
    assert len(svg.encode()) < 12_000
    assert 960 <= float(ElementTree.fromstring(svg).attrib["width"]) <= 1100
    assert not re.search(r"style=|fill=|stroke=|#[0-9a-f]{3}|url\(", svg)


def test_differences_in_words() -> None:
    network = NetworkSpec(
        block="conv-relu", dropout=0.5, hidden_features=(), downsample="stride", conv_bias=False
    )
    training = replace(TARGET_TRAINING, momentum=0.5, drop_learning_rate_after=None)
    assert changed_parts(network, training) == [
        "Conv 3×3 is changed: now no bias (stage 1, stage 2, stage 3).",
        "Batch norm is removed (stage 1, stage 2, stage 3).",
        "Conv 3×3 is changed: now stride 2, now no bias (stage 1, stage 2).",
        "Max pool is removed (stage 1, stage 2).",
        "Dropout is changed: 0.5, was 0.1 (stage 1, stage 2, head).",
        "Linear is changed: 32 → 10, was 32 → 16 (head).",
        "Linear is removed (head).",
        "Momentum is changed: 0.5, was 0.9 (training).",
        "Drop of the learning rate is removed (training).",
    ]


def test_only_differences_and_totals_of_the_target_are_stated() -> None:
    svg = ablation_diagram(TARGET, TARGET_TRAINING, "target")
    assert all(box.classes == {"kept"} for box in boxes_of(svg))
    assert changed_parts(TARGET, TARGET_TRAINING) == []
    assert "Nothing differs from the target. 18,962 parameters, 1,863,456 multiply-adds" in svg
    assert 'class="mark"' not in svg
    svg = ablation_diagram(replace(TARGET, pooling="flatten"), TARGET_TRAINING, "wide")
    assert svg.count("43,538 parameters (target: 18,962), 1,888,032 multiply-adds an image") == 2
    # A length that a study's runs have in common is no difference.
    short = replace(TARGET_TRAINING, num_epochs=2, num_train_images=2000)
    without = replace(short, momentum=0.0)
    assert len(changed_parts(TARGET, short)) == 2
    assert changed_parts(TARGET, without, short) == ["Momentum is removed (training)."]
    boxes = boxes_of(ablation_diagram(TARGET, without, "short", short))
    assert labels(boxes, "kept") >= Counter(["2 epochs", "first 2,000 images"])


def test_output_shapes_name_the_targets_where_they_differ() -> None:
    svg = ablation_diagram(replace(TARGET, channels=(8, 16, 14)), TARGET_TRAINING, "narrow")
    outputs = [
        [text.text for text in group.iter("text")]
        for group in ElementTree.fromstring(svg).iter("g")
        if group.attrib["class"] == "output"
    ]
    assert outputs == [
        ["output 1 × 28 × 28"],
        ["output 8 × 14 × 14"],
        ["output 16 × 7 × 7"],
        ["output 14 × 7 × 7", "was 32 × 7 × 7"],
        ["output 10"],
        [],
    ]


@given(network_specs(), trainings)
def test_every_network_can_be_drawn(network: NetworkSpec, training: TrainingSpec) -> None:
    svg = ablation_diagram(network, training, "some")
    root = ElementTree.fromstring(svg)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert sorted(ids) == ["some-description", "some-title"]
    assert root.attrib["aria-labelledby"].split() == ["some-title", "some-description"]
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert root.attrib["viewBox"].split() == ["0", "0", f"{width:g}", f"{height:g}"]
    for rect in root.iter("rect"):
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
    assert all(are_apart(one, other) for one, other in combinations(boxes_of(svg), 2))


def are_apart(one: Drawn, other: Drawn) -> bool:
    is_beside = one.x + one.width < other.x or other.x + other.width < one.x
    return is_beside or one.y + one.height < other.y or other.y + other.height < one.y


@given(network_specs(), trainings)
def test_sentences_and_marks_agree(network: NetworkSpec, training: TrainingSpec) -> None:
    sentences = changed_parts(network, training)
    for field in fields(training):
        is_changed = getattr(training, field.name) != getattr(TARGET_TRAINING, field.name)
        found = [line for line in sentences if line.startswith(TRAINING_WORDS[field.name])]
        assert len(found) == is_changed, field.name
    boxes = boxes_of(ablation_diagram(network, training, "some"))
    assert any(box.classes != {"kept"} for box in boxes) == bool(sentences)


MEASURE = """() => {
    const inside = (inner, outer) => inner.left >= outer.left && inner.right <= outer.right
        && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
    const problems = [];
    for (const text of document.querySelectorAll("svg text")) {
        const innermost = [...text.parentNode.querySelectorAll(":scope > rect")].at(-1);
        const outer = text.parentNode.tagName === "g" && innermost || text.ownerSVGElement;
        if (!inside(text.getBoundingClientRect(), outer.getBoundingClientRect()))
            problems.push(`${text.textContent} leaves its frame`);
        if (parseFloat(getComputedStyle(text).fontSize) < 12)
            problems.push(`${text.textContent} is small`);
    }
    return problems;
}"""


def test_texts_stay_in_their_boxes_in_a_browser(browser: Browser) -> None:
    drawn = [draw(ablation) for ablation in CATALOGUE]
    drawn += [ablation_diagram(*specs, name.replace(" ", "-")) for name, specs in ODD.items()]
    drawn += [draw(find_ablation("no-gap-matched+no-dropout+no-momentum"))]
    style = read_text("static/page.css") + read_text("static/diagram.css")
    page = browser.new_page(viewport={"width": 2400, "height": 900})
    page.set_content(f"<style>{style} body {{ max-width: none }}</style>{''.join(drawn)}")
    assert page.locator("svg text").count() > 500
    assert page.evaluate(MEASURE) == []
    page.close()


def test_marks_are_shapes_in_a_browser(browser: Browser) -> None:
    style = read_text("static/page.css") + read_text("static/diagram.css")
    page = browser.new_page()
    drawn = ablation_diagram(*ODD["five stages"], "five")
    page.set_content(f"<style>{style}</style>{drawn}")

    def look(selector: str, name: str) -> str:
        return page.locator(selector).first.evaluate(
            f"element => getComputedStyle(element)['{name}']"
        )

    assert look("g.removed rect", "strokeDasharray") == "5px, 3px"
    assert look("g.removed text:not(.mark)", "textDecorationLine") == "line-through"
    assert look("g.removed .mark", "textDecorationLine") == "none"
    assert look("g.added rect", "strokeWidth") == "3px"
    assert look("g.kept rect", "strokeWidth") == "1px"
    assert look("g.kept rect", "strokeDasharray") == "none"
    assert page.locator("g.changed rect").count() == 2 * page.locator("g.changed").count() > 0
    page.close()
