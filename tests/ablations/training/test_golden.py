"""Golden losses: when training changes, the protocol version has to change with it.

`golden_losses.json` has, for each protocol version, the losses of short runs on the bundled digits,
epoch by epoch. In float64 rounding is much smaller than the effect of a learning rate that is 1 %
too high; in the precisions of real runs, rounding errors grow over the 16 steps.

When a test fails here and the change is intended: raise PROTOCOL_VERSION in
`ablations/catalogue/experiment.py`, and add what `python -m tests.ablations.training.test_golden`
prints. Never change the numbers of an old version.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.catalogue.recipes import RecipeName
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training.batches import load_images
from ablations.training.loop import TrainedNetwork, prepare_training, train, train_epochs
from ablations.training.replicas import train_replicas

GOLDEN_FILE = Path(__file__).with_name("golden_losses.json")
CPU = torch.device("cpu")
EXACT, ROUNDED = 5e-6, 2e-4
"""Relative. Measured: another number of threads, no oneDNN, or pixels shifted by 1e-6 change losses
by up to 2e-6 in float64 and 4e-5 in the rest; 1 % of learning rate by 5e-5, all else by more."""

Losses = list[tuple[float | None, float | None]]
"""Training and test loss of each epoch."""


def short_run(name: str, dataset: Dataset, recipe_name: RecipeName = "published") -> RunSpec:
    """Four epochs of three full batches and a smaller one; the learning rate drops in the last.

    The tuned recipe's rate is ten times as high: rounding errors grow to 1 % within 30 steps, so its
    runs have two epochs of two batches.
    """
    ablation = find_ablation(name)
    num_epochs, num_images = (4, 500) if recipe_name == "published" else (2, 128)
    recipe = replace(
        ablation.training_spec(recipe_name), num_epochs=num_epochs, num_train_images=num_images
    )
    return RunSpec(name, ablation.network_spec, recipe, dataset.id, seed=7)


def losses(trained: TrainedNetwork) -> Losses:
    return [(epoch.train_loss, epoch.test_loss) for epoch in trained.epochs]


def by_the_loop_in_float64(run_spec: RunSpec, dataset: Dataset) -> Losses:
    trainee = prepare_training(run_spec, dataset, CPU)
    network = trainee.network.double()
    trainee = replace(trainee, classify=lambda inputs: network(inputs.double()))
    return losses(train_epochs(trainee, *load_images(dataset, run_spec.training, CPU)))


def as_a_group_in_float64(run_spec: RunSpec, dataset: Dataset) -> Losses:
    return losses(train_replicas([run_spec], dataset, CPU, dtype=torch.float64)[0])


METHODS: dict[str, tuple[Callable[[RunSpec, Dataset], Losses], float]] = {
    "loop": (by_the_loop_in_float64, EXACT),
    "group": (as_a_group_in_float64, EXACT),
    "plain": (lambda run_spec, dataset: losses(train(run_spec, dataset, CPU)), ROUNDED),
    "float32": (
        lambda run_spec, dataset: losses(train(run_spec, dataset, CPU, arithmetic="float32")),
        ROUNDED,
    ),
    "bfloat16": (
        lambda run_spec, dataset: losses(train(run_spec, dataset, CPU, arithmetic="bfloat16")),
        ROUNDED,
    ),
}
Case = tuple[str, str, RecipeName]
CASES: list[Case] = [
    ("loop", "target", "published"),
    ("loop", "no-batchnorm", "published"),
    ("loop", "no-dropout", "published"),
    ("group", "target", "published"),
    # PyTorch's dropout mask follows the order of activations in memory, which differs between
    # machines in float32; the compiled kernels draw theirs by position.
    ("plain", "no-dropout", "published"),
    ("float32", "target", "published"),
    ("bfloat16", "target", "published"),
    ("loop", "target", "tuned"),
    ("group", "target", "tuned"),
    ("plain", "no-dropout", "tuned"),
    ("float32", "target", "tuned"),
    ("bfloat16", "target", "tuned"),
]


def golden_losses() -> dict[str, list[list[float]]]:
    versions = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
    assert str(PROTOCOL_VERSION) in versions, "new protocol version: see the top of this file"
    found: dict[str, list[list[float]]] = versions[str(PROTOCOL_VERSION)]
    return found


def agree(found: Losses, expected: list[list[float]], tolerance: float) -> bool:
    return all(
        epoch == pytest.approx(tuple(golden), rel=tolerance)
        for epoch, golden in zip(found, expected, strict=True)
    )


def key_of(method: str, name: str, recipe: RecipeName) -> str:
    return f"{method}: {name}" + ("" if recipe == "published" else f", {recipe}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: key_of(*case))
def test_same_protocol_same_losses(digits: Dataset, case: Case) -> None:
    method, name, recipe = case
    compute, tolerance = METHODS[method]
    found = compute(short_run(name, digits, recipe), digits)
    assert agree(found, golden_losses()[key_of(*case)], tolerance), (
        f"training gives other numbers under protocol version {PROTOCOL_VERSION}: {found}; "
        "if that is intended, see the top of this file"
    )


def test_golden_losses_notice_another_learning_rate(digits: Dataset) -> None:
    run_spec = short_run("no-dropout", digits)
    recipe = replace(run_spec.training, learning_rate=1.01 * run_spec.training.learning_rate)
    found = by_the_loop_in_float64(replace(run_spec, training=recipe), digits)
    assert not agree(found, golden_losses()["loop: no-dropout"], 2 * EXACT)


def print_losses() -> None:
    """Print the lines of `golden_losses.json` for a new protocol version."""
    dataset = load_dataset("digits", None)
    torch.set_num_threads(1)
    print(f' "{PROTOCOL_VERSION}": {{')
    for method, name, recipe in CASES:
        found = METHODS[method][0](short_run(name, dataset, recipe), dataset)
        epochs = ", ".join(f"[{train:.8g}, {test:.8g}]" for train, test in found)
        print(f'  "{key_of(method, name, recipe)}": [{epochs}],')
    print(" }")


if __name__ == "__main__":
    print_losses()
