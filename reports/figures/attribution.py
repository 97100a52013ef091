"""The figure of what ingredients contribute. Returns SVG; nothing is computed here."""

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.figure import Figure

from ablations.analysis.attribution import Attribution
from reports.figures.axes import add_legend, draw_estimate, finish_rows
from reports.figures.svg import figure_style, to_svg
from reports.text.wording import signed

MEASURES = (
    ("left_out", "left out", "variant", "o"),
    ("alone", "alone", "published", "s"),
    ("main_effect", "main effect", "target", "^"),
    ("shapley", "Shapley value", "ink", "D"),
)
"""Field of `Contribution`, label, colour and marker (each a shape of its own)."""


def contributions_figure(found: Attribution, words: Mapping[str, str], name: str) -> Markup:
    """Each ingredient's contribution by every measure, with intervals."""
    labels, descriptions = [words[one.name] for one in found.contributions], []
    measures = MEASURES if found.is_factorial else MEASURES[:2]
    with figure_style():
        figure = Figure(figsize=(10, 1.2 + 0.3 * len(measures) * len(labels)))
        axes = figure.subplots()
        for row, contribution in enumerate(found.contributions):
            for number, (field, label, colour, marker) in enumerate(measures):
                value = getattr(contribution, field)
                if value:
                    height = row + 0.2 * (number - (len(measures) - 1) / 2)
                    draw_estimate(
                        axes, value, height, label, colour=colour, marker=marker, spread=0.1
                    )
                    descriptions.append(f"{label} of {labels[row]} {signed(value.mean)}")
        finish_rows(axes, labels)
        axes.set_xlabel("contribution, in percentage points of test accuracy")
        axes.xaxis.set_major_formatter(lambda value, _: signed(value))
        add_legend(figure, 5)
        title = "Contribution of each ingredient by several measures, in percentage points"
        return to_svg(figure, name, title, "; ".join(descriptions))
