"""The figure of several studies side by side. Returns SVG; nothing is computed here."""

from collections.abc import Sequence

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ablations.analysis.replication import ReplicationRow
from ablations.analysis.summary import AblationResult, Results
from reports.figures.effects import scale_differences
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import signed

MARKS = (("o", "variant"), ("s", "published"), ("^", "ink"), ("D", "target"))
"""Marker and colour of each study in turn."""


def replication_figure(
    rows: Sequence[ReplicationRow], studies: Sequence[Results], labels: Sequence[str]
) -> Markup:
    """Each study in a panel of its own scale, with the same ablations in the same order."""
    with figure_style():
        figure = Figure(
            figsize=(4 + 3.4 * len(studies), 1.1 + 0.36 * len(rows)), layout="constrained"
        )
        panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
        for number, (axes, study, label) in enumerate(zip(panels, studies, labels, strict=True)):
            _draw_panel(axes, [row.rows[number] for row in rows], study, number)
            axes.set_title(label, fontsize=12, color=COLOURS["ink"], loc="left")
        panels[0].set_yticks(
            range(len(rows)), [row.ablation.name for row in rows], color=COLOURS["ink"]
        )
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.supxlabel(
            "test accuracy minus the target's, in percentage points", fontsize=12,
            color=COLOURS["muted"],
        )  # fmt: skip
        description = "; ".join(
            f"{row.ablation.name}: "
            + ", ".join(
                f"{label} {signed(found.difference_pct.mean)}"
                for label, found in zip(labels, row.rows, strict=True)
                if found and found.difference_pct
            )
            for row in rows
        )
        return to_svg(
            figure, "replication", "Differences from the target in each study", description
        )


def _draw_panel(
    axes: Axes, rows: Sequence[AblationResult | None], study: Results, number: int
) -> None:
    """One study's means and intervals."""
    found = [row for row in rows if row and row.difference_pct]
    if found:
        scale_differences(axes, found)
    marker, colour = MARKS[number % len(MARKS)]
    for height, row in enumerate(rows):
        if row is None or row.difference_pct is None:
            continue
        difference = row.difference_pct
        if difference.interval_95:
            axes.plot(difference.interval_95, [height] * 2, color=COLOURS[colour], linewidth=2.2)
        axes.plot(
            [difference.mean], [height], marker, color=COLOURS[colour], markersize=8,
            markerfacecolor=COLOURS[colour] if len(difference.by_seed) > 1 else "none",
            markeredgewidth=1.8,
        )  # fmt: skip
    axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=1)
    for edge in (-study.study.spec.margin_pct, study.study.spec.margin_pct):
        axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, digits=None)))
    axes.grid(axis="y", visible=False)
    sns.despine(ax=axes, left=True)
