"""The numbers of `docs/performance.md` and `docs/scaling.md` that follow from measurements.

Pure functions, which the templates and the figures call.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from ablations.analysis.intervals import Difference, single_difference
from ablations.analysis.verdicts import target_seeds
from ablations.catalogue.designs import design_ablations
from ablations.catalogue.entries import ENTRIES, entries_under
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.catalogue.presets import FULL
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.training.seed_groups import MAX_REPLICAS, replicas_for_all, split_into_groups
from benchmarks.floor import training_flop
from benchmarks.measurements import (
    Accuracy,
    Choice,
    Choices,
    Floor,
    Overhead,
    Profile,
    StepSpeed,
    StudyTime,
    StudyTimes,
)
from mnist_blocks import TARGET
from speed.arithmetic import ARITHMETICS, Arithmetic

NUM_MNIST_IMAGES = 60_000
PRECISION_TITLES: dict[Arithmetic, str] = {
    "plain": "PyTorch float32",
    "float32": "fused float32",
    "bfloat16": "fused bfloat16",
}
FACTORIAL_SEEDS = 30
CLUSTER_CORES = (2, 16, 64, 256, 1000)
CLUSTER_GPUS = (8, 1000)


def full_study_runs() -> int:
    """Runs of the first look of `ablate --all`."""
    return FULL.looks[0] * (len(ENTRIES) - 1) + target_seeds(FULL.looks[0], len(ENTRIES) - 1)


def full_study_images() -> int:
    """Training images of these runs, counted once for each epoch."""
    return full_study_runs() * FULL.num_epochs * NUM_MNIST_IMAGES


def kept_choices(choices: Choices) -> list[Choice]:
    """The baseline, then what the project uses."""
    rows = [row for row in choices.rows if row.is_kept or row.name == choices.baseline_name]
    return sorted(rows, key=lambda row: row.name != choices.baseline_name)


def rejected_choices(choices: Choices) -> list[Choice]:
    """What was tried and is not used."""
    kept = kept_choices(choices)
    return [row for row in choices.rows if row not in kept]


def choices_gain(choices: Choices) -> float | None:
    """The baseline's median time divided by that of the fastest choice in use.

    None if none is faster.
    """
    baseline = next(row for row in choices.rows if row.name == choices.baseline_name)
    kept = [row for row in kept_choices(choices) if row.unit == baseline.unit]
    best = min(row.milliseconds.median for row in kept)
    return baseline.milliseconds.median / best if best < baseline.milliseconds.median else None


class PartRow(NamedTuple):
    """A row of the profile's table."""

    title: str
    milliseconds: float
    share_pct: float
    note: str

    @property
    def speedup_without(self) -> float:
        """The speedup of a step if this part took no time (Amdahl's law)."""
        return 100 / max(100 - self.share_pct, 1e-9)


def profile_rows(profile: Profile) -> list[PartRow]:
    """The parts, the longest first, then the time outside all parts."""
    step = profile.step_milliseconds.median
    rows = [
        PartRow(part.title, part.milliseconds, 100 * part.milliseconds / step, part.note)
        for part in sorted(profile.parts, key=lambda part: -part.milliseconds)
    ]
    rest = step - sum(row.milliseconds for row in rows)
    if rest > 0.005 * step:
        rows.append(PartRow("not in a part", rest, 100 * rest / step, ""))
    return rows


def profile_excess_pct(profile: Profile) -> float:
    """By how much the sum of the parts exceeds a step, because of the profiler's own time."""
    total = sum(part.milliseconds for part in profile.parts)
    return 100 * max(total / profile.step_milliseconds.median - 1, 0)


def minimum_step_milliseconds(profile: Profile, floor: Floor) -> float:
    """The time of a step's arithmetic at peak throughput."""
    return 1000 * floor.seconds(profile.batch_size * training_flop(TARGET), profile.arithmetic)


class AccuracyRow(NamedTuple):
    """The accuracy of one precision over its seeds."""

    arithmetic: Arithmetic
    title: str
    num_seeds: int
    accuracy_pct: float
    difference: Difference | None
    """From the reference; None for the reference itself, and without its runs."""


def accuracy_rows(accuracy: Accuracy) -> list[AccuracyRow]:
    """A row for each precision, the reference first."""
    by_precision: dict[Arithmetic, dict[int, float]] = {}
    for run in accuracy.runs:
        by_precision.setdefault(run.arithmetic, {})[run.seed] = run.accuracy_pct
    reference = by_precision.get(accuracy.reference, {})
    order = sorted(
        by_precision, key=lambda one: (one != accuracy.reference, ARITHMETICS.index(one))
    )
    return [
        AccuracyRow(
            arithmetic=one,
            title=PRECISION_TITLES[one],
            num_seeds=len(by_precision[one]),
            accuracy_pct=fmean(by_precision[one].values()),
            difference=None
            if one == accuracy.reference
            else single_difference(by_precision[one], reference),
        )
        for one in order
    ]


class StudyGrowth(NamedTuple):
    """The time of each additional run in a long study."""

    fewer: StudyTime
    more: StudyTime
    seconds_per_additional_run: float
    share_of_limit_pct: float
    """Of the processor's limit, in the additional runs."""


def study_growth(times: StudyTimes, floor: Floor) -> StudyGrowth | None:
    """Between the two largest numbers of runs; None if only one was measured."""
    if len(times.by_num_runs) < 2:
        return None
    fewer, more = times.by_num_runs[-2:]
    seconds = more.wall_seconds.median - fewer.wall_seconds.median
    minimum_seconds = floor.study_seconds(times, more) - floor.study_seconds(times, fewer)
    seconds_per_run = seconds / (more.num_runs - fewer.num_runs)
    return StudyGrowth(fewer, more, seconds_per_run, 100 * minimum_seconds / seconds)


class SpeedRow(NamedTuple):
    """The training speed of one precision at every size."""

    arithmetic: Arithmetic
    title: str
    speeds: list[StepSpeed]
    share_of_limit_pct: list[float]


def speed_rows(speeds: Sequence[StepSpeed], floor: Floor) -> list[SpeedRow]:
    """A row for each precision that was measured."""
    rows = []
    for arithmetic in ARITHMETICS:
        own = [speed for speed in speeds if speed.arithmetic == arithmetic]
        if own:
            limits = [floor.images_per_second(speed.training_flop, arithmetic) for speed in own]
            shares = [
                100 * speed.images_per_second.median / limit
                for speed, limit in zip(own, limits, strict=True)
            ]
            rows.append(SpeedRow(arithmetic, PRECISION_TITLES[arithmetic], own, shares))
    return rows


def width_name(channels: Sequence[int]) -> str:
    """`8-16-32`."""
    return "-".join(map(str, channels))


def example_factorial() -> list[RunSpec]:
    """The large factorial on MNIST."""
    mnist = DatasetId("mnist", "", NUM_MNIST_IMAGES, 10_000)
    return large_factorial(StudySpec(mnist, "MNIST", 20, None, "cuda"))


def large_factorial(spec: StudySpec, num_seeds: int = FACTORIAL_SEEDS) -> list[RunSpec]:
    """A factorial of eight ingredients, the example of a large study."""
    factors = [
        entry
        for entry in entries_under("published")
        if entry.is_core or (entry.kind == "training" and not entry.control)
    ]
    return plan_runs(spec, design_ablations("factorial", factors), range(num_seeds))


def driver_seconds(overhead: Overhead) -> float:
    """The driver's processor time for each run on Ray."""
    return overhead.driver_seconds["ray"].median + overhead.disk.write_seconds.median


def cluster_times(
    overhead: Overhead, num_runs: int, run_seconds: float
) -> list[tuple[int, float, float, float]]:
    """The factorial on a cluster, predicted from the seconds of a run on one core.

    Rows of cores, seconds, percentage of overhead, and percentage of time that the driver is busy.
    """
    rows = []
    for num_cores in CLUSTER_CORES:
        rounds = math.ceil(num_runs / num_cores)
        extra = overhead.startup_seconds["ray"].median
        extra += rounds * overhead.slot_seconds["ray"].median
        seconds = rounds * run_seconds + extra
        busy_seconds = num_runs * driver_seconds(overhead)
        rows.append((num_cores, seconds, 100 * extra / seconds, 100 * busy_seconds / seconds))
    return rows


def gpu_tasks() -> list[tuple[int, int, int, int]]:
    """The division of the factorial: rows of GPUs, seeds per task, tasks, tasks per GPU."""
    run_specs = example_factorial()
    rows = []
    for num_gpus in CLUSTER_GPUS:
        groups = split_into_groups(run_specs, replicas_for_all(run_specs, MAX_REPLICAS, num_gpus))
        tasks_per_gpu = math.ceil(len(groups) / num_gpus)
        rows.append((num_gpus, max(map(len, groups)), len(groups), tasks_per_gpu))
    return rows
