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
from ablations.words import plural
from mnist_blocks.spec import NUM_CLASSES
from reports.text.evidence import verdict_name
from reports.text.tables import FigureTable
from reports.text.wording import capitalised, decimal, estimate_words, signed

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
    removes = pair.row.ablation.removes
    target_start, target_end, start, end = (profile.output_rms for profile in profiles)
    target_gradient, _, gradient, _ = (profile.gradient_rms[0] for profile in profiles)
    target_range, own_range = (max(values) / min(values) for values in (target_end, end))
    text = (
        f"Before the first step, the outputs without {removes} change from {two_digits(start[0])} in the first block to "
        f"{two_digits(start[-1])} in the last (with it: {two_digits(target_start[0])} to {two_digits(target_start[-1])}). "
        f"The gradient of the first block’s weights is {two_digits(gradient)} (with it: {two_digits(target_gradient)}). "
        f"After training, the largest block output is {two_digits(own_range)} times the smallest (with it: {two_digits(target_range)} times). "
        f"{capitalised(removes)} is designed to keep the inputs of every layer at one scale, so that one learning rate suits "
        f"all layers (Ioffe and Szegedy 2015, arXiv:1502.03167). These networks {'show' if target_range < own_range else 'do not show'} this. "
        "Scales alone do not prove that they cause the difference in accuracy: no other learning rate was tried."
    )
    caption = (
        f"Mean of {plural(len(pair.seeds), 'seed')} over one batch of training images, by block (stage.block), on logarithmic axes. "
        f"Grey squares: target. Blue circles: without {removes}. Hollow and dashed: before training. Solid: after training."
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
    caption = (
        f"Large marks: means of {plural(len(pair.seeds), 'seed')}. Small marks: each seed. Training images are the first "
        f"{pair.of_ablation[0].num_known_images:,}, without augmentation or dropout. The training log shows other accuracies: it "
        "measures while the weights change, on augmented images and with dropout."
    )
    rows = [
        [label, decimal(gap.training_pct.mean), decimal(gap.test_pct.mean), signed(gap.gap_pct.mean)]
        for label, gap in zip(network_labels(pair), (gaps.target, gaps.ablation), strict=True)
    ]  # fmt: skip
    columns = ["network", "training images", "test images", "gap (points)"]
    table = FigureTable("Images wrong, in percent, mean over seeds", columns, rows)
    return Explanation(gap_sentences(pair, gaps), caption, table)


def gap_sentences(pair: ObservedPair, gaps: GapComparison) -> str:
    """The gap with the ingredient and without, and what it means for its purpose."""
    removes, verdict = pair.row.ablation.removes, pair.row.verdict
    target, ablation, added = gaps.target, gaps.ablation, gaps.training_error_added
    sentences = [
        (
            f"Without {removes} the network gets {decimal(ablation.training_pct.mean)} % of training images wrong "
            f"(with it: {decimal(target.training_pct.mean)} %) and {decimal(ablation.test_pct.mean)} % of test images "
            f"(with it: {decimal(target.test_pct.mean)} %). The gap is {signed(ablation.gap_pct.mean)} points without it and "
            f"{signed(target.gap_pct.mean)} with it: a change of {estimate_words(gaps.gap_change)}."
        )
    ]
    if added.interval_95 and added.interval_95[0] > 0 and verdict and verdict.effect == "unclear":
        sentences.append(
            f"Here {removes} raises the error on training images: {estimate_words(added)}. The difference on test "
            "images is not significant."
        )
        if ablation.training_pct.mean >= LOW_TRAINING_ERROR_SHARE * ablation.test_pct.mean:
            sentences.append(
                f"Even without {removes} the network does not memorise its training images, so there is little overfitting to prevent."
            )
    sentences.append(
        "Noise in training helps most where a network could memorise its training images (Srivastava et al. 2014). What "
        f"counts is the error on test images: the verdict on removing it is “{verdict_name(verdict) if verdict else 'none'}”."
    )
    return " ".join(sentences)


def explain_pooling(pair: ObservedPair, results: Results) -> Explanation:
    """What pooling over all places saves, and what it ignores."""
    specs = [row.runs[0].run_spec.network for row in (pair.target, pair.row)]
    sizes = [split_parameters(spec) for spec in specs]
    features = specs[1].channels[-1] * specs[1].feature_size ** 2
    text = (
        f"With {pair.row.ablation.removes} the head receives {specs[0].channels[-1]} numbers, one for each channel; without it {features:,}, "
        f"one for each pixel of each channel. So the head has {sizes[0][1]:,} parameters with it and {sizes[1][1]:,} without. "
        f"With it, the average ignores where a stroke was. Without it, the head can learn one weight for each place."
    )
    if pair.row.parameters >= PARAMETER_LIMIT:
        text += f" The network without it has {pair.row.parameters:,} parameters, beyond the assignment’s limit of {PARAMETER_LIMIT:,}."
    matched = matched_size(pair.row, pair.target, results.rows)
    if matched and matched.verdict and matched.difference_pct:
        text += (
            f" A network without it at about the target’s size ({matched.ablation.name}, {matched.parameters:,} parameters) differs by "
            f"{estimate_words(matched.difference_pct)}: {verdict_name(matched.verdict)}."
        )
    return Explanation(text)


def explain_head(pair: ObservedPair, ranks: Sequence[Sequence[int]]) -> Explanation:
    """What linear layers in a row can express together."""
    specs = [row.runs[0].run_spec.network for row in (pair.target, pair.row)]
    sizes = [split_parameters(spec)[1] for spec in specs]
    widths = (specs[0].channels[-1], *specs[0].hidden_features, NUM_CLASSES)
    of_target, of_ablation = (" or ".join(map(str, found)) for found in ranks)
    text = (
        f"The target’s linear layers map {' to '.join(map(str, widths))} numbers with nothing between them, so they equal one matrix. "
        f"Its rank is {of_target} of at most {NUM_CLASSES}; without the head it is {of_ablation}. So the head’s {sizes[0]:,} parameters "
        f"express no more than {sizes[1]:,} do. They can change the path of training (Saxe et al. 2013, arXiv:1312.6120); this study "
        "does not show whether that path costs accuracy."
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


def two_digits(value: float) -> str:
    """A measurement with two significant digits, without an exponent."""
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")
