"""What the measurements behind `docs/performance.md` say, as they lie on the disk.

Each file in `docs/performance` is one of these records as JSON. Whoever measures writes one;
`performance.py` reads them all, and draws and words what they hold. `comparison.json` is
`compare.py`'s own `Comparison`.
"""

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from ablations.records.run import Environment
from speed.arithmetic import Arithmetic


class Spread(msgspec.Struct, frozen=True):
    """A number over some rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The middle and both ends."""
    return Spread(median(values), min(values), max(values))


class Choice(msgspec.Struct, frozen=True):
    """One way of doing something, beside the way that it is compared with."""

    name: str
    title: str
    """What was done, in words that fit a table."""
    question_or_note: str
    """What was to be found out, or what to make of the answer."""
    is_kept: bool
    """Whether the project does it so; if not, it was tried, and did not pay."""
    milliseconds: Spread
    unit: str
    """What takes these milliseconds, such as `step on one thread`."""
    compared_with: str
    """The name of another row."""
    ratio: Spread
    """The other row's milliseconds divided by this one's, round by round: above 1, this one is
    faster."""


class Choices(msgspec.Struct, frozen=True):
    """What each choice is worth: `choices.json`."""

    environment: Environment
    num_usable_cores: int
    measured_at: str
    """In UTC, as ISO 8601."""
    batch_size: int
    num_rounds: int
    baseline_name: str
    """The row that all began with; it is compared with itself."""
    rows: list[Choice]


class Part(msgspec.Struct, frozen=True):
    """A share of a training step."""

    name: str
    title: str
    milliseconds: float
    note: str
    """Why it takes so long, and what would make it shorter; may be empty."""


class Profile(msgspec.Struct, frozen=True):
    """Where a training step's time goes: `profile.json`."""

    environment: Environment
    measured_at: str
    arithmetic: Arithmetic
    num_steps: int
    step_milliseconds: Spread
    """Of whole steps, measured without the profiler."""
    parts: list[Part]
    batch_size: int = 128


class AccuracyRun(msgspec.Struct, frozen=True):
    """What a run of a study ended with."""

    arithmetic: Arithmetic
    seed: int
    test_correct: int
    """After the last epoch."""
    num_test_images: int
    digest: str
    """Of the experiment, which is the same whatever the arithmetic."""
    commit: str
    device_name: str
    torch_version: str

    @property
    def accuracy_pct(self) -> float:
        """Test accuracy after the last epoch."""
        return 100 * self.test_correct / self.num_test_images


class Accuracy(msgspec.Struct, frozen=True):
    """The same experiments in several arithmetics: `accuracy.json`."""

    reference: Arithmetic
    """The arithmetic that the others are compared with, seed by seed."""
    ablation: str
    dataset_name: str
    num_epochs: int
    num_train_images: int
    runs: list[AccuracyRun]


class StudyTime(msgspec.Struct, frozen=True):
    """Whole studies of the same number of runs, each as a user starts it."""

    num_runs: int
    num_jobs: int
    """Worker processes: one a core, but never more than there are runs."""
    wall_seconds: Spread
    """From the call until the last result, over rounds."""
    startup_seconds: Spread
    """The part of it that lies before the first epoch: starting processes, imports, the data."""


class StudyTimes(msgspec.Struct, frozen=True):
    """Time against the number of runs."""

    arithmetic: Arithmetic
    num_rounds: int
    num_train_images: int
    """Of each run, for one epoch, after which the test images are classified."""
    num_test_images: int
    training_flop_of_a_run: int
    test_flop_of_a_run: int
    """Computed in float32, whatever the arithmetic of training."""
    by_num_runs: list[StudyTime]


class StepSpeed(msgspec.Struct, frozen=True):
    """Training steps of one network at one batch size, on one thread."""

    arithmetic: Arithmetic
    batch_size: int
    channels: tuple[int, ...]
    multiply_adds: int
    """Of one image's forward pass."""
    training_flop: int
    """Of one image's forward and backward pass: see `training_flop` in `floor.py`."""
    images_per_second: Spread
    """Over rounds."""
    peak_memory_mib: float | None
    """Of a process that does nothing else, while it trains, data included; None where it was not
    measured."""


class Rate(msgspec.Struct, frozen=True):
    """How fast one thread does one thing, at the best of several sizes."""

    name: str
    """As `float32 convolution`."""
    size: str
    """Of the operation at which it was fastest."""
    value: float
    unit: str
    """`GFLOP/s` or `GB/s`."""


class Floor(msgspec.Struct, frozen=True):
    """What the processor can do at best, on one thread: the least time that arithmetic takes."""

    rates: list[Rate]
    float32_gflop_per_second: float
    """The fastest float32 operation that was found."""
    bfloat16_gflop_per_second: float | None
    """None where the processor has no instructions for it."""
    copy_gb_per_second: float
    """Bytes read and bytes written, both counted."""

    def seconds(self, flop: float, arithmetic: Arithmetic) -> float:
        """The least time for so many operations in what the arithmetic trains with."""
        gflop_per_second = self.float32_gflop_per_second
        if arithmetic == "bfloat16" and self.bfloat16_gflop_per_second:
            gflop_per_second = self.bfloat16_gflop_per_second
        return flop / gflop_per_second / 1e9

    def images_per_second(self, training_flop: float, arithmetic: Arithmetic) -> float:
        """The most images that one thread could train on, given the operations for one."""
        return 1 / self.seconds(training_flop, arithmetic)

    def study_seconds(self, times: StudyTimes, study: StudyTime) -> float:
        """The least time for a study: as many runs as the busiest worker has, one by one."""
        run_seconds = self.seconds(times.training_flop_of_a_run, times.arithmetic)
        run_seconds += self.seconds(times.test_flop_of_a_run, "float32")
        return math.ceil(study.num_runs / study.num_jobs) * run_seconds


class Scaling(msgspec.Struct, frozen=True):
    """How time and memory grow: `scaling.json`."""

    environment: Environment
    num_usable_cores: int
    measured_at: str
    dataset_name: str
    is_quick: bool
    """Whether this is but a test of the code, too short for its numbers to mean anything."""
    num_rounds: int
    num_images_a_round: int
    """Images that each training speed is measured on, in each round."""
    study_times: StudyTimes
    batch_sizes: list[StepSpeed]
    widths: list[StepSpeed]
    floor: Floor


class GroupTime(msgspec.Struct, frozen=True):
    """Some seeds trained as one network on a GPU, as `gpu_targets.py` writes it."""

    num_replicas: int
    status: str
    """`trained`, or `out of memory`."""
    num_epochs: int
    seconds_per_run: float
    """The group's seconds divided by the number of seeds."""
    peak_memory_bytes: int


class GroupTimes(msgspec.Struct, frozen=True):
    """More and more seeds as one network: `gpu.json`."""

    what: str
    environment: Environment
    measured_at: str
    times: list[GroupTime]


class BackendOverhead(msgspec.Struct, frozen=True):
    """What a run costs beside its training, where it is carried out; one round."""

    slot_seconds: float
    """Of a worker's time."""
    driver_seconds: float
    """Of the driver's processor: at most one run in that time can be dealt with."""
    startup_seconds: float
    """Until the first run has ended."""


class DiskOverhead(msgspec.Struct, frozen=True):
    """A large study on the disk."""

    num_runs: int
    write_seconds: Spread
    """Of one run."""
    resume_seconds: float
    """To see which runs are missing: none."""
    summarise_seconds: float
    render_seconds: float
    page_bytes: int


class Overhead(msgspec.Struct, frozen=True):
    """What a run costs beside its training: `overhead.json`."""

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
