"""Why an ingredient does what it does: one explanation for each core ingredient, as measured.

Which explanation fits an entry follows from the field of the network that it changes.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from markupsafe import Markup

from ablations.analysis.requirements import PARAMETER_LIMIT
from ablations.analysis.statistics import paired_difference
from ablations.analysis.summary import AblationResult, Results
from ablations.inspection.load import Exhibits
from ablations.records.observations import BlockSignal, Evidence, Observations
from ablations.words import plural
from mnist_blocks.spec import NUM_CLASSES, NetworkSpec, parse_recipe
from mnist_blocks.summary import LayerRow, layer_table
from reports.figures.pictures import evidence_picture, image_picture
from reports.text.evidence import verdict_name
from reports.text.tables import FigureTable
from reports.text.wording import decimal, interval, same_size, signed, unbroken

HARDLY_BY_HEART = 0.5
"""A network that gets at least this share as many training images wrong as test images has not learnt
the training images by heart."""


class EvidenceRow(NamedTuple):
    """One test image, and where in it each network's answer comes from."""

    image: str
    """As a data URL."""
    image_words: str
    maps: list[tuple[str, str, str]]
    """Label, data URL, and what it shows in words."""


class SignalLine(NamedTuple):
    """A measure of one network, block by block."""

    label: str
    is_target: bool
    is_start: bool
    """Whether it was measured before the first step."""
    values: list[float]


class Mechanism(NamedTuple):
    """How one ingredient works."""

    anchor: str
    name: str
    removes: str
    text: str
    figure: Markup
    caption: str
    table: FigureTable
    evidence: Sequence[EvidenceRow] = ()
    evidence_key: str = ""
    """A picture of the shades, as a data URL."""
    evidence_caption: str = ""


class Pair(NamedTuple):
    """An ablation beside the target: their observations at the seeds that both have."""

    row: AblationResult
    target: AblationResult
    label: str
    """Of the ablation, in a legend."""
    seeds: list[int]
    with_it: list[Observations]
    """The target's, one for each seed."""
    without: list[Observations]


def make_mechanisms(results: Results, exhibits: Exhibits) -> list[Mechanism]:
    """One for each core ingredient that was observed, in the order of the catalogue."""
    mechanisms = []
    for row in results.rows:
        fields = [field for field in row.ablation.network if field in EXPLANATIONS]
        pair = find_pair(row, results.target, exhibits) if row.ablation.is_core else None
        if pair and fields:
            found = EXPLANATIONS[fields[0]](pair, results, exhibits)
            if found:
                mechanisms.append(found)
    return mechanisms


def find_pair(
    row: AblationResult, target: AblationResult | None, exhibits: Exhibits
) -> Pair | None:
    """What was observed in an ablation and in the target; None where no seed is there for both."""
    seen, name = exhibits.observations, row.ablation.name
    seeds = [
        seed
        for seed in row.accuracy_pct.by_seed
        if (name, seed) in seen and ("target", seed) in seen
    ]
    if target is None or not seeds:
        return None
    return Pair(
        row,
        target,
        f"without {row.ablation.removes}",
        seeds,
        [seen["target", seed] for seed in seeds],
        [seen[name, seed] for seed in seeds],
    )


def anchor_of(pair: Pair) -> str:
    """Where an explanation stands in the page."""
    return f"why-{pair.row.ablation.name}"


def explain_signals(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What keeps signals and gradients at one scale (Ioffe and Szegedy, 2015)."""
    blocks = [signal.block for signal in pair.without[0].signals]
    is_normalised = "bn" in parse_recipe(pair.row.ablation.network_spec.block)
    if is_normalised or [signal.block for signal in pair.with_it[0].signals] != blocks:
        return None
    outputs, gradients = (signal_lines(pair, measure) for measure in (output_rms, gradient_rms))
    if outputs is None or gradients is None:
        return None
    from reports.figures.mechanisms import signal_figure

    removes = pair.row.ablation.removes
    short = [block.replace("stage", "").replace(".block", ".") for block in blocks]
    return Mechanism(
        anchor=anchor_of(pair),
        name=pair.row.ablation.name,
        removes=removes,
        text=signal_words(pair, outputs, gradients),
        figure=signal_figure(
            anchor_of(pair),
            short,
            [
                ("Outputs of each block (root mean square)", outputs),
                ("Gradients of its weights (root mean square)", gradients),
            ],
        ),
        caption=(
            f"Mean of {plural(len(pair.seeds), 'seed')}, over one batch of training images, block by block (stage.block), on logarithmic axes. "
            f"Grey squares are the target, blue circles the network without {removes}; hollow and dashed is before the first step, "
            "solid is after training."
        ),
        table=FigureTable(
            "Root mean square of each block’s outputs and of the gradient of its weights",
            ["what", *short],
            [
                [f"{what}, {line.label}", *(f"{value:.3g}" for value in line.values)]
                for what, lines in (("outputs", outputs), ("gradients", gradients))
                for line in lines
            ],
        ),
    )


def signal_lines(
    pair: Pair, measure: Callable[[BlockSignal], float | None]
) -> list[SignalLine] | None:
    """The target before and after training, then the ablation; None where a network diverged."""
    lines = []
    for label, is_target, found in (
        ("target", True, pair.with_it),
        (pair.label, False, pair.without),
    ):
        for is_start in (True, False):
            runs = [one.signals_at_start if is_start else one.signals for one in found]
            values = mean_by_block(runs, measure)
            if values is None:
                return None
            when = "before training" if is_start else "after training"
            lines.append(SignalLine(f"{label}, {when}", is_target, is_start, values))
    return lines


def output_rms(signal: BlockSignal) -> float | None:
    """How loud a block's outputs are."""
    return signal.output_rms


def gradient_rms(signal: BlockSignal) -> float | None:
    """How loud the gradient of its weights is."""
    return signal.gradient_rms


def mean_by_block(
    runs: Sequence[Sequence[BlockSignal]], measure: Callable[[BlockSignal], float | None]
) -> list[float] | None:
    """A measure's mean over seeds, for each block; None where it is zero or not a number."""
    means = []
    for signals in zip(*runs, strict=True):
        values = [value for signal in signals if (value := measure(signal))]
        if len(values) < len(signals):
            return None
        means.append(fmean(values))
    return means


def signal_words(pair: Pair, outputs: Sequence[SignalLine], gradients: Sequence[SignalLine]) -> str:
    """What the figure of signals shows, and what it may have to do with the ingredient."""
    with_start, with_end, without_start, without_end = (line.values for line in outputs)
    removes = pair.row.ablation.removes
    ratio = gradients[2].values[0] / gradients[0].values[0]
    spreads = [max(values) / min(values) for values in (with_end, without_end)]
    is_more_even = spreads[0] < spreads[1]
    return (
        f"Before the first step, the outputs without {removes} go from {brief(without_start[0])} after the first block to "
        f"{brief(without_start[-1])} after the last (with it: {brief(with_start[0])} to {brief(with_start[-1])}), and the first block’s weights "
        f"get a gradient {times_words(ratio)} the target’s. After training, the loudest block is {brief(spreads[1])} times as loud as the quietest "
        f"(with it: {brief(spreads[0])} times). {removes[0].upper()}{removes[1:]} is made to keep the inputs of every layer at one scale, so that one learning rate may "
        f"suit all of them (Ioffe and Szegedy 2015, arXiv:1502.03167); {'so it is' if is_more_even else 'that is not what is seen'} in these networks. "
        "The figure shows scales; it does not show that they cause the difference in accuracy, and without it no other learning rate was tried."
    )


def brief(value: float) -> str:
    """A measurement with two significant digits, and without an exponent where it is readable."""
    shown = float(f"{value:.2g}")
    return f"{shown:,.0f}" if 100 <= shown < 1e6 else f"{shown:g}"


def times_words(ratio: float) -> str:
    """How a size compares with another, in words."""
    if 0.9 < ratio < 1.1:
        return "about as large as"
    return (
        f"{brief(ratio)} times as large as"
        if ratio > 1
        else f"{brief(1 / ratio)} times smaller than"
    )


def explain_gap(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """The gap between training and test images (Srivastava et al., 2014)."""
    from reports.figures.mechanisms import gap_figure

    rows = [
        (
            label,
            [100 - one.known_accuracy_pct for one in found],
            [100 - row.accuracy_pct.by_seed[seed] for seed in pair.seeds],
        )
        for label, row, found in (
            ("target", pair.target, pair.with_it),
            (pair.label, pair.row, pair.without),
        )
    ]
    return Mechanism(
        anchor=anchor_of(pair),
        name=pair.row.ablation.name,
        removes=pair.row.ablation.removes,
        text=gap_words(pair, rows),
        figure=gap_figure(anchor_of(pair), rows),
        caption=(
            f"Large marks are means of {plural(len(pair.seeds), 'seed')}, small ones below them the seeds. Training images are the first "
            f"{pair.without[0].num_known_images:,}, neither zoomed nor rotated, and nothing is dropped out. The accuracy of the training log is another number: it is taken "
            "while the weights change, on augmented images, with dropout where there is one."
        ),
        table=FigureTable(
            "Images wrong, in percent, mean over seeds",
            ["network", "training images", "test images", "gap (points)"],
            [
                [
                    label,
                    decimal(fmean(known)),
                    decimal(fmean(test)),
                    signed(fmean(test) - fmean(known)),
                ]
                for label, known, test in rows
            ],
        ),
    )


def gap_words(pair: Pair, rows: Sequence[tuple[str, list[float], list[float]]]) -> str:
    """How far training and test images are apart, with the ingredient and without."""
    gaps = [
        {seed: wrong - own for seed, own, wrong in zip(pair.seeds, known, test, strict=True)}
        for _, known, test in rows
    ]
    (_, known_with, test_with), (_, known_without, test_without) = rows
    change = paired_difference(gaps[1], gaps[0])
    bounds = (
        f", 95 % interval {interval(change.interval_95)}" if change and change.interval_95 else ""
    )
    removes, verdict = pair.row.ablation.removes, pair.row.verdict
    shown = [round(fmean(found.values()), 2) for found in gaps]
    is_exact = change is None or round(shown[1] - shown[0], 2) == round(change.mean, 2)
    rounding = "" if is_exact else "; taken before rounding"
    return unbroken(
        f"Without {removes} the network gets {decimal(fmean(known_without))} % of training images wrong (with it: {decimal(fmean(known_with))} %), "
        f"and {decimal(fmean(test_without))} % of test images (with it: {decimal(fmean(test_with))} %). So test images are {signed(fmean(gaps[1].values()))} points harder "
        f"for it than training images, and {signed(fmean(gaps[0].values()))} for the target: a change of "
        f"{signed(change.mean if change else 0.0)} points ({plural(len(pair.seeds), 'seed')}{bounds}{rounding}). {known_words(pair, rows)}A network that has more room to learn training images by heart gains more from noise "
        f"that keeps it from doing so (Srivastava et al. 2014). What counts is the error on test images: there the verdict on removing it is “{verdict_name(verdict) if verdict else 'none'}”."
    )


def known_words(pair: Pair, rows: Sequence[tuple[str, list[float], list[float]]]) -> str:
    """What the ingredient does to training images, where that is sure and test images do not show
    it; empty elsewhere."""
    (_, known_with, _), (_, known_without, test_without) = rows
    change = paired_difference(
        dict(zip(pair.seeds, known_with, strict=True)),
        dict(zip(pair.seeds, known_without, strict=True)),
    )
    is_raised = change and change.interval_95 and change.interval_95[0] > 0
    if not (change and is_raised and pair.row.verdict and pair.row.verdict.effect == "unclear"):
        return ""
    removes = pair.row.ablation.removes
    text = (
        f"Here {removes} makes training images harder ({signed(change.mean)} points of error, 95 % interval "
        f"{interval(change.interval_95 or (0, 0))}), and test images show no clear effect. "
    )
    if fmean(known_without) >= HARDLY_BY_HEART * fmean(test_without):
        text += (
            "Even without it, training images are not learnt by heart: this network has little room for what "
            f"{removes} is made to prevent. "
        )
    return text


def explain_pooling(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What pooling saves, and what it lets one see (Lin et al., 2013; Zhou et al., 2015)."""
    from reports.figures.mechanisms import parameters_figure

    specs = [row.runs[0].run_spec.network for row in (pair.target, pair.row)]
    rows = [
        (label, *split_parameters(spec))
        for label, spec in zip(("target", pair.label), specs, strict=True)
    ]
    return Mechanism(
        anchor=anchor_of(pair),
        name=pair.row.ablation.name,
        removes=pair.row.ablation.removes,
        text=pooling_words(pair, results, specs[1], [head for _, _, head in rows]),
        figure=parameters_figure(anchor_of(pair), rows),
        caption="Parameters of the convolution stages and of the head.",
        table=FigureTable(
            "Parameters",
            ["network", "stages", "head", "all"],
            [
                [label, f"{stages:,}", f"{head:,}", f"{stages + head:,}"]
                for label, stages, head in rows
            ],
        ),
        evidence=evidence_rows(pair, exhibits),
        evidence_key=evidence_picture([[1, 0.6, 0.3, 0, -0.3, -0.6, -1]]),
        evidence_caption=(
            "What to look for: whether the darkest blue lies on the stroke, and whether both networks find it in the same place. "
            "Where the answer comes from (class activation maps, Zhou et al. 2015, arXiv:1512.04150): the score of the answer is a sum over the pixels of the last feature maps, and each "
            "square shows one pixel’s part. Blue speaks for the answer, orange (with a dot) against it; the stronger, the more. The scale is each map’s own."
        ),
    )


def pooling_words(pair: Pair, results: Results, without: NetworkSpec, heads: Sequence[int]) -> str:
    """What the head sees and costs with the ingredient and without, and how a fair size compares."""
    removes = pair.row.ablation.removes
    features = without.channels[-1] * without.feature_size**2
    text = (
        f"With {removes} the head sees {pair.target.runs[0].run_spec.network.channels[-1]} numbers, one for each channel; without it {features:,}, one for each pixel of each channel. "
        f"So the head has {heads[0]:,} parameters with it and {heads[1]:,} without. With it every place in the image counts alike: the average does not know where a "
        "stroke was. Without it the head may learn a weight of its own for each place"
        + (
            "; MNIST’s digits are centred, so places mean something."
            if results.study.spec.is_mnist
            else "."
        )
    )
    if pair.row.parameters >= PARAMETER_LIMIT:
        text += f" At {pair.row.parameters:,} parameters in all it is beyond the assignment’s {PARAMETER_LIMIT:,}."
    matched = same_size(pair.row, pair.target, results.rows)
    if matched and matched.verdict and matched.difference_pct:
        text += (
            f" Without it at about the target’s size ({matched.ablation.name}, {matched.parameters:,} parameters) removing it gives "
            f"{signed(matched.difference_pct.mean)} points: {verdict_name(matched.verdict)}."
        )
    return text


def split_parameters(spec: NetworkSpec) -> tuple[int, int]:
    """Parameters of a network's stages and of its head."""
    head = [row for row in layer_table(spec) if is_of_head(row)]
    in_head = sum(row.parameters for row in head)
    return sum(row.parameters for row in layer_table(spec)) - in_head, in_head


def is_of_head(row: LayerRow) -> bool:
    """Whether a layer stands behind the last stage."""
    return row.name.startswith("head")


def evidence_rows(pair: Pair, exhibits: Exhibits) -> list[EvidenceRow]:
    """The same test images under both networks of the gallery's seed; nothing without a gallery."""
    gallery = exhibits.gallery
    if gallery is None or gallery.seed not in pair.seeds:
        return []
    index = pair.seeds.index(gallery.seed)
    maps = [
        (label, {evidence.image: evidence for evidence in found[index].evidence})
        for label, found in (("target", pair.with_it), (pair.label, pair.without))
    ]
    shown = {image.number for image in gallery.images}
    rows = []
    for number in sorted(shown.intersection(*(found.keys() for _, found in maps))):
        image = gallery.image(number)
        rows.append(
            EvidenceRow(
                image_picture(image.pixels),
                f"Test image {image.number}: {gallery.class_names[image.class_index]}",
                [
                    (
                        label,
                        evidence_picture(found[number].values),
                        evidence_words(label, found[number], gallery.class_names),
                    )
                    for label, found in maps
                ],
            )
        )
    return rows


def evidence_words(label: str, evidence: Evidence, class_names: Sequence[str]) -> str:
    """A map in words."""
    places = {
        (row, column): value
        for row, values in enumerate(evidence.values, start=1)
        for column, value in enumerate(values, start=1)
    }
    row, column = max(places, key=lambda place: places[place])
    against = sum(value < 0 for value in places.values())
    return (
        f"{label}: evidence for {class_names[evidence.class_index]}, strongest in row {row}, column {column} of "
        f"{len(evidence.values)}; {against} of {len(places)} squares speak against it"
    )


def explain_head(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What linear layers in a row multiply out to (Saxe et al., 2013)."""
    from reports.figures.mechanisms import spectrum_figure

    lines = []
    for label, found in (("target", pair.with_it), (pair.label, pair.without)):
        spectra = [one.head_singular_values for one in found]
        if not all(values and min(values) > 0 for values in spectra):
            return None
        lines.append((label, [fmean(values) for values in zip(*spectra, strict=True)]))
    falls_faster = lines[0][1][-1] / lines[0][1][0] < lines[1][1][-1] / lines[1][1][0]
    return Mechanism(
        anchor=anchor_of(pair),
        name=pair.row.ablation.name,
        removes=pair.row.ablation.removes,
        text=head_words(pair),
        figure=spectrum_figure(anchor_of(pair), lines),
        caption=(
            f"Singular values of the one matrix that each head amounts to, that is how strongly it passes on each of its ten directions (mean of {plural(len(pair.seeds), 'seed')})."
            + (
                " The target’s fall faster, as Saxe et al. (2013, arXiv:1312.6120) would have it: a product of two factors learns its strong directions first."
                if falls_faster
                else ""
            )
        ),
        table=FigureTable(
            "Singular values relative to the largest",
            ["network", *(str(number) for number in range(1, 1 + len(lines[0][1])))],
            [[label, *(f"{value / values[0]:.2g}" for value in values)] for label, values in lines],
        ),
    )


def head_words(pair: Pair) -> str:
    """What the head's layers amount to, with the ingredient and without."""
    specs = [row.runs[0].run_spec.network for row in (pair.target, pair.row)]
    sizes = [split_parameters(spec)[1] for spec in specs]
    widths = (specs[0].channels[-1], *specs[0].hidden_features, NUM_CLASSES)
    ranks, others = (
        " or ".join(str(rank) for rank in sorted({one.head_rank for one in found}))
        for found in (pair.with_it, pair.without)
    )
    return (
        f"The target’s linear layers take {' to '.join(map(str, widths))} numbers with nothing between them, so they multiply out to one matrix. Its rank "
        f"(how many directions it can tell apart) is {ranks} of at most {NUM_CLASSES}; without the head it is {others}. The head’s {sizes[0]:,} parameters can express no more than {sizes[1]:,} can. What they "
        "can change is the path of training; whether that path costs accuracy, these figures do not show."
    )


EXPLANATIONS: dict[str, Callable[[Pair, Results, Exhibits], Mechanism | None]] = {
    "block": explain_signals,
    "dropout": explain_gap,
    "pooling": explain_pooling,
    "head": explain_head,
}
"""By the field of the network that an entry changes."""
