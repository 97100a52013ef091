"""Explanations of how the core ingredients work: text, figure, table and maps put together.

The field of the network that an entry changes decides which explanation fits it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.mechanisms import (
    ObservedPair,
    compare_gaps,
    head_ranks,
    observed_pair,
    signal_profiles,
)
from ablations.analysis.summary import AblationResult, Results
from ablations.inspection.load import Exhibits
from reports.figures.pictures import evidence_picture, image_picture
from reports.text.mechanisms import (
    Explanation,
    evidence_words,
    explain_gap,
    explain_head,
    explain_pooling,
    explain_signals,
    network_labels,
)


class EvidenceRow(NamedTuple):
    """One test image, and where in it each network's answer comes from."""

    image: str
    """As a data URL."""
    image_words: str
    maps: list[tuple[str, str, str]]
    """Label, data URL, and what it shows in words."""


class Mechanism(NamedTuple):
    """How one ingredient works."""

    row: AblationResult
    explanation: Explanation
    figure: Markup | None = None
    evidence: Sequence[EvidenceRow] = ()


def make_mechanisms(results: Results, exhibits: Exhibits) -> list[Mechanism]:
    """One for each core ingredient that was observed, in the order of the catalogue."""
    mechanisms = []
    for row in results.rows:
        field = next((field for field in row.ablation.network if field in EXPLANATIONS), None)
        pair = observed_pair(row, results.target, exhibits.observations)
        if row.ablation.is_core and field and pair:
            mechanisms.append(EXPLANATIONS[field](pair, results, exhibits))
    return [mechanism for mechanism in mechanisms if mechanism]


def evidence_key() -> str:
    """A picture of the shades of evidence, from for to against, as a data URL."""
    return evidence_picture([[1, 0.6, 0.3, 0, -0.3, -0.6, -1]])


def _signals(pair: ObservedPair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What keeps signals and gradients at one scale (Ioffe and Szegedy 2015)."""
    from reports.figures.mechanisms import signal_figure

    profiles = signal_profiles(pair)
    if profiles is None:
        return None
    figure = signal_figure(f"why-{pair.row.ablation.name}", pair, profiles)
    return Mechanism(pair.row, explain_signals(pair, profiles), figure)


def _gap(pair: ObservedPair, results: Results, exhibits: Exhibits) -> Mechanism:
    """The gap between training and test images (Srivastava et al. 2014)."""
    from reports.figures.mechanisms import gap_figure

    gaps = compare_gaps(pair)
    return Mechanism(
        pair.row, explain_gap(pair, gaps), gap_figure(f"why-{pair.row.ablation.name}", pair, gaps)
    )


def _pooling(pair: ObservedPair, results: Results, exhibits: Exhibits) -> Mechanism:
    """What pooling saves, and where answers come from (Lin et al. 2013; Zhou et al. 2015)."""
    rows = _evidence_rows(pair, exhibits)
    return Mechanism(pair.row, explain_pooling(pair, results), evidence=rows)


def _head(pair: ObservedPair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What linear layers in a row multiply out to (Saxe et al. 2013)."""
    ranks = head_ranks(pair)
    return Mechanism(pair.row, explain_head(pair, ranks)) if ranks else None


def _evidence_rows(pair: ObservedPair, exhibits: Exhibits) -> list[EvidenceRow]:
    """The same test images under both networks of the gallery's seed; none without a gallery."""
    gallery = exhibits.gallery
    if gallery is None or gallery.seed not in pair.seeds:
        return []
    index = pair.seeds.index(gallery.seed)
    of_target, of_ablation = (
        {evidence.image: evidence for evidence in found[index].evidence}
        for found in (pair.of_target, pair.of_ablation)
    )
    rows = []
    for image in sorted(gallery.images, key=lambda image: image.number):
        if image.number in of_target and image.number in of_ablation:
            maps = [
                (label, evidence_picture(found.values), evidence_words(label, found, gallery.class_names))
                for label, found in zip(
                    network_labels(pair), (of_target[image.number], of_ablation[image.number]), strict=True
                )
            ]  # fmt: skip
            words = f"Test image {image.number}: {gallery.class_names[image.class_index]}"
            rows.append(EvidenceRow(image_picture(image.pixels), words, maps))
    return rows


EXPLANATIONS: dict[str, Callable[[ObservedPair, Results, Exhibits], Mechanism | None]] = {
    "block": _signals,
    "dropout": _gap,
    "pooling": _pooling,
    "head": _head,
}
"""By the field of the network that an entry changes."""
