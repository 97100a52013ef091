"""What was measured inside the target and an ablation, side by side: pure functions of observations."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from ablations.analysis.intervals import Difference, single_difference
from ablations.analysis.statistics import Estimate, estimate
from ablations.analysis.summary import AblationResult
from ablations.records.observations import BlockSignal, Observations
from mnist_blocks.spec import NetworkSpec
from mnist_blocks.summary import layer_table


class ObservedPair(NamedTuple):
    """Observations of the target and of an ablation, one of each for every shared seed."""

    row: AblationResult
    target: AblationResult
    seeds: list[int]
    of_target: list[Observations]
    of_ablation: list[Observations]


class SignalProfile(NamedTuple):
    """Mean over seeds of what each block of one network passes on, first block first."""

    is_target: bool
    is_before_training: bool
    output_rms: list[float]
    gradient_rms: list[float]


class ErrorGap(NamedTuple):
    """Images that one network gets wrong, in percent, and test minus training in points."""

    training_pct: Estimate
    test_pct: Estimate
    gap_pct: Estimate


class GapComparison(NamedTuple):
    """The errors of the target and of an ablation, over the seeds that both have."""

    target: ErrorGap
    ablation: ErrorGap
    gap_change: Difference
    """The ablation's gap minus the target's."""
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
    """The target before and after training, then the ablation; None where a network diverged."""
    profiles = []
    for is_target, found in ((True, pair.of_target), (False, pair.of_ablation)):
        for is_start in (True, False):
            runs = [one.signals_at_start if is_start else one.signals for one in found]
            output_rms = _mean_by_block(runs, "output_rms")
            gradient_rms = _mean_by_block(runs, "gradient_rms")
            if not (output_rms and gradient_rms):
                return None
            profiles.append(SignalProfile(is_target, is_start, output_rms, gradient_rms))
    return profiles


def _mean_by_block(runs: Sequence[Sequence[BlockSignal]], field: str) -> list[float] | None:
    """Mean over seeds for each block; None where a number is zero or not finite."""
    blocks = [[getattr(signal, field) for signal in block] for block in zip(*runs, strict=True)]
    return [fmean(block) for block in blocks] if all(map(all, blocks)) else None


def compare_gaps(pair: ObservedPair) -> GapComparison:
    """Errors on training and on test images, with the ingredient and without."""
    gaps = []
    for row, found in ((pair.target, pair.of_target), (pair.row, pair.of_ablation)):
        training = {
            seed: 100 - one.known_accuracy_pct for seed, one in zip(pair.seeds, found, strict=True)
        }
        test = {seed: 100 - row.accuracy_pct.by_seed[seed] for seed in pair.seeds}
        gap = {seed: test[seed] - training[seed] for seed in pair.seeds}
        gaps.append(ErrorGap(estimate(training), estimate(test), estimate(gap)))
    target, ablation = gaps
    gap_change = single_difference(ablation.gap_pct.by_seed, target.gap_pct.by_seed)
    added = single_difference(target.training_pct.by_seed, ablation.training_pct.by_seed)
    return GapComparison(target, ablation, gap_change, added)


def head_ranks(pair: ObservedPair) -> tuple[list[int], ...] | None:
    """The ranks of the linear map that each head equals, over seeds: of the target and of the ablation.

    None where a network diverged.
    """
    found = [*pair.of_target, *pair.of_ablation]
    if not all(one.head_rank for one in found):
        return None
    return tuple(
        sorted({one.head_rank for one in found}) for found in (pair.of_target, pair.of_ablation)
    )


def split_parameters(spec: NetworkSpec) -> tuple[int, int]:
    """Parameters of a network's convolution stages and of its head."""
    rows = layer_table(spec)
    in_head = sum(row.parameters for row in rows if row.name.startswith("head"))
    return sum(row.parameters for row in rows) - in_head, in_head
