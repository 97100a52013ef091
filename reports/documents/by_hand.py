"""What a class computes with a pencil, worked out step by step, in Markdown.

Parameters from a layer's sizes, an interval from a few seeds, an interaction from four accuracies:
the same numbers as the report's, with every step shown.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

import torch
from torch import nn

from ablations.analysis.attribution import Attribution
from ablations.analysis.statistics import Estimate
from ablations.analysis.summary import AblationResult
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.summary import count_parameters, describe, leaves
from reports.text.wording import REMOVED_WORDS, decimal, interval, signed


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], num_words: int = 1) -> str:
    """A table whose first columns are words, and the others numbers, which stand on the right."""
    rules = ["---" if number < num_words else "---:" for number in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def formula(layer: nn.Module) -> str:
    """How a layer's parameters are counted, such as `16 × 8 × 3 × 3 + 16`; empty if it has none."""
    if isinstance(layer, nn.BatchNorm2d):
        return f"{layer.num_features} + {layer.num_features}"
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return ""
    weights = " × ".join(str(side) for side in layer.weight.shape)
    return weights + (f" + {len(layer.bias)}" if layer.bias is not None else "")


def sized_layers(spec: NetworkSpec) -> dict[str, nn.Module]:
    """The layers of a network that have parameters, by name; their numbers are not computed."""
    with torch.device("meta"):
        network = build_network(spec)
    return {name: layer for name, layer in leaves(network) if count_parameters(layer)}


def parameter_table(spec: NetworkSpec) -> str:
    """Every layer that has parameters, and how they are counted."""
    layers = sized_layers(spec).values()
    total = sum(count_parameters(layer) for layer in layers)
    rows = [[describe(layer), formula(layer), f"{count_parameters(layer):,}"] for layer in layers]
    return markdown_table(
        ["layer", "counted", "parameters"],
        [*rows, ["**all**", "", f"**{total:,}**"]],
        num_words=2,
    )


def changed_layers_table(spec: NetworkSpec) -> str:
    """The layers whose parameters differ from the target's, counted in both networks."""
    both = sized_layers(TARGET), sized_layers(spec)
    names = dict.fromkeys([*both[0], *both[1]])

    def cell(layer: nn.Module | None) -> str:
        if layer is None:
            return "none"
        return f"{describe(layer)}: {formula(layer)} = {count_parameters(layer):,}"

    pairs = [[cell(layers.get(name)) for layers in both] for name in names]
    sums = [f"**{sum(map(count_parameters, layers.values())):,}**" for layers in both]
    changed = [pair for pair in pairs if pair[0] != pair[1]]
    return markdown_table(
        ["target", "without it"],
        [*changed, [f"all layers: {total}" for total in sums]],
        num_words=2,
    )


def paired_table(variant: Mapping[int, int], target: Mapping[int, int]) -> str:
    """The images that each network gets right, their difference, and its squared deviation."""
    differences = {seed: variant[seed] - target[seed] for seed in variant}
    mean = fmean(differences.values())
    rows = [
        [
            str(seed),
            f"{target[seed]:,}",
            f"{variant[seed]:,}",
            signed(difference, None),
            signed(difference - mean, 1),
            decimal((difference - mean) ** 2, 2),
        ]
        for seed, difference in differences.items()
    ]
    squares = sum((difference - mean) ** 2 for difference in differences.values())
    total = ["**sum**", "", "", f"**{signed(sum(differences.values()), None)}**", ""]
    return markdown_table(
        ["seed", "target right", "variant right", "d", "d − mean", "squared"],
        [*rows, [*total, f"**{decimal(squares, 2)}**"]],
    )


def paired_steps(variant: Mapping[int, int], target: Mapping[int, int], num_test: int) -> str:
    """From the differences of at least two seeds to the interval, one line a step.

    Differences without spread have no interval, and the steps end there.
    """
    from scipy import stats

    differences = [variant[seed] - target[seed] for seed in variant]
    count, mean = len(differences), fmean(differences)
    deviation = stdev(differences)
    lines = [f"mean = {signed(sum(differences), None)} / {count} = {signed(mean)} images"]
    if deviation == 0:
        return "\n".join([*lines, "no spread: every seed gave the same, so there is no interval"])
    squares = sum((difference - mean) ** 2 for difference in differences)
    error = deviation / sqrt(count)
    quantile = float(stats.t.ppf(0.975, count - 1))
    half, points = quantile * error, 100 / num_test
    bounds = (mean - half, mean + half)
    lines += [
        f"s = √({decimal(squares)} / ({count} − 1)) = {decimal(deviation)} images",
        f"standard error = {decimal(deviation)} / √{count} = {decimal(error)} images",
        f"t for {count} − 1 degrees of freedom and 95 % = {decimal(quantile, 3)}",
        f"interval = {signed(mean)} ± {decimal(quantile, 3)} × {decimal(error)} = {interval(bounds)} images",
        f"in points, of {num_test:,} images: {signed(mean * points)} ({interval((bounds[0] * points, bounds[1] * points))})",
    ]
    return "\n".join(lines)


def pairing_gain(variant: Mapping[int, int], target: Mapping[int, int]) -> str:
    """What pairing did to the standard error, beside two samples that are not paired."""
    count = len(variant)
    paired = stdev(variant[seed] - target[seed] for seed in variant) / sqrt(count)
    others = [stdev(found[seed] for seed in variant) for found in (variant, target)]
    unpaired = sqrt((others[0] ** 2 + others[1] ** 2) / count)
    does = "made it smaller" if paired < unpaired else "did not make it smaller"
    return (
        f"Without pairing the standard error would be √({decimal(others[0])}² / {count} + "
        f"{decimal(others[1])}² / {count}) = {decimal(unpaired)} images; with it, {decimal(paired)}: pairing {does} "
        "here. So few seeds do not tell how much it gains in general."
    )


def interaction_table(found: Attribution, cells: Mapping[frozenset[str], AblationResult]) -> str:
    """The four mean accuracies of two ingredients, each there or not, over the seeds of all four."""
    one, other = found.names

    def mean_pct(*removed: str) -> str:
        by_seed = cells[frozenset(removed)].accuracy_pct.by_seed
        return decimal(fmean(by_seed[seed] for seed in found.seeds), 3)

    return markdown_table(
        [
            f"accuracy (%), {len(found.seeds)} seeds",
            f"with {REMOVED_WORDS[other]}",
            f"without {REMOVED_WORDS[other]}",
        ],
        [
            [f"with {REMOVED_WORDS[one]}", mean_pct(), mean_pct(other)],
            [f"without {REMOVED_WORDS[one]}", mean_pct(one), mean_pct(one, other)],
        ],
    )


def estimate_words(found: Estimate, digits: int = 2) -> str:
    """A mean with its interval, or without, and whether that tells its sign."""
    if found.interval_95 is None:
        return f"{signed(found.mean, digits)} points (no interval)"
    low, high = found.interval_95
    told = "contains zero" if low <= 0 <= high else "does not contain zero"
    return (
        f"{signed(found.mean, digits)} points (95 % interval {interval(found.interval_95, digits)}, which "
        f"{told})"
    )
