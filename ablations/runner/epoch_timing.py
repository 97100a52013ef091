"""Epoch time: one variant at a time, on a machine that does nothing else.

Runs may share the machine, so the seconds in their records say little about a network. Here each
variant in turn trains for some steps and classifies some test images, in several rounds. If the
machine slows down, it slows every variant, and the spread over rounds shows it.

Where runs are trained as groups of seeds, one seed is trained as a group of one, by the same code.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.data.dataset import Dataset
from ablations.records.timing import EpochTime, Timing
from ablations.runner.run_one import describe_environment, utc_now
from ablations.training import loop, replicas
from ablations.training.batches import Images, load_images
from speed.arithmetic import Arithmetic, keep_freed_memory
from speed.gpu.capture import capture


def measure_epoch_times(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    arithmetic: Arithmetic,
    plan: TimingPlan,
    track: Callable[[Sequence[RunSpec]], Iterable[RunSpec]] = iter,
    num_replicas: int = 0,
) -> Timing:
    """Time one run spec of each ablation, in interleaved rounds in this process.

    An additional first round warms up caches and allocators, and is not counted. `track` iterates
    over all measurements, and may show the progress. `num_replicas` is that of `time_epoch`.
    """
    keep_freed_memory()
    order: list[RunSpec] = []
    for round_number in range(plan.num_rounds + 1):
        # Rotated, so that no variant starts every round.
        start = round_number % len(run_specs)
        order += [*run_specs[start:], *run_specs[:start]]
    seconds: dict[str, list[float]] = {run_spec.ablation: [] for run_spec in run_specs}
    for run_spec in track(order):
        seconds[run_spec.ablation].append(
            time_epoch(run_spec, dataset, device, arithmetic, plan, num_replicas)
        )
    return Timing(
        by_ablation={
            run_spec.ablation: EpochTime(run_spec.digest, seconds[run_spec.ablation][1:])
            for run_spec in run_specs
        },
        plan=plan,
        environment=describe_environment(device, arithmetic),
        measured_at=utc_now(),
    )


def time_epoch(
    run_spec: RunSpec,
    dataset: Dataset,
    device: torch.device,
    arithmetic: Arithmetic,
    plan: TimingPlan,
    num_replicas: int = 0,
) -> float:
    """Seconds of an epoch, extrapolated from a part of it.

    0 replicas: of a run in the plain loop; else one seed's share of an epoch of the group.
    """
    recipe = run_spec.training
    train_images, test_images = load_images(dataset, recipe, device)
    num_train = min(plan.num_train_steps * recipe.batch_size, len(train_images))
    num_test = min(plan.num_test_images, len(test_images))
    train_part = Images(train_images.pixels[:num_train], train_images.labels[:num_train])
    test_part = Images(test_images.pixels[:num_test], test_images.labels[:num_test])
    train: Callable[[], object]
    test: Callable[[], object]
    if num_replicas:
        seeds = [replace(run_spec, seed=run_spec.seed + k) for k in range(num_replicas)]
        train, test = _group_epoch(seeds, dataset, device, train_part, test_part)
    else:
        trainee = loop.prepare_training(run_spec, dataset, device, arithmetic)
        train = partial(loop.train_epoch, trainee, train_part, epoch=1)
        test = partial(loop.evaluate, trainee, test_part)

    started = time.perf_counter()
    train()
    trained = time.perf_counter()
    test()
    tested = time.perf_counter()
    seconds = (trained - started) * len(train_images) / num_train
    seconds += (tested - trained) * len(test_images) / num_test
    return seconds / max(1, num_replicas)


def _group_epoch(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    train_images: Images,
    test_images: Images,
) -> tuple[Callable[[], object], Callable[[], object]]:
    """An epoch of training and a test of several seeds as one network, ready to be timed."""
    group = replicas.prepare_group(run_specs, dataset, device)
    take_steps = capture(partial(replicas.train_steps, group), device)
    draws = replicas.draw_epoch(group, len(train_images), epoch=1)

    def train() -> object:
        replicas.train_group_epoch(group, take_steps, train_images, draws, epoch=1)
        return group.loss_sum.tolist()  # waits for the GPU

    def test() -> object:
        return replicas.classify(group, test_images).argmax(dim=2).tolist()

    if device.type == "cuda":
        train()  # chooses algorithms
        train()  # records the steps
        test()
    return train, test
