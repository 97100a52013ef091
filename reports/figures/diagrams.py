"""A network and its training as a picture, with what differs from the target marked.

Shapes and words mark differences, never colour alone: a removed part has a dashed box and its text
struck through, an added one a thick box, a changed one a double box. Style: `static/diagram.css`.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log2
from typing import NamedTuple

from markupsafe import Markup, escape

from ablations.catalogue.experiment import TARGET_TRAINING, TrainingSpec
from mnist_blocks import TARGET, NetworkSpec
from reports.figures.diagram_parts import (
    Box,
    Column,
    cached_layers,
    change_words,
    changed_parts,
    columns,
)

MARGIN = 6
LINE_HEIGHT = 14
PADDING = 5
"""Between a box's edge and its text."""
BOX_GAP = 6
BLOCK_GAP = 14
"""Between the blocks of a stage."""
STACK_TOP = 46
SHAPE_TOP = 56
"""Where feature maps stand, in the gap between two columns."""
LINE_TOP = 30
"""How high the line from one column to the next goes."""
SHAPE_KINDS = ("detail", "detail", "mark")
"""Of the lines below a shape: the third is there where the target has another shape."""
SYMBOLS = {"removed": "×", "added": "+"}


class Placed(NamedTuple):
    """A box and its position in pixels."""

    box: Box
    x: int
    y: int
    width: int
    height: int


def ablation_diagram(
    network: NetworkSpec,
    training: TrainingSpec,
    name: str,
    target_training: TrainingSpec = TARGET_TRAINING,
) -> Markup:
    """The network, its images and its training as an `<svg>`, marked where the target differs.

    `name` must be unique in the page: ids begin with it. In a study that is shorter than the
    reference recipe, `target_training` is its target's training, so that the common length is not
    marked.
    """
    found = columns(network, training, target_training)
    stacks, shape_x, width = _place(found)
    bottom = max(_bottom_of(stack) for stack in stacks)
    parts = [_draw_flow(found, stacks, shape_x)]
    for column, stack in zip(found, stacks, strict=True):
        parts.append(text(stack[0].x + stack[0].width / 2, 20, column.title, "title"))
        parts += [_draw_box(placed) for placed in stack]
    parts += [
        _draw_shape(column, x) for column, x in zip(found, shape_x, strict=False) if column.shape
    ]
    totals = _total_words(network)
    parts.append(text(width / 2, bottom + 36, totals, "total"))
    words = changed_parts(network, training, target_training)
    title = "Diagram of what differs from the target" if words else "Diagram of the target"
    description = " ".join([*(words or ["Nothing differs from the target."]), f"{totals}."])
    opening = Markup(
        '<svg class="diagram" role="img" aria-labelledby="{name}-title {name}-description" '
        'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        '<title id="{name}-title">{title}</title><desc id="{name}-description">{text}</desc>'
    ).format(name=name, width=width, height=bottom + 50, title=title, text=description)
    return opening + Markup("\n".join(parts)) + Markup("</svg>")


def _total_words(network: NetworkSpec) -> str:
    """Parameters and multiply-adds, beside the target's where they are others."""
    words = []
    for field, unit in (("parameters", "parameters"), ("multiply_adds", "multiply-adds an image")):
        number, target = (
            sum(getattr(row, field) for row in cached_layers(spec)) for spec in (network, TARGET)
        )
        words.append(f"{number:,} {unit}" + (f" (target: {target:,})" if number != target else ""))
    return ", ".join(words)


def _place(found: Sequence[Column]) -> tuple[list[list[Placed]], list[int], int]:
    """The position of each box, the middle of each gap between columns, and the total width."""
    stacks, shape_x, x = [], [], MARGIN
    for column, following in pairwise([*found, None]):
        assert column
        width = max(_box_width(box) for box in column.boxes)
        stacks.append(_place_stack(column.boxes, x, width))
        x += width
        if following:
            lines = zip(_shape_lines(column), SHAPE_KINDS, strict=False)
            gap = max(40, *(round(_text_width(*line)) + 14 for line in lines))
            shape_x.append(x + gap // 2)
            x += gap
    return stacks, shape_x, x + MARGIN


def _place_stack(boxes: Sequence[Box], x: int, width: int) -> list[Placed]:
    """The boxes of one column, each below the one before it."""
    stack: list[Placed] = []
    y = STACK_TOP
    for box, following in pairwise([*boxes, None]):
        assert box
        height = LINE_HEIGHT * len(_box_lines(box)) + 2 * PADDING
        stack.append(Placed(box, x, y, width, height))
        is_block_end = following and _block_of(box) != _block_of(following)
        y += height + (BLOCK_GAP if is_block_end else BOX_GAP)
    return stack


def _block_of(box: Box) -> str:
    """The block that a layer belongs to; empty outside of one."""
    return box.part.key.rpartition(".")[0]


def _bottom_of(stack: Sequence[Placed]) -> int:
    """The bottom edge of a column."""
    return stack[-1].y + stack[-1].height


def _box_lines(box: Box) -> list[tuple[str, str]]:
    """The lines of a box, each with its class: what it is, and what is different."""
    part, was = box.part, box.was
    lines = [(part.label, "label")]
    if box.state != "removed":
        lines += [(line, "detail") for line in part.details if was is None or line in was.details]
    for words in change_words(box):
        symbol = SYMBOLS.get(words)
        lines.append((f"{symbol} {words}" if symbol else words, "mark"))
    return lines


def _box_width(box: Box) -> int:
    """Room for the longest line of a box."""
    edges = 2 * (9 if box.state == "changed" else 6)
    return max(round(_text_width(*line)) for line in _box_lines(box)) + edges


def _text_width(words: str, kind: str) -> float:
    """About how wide a text is, in a wide font (DejaVu Sans) of 12 pixels; marks are bold."""
    widths = [4 if letter in " .,ijlt" else 10 if letter in "→×÷mw%+" else 7.3 for letter in words]
    return sum(widths) * (1.1 if kind == "mark" else 1)


def _draw_box(placed: Placed) -> str:
    """One box with its lines."""
    box, x, y, width, height = placed
    rects = [_rect(x, y, width, height)]
    if box.state == "changed":
        rects.append(_rect(x + 3, y + 3, width - 6, height - 6))
    texts = [
        text(x + width / 2, y + PADDING + LINE_HEIGHT * number + 11, words, kind)
        for number, (words, kind) in enumerate(_box_lines(box))
    ]
    return f'<g class="{box.state}">{"".join([*rects, *texts])}</g>'


def _rect(x: float, y: float, width: float, height: float, radius: float = 4) -> str:
    """A rectangle with round corners."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'


def text(x: float, y: float, words: str, kind: str) -> str:
    """A line of text around x."""
    # The style sheet takes a text without a class for a label.
    attribute = "" if kind == "label" else f' class="{kind}"'
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(words)}</text>'


def _shape_lines(column: Column) -> list[str]:
    """The output shape of a column in words; in the last line the target's where it differs."""
    shape, was = column.shape, column.target_shape
    if not shape:
        return [""]
    if len(shape) == 1:
        return [f"{shape[0]}", "scores"]
    sides = [f"{size[1]}×{size[2]}" if size and len(size) == 3 else "" for size in (shape, was)]
    lines = [f"{shape[0]} {'map' if shape[0] == 1 else 'maps'}", sides[0]]
    if column.title == "Images":
        lines[0] = "1 image"
    if was and was != shape:
        differing = [f"{was[0]}"] if was[0] != shape[0] else []
        differing += [sides[1]] if sides[0] != sides[1] else []
        lines.append("was " + ", ".join(differing))
    return lines


def _squares(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Number of squares of a shape, their side, and the offset from one to the next.

    The side is to scale. Their number only hints at that of the channels: it grows by one where
    that doubles. A vector is a row of small squares.
    """
    if len(shape) == 1:
        return min(shape[0], 10), 4, 5
    return round(log2(shape[0])) + 1, shape[1], 3


def _shape_bottom(shape: tuple[int, ...]) -> int:
    """The bottom edge of the squares of a shape."""
    count, side, step = _squares(shape)
    return SHAPE_TOP + side + step * (count - 1)


def _draw_shape(column: Column, x: int) -> str:
    """The output of a column: feature maps as a stack of squares, a vector as a row."""
    assert column.shape
    count, side, step = _squares(column.shape)
    step_x = step if len(column.shape) == 3 else 0
    left = x - (side + step_x * (count - 1)) / 2
    rects = [_rect(left + step_x * i, SHAPE_TOP + step * i, side, side, 0) for i in range(count)]
    lines = _shape_lines(column)
    texts = [
        text(x, _shape_bottom(column.shape) + LINE_HEIGHT * number, words, kind)
        for number, (words, kind) in enumerate(zip(lines, SHAPE_KINDS, strict=False), start=1)
    ]
    is_changed = len(lines) == len(SHAPE_KINDS)
    return f'<g class="shape{" changed" if is_changed else ""}">{"".join([*rects, *texts])}</g>'


def _draw_flow(
    found: Sequence[Column], stacks: Sequence[Sequence[Placed]], shape_x: Sequence[int]
) -> str:
    """The path of the data: down each column, and up between it and the next."""
    middles = [stack[0].x + stack[0].width / 2 for stack in stacks]
    path = []
    for number, (column, stack) in enumerate(zip(found, stacks, strict=True)):
        bottom = _bottom_of(stack)
        path.append(f"M{middles[number]:g} {STACK_TOP}V{bottom}")
        if number < len(shape_x):
            x, top = shape_x[number], LINE_TOP
            if column.shape:
                top = _shape_bottom(column.shape) + LINE_HEIGHT * len(_shape_lines(column)) + 8
                # The line continues above the shape and its words.
                path.append(f"V{max(bottom, top) + 8}H{x}V{top}M{x} {SHAPE_TOP - 6}V{LINE_TOP}")
            else:
                path.append(f"V{bottom + 8}H{x}V{LINE_TOP}")
            path.append(f"H{middles[number + 1]:g}V{STACK_TOP - 2}m-4-5l4 5l4-5")
    return f'<path class="flow" d="{"".join(path)}"/>'
