"""The protocol's own numbers: when training changes, the protocol version changes with it.

`golden_losses.json` has, under each protocol version, the losses that short runs on the bundled
digits end their epochs with. In float64 rounding is so small that a learning rate which is 1 % too
high stands out from it; in the arithmetics that runs are made with, 16 steps make more of it.

When a test fails here and the change was meant: raise PROTOCOL_VERSION in `ablations/catalogue/experiment.py`
and add what `python -m tests.ablations.training.test_golden` prints. Numbers under an old version are never changed.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training import augmentation as augment
from ablations.training.batches import load_images
from ablations.training.loop import TrainedNetwork, prepare_training, train, train_network
from ablations.training.replicas import train_group
from ablations.training.seeding import random_stream

GOLDEN_FILE = Path(__file__).with_name("golden_losses.json")
CPU = torch.device("cpu")
EXACT, ROUNDED = 5e-6, 2e-4
"""Relative. Measured: another number of threads, no oneDNN, or pixels shifted by 1e-6 change losses
by up to 2e-6 in float64 and 4e-5 in the rest; 1 % of learning rate by 5e-5, all else by more."""

Losses = list[tuple[float | None, float | None]]
"""Of training and of the test, epoch by epoch."""


def short_run(name: str, dataset: Dataset) -> RunSpec:
    """Four epochs of three whole batches and a smaller one; in the last the learning rate has dropped."""
    ablation = find_ablation(name)
    recipe = replace(ablation.training_spec, num_epochs=4, num_train_images=500)
    return RunSpec(name, ablation.network_spec, recipe, dataset.id, seed=7)


def losses(trained: TrainedNetwork) -> Losses:
    return [(epoch.train_loss, epoch.test_loss) for epoch in trained.epochs]


def by_the_loop_in_float64(run: RunSpec, dataset: Dataset) -> Losses:
    trainee = prepare_training(run, dataset, CPU)
    network = trainee.network.double()
    trainee = replace(trainee, classify=lambda inputs: network(inputs.double()))
    return losses(train_network(trainee, *load_images(dataset, run.training, CPU)))


def as_a_group_in_float64(run: RunSpec, dataset: Dataset) -> Losses:
    return losses(train_group([run], dataset, CPU, dtype=torch.float64)[0])


WAYS: dict[str, tuple[Callable[[RunSpec, Dataset], Losses], float]] = {
    "loop": (by_the_loop_in_float64, EXACT),
    "group": (as_a_group_in_float64, EXACT),
    "plain": (lambda run, dataset: losses(train(run, dataset, CPU)), ROUNDED),
    "float32": (
        lambda run, dataset: losses(train(run, dataset, CPU, arithmetic="float32")),
        ROUNDED,
    ),
    "bfloat16": (
        lambda run, dataset: losses(train(run, dataset, CPU, arithmetic="bfloat16")),
        ROUNDED,
    ),
}
CASES = [
    ("loop", "target"),
    ("loop", "no-batchnorm"),
    ("loop", "no-dropout"),
    ("group", "target"),
    # PyTorch's dropout mask follows the order of activations in memory, which differs between
    # machines in float32; the compiled loops draw theirs by place.
    ("plain", "no-dropout"),
    ("float32", "target"),
    ("bfloat16", "target"),
]


def golden_losses() -> dict[str, list[list[float]]]:
    versions = json.loads(GOLDEN_FILE.read_text())
    assert str(PROTOCOL_VERSION) in versions, "new protocol version: see the top of this file"
    found: dict[str, list[list[float]]] = versions[str(PROTOCOL_VERSION)]
    return found


def agree(found: Losses, expected: list[list[float]], tolerance: float) -> bool:
    return all(
        epoch == pytest.approx(tuple(golden), rel=tolerance)
        for epoch, golden in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(("way", "name"), CASES)
def test_same_protocol_same_losses(digits: Dataset, way: str, name: str) -> None:
    compute, tolerance = WAYS[way]
    found = compute(short_run(name, digits), digits)
    assert agree(found, golden_losses()[f"{way}: {name}"], tolerance), (
        f"training gives other numbers under protocol version {PROTOCOL_VERSION}: {found}; "
        "if that is meant, see the top of this file"
    )


def another_order(seed: int, name: str) -> torch.Generator:
    return random_stream(seed, f"{name}/2" if name.startswith("order") else name)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("ablations.training.loop", "random_stream", another_order),
        (
            "ablations.training.augmentation",
            "MAX_ROTATION_DEGREES",
            augment.MAX_ROTATION_DEGREES + 0.5,
        ),
        (
            "ablations.training.seeding",
            "math",
            SimpleNamespace(sqrt=lambda fan_in: 0.99 * fan_in**0.5),
        ),
    ],
)
def test_golden_losses_notice_small_changes(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, module: str, name: str, value: object
) -> None:
    monkeypatch.setattr(f"{module}.{name}", value)
    found = by_the_loop_in_float64(short_run("no-dropout", digits), digits)
    assert not agree(found, golden_losses()["loop: no-dropout"], 2 * EXACT)


@pytest.mark.parametrize(("field", "factor"), [("learning_rate", 1.01), ("momentum", 1.002)])
def test_golden_losses_notice_another_recipe(digits: Dataset, field: str, factor: float) -> None:
    run = short_run("no-dropout", digits)
    changed = {field: getattr(run.training, field) * factor}
    run = replace(run, training=replace(run.training, **changed))
    found = by_the_loop_in_float64(run, digits)
    assert not agree(found, golden_losses()["loop: no-dropout"], 2 * EXACT)


def print_losses() -> None:
    """What belongs into `golden_losses.json` under a new protocol version."""
    dataset = load_dataset("digits", None)
    torch.set_num_threads(1)
    print(f' "{PROTOCOL_VERSION}": {{')
    for way, name in CASES:
        found = WAYS[way][0](short_run(name, dataset), dataset)
        epochs = ", ".join(f"[{train:.8g}, {test:.8g}]" for train, test in found)
        print(f'  "{way}: {name}": [{epochs}],')
    print(" }")


if __name__ == "__main__":
    print_losses()
