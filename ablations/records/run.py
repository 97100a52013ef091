"""What a finished run leaves behind: one folder with a record, predictions and weights.

    runs/<study>/<ablation>/seed-<k>/
        record.json           everything below, as JSON; refused when a field is wrong or missing
        predictions.npz       for each test image the predicted class, and the probability that
                              was given to its true class
        weights.safetensors   the trained network
        observations.json     what was measured in it afterwards (`inspection/schema.py`)

Every file is written under a temporary name, flushed to the disk and renamed; the record comes
last, and holds the digests of predictions and weights; the observations name the digest of the
weights that they were made from. So a folder with a record is a whole run.

The JSON files are sealed (`checksums.py`): whatever is changed in them afterwards is noticed.

Times are a run's share: of seeds that were trained as one network (on a GPU), each is given the
network's seconds divided by their number. So the seconds of a study's records add up to the time
that it took.
"""

import hashlib
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from jaxtyping import Float32, UInt8

from ablations.catalogue.experiment import RunSpec
from ablations.records.atomic_io import RecordError, read_bytes, write_atomically
from ablations.records.checksums import SCHEMA_VERSION, load_sealed, write_sealed
from ablations.training.epoch import EpochRecord
from speed.arithmetic import Arithmetic

RECORD_FILE = "record.json"
PREDICTIONS_FILE = "predictions.npz"
WEIGHTS_FILE = "weights.safetensors"
OBSERVATIONS_FILE = "observations.json"


class Environment(msgspec.Struct, frozen=True):
    """Where a run was made, and with what."""

    device_type: str
    """`cpu`, `cuda` or `mps`."""
    device_name: str
    num_threads: int
    operating_system: str
    python_version: str
    torch_version: str
    numpy_version: str
    project_version: str
    commit: str
    """The source's git commit, with `+changes` when the working tree differed, or `unknown`."""
    arithmetic: Arithmetic = "plain"
    """How networks were computed (`speed/arithmetic.py`); records from before have no such entry."""
    numba_version: str = ""
    """Of what compiles loops on a CPU; records from before have no such entry."""


class RunRecord(msgspec.Struct, frozen=True):
    """One run: what was asked for, what came out, and where."""

    run_spec: RunSpec = msgspec.field(name="experiment")
    """Called `experiment` on the disk, as in the first version of the records."""
    digest: str
    status: Literal["finished", "diverged"]
    """`diverged`: the loss was not a finite number any more, and training stopped there."""
    epochs: list[EpochRecord]
    parameters: int
    multiply_adds: int
    environment: Environment
    file_sha256: dict[str, str]
    """Digests of the run's other files."""
    wall_seconds: float
    finished_at: str
    """In UTC, as ISO 8601."""
    wrong_test_images: list[int] | None = None
    """Numbers, from 0, of the test images that the network classified wrongly after the last
    epoch. None in records from before there was such an entry."""
    num_replicas: int = 1
    """How many seeds, this one among them, were trained as one network: on a GPU sums are taken in
    another order for another number, and so round differently."""
    protocol_version: int = 1
    """How networks were trained, as far as no field of the experiment says it (`catalogue/experiment.py`)."""
    schema_version: int = SCHEMA_VERSION

    @property
    def last_epoch(self) -> EpochRecord:
        """The result: what the fixed schedule ended with, not the best epoch on the test set."""
        return self.epochs[-1]

    @property
    def best_epoch(self) -> EpochRecord:
        """The epoch with the highest test accuracy: chosen on the test set, so optimistic."""
        return max(self.epochs, key=lambda epoch: epoch.test_correct)


@dataclass(frozen=True)
class Predictions:
    """What a trained network says of each test image, in the data set's order."""

    predicted_class: UInt8[np.ndarray, " test_images"]
    true_class_probability: Float32[np.ndarray, " test_images"]


@dataclass(frozen=True)
class RunResult:
    """A run that has just been made, before it is written: record and the other files."""

    record: RunRecord
    predictions_npz: bytes
    weights_safetensors: bytes
    observations_json: bytes | None
    """None when looking at the network failed: that is no reason to lose it."""


def without_times(record: RunRecord) -> RunRecord:
    """The record with every time set to nothing: equal for two runs of the same experiment."""
    epochs = [msgspec.structs.replace(epoch, seconds=0.0) for epoch in record.epochs]
    return msgspec.structs.replace(record, epochs=epochs, wall_seconds=0.0, finished_at="")


def encode_predictions(predictions: Predictions) -> bytes:
    """The content of `predictions.npz`: the same bytes for the same predictions."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        predicted_class=predictions.predicted_class,
        true_class_probability=predictions.true_class_probability,
    )
    return buffer.getvalue()


def write_run(run_dir: Path, result: RunResult) -> None:
    """Write a run's files, the record last."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(run_dir / PREDICTIONS_FILE, result.predictions_npz)
    write_atomically(run_dir / WEIGHTS_FILE, result.weights_safetensors)
    if result.observations_json is not None:
        write_atomically(run_dir / OBSERVATIONS_FILE, result.observations_json)
    write_sealed(run_dir / RECORD_FILE, result.record)


def load_record(run_dir: Path) -> RunRecord:
    """Read and check a run's record.

    Raises:
        RecordError: the record is damaged, or does not fit its own digest.
        OtherVersionError: it is of another schema.
    """
    path = run_dir / RECORD_FILE
    record = load_sealed(path, RunRecord)
    if record.digest != record.run_spec.digest_under(record.protocol_version):
        raise RecordError(f"{path}: its digest does not fit its experiment: it was edited")
    if not record.epochs:
        raise RecordError(f"{path}: it has no epochs")
    check_wrong_images(record, path)
    return record


def check_wrong_images(record: RunRecord, path: Path) -> None:
    """Make sure that the images named as wrong are those that were counted.

    Raises:
        RecordError: they cannot be.
    """
    wrong, num_test = record.wrong_test_images, record.run_spec.dataset.num_test
    if wrong is None:
        return
    is_ordered = all(before < after for before, after in pairwise([-1, *wrong, num_test]))
    if not is_ordered or len(wrong) != num_test - record.last_epoch.test_correct:
        raise RecordError(f"{path}: the wrong test images are not those that were counted")


def load_predictions(run_dir: Path, record: RunRecord) -> Predictions:
    """Read a run's predictions, if they are the ones that its record speaks of.

    Raises:
        RecordError: the file is missing or is not the file that was recorded.
    """
    content = read_recorded(run_dir / PREDICTIONS_FILE, record)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Predictions(arrays["predicted_class"], arrays["true_class_probability"])


def load_weights(run_dir: Path, record: RunRecord) -> bytes:
    """Read a run's weights as safetensors, if they are the ones that its record speaks of.

    Raises:
        RecordError: the file is missing or is not the file that was recorded.
    """
    return read_recorded(run_dir / WEIGHTS_FILE, record)


def read_recorded(path: Path, record: RunRecord) -> bytes:
    """Read a file whose digest a record has.

    Raises:
        RecordError: it cannot be read, or is not the file that was recorded.
    """
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != record.file_sha256.get(path.name):
        raise RecordError(f"{path}: not the file that was recorded: it was changed or cut off")
    return content
