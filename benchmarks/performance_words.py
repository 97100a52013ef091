"""The numbers of `docs/performance.md` that are worked out from measurements, and their words.

Pure functions: nothing is read, written or measured here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ablations.analysis.statistics import PairedDifference, paired_difference
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.presets import FULL
from ablations.records.run import Environment
from ablations.words import plural
from benchmarks.floor import training_flop
from benchmarks.measurements import (
    Accuracy,
    Choice,
    Choices,
    Floor,
    Profile,
    Scaling,
    Spread,
    StepSpeed,
    StudyTimes,
)
from mnist_blocks import TARGET
from reports.text.wording import decimal
from speed.arithmetic import ARITHMETICS, Arithmetic

NUM_MNIST_IMAGES = 60_000
ARITHMETIC_TITLES: dict[Arithmetic, str] = {
    "plain": "plain float32",
    "float32": "fused float32",
    "bfloat16": "fused bfloat16",
}


@dataclass(frozen=True)
class FullStudy:
    """What the study of the README asks of a machine."""

    num_variants: int
    num_seeds: int
    num_epochs: int
    num_images_an_epoch: int
    num_images: int
    training_flop: int
    """If every variant cost as much as the target."""

    def hours(self, images_per_second: float) -> float:
        """How long it takes at that speed."""
        return self.num_images / images_per_second / 3600


def full_study() -> FullStudy:
    """The catalogue at its full length."""
    num_seeds = len(FULL.seeds)
    num_images = len(CATALOGUE) * num_seeds * FULL.num_epochs * NUM_MNIST_IMAGES
    return FullStudy(
        num_variants=len(CATALOGUE),
        num_seeds=num_seeds,
        num_epochs=FULL.num_epochs,
        num_images_an_epoch=NUM_MNIST_IMAGES,
        num_images=num_images,
        training_flop=num_images * training_flop(TARGET),
    )


def choice_titles(choices: Choices) -> dict[str, str]:
    """Each row's title, by its name."""
    return {row.name: row.title for row in choices.rows}


def kept_choices(choices: Choices) -> list[Choice]:
    """What all began with, then what was kept."""
    rows = [row for row in choices.rows if row.is_kept or row.name == choices.baseline_name]
    return sorted(rows, key=lambda row: row.name != choices.baseline_name)


def rejected_choices(choices: Choices) -> list[Choice]:
    """What was tried, and is not done."""
    kept = kept_choices(choices)
    return [row for row in choices.rows if row not in kept]


def choices_gain(choices: Choices) -> float | None:
    """How many times as fast the quickest kept choice is as the baseline, from their medians.

    None while nothing was kept beside the baseline.
    """
    baseline = next(row for row in choices.rows if row.name == choices.baseline_name)
    kept = [row for row in choices.rows if row.is_kept and row.unit == baseline.unit]
    best = min((row.milliseconds.median for row in kept), default=baseline.milliseconds.median)
    return baseline.milliseconds.median / best if best < baseline.milliseconds.median else None


@dataclass(frozen=True)
class PartRow:
    """A line of the profile's table."""

    title: str
    milliseconds: float
    share_pct: float
    note: str


def profile_rows(profile: Profile) -> list[PartRow]:
    """The parts, the longest first, then what belongs to none of them."""
    step = profile.step_milliseconds.median
    rows = [
        PartRow(part.title, part.milliseconds, 100 * part.milliseconds / step, part.note)
        for part in sorted(profile.parts, key=lambda part: -part.milliseconds)
    ]
    rest = step - sum(row.milliseconds for row in rows)
    if rest > 0.005 * step:
        rows.append(PartRow("the rest", rest, 100 * rest / step, "in none of the parts"))
    return rows


def profile_excess_pct(profile: Profile) -> float:
    """By how much the parts together exceed a step; a profiler takes time itself."""
    together = sum(part.milliseconds for part in profile.parts)
    return 100 * max(together / profile.step_milliseconds.median - 1, 0)


def speedup_without(row: PartRow) -> float:
    """How many times as fast a step would be if this part took no time (Amdahl's law)."""
    return 100 / max(100 - row.share_pct, 1e-9)


def floor_of_a_step(profile: Profile, floor: Floor) -> float:
    """The least milliseconds that a step's own arithmetic takes."""
    return 1000 * floor.seconds(profile.batch_size * training_flop(TARGET), profile.arithmetic)


@dataclass(frozen=True)
class AccuracyRow:
    """An arithmetic's accuracy over its seeds, and its difference from the reference's."""

    arithmetic: Arithmetic
    title: str
    num_seeds: int
    accuracy_pct: float
    difference: PairedDifference | None
    """None for the reference itself, and when no seed is there for both."""


def accuracy_rows(accuracy: Accuracy) -> list[AccuracyRow]:
    """One row for each arithmetic, the reference first."""
    by_arithmetic: dict[Arithmetic, dict[int, float]] = {}
    for run in accuracy.runs:
        by_arithmetic.setdefault(run.arithmetic, {})[run.seed] = run.accuracy_pct
    reference = by_arithmetic.get(accuracy.reference, {})
    order = sorted(by_arithmetic, key=ARITHMETICS.index)
    order.sort(key=lambda one: one != accuracy.reference)
    return [
        AccuracyRow(
            arithmetic=one,
            title=ARITHMETIC_TITLES[one],
            num_seeds=len(by_arithmetic[one]),
            accuracy_pct=fmean(by_arithmetic[one].values()),
            difference=None
            if one == accuracy.reference
            else paired_difference(by_arithmetic[one], reference),
        )
        for one in order
    ]


def accuracy_sentence(row: AccuracyRow) -> str:
    """What a row's interval allows to say."""
    if row.difference is None or row.difference.interval_95 is None:
        return f"For {row.title} there are too few seeds to say anything."
    low, high = row.difference.interval_95
    half_width = (high - low) / 2
    if low <= 0 <= high:
        return (
            f"For {row.title} the interval contains zero: these seeds do not tell it from plain "
            f"float32. A difference of more than about {decimal(max(-low, high))} points is "
            "unlikely, a smaller one is not ruled out."
        )
    direction = "higher" if low > 0 else "lower"
    return (
        f"For {row.title} the interval does not contain zero: accuracy is {direction} by "
        f"{decimal(abs(row.difference.mean))} ± {decimal(half_width)} points."
    )


@dataclass(frozen=True)
class StudyGrowth:
    """How a study's time grows where it is long enough for its start not to matter."""

    from_runs: int
    to_runs: int
    seconds_for_each_run_more: float
    num_jobs: int
    startup: Spread
    """Of the longest study."""
    share_of_floor_pct: float
    """Of what the processor could do, in these further runs."""


def study_growth(times: StudyTimes, floor: Floor) -> StudyGrowth | None:
    """From the last but one number of runs to the last; None for a single number of runs."""
    if len(times.by_num_runs) < 2:
        return None
    fewer, more = times.by_num_runs[-2:]
    seconds = more.wall_seconds.median - fewer.wall_seconds.median
    floor_seconds = floor.study_seconds(times, more) - floor.study_seconds(times, fewer)
    return StudyGrowth(
        from_runs=fewer.num_runs,
        to_runs=more.num_runs,
        seconds_for_each_run_more=seconds / (more.num_runs - fewer.num_runs),
        num_jobs=more.num_jobs,
        startup=more.startup_seconds,
        share_of_floor_pct=100 * floor_seconds / seconds,
    )


@dataclass(frozen=True)
class SpeedRow:
    """A line of a table of training speeds: one arithmetic at every size."""

    arithmetic: Arithmetic
    title: str
    speeds: list[StepSpeed]
    share_of_floor_pct: list[float]


def speed_rows(speeds: Sequence[StepSpeed], floor: Floor) -> list[SpeedRow]:
    """One row for each arithmetic that was measured."""
    rows = []
    for arithmetic in ARITHMETICS:
        own = [speed for speed in speeds if speed.arithmetic == arithmetic]
        if own:
            shares = [
                100
                * speed.images_per_second.median
                / floor.images_per_second(speed.training_flop, arithmetic)
                for speed in own
            ]
            rows.append(SpeedRow(arithmetic, ARITHMETIC_TITLES[arithmetic], own, shares))
    return rows


def width_name(channels: Sequence[int]) -> str:
    """`8-16-32`."""
    return "-".join(map(str, channels))


def width_names(rows: Sequence[SpeedRow]) -> list[str]:
    """The channels of each size that was measured."""
    return [width_name(speed.channels) for speed in rows[0].speeds]


def place(environment: Environment, measured_at: str) -> str:
    """Where and when something was measured."""
    return (
        f"{environment.device_name}; {environment.operating_system}, Python "
        f"{environment.python_version}, PyTorch {environment.torch_version}; source "
        f"{environment.commit}; {date(measured_at)}"
    )


def place_of_accuracy(accuracy: Accuracy) -> str:
    """Where the runs of several studies were made."""
    places = sorted(
        {
            f"{run.device_name}, PyTorch {run.torch_version}, source {run.commit}"
            for run in accuracy.runs
        }
    )
    return "; ".join(places)


def place_of_scaling(scaling: Scaling) -> str:
    """Where and when, and with how many cores to use."""
    where = place(scaling.environment, scaling.measured_at)
    return f"{where}; {plural(scaling.num_usable_cores, 'core')} to use"


def date(measured_at: str) -> str:
    """The day of a time in ISO 8601."""
    return measured_at[:10]


def in_words(numbers: Spread, digits: int = 0) -> str:
    """`4,000 (3,900–4,100)`: the median, and the lowest and the highest round."""
    low, high = decimal(numbers.low, digits), decimal(numbers.high, digits)
    return f"{decimal(numbers.median, digits)} ({low}–{high})"
