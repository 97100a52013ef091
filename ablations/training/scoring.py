"""The result of an epoch: a network's loss and predictions on the test images, and the record."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from ablations.catalogue.experiment import TrainingSpec
from ablations.training.batches import Images, InputScale, prepare_pixels
from ablations.training.epoch import EpochRecord, finite_or_none

TEST_BATCH_SIZE = 250


@dataclass(frozen=True)
class TestResult:
    """Loss and predictions on the test images."""

    __test__ = False  # pytest takes classes of this name for tests
    loss: float
    """Mean cross entropy."""
    num_correct: int
    wrong_images: list[int]
    """Indices, in the data set's order, of the images classified wrongly."""
    predicted_class: UInt8[Tensor, " images"]
    true_class_probability: Float32[Tensor, " images"]


@torch.inference_mode()
def score_images(
    classify: Callable[[Tensor], Tensor], images: Images, scale: InputScale
) -> TestResult:
    """Loss and predictions of a network in evaluation mode."""
    batches = images.pixels.split(TEST_BATCH_SIZE)
    logits = torch.cat([classify(prepare_pixels(pixels, scale)) for pixels in batches])
    return score_logits(logits, images.labels)


def score_logits(
    logits: Float[Tensor, "images 10"], labels: Int64[Tensor, " images"]
) -> TestResult:
    """Loss and predictions from a network's logits."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    predicted_class = logits.argmax(dim=1)
    wrong_images = (predicted_class != labels).nonzero().flatten().tolist()
    return TestResult(
        loss=losses.mean().item(),
        num_correct=len(labels) - len(wrong_images),
        wrong_images=wrong_images,
        predicted_class=predicted_class.to(torch.uint8).cpu(),
        # The loss is minus the logarithm of the probability of the true class.
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
    """The record of an epoch."""
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
