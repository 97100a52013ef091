"""Measurements on a trained network, and their file `observations.json` in a run's folder.

`inspection/measure.py` makes them from the trained weights and the data set. The file names the
SHA-256 of the weights, and is not used for other weights.
"""

from pathlib import Path

import msgspec

from ablations.records.checksums import SchemaVersion, load_with_checksum
from ablations.records.run import OBSERVATIONS_FILE, WEIGHTS_FILE, RunRecord


class BlockSignal(msgspec.Struct, frozen=True):
    """How large one convolution block's outputs are over a batch of training images."""

    block: str
    """Name of the block: `stage1.block2`."""
    output_rms: float | None
    """Root mean square of the block's outputs; None where it is not finite: the network has diverged."""


class Observations(msgspec.Struct, frozen=True):
    """All measurements on one trained network."""

    weights_sha256: str
    signals_at_start: list[BlockSignal]
    """Before the first step, with the initial weights of the run's seed."""
    signals: list[BlockSignal]
    """After training."""
    num_known_images: int
    """Number of training images that are classified, the first ones of the data set."""
    known_accuracy_pct: float
    """Accuracy on these images, without augmentation and dropout."""
    confusion: list[list[int]]
    """Confusion matrix of the test images: a row for each true class, a column for each prediction."""
    head_rank: int
    """Of the product of the head's linear layers; 0 where it is not finite."""
    schema_version: SchemaVersion = 2


def load_observations(run_dir: Path, record: RunRecord) -> Observations | None:
    """The measurements on a run's weights, None if there are none; RecordError for a damaged file."""
    path = run_dir / OBSERVATIONS_FILE
    if not path.exists():
        return None
    observations = load_with_checksum(path, Observations)
    is_current = observations.weights_sha256 == record.file_sha256.get(WEIGHTS_FILE)
    return observations if is_current else None
