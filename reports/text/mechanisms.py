"""How an ingredient works, in sentences and tables: what was measured, and what it does not show."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ablations.analysis.mechanisms import (
    GapComparison,
    ObservedPair,
    SignalProfile,
    split_parameters,
)
from ablations.analysis.requirements import PARAMETER_LIMIT
from ablations.analysis.summary import Results, matched_size
from ablations.records.observations import Evidence
from mnist_blocks.spec import NUM_CLASSES
from reports.text.tables import FigureTable
from reports.text.templates import render_paragraphs, render_sentences
from reports.text.wording import decimal, signed

LOW_TRAINING_ERROR_SHARE = 0.5
"""A network whose training error is at least this share of its test error has not overfitted."""


class Explanation(NamedTuple):
    """What the page states about how one ingredient works."""

    text: str
    caption: str = ""
    """Of the figure; empty where there is none."""
    table: FigureTable | None = None


def network_labels(pair: ObservedPair) -> tuple[str, str]:
    """The target and the ablation, as a legend names them."""
    return "target", f"without {pair.row.ablation.removes}"


def profile_label(profile: SignalProfile, pair: ObservedPair) -> str:
    """`target, before training`, as a legend names a line."""
    label = network_labels(pair)[0 if profile.is_target else 1]
    return f"{label}, {'before' if profile.is_before_training else 'after'} training"


def block_labels(pair: ObservedPair) -> list[str]:
    """Stage and block, such as `1.2`."""
    names = [signal.block for signal in pair.of_ablation[0].signals]
    return [name.replace("stage", "").replace(".block", ".") for name in names]


def explain_signals(pair: ObservedPair, profiles: Sequence[SignalProfile]) -> Explanation:
    """Whether the ingredient keeps signals and gradients at one scale."""
    target_start, target_end, start, end = profiles
    target_range, own_range = (
        max(profile.output_rms) / min(profile.output_rms) for profile in (target_end, end)
    )
    text, caption = render_paragraphs(
        "signals.jinja",
        pair=pair,
        removes=pair.row.ablation.removes,
        start=start,
        target_start=target_start,
        own_range=own_range,
        target_range=target_range,
    )
    rows = [
        [f"{name}, {profile_label(profile, pair)}", *(f"{value:.3g}" for value in getattr(profile, field))]
        for name, field in (("outputs", "output_rms"), ("gradients", "gradient_rms"))
        for profile in profiles
    ]  # fmt: skip
    title = "Root mean square of each block’s outputs and of the gradient of its weights"
    return Explanation(text, caption, FigureTable(title, ["what", *block_labels(pair)], rows))


def explain_gap(pair: ObservedPair, gaps: GapComparison) -> Explanation:
    """How far errors on training and on test images are apart."""
    caption = render_sentences("gap_caption.jinja", pair=pair)
    rows = [
        [label, decimal(gap.training_pct.mean), decimal(gap.test_pct.mean), signed(gap.gap_pct.mean)]
        for label, gap in zip(network_labels(pair), (gaps.target, gaps.ablation), strict=True)
    ]  # fmt: skip
    columns = ["network", "training images", "test images", "gap (points)"]
    table = FigureTable("Images wrong, in percent, mean over seeds", columns, rows)
    return Explanation(gap_sentences(pair, gaps), caption, table)


def gap_sentences(pair: ObservedPair, gaps: GapComparison) -> str:
    """The gap with the ingredient and without, and what it means for its purpose."""
    verdict, (training, test, _) = pair.row.verdict, gaps.ablation
    added = gaps.training_error_added.interval_95
    return render_sentences(
        "gap.jinja",
        removes=pair.row.ablation.removes,
        gaps=gaps,
        verdict=verdict,
        raises_training_error_only=bool(
            added and added[0] > 0 and verdict and verdict.effect == "unclear"
        ),
        has_not_overfitted=training.mean >= LOW_TRAINING_ERROR_SHARE * test.mean,
    )


def explain_pooling(pair: ObservedPair, results: Results) -> Explanation:
    """What pooling over all places saves, and what it ignores."""
    of_target, without = (row.runs[0].run_spec.network for row in (pair.target, pair.row))
    text = render_sentences(
        "pooling.jinja",
        row=pair.row,
        num_channels=of_target.channels[-1],
        num_features=without.channels[-1] * without.feature_size**2,
        head_size=split_parameters(of_target)[1],
        head_size_without=split_parameters(without)[1],
        parameter_limit=PARAMETER_LIMIT,
        matched=matched_size(pair.row, pair.target, results.rows),
    )
    return Explanation(text)


def explain_head(pair: ObservedPair, ranks: Sequence[Sequence[int]]) -> Explanation:
    """What linear layers in a row can express together."""
    of_target, without = (row.runs[0].run_spec.network for row in (pair.target, pair.row))
    text = render_sentences(
        "head.jinja",
        widths=(of_target.channels[-1], *of_target.hidden_features, NUM_CLASSES),
        target_ranks=ranks[0],
        ranks=ranks[1],
        num_classes=NUM_CLASSES,
        head_size=split_parameters(of_target)[1],
        head_size_without=split_parameters(without)[1],
    )
    return Explanation(text)


def evidence_words(label: str, evidence: Evidence, class_names: Sequence[str]) -> str:
    """A class activation map in words."""
    values = np.asarray(evidence.values)
    row, column = divmod(int(values.argmax()), values.shape[1])
    return (
        f"{label}: evidence for {class_names[evidence.class_index]}, strongest in row {row + 1}, column {column + 1} of "
        f"{len(values)}; {(values < 0).sum()} of {values.size} squares lower its score"
    )
