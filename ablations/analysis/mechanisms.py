"""What was measured inside the target and an ablation, side by side: pure functions of observations."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import msgspec

from ablations.analysis.intervals import MIN_SEEDS, Difference, single_difference
from ablations.analysis.statistics import Estimate, estimate
from ablations.analysis.summary import AblationResult
from ablations.records.observations import BlockSignal, Observations
from mnist_blocks.summary import layer_table


class ObservedPair(NamedTuple):
    """Observations of the target and of an ablation, one of each for every shared seed."""

    row: AblationResult
    target: AblationResult
    seeds: list[int]
    of_target: list[Observations]
    of_ablation: list[Observations]


class SignalProfile(NamedTuple):
    """Root mean square of each block's outputs in one network, first block first, mean over seeds."""

    before: list[float]
    """Before training."""
    after: list[float]

    @property
    def ratios(self) -> list[float]:
        """The largest value over the smallest, before and after training."""
        return [max(values) / min(values) for values in self]


class GapComparison(NamedTuple):
    """Images that the target and an ablation get wrong, in percent, over the seeds that both have."""

    target: tuple[Estimate, Estimate]
    """Of the training images and of the test images."""
    ablation: tuple[Estimate, Estimate]
    training_error_added: Difference
    """The target's error on training images minus the ablation's."""


def observed_pair(
    row: AblationResult,
    target: AblationResult | None,
    observations: Mapping[tuple[str, int], Observations],
) -> ObservedPair | None:
    """Pair the observations by seed; None without a shared seed."""
    name = row.ablation.name
    seeds = [
        seed
        for seed in row.accuracy_pct.by_seed
        if (name, seed) in observations and ("target", seed) in observations
    ]
    if target is None or not seeds:
        return None
    of_target, of_ablation = (
        [observations[key, seed] for seed in seeds] for key in ("target", name)
    )
    return ObservedPair(row, target, seeds, of_target, of_ablation)


def signal_profiles(pair: ObservedPair) -> list[SignalProfile] | None:
    """Of the target and of the ablation; None where a network diverged."""
    profiles = [
        SignalProfile(
            _mean_by_block([one.signals_at_start for one in found]),
            _mean_by_block([one.signals for one in found]),
        )
        for found in (pair.of_target, pair.of_ablation)
    ]
    return profiles if all(values for profile in profiles for values in profile) else None


def _mean_by_block(runs: Sequence[Sequence[BlockSignal]]) -> list[float]:
    """Mean over seeds for each block; empty where a number is zero or not finite."""
    blocks = [[signal.output_rms or 0.0 for signal in block] for block in zip(*runs, strict=True)]
    return [fmean(block) for block in blocks] if all(map(all, blocks)) else []


def compare_gaps(pair: ObservedPair) -> GapComparison:
    """Errors on training and on test images, with the ingredient and without."""
    target, ablation = (
        (
            _error(
                {seed: one.known_accuracy_pct for seed, one in zip(pair.seeds, found, strict=True)}
            ),
            _error({seed: row.accuracy_pct.by_seed[seed] for seed in pair.seeds}),
        )
        for row, found in ((pair.target, pair.of_target), (pair.row, pair.of_ablation))
    )
    return GapComparison(
        target, ablation, single_difference(target[0].by_seed, ablation[0].by_seed)
    )


def _error(accuracy_pct: Mapping[int, float]) -> Estimate:
    """With an interval from as many seeds as a comparison needs."""
    found = estimate({seed: 100 - value for seed, value in accuracy_pct.items()})
    has_interval = len(accuracy_pct) >= MIN_SEEDS
    return found if has_interval else msgspec.structs.replace(found, interval_95=None)


def head_ranks(pair: ObservedPair) -> list[list[int]] | None:
    """The ranks of the linear map that each head equals, over seeds: of the target and of the ablation.

    None where a network diverged.
    """
    ranks = [
        sorted({one.head_rank for one in found}) for found in (pair.of_target, pair.of_ablation)
    ]
    return ranks if all(map(all, ranks)) else None


def split_parameters(row: AblationResult) -> tuple[int, int]:
    """Parameters of a network's convolution stages and of its head."""
    layers = layer_table(row.runs[0].run_spec.network)
    in_head = sum(layer.parameters for layer in layers if layer.name.startswith("head"))
    return row.parameters - in_head, in_head
