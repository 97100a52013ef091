"""What a run consists of: a network, a recipe to train it, a data set and a seed."""

import hashlib
import math
from dataclasses import dataclass, fields

import msgspec

from mnist_blocks import NetworkSpec
from mnist_blocks.spec import check_fields

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

    The defaults are those of the published recipe (`recipes.py`). Raises ValueError for invalid values; the message names
    the field and the value.
    """

    num_epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    """Share of the previous step that is added to each step; 0 is plain gradient descent."""

    nesterov: bool = False
    """Whether momentum looks one step ahead (Sutskever et al., ICML 2013, section 2.1)."""

    weight_decay: float = 0.0
    """This times each weight is added to its gradient. Biases and batch norm have no decay."""

    drop_learning_rate_after: float | None = 0.75
    """Share of the epochs after which the learning rate is divided by ten (0.75 of 20 epochs:
    from epoch 16 on), or None for a rate without drop."""

    warm_up: float | None = None
    """One cycle of the learning rate: over this share of the steps it rises from 0 to
    `learning_rate`, then it falls linearly to 0 (Smith and Topin, 2017, arXiv:1708.07120). None:
    no cycle."""

    augment: bool = True
    """Whether training images are changed at random (see `training/augmentation.py`)."""

    affine_strength: float | None = None
    """Strength of affine augmentation: rotation, scale, shear and shift. None: the published zoom and
    rotation."""

    normalise_input: bool = True
    """Whether images are shifted and scaled to about zero mean and unit variance; if not, pixels
    are in [0, 1]."""

    num_train_images: int | None = None
    """Train on this many images, the first of the data set's training images; None is all."""

    seed_offset: int = 0
    """Added to the run's seed: the same recipe with other random numbers, for a control."""

    def __post_init__(self) -> None:
        drop, warm_up = self.drop_learning_rate_after, self.warm_up
        strength, count = self.affine_strength, self.num_train_images
        check_fields(
            self,
            num_epochs=(self.num_epochs >= 1, "at least 1"),
            batch_size=(self.batch_size >= 2, "at least 2, for batch norm"),
            learning_rate=(self.learning_rate > 0, "a positive number"),
            momentum=(0 <= self.momentum < 1, "a number in [0, 1)"),
            nesterov=(self.momentum > 0 or not self.nesterov, "a momentum above 0"),
            weight_decay=(self.weight_decay >= 0, "a number from 0 on"),
            drop_learning_rate_after=(drop is None or 0 < drop <= 1, "a share in (0, 1], or None"),
            warm_up=(
                warm_up is None or (0 <= warm_up < 1 and drop is None),
                "a share in [0, 1) and drop_learning_rate_after=None, or None",
            ),
            affine_strength=(strength is None or 0 < strength <= 2, "a number in (0, 2], or None"),
            num_train_images=(count is None or count >= 2, "at least 2, or None"),
        )

    def learning_rates(self, epoch: int, num_steps: int) -> list[float]:
        """The learning rate of each step of an epoch: that of the step's middle."""
        return [self.learning_rate_at(epoch, (step + 0.5) / num_steps) for step in range(num_steps)]

    def learning_rate_at(self, epoch: int, position: float = 0.5) -> float:
        """The learning rate in an epoch, counted from 1, at a position from 0 (start) to 1 (end)."""
        if self.warm_up is not None:
            progress = (epoch - 1 + position) / self.num_epochs
            if progress < self.warm_up:
                return self.learning_rate * progress / self.warm_up
            return self.learning_rate * (1 - progress) / (1 - self.warm_up)
        share = self.drop_learning_rate_after
        # A run of one epoch has no later one to drop in.
        has_dropped = share is not None and epoch > max(1, math.floor(share * self.num_epochs))
        return self.learning_rate * (0.1 if has_dropped else 1.0)


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
    def stream_seed(self) -> int:
        """The seed of the run's random streams."""
        return self.seed + self.training.seed_offset

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
