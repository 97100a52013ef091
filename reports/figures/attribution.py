"""Figures of what ingredients are worth together. Returns SVG; nothing is computed here."""

import textwrap
from collections.abc import Mapping

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ablations.analysis.attribution import Attribution, Worth
from ablations.analysis.statistics import Estimate
from reports.figures.svg import COLOURS, ZERO_LINE, figure_style, to_svg
from reports.text.wording import decimal, signed

MEASURES = {
    "left_out": ("left out", "o", "variant", False),
    "alone": ("alone", "s", "published", False),
    "main_effect": ("main effect", "^", "target", True),
    "shapley": ("Shapley value", "D", "ink", True),
}
"""Of `Worth`: label, marker, colour, and whether the marker is filled: no two share a shape."""


def worths_figure(found: Attribution, words: Mapping[str, str], name: str) -> Markup:
    """Each ingredient's worth by every measure, with intervals."""
    measures = [
        measure for measure in MEASURES if any(getattr(worth, measure) for worth in found.worths)
    ]
    with figure_style():
        figure = Figure(figsize=(10, 1.2 + 0.27 * len(measures) * len(found.worths)))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for height, worth in enumerate(found.worths):
            for number, measure in enumerate(measures):
                offset = 0.17 * (number - (len(measures) - 1) / 2)
                draw_measure(axes, worth, measure, height + offset)
        axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=2, gid=ZERO_LINE)
        axes.set_yticks(
            range(len(found.worths)), [words[worth.name] for worth in found.worths],
            color=COLOURS["ink"],
        )  # fmt: skip
        axes.set_ylim(len(found.worths) - 0.5, -0.5)
        axes.set_xlabel("worth of having it, in percentage points of test accuracy")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
        drawn = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(
            handles=[drawn[MEASURES[measure][0]] for measure in measures],
            loc="outside lower center", ncols=4, frameon=False,
        )  # fmt: skip
        description = "; ".join(
            f"{words[worth.name]}: "
            + ", ".join(
                f"{MEASURES[measure][0]} {signed(getattr(worth, measure).mean)}"
                for measure in measures
                if getattr(worth, measure)
            )
            for worth in found.worths
        )
        title = "Worth of each ingredient by several measures, in percentage points"
        return to_svg(figure, name, title, description)


def draw_measure(axes: Axes, worth: Worth, measure: str, height: float) -> None:
    """One mean with its interval."""
    found: Estimate | None = getattr(worth, measure)
    if found is None:
        return
    label, marker, colour_name, is_filled = MEASURES[measure]
    colour = COLOURS[colour_name]
    low, high = found.interval_95 or (found.mean, found.mean)
    axes.errorbar(
        [found.mean], [height], xerr=[[found.mean - low], [high - found.mean]], fmt=marker,
        label=label, color=colour, markersize=8, elinewidth=2, markeredgewidth=1.8,
        markerfacecolor=colour if is_filled else "none",
    )  # fmt: skip


def ladder_figure(found: Attribution, words: Mapping[str, str], name: str) -> Markup:
    """Accuracy rung by rung, from the bare network to the whole one."""
    with figure_style():
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axes = figure.subplots()
        means = [step.accuracy_pct.mean for step in found.ladder]
        bounds = [step.accuracy_pct.interval_95 or (mean, mean)
                  for step, mean in zip(found.ladder, means, strict=True)]  # fmt: skip
        axes.plot(range(len(means)), means, color=COLOURS["variant"], linewidth=1.4, zorder=2)
        axes.errorbar(
            range(len(means)), means, fmt="o", color=COLOURS["variant"], markersize=8, elinewidth=2,
            yerr=[
                [mean - low for mean, (low, _) in zip(means, bounds, strict=True)],
                [high - mean for mean, (_, high) in zip(means, bounds, strict=True)],
            ],
        )  # fmt: skip
        labels = [f"+ {words[step.adds]}" if step.adds else "bare network" for step in found.ladder]
        axes.set_xticks(
            range(len(means)), [textwrap.fill(label, 18) for label in labels],
            color=COLOURS["ink"],
        )  # fmt: skip
        # Above the interval, where no line passes.
        for position, (mean, (_, high)) in enumerate(zip(means, bounds, strict=True)):
            axes.annotate(
                f"{decimal(mean)} %",
                (position, high),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
            )
        axes.set_xlim(-0.4, len(means) - 0.6)
        axes.margins(y=0.2)
        axes.set_ylabel("test accuracy (%)")
        axes.grid(axis="x", visible=False)
        sns.despine(ax=axes)
        description = "; ".join(
            f"{label} {decimal(mean)} %" for label, mean in zip(labels, means, strict=True)
        )
        return to_svg(figure, name, "Accuracy as ingredients are added", description)
