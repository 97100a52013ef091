"""How a network is trained and tested: the loop at the heart of every experiment.

Read `train` first. It is an ordinary training loop: draw an order, take a batch, augment it, step
down the gradient; after each epoch classify all the test images. What makes it quick stands
elsewhere: images stay in memory as bytes, a batch is augmented in one go (`augmentation.py`), what
computes the network may be quicker than its layers one by one (`speed/`), and several runs share
a machine as processes of one thread each (`runner/scheduler.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ablations.catalogue.experiment import RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.training.augmentation import draw_augmentation
from ablations.training.batches import Images, InputScale, load_images, prepare_batch
from ablations.training.epoch import EpochRecord, finite_or_none, is_diverged
from ablations.training.seeding import derive_seed, initialise_weights, random_stream
from mnist_blocks.network import build_network
from speed.arithmetic import Arithmetic, accelerate

TEST_BATCH_SIZE = 250


@dataclass(frozen=True)
class Trainee:
    """A network in training, and what each step needs beside the images."""

    network: nn.Module
    classify: Callable[[Tensor], Tensor]
    """Images to logits: the network itself, or something quicker that computes the same."""
    optimizer: torch.optim.Optimizer
    scale: InputScale
    recipe: TrainingSpec
    seed: int


@dataclass(frozen=True)
class TestResult:
    """How a network did on the test images."""

    __test__ = False  # pytest takes classes of this name for tests
    loss: float
    """Mean cross entropy."""
    num_correct: int
    wrong_images: list[int]
    """Numbers, in the data set's order, of the images that it classified wrongly."""
    predicted_class: UInt8[Tensor, " images"]
    true_class_probability: Float32[Tensor, " images"]


@dataclass(frozen=True)
class TrainedNetwork:
    """What training ends with."""

    network: nn.Module
    epochs: list[EpochRecord]
    test_result: TestResult
    """After the last epoch."""
    has_diverged: bool
    """Whether training stopped early, because the loss was not a finite number any more."""


def train(
    run_spec: RunSpec,
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[EpochRecord], None] = lambda record: None,
    arithmetic: Arithmetic = "plain",
) -> TrainedNetwork:
    """Train a network from its initial weights to the end of its schedule.

    Everything random comes from streams that the experiment's seed names (`seeding.py`), so the
    same experiment gives the same network on the same kind of machine.

    Calls `after_epoch` with each epoch's record.
    """
    trainee = prepare_training(run_spec, dataset, device, arithmetic)
    train_images, test_images = load_images(dataset, run_spec.training, device)
    return train_network(trainee, train_images, test_images, after_epoch)


def train_network(
    trainee: Trainee,
    train_images: Images,
    test_images: Images,
    after_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> TrainedNetwork:
    """All epochs of a recipe, each with a test after it. Calls `after_epoch` with its record."""
    recipe = trainee.recipe
    epochs: list[EpochRecord] = []
    for epoch in range(1, recipe.num_epochs + 1):
        started = time.perf_counter()
        train_loss, num_train_correct = train_epoch(trainee, train_images, epoch)
        result = evaluate(trainee, test_images)
        record = describe_epoch(
            recipe,
            epoch,
            train_loss,
            train_accuracy_pct=100 * num_train_correct / len(train_images),
            result=result,
            seconds=time.perf_counter() - started,
        )
        epochs.append(record)
        after_epoch(record)
        if is_diverged(record):
            break
    return TrainedNetwork(trainee.network, epochs, result, is_diverged(epochs[-1]))


def prepare_training(
    run_spec: RunSpec,
    dataset: Dataset,
    device: torch.device,
    arithmetic: Arithmetic = "plain",
) -> Trainee:
    """A network with its initial weights on a device, and the optimiser that will train it."""
    network = build_network(run_spec.network)
    initialise_weights(network, run_spec.seed)
    # Channels last: the channels of a pixel lie side by side in memory, as the fastest
    # convolutions want them.
    network = network.to(memory_format=torch.channels_last)
    return make_trainee(network, run_spec.training, run_spec.seed, dataset, device, arithmetic)


def make_trainee(
    network: nn.Module,
    recipe: TrainingSpec,
    seed: int,
    dataset: Dataset,
    device: torch.device,
    arithmetic: Arithmetic = "plain",
) -> Trainee:
    """A network that has its initial weights, on a device, and the optimiser that will train it."""
    network = network.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, fused=True
    )
    scale = InputScale(dataset.mean, dataset.std) if recipe.normalise_input else InputScale()
    torch.manual_seed(derive_seed(seed, "dropout"))
    classify = accelerate(network, arithmetic)
    return Trainee(network, classify, optimizer, scale, recipe, seed)


def train_epoch(trainee: Trainee, images: Images, epoch: int) -> tuple[float, int]:
    """See every training image once, in a new order; the last batch may be smaller.

    Returns the mean loss and the number classified correctly, each image under the weights and
    the augmentation of its own step.
    """
    optimizer, recipe = trainee.optimizer, trainee.recipe
    trainee.network.train()
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(epoch)
    device = images.pixels.device
    stream = random_stream(trainee.seed, f"order.epoch{epoch}")
    order = torch.randperm(len(images), generator=stream).to(device)
    augmentation = (
        draw_augmentation(len(images), trainee.seed, epoch, device) if recipe.augment else None
    )
    # Sums stay on the device: reading a number from a GPU would make it wait at every step.
    loss_sum = torch.zeros((), device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    for batch in order.split(recipe.batch_size):
        inputs = prepare_batch(images, batch, trainee.scale, augmentation)
        labels = images.labels[batch]
        logits = trainee.classify(inputs)
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(batch)
        num_correct += (logits.detach().argmax(dim=1) == labels).sum()
    return loss_sum.item() / len(images), int(num_correct.item())


@torch.inference_mode()
def evaluate(trainee: Trainee, images: Images) -> TestResult:
    """Classify every image once, with dropout off and batch norm's running statistics."""
    trainee.network.eval()
    batches = torch.arange(len(images), device=images.pixels.device).split(TEST_BATCH_SIZE)
    logits = torch.cat(
        [trainee.classify(prepare_batch(images, batch, trainee.scale)) for batch in batches]
    )
    return judge(logits, images.labels)


def judge(logits: Float[Tensor, "images 10"], labels: Int64[Tensor, " images"]) -> TestResult:
    """How good a network's answers to the test images are."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    predicted_class = logits.argmax(dim=1)
    wrong_images = (predicted_class != labels).nonzero().flatten().tolist()
    return TestResult(
        loss=losses.mean().item(),
        num_correct=len(labels) - len(wrong_images),
        wrong_images=wrong_images,
        predicted_class=predicted_class.to(torch.uint8).cpu(),
        # The loss is minus the logarithm of the probability given to the true class.
        true_class_probability=torch.exp(-losses).float().cpu(),
    )


def describe_epoch(
    recipe: TrainingSpec,
    epoch: int,
    train_loss: float,
    train_accuracy_pct: float,
    result: TestResult,
    seconds: float,
) -> EpochRecord:
    """What is recorded of an epoch."""
    return EpochRecord(
        epoch=epoch,
        learning_rate=recipe.learning_rate_at(epoch),
        train_loss=finite_or_none(train_loss),
        train_accuracy_pct=train_accuracy_pct,
        test_loss=finite_or_none(result.loss),
        test_correct=result.num_correct,
        test_accuracy_pct=100 * result.num_correct / len(result.predicted_class),
        seconds=seconds,
    )
