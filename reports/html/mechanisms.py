"""Explanations of how the core ingredients work: text, figure and table put together.

The field of the network that an entry changes decides which explanation fits it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.mechanisms import (
    GapComparison,
    ObservedPair,
    SignalProfile,
    compare_gaps,
    head_ranks,
    observed_pair,
    signal_profiles,
    split_parameters,
)
from ablations.analysis.requirements import PARAMETER_LIMIT
from ablations.analysis.summary import Results, matched_size
from ablations.inspection.load import Exhibits
from mnist_blocks.spec import NUM_CLASSES
from reports.figures.mechanisms import gap_figure, signal_figure
from reports.text.templates import render_paragraphs


class Mechanism(NamedTuple):
    """How one ingredient works."""

    pair: ObservedPair
    paragraphs: list[str]
    """The text; then the caption, where there is a figure."""
    figure: Markup | None = None
    profiles: Sequence[SignalProfile] = ()
    """What the figure shows: these, or `gaps`."""
    gaps: GapComparison | None = None


def make_mechanisms(results: Results, exhibits: Exhibits) -> list[Mechanism]:
    """One for each core ingredient that was observed, in the order of the catalogue."""
    mechanisms = []
    for row in results.rows:
        field = next((field for field in row.ablation.network if field in EXPLANATIONS), None)
        pair = observed_pair(row, results.target, exhibits.observations)
        if row.ablation.is_core and field and pair:
            mechanisms.append(EXPLANATIONS[field](pair, results))
    return [mechanism for mechanism in mechanisms if mechanism]


def _signals(pair: ObservedPair, results: Results) -> Mechanism | None:
    """What keeps signals and gradients at one scale (Ioffe and Szegedy 2015)."""
    profiles = signal_profiles(pair)
    if profiles is None:
        return None
    paragraphs = render_paragraphs("signals.jinja", pair=pair, profiles=profiles)
    figure = signal_figure(f"why-{pair.row.ablation.name}", pair, profiles)
    return Mechanism(pair, paragraphs, figure, profiles=profiles)


def _gap(pair: ObservedPair, results: Results) -> Mechanism:
    """The gap between training and test images (Srivastava et al. 2014)."""
    gaps = compare_gaps(pair)
    margin_pct = results.study.spec.margin_pct
    paragraphs = render_paragraphs("gap.jinja", pair=pair, gaps=gaps, margin_pct=margin_pct)
    figure = gap_figure(f"why-{pair.row.ablation.name}", pair, gaps)
    return Mechanism(pair, paragraphs, figure, gaps=gaps)


def _pooling(pair: ObservedPair, results: Results) -> Mechanism:
    """What pooling saves (Lin et al. 2013)."""
    paragraphs = render_paragraphs(
        "pooling.jinja",
        pair=pair,
        split_parameters=split_parameters,
        parameter_limit=PARAMETER_LIMIT,
        matched=matched_size(pair.row, pair.target, results.rows),
        margin_pct=results.study.spec.margin_pct,
    )
    return Mechanism(pair, paragraphs)


def _head(pair: ObservedPair, results: Results) -> Mechanism | None:
    """What linear layers in a row multiply out to (Saxe et al. 2013)."""
    ranks = head_ranks(pair)
    if ranks is None:
        return None
    paragraphs = render_paragraphs(
        "head.jinja",
        pair=pair,
        ranks=ranks,
        split_parameters=split_parameters,
        num_classes=NUM_CLASSES,
    )
    return Mechanism(pair, paragraphs)


EXPLANATIONS: dict[str, Callable[[ObservedPair, Results], Mechanism | None]] = {
    "block": _signals,
    "dropout": _gap,
    "pooling": _pooling,
    "head": _head,
}
"""By the field of the network that an entry changes."""
