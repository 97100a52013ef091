"""What was seen in a trained network: types of the measurements, and their file in a run's folder.

`measure.py` makes them. They follow from the trained weights and the data, and name the digest of
the weights: of other weights they are not used.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ablations.records.atomic_io import RecordError
from ablations.records.checksums import SCHEMA_VERSION, load_sealed
from ablations.records.run import OBSERVATIONS_FILE, WEIGHTS_FILE, RunRecord
from mnist_blocks.spec import NUM_CLASSES, NetworkSpec


class BlockSignal(msgspec.Struct, frozen=True):
    """What passes through one convolution block, over a batch of training images.

    A number that is not finite is None: the network has diverged.
    """

    block: str
    """Such as `stage1.block2`."""
    output_rms: float | None
    """Root mean square of the block's outputs: how loud the signal is that it passes on."""
    zero_share: float
    """Share of the outputs that are exactly zero, as a ReLU makes them."""
    gradient_rms: float | None
    """Root mean square of the loss's gradient for the convolution's weights: how loud the signal
    is that they learn from."""


class Evidence(msgspec.Struct, frozen=True):
    """Where in a test image the answer comes from: a class activation map.

    Every head of this project is linear once dropout is off, so a logit is a sum over the pixels
    of the last feature maps, plus a constant. Each value is one pixel's part of the sum. With
    global average pooling this is the map of Zhou et al. (2015, arXiv:1512.04150, section 2).
    """

    image: int
    """Number of the test image."""
    class_index: int
    """The class that the network gives it."""
    values: list[list[float]]
    """Parts of that class's logit, by row and column of the last feature maps."""


class Observations(msgspec.Struct, frozen=True):
    """What was seen in one trained network."""

    weights_sha256: str
    """Of the weights that were looked at."""
    signals_at_start: list[BlockSignal]
    """Before the first step, from the weights that the run's seed draws."""
    signals: list[BlockSignal]
    """After training."""
    num_known_images: int
    known_accuracy_pct: float
    """Of the first so many training images as they are, not augmented, and dropout off."""
    known_loss: float | None
    confusion: list[list[int]]
    """Numbers of test images: one row for each true class, one column for each answer."""
    head_singular_values: list[float]
    """Of the product of the head's linear layers, largest first; empty when not finite."""
    head_rank: int
    evidence: list[Evidence]
    """Of the first test images of different classes; empty when not finite."""
    schema_version: int = SCHEMA_VERSION


def load_observations(run_dir: Path, record: RunRecord) -> Observations | None:
    """What was seen in a run's network; None where nothing is there, or it was another network.

    Raises:
        RecordError: the file is damaged.
    """
    path = run_dir / OBSERVATIONS_FILE
    if not path.exists():
        return None
    found = load_sealed(path, Observations)
    if found.weights_sha256 != record.file_sha256.get(WEIGHTS_FILE):
        return None
    if not is_sound(found, record.run_spec.network):
        raise RecordError(f"{path}: not what was seen in a network of this kind")
    return found


def is_sound(found: Observations, network: NetworkSpec) -> bool:
    """Whether there is as much of everything as a network of that kind shows."""
    num_blocks = len(network.channels) * network.convs_per_stage
    maps = [evidence.values for evidence in found.evidence]
    return (
        len(found.signals_at_start) == len(found.signals) == num_blocks
        and len(found.head_singular_values) in (0, NUM_CLASSES)
        and all(0 <= evidence.class_index < NUM_CLASSES for evidence in found.evidence)
        and is_square(found.confusion, NUM_CLASSES)
        and all(is_square(values, network.feature_size) for values in maps)
    )


def is_square(table: Sequence[Sequence[float]], side: int) -> bool:
    """Whether a table has that many rows, and each as many columns."""
    return len(table) == side and all(len(row) == side for row in table)
