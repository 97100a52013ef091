"""What the baselines share: the data as PIL images, torchvision's transforms, and the recipe.

The baselines train the project's network by the project's recipe. `dataloader.py` is a plain PyTorch
loop, `lightning.py` uses PyTorch Lightning. Both load images in worker processes that live for the
whole run, test in large batches, and keep no running loss or training accuracy. The tuned ones also
use separate cores for loading and computing, channels last (as PyTorch's tuning guide advises) and a
fused optimiser.
"""

from dataclasses import dataclass

import joblib
import msgspec
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from ablations.catalogue.recipes import PUBLISHED
from ablations.data.dataset import Dataset
from ablations.training.augmentation import MAX_ROTATION_DEGREES, ZOOM_CROP_PIXELS, ZOOM_PROBABILITY
from mnist_blocks import TARGET
from mnist_blocks.network import build_network
from mnist_blocks.spec import IMAGE_SIZE

TEST_BATCH_SIZE = 1000
"""Large, since no gradients are kept."""


class BaselineEpoch(msgspec.Struct, frozen=True):
    """One epoch of a baseline."""

    epoch: int
    learning_rate: float
    num_steps: int
    test_accuracy_pct: float
    seconds: float
    """Training and testing."""


class BaselineResult(msgspec.Struct, frozen=True):
    """One run of a baseline."""

    parameters: int
    num_train_images: int
    epochs: list[BaselineEpoch]

    @property
    def seconds(self) -> float:
        """All epochs together."""
        return sum(epoch.seconds for epoch in self.epochs)


# Compared by identity: `==` of arrays is not a single value.
@dataclass(frozen=True, eq=False)
class PilImages(TorchDataset[tuple[Tensor, int]]):
    """The project's images in the format of `torchvision.datasets.MNIST`."""

    pixels: UInt8[np.ndarray, "images 28 28"]
    labels: UInt8[np.ndarray, " images"]
    transform: transforms.Compose

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        return image, int(self.labels[index])


def train_transform(dataset: Dataset) -> transforms.Compose:
    """The recipe's augmentation and normalisation, one PIL image -> (1, 28, 28).

    The fastest variant: 55 us per image, `transforms.v2` 92 us, tensors more than 110 us.
    """
    zoom = [transforms.CenterCrop(ZOOM_CROP_PIXELS), transforms.Resize((IMAGE_SIZE, IMAGE_SIZE))]
    return transforms.Compose(
        [
            transforms.RandomApply(zoom, p=ZOOM_PROBABILITY),
            transforms.RandomRotation(MAX_ROTATION_DEGREES),
            transforms.ToTensor(),
            transforms.Normalize((dataset.mean,), (dataset.std,)),
        ]
    )


def plain_transform(dataset: Dataset) -> transforms.Compose:
    """The normalisation alone, one PIL image -> (1, 28, 28)."""
    return transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((dataset.mean,), (dataset.std,))]
    )


def default_num_workers(device: torch.device, is_tuned: bool = True) -> int:
    """Loading processes: one for each core; tuned for a CPU, half as many.

    The other cores then compute (`command.py` sets the threads).
    """
    num_cores = int(joblib.cpu_count())
    return max(1, num_cores // 2) if is_tuned and device.type != "cuda" else num_cores


def make_loaders(
    dataset: Dataset,
    device: torch.device,
    num_train_images: int | None = None,
    num_workers: int | None = None,
) -> tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]]]:
    """Loaders of the training and test images. The last, smaller batch is kept."""
    num_workers = default_num_workers(device) if num_workers is None else num_workers
    train_images = PilImages(
        dataset.train_images[:num_train_images],
        dataset.train_labels[:num_train_images],
        train_transform(dataset),
    )
    test_images = PilImages(dataset.test_images, dataset.test_labels, plain_transform(dataset))

    def loader(images: PilImages, batch_size: int, shuffle: bool) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(
            images,
            batch_size=batch_size,
            shuffle=shuffle,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
        )

    return (
        loader(train_images, PUBLISHED.batch_size, shuffle=True),
        loader(test_images, TEST_BATCH_SIZE, shuffle=False),
    )


def make_network(is_tuned: bool = True) -> nn.Sequential:
    """The project's target network, with PyTorch's own initial weights."""
    network = build_network(TARGET)
    return network.to(memory_format=torch.channels_last) if is_tuned else network


def make_optimizer(
    network: nn.Module, num_epochs: int, is_tuned: bool = True
) -> tuple[torch.optim.SGD, MultiStepLR]:
    """The recipe's optimiser, and its learning rate schedule, stepped after each epoch."""
    recipe = PUBLISHED
    assert recipe.drop_learning_rate_after is not None
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        fused=is_tuned,
    )
    drops_after = max(1, int(recipe.drop_learning_rate_after * num_epochs))
    return optimizer, MultiStepLR(optimizer, milestones=[drops_after], gamma=0.1)
