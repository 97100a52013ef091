"""How a network is trained and tested: the loop of every run.

Read `train_epochs` and `train_epoch` first. They are an ordinary PyTorch training loop: draw an
order, take a batch, augment it, take a step down the gradient; after each epoch classify all test
images. What makes it fast is elsewhere: images stay in memory as bytes, a batch is augmented at
once (`augmentation.py`), fused kernels may compute the network (`speed/`), and several runs share a
machine as processes of one thread each (`runner/scheduler.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.experiment import RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.training.augmentation import draw_augmentation
from ablations.training.batches import Images, InputScale, load_images, prepare_batch
from ablations.training.epoch import EpochRecord
from ablations.training.scoring import TestResult, describe_epoch, score_images
from ablations.training.seeding import derive_seed, initialise_weights, random_stream
from mnist_blocks.network import build_network
from speed.arithmetic import Arithmetic, accelerate
from speed.gpu.capture import use_plain_float32


@dataclass(frozen=True)
class Trainee:
    """A network in training, and what each step needs besides images."""

    network: nn.Module
    classify: Callable[[Tensor], Tensor]
    """Images to logits: the network itself, or faster kernels that compute the same."""
    optimizer: torch.optim.Optimizer
    scale: InputScale
    recipe: TrainingSpec
    seed: int


@dataclass(frozen=True)
class TrainedNetwork:
    """The result of training."""

    network: nn.Module
    epochs: list[EpochRecord]
    test_result: TestResult
    """After the last epoch."""

    @property
    def has_diverged(self) -> bool:
        """Whether training ended because a loss was not a finite number."""
        return self.epochs[-1].has_diverged


def train(
    run_spec: RunSpec,
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[EpochRecord], None] = lambda record: None,
    arithmetic: Arithmetic = "plain",
) -> TrainedNetwork:
    """Train a network from its initial weights to the end of its schedule.

    All randomness comes from streams that the run's seed names (`seeding.py`), so the same run
    gives the same network on the same kind of machine. Calls `after_epoch` with each record.
    """
    trainee = prepare_training(run_spec, dataset, device, arithmetic)
    train_images, test_images = load_images(dataset, run_spec.training, device)
    return train_epochs(trainee, train_images, test_images, after_epoch)


def train_epochs(
    trainee: Trainee,
    train_images: Images,
    test_images: Images,
    after_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> TrainedNetwork:
    """Train for all epochs of the recipe, each followed by a test, unless training diverges."""
    epochs: list[EpochRecord] = []
    for epoch in range(1, trainee.recipe.num_epochs + 1):
        started = time.perf_counter()
        train_loss, num_correct = train_epoch(trainee, train_images, epoch)
        result = evaluate(trainee, test_images)
        accuracy_pct = 100 * num_correct / len(train_images)
        seconds = time.perf_counter() - started
        record = describe_epoch(trainee.recipe, epoch, train_loss, accuracy_pct, result, seconds)
        epochs.append(record)
        after_epoch(record)
        if record.has_diverged:
            break
    return TrainedNetwork(trainee.network, epochs, result)


def train_epoch(trainee: Trainee, images: Images, epoch: int) -> tuple[float, int]:
    """Train on every image once, in a new order; the last batch may be smaller.

    Returns the mean loss and the number classified correctly, each image with the weights and the
    augmentation of its own step.
    """
    optimizer, recipe = trainee.optimizer, trainee.recipe
    trainee.network.train()
    device = images.pixels.device
    stream = random_stream(trainee.seed, f"order.epoch{epoch}")
    order = torch.randperm(len(images), generator=stream).to(device)
    augmentation = draw_augmentation(recipe, len(images), trainee.seed, epoch, device)
    # Sums stay on the device: reading a number from a GPU would make it wait at every step.
    loss_sum = torch.zeros((), device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    batches = order.split(recipe.batch_size)
    rates = recipe.learning_rates(epoch, len(batches))
    for batch, learning_rate in zip(batches, rates, strict=True):
        inputs = prepare_batch(images, batch, trainee.scale, augmentation)
        labels = images.labels[batch]
        logits = trainee.classify(inputs)
        loss = functional.cross_entropy(logits, labels)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(batch)
        num_correct += (logits.detach().argmax(dim=1) == labels).sum()
    return loss_sum.item() / len(images), int(num_correct.item())


def evaluate(trainee: Trainee, images: Images) -> TestResult:
    """Classify every image once, with dropout off and batch norm's running statistics."""
    trainee.network.eval()
    return score_images(trainee.classify, images, trainee.scale)


def prepare_training(
    run_spec: RunSpec, dataset: Dataset, device: torch.device, arithmetic: Arithmetic = "plain"
) -> Trainee:
    """The run's network with its initial weights, ready for training on a device."""
    network = build_network(run_spec.network)
    initialise_weights(network, run_spec.stream_seed)
    # The fastest convolutions want the channels of a pixel side by side in memory.
    network = network.to(memory_format=torch.channels_last)
    return make_trainee(
        network, run_spec.training, run_spec.stream_seed, dataset, device, arithmetic
    )


def make_trainee(
    network: nn.Module,
    recipe: TrainingSpec,
    seed: int,
    dataset: Dataset,
    device: torch.device,
    arithmetic: Arithmetic = "plain",
) -> Trainee:
    """A network that has its initial weights, ready for training on a device."""
    if device.type == "cuda":
        use_plain_float32(tries_algorithms=False)
    network = network.to(device)
    # Weights are matrices or kernels; a bias or batch norm has one number for each channel.
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=True,
    )
    torch.manual_seed(derive_seed(seed, "dropout"))
    classify = accelerate(network, arithmetic)
    scale = InputScale.of(dataset, recipe)
    return Trainee(network, classify, optimizer, scale, recipe, seed)
