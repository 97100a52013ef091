"""Figures of how an ingredient works, drawn from what was observed in trained networks."""

from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reports.figures.svg import COLOURS, figure_style, to_svg

if TYPE_CHECKING:
    from reports.html.mechanisms import SignalLine

PANEL_SIZE = (11, 3.6)
"""Inches: 72 pixels of the page."""


def signal_figure(
    name: str,
    blocks: Sequence[str],
    panels: Sequence[tuple[str, Sequence["SignalLine"]]],
) -> Markup:
    """What passes through each block, in logarithmic panels: a title, and a line for each network."""
    with figure_style():
        figure = Figure(figsize=PANEL_SIZE, layout="constrained")
        for axes, (title, lines) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            for line in lines:
                axes.plot(
                    range(len(blocks)), line.values, linewidth=2, markersize=7, label=line.label,
                    color=COLOURS["target" if line.is_target else "variant"],
                    linestyle="--" if line.is_start else "-",
                    marker="s" if line.is_target else "o",
                    markerfacecolor=COLOURS["paper"] if line.is_start else None,
                )  # fmt: skip
            scale_logarithmically(axes, [value for line in lines for value in line.values])
            axes.set_xticks(range(len(blocks)), blocks)
            axes.set_title(title, loc="left", fontsize=13)
            axes.grid(axis="x", visible=False)
            sns.despine(ax=axes)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
            frameon=False,
        )  # fmt: skip
        description = "; ".join(
            f"{title}: {line.label} from {line.values[0]:.3g} to {line.values[-1]:.3g}"
            for title, lines in panels
            for line in lines
        )
        return to_svg(figure, name, "Signals and gradients, block by block", description)


def scale_logarithmically(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with a few ticks in plain numbers, however far the values reach."""
    decades = log10(max(values) / min(values))
    axes.set_yscale("log")
    steps = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def gap_figure(name: str, rows: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Markup:
    """Errors on training and on test images, one row for each network.

    A row is a label, the training errors and the test errors of its seeds, in percent.
    """
    with figure_style():
        figure = Figure(figsize=(11, 0.9 + 0.62 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for height, (_, known, test) in enumerate(rows):
            means = [sum(values) / len(values) for values in (known, test)]
            axes.plot(means, [height] * 2, color=COLOURS["muted"], linewidth=2, zorder=2)
            for values, mean, marker, colour in (
                (known, means[0], "s", COLOURS["variant"]),
                (test, means[1], "o", COLOURS["published"]),
            ):
                axes.scatter(
                    values, [height + 0.22] * len(values), s=16, marker=marker, color=colour
                )
                axes.scatter(mean, height, s=90, marker=marker, color=colour, zorder=3)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.4, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("images wrong (%)")
        axes.grid(axis="y", visible=False)
        handles = [
            Line2D([], [], color=COLOURS["variant"], marker="s", markersize=9, linestyle="none",
                   label="training images, as they are"),
            Line2D([], [], color=COLOURS["published"], marker="o", markersize=9, linestyle="none",
                   label="test images"),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        sns.despine(ax=axes, left=True)
        description = "; ".join(
            f"{label}: training {sum(known) / len(known):.2f} %, test {sum(test) / len(test):.2f} %"
            for label, known, test in rows
        )
        return to_svg(figure, name, "Errors on training and on test images", description)


def parameters_figure(name: str, rows: Sequence[tuple[str, int, int]]) -> Markup:
    """Where networks have their parameters: a label, those of the stages and those of the head."""
    with figure_style():
        figure = Figure(figsize=(11, 0.9 + 0.55 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for height, (_, stages, head) in enumerate(rows):
            axes.barh(height, stages, height=0.6, color=COLOURS["target"])
            axes.barh(
                height, head, left=stages, height=0.6, facecolor=COLOURS["paper"],
                edgecolor=COLOURS["variant"], linewidth=2, hatch="///",
            )  # fmt: skip
            axes.annotate(
                f"{stages:,} + {head:,} = {stages + head:,}", (stages + head, height), xytext=(8, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1.35 * max(stages + head for _, stages, head in rows))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("parameters")
        axes.grid(axis="y", visible=False)
        handles = [
            Patch(color=COLOURS["target"], label="convolution stages"),
            Patch(facecolor=COLOURS["paper"], edgecolor=COLOURS["variant"], linewidth=2, hatch="///",
                  label="head (hatched)"),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        sns.despine(ax=axes, left=True)
        description = "; ".join(
            f"{label}: {stages:,} in the stages, {head:,} in the head"
            for label, stages, head in rows
        )
        return to_svg(figure, name, "Where the parameters are", description)


def spectrum_figure(name: str, lines: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Singular values of heads, largest first, relative to the largest of each."""
    with figure_style():
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        axes = figure.subplots()
        for index, (label, values) in enumerate(lines):
            draw_spectrum(axes, label, [value / values[0] for value in values], is_target=not index)
        scale_logarithmically(axes, [value / values[0] for _, values in lines for value in values])
        axes.set_xticks(range(1, 1 + max(len(values) for _, values in lines)))
        axes.set_xlabel("singular value, largest first")
        axes.set_ylabel("relative to the largest")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        sns.despine(ax=axes)
        description = "; ".join(
            f"{label}: {len(values)} values, the smallest {values[-1] / values[0]:.3g} of the largest"
            for label, values in lines
        )
        return to_svg(figure, name, "Singular values of the head's linear map", description)


def draw_spectrum(axes: Axes, label: str, shares: Sequence[float], is_target: bool) -> None:
    """One network's line."""
    axes.plot(
        range(1, len(shares) + 1), shares, linewidth=2, markersize=7, label=label,
        color=COLOURS["target" if is_target else "variant"], marker="s" if is_target else "o",
        linestyle="-" if is_target else "--",
    )  # fmt: skip
