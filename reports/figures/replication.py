"""The figure of several studies side by side. Returns SVG; nothing is computed here."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from ablations.analysis.replication import ReplicationRow
from ablations.analysis.summary import Results
from reports.figures.effects import add_difference_legend, draw_differences
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.text.wording import signed


def replication_figure(
    rows: Sequence[ReplicationRow], studies: Sequence[Results], labels: Sequence[str]
) -> Markup:
    """Each study in a panel of its own scale, with the same ablations in the same order."""
    descriptions = []
    with figure_style():
        figure = Figure(
            figsize=(3 + 4.2 * len(studies), 1.5 + 0.36 * len(rows)), layout="constrained"
        )
        panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
        for number, (axes, study, label) in enumerate(zip(panels, studies, labels, strict=True)):
            results = [row.rows[number] for row in rows]
            draw_differences(axes, results, study.study.spec.margin_pct)
            axes.set_xlabel("points from the target")
            axes.set_title(label, fontsize=12, color=COLOURS["ink"], loc="left")
            descriptions += [
                f"{label}, {found.ablation.name}: {signed(found.difference_pct.mean)}"
                for found in results
                if found and found.difference_pct
            ]
        names = [row.ablation.name for row in rows]
        panels[0].set_yticks(range(len(rows)), names, color=COLOURS["ink"])
        add_difference_legend(figure)
        title = "Differences from the target in each study"
        return to_svg(figure, "replication", title, "; ".join(descriptions))
