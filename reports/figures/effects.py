"""Figures of the effects of removing ingredients: with intervals, and against what they cost."""

from collections.abc import Callable, Sequence
from math import ceil, log10
from textwrap import shorten
from typing import Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from ablations.analysis.intervals import Difference
from ablations.analysis.requirements import PARAMETER_LIMIT
from ablations.analysis.summary import AblationResult
from reports.figures.axes import add_legend, draw_estimate, finish_rows
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import capitalised, interval, signed, verdict_name

FAR = 20
"""A difference this many times the median one is far away."""
SAME_COST = 0.1
"""Costs that differ by less than this share of the target's are not labelled."""
VERDICT_OFFSET = 160
"""From the axes to the verdict, in pixels at the figure's natural size."""


def effects_figure(
    rows: Sequence[AblationResult], margin_pct: float, name: str, *, is_narrow: bool = False
) -> Markup | None:
    """The effect of each removal, largest loss first, with its interval and verdict.

    `is_narrow`: for a phone, with the words of a row above its marks. None when nothing is compared.
    """
    compared = sorted(_compared(rows), key=lambda one: one[0].mean)
    if not compared:
        return None
    with figure_style():
        height = (0.8 if is_narrow else 0.36) * len(compared) + 1.1
        figure = Figure(figsize=(4.6 if is_narrow else 13, height))
        axes = figure.subplots()
        for position, (difference, row) in enumerate(compared):
            _draw_row(axes, difference, row, position, margin_pct, is_narrow=is_narrow)
        labels = [capitalised(shorten(row.ablation.removes, 52)) for _, row in compared]
        finish_rows(axes, [""] * len(labels) if is_narrow else labels)
        for edge in (-margin_pct, margin_pct):
            axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
        axes.set_xlabel("effect of removing it (points)")
        _scale_effects([axes], "x", [one for one, _ in compared])
        add_legend(figure, 1 if is_narrow else 4)
        words = "; ".join(
            f"{row.ablation.removes} {signed(difference.mean)}" for difference, row in compared
        )
        name += "-narrow" * is_narrow
        return to_svg(figure, name, "Effect of each removal, in percentage points", words)


def _draw_row(
    axes: Axes,
    difference: Difference,
    row: AblationResult,
    position: int,
    margin_pct: float,
    *,
    is_narrow: bool,
) -> None:
    """An estimate with the seeds, and the numbers in words beside it, or above it."""
    is_core = row.ablation.is_core
    label = "mean" if difference.interval_95 is None else "mean and 95 % interval"
    draw_estimate(
        axes, difference, position + 0.25 * is_narrow,
        f"{label}, concept" if is_core else label,
        marker="D" if is_core else "o",
    )  # fmt: skip
    beside, words = axes.get_yaxis_transform(), signed(difference.mean)
    if difference.interval_95:
        words += f" ({interval(difference.interval_95)})"
    if is_narrow:
        for height, text in ((-0.34, capitalised(_short(row, 48))), (-0.08, words)):
            axes.text(
                0, position + height, text, transform=beside, va="center", zorder=5,
                bbox={"facecolor": COLOURS["paper"], "linewidth": 0, "pad": 0.5},
            )  # fmt: skip
        return
    second = VERDICT_OFFSET if difference.interval_95 else VERDICT_OFFSET / 2
    for offset, text in ((12, words), (second, verdict_name(row, margin_pct))):
        axes.annotate(
            text,
            (1, position),
            (offset, 0),
            xycoords=beside,
            textcoords="offset points",
            va="center",
        )


def cost_figure(
    rows: Sequence[AblationResult], target: AblationResult, *, is_narrow: bool = False
) -> Markup | None:
    """The effect of each removal against parameters, multiply-adds and epoch time of what is left.

    The target is the point at zero. None when nothing is compared.
    """
    compared = _compared(rows)
    if not compared:
        return None
    costs: list[tuple[str, Callable[[AblationResult], float]]] = [
        ("parameters", lambda row: row.parameters),
        ("multiply-adds per image", lambda row: row.multiply_adds),
    ]
    if target.epoch_time and all(row.epoch_time for _, row in compared):
        costs.append(("epoch time (s)", lambda row: getattr(row.epoch_time, "median_seconds", 0)))
    with figure_style():
        size = (4.6, 3.6 * len(costs)) if is_narrow else (12.5, 5.4)
        figure = Figure(figsize=size)
        panels = figure.subplots(*((len(costs), 1) if is_narrow else (1, len(costs))), sharey=True)
        for axes, (title, cost) in zip(panels, costs, strict=True):
            _draw_costs(axes, compared, target, cost)
            axes.set_xlabel(title)
        _scale_effects(panels, "y", [one for one, _ in compared])
        panels[0].axvline(
            PARAMETER_LIMIT,
            color=COLOURS["published"],
            linestyle="--",
            label="limit of the assignment",
        )
        for axes in panels if is_narrow else panels[:1]:
            axes.set_ylabel("effect (points)")
        add_legend(figure, 1 if is_narrow else 3)
        words = "; ".join(
            f"{row.ablation.removes}: effect {signed(difference.mean)}, "
            + ", ".join(f"{cost(row):,.4g} {title}" for title, cost in costs)
            for difference, row in compared
        )
        name = f"costs{'-narrow' * is_narrow}"
        return to_svg(figure, name, "Effect of each removal against its cost", words)


def _draw_costs(
    axes: Axes,
    compared: Sequence[tuple[Difference, AblationResult]],
    target: AblationResult,
    cost: Callable[[AblationResult], float],
) -> None:
    axes.axhline(0, color=COLOURS["ink"], linewidth=1)
    for difference, row in compared:
        value, effect, is_core = cost(row), difference.mean, row.ablation.is_core
        axes.plot(
            value, effect, "D" if is_core else "o", color=COLOURS["variant"],
            label="without a concept of the assignment" if is_core else "without another ingredient",
        )  # fmt: skip
        if abs(value / cost(target) - 1) > SAME_COST:
            is_right = value < cost(target)
            axes.annotate(
                _short(row, 26), (value, effect), (7 if is_right else -7, 0), va="center",
                textcoords="offset points", ha="left" if is_right else "right",
            ).set_in_layout(False)  # fmt: skip
    axes.plot(cost(target), 0, "s", color=COLOURS["ink"], label="target")
    axes.margins(x=0.35)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.8g}")


def _compared(rows: Sequence[AblationResult]) -> list[tuple[Difference, AblationResult]]:
    return [(row.difference_pct, row) for row in rows if row.difference_pct]


def _short(row: AblationResult, num_letters: int) -> str:
    """What is removed, without the explanation in brackets."""
    return shorten(row.ablation.removes.partition(" (")[0], num_letters, placeholder=" …")


def _scale_effects(
    panels: Sequence[Axes], direction: Literal["x", "y"], differences: Sequence[Difference]
) -> None:
    """Use a linear axis or, if one effect is far from zero, an axis that is logarithmic far from zero.

    On a linear axis, one network that fails would hide the effects of all others. Several panels
    share their axis.
    """
    sizes = [max(map(abs, (one.mean, *(one.interval_95 or ())))) for one in differences]
    typical = max(float(np.median(sizes)), 0.05)
    first = panels[0]
    axis = first.xaxis if direction == "x" else first.yaxis
    if max(sizes) > FAR * typical:
        bound = 10.0 ** ceil(log10(2 * typical))
        getattr(first, f"set_{direction}scale")("symlog", linthresh=bound, linscale=1.6)
        first.autoscale(axis=direction)
        limits = axis.get_view_interval()
        for axes in panels:
            span = axes.axvspan if direction == "x" else axes.axhspan
            for far in (-1000, 1000):
                span(np.copysign(bound, far), far, color=COLOURS["shade"], linewidth=0, zorder=0)
        getattr(first, f"set_{direction}lim")(*limits)
        ticks = [bound / 2, *(bound * 10**power for power in range(4))]
        axis.set_major_locator(FixedLocator([0, *ticks, *(-tick for tick in ticks)]))
        if direction == "x":
            first.set_xlabel(f"{first.get_xlabel()}\nlogarithmic beyond ±{bound:g} (shaded)")
    axis.set_major_formatter(lambda value, _: signed(value, digits=None))
