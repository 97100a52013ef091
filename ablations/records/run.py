"""The files of a finished run: a record, predictions, weights and observations.

    runs/<study>/<ablation>/seed-<k>/
        record.json           everything in `RunRecord`, with its own checksum
        predictions.npz       for each test image the predicted class, and the probability of its
                              true class
        weights.safetensors   the trained network
        observations.json     measurements on the trained network (`observations.py`)

Every write is atomic, and the record comes last: a folder with a record is a complete run. The record
holds the SHA-256 of predictions and weights; the observations hold their own checksum and the SHA-256
of the weights that they were measured on.

Times are a run's share: seeds that are trained as one network (on a GPU) each get the network's
seconds divided by their number. So the seconds of a study's records add up to its total time.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from jaxtyping import Float32, UInt8

from ablations.catalogue.experiment import RunSpec
from ablations.records.atomic_io import (
    DamagedFileError,
    RecordError,
    read_content,
    write_atomically,
)
from ablations.records.checksums import SchemaVersion, load_with_checksum, write_with_checksum
from ablations.training.epoch import EpochRecord
from speed.arithmetic import Arithmetic

RECORD_FILE = "record.json"
PREDICTIONS_FILE = "predictions.npz"
WEIGHTS_FILE = "weights.safetensors"
OBSERVATIONS_FILE = "observations.json"


class Environment(msgspec.Struct, frozen=True):
    """The hardware and software of a run."""

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
    """Git commit of the source, with `+changes` if the working tree differed, or `unknown`."""
    arithmetic: Arithmetic = "plain"
    """How networks were computed (`speed/arithmetic.py`); older records do not have this field."""
    numba_version: str = ""
    """Compiler of the CPU kernels; older records do not have this field."""


class RunRecord(msgspec.Struct, frozen=True):
    """One run: its spec, its results and its environment."""

    run_spec: RunSpec = msgspec.field(name="experiment")
    """Called `experiment` on disk, as in the first version of the records."""
    digest: str
    status: Literal["finished", "diverged"]
    """`diverged`: the loss was not finite, and training stopped there."""
    epochs: list[EpochRecord]
    parameters: int
    multiply_adds: int
    environment: Environment
    file_sha256: dict[str, str]
    """SHA-256 of the run's predictions and weights, by file name."""
    wall_seconds: float
    finished_at: str
    """In UTC, as ISO 8601."""
    wrong_test_images: list[int] | None = None
    """Numbers, from 0, of the test images that the network classifies wrongly after the last
    epoch. None in the oldest records."""
    num_replicas: int = 1
    """Number of seeds, including this one, that were trained as one network. On a GPU it changes
    the order of sums, and with it the rounding."""
    fallback_reason: str = ""
    """Why this run was trained by itself and without CUDA graphs on a GPU, which is slower: what the
    GPU's self-test found (`runner/self_test.py`)."""
    protocol_version: int = 1
    """Version of what training does beyond the fields of the spec (`catalogue/experiment.py`)."""
    schema_version: SchemaVersion = 2

    @property
    def last_epoch(self) -> EpochRecord:
        """The result: the end of the fixed schedule, not the best epoch on the test set."""
        return self.epochs[-1]

    @property
    def best_epoch(self) -> EpochRecord:
        """The epoch with the highest test accuracy: selected on the test set, so optimistic."""
        return max(self.epochs, key=lambda epoch: epoch.test_correct)


@dataclass(frozen=True)
class Predictions:
    """A trained network's answers to the test images, in the data set's order."""

    predicted_class: UInt8[np.ndarray, " test_images"]
    true_class_probability: Float32[np.ndarray, " test_images"]


@dataclass(frozen=True)
class RunResult:
    """A finished run that is not yet on disk."""

    record: RunRecord
    files: dict[str, bytes]
    """Content of the other files, by name. Without observations if the measurements failed."""


def run_folder(study_dir: Path, run_spec: RunSpec) -> Path:
    """The folder of a run."""
    return study_dir / run_spec.ablation / f"seed-{run_spec.seed}"


def encode_predictions(predictions: Predictions) -> bytes:
    """The content of `predictions.npz`: equal bytes for equal predictions."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        predicted_class=predictions.predicted_class,
        true_class_probability=predictions.true_class_probability,
    )
    return buffer.getvalue()


def write_run(run_dir: Path, result: RunResult) -> None:
    """Write a run's files, the record last."""
    for name, content in result.files.items():
        write_atomically(run_dir / name, content)
    write_with_checksum(run_dir / RECORD_FILE, result.record)


def load_record(run_dir: Path) -> RunRecord:
    """Read a run's record; RecordError when it is damaged, unreadable or of another schema."""
    path = run_dir / RECORD_FILE
    record = load_with_checksum(path, RunRecord)
    if record.digest != record.run_spec.digest_under(record.protocol_version) or not record.epochs:
        raise RecordError(
            f"{path}: its digest does not match its run spec, or it has no epoch; delete that run, or "
            "choose another folder with --out"
        )
    return record


def load_predictions(run_dir: Path, record: RunRecord) -> Predictions:
    """Read a run's predictions; RecordError as for `read_verified`."""
    content = read_verified(run_dir / PREDICTIONS_FILE, record)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Predictions(arrays["predicted_class"], arrays["true_class_probability"])


def read_verified(path: Path, record: RunRecord) -> bytes:
    """Read a file of a run; RecordError when it is missing or not the file that was recorded."""
    content = read_content(path)
    if hashlib.sha256(content).hexdigest() != record.file_sha256.get(path.name):
        raise DamagedFileError(f"{path}: not the file that was recorded: it was changed or cut off")
    return content
