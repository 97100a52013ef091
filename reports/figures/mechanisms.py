"""Figures of how an ingredient works, from what was measured in trained networks."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ablations.analysis.mechanisms import GapComparison, SignalProfile
from reports.figures.axes import add_legend, draw_estimate, finish_rows, scale_logarithmically
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import two_digits

FIGURE_INCHES = (4.5, 2.3)
"""As wide as a phone, where text keeps its size; a wider panel enlarges it."""
LABELS = ("with", "without")
"""The target and the ablation."""


def signal_figure(name: str, profiles: Sequence[SignalProfile]) -> Markup:
    """What each block passes on, before and after training, on one logarithmic axis."""
    descriptions = []
    with figure_style():
        figure = Figure(figsize=FIGURE_INCHES)
        for axes, when in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), strict=True):
            rows = zip(LABELS, "so", ("target", "variant"), profiles, strict=True)
            for label, marker, colour, profile in rows:
                values = getattr(profile, when)
                axes.plot(
                    range(1, len(values) + 1), values, label=label, linewidth=2, markersize=7,
                    color=COLOURS[colour], marker=marker,
                )  # fmt: skip
                words = ", ".join(map(two_digits, values))
                descriptions.append(f"{when} training, {label}: {words}")
            scale_logarithmically(axes)
            axes.set_xticks(range(1, len(values) + 1))
            axes.set_title(f"{when} training")
            axes.set_xlabel("block")
        add_legend(figure, 2)
        return to_svg(figure, name, "Outputs, block by block", "; ".join(descriptions))


def gap_figure(name: str, gaps: GapComparison) -> Markup:
    """Errors on training and on test images, one row for each network, with every seed."""
    descriptions = []
    with figure_style():
        figure = Figure(figsize=FIGURE_INCHES)
        axes = figure.subplots()
        for row, (label, (training, test)) in enumerate(zip(LABELS, gaps[:2], strict=True)):
            draw_estimate(axes, training, row - 0.15, "training", marker="s", spread=0.2)
            draw_estimate(axes, test, row + 0.15, "test", colour="published", spread=0.2)
            descriptions.append(f"{label}: training {training.mean:.2f} %, test {test.mean:.2f} %")
        finish_rows(axes, LABELS)
        axes.set_xlabel("images wrong (%)")
        add_legend(figure, 3)
        title = "Errors on training and on test images"
        return to_svg(figure, name, title, "; ".join(descriptions))


def bars_figure(
    name: str,
    title: str,
    labels: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[int]]],
    limit: int | None = None,
) -> Markup:
    """The parts of each network as stacked bars, a row for each network; panels by their titles."""
    descriptions = []
    with figure_style():
        figure = Figure(figsize=FIGURE_INCHES)
        row_of_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (panel, parts) in zip(row_of_axes, panels.items(), strict=True):
            ends = np.zeros(len(labels), int)
            for part, numbers in parts.items():
                bars = axes.barh(
                    range(len(labels)), numbers, 0.6, ends, label=part, linewidth=0,
                    color=COLOURS["variant" if part == "head" else "target"],
                )  # fmt: skip
                ends += numbers
                words = ", ".join(f"{number:,}" for number in numbers)
                descriptions.append(f"{panel}, {part}: {words}")
            axes.bar_label(bars, [f"{end:,}" for end in ends], padding=9)
            finish_rows(axes, labels)
            axes.set_title(panel)
            axes.set_xlim(0, 1.35 * max(ends))
            axes.set_xticks([])
            if limit:
                axes.axvline(limit, color=COLOURS["ink"], linestyle="--", linewidth=1.4)
                axes.set_xticks([limit], [f"limit {limit:,}"])
                add_legend(figure, 2)
        return to_svg(figure, name, title, f"{', '.join(labels)}: {'; '.join(descriptions)}")
