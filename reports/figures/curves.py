"""Figures of learning curves: the test error after each epoch. Each returns SVG."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.requirements import WANTED_ACCURACY_PCT
from ablations.analysis.summary import AblationResult
from ablations.records.run import RunRecord
from reports.figures.axes import add_legend, scale_logarithmically
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import decimal

LINES = ((None, "variant"), ("--", "published"), (":", "ink"), ("-.", "muted"))
"""Style and colour of each line of the overview, after the target's."""


def curve_figure(row: AblationResult, target: AblationResult | None, name: str) -> Markup:
    """An ablation's test error by epoch, over the target's: the mean, and the range over seeds."""
    with figure_style():
        figure = Figure(figsize=(5.6, 3.2))
        axes = figure.subplots()
        if target and target is not row:
            _draw_mean(axes, target.runs, "target", "target", is_range=True)
        _draw_mean(axes, row.runs, "this network", "variant", is_range=True)
        _finish(figure, axes, num_columns=2)
        of_what = "of the target" if target is row else f"without {row.ablation.removes}"
        description = f"Error after the last epoch: {100 - row.accuracy_pct.mean:.2f} %."
        return to_svg(figure, name, f"Test error {of_what}", description)


def overview_figure(
    rows: Sequence[AblationResult], target: AblationResult, published_error_pct: Sequence[float]
) -> Markup:
    """The target's mean test error by epoch with its range, those of some ablations, and the
    published run where there is one."""
    with figure_style():
        figure = Figure(figsize=(13, 5))
        axes = figure.subplots()
        _draw_mean(axes, target.runs, "target", "target", is_range=True)
        for row, (style, colour) in zip(rows, LINES, strict=False):
            _draw_mean(axes, row.runs, f"without {row.ablation.removes}", colour, style or "-")
        if published_error_pct:
            epochs = range(1, len(published_error_pct) + 1)
            label, colour = "published run, 1 seed", COLOURS["muted"]
            axes.plot(epochs, published_error_pct, "x", color=colour, label=label)
        wanted_pct = 100 - WANTED_ACCURACY_PCT
        if target.runs[0].run_spec.dataset.name == "mnist" and axes.get_ylim()[0] < wanted_pct:
            label = f"wanted: {decimal(WANTED_ACCURACY_PCT, 1)} % right"
            axes.axhline(wanted_pct, color=COLOURS["published"], linewidth=1, label=label)
        _finish(figure, axes, num_columns=4)
        description = f"Error after the last epoch: {100 - target.accuracy_pct.mean:.2f} %."
        return to_svg(figure, "curves", "Test error by epoch", description)


def _errors_pct(run: RunRecord) -> list[float]:
    """Test error after each epoch. No error at all is drawn as half an image: a logarithmic axis
    has no zero."""
    least = 50 / run.run_spec.dataset.num_test
    return [max(100 - epoch.test_accuracy_pct, least) for epoch in run.epochs]


def _draw_mean(
    axes: Axes,
    runs: Sequence[RunRecord],
    label: str,
    colour: str,
    style: str = "-",
    *,
    is_range: bool = False,
) -> None:
    """The mean over the runs that reached an epoch; a cross at the end of runs that diverged."""
    all_errors_pct = [_errors_pct(run) for run in runs]
    num_epochs = max(map(len, all_errors_pct))
    reached = [
        [errors[epoch] for errors in all_errors_pct if epoch < len(errors)]
        for epoch in range(num_epochs)
    ]
    epochs = np.arange(1, num_epochs + 1)
    means = [float(np.mean(errors)) for errors in reached]
    axes.plot(
        epochs, means, style, color=COLOURS[colour], linewidth=2, label=label,
        marker="o", markevery=[-1], markersize=5,
    )  # fmt: skip
    if is_range and len(runs) > 1:
        lowest, highest = map(min, reached), map(max, reached)
        axes.fill_between(
            epochs, [*lowest], [*highest], color=COLOURS[colour], alpha=0.25, linewidth=0
        )
    for run, errors in zip(runs, all_errors_pct, strict=True):
        if run.status == "diverged":
            axes.plot(len(errors), errors[-1], "x", color=COLOURS[colour], markersize=8, mew=2)


def _finish(figure: Figure, axes: Axes, num_columns: int) -> None:
    """A logarithmic axis for errors, and whole epochs."""
    scale_logarithmically(axes)
    axes.locator_params("x", nbins=5, integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test images wrong (%)")
    add_legend(figure, num_columns)
