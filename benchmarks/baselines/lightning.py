"""The same training through PyTorch Lightning.

    python -m benchmarks.baselines.lightning --epochs 1

Logger, checkpoints, progress bar and sanity check are off, so that only training is timed. The package
`pytorch_lightning` has the same trainer as `lightning` and fewer dependencies.
"""

import logging
import time

import pytorch_lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional

from ablations.data.dataset import Dataset
from benchmarks.baselines.command import baseline_command
from benchmarks.baselines.recipe import (
    BaselineEpoch,
    BaselineResult,
    make_loaders,
    make_network,
    make_optimizer,
)
from mnist_blocks.summary import count_parameters


class TargetModule(pytorch_lightning.LightningModule):
    """The target network with the recipe, and a record of each epoch."""

    def __init__(self, num_epochs: int, num_test_images: int, is_tuned: bool) -> None:
        super().__init__()
        self.is_tuned = is_tuned
        self.network = make_network(is_tuned)
        self.num_epochs = num_epochs
        self.num_test_images = num_test_images
        self.epochs: list[BaselineEpoch] = []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Lightning steps the schedule after each epoch."""
        optimizer, schedule = make_optimizer(self.network, self.num_epochs, self.is_tuned)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss."""
        images, labels = batch
        return functional.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Count correctly classified images."""
        images, labels = batch
        self.num_correct += (self.network(images).argmax(dim=1) == labels).sum()

    def on_train_start(self) -> None:
        """The first epoch begins."""
        self.epoch_started = time.perf_counter()
        self.steps_before = 0

    def on_train_epoch_start(self) -> None:
        """Record this epoch's learning rate: the next is set before the test."""
        self.learning_rate: float = self.trainer.optimizers[0].param_groups[0]["lr"]

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.num_correct = torch.zeros((), dtype=torch.int64, device=self.device)

    def on_train_epoch_end(self) -> None:
        """Record the epoch. Lightning tests before it calls this."""
        accuracy_pct = 100 * self.num_correct.item() / self.num_test_images
        ended = time.perf_counter()
        self.epochs.append(
            BaselineEpoch(
                epoch=self.current_epoch + 1,
                learning_rate=self.learning_rate,
                num_steps=self.global_step - self.steps_before,
                test_accuracy_pct=accuracy_pct,
                # From the end of the last epoch, so that no work between the two is lost.
                seconds=ended - self.epoch_started,
            )
        )
        self.epoch_started, self.steps_before = ended, self.global_step


def train(
    dataset: Dataset,
    device: torch.device,
    num_epochs: int,
    num_train_images: int | None = None,
    seed: int = 0,
    num_workers: int | None = None,
    is_tuned: bool = True,
) -> BaselineResult:
    """Train the target network on the first training images, and test it after each epoch.

    `recipe.py` describes the tuning.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.manual_seed(seed)
    train_loader, test_loader = make_loaders(dataset, device, num_train_images, num_workers)
    module = TargetModule(num_epochs, len(dataset.test_labels), is_tuned)
    trainer = pytorch_lightning.Trainer(
        max_epochs=num_epochs,
        accelerator=device.type,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, train_loader, test_loader)
    return BaselineResult(
        parameters=count_parameters(module),
        num_train_images=len(dataset.train_labels[:num_train_images]),
        epochs=module.epochs,
    )


COMMAND = baseline_command(train)

if __name__ == "__main__":
    COMMAND()
