"""Figures of how an ingredient works, from what was measured in trained networks."""

from collections.abc import Sequence
from math import log10
from typing import Any

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ablations.analysis.mechanisms import (
    GapComparison,
    ObservedPair,
    SignalProfile,
)
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.mechanisms import block_labels, network_labels, profile_label

PANEL_INCHES = (11, 3.6)
SIGNAL_PANELS = (
    ("Outputs of each block (root mean square)", "output_rms"),
    ("Gradients of its weights (root mean square)", "gradient_rms"),
)
"""Title, and field of `SignalProfile`."""


def signal_figure(name: str, pair: ObservedPair, profiles: Sequence[SignalProfile]) -> Markup:
    """What each block passes on, in two logarithmic panels with a line for each profile."""
    blocks, descriptions = block_labels(pair), []
    with figure_style():
        figure = Figure(figsize=PANEL_INCHES, layout="constrained")
        panels = figure.subplots(1, len(SIGNAL_PANELS))
        for axes, (title, field) in zip(panels, SIGNAL_PANELS, strict=True):
            for profile in profiles:
                values, label = getattr(profile, field), profile_label(profile, pair)
                axes.plot(
                    range(len(blocks)), values, label=label, linewidth=2, markersize=7,
                    color=COLOURS["target" if profile.is_target else "variant"],
                    marker="s" if profile.is_target else "o",
                    linestyle="--" if profile.is_before_training else "-",
                    markerfacecolor=COLOURS["paper"] if profile.is_before_training else None,
                )  # fmt: skip
                descriptions.append(f"{title}: {label} from {values[0]:.3g} to {values[-1]:.3g}")
            _scale_logarithmically(axes, [v for one in profiles for v in getattr(one, field)])
            axes.set_xticks(range(len(blocks)), blocks)
            axes.set_title(title, loc="left", fontsize=13)
        _finish(figure, panels[0])
        title = "Signals and gradients, block by block"
        return to_svg(figure, name, title, "; ".join(descriptions))


def gap_figure(name: str, pair: ObservedPair, gaps: GapComparison) -> Markup:
    """Errors on training and on test images, one row for each network, with every seed."""
    descriptions = []
    with figure_style():
        figure = Figure(figsize=(11, 2.14), layout="constrained")
        axes = figure.subplots()
        labels = network_labels(pair)
        for height, (label, gap) in enumerate(
            zip(labels, (gaps.target, gaps.ablation), strict=True)
        ):
            errors = gap.training_pct, gap.test_pct
            axes.plot(
                [one.mean for one in errors], [height] * 2, color=COLOURS["muted"], linewidth=2
            )
            for error, marker, colour, words in (
                (errors[0], "s", "variant", "training images, not augmented"),
                (errors[1], "o", "published", "test images"),
            ):
                looks: dict[str, Any] = {"marker": marker, "color": COLOURS[colour], "zorder": 3}
                heights = [height + 0.22] * len(error.by_seed)
                axes.scatter(list(error.by_seed.values()), heights, s=16, **looks)
                axes.scatter(error.mean, height, s=90, label=None if height else words, **looks)
            descriptions.append(
                f"{label}: training {errors[0].mean:.2f} %, test {errors[1].mean:.2f} %"
            )
        axes.set_yticks(range(len(labels)), labels, color=COLOURS["ink"])
        axes.set_ylim(len(labels) - 0.4, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("images wrong (%)")
        _finish(figure, axes, grid_off="y")
        title = "Errors on training and on test images"
        return to_svg(figure, name, title, "; ".join(descriptions))


def _finish(figure: Figure, axes: Axes, grid_off: str = "x") -> None:
    """Legend below, no frame, and grid lines in one direction only."""
    for one in figure.axes:
        one.grid(axis=grid_off, visible=False)  # type: ignore[arg-type]
        sns.despine(ax=one, left=grid_off == "y")
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)


def _scale_logarithmically(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with a few ticks in plain numbers, for any range of values."""
    decades = log10(max(values) / min(values))
    axes.set_yscale("log")
    steps = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
