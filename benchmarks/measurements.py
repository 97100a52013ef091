"""The JSON files in `docs/performance`: each is one of these records.

A benchmark command writes one file; `performance.py` reads them all and renders the documents.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal, TypeVar

import msgspec

from ablations.records.run import Environment
from speed.arithmetic import Arithmetic

Item = TypeVar("Item")


class Spread(msgspec.Struct, frozen=True):
    """A number over several rounds."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """`4,000 (3,900–4,100)`: the median, and the lowest and the highest round."""
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({low}–{high})"


def spread(values: Sequence[float]) -> Spread:
    """The median, the lowest and the highest value."""
    return Spread(median(values), min(values), max(values))


def rotated_rounds(items: Sequence[Item], num_rounds: int) -> Iterator[tuple[int, Item]]:
    """Each item once in each round; each round starts with another item."""
    for round_number in range(1, num_rounds + 1):
        start = (round_number - 1) % len(items)
        for item in [*items[start:], *items[:start]]:
            yield round_number, item


class Plan(msgspec.Struct, frozen=True):
    """What every method of a comparison trains on."""

    dataset_name: str
    num_epochs: int
    is_quick: bool
    """Whether the number of training images is that of the preset `quick`."""
    num_train_images: int
    num_test_images: int
    device: str
    num_rounds: int
    num_study_runs: int
    num_project_epochs: int | None = None
    """Epochs of this project's runs if not `num_epochs`: so that all methods train for about the
    same time."""


class Measurement(msgspec.Struct, frozen=True):
    """One method in one round."""

    method: str = msgspec.field(name="contender")
    round_number: int
    num_images: int
    """Training images, counted once for each epoch."""
    training_seconds: float
    seconds_from_launch: float
    peak_memory_mib: float | None
    last_accuracy_pct: float
    """On the test images after the last epoch; a study's mean over its runs."""

    @property
    def images_per_second(self) -> float:
        """Training and testing only."""
        return self.num_images / self.training_seconds

    @property
    def images_per_second_from_launch(self) -> float:
        """Startup included."""
        return self.num_images / self.seconds_from_launch


class Row(msgspec.Struct, frozen=True):
    """One method over all rounds."""

    method: str = msgspec.field(name="contender")
    title: str
    images_per_second: Spread
    images_per_second_from_launch: Spread
    ratio: Spread
    """Images per second divided by the baseline's in the same round."""
    ratio_to_tuned: Spread
    """The same against the tuned baseline."""
    ratio_from_launch: Spread
    peak_memory_mib: float | None
    """The maximum over rounds; None if not measured."""
    last_accuracy_pct: float
    """The median over rounds."""


class Comparison(msgspec.Struct, frozen=True):
    """This project against the baselines: `comparison.json`."""

    rows: list[Row]
    plan: Plan
    measurements: list[Measurement]
    environment: Environment
    num_usable_cores: int
    package_versions: dict[str, str]
    measured_at: str
    """In UTC, as ISO 8601, here and below."""


class Choice(msgspec.Struct, frozen=True):
    """One implementation of a step, and the one that it is compared with."""

    name: str
    title: str
    question_or_note: str
    is_kept: bool
    """Whether the project uses it."""
    milliseconds: Spread
    unit: str
    """What takes these milliseconds, such as `training step of 128 images`."""
    compared_with: str
    """The name of another row."""
    ratio: Spread
    """The other row's time divided by this one's, within a round: above 1, this one is faster."""


class Choices(msgspec.Struct, frozen=True):
    """The speed of each implementation choice: `choices.json`."""

    environment: Environment
    num_usable_cores: int
    measured_at: str
    batch_size: int
    num_rounds: int
    baseline_name: str
    """The row where optimisation started; it is compared with itself."""
    rows: list[Choice]


class Part(msgspec.Struct, frozen=True):
    """A part of a training step."""

    name: str
    title: str
    milliseconds: float
    note: str


class Profile(msgspec.Struct, frozen=True):
    """Time of a training step by part: `profile.json`."""

    environment: Environment
    measured_at: str
    arithmetic: Arithmetic
    num_steps: int
    step_milliseconds: Spread
    """Of whole steps, measured without the profiler."""
    parts: list[Part]
    batch_size: int = 128


class AccuracyRun(msgspec.Struct, frozen=True):
    """The result of one run of a study."""

    arithmetic: Arithmetic
    seed: int
    test_correct: int
    """After the last epoch."""
    num_test_images: int
    digest: str
    """Of the run spec, which does not depend on the precision."""
    commit: str
    device_name: str
    torch_version: str

    @property
    def accuracy_pct(self) -> float:
        """Test accuracy after the last epoch."""
        return 100 * self.test_correct / self.num_test_images


class Accuracy(msgspec.Struct, frozen=True):
    """The same run specs in several precisions: `accuracy.json`."""

    reference: Arithmetic
    """The precision that the others are compared with, seed by seed."""
    ablation: str
    dataset_name: str
    num_epochs: int
    num_train_images: int
    runs: list[AccuracyRun]


class StudyTime(msgspec.Struct, frozen=True):
    """Whole studies with one number of runs."""

    num_runs: int
    num_jobs: int
    """Worker processes: one for each core, at most one for each run."""
    wall_seconds: Spread
    """From the call to the last result."""
    startup_seconds: Spread
    """The part of it before the first epoch: process start, imports, data."""


class StudyTimes(msgspec.Struct, frozen=True):
    """Time by the number of runs."""

    arithmetic: Arithmetic
    num_rounds: int
    num_train_images: int
    """Of each run, for one epoch, after which the test images are classified."""
    num_test_images: int
    training_flop_of_a_run: int
    test_flop_of_a_run: int
    """Always computed in float32."""
    by_num_runs: list[StudyTime]


class StepSpeed(msgspec.Struct, frozen=True):
    """Training steps of one network at one batch size, on one thread."""

    arithmetic: Arithmetic
    batch_size: int
    channels: tuple[int, ...]
    multiply_adds: int
    """Of one image's forward pass."""
    training_flop: int
    """Of one image's forward and backward pass: see `floor.training_flop`."""
    images_per_second: Spread
    peak_memory_mib: float | None
    """Of a process that only trains, data included; None if not measured."""


class Rate(msgspec.Struct, frozen=True):
    """The throughput of one operation on one thread, at the best of several sizes."""

    name: str
    """Such as `float32 convolution`."""
    size: str
    value: float
    unit: str
    """`GFLOP/s` or `GB/s`."""


class Floor(msgspec.Struct, frozen=True):
    """Peak throughput of one thread, which bounds the time of training from below."""

    rates: list[Rate]
    float32_gflop_per_second: float
    """The fastest float32 operation."""
    bfloat16_gflop_per_second: float | None
    """None if the processor has no bfloat16 instructions."""
    copy_gb_per_second: float
    """Bytes read and bytes written, both counted."""

    def seconds(self, flop: float, arithmetic: Arithmetic) -> float:
        """The minimum time for a number of operations in the precision of training."""
        gflop_per_second = self.float32_gflop_per_second
        if arithmetic == "bfloat16" and self.bfloat16_gflop_per_second:
            gflop_per_second = self.bfloat16_gflop_per_second
        return flop / gflop_per_second / 1e9

    def images_per_second(self, training_flop: float, arithmetic: Arithmetic) -> float:
        """The maximum training speed of one thread, given the operations per image."""
        return 1 / self.seconds(training_flop, arithmetic)

    def study_seconds(self, times: StudyTimes, study: StudyTime) -> float:
        """The minimum time of a study: the runs of the busiest worker, one after another."""
        run_seconds = self.seconds(times.training_flop_of_a_run, times.arithmetic)
        run_seconds += self.seconds(times.test_flop_of_a_run, "float32")
        return math.ceil(study.num_runs / study.num_jobs) * run_seconds


class Scaling(msgspec.Struct, frozen=True):
    """Time and memory by runs, batch size and width: `scaling.json`."""

    environment: Environment
    num_usable_cores: int
    measured_at: str
    dataset_name: str
    is_quick: bool
    """Whether this only tests the code; the numbers then mean nothing."""
    num_rounds: int
    num_images_a_round: int
    """Images of each training speed in each round."""
    study_times: StudyTimes
    batch_sizes: list[StepSpeed]
    widths: list[StepSpeed]
    floor: Floor


class GroupTime(msgspec.Struct, frozen=True):
    """Training several seeds as one network on a GPU."""

    num_replicas: int
    status: Literal["trained", "out of memory"]
    math: str = "float32"
    num_epochs: int = 0
    group_seconds: float = 0.0
    """From initial weights to the last test, graph capture included."""
    seconds_per_run: float = 0.0
    """The group's seconds divided by the number of seeds."""
    last_epoch_seconds_per_run: float = 0.0
    """The same for the last epoch, in which no graph is captured."""
    peak_memory_bytes: int = 0
    """Maximum memory reserved by PyTorch, captured graphs included; 0 without a GPU."""
    accuracy_pct_by_epoch: list[list[float]] = []
    """Of each seed, the test accuracy after each epoch."""


class GroupTimes(msgspec.Struct, frozen=True):
    """Times of seed groups, such as `gpu.json`."""

    what: str
    measured_at: str
    environment: Environment
    times: list[GroupTime]


class BackendOverhead(msgspec.Struct, frozen=True):
    """The cost of a run beyond its training on one backend; one round."""

    slot_seconds: float
    """Of a worker's time."""
    driver_seconds: float
    """Of the driver's processor time."""
    startup_seconds: float
    """Until the first run has ended."""


class DiskOverhead(msgspec.Struct, frozen=True):
    """A large study on disk."""

    num_runs: int
    write_seconds: Spread
    """Of one run."""
    resume_seconds: float
    """To find that no run is missing."""
    summarise_seconds: float
    render_seconds: float
    page_bytes: int


class Overhead(msgspec.Struct, frozen=True):
    """The cost of a run beyond its training: `overhead.json`."""

    environment: Environment
    measured_at: str
    num_rounds: int
    num_runs: int
    """Of a round."""
    num_slots: int
    slot_seconds: dict[str, Spread]
    """By backend, as the next two."""
    driver_seconds: dict[str, Spread]
    startup_seconds: dict[str, Spread]
    disk: DiskOverhead
