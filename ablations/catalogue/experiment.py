"""What a run consists of: a network, a recipe to train it, a data set and a seed."""

import hashlib
import math
from dataclasses import dataclass, fields

import msgspec

from mnist_blocks import NetworkSpec

PROTOCOL_VERSION = 1
"""The version of everything in training that no field of a run spec sets: initial weights, random
streams, the order of images, augmentation, optimiser, schedule, loss, the test.

Increase it in the commit that changes any of these so that the same run spec gives other numbers
(beyond rounding: a faster way to compute the same sums does not count). Runs of different protocols
have different digests and are not mixed. `tests/ablations/training/test_golden.py` has the losses
of each version, and fails if they change without a new version.
"""


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained: stochastic gradient descent on cross entropy.

    The defaults are the reference recipe. Raises ValueError for invalid values; the message names
    the field and the value.
    """

    num_epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    """Share of the previous step that is added to each step; 0 is plain gradient descent."""

    drop_learning_rate_after: float | None = 0.75
    """Share of the epochs after which the learning rate is divided by ten (0.75 of 20 epochs:
    from epoch 16 on), or None for a constant rate."""

    augment: bool = True
    """Whether training images are zoomed and rotated at random (see `training/augmentation.py`)."""

    normalise_input: bool = True
    """Whether images are shifted and scaled to about zero mean and unit variance; if not, pixels
    are in [0, 1]."""

    num_train_images: int | None = None
    """Train on this many images, the first of the data set's training images; None is all."""

    def __post_init__(self) -> None:
        if self.num_epochs < 1:
            raise ValueError(f"num_epochs={self.num_epochs}: needs at least 1")
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: batch norm needs at least 2")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: needs a positive number")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}: needs a number in [0, 1)")
        share = self.drop_learning_rate_after
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"drop_learning_rate_after={share}: needs a share in (0, 1], or None")
        if self.num_train_images is not None and self.num_train_images < 2:
            raise ValueError(f"num_train_images={self.num_train_images}: needs at least 2")

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate in an epoch, which is counted from 1."""
        share = self.drop_learning_rate_after
        # A run of one epoch has no later one to drop in.
        has_dropped = share is not None and epoch > max(1, math.floor(share * self.num_epochs))
        return self.learning_rate * (0.1 if has_dropped else 1.0)


TARGET_TRAINING = TrainingSpec()
"""The reference recipe: 20 epochs, learning rate 0.01, a tenth of it from epoch 16 on."""


DATASET_NAMES = ("mnist", "fashion-mnist", "kmnist", "digits")
"""The data sets that `data/datasets.py` finds and loads."""


@dataclass(frozen=True)
class DatasetId:
    """The identity and size of a data set."""

    name: str
    """As on the command line, such as `mnist`."""
    sha256: str
    """Digest of all images and labels, training and test."""
    num_train: int
    num_test: int


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a run's result on a given machine."""

    ablation: str
    """Name in the catalogue. Only a label: it is not part of the digest."""
    network: NetworkSpec
    training: TrainingSpec
    dataset: DatasetId
    seed: int

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the run, independent of the ablation's name."""
        return self.digest_under(PROTOCOL_VERSION)

    def digest_under(self, protocol_version: int) -> str:
        """The run's digest for a version of the protocol.

        Fields with default values are left out, so that a new field does not change the digests of
        earlier runs. The first protocol version is left out, too.
        """
        parts = [_non_defaults(self.network), _non_defaults(self.training), self.dataset, self.seed]
        if protocol_version != 1:
            parts.append({"protocol_version": protocol_version})
        text = msgspec.json.encode(parts, order="sorted")
        return hashlib.sha256(text).hexdigest()[:16]


def _non_defaults(spec: NetworkSpec | TrainingSpec) -> dict[str, object]:
    return {
        field.name: value
        for field in fields(spec)
        if (value := getattr(spec, field.name)) != field.default
    }
