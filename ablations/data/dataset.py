"""A data set of 28x28 grey images in ten classes, as training sees it: arrays in memory."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ablations.catalogue.experiment import DatasetId


# Compared by identity: arrays have no single answer to whether they are equal; `id` has.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels as they are in the files; values 0 (black) to 255 (white)."""

    id: DatasetId
    train_images: UInt8[np.ndarray, "train 28 28"]
    train_labels: UInt8[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 28 28"]
    test_labels: UInt8[np.ndarray, " test"]
    mean: float
    """Of the training images' pixels, scaled to [0, 1]; rounded to four decimals."""
    std: float
    """Their standard deviation, likewise."""
    class_names: tuple[str, ...]
    title: str
    source: str
    """Where it was found. For the console: a record does not name the user's folders."""


def pixel_statistics(images: UInt8[np.ndarray, "images 28 28"]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, scaled to [0, 1], to four decimals."""
    pixels, mean = images.reshape(-1), float(images.mean())
    # Sums of integers are exact, and need no second copy of the images as floats.
    sum_of_squares = int(np.einsum("i,i->", pixels, pixels, dtype=np.int64, casting="unsafe"))
    variance = sum_of_squares / images.size - mean**2
    return round(mean / 255, 4), round(variance**0.5 / 255, 4)
