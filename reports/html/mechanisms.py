"""Explanations of how the core ingredients work: text and figure put together.

The field of the network that an entry changes decides which explanation fits it.
"""

from collections.abc import Callable
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.mechanisms import (
    ObservedPair,
    compare_gaps,
    head_ranks,
    observed_pair,
    signal_profiles,
    split_parameters,
)
from ablations.analysis.requirements import PARAMETER_LIMIT
from ablations.analysis.summary import Results, matched_size
from ablations.inspection.load import Exhibits
from reports.figures.mechanisms import LABELS, bars_figure, gap_figure, signal_figure
from reports.text.templates import render_paragraphs


class Mechanism(NamedTuple):
    """How one ingredient works."""

    pair: ObservedPair
    texts: list[str]
    """What was measured; the mechanism; its paper and the paper's address; what is not shown; and the
    caption of the figure."""
    figure: Markup


def make_mechanisms(results: Results, exhibits: Exhibits) -> list[Mechanism]:
    """One for each core ingredient that was observed, in the order of the catalogue."""
    mechanisms = []
    for row in results.rows:
        field = next((field for field in row.ablation.network if field in EXPLANATIONS), None)
        pair = observed_pair(row, results.target, exhibits.observations)
        if row.ablation.is_core and field and pair:
            mechanisms.append(EXPLANATIONS[field](f"why-{row.ablation.name}", pair, results))
    return [mechanism for mechanism in mechanisms if mechanism]


def _signals(name: str, pair: ObservedPair, results: Results) -> Mechanism | None:
    """What keeps signals at one scale."""
    profiles = signal_profiles(pair)
    if profiles is None:
        return None
    texts = render_paragraphs("signals.jinja", pair=pair, profiles=profiles)
    return Mechanism(pair, texts, signal_figure(name, profiles))


def _gap(name: str, pair: ObservedPair, results: Results) -> Mechanism:
    """The gap between training and test images."""
    gaps = compare_gaps(pair)
    texts = render_paragraphs("gap.jinja", pair=pair, gaps=gaps)
    return Mechanism(pair, texts, gap_figure(name, gaps))


def _pooling(name: str, pair: ObservedPair, results: Results) -> Mechanism:
    """What pooling saves, and what it discards."""
    matched = matched_size(pair.row, pair.target, results.rows)
    rows = [row for row in (pair.target, pair.row, matched) if row]
    in_stages, in_head = zip(*map(split_parameters, rows), strict=True)
    texts = render_paragraphs(
        "pooling.jinja",
        pair=pair,
        in_head=in_head,
        limit=PARAMETER_LIMIT,
        matched=matched,
        margin_pct=results.study.spec.margin_pct,
    )
    labels = [*LABELS, "similar size"][: len(rows)]
    panels = {"parameters": {"convolutions": in_stages, "head": in_head}}
    figure = bars_figure(name, "Parameters of each part", labels, panels, PARAMETER_LIMIT)
    return Mechanism(pair, texts, figure)


def _head(name: str, pair: ObservedPair, results: Results) -> Mechanism | None:
    """What linear layers in a row multiply out to."""
    ranks = head_ranks(pair)
    if ranks is None:
        return None
    parameters = [split_parameters(row)[1] for row in (pair.target, pair.row)]
    texts = render_paragraphs("head.jinja", pair=pair, ranks=ranks, parameters=parameters)
    panels = {"parameters": {"head": parameters}, "rank": {"head": [max(one) for one in ranks]}}
    figure = bars_figure(name, "Parameters and rank of the head", LABELS, panels)
    return Mechanism(pair, texts, figure)


EXPLANATIONS: dict[str, Callable[[str, ObservedPair, Results], Mechanism | None]] = {
    "block": _signals,
    "dropout": _gap,
    "pooling": _pooling,
    "head": _head,
}
"""By the field of the network that an entry changes."""
