"""The figures of `docs/performance.md`. Each takes measurements and returns SVG.

Colour is never the only mark: each precision has its own marker and its name in the legend.
"""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ablations.words import plural
from benchmarks.derived import SpeedRow, speed_rows, width_name
from benchmarks.measurements import Comparison, Floor, Scaling, Spread, StepSpeed
from benchmarks.methods import BASELINE_NAME
from reports.figures.axes import finish_rows
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import decimal
from speed.arithmetic import Arithmetic

COLOUR_OF: dict[Arithmetic, str] = {
    "plain": COLOURS["muted"],
    "float32": COLOURS["published"],
    "bfloat16": COLOURS["variant"],
}
MARKER_OF: dict[Arithmetic, str] = {"plain": "o", "float32": "s", "bfloat16": "^"}
ROW_INCHES = 0.46
PANEL_INCHES = 4.8


def search_figure(
    settings: Mapping[str, tuple[Sequence[float], bool]], accuracies_pct: Sequence[float]
) -> Markup:
    """Accuracy of every trial against each setting, which has its values and whether its axis is
    logarithmic."""
    with figure_style():
        figure = Figure(figsize=(11, 2.8))
        panels = figure.subplots(1, len(settings), sharey=True)
        for axes, (name, (values, is_log)) in zip(panels, settings.items(), strict=True):
            axes.plot(values, accuracies_pct, "o", color=COLOURS["variant"], markersize=5)
            axes.set_xscale("log" if is_log else "linear")
            axes.set_xlabel(name)
        # Recipes that hardly learn would hide the differences of the rest.
        top = max(accuracies_pct)
        panels[0].set_ylim(max(min(accuracies_pct), top - 1) - 0.05, top + 0.05)
        panels[0].set_ylabel("held-out accuracy (%)")
        description = f"{len(accuracies_pct)} trials; the best has {decimal(top)} %."
        return to_svg(figure, "search", "Accuracy of each trial by setting", description)


def comparison_figure(comparison: Comparison) -> Markup:
    """Images per second of each method: the median, and the range of the rounds."""
    rows = comparison.rows
    with figure_style():
        figure = _new_figure(1 + ROW_INCHES * len(rows))
        axes = figure.subplots()
        for height, row in enumerate(rows):
            speed, is_baseline = row.images_per_second, row.method == BASELINE_NAME
            colour = COLOURS["target" if is_baseline else "variant"]
            axes.barh([height], [speed.median], height=0.62, color=colour, zorder=2)
            bounds = [speed.low, speed.high]
            axes.plot(bounds, [height] * 2, color=COLOURS["ink"], linewidth=2, zorder=3)
            factor = "" if is_baseline else f", {decimal(row.ratio.median, 1)} times"
            axes.annotate(
                f"{decimal(speed.median, 0)}{factor}", (speed.high, height), xytext=(8, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        finish_rows(axes, [row.title for row in rows])
        axes.set_xlim(0, 1.35 * max(row.images_per_second.high for row in rows))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel("training images per second, all cores")
        description = "; ".join(
            f"{row.title}: {row.images_per_second.median:,.0f} images per second" for row in rows
        )
        return to_svg(figure, "comparison", "Training speed of each method", description)


def runs_figure(scaling: Scaling) -> Markup:
    """Seconds of a study by its number of runs, startup, and the limit."""
    times = scaling.study_times
    studies = times.by_num_runs
    nums_runs = [study.num_runs for study in studies]
    with figure_style():
        figure = _new_figure(PANEL_INCHES)
        axes = figure.subplots()
        wall = [study.wall_seconds for study in studies]
        startup = [study.startup_seconds for study in studies]
        _draw_spreads(axes, nums_runs, wall, COLOURS["variant"], "o", "whole study")
        _draw_spreads(axes, nums_runs, startup, COLOURS["published"], "s", "before the first epoch")
        limits = [scaling.floor.study_seconds(times, study) for study in studies]
        _draw_limit(axes, nums_runs, limits, COLOURS["ink"], "limit")
        _finish_panel(axes, nums_runs, "seconds")
        axes.set_xlabel(f"runs in the study ({studies[-1].num_jobs} at a time)")
        description = "; ".join(
            f"{plural(study.num_runs, 'run')}: {study.wall_seconds.median:.1f} s"
            for study in studies
        )
        return to_svg(figure, "runs", "Time of a study by its number of runs", description)


def batch_size_figure(scaling: Scaling) -> Markup:
    """Training speed and memory by batch size, one line for each precision."""
    rows = speed_rows(scaling.batch_sizes, scaling.floor)
    has_memory = all(speed.peak_memory_mib for row in rows for speed in row.speeds)
    with figure_style():
        figure = _new_figure(PANEL_INCHES * (2 if has_memory else 1))
        panels = figure.subplots(2 if has_memory else 1, squeeze=False)[:, 0]
        _draw_speeds(panels[0], rows, scaling.floor, lambda speed: speed.batch_size)
        if has_memory:
            _draw_memory(panels[1], rows)
        panels[-1].set_xlabel("batch size")
        title = "Training speed and memory by batch size"
        return to_svg(figure, "batch-size", title, _describe(rows))


def width_figure(scaling: Scaling) -> Markup:
    """Training speed by the network's channels, one line for each precision."""
    rows = speed_rows(scaling.widths, scaling.floor)
    with figure_style():
        figure = _new_figure(PANEL_INCHES)
        axes = figure.subplots()
        _draw_speeds(axes, rows, scaling.floor, lambda speed: speed.channels[0])
        names = {speed.channels[0]: width_name(speed.channels) for speed in rows[0].speeds}
        axes.set_xticks(list(names), list(names.values()))
        axes.set_xlabel("channels of the three stages")
        return to_svg(figure, "width", "Training speed by the network's width", _describe(rows))


def _draw_speeds(
    axes: Axes, rows: Sequence[SpeedRow], floor: Floor, size_of: Callable[[StepSpeed], int]
) -> None:
    """Images per second of each precision, and the processor's limit."""
    sizes = [size_of(speed) for speed in rows[0].speeds]
    for row in rows:
        colour, marker = COLOUR_OF[row.arithmetic], MARKER_OF[row.arithmetic]
        speeds = [speed.images_per_second for speed in row.speeds]
        _draw_spreads(axes, sizes, speeds, colour, marker, row.title)
        if row.arithmetic != "plain":  # Its limit is that of fused float32.
            limits = [
                floor.images_per_second(speed.training_flop, row.arithmetic) for speed in row.speeds
            ]
            _draw_limit(axes, sizes, limits, colour, f"limit, {row.arithmetic}")
    _finish_panel(axes, sizes, "training images per second, one thread")


def _draw_memory(axes: Axes, rows: Sequence[SpeedRow]) -> None:
    """Peak memory of a process of each precision."""
    sizes = [speed.batch_size for speed in rows[0].speeds]
    for row in rows:
        memory = [speed.peak_memory_mib or 0.0 for speed in row.speeds]
        spreads = [Spread(value, value, value) for value in memory]
        marker = MARKER_OF[row.arithmetic]
        _draw_spreads(axes, sizes, spreads, COLOUR_OF[row.arithmetic], marker, row.title)
    _finish_panel(axes, sizes, "peak memory of a process (MiB)")
    axes.set_yscale("linear")
    axes.set_ylim(bottom=0)


def _describe(rows: Sequence[SpeedRow]) -> str:
    """The text alternative of a figure of speeds."""
    return "; ".join(
        f"{row.title}: {row.speeds[0].images_per_second.median:,.0f} to "
        f"{row.speeds[-1].images_per_second.median:,.0f} images per second"
        for row in rows
    )


def _new_figure(height_inches: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    return Figure(figsize=(11, height_inches), layout=layout)


def _draw_spreads(
    axes: Axes, sizes: Sequence[int], spreads: Sequence[Spread], colour: str, marker: str, name: str
) -> None:
    """A line through medians, with bars from the lowest to the highest round."""
    medians = [one.median for one in spreads]
    errors = [
        [one.median - one.low for one in spreads],
        [one.high - one.median for one in spreads],
    ]
    axes.errorbar(
        sizes, medians, yerr=errors, color=colour, marker=marker, markersize=7, linewidth=1.8,
        capsize=3, zorder=3, label=name,
    )  # fmt: skip


def _draw_limit(
    axes: Axes, sizes: Sequence[int], values: Sequence[float], colour: str, name: str
) -> None:
    axes.plot(sizes, values, color=colour, linestyle="--", linewidth=1.4, zorder=2, label=name)


def _finish_panel(axes: Axes, sizes: Sequence[int], axis_label: str) -> None:
    """Logarithmic axes with plain numbers, and a legend at the right."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(axis_label)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
