"""A network and its training as a picture, with what differs from the target marked.

Shapes and words mark differences, never colour alone: a removed part has a dashed box and its text
struck through, an added one a thick box, a changed one a double box. Style: `static/diagram.css`.
"""

from collections.abc import Sequence
from itertools import pairwise
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
COLUMN_GAP = 40
STACK_TOP = 46
LINE_TOP = 30
"""How high the line from one column to the next goes."""
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
    stacks, x = [], MARGIN
    for column in found:
        stacks.append(_place_stack(column, x))
        x += stacks[-1][0].width + COLUMN_GAP
    width = x - COLUMN_GAP + MARGIN
    bottom = max(_bottom_of(stack) for stack in stacks) + 2 * LINE_HEIGHT
    parts = [_draw_flow(stacks)]
    for column, stack in zip(found, stacks, strict=True):
        middle = stack[0].x + stack[0].width / 2
        output = _draw_lines(_output_lines(column), middle, _bottom_of(stack) + 4)
        parts += [
            _text(middle, 20, column.title, "title"),
            *map(_draw_box, stack),
            f'<g class="output">{output}</g>',
        ]
    totals = _total_words(network)
    parts.append(_text(width / 2, bottom + 30, totals, "total"))
    words = changed_parts(network, training, target_training)
    title = "Diagram of what differs from the target" if words else "Diagram of the target"
    description = " ".join([*(words or ["Nothing differs from the target."]), f"{totals}."])
    opening = Markup(
        '<svg class="diagram" role="img" aria-labelledby="{name}-title {name}-description" '
        'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        '<title id="{name}-title">{title}</title><desc id="{name}-description">{text}</desc>'
    ).format(name=name, width=width, height=bottom + 44, title=title, text=description)
    return opening + Markup("\n".join(parts)) + Markup("</svg>")


def _total_words(network: NetworkSpec) -> str:
    """Parameters and multiply-adds, and the target's where they differ."""
    words = []
    for field, unit in (("parameters", "parameters"), ("multiply_adds", "multiply-adds an image")):
        number, target = (
            sum(getattr(row, field) for row in cached_layers(spec)) for spec in (network, TARGET)
        )
        words.append(f"{number:,} {unit}" + (f" (target: {target:,})" if number != target else ""))
    return ", ".join(words)


def _place_stack(column: Column, x: int) -> list[Placed]:
    """The boxes of one column, each below the one before it."""
    lines = [line for box in column.boxes for line in _box_lines(box)]
    # A changed box has a second frame inside.
    width = 18 + max(round(_text_width(*line)) for line in (*lines, *_output_lines(column)))
    stack: list[Placed] = []
    y = STACK_TOP
    for box, following in pairwise([*column.boxes, None]):
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


def _output_lines(column: Column) -> list[tuple[str, str]]:
    """The output shape of a column, and the target's where it differs; each with its class."""
    shape, was = (
        " × ".join(map(str, sides or ())) for sides in (column.shape, column.target_shape)
    )
    lines = [(f"output {shape}", "detail")] if shape else []
    return lines + ([(f"was {was}", "mark")] if shape and was and shape != was else [])


def _text_width(words: str, kind: str) -> float:
    """About how wide a text is, in a wide font (DejaVu Sans) of 12 pixels; marks are bold."""
    widths = [4 if letter in " .,ijlt" else 10 if letter in "→×÷mw%+" else 7.3 for letter in words]
    return sum(widths) * (1.1 if kind == "mark" else 1)


def _draw_box(placed: Placed) -> str:
    """One box with its lines."""
    box, x, y, width, height = placed
    rects = _rect(x, y, width, height)
    if box.state == "changed":
        rects += _rect(x + 3, y + 3, width - 6, height - 6)
    lines = _draw_lines(_box_lines(box), x + width / 2, y + PADDING)
    return f'<g class="{box.state}">{rects}{lines}</g>'


def _rect(x: float, y: float, width: float, height: float) -> str:
    """A rectangle with round corners."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'


def _draw_lines(lines: Sequence[tuple[str, str]], x: float, top: float) -> str:
    """Lines of text around x, one below the other."""
    return "".join(
        _text(x, top + LINE_HEIGHT * number + 11, words, kind)
        for number, (words, kind) in enumerate(lines)
    )


def _text(x: float, y: float, words: str, kind: str) -> str:
    """A line of text around x."""
    # The style sheet takes a text without a class for a label.
    attribute = "" if kind == "label" else f' class="{kind}"'
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(words)}</text>'


def _draw_flow(stacks: Sequence[Sequence[Placed]]) -> str:
    """The path of the data: down each column, and up to the top of the next."""
    path = ""
    for number, stack in enumerate(stacks):
        first, last = stack[0], stack[-1]
        middle, right = first.x + first.width / 2, last.x + last.width
        arrow = f"V{STACK_TOP - 2}m-4-5l4 5l4-5" if number else ""
        path += f"{f'H{middle:g}' if number else ''}{arrow}M{middle:g} {STACK_TOP}V{last.y}"
        if number < len(stacks) - 1:
            path += f"M{right} {last.y + last.height / 2:g}H{right + COLUMN_GAP // 2}V{LINE_TOP}"
    return f'<path class="flow" d="{path}"/>'
