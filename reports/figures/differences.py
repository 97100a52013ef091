"""Figures of differences from the target: in one study, and in several side by side."""

from collections.abc import Sequence
from math import ceil, log10

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from ablations.analysis.intervals import Difference
from ablations.analysis.replication import ReplicationRow
from ablations.analysis.summary import AblationResult, Results
from ablations.words import plural
from reports.figures.axes import add_legend, draw_estimate, finish_rows
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import signed

FAR = 20
"""A difference this many times the median one is far away."""


def difference_figure(rows: Sequence[AblationResult], margin_pct: float) -> Markup | None:
    """Every ablation's difference from the target, in the order of the differences.

    None when nothing can be compared.
    """
    compared = [(row.difference_pct.mean, row) for row in rows if row.difference_pct]
    if not compared:
        return None
    rows = [row for _, row in sorted(compared, key=lambda one: one[0])]
    with figure_style():
        figure = Figure(figsize=(11, 1.2 + 0.42 * len(rows)))
        axes = figure.subplots()
        words = _draw_differences(axes, rows, [_row_label(row) for row in rows], margin_pct)
        axes.text(
            0, 1.01, "target", transform=axes.get_xaxis_transform(), ha="center", weight="bold"
        )
        add_legend(figure, 3)
        title = "Difference of each ablation from the target, in percentage points"
        return to_svg(figure, "differences", title, words)


def replication_figure(
    rows: Sequence[ReplicationRow], studies: Sequence[Results], labels: Sequence[str]
) -> Markup:
    """One panel for each study, each with its own scale, and the same ablations in the same order."""
    names, words = [row.ablation.name for row in rows], []
    with figure_style():
        figure = Figure(figsize=(3 + 4.2 * len(studies), 1.7 + 0.36 * len(rows)))
        panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
        for number, (axes, study, label) in enumerate(zip(panels, studies, labels, strict=True)):
            results, margin_pct = [row.rows[number] for row in rows], study.study.spec.margin_pct
            words.append(f"{label}: {_draw_differences(axes, results, names, margin_pct)}")
            axes.set_title(label)
        add_legend(figure, 3)
        title = "Differences from the target in each study"
        return to_svg(figure, "replication", title, ". ".join(words))


def _draw_differences(
    axes: Axes, rows: Sequence[AblationResult | None], labels: Sequence[str], margin_pct: float
) -> str:
    """Draw a row for each ablation, from top to bottom; a row that is None stays empty.

    Two dotted lines mark the equivalence margin. Returns a description in words.
    """
    found, beside = [], axes.get_yaxis_transform()
    for height, row in enumerate(rows):
        if row and row.difference_pct:
            difference, is_core = row.difference_pct, row.ablation.is_core
            label = f"mean {'with 95 %' if difference.interval_95 else 'without'} interval"
            draw_estimate(
                axes, difference, height, f"{label} (core concept)" if is_core else label,
                marker="D" if is_core else "o",
            )  # fmt: skip
            axes.text(1.02, height, signed(difference.mean), transform=beside, va="center")
            found.append((row.ablation.name, difference))
    finish_rows(axes, labels)
    for edge in (-margin_pct, margin_pct):
        axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
    axes.set_xlabel("test accuracy minus the target's mean (points)")
    if found:
        _scale_differences(axes, [difference for _, difference in found])
    return "; ".join(f"{name} {signed(difference.mean)}" for name, difference in found)


def _row_label(row: AblationResult) -> str:
    """An ablation's name and seeds, and whether it is a core concept or has failed runs."""
    words = [plural(row.difference_pct.num_seeds[0], "seed")] if row.difference_pct else []
    words += ["core"] if row.ablation.is_core else []
    words += ["failed runs"] if row.failed else []
    return f"{row.ablation.name} ({', '.join(words)})"


def _scale_differences(axes: Axes, differences: Sequence[Difference]) -> None:
    """Use a linear axis or, if one row is far from zero, an axis that is logarithmic far from zero.

    On a linear axis, one network that fails would hide the differences of all others.
    """
    sizes = [max(map(abs, (one.mean, *(one.interval_95 or ())))) for one in differences]
    typical = max(float(np.median(sizes)), 0.05)
    if max(sizes) > FAR * typical:
        bound = 10.0 ** ceil(log10(2 * typical))
        axes.set_xscale("symlog", linthresh=bound, linscale=1.6)
        axes.autoscale(axis="x")
        limits = axes.get_xlim()
        for far in (-1000, 1000):
            axes.axvspan(
                np.copysign(bound, far), far, color=COLOURS["shade"], linewidth=0, zorder=0
            )
        axes.set_xlim(limits)
        ticks = [bound / 2, *(bound * 10**power for power in range(4))]
        axes.xaxis.set_major_locator(FixedLocator([0, *ticks, *(-tick for tick in ticks)]))
        axes.set_xlabel(f"{axes.get_xlabel()}\nlogarithmic beyond ±{bound:g} (shaded)")
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, digits=None))
