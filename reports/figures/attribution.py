"""The figure of what ingredients contribute. Returns SVG; nothing is computed here."""

from collections.abc import Mapping

import seaborn as sns
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ablations.analysis.attribution import Attribution
from ablations.analysis.statistics import Estimate
from reports.figures.svg import COLOURS, ZERO_LINE, figure_style, to_svg
from reports.text.wording import signed

MEASURES = {
    "left_out": ("left out", "o", "variant", False),
    "alone": ("alone", "s", "published", False),
    "main_effect": ("main effect", "^", "target", True),
    "shapley": ("Shapley value", "D", "ink", True),
}
"""Of `Contribution`: label, marker (each a shape of its own), colour, and whether it is filled."""


def contributions_figure(found: Attribution, words: Mapping[str, str], name: str) -> Markup:
    """Each ingredient's contribution by every measure, with intervals."""
    measured = {
        measure: [getattr(one, measure) for one in found.contributions] for measure in MEASURES
    }
    measured = {measure: values for measure, values in measured.items() if any(values)}
    labels = [words[one.name] for one in found.contributions]
    with figure_style():
        figure = Figure(figsize=(10, 1.2 + 0.27 * len(measured) * len(labels)))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for number, (measure, values) in enumerate(measured.items()):
            label, marker, colour, is_filled = MEASURES[measure]
            offset = 0.17 * (number - (len(measured) - 1) / 2)
            heights = [height + offset for height, value in enumerate(values) if value]
            present = [value for value in values if value]
            axes.errorbar(
                [value.mean for value in present], heights, xerr=list(zip(*map(_arms, present), strict=True)),
                fmt=marker, label=label, color=COLOURS[colour], markersize=8, elinewidth=2,
                markeredgewidth=1.8, markerfacecolor=COLOURS[colour] if is_filled else "none",
            )  # fmt: skip
        axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=2, gid=ZERO_LINE)
        axes.set_yticks(range(len(labels)), labels, color=COLOURS["ink"])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel("contribution, in percentage points of test accuracy")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        description = "; ".join(
            f"{MEASURES[measure][0]} of {label} {signed(value.mean)}"
            for measure, values in measured.items()
            for label, value in zip(labels, values, strict=True)
            if value
        )
        title = "Contribution of each ingredient by several measures, in percentage points"
        return to_svg(figure, name, title, description)


def _arms(found: Estimate) -> tuple[float, float]:
    """How far the interval reaches to either side of the mean."""
    low, high = found.interval_95 or (found.mean, found.mean)
    return found.mean - low, high - found.mean
