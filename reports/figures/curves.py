"""Figures of learning curves: the test error after each epoch. Each returns SVG."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.requirements import WANTED_ACCURACY_PCT
from ablations.analysis.summary import AblationResult
from ablations.records.run import RunRecord
from ablations.words import plural
from reports.figures.axes import scale_logarithmically
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import decimal


def target_curves_figure(target: AblationResult, published_error_pct: Sequence[float]) -> Markup:
    """The target's test error by epoch, every seed, with the published run where there is one."""
    with figure_style():
        figure = Figure(figsize=(10, 4.6))
        axes = figure.subplots()
        _draw_runs(axes, target.runs, COLOURS["variant"], linewidth=1.8)
        axes.lines[0].set_label(f"target, {plural(len(target.runs), 'seed')}")
        if published_error_pct:
            axes.plot(
                range(1, len(published_error_pct) + 1), published_error_pct, "--o", markersize=4,
                color=COLOURS["published"], linewidth=1.6, label="published run, 1 seed",
            )  # fmt: skip
        _finish_curves(axes)
        wanted_pct = 100 - WANTED_ACCURACY_PCT
        if target.runs[0].run_spec.dataset.name == "mnist" and axes.get_ylim()[0] < wanted_pct:
            axes.axhline(
                wanted_pct, color=COLOURS["muted"], linewidth=1, linestyle="-.",
                label=f"wanted: {decimal(WANTED_ACCURACY_PCT, 1)} % right",
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("test images wrong (%)")
        axes.legend(loc="upper center")
        description = f"Error after the last epoch: {100 - target.accuracy_pct.mean:.2f} %."
        return to_svg(figure, "target-curves", "Test error of the target by epoch", description)


def ablation_curves_figure(
    row: AblationResult, target: AblationResult | None, name: str, limits_pct: Sequence[float]
) -> Markup:
    """One small panel: an ablation's test error by epoch, drawn over the target's, which is grey.

    `limits_pct`: errors that the axis of every panel must include.
    """
    with figure_style():
        figure = Figure(figsize=(3.4, 2.3))
        axes = figure.subplots()
        if target:
            _draw_runs(axes, target.runs, COLOURS["target"], linewidth=1)
        _draw_runs(axes, row.runs, COLOURS["variant"], linewidth=1.6)
        axes.set_ylim(0.8 * min(limits_pct), 1.25 * max(limits_pct))
        _finish_curves(axes)
        description = f"Error after the last epoch: {100 - row.accuracy_pct.mean:.2f} %."
        return to_svg(figure, name, f"Test error of {row.ablation.name} by epoch", description)


def errors_pct(run: RunRecord) -> list[float]:
    """Test error after each epoch. No error at all is drawn as half an image: a logarithmic axis
    has no zero."""
    least = 50 / run.run_spec.dataset.num_test
    return [max(100 - epoch.test_accuracy_pct, least) for epoch in run.epochs]


def _draw_runs(axes: Axes, runs: Sequence[RunRecord], colour: str, linewidth: float) -> None:
    """Each run's test error by epoch; a dot at the end, or a cross where a run diverged."""
    for run in runs:
        marker, size = ("x", 8) if run.status == "diverged" else ("o", 2.5 * linewidth)
        axes.plot(
            [epoch.epoch for epoch in run.epochs], errors_pct(run), color=colour, linewidth=linewidth,
            marker=marker, markersize=size, markeredgewidth=2, markevery=[-1],
        )  # fmt: skip


def _finish_curves(axes: Axes) -> None:
    """A logarithmic axis for errors, and whole epochs."""
    scale_logarithmically(axes)
    axes.locator_params("x", nbins=5, integer=True, min_n_ticks=1)
