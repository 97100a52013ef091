"""Where the milliseconds of a training step go: `python -m benchmarks.profile`

A stopwatch is put around the parts of a step, each of which takes a tenth of a millisecond or
more, so that the stopwatch itself does not matter.
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

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import DATASET_NAMES
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.run_one import describe_environment, use_one_thread, utc_now
from ablations.training import loop as training
from ablations.training.batches import Images, load_images
from benchmarks.measurements import Part, Profile, spread
from speed.arithmetic import ARITHMETICS, Arithmetic, choose_arithmetic, keep_freed_memory
from speed.cpu.fused_layer import FusedLayer

STEPS_IN_A_ROUND = 60

PARTS = {
    "prepare": (
        "images to inputs",
        "Gathering the batch, augmentation and normalisation.",
    ),
    "convolve": (
        "convolutions, forward",
        "With the sums that batch norm needs of their values.",
    ),
    "finish": (
        "between convolutions, forward",
        "Batch norm, ReLU, pooling and dropout in one pass.",
    ),
    "convolve_backward": (
        "convolutions and between them, backward",
        (
            "Image by image: the gradient through what lies between, then those of weights and inputs, "
            "twice the arithmetic of the forward pass."
        ),
    ),
    "sums_backward": (
        "batch norm's sums, backward",
        "A pass over the gradients, which must end before any of them can go on.",
    ),
    "optimizer": ("optimiser", "26 small tensors in one call."),
}
REST = Part(
    "rest", "everything else", 0.0,
    "Autograd and Python between the parts, the classifier, the loss, and counting.",
)  # fmt: skip


@contextmanager
def stopwatches(trainee: training.Trainee, seconds: dict[str, float]) -> Iterator[None]:
    """Add the time that each part takes to `seconds`, while this is open.

    A part within another one counts for itself alone.
    """
    within = [0.0]
    """Seconds of the parts within each part that has begun."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            within.append(0.0)
            started = time.perf_counter()
            result = function(*arguments, **options)
            elapsed = time.perf_counter() - started
            seconds[name] += elapsed - within.pop()
            within[-1] += elapsed
            return result

        return call

    optimizer = trainee.optimizer
    with ExitStack() as stack:
        for owner, attribute, name in [
            (training, "prepare_batch", "prepare"),
            (FusedLayer, "forward", "finish"),
            (FusedLayer, "convolve", "convolve"),
            (FusedLayer, "backward", "convolve_backward"),
            (FusedLayer, "batch_norm_gradients", "sums_backward"),
            (optimizer, "step", "optimizer"),
        ]:
            replacement = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield


def measure(dataset_name: str, folder: Path | None, arithmetic: Arithmetic, rounds: int) -> Profile:
    """Time whole steps, then their parts, in turn."""
    use_one_thread()
    keep_freed_memory()
    cpu = torch.device("cpu")
    dataset = load_dataset(dataset_name, folder)
    spec = StudySpec(dataset.id, dataset.title, 1, None, "cpu")
    [run_spec] = plan_runs(spec, [find_ablation("target")], [0])
    images, _ = load_images(dataset, run_spec.training, cpu)
    count = STEPS_IN_A_ROUND * run_spec.training.batch_size
    some = Images(images.pixels[:count], images.labels[:count])
    trainee = training.prepare_training(run_spec, dataset, cpu, arithmetic)
    num_steps = -(-len(some) // run_spec.training.batch_size)

    training.train_epoch(trainee, some, epoch=1)  # Compiles, and warms up.
    whole: list[float] = []
    parts: dict[str, float] = defaultdict(float)
    seconds_with_stopwatches = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        training.train_epoch(trainee, some, epoch=1)
        whole.append(1000 * (time.perf_counter() - started) / num_steps)
        with stopwatches(trainee, parts):
            started = time.perf_counter()
            training.train_epoch(trainee, some, epoch=1)
            seconds_with_stopwatches += time.perf_counter() - started

    per_step = 1000 / (rounds * num_steps)
    rest = (seconds_with_stopwatches - sum(parts.values())) * per_step
    return Profile(
        arithmetic=arithmetic,
        num_steps=rounds * num_steps,
        step_milliseconds=spread(whole),
        parts=[
            *(
                Part(name, title, parts[name] * per_step, note)
                for name, (title, note) in PARTS.items()
            ),
            Part(REST.name, REST.title, rest, REST.note),
        ],
        environment=describe_environment(cpu, arithmetic),
        measured_at=utc_now(),
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dataset", "name", type=click.Choice(DATASET_NAMES), default="mnist")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--arithmetic", type=click.Choice(["auto", *ARITHMETICS[1:]]), default="auto")
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/bench/profile.json"),
    show_default=True,
)  # fmt: skip
def main(name: str, data_dir: Path | None, arithmetic: str, rounds: int, out: Path) -> None:
    """Time the parts of a training step on one thread; about a minute."""
    name, folder = resolve_dataset(name, data_dir, log=click.echo)
    profile = measure(name, folder, choose_arithmetic(arithmetic, "cpu"), rounds)
    write_json(out, profile)
    for part in profile.parts:
        click.echo(f"{part.title:32} {part.milliseconds:6.2f} ms")
    click.echo(
        f"{'a whole step, without stopwatches':32} {profile.step_milliseconds.median:6.2f} ms"
    )


if __name__ == "__main__":
    main()
