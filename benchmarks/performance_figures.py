"""The figures of `docs/performance.md`. Each takes measurements and returns SVG.

Colour never tells by itself: each arithmetic has its own mark and its name beside its line.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ablations.words import plural
from benchmarks.compare import REFERENCE_NAME, Comparison
from benchmarks.measurements import Accuracy, Floor, Profile, Scaling, Spread, StepSpeed
from benchmarks.performance_words import (
    SpeedRow,
    accuracy_rows,
    profile_rows,
    speed_rows,
    width_name,
)
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import decimal, signed
from speed.arithmetic import Arithmetic

COLOUR_OF: dict[Arithmetic, str] = {
    "plain": COLOURS["muted"],
    "float32": COLOURS["published"],
    "bfloat16": COLOURS["variant"],
}
MARKER_OF: dict[Arithmetic, str] = {"plain": "o", "float32": "s", "bfloat16": "^"}
ROW_INCHES = 0.46
PANEL_INCHES = 4.8
LABEL_HEIGHT = 0.062
"""Of a line of text, as a share of a panel's height."""
SEED_SPREAD = 0.5
"""Share of a row's height over which the dots of its seeds are spread."""


def comparison_figure(comparison: Comparison) -> Markup:
    """Images a second of each way to train: the median of the rounds, and both ends."""
    rows = comparison.rows
    with figure_style():
        figure = new_figure(1 + ROW_INCHES * len(rows))
        axes = figure.subplots()
        for height, row in enumerate(rows):
            is_reference = row.contender == REFERENCE_NAME
            colour = COLOURS["target" if is_reference else "variant"]
            bar(axes, height, row.images_per_second.median, colour)
            draw_range(axes, row.images_per_second, height)
            factor = "" if is_reference else f", {decimal(row.ratio.median, 1)} times"
            label_at(
                axes, row.images_per_second.high, height,
                f"{decimal(row.images_per_second.median, 0)}{factor}",
            )  # fmt: skip
        name_rows(axes, [row.title for row in rows])
        axes.set_xlim(0, 1.35 * max(row.images_per_second.high for row in rows))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel("training images a second, all cores")
        description = "; ".join(
            f"{row.title}: {row.images_per_second.median:,.0f} images a second" for row in rows
        )
        return to_svg(figure, "comparison", "Training speed of each contender", description)


def profile_figure(profile: Profile) -> Markup:
    """The milliseconds of a training step by part."""
    rows = profile_rows(profile)
    with figure_style():
        figure = new_figure(1 + ROW_INCHES * len(rows))
        axes = figure.subplots()
        for height, row in enumerate(rows):
            bar(axes, height, row.milliseconds, COLOURS["variant"])
            text = f"{decimal(row.milliseconds, 2)} ms, {decimal(row.share_pct, 0)} %"
            label_at(axes, row.milliseconds, height, text)
        name_rows(axes, [row.title for row in rows])
        axes.set_xlim(0, 1.3 * max(row.milliseconds for row in rows))
        axes.set_xlabel("milliseconds of a training step, one thread")
        description = "; ".join(f"{row.title}: {row.milliseconds:.2f} ms" for row in rows)
        return to_svg(figure, "profile", "Where the time of a training step goes", description)


def accuracy_figure(accuracy: Accuracy) -> Markup:
    """Each arithmetic's difference from the reference: a dot a seed, mean and interval."""
    rows = [row for row in accuracy_rows(accuracy) if row.difference]
    with figure_style():
        figure = new_figure(1 + 0.8 * max(len(rows), 1))
        axes = figure.subplots()
        for height, row in enumerate(rows):
            assert row.difference is not None
            values = list(row.difference.by_seed.values())
            colour, marker = COLOUR_OF[row.arithmetic], MARKER_OF[row.arithmetic]
            step = SEED_SPREAD / max(len(values) - 1, 1)
            heights = [height + step * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.scatter(values, heights, s=26, color=COLOURS["target"], zorder=3)
            if row.difference.interval_95:
                axes.plot(row.difference.interval_95, [height] * 2, color=colour, linewidth=2.6)
            axes.scatter(
                [row.difference.mean], [height], s=95, marker=marker, color=colour, zorder=4
            )
            axes.annotate(
                signed(row.difference.mean, 3), (1, height), xycoords=("axes fraction", "data"),
                xytext=(8, 0), textcoords="offset points", va="center",
            )  # fmt: skip
        axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=2)
        name_rows(axes, [row.title for row in rows])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, 3)))
        axes.set_xlabel("test accuracy minus that of plain float32, in percentage points")
        description = "; ".join(
            f"{row.title}: {signed(row.difference.mean, 3)}" for row in rows if row.difference
        )
        return to_svg(figure, "accuracy", "Accuracy beside plain float32", description)


def runs_figure(scaling: Scaling) -> Markup:
    """Seconds of a study by its number of runs, the start of its processes, and the floor."""
    times, floor = scaling.study_times, scaling.floor
    studies = times.by_num_runs
    nums_runs = [study.num_runs for study in studies]
    with figure_style():
        figure = new_figure(PANEL_INCHES)
        axes = figure.subplots()
        limits = [floor.study_seconds(times, study) for study in studies]
        whole, startup = (
            [study.wall_seconds for study in studies],
            [study.startup_seconds for study in studies],
        )
        labels = [
            draw_spreads(axes, nums_runs, whole, COLOURS["variant"], "o", "whole study"),
            draw_spreads(
                axes, nums_runs, startup, COLOURS["published"], "s", "before the first\nepoch"
            ),
            draw_limit(axes, nums_runs, limits, COLOURS["ink"], "limit:\narithmetic alone"),
        ]
        on_logarithmic_axes(axes, nums_runs)
        name_lines(axes, labels)
        axes.set_xlabel(f"runs in the study ({studies[-1].num_jobs} at a time)")
        axes.set_ylabel("seconds")
        description = "; ".join(
            f"{plural(study.num_runs, 'run')}: {study.wall_seconds.median:.1f} s"
            for study in studies
        )
        return to_svg(figure, "runs", "Time of a study by its number of runs", description)


def batch_size_figure(scaling: Scaling) -> Markup:
    """Training speed and memory by batch size, one line for each arithmetic."""
    rows = speed_rows(scaling.batch_sizes, scaling.floor)
    has_memory = all(speed.peak_memory_mib for row in rows for speed in row.speeds)
    with figure_style():
        figure = new_figure(PANEL_INCHES * (2 if has_memory else 1))
        panels = figure.subplots(2 if has_memory else 1, squeeze=False)[:, 0]
        draw_speeds(panels[0], rows, scaling.floor, lambda speed: speed.batch_size)
        if has_memory:
            draw_memory(panels[1], rows)
        panels[-1].set_xlabel("batch size (images in a step)")
        return to_svg(
            figure, "batch-size", "Training speed and memory by batch size", describe(rows)
        )


def width_figure(scaling: Scaling) -> Markup:
    """Training speed by the network's channels, one line for each arithmetic."""
    rows = speed_rows(scaling.widths, scaling.floor)
    with figure_style():
        figure = new_figure(PANEL_INCHES)
        axes = figure.subplots()
        draw_speeds(axes, rows, scaling.floor, lambda speed: speed.channels[0])
        names = {speed.channels[0]: width_name(speed.channels) for speed in rows[0].speeds}
        axes.set_xticks(list(names), list(names.values()))
        axes.set_xlabel("channels of the three stages")
        return to_svg(figure, "width", "Training speed by the network's width", describe(rows))


def draw_speeds(
    axes: Axes, rows: Sequence[SpeedRow], floor: Floor, size_of: Callable[[StepSpeed], int]
) -> None:
    """Images a second, each arithmetic's line, and the most that the processor could do."""
    sizes = [size_of(speed) for speed in rows[0].speeds]
    labels = []
    for row in rows:
        colour, marker = COLOUR_OF[row.arithmetic], MARKER_OF[row.arithmetic]
        speeds = [speed.images_per_second for speed in row.speeds]
        labels.append(draw_spreads(axes, sizes, speeds, colour, marker, row.title))
        if row.arithmetic != "plain":  # Its limit is that of fused float32.
            limits = [
                floor.images_per_second(speed.training_flop, row.arithmetic) for speed in row.speeds
            ]
            name = f"limit, {row.arithmetic}"
            labels.append(draw_limit(axes, sizes, limits, colour, name))
    on_logarithmic_axes(axes, sizes)
    name_lines(axes, labels)
    axes.set_ylabel("training images a second, one thread")


def draw_memory(axes: Axes, rows: Sequence[SpeedRow]) -> None:
    """The most memory that a process took, each arithmetic's line."""
    sizes = [speed.batch_size for speed in rows[0].speeds]
    labels = []
    for row in rows:
        memory = [speed.peak_memory_mib or 0.0 for speed in row.speeds]
        numbers = [Spread(value, value, value) for value in memory]
        colour, marker = COLOUR_OF[row.arithmetic], MARKER_OF[row.arithmetic]
        labels.append(draw_spreads(axes, sizes, numbers, colour, marker, row.title))
    on_logarithmic_axes(axes, sizes)
    axes.set_yscale("linear")
    axes.set_ylim(0, 1.1 * max(label.y for label in labels))
    name_lines(axes, labels)
    axes.set_ylabel("peak memory of a process (MiB)")


def describe(rows: Sequence[SpeedRow]) -> str:
    """A figure of speeds for who cannot see it."""
    return "; ".join(
        f"{row.title}: {row.speeds[0].images_per_second.median:,.0f} to "
        f"{row.speeds[-1].images_per_second.median:,.0f} images a second"
        for row in rows
    )


def new_figure(height_inches: float) -> Figure:
    """A figure with some air around it."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    return Figure(figsize=(11, height_inches), layout=layout)


class LineLabel(NamedTuple):
    """A line's name, and the height of the line's right end."""

    y: float
    name: str
    colour: str


def draw_spreads(
    axes: Axes, sizes: Sequence[int], numbers: Sequence[Spread], colour: str, marker: str, name: str
) -> LineLabel:
    """A line through medians, with a bar from the lowest to the highest round."""
    medians = [number.median for number in numbers]
    errors = [
        [number.median - number.low for number in numbers],
        [number.high - number.median for number in numbers],
    ]
    axes.errorbar(
        sizes, medians, yerr=errors, color=colour, marker=marker, markersize=7, linewidth=1.8,
        capsize=3, zorder=3,
    )  # fmt: skip
    return LineLabel(medians[-1], name, colour)


def draw_limit(
    axes: Axes, sizes: Sequence[int], values: Sequence[float], colour: str, name: str
) -> LineLabel:
    """A dashed line without marks: what the processor could do at best."""
    axes.plot(sizes, values, color=colour, linestyle="--", linewidth=1.4, zorder=2)
    return LineLabel(values[-1], name, colour)


def name_lines(axes: Axes, labels: Sequence[LineLabel]) -> None:
    """Names at the right ends of lines, moved up where they would run into each other."""
    to_axes = axes.transScale + axes.transLimits
    highest_used = -1.0
    for label in sorted(labels, key=lambda label: label.y):
        half_height = 0.5 * LABEL_HEIGHT * (1 + label.name.count("\n"))
        height = max(float(to_axes.transform((1, label.y))[1]), highest_used + half_height)
        highest_used = height + half_height
        axes.annotate(
            label.name, (1, height), xycoords="axes fraction", xytext=(10, 0),
            textcoords="offset points", va="center", color=label.colour,
        )  # fmt: skip


def on_logarithmic_axes(axes: Axes, sizes: Sequence[int]) -> None:
    """Each doubling as wide as any other, and plain numbers at the ticks."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="x", visible=False)
    sns.despine(ax=axes)


def bar(axes: Axes, height: float, length: float, colour: str) -> None:
    """A horizontal bar."""
    axes.barh([height], [length], height=0.62, color=colour, zorder=2)


def draw_range(axes: Axes, numbers: Spread, height: float) -> None:
    """A thin line from the lowest to the highest round."""
    axes.plot(
        [numbers.low, numbers.high], [height] * 2, color=COLOURS["ink"], linewidth=2, zorder=3
    )


def label_at(axes: Axes, x: float, height: float, text: str) -> None:
    """A number right of its bar."""
    axes.annotate(text, (x, height), xytext=(8, 0), textcoords="offset points", va="center")


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from top to bottom, with their names at the left."""
    axes.set_yticks(range(len(names)), names, color=COLOURS["ink"])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    sns.despine(ax=axes, left=True)
