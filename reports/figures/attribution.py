"""The heat map of the effects of removing combinations. Returns SVG; nothing is computed here."""

from collections.abc import Collection, Sequence
from itertools import product
from textwrap import wrap

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablations.analysis.attribution import Removed
from ablations.analysis.summary import Results
from ablations.catalogue.designs import names_of, subsets
from ablations.words import plural
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import REMOVED_WORDS, enumerate_words, signed

MAX_INGREDIENTS = 5
"""Of a heat map: more do not fit on a phone. The table of every combination has any number."""
WIDTH_INCHES = 328 / 72
"""The column of a phone, so that the text has its size there."""
LINE_LENGTH = 36
"""Letters of the text of size 12 that fit into all columns."""
STRONGEST = 0.5
"""Opacity of the largest effect's colour; text has enough contrast on it, on light and dark pages."""


def combinations_figure(results: Results) -> Markup | None:
    """The effects of removing every combination of all ingredients that were combined, or else of one
    set's; None where there are too many, or where at least half of the networks were not run.

    The first half of the ingredients varies along rows, the others vary along columns.
    """
    every = (*results.rows, *results.combinations)
    networks = {frozenset(names_of(row.ablation)): row for row in every}
    sets = [frozenset(found.names) for found in results.attributions]
    chosen = next((one for one in (Removed().union(*sets), *sets) if _fits(one, networks)), None)
    if not chosen:
        return None
    networks = {removed: row for removed, row in networks.items() if removed <= chosen}
    is_unequal = len({len(row.runs) for row in networks.values()}) > 1
    effects = {key: row.difference_pct.mean for key, row in networks.items() if row.difference_pct}
    largest = max(map(abs, effects.values())) or 1
    names = [name for name in REMOVED_WORDS if name in chosen]
    half = (len(names) + 1) // 2
    along = subsets(names[:half]), subsets(names[half:])
    with figure_style():
        figure, axes = _empty_grid(*along)
        for (row, one), (column, other) in product(*map(enumerate, along)):
            removed = one | other
            text, colour = (
                "full\nnetwork" if removed in networks else "not run",
                (0.0, 0.0, 0.0, 0.0),
            )
            if (mean := effects.get(removed)) is not None:
                text, strength = signed(mean), round(STRONGEST * abs(mean) / largest, 2)
                colour = to_rgba(COLOURS["variant" if mean > 0 else "published"], strength)
            if is_unequal and removed in networks:
                text += f"\n{plural(len(networks[removed].runs), 'seed')}"
            axes.add_patch(
                Rectangle((column, row), 1, 1, fc=colour, ec=COLOURS["muted"], clip_on=False)
            )
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center")
        title = "Effect of removing every combination of ingredients, in percentage points"
        words = [
            f"{enumerate_words(REMOVED_WORDS[name] for name in names if name in removed)} {signed(mean)}"
            for removed, mean in effects.items()
        ]
        return to_svg(figure, "combinations", title, "; ".join(words))


def _fits(chosen: Removed, networks: Collection[Removed]) -> bool:
    """Whether a map of these ingredients is small enough and more than half full."""
    num_run = sum(removed <= chosen for removed in networks)
    return 1 < len(chosen) <= MAX_INGREDIENTS and 2 * num_run > 2 ** len(chosen)


def _empty_grid(rows: Sequence[Removed], columns: Sequence[Removed]) -> tuple[Figure, Axes]:
    """A cell of one by one for each row and column, with what they remove as labels."""
    row_labels = [_label(one, rows[-1], 14) for one in rows]
    line_length = LINE_LENGTH // len(columns)
    is_upright = all(len(word) <= line_length for one in columns for word in _words(one).split())
    column_labels = [_label(one, columns[-1], line_length if is_upright else 14) for one in columns]
    num_lines = 1 + max(label.count("\n") for label in row_labels)
    height_inches = (1 if is_upright else 1.6) + len(rows) * max(0.7, 0.22 * num_lines)
    figure = Figure(figsize=(WIDTH_INCHES, height_inches))
    axes = figure.subplots()
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_xticks(np.arange(len(columns)) + 0.5, column_labels, rotation=90 * (not is_upright))
    axes.set_yticks(np.arange(len(rows)) + 0.5, row_labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=COLOURS["ink"])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure, axes


def _words(removed: Removed) -> str:
    return " + ".join(words for name, words in REMOVED_WORDS.items() if name in removed)


def _label(removed: Removed, every: Removed, line_length: int) -> str:
    """What a row or a column removes."""
    if removed == every and len(removed) > 1:
        return "both" if len(removed) == 2 else f"all {len(removed)}"
    return "\n".join(wrap(_words(removed) or "nothing", line_length, break_long_words=False))
