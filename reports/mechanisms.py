"""Why an ingredient does what it does: one explanation for each core ingredient, as measured.

Which explanation fits an entry follows from the field of the network that it changes.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from markupsafe import Markup

from ablations.exhibits import Exhibits
from ablations.observations import BlockSignal, Evidence, Observations
from ablations.results import AblationResult, Results
from ablations.words import plural
from mnist_blocks.spec import NetworkSpec, parse_recipe
from mnist_blocks.summary import LayerRow, layer_table
from reports.pictures import evidence_picture, image_picture
from reports.tables import FigureTable
from reports.wording import decimal, signed


class EvidenceRow(NamedTuple):
    """One test image, and where in it each network's answer comes from."""

    image: str
    """As a data URL."""
    image_words: str
    maps: list[tuple[str, str, str]]
    """Label, data URL, and what it shows in words."""


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
    evidence_caption: str = ""


class Pair(NamedTuple):
    """An ablation beside the target: their observations at the seeds that both have."""

    row: AblationResult
    label: str
    """Of the ablation, in a legend."""
    with_it: list[Observations]
    """The target's."""
    without: list[Observations]


def make_mechanisms(results: Results, exhibits: Exhibits) -> list[Mechanism]:
    """One for each core ingredient that was observed, in the order of the catalogue."""
    mechanisms = []
    for row in results.rows:
        fields = [field for field in row.ablation.network if field in EXPLANATIONS]
        pair = find_pair(row, exhibits)
        if row.ablation.is_core and fields and pair:
            found = EXPLANATIONS[fields[0]](pair, results, exhibits)
            if found:
                mechanisms.append(found)
    return mechanisms


def find_pair(row: AblationResult, exhibits: Exhibits) -> Pair | None:
    """What was observed in an ablation and in the target; None where no seed is there for both."""
    name = row.ablation.name
    seeds = [
        seed
        for ablation, seed in sorted(exhibits.observations)
        if ablation == name and ("target", seed) in exhibits.observations
    ]
    if not seeds:
        return None
    return Pair(
        row,
        f"without {row.ablation.removes}",
        [exhibits.observations["target", seed] for seed in seeds],
        [exhibits.observations[name, seed] for seed in seeds],
    )


def explain_signals(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What keeps signals and gradients at one scale (Ioffe and Szegedy, 2015)."""
    networks = [
        (label, is_target, when, signals)
        for label, is_target, found in (
            ("target", True, pair.with_it),
            (pair.label, False, pair.without),
        )
        for when, signals in (
            ("before training", [one.signals_at_start for one in found]),
            ("after training", [one.signals for one in found]),
        )
    ]
    blocks = [signal.block for signal in pair.without[0].signals]
    if "bn" in parse_recipe(pair.row.ablation.network_spec.block):
        return None
    if [signal.block for signal in pair.with_it[0].signals] != blocks:
        return None
    lines: dict[str, list[tuple[str, bool, bool, list[float]]]] = {}
    for title, measure in (
        ("Outputs of each block (root mean square)", output_rms),
        ("Gradients of its weights (root mean square)", gradient_rms),
    ):
        for label, is_target, when, signals in networks:
            values = mean_by_block(signals, measure)
            if values is None:
                return None
            line = (f"{label}, {when}", is_target, when == "before training", values)
            lines.setdefault(title, []).append(line)
    from reports.mechanism_figures import signal_figure

    short = [block.replace("stage", "").replace(".block", ".") for block in blocks]
    anchor = f"why-{pair.row.ablation.name}"
    outputs, gradients = lines.values()
    return Mechanism(
        anchor=anchor,
        name=pair.row.ablation.name,
        removes=pair.row.ablation.removes,
        text=signal_words(pair, [line[3] for line in outputs], [line[3] for line in gradients]),
        figure=signal_figure(anchor, short, list(lines.items())),
        caption=(
            f"Mean of {plural(len(pair.without), 'seed')}, over one batch of training images, block by block (stage.block). "
            "Axes are logarithmic: each step is a factor of ten. Grey squares are the target, blue circles the network without "
            f"{pair.row.ablation.removes}; hollow and dashed is before the first step, solid is after training."
        ),
        table=FigureTable(
            "Root mean square of each block’s outputs and of the gradient of its weights",
            ["what", *short],
            [
                [f"{what}, {label}", *(f"{value:.3g}" for value in values)]
                for what, found in (("outputs", outputs), ("gradients", gradients))
                for label, _, _, values in found
            ],
        ),
    )


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


def signal_words(
    pair: Pair, outputs: Sequence[Sequence[float]], gradients: Sequence[Sequence[float]]
) -> str:
    """What the figure of signals shows; the four lines are in the order of the legend."""
    with_start, with_end, without_start, without_end = outputs
    removes = pair.row.ablation.removes
    ratio = gradients[2][0] / gradients[0][0]
    comparison = (
        f"{factor(1 / ratio)} smaller than" if ratio < 1 else f"{factor(ratio)} larger than"
    )
    return (
        f"Before the first step, the outputs without {removes} go from {without_start[0]:.2g} after the first block to "
        f"{without_start[-1]:.2g} after the last (with it: {with_start[0]:.2g} to {with_start[-1]:.2g}), and the first block’s weights "
        f"get a gradient that is {comparison} the target’s. After training they go from {without_end[0]:.2g} to as much as {max(without_end):.2g} "
        f"(with it: never above {max(with_end):.2g}). With {removes}, every layer finds its inputs at the scale that it was made for, "
        "from the first step to the last, so that one learning rate suits all of them."
    )


def factor(ratio: float) -> str:
    """A ratio above one, with the digits that it is worth."""
    return f"{ratio:.2g} times" if ratio < 100 else f"about {round(ratio, -1):,.0f} times"


def explain_gap(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """The gap between training and test images (Srivastava et al., 2014)."""
    from reports.mechanism_figures import gap_figure

    test = {
        row.ablation.name: row.accuracy_pct.by_seed
        for row in results.rows
        if row.ablation.name in ("target", pair.row.ablation.name)
    }
    seeds = sorted(test["target"].keys() & test[pair.row.ablation.name].keys())
    rows = []
    for label, name in (("target", "target"), (pair.label, pair.row.ablation.name)):
        found = [
            exhibits.observations[name, seed]
            for seed in seeds
            if (name, seed) in exhibits.observations
        ]
        rows.append(
            (
                label,
                [100 - one.known_accuracy_pct for one in found],
                [100 - test[name][seed] for seed in seeds if (name, seed) in exhibits.observations],
            )
        )
    (_, known_with, test_with), (_, known_without, test_without) = rows
    gaps = [fmean(test_with) - fmean(known_with), fmean(test_without) - fmean(known_without)]
    anchor = f"why-{pair.row.ablation.name}"
    removes = pair.row.ablation.removes
    change = "widens" if gaps[1] > gaps[0] else "narrows"
    return Mechanism(
        anchor=anchor,
        name=pair.row.ablation.name,
        removes=removes,
        text=(
            f"Without {removes} the network gets {decimal(fmean(known_without))} % of training images wrong, asked as test images are (with it: "
            f"{decimal(fmean(known_with))} %), and {decimal(fmean(test_without))} % of test images (with it: {decimal(fmean(test_with))} %). "
            f"So the gap between the two {change} from {signed(gaps[0])} to {signed(gaps[1])} points. Whatever makes training harder can narrow this gap; it pays only where "
            "the error on test images falls, too. A network this small has little room to learn its training images by heart."
        ),
        figure=gap_figure(anchor, rows),
        caption=(
            f"Large marks are means of {plural(len(known_with), 'seed')}, small ones below them the seeds. Training images are the first "
            f"{pair.without[0].num_known_images:,}, neither zoomed nor rotated, and nothing is dropped out: the accuracy of the training log is lower, because it "
            "was measured with both."
        ),
        table=FigureTable(
            "Images wrong, in percent, mean over seeds",
            ["network", "training images", "test images", "gap (points)"],
            [
                [
                    label,
                    decimal(fmean(known)),
                    decimal(fmean(tested)),
                    signed(fmean(tested) - fmean(known)),
                ]
                for label, known, tested in rows
            ],
        ),
    )


def explain_pooling(pair: Pair, results: Results, exhibits: Exhibits) -> Mechanism | None:
    """What pooling saves, and what it lets one see (Lin et al., 2013; Zhou et al., 2015)."""
    from reports.mechanism_figures import parameters_figure

    if results.target is None:
        return None
    specs = [results.target.runs[0].experiment.network, pair.row.runs[0].experiment.network]
    rows = [
        (label, *split_parameters(spec))
        for label, spec in zip(("target", pair.label), specs, strict=True)
    ]
    (_, _, head_with), (_, _, head_without) = rows
    anchor = f"why-{pair.row.ablation.name}"
    removes = pair.row.ablation.removes
    features = specs[1].channels[-1] * specs[1].feature_size ** 2
    return Mechanism(
        anchor=anchor,
        name=pair.row.ablation.name,
        removes=removes,
        text=(
            f"With {removes} the head sees {specs[0].channels[-1]} numbers, one for each channel; without it {features:,}, one for each pixel of each channel. "
            f"So the head has {head_with:,} parameters with it and {head_without:,} without. With it every place in the image counts alike: the average does not know where a "
            "stroke was. Without it the head may learn a weight of its own for each place, and on centred digits places mean something."
        ),
        figure=parameters_figure(anchor, rows),
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
        evidence_caption=(
            "Where the answer comes from (class activation maps, Zhou et al. 2015, arXiv:1512.04150): the logit of the answer is a sum over the pixels of the last feature maps, and each "
            "square shows one pixel’s part. Blue speaks for the answer, orange (with a dot) against it; the stronger, the more. The scale is each map’s own."
        ),
    )


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
    if gallery is None:
        return []
    both = [
        (label, found)
        for label, name in (("target", "target"), (pair.label, pair.row.ablation.name))
        if (found := exhibits.observations.get((name, gallery.seed)))
    ]
    rows = []
    for index, evidence in enumerate(both[0][1].evidence if len(both) == 2 else []):
        if any(len(found.evidence) <= index for _, found in both):
            break
        image = gallery.image(evidence.image)
        rows.append(
            EvidenceRow(
                image_picture(image.pixels),
                f"Test image {image.number}: {gallery.class_names[image.class_index]}",
                [
                    (
                        label,
                        evidence_picture(found.evidence[index].values),
                        evidence_words(label, found.evidence[index], gallery.class_names),
                    )
                    for label, found in both
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
    from reports.mechanism_figures import spectrum_figure

    if results.target is None:
        return None
    lines = []
    for label, found in (("target", pair.with_it), (pair.label, pair.without)):
        spectra = [one.head_singular_values for one in found]
        if not all(spectra) or not all(min(values) > 0 for values in spectra):
            return None
        lines.append((label, [fmean(values) for values in zip(*spectra, strict=True)]))
    specs = [results.target.runs[0].experiment.network, pair.row.runs[0].experiment.network]
    sizes = [split_parameters(spec)[1] for spec in specs]
    widths = " to ".join(
        str(width) for width in (specs[0].channels[-1], *specs[0].hidden_features, 10)
    )
    ranks = sorted({one.head_rank for one in pair.with_it})
    others = sorted({one.head_rank for one in pair.without})
    anchor = f"why-{pair.row.ablation.name}"
    return Mechanism(
        anchor=anchor,
        name=pair.row.ablation.name,
        removes=pair.row.ablation.removes,
        text=(
            f"The target’s linear layers take {widths} numbers with nothing between them, so they multiply out to one matrix. Its rank is "
            f"{' or '.join(map(str, ranks))} of at most 10; without the head it is {' or '.join(map(str, others))}. "
            f"The head’s {sizes[0]:,} parameters can express what {sizes[1]:,} can: what they change is the path of training, not what can be learnt."
        ),
        figure=spectrum_figure(anchor, lines),
        caption=(
            f"Singular values of the one matrix that each head amounts to (mean of {plural(len(pair.with_it), 'seed')}). A matrix of "
            "rank ten has ten that are not zero. The target’s fall faster: a product of two factors learns its strong directions first (Saxe et al. 2013, arXiv:1312.6120)."
            if lines[0][1][-1] / lines[0][1][0] < lines[1][1][-1] / lines[1][1][0]
            else f"Singular values of the one matrix that each head amounts to (mean of {plural(len(pair.with_it), 'seed')}). A matrix of rank ten has ten that are not zero."
        ),
        table=FigureTable(
            "Singular values relative to the largest",
            ["network", *(str(number) for number in range(1, 1 + len(lines[0][1])))],
            [[label, *(f"{value / values[0]:.2g}" for value in values)] for label, values in lines],
        ),
    )


EXPLANATIONS: dict[str, Callable[[Pair, Results, Exhibits], Mechanism | None]] = {
    "block": explain_signals,
    "dropout": explain_gap,
    "pooling": explain_pooling,
    "head": explain_head,
}
"""By the field of the network that an entry changes."""
