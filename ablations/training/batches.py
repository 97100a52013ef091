"""Images from the data set to the network: in a device's memory, then in batches."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ablations.catalogue.experiment import TrainingSpec
from ablations.data.dataset import Dataset
from ablations.training.augmentation import Augmentation, augment, choose


@dataclass(frozen=True)
class Images:
    """Labelled images on a device: 784 bytes each, turned into floats a batch at a time."""

    pixels: UInt8[Tensor, "images 28 28"]
    labels: Int64[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class InputScale:
    """The shift and scale of pixel values in [0, 1]: (pixel - mean) / std."""

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, dataset: Dataset, recipe: TrainingSpec) -> "InputScale":
        """The data set's mean and deviation, or no change if the recipe does not normalise."""
        return cls(dataset.mean, dataset.std) if recipe.normalise_input else cls()


def load_images(
    dataset: Dataset, recipe: TrainingSpec, device: torch.device
) -> tuple[Images, Images]:
    """The training and the test images of a data set, copied to a device."""

    def to_device(pixels: np.ndarray, labels: np.ndarray) -> Images:
        return Images(
            torch.as_tensor(pixels, device=device),
            torch.as_tensor(labels, device=device, dtype=torch.int64),
        )

    count = recipe.num_train_images
    train_images = to_device(dataset.train_images[:count], dataset.train_labels[:count])
    return train_images, to_device(dataset.test_images, dataset.test_labels)


def prepare_batch(
    images: Images,
    batch: Int64[Tensor, " batch"],
    scale: InputScale,
    augmentation: Augmentation | None,
) -> Float[Tensor, "batch 1 28 28"]:
    """The network's input for a batch of training images, which is given as their indices."""
    draws = None if augmentation is None else choose(augmentation, batch)
    return prepare_pixels(images.pixels[batch], scale, draws)


def prepare_pixels(
    pixels: UInt8[Tensor, "batch 28 28"], scale: InputScale, draws: Augmentation | None = None
) -> Float[Tensor, "batch 1 28 28"]:
    """Pixels as the network's input: as floats, augmented, then normalised.

    Augmentation comes first, since it fills with black, which is 0 before normalisation.
    """
    inputs = pixels.unsqueeze(1).float() / 255
    if draws is not None:
        inputs = augment(inputs, draws)
    return (inputs - scale.mean) / scale.std
