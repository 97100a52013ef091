"""Training on 50,000 of the training images, judged on the other 10,000: for choosing a recipe.

The test images are never loaded into a network. `Variant` has what was tried beyond the fields of
`TrainingSpec` and did not become part of the recipe.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset
from ablations.training import loop
from ablations.training.batches import load_images
from speed.arithmetic import keep_freed_memory

NUM_HELD_OUT = 10_000


@dataclass(frozen=True)
class Variant:
    """Changes of a recipe, of the network and of the training loop."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of `TrainingSpec`."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Of `NetworkSpec`."""
    label_smoothing: float = 0.0
    """Szegedy et al., 2016, arXiv:1512.00567, section 7."""
    average_decay: float | None = None
    """Judge an exponential moving average of the weights (batch norm statistics included)."""
    num_plain_epochs: int = 0
    """Last epochs without augmentation."""
    is_cosine: bool = False
    """The learning rate falls as a cosine (Loshchilov and Hutter, 2016, arXiv:1608.03983)."""


class CosineSpec(TrainingSpec):
    """One cycle whose fall is half a cosine."""

    def learning_rate_at(self, epoch: int, position: float = 0.5) -> float:
        """The learning rate in an epoch, at a position from 0 to 1."""
        progress, warm_up = (epoch - 1 + position) / self.num_epochs, self.warm_up or 0.0
        if progress < warm_up:
            return self.learning_rate * progress / warm_up
        return self.learning_rate * (1 + cos(pi * (progress - warm_up) / (1 - warm_up))) / 2


def hold_out(dataset: Dataset) -> Dataset:
    """The data set with its last training images in the place of the test images."""
    kept = len(dataset.train_labels) - NUM_HELD_OUT
    name = f"{dataset.id.name}-held-out"
    return replace(
        dataset,
        id=replace(dataset.id, name=name, num_train=kept, num_test=NUM_HELD_OUT),
        train_images=dataset.train_images[:kept],
        train_labels=dataset.train_labels[:kept],
        test_images=dataset.train_images[kept:],
        test_labels=dataset.train_labels[kept:],
    )


def train_held_out(
    ablation: str,
    variant: Variant,
    num_epochs: int,
    seed: int,
    dataset_name: str,
    folder: Path | None,
) -> float:
    """Accuracy in percent on the held-out images after the last epoch; the body of a worker."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = hold_out(load_dataset(dataset_name, folder))
    network_spec = replace(find_ablation(ablation).network_spec, **variant.network)
    kind = CosineSpec if variant.is_cosine else TrainingSpec
    # What every recipe of the search has in common.
    fields = {"drop_learning_rate_after": None, "nesterov": True, **variant.fields}
    recipe = kind(num_epochs=num_epochs, **fields)
    run_spec = RunSpec(ablation, network_spec, recipe, dataset.id, seed)
    cpu = torch.device("cpu")
    trainee = loop.prepare_training(run_spec, dataset, cpu, arithmetic="float32")
    train_images, held_out_images = load_images(dataset, recipe, cpu)
    average, decay = copy.deepcopy(trainee.network), variant.average_decay

    def update_average(*_: object) -> None:
        assert decay is not None
        tensors = trainee.network.state_dict()
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(tensors[name], 1 - decay)

    if decay is not None:
        trainee.optimizer.register_step_post_hook(update_average)
    loss = partial(functional.cross_entropy, label_smoothing=variant.label_smoothing)
    with mock.patch("torch.nn.functional.cross_entropy", loss):
        for epoch in range(1, num_epochs + 1):
            is_plain = epoch > num_epochs - variant.num_plain_epochs
            plain = replace(
                trainee, recipe=replace(recipe, augment=recipe.augment and not is_plain)
            )
            loop.train_epoch(plain, train_images, epoch)
    if decay is not None:
        trainee.network.load_state_dict(average.state_dict())
    return 100 * loop.evaluate(trainee, held_out_images).num_correct / NUM_HELD_OUT
