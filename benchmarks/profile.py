"""The time of a training step by part: `python -m benchmarks.profile`

Timers wrap the parts of a step. Each part takes a tenth of a millisecond or more, so that the
timers' own cost is negligible.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import click
import torch

from ablations.commands.options import clear_errors
from ablations.data.dataset import Dataset
from ablations.records.atomic_io import write_json
from ablations.runner.run_one import describe_environment, utc_now
from ablations.training import loop as training
from benchmarks.measurements import Part, Profile, spread
from benchmarks.options import (
    SETTINGS,
    dataset_options,
    open_dataset,
    out_option,
    rounds_option,
)
from benchmarks.steps import Configuration, one_thread
from speed.arithmetic import ARITHMETICS, Arithmetic, choose_arithmetic, keep_freed_memory
from speed.cpu.fused_layer import FusedLayer

STEPS_IN_A_ROUND = 60
BATCH_SIZE = 128
PARTS = {
    "prepare": ("input preparation", "Gathering the batch, augmentation and normalisation."),
    "convolve": (
        "convolutions, forward",
        "Includes the sums of the outputs that batch norm needs.",
    ),
    "finish": ("epilogues, forward", "Batch norm, ReLU, pooling and dropout in one pass."),
    "convolve_backward": (
        "convolutions and epilogues, backward",
        "For each image, the gradients of the epilogue, then of weights and inputs.",
    ),
    "sums_backward": (
        "batch norm reductions, backward",
        "A pass over the gradients, which must end before any other can be computed.",
    ),
    "optimizer": ("optimiser", "26 small tensors in one call."),
    "rest": (
        "everything else",
        "Autograd and Python between the parts, the classifier, the loss, and counting.",
    ),
}


@contextmanager
def timers(trainee: training.Trainee, seconds: dict[str, float]) -> Iterator[None]:
    """Meanwhile, add each part's time to `seconds`. A part inside another one counts only once."""
    seconds_of_inner_parts = [0.0]

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seconds_of_inner_parts.append(0.0)
            started = time.perf_counter()
            result = function(*arguments, **options)
            elapsed = time.perf_counter() - started
            seconds[name] += elapsed - seconds_of_inner_parts.pop()
            seconds_of_inner_parts[-1] += elapsed
            return result

        return call

    with ExitStack() as stack:
        for owner, attribute, name in [
            (training, "prepare_batch", "prepare"),
            (FusedLayer, "forward", "finish"),
            (FusedLayer, "convolve", "convolve"),
            (FusedLayer, "backward", "convolve_backward"),
            (FusedLayer, "batch_norm_gradients", "sums_backward"),
            (trainee.optimizer, "step", "optimizer"),
        ]:
            replacement = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield


def measure(dataset: Dataset, arithmetic: Arithmetic, num_rounds: int) -> Profile:
    """Time whole steps and their parts, in turn."""
    keep_freed_memory()
    configuration = Configuration(arithmetic, BATCH_SIZE)
    trainee, images = configuration.prepare(dataset, STEPS_IN_A_ROUND * BATCH_SIZE)
    num_steps = -(-len(images) // BATCH_SIZE)

    def epoch_seconds() -> float:
        started = time.perf_counter()
        training.train_epoch(trainee, images, epoch=1)
        return time.perf_counter() - started

    epoch_seconds()  # Compiles, and warms up.
    whole: list[float] = []
    parts: dict[str, float] = defaultdict(float)
    seconds_with_timers = 0.0
    for _ in range(num_rounds):
        whole.append(1000 * epoch_seconds() / num_steps)
        with timers(trainee, parts):
            seconds_with_timers += epoch_seconds()
    parts["rest"] = seconds_with_timers - sum(parts.values())
    per_step = 1000 / (num_rounds * num_steps)
    return Profile(
        arithmetic=arithmetic,
        num_steps=num_rounds * num_steps,
        step_milliseconds=spread(whole),
        parts=[
            Part(name, title, parts[name] * per_step, note) for name, (title, note) in PARTS.items()
        ],
        environment=describe_environment(torch.device("cpu"), arithmetic),
        measured_at=utc_now(),
    )


@click.command(context_settings=SETTINGS)
@dataset_options
@click.option("--arithmetic", type=click.Choice(["auto", *ARITHMETICS[1:]]), default="auto")
@rounds_option(15)
@out_option("profile.json")
@clear_errors
def main(
    dataset_name: str, data_dir: Path | None, arithmetic: str, num_rounds: int, out: Path
) -> None:
    """Time the parts of a training step on one thread, about a minute."""
    dataset, _ = open_dataset(dataset_name, data_dir)
    with one_thread():
        profile = measure(dataset, choose_arithmetic(arithmetic, "cpu"), num_rounds)
    write_json(out, profile)
    for part in profile.parts:
        click.echo(f"{part.title:36} {part.milliseconds:6.2f} ms")
    click.echo(f"{'whole step, without timers':36} {profile.step_milliseconds.median:6.2f} ms")


if __name__ == "__main__":
    main()
