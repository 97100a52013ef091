"""Epoch time, measured alone: one variant at a time, on a machine that does nothing else.

Runs may share the machine, so the seconds in their records say little about a network. Here each
variant in turn trains for a number of steps and classifies a number of test images; after the
last variant the next round begins. A machine that slows down meanwhile slows every variant, and
the spread over rounds shows it.

On a GPU one seed is trained as a group of one, by the loop that makes the runs there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ablations.catalogue.experiment import RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.records.timing import EpochTime, Timing
from speed.arithmetic import Arithmetic, keep_freed_memory

if TYPE_CHECKING:
    import torch

    from ablations.data.dataset import Dataset
    from ablations.training.batches import Images


def measure_epoch_times(
    run_specs: Sequence[RunSpec],
    dataset: "Dataset",
    device: "torch.device",
    arithmetic: Arithmetic,
    plan: TimingPlan,
    after_measurement: Callable[[], None] = lambda: None,
) -> Timing:
    """Time the experiments, one of each ablation, in interleaved rounds in this process.

    A round before the first warms up caches and allocators, and is not counted.
    """
    from ablations.runner.run_one import describe_environment, utc_now

    keep_freed_memory()
    seconds: dict[str, list[float]] = {run_spec.ablation: [] for run_spec in run_specs}
    for round_number in range(plan.num_rounds + 1):
        # Each round begins elsewhere, so that no variant always follows the same neighbour.
        start = round_number % len(run_specs)
        for run_spec in [*run_specs[start:], *run_specs[:start]]:
            epoch_seconds = time_epoch(run_spec, dataset, device, arithmetic, plan)
            if round_number > 0:
                seconds[run_spec.ablation].append(epoch_seconds)
            after_measurement()
    return Timing(
        by_ablation={
            run_spec.ablation: EpochTime(run_spec.digest, seconds[run_spec.ablation])
            for run_spec in run_specs
        },
        plan=plan,
        environment=describe_environment(device, arithmetic),
        measured_at=utc_now(),
    )


def time_epoch(
    run_spec: RunSpec,
    dataset: "Dataset",
    device: "torch.device",
    arithmetic: Arithmetic,
    plan: TimingPlan,
    num_replicas: int = 1,
) -> float:
    """Seconds that an epoch takes, scaled up from a part of it, through the real loop.

    With several replicas: one seed's share of an epoch of so many seeds, trained as one network.
    """
    from ablations.training.batches import Images, load_images

    recipe = run_spec.training
    train_images, test_images = load_images(dataset, recipe, device)
    num_train = min(plan.num_train_steps * recipe.batch_size, len(train_images))
    num_test = min(plan.num_test_images, len(test_images))
    train_part = Images(train_images.pixels[:num_train], train_images.labels[:num_train])
    test_part = Images(test_images.pixels[:num_test], test_images.labels[:num_test])
    # The loop that a worker on this device would run.
    if device.type == "cuda" or num_replicas > 1:
        seeds = [replace(run_spec, seed=run_spec.seed + k) for k in range(num_replicas)]
        train, test = group_epoch(seeds, dataset, device, train_part, test_part)
    else:
        train, test = plain_epoch(run_spec, dataset, device, arithmetic, train_part, test_part)

    started = time.perf_counter()
    train()
    trained = time.perf_counter()
    test()
    tested = time.perf_counter()
    seconds = (trained - started) * len(train_images) / num_train
    seconds += (tested - trained) * len(test_images) / num_test
    return seconds / num_replicas


def plain_epoch(
    run_spec: RunSpec,
    dataset: "Dataset",
    device: "torch.device",
    arithmetic: Arithmetic,
    train_images: "Images",
    test_images: "Images",
) -> tuple[Callable[[], object], Callable[[], object]]:
    """An epoch of training by `training/loop.py`, and its test: ready to be called, and timed."""
    from ablations.training.loop import evaluate, prepare_training, train_epoch

    trainee = prepare_training(run_spec, dataset, device, arithmetic)
    return (
        lambda: train_epoch(trainee, train_images, epoch=1),
        lambda: evaluate(trainee, test_images),
    )


def group_epoch(
    run_specs: Sequence[RunSpec],
    dataset: "Dataset",
    device: "torch.device",
    train_images: "Images",
    test_images: "Images",
) -> tuple[Callable[[], object], Callable[[], object]]:
    """An epoch of training by `training/replicas.py`, and its test: ready to be called, and timed.

    Two epochs are trained before: the first chooses algorithms, the second records the steps.
    """
    from ablations.training.replicas import (
        classify,
        draw_epoch,
        prepare_group,
        train_group_epoch,
        train_steps,
    )
    from speed.gpu.capture import capture

    group = prepare_group(run_specs, dataset, device)
    take_steps = capture(partial(train_steps, group), device)
    draws = draw_epoch(group, len(train_images), epoch=1)

    def train() -> object:
        train_group_epoch(group, take_steps, train_images, draws, epoch=1)
        return group.loss_sum.tolist()  # waits for the GPU

    def test() -> object:
        return classify(group, test_images).argmax(dim=2).tolist()

    if device.type == "cuda":
        train()
        train()
        test()
    return train, test
