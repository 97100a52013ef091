"""Figures of differences and learning curves. Each function takes results and returns SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ablations.analysis.requirements import WANTED_ACCURACY_PCT
from ablations.analysis.statistics import PairedDifference
from ablations.analysis.summary import AblationResult
from ablations.records.run import RunRecord
from ablations.words import plural
from reports.figures.svg import COLOURS, ZERO_LINE, figure_style, to_svg
from reports.text.wording import decimal, signed

ERROR_TICKS_PCT = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
SEED_SPREAD = 0.5
"""Share of a row's height over which the dots of its seeds are spread."""


class DifferenceFigure(NamedTuple):
    """The picture, and what its caption must explain."""

    svg: Markup
    linear_up_to_pct: float | None
    """Up to which difference the axis is evenly spaced; None: everywhere."""


def difference_figure(rows: Sequence[AblationResult], margin_pct: float) -> DifferenceFigure | None:
    """Every ablation's difference from the target: seeds as dots, mean and interval above them.

    None when no ablation shares a seed with the target.
    """
    found = {row.ablation.name: row.difference_pct for row in rows if row.difference_pct}
    if not found:
        return None
    rows = sorted(
        (row for row in rows if row.ablation.name in found),
        key=lambda row: found[row.ablation.name].mean,
    )
    with figure_style():
        figure = Figure(figsize=(11, 0.9 + 0.42 * len(rows)), layout="constrained")
        axes = figure.subplots()
        linear_up_to_pct = draw_differences(axes, rows, margin_pct)
        axes.annotate(
            "target", (0, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
            textcoords="offset points", ha="center", va="bottom", weight="bold",
        )  # fmt: skip
        for height, row in enumerate(rows):
            difference = found[row.ablation.name]
            for text, offset, colour in (
                (signed(difference.mean), 50, "ink"),
                (plural(len(difference.by_seed), "seed"), 112, "muted"),
            ):
                axes.annotate(
                    text, (1, height), xycoords=("axes fraction", "data"), xytext=(offset, 0),
                    textcoords="offset points", ha="right", va="center", color=COLOURS[colour],
                )  # fmt: skip
        axes.set_xlabel("test accuracy minus the target's, in percentage points")
        add_difference_legend(figure)
        description = "; ".join(
            f"{row.ablation.name} {signed(found[row.ablation.name].mean)}" for row in rows
        )
        title = "Difference of each ablation from the target, in percentage points"
        svg = to_svg(figure, "differences", title, description)
    return DifferenceFigure(svg, linear_up_to_pct)


def draw_differences(
    axes: Axes, rows: Sequence[AblationResult | None], margin_pct: float
) -> float | None:
    """One row for each ablation, from top to bottom; nothing in those that are None.

    Two dotted lines mark the equivalence margin. Returns up to which difference the axis is evenly
    spaced; None: everywhere.
    """
    present = [
        (height, row, row.difference_pct)
        for height, row in enumerate(rows)
        if row and row.difference_pct
    ]
    linear_up_to_pct = None
    if present:
        linear_up_to_pct = _scale_differences(axes, [difference for *_, difference in present])
    for height, row, difference in present:
        _draw_difference(axes, difference, height, row.ablation.is_core)
    axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=2, gid=ZERO_LINE)
    for edge in (-margin_pct, margin_pct):
        axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
    labels = {height: _row_label(row) for height, row, _ in present}
    axes.set_yticks(list(labels), list(labels.values()), color=COLOURS["ink"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    sns.despine(ax=axes, left=True)
    return linear_up_to_pct


def _row_label(row: AblationResult) -> str:
    """An ablation's name, and whether it is a core concept or diverged."""
    words = ["core"] if row.ablation.is_core else []
    words += ["diverged"] if row.num_diverged else []
    return f"{row.ablation.name} ({', '.join(words)})" if words else row.ablation.name


def _draw_difference(axes: Axes, difference: PairedDifference, height: int, is_core: bool) -> None:
    """The seeds, the mean and the interval of one row."""
    values, blue = list(difference.by_seed.values()), COLOURS["variant"]
    if difference.interval_95:
        axes.plot(
            difference.interval_95, [height] * 2, color=blue, linewidth=2.4, zorder=3,
            label="95 % interval of the mean",
        )  # fmt: skip
    step = SEED_SPREAD / max(len(values) - 1, 1)
    axes.scatter(
        values, [height + step * (i - (len(values) - 1) / 2) for i in range(len(values))],
        s=36 if len(values) <= 5 else 22, zorder=4, color=COLOURS["target"],
        edgecolors=COLOURS["paper"], linewidths=0.5, label="each seed",
    )  # fmt: skip
    label = "mean, core concept" if is_core else "mean"
    axes.scatter(
        [difference.mean], [height], s=95, marker="D" if is_core else "o", zorder=5,
        facecolors=blue if len(values) > 1 else "none", edgecolors=blue, linewidths=1.8,
        label=label if len(values) > 1 else "hollow: a single seed",
    )  # fmt: skip


def add_difference_legend(figure: Figure) -> None:
    """Every row of every panel labels its marks; the legend has each label once."""
    found = [axes.get_legend_handles_labels() for axes in figure.axes]
    marks = {
        label: mark for marks, labels in found for mark, label in zip(marks, labels, strict=True)
    }
    figure.legend(
        handles=list(marks.values()), loc="outside lower center", ncols=5, frameon=False,
        columnspacing=1.4,
    )  # fmt: skip


def _scale_differences(axes: Axes, differences: Sequence[PairedDifference]) -> float | None:
    """Choose the axis: linear, or logarithmic beyond the returned difference if one row is far away.

    Otherwise one network that fails would compress all others into the zero line.
    """
    sizes, extremes = [], [0.0]
    for difference in differences:
        low, high = difference.interval_95 or (0, 0)
        sizes.append(max(abs(difference.mean), (high - low) / 2))
        extremes += [*difference.by_seed.values(), low, high]
    low, high = min(extremes), max(extremes)
    typical = max(2 * float(np.median(sizes)), 0.1)
    bound = next((nice for nice in (0.2, 0.5, 1, 2, 5, 10, 20) if nice >= typical), 50)
    is_linear, margin = max(-low, high) <= 2.5 * bound, 0.05 * (high - low) + 0.02
    if is_linear:
        axes.set_xlim(low - margin, high + margin)
    else:
        axes.set_xscale("symlog", linthresh=bound, linscale=1.6)
        axes.set_xlim(1.25 * low if -low > bound else low - margin, max(1.25 * high, bound / 2))
        left, right = axes.get_xlim()
        ticks = [bound / 2, bound, *(power for power in (1, 10, 100) if power >= 2 * bound)]
        ticks = [0, *ticks, *(-tick for tick in ticks)]
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(FixedLocator(sorted(t for t in ticks if left <= t <= right)))
        for edge, inner in ((left, -bound), (right, bound)):
            if abs(edge) > bound:
                axes.axvspan(edge, inner, facecolor=COLOURS["shade"], edgecolor="none", zorder=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, digits=None)))
    return None if is_linear else float(bound)


def target_curves_figure(target: AblationResult, published_error_pct: Sequence[float]) -> Markup:
    """The target's test error by epoch, every seed, with the published run where there is one."""
    with figure_style():
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        axes = figure.subplots()
        _draw_runs(axes, target.runs, COLOURS["variant"], linewidth=1.8)
        axes.lines[0].set_label(f"target, {plural(len(target.runs), 'seed')}")
        if published_error_pct:
            axes.plot(
                range(1, len(published_error_pct) + 1), published_error_pct, "--o", markersize=4,
                color=COLOURS["published"], linewidth=1.6, label="published run, 1 seed",
            )  # fmt: skip
        errors = [error for run in target.runs for error in errors_pct(run)]
        _scale_errors(axes, [*errors, *published_error_pct])
        _draw_learning_rate_drop(axes, target.runs[0])
        is_in_range = axes.get_ylim()[0] < 100 - WANTED_ACCURACY_PCT
        if target.runs[0].run_spec.dataset.name == "mnist" and is_in_range:
            axes.axhline(
                100 - WANTED_ACCURACY_PCT, color=COLOURS["muted"], linewidth=1, linestyle="-.",
                label=f"wanted: {decimal(WANTED_ACCURACY_PCT, 1)} % right",
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("test images wrong (%)")
        axes.legend(loc="upper center", frameon=False)
        sns.despine(ax=axes)
        description = f"Error after the last epoch: {100 - target.accuracy_pct.mean:.2f} %."
        return to_svg(figure, "target-curves", "Test error of the target by epoch", description)


def ablation_curves_figure(
    row: AblationResult, target: AblationResult | None, name: str, limits_pct: Sequence[float]
) -> Markup:
    """One small panel: an ablation's test error by epoch over the target's, in grey.

    `limits_pct`: the errors that all panels must have room for.
    """
    with figure_style():
        figure = Figure(figsize=(3.4, 2.3))
        figure.subplots_adjust(left=0.15, right=0.97, top=0.95, bottom=0.14)
        axes = figure.subplots()
        if target:
            _draw_runs(axes, target.runs, COLOURS["target"], linewidth=1)
        _draw_runs(axes, row.runs, COLOURS["variant"], linewidth=1.6)
        _scale_errors(axes, limits_pct)
        sns.despine(ax=axes)
        description = f"Error after the last epoch: {100 - row.accuracy_pct.mean:.2f} %."
        return to_svg(figure, name, f"Test error of {row.ablation.name} by epoch", description)


def errors_pct(run: RunRecord) -> list[float]:
    """Test error after each epoch. No error at all is drawn as half an image: a logarithmic axis
    has no zero."""
    least = 50 / run.run_spec.dataset.num_test
    return [max(100 - epoch.test_accuracy_pct, least) for epoch in run.epochs]


def _draw_runs(axes: Axes, runs: Sequence[RunRecord], colour: str, linewidth: float) -> None:
    """Each run's test error by epoch; a cross where a run diverged."""
    for run in runs:
        axes.plot(
            [epoch.epoch for epoch in run.epochs], errors_pct(run), color=colour,
            linewidth=linewidth, marker="o" if len(run.epochs) == 1 else None,
        )  # fmt: skip
        if run.status == "diverged":
            axes.plot(
                [run.last_epoch.epoch], errors_pct(run)[-1:], "x", color=colour, markersize=8,
                markeredgewidth=2,
            )  # fmt: skip


def _draw_learning_rate_drop(axes: Axes, run: RunRecord) -> None:
    """A line between the last epoch at the first learning rate and the first at another."""
    rates = [epoch.learning_rate for epoch in run.epochs]
    drop = next((i for i, rate in enumerate(rates) if rate < rates[0]), None)
    if drop is not None:
        label = f"learning rate {rates[0]:g} → {rates[drop]:g}"
        axes.axvline(drop + 0.5, color=COLOURS["muted"], linewidth=1, linestyle=":", label=label)


def _scale_errors(axes: Axes, errors: Sequence[float]) -> None:
    """A logarithmic axis with ticks in plain numbers."""
    axes.set_yscale("log")
    axes.set_ylim(0.8 * min(errors), min(1.25 * max(errors), 110))
    axes.yaxis.set_major_locator(FixedLocator(ERROR_TICKS_PCT))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("")
    axes.set_ylabel("")
    axes.grid(axis="x", visible=False)
