"""The report's figures. Each function takes results and returns SVG; nothing is computed here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ablations.analysis.requirements import WANTED_ACCURACY_PCT
from ablations.analysis.summary import AblationResult
from ablations.records.run import RunRecord
from reports.figures.svg import COLOURS, ZERO_LINE, figure_style, same_again, to_svg
from reports.text.wording import decimal, signed

ERROR_TICKS_PCT = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
PANEL_INCHES = (3.4, 2.3)
SEED_SPREAD = 0.5
"""Share of a row's height over which the dots of its seeds are spread."""


class DifferenceFigure(NamedTuple):
    """The picture, and what its caption must explain."""

    svg: Markup
    linear_up_to_pct: float | None
    """Up to which difference the axis is evenly spaced; None: everywhere."""
    has_intervals: bool


def difference_figure(rows: Sequence[AblationResult], margin_pct: float) -> DifferenceFigure | None:
    """Every ablation's difference from the target: seeds as dots, mean and interval above them.

    Two dotted lines mark the margin below which a difference does not matter.

    None when no ablation shares a seed with the target.
    """
    rows = [row for row in rows if row.difference_pct is not None]
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: row.difference_pct.mean if row.difference_pct else 0)
    with figure_style():
        figure = Figure(figsize=(11, 0.9 + 0.42 * len(rows)), layout="constrained")
        axes = figure.subplots()
        linear_up_to_pct = scale_differences(axes, rows)
        for height, row in enumerate(rows):
            draw_difference(axes, row, height)
        axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=2, gid=ZERO_LINE)
        for edge in (-margin_pct, margin_pct):
            axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
        axes.annotate(
            "target", (0, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
            textcoords="offset points", ha="center", va="bottom", weight="bold",
        )  # fmt: skip
        axes.set_yticks(range(len(rows)), [row_label(row) for row in rows], color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("test accuracy minus the target's, in percentage points")
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
        add_difference_legend(figure, rows)
        description = "; ".join(
            f"{row.ablation.name} {signed(row.difference_pct.mean)}"
            for row in rows
            if row.difference_pct
        )
        title = "Difference of each ablation from the target, in percentage points"
        svg = to_svg(figure, "differences", title, description)
    has_intervals = any(row.difference_pct and row.difference_pct.interval_95 for row in rows)
    return DifferenceFigure(svg, linear_up_to_pct, has_intervals)


def row_label(row: AblationResult) -> str:
    """An ablation's name, with the words that a reader must not miss."""
    words = ["core"] if row.ablation.is_core else []
    words += ["diverged"] if row.num_diverged else []
    return f"{row.ablation.name} ({', '.join(words)})" if words else row.ablation.name


def draw_difference(axes: Axes, row: AblationResult, height: int) -> None:
    """One row of the figure, and its mean in figures at the right edge."""
    difference = row.difference_pct
    assert difference is not None
    values = list(difference.by_seed.values())
    step = SEED_SPREAD / max(len(values) - 1, 1)
    offsets = [step * (i - (len(values) - 1) / 2) for i in range(len(values))]
    if difference.interval_95:
        axes.plot(
            difference.interval_95, [height] * 2, color=COLOURS["variant"], linewidth=2.4, zorder=3
        )
    axes.scatter(
        values, [height + offset for offset in offsets], s=36 if len(values) <= 5 else 22, zorder=4,
        color=COLOURS["target"], edgecolors=COLOURS["paper"], linewidths=0.5,
    )  # fmt: skip
    axes.scatter(
        [difference.mean], [height], s=95, marker="D" if row.ablation.is_core else "o", zorder=5,
        facecolors=COLOURS["variant"] if len(values) > 1 else "none",
        edgecolors=COLOURS["variant"], linewidths=1.8,
    )  # fmt: skip
    num_seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
    for text, offset, colour in (
        (signed(difference.mean), 50, COLOURS["ink"]),
        (num_seeds, 112, COLOURS["muted"]),
    ):
        axes.annotate(
            text, (1, height), xycoords=("axes fraction", "data"), xytext=(offset, 0),
            textcoords="offset points", ha="right", va="center", color=colour,
        )  # fmt: skip


def scale_differences(axes: Axes, rows: Sequence[AblationResult]) -> float | None:
    """Choose the axis: even while all ablations fit, else logarithmic beyond a stated difference.

    Without this, one network that fails would squash all others onto the zero line.
    """
    sizes, extremes = [], []
    for row in rows:
        if row.difference_pct:
            low, high = row.difference_pct.interval_95 or (0, 0)
            sizes.append(max(abs(row.difference_pct.mean), (high - low) / 2))
            extremes += [*row.difference_pct.by_seed.values(), low, high]
    low, high = min(0.0, *extremes), max(0.0, *extremes)
    typical = max(2 * float(np.median(sizes)), 0.1)
    bound = next((nice for nice in (0.2, 0.5, 1, 2, 5, 10, 20) if nice >= typical), 50)
    margin = 0.05 * (high - low) + 0.02
    if max(-low, high) <= 2.5 * bound:
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        return None
    axes.set_xscale("symlog", linthresh=bound, linscale=1.6)
    axes.set_xlim(1.25 * low if -low > bound else low - margin, max(1.25 * high, bound / 2))
    axes.xaxis.set_minor_locator(NullLocator())
    left, right = axes.get_xlim()
    nice_values = [bound / 2, bound, *(nice for nice in (1, 2, 5, 10, 20, 50, 100) if nice > bound)]
    ticks = [0.0]
    for value in (sign * nice for nice in nice_values for sign in (-1, 1)):
        if left <= value <= right and all(inches_apart(axes, value, tick) > 0.5 for tick in ticks):
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, digits=None)))
    for edge, is_compressed in ((left, left < -bound), (right, right > bound)):
        if is_compressed:
            inner = -bound if edge < 0 else bound
            axes.axvspan(edge, inner, facecolor=COLOURS["shade"], edgecolor="none", zorder=0)
    return float(bound)


def inches_apart(axes: Axes, one: float, other: float) -> float:
    """How far from each other two values are drawn."""
    figure = axes.get_figure()
    assert figure is not None
    (first, _), (second, _) = axes.transData.transform([(one, 0), (other, 0)])
    return float(abs(first - second)) / figure.dpi


def add_difference_legend(figure: Figure, rows: Sequence[AblationResult]) -> None:
    """Which mark means what, under the axis; only the marks that are there."""
    blue = COLOURS["variant"]
    several = [row for row in rows if row.difference_pct and len(row.difference_pct.by_seed) > 1]
    marks = [(any(not row.ablation.is_core for row in several), "o", "mean"),
             (any(row.ablation.is_core for row in several), "D", "mean, core concept")]  # fmt: skip
    handles = [
        Line2D([], [], color=blue, marker=marker, markersize=9, linestyle="none", label=label)
        for is_there, marker, label in marks
        if is_there
    ]
    counts = [len(row.difference_pct.by_seed) for row in rows if row.difference_pct]
    if 1 in counts:
        handles.append(
            Line2D([], [], markeredgecolor=blue, markerfacecolor="none", markeredgewidth=1.8,
                   marker="o", markersize=9, linestyle="none", label="hollow: a single seed")
        )  # fmt: skip
    if max(counts) > 1:
        handles.append(Line2D([], [], color=blue, linewidth=2.4, label="95 % interval of the mean"))
    dot = Line2D([], [], color=COLOURS["target"], marker="o", markersize=6, linestyle="none")
    dot.set_label("each seed")
    figure.legend(
        handles=[*handles, dot], loc="outside lower center", ncols=5, frameon=False,
        handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip


def target_curves_figure(target: AblationResult, published_error_pct: Sequence[float]) -> Markup:
    """The target's test error by epoch, every seed; the published run over it when there is one."""
    with figure_style():
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        axes = figure.subplots()
        draw_runs(axes, target.runs, COLOURS["variant"], linewidth=1.8)
        if published_error_pct:
            axes.plot(
                range(1, len(published_error_pct) + 1), published_error_pct, "--o", markersize=4,
                color=COLOURS["published"], linewidth=1.6,
            )  # fmt: skip
        errors = [error for run in target.runs for error in errors_pct(run)]
        errors += published_error_pct
        scale_errors(axes, errors)
        draw_learning_rate_drop(axes, target.runs[0])
        if target.runs[0].run_spec.dataset.name == "mnist":
            draw_wanted_accuracy(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel("test images wrong (%)")
        num_seeds = len(target.runs)
        label = f"target, {num_seeds} seeds" if num_seeds > 1 else "target, 1 seed"
        handles = [Line2D([], [], color=COLOURS["variant"], linewidth=1.8, label=label)]
        if published_error_pct:
            handles.append(
                Line2D([], [], color=COLOURS["published"], linestyle="--", marker="o", markersize=4,
                       label="published run, 1 seed")
            )  # fmt: skip
        axes.legend(handles=handles, loc="upper center", frameon=False)
        sns.despine(ax=axes)
        description = f"Error after the last epoch: {100 - target.accuracy_pct.mean:.2f} %."
        return to_svg(figure, "target-curves", "Test error of the target by epoch", description)


def ablation_curves_figure(
    row: AblationResult, target: AblationResult | None, name: str, limits_pct: Sequence[float]
) -> Markup:
    """One small panel: an ablation's test error by epoch over the target's, in grey.

    `limits_pct` holds the errors that all panels must have room for.
    """
    with figure_style():
        figure = Figure(figsize=PANEL_INCHES)
        figure.subplots_adjust(left=0.15, right=0.97, top=0.95, bottom=0.14)
        axes = figure.subplots()
        if target:
            draw_runs(axes, target.runs, COLOURS["target"], linewidth=1)
        draw_runs(axes, row.runs, COLOURS["variant"], linewidth=1.6)
        scale_errors(axes, limits_pct)
        sns.despine(ax=axes)
        description = f"Error after the last epoch: {100 - row.accuracy_pct.mean:.2f} %."
        return to_svg(figure, name, panel_title(row), description)


def panel_title(row: AblationResult) -> str:
    """What a small panel shows."""
    return f"Test error of {row.ablation.name} by epoch"


def panel_again(row: AblationResult, name: str) -> Markup:
    """The panel of that name a second time, elsewhere in the page."""
    return same_again(name, panel_title(row), PANEL_INCHES)


def errors_pct(run: RunRecord) -> list[float]:
    """Test error after each epoch. No error at all is drawn as half an image: a logarithmic axis
    has no zero."""
    least = 50 / run.run_spec.dataset.num_test
    return [max(100 - epoch.test_accuracy_pct, least) for epoch in run.epochs]


def draw_runs(axes: Axes, runs: Sequence[RunRecord], colour: str, linewidth: float) -> None:
    """Each run's test error by epoch; a cross where a run diverged."""
    points = [
        (epoch.epoch, error, run.run_spec.seed)
        for run in runs
        for epoch, error in zip(run.epochs, errors_pct(run), strict=True)
    ]
    epochs, errors, seeds = (list(column) for column in zip(*points, strict=True))
    sns.lineplot(
        x=epochs, y=errors, units=seeds, estimator=None, ax=axes, color=colour,
        linewidth=linewidth, marker="o" if max(epochs) == 1 else None,
    )  # fmt: skip
    for run in runs:
        if run.status == "diverged":
            axes.plot(
                [run.last_epoch.epoch], errors_pct(run)[-1:], "x", color=colour, markersize=8,
                markeredgewidth=2,
            )  # fmt: skip


def draw_learning_rate_drop(axes: Axes, run: RunRecord) -> None:
    """A line between the last epoch at the first learning rate and the first at another."""
    rates = [epoch.learning_rate for epoch in run.epochs]
    drop = next((i for i, rate in enumerate(rates) if rate < rates[0]), None)
    if drop is None:
        return
    axes.axvline(drop + 0.5, color=COLOURS["muted"], linewidth=1, linestyle=":")
    for text, offset, side in (
        (f"learning rate {rates[0]:g}", -6, "right"),
        (f"{rates[drop]:g}", 6, "left"),
    ):
        axes.annotate(
            text, (drop + 0.5, 0), ha=side, xycoords=("data", "axes fraction"), xytext=(offset, 6),
            textcoords="offset points", color=COLOURS["muted"],
        )  # fmt: skip


def draw_wanted_accuracy(axes: Axes) -> None:
    """A line at the assignment's accuracy, where the axis comes near it."""
    wanted_error_pct = 100 - WANTED_ACCURACY_PCT
    if axes.get_ylim()[0] > 2 * wanted_error_pct:
        return
    axes.axhline(wanted_error_pct, color=COLOURS["muted"], linewidth=1, linestyle=":")
    axes.annotate(
        f"wanted: {decimal(WANTED_ACCURACY_PCT, 1)} % right", (0, wanted_error_pct),
        xycoords=("axes fraction", "data"), xytext=(6, 4), textcoords="offset points",
        color=COLOURS["muted"],
    )  # fmt: skip


def scale_errors(axes: Axes, errors: Sequence[float]) -> None:
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
