"""What figures have in common: rows of estimates, logarithmic axes, and a legend below."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ablations.analysis.intervals import Difference, Effect
from ablations.analysis.statistics import Estimate
from reports.figures.svg import COLOURS
from reports.text.wording import two_digits


def draw_estimate(
    axes: Axes,
    found: Estimate | Effect,
    height: float,
    label: str,
    *,
    colour: str = "variant",
    marker: str = "o",
    spread: float = 0.5,
) -> None:
    """A mean with its 95 % interval (a hollow mark if there is none), and a dot for each known seed.

    The dots are spread over the height `spread`, so that dots of equal value do not overlap.
    """
    mean, *_ = axes.errorbar(
        found.mean, height, fmt=marker, label=label,
        xerr=[[abs(edge - found.mean)] for edge in found.interval_95 or ()] or None,
        color=COLOURS[colour], markersize=7, elinewidth=2.2, markeredgewidth=1.8,
        markerfacecolor=COLOURS[colour] if found.interval_95 else "none",
    )  # fmt: skip
    mean.set_zorder(4)  # Above the seeds, which are above the interval.
    if not isinstance(found, Estimate | Difference):
        return
    values = list(found.by_seed.values())
    heights = height + spread * ((np.arange(len(values)) + 0.5) / len(values) - 0.5)
    axes.scatter(
        values, heights, s=25, color=COLOURS["target"], edgecolors=COLOURS["paper"],
        linewidths=0.5, zorder=3, label="each seed",
    )  # fmt: skip


def finish_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Rows from top to bottom with labels at the left, and the line of zero."""
    axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=1.5)
    axes.set_yticks(range(len(labels)), labels, color=COLOURS["ink"])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.spines.left.set_visible(False)


def scale_logarithmically(axes: Axes) -> None:
    """A logarithmic vertical axis with a few ticks in plain numbers, for any range of values."""
    axes.set_yscale("log", subs=[])
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.yaxis.set_major_formatter(lambda value, _: two_digits(value))
    axes.grid(axis="x", visible=False)


def add_legend(figure: Figure, num_columns: int) -> None:
    """The legend of all panels, with each label once."""
    marks = {
        label: mark
        for axes in figure.axes
        for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=num_columns)
