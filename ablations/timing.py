"""Epoch time, measured alone: one variant at a time, on a machine that does nothing else.

Runs may share the machine, so the seconds in their records say little about a network. Here each
variant in turn trains for a number of steps and classifies a number of test images; after the
last variant the next round begins. A machine that slows down meanwhile slows every variant, and
the spread over rounds shows it.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from ablations.experiment import Experiment
from ablations.records import SCHEMA_VERSION, Environment
from speed.arithmetic import Arithmetic, keep_freed_memory

if TYPE_CHECKING:
    import torch

    from ablations.data import Dataset

TIMING_FILE = "timing.json"


class EpochTime(msgspec.Struct, frozen=True):
    """Seconds for an epoch of training and a pass over the test images, once for each round."""

    digest: str
    """Of the experiment that was timed: an ablation whose definition changes is timed again."""
    seconds_by_round: list[float]

    @property
    def median_seconds(self) -> float:
        """The middle of the rounds."""
        return median(self.seconds_by_round)


class TimingPlan(msgspec.Struct, frozen=True):
    """How much is timed. An epoch's time is scaled up from it."""

    num_rounds: int = 5
    num_train_steps: int = 30
    """Steps of one batch in each round, augmentation included."""
    num_test_images: int = 2000
    """Test images classified in each round."""


class Timing(msgspec.Struct, frozen=True):
    """A study's epoch times, and how they were measured."""

    by_ablation: dict[str, EpochTime]
    plan: TimingPlan
    environment: Environment
    measured_at: str
    """In UTC, as ISO 8601."""
    schema_version: int = SCHEMA_VERSION


def measure_epoch_times(
    experiments: Sequence[Experiment],
    dataset: "Dataset",
    device: "torch.device",
    arithmetic: Arithmetic,
    plan: TimingPlan,
    after_measurement: Callable[[], None] = lambda: None,
) -> Timing:
    """Time the experiments, one of each ablation, in interleaved rounds in this process.

    A round before the first warms up caches and allocators, and is not counted.
    """
    from ablations.running import describe_environment, utc_now

    keep_freed_memory()
    seconds: dict[str, list[float]] = {experiment.ablation: [] for experiment in experiments}
    for round_number in range(plan.num_rounds + 1):
        # Each round begins elsewhere, so that no variant always follows the same neighbour.
        start = round_number % len(experiments)
        for experiment in [*experiments[start:], *experiments[:start]]:
            epoch_seconds = time_epoch(experiment, dataset, device, arithmetic, plan)
            if round_number > 0:
                seconds[experiment.ablation].append(epoch_seconds)
            after_measurement()
    return Timing(
        by_ablation={
            experiment.ablation: EpochTime(experiment.digest, seconds[experiment.ablation])
            for experiment in experiments
        },
        plan=plan,
        environment=describe_environment(device, arithmetic),
        measured_at=utc_now(),
    )


def time_epoch(
    experiment: Experiment,
    dataset: "Dataset",
    device: "torch.device",
    arithmetic: Arithmetic,
    plan: TimingPlan,
) -> float:
    """Seconds that an epoch takes, scaled up from a part of it, through the real loop."""
    from ablations.training import Images, evaluate, load_images, prepare_training, train_epoch

    recipe = experiment.training
    train_images, test_images = load_images(dataset, recipe, device)
    num_train = min(plan.num_train_steps * recipe.batch_size, len(train_images))
    num_test = min(plan.num_test_images, len(test_images))
    train_part = Images(train_images.pixels[:num_train], train_images.labels[:num_train])
    test_part = Images(test_images.pixels[:num_test], test_images.labels[:num_test])
    trainee = prepare_training(experiment, dataset, device, arithmetic)

    started = time.perf_counter()
    train_epoch(trainee, train_part, epoch=1)
    trained = time.perf_counter()
    evaluate(trainee, test_part)
    tested = time.perf_counter()
    return (trained - started) * len(train_images) / num_train + (tested - trained) * len(
        test_images
    ) / num_test
