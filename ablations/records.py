"""What a finished run leaves behind: one folder with a record, predictions and weights.

    runs/<study>/<ablation>/seed-<k>/
        record.json           everything below, as JSON; refused when a field is wrong or missing
        predictions.npz       for each test image the predicted class, and the probability that
                              was given to its true class
        weights.safetensors   the trained network
        observations.json     what was measured in it afterwards (`observations.py`)

Every file is written under a temporary name, flushed to the disk and renamed; the record comes
last, and holds the digests of predictions and weights; the observations name the digest of the
weights that they were made from. So a folder with a record is a whole run.

A study's JSON files are sealed: their last field is a digest of all their other bytes (`sealed`).
Whatever is changed or cut off afterwards, by a disk, a copy or by hand, is noticed when they are
read. It is no signature: who wants to forge a record can.

Times are a run's share: of seeds that were trained as one network (on a GPU), each is given the
network's seconds divided by their number. So the seconds of a study's records add up to the time
that it took.
"""

import contextlib
import hashlib
import io
import os
import re
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from jaxtyping import Float32, UInt8

from ablations.experiment import Experiment
from speed.arithmetic import Arithmetic

SCHEMA_VERSION = 2
"""Of a study's JSON files; those of version 1 had no seal."""
RECORD_FILE = "record.json"
PREDICTIONS_FILE = "predictions.npz"
WEIGHTS_FILE = "weights.safetensors"
OBSERVATIONS_FILE = "observations.json"

TEMPORARY_SUFFIX = ".tmp"
"""Of a file that is being written; its name begins with a dot."""

NO_SEAL = b"0" * 64
SEAL_AT_END = re.compile(rb'"seal": ?"([0-9a-f]{64})"\s*\}\s*\Z')

Decoded = TypeVar("Decoded")


class RecordError(Exception):
    """A file of a study cannot be trusted; the message names it and says why."""


class OtherVersionError(RecordError):
    """A file is whole, but another version of the program wrote it: no reason to put it away."""


class UnreadableError(RecordError):
    """The system does not give a file out for now: no reason to believe that it is damaged."""


class EpochRecord(msgspec.Struct, frozen=True):
    """One epoch. A loss that is not a finite number is None."""

    epoch: int
    learning_rate: float
    train_loss: float | None
    """Mean over the epoch's images, each under the weights of its own step."""
    train_accuracy_pct: float
    test_loss: float | None
    test_correct: int
    """Test images classified correctly after the epoch."""
    test_accuracy_pct: float
    seconds: float
    """Training and testing, on a machine that other runs may have shared: see `timing.py`."""


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

    experiment: Experiment
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
    """How networks were trained, as far as no field of the experiment says it (`experiment.py`)."""
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
    if record.digest != record.experiment.digest_under(record.protocol_version):
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
    wrong, num_test = record.wrong_test_images, record.experiment.dataset.num_test
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


def sealed(content: bytes) -> bytes:
    """A JSON object with one more field at its end: the SHA-256 of all the bytes, its own 64 digits
    taken as zeros."""
    body = content.rstrip().removesuffix(b"}").rstrip()
    # As the file has it: one field a line, or all in one line.
    before, space, after = (b",\n ", b" ", b"\n}\n") if b"\n" in body else (b",", b"", b"}\n")
    unsealed = body + before + b'"seal":' + space + b'"' + NO_SEAL + b'"' + after
    return set_seal(unsealed, hashlib.sha256(unsealed).hexdigest().encode())


def set_seal(content: bytes, digits: bytes) -> bytes:
    """Put other digits in the place of a seal's."""
    place = SEAL_AT_END.search(content)
    assert place is not None, "not sealed"
    return content[: place.start(1)] + digits + content[place.end(1) :]


def is_whole(content: bytes) -> bool:
    """Whether a file ends with a seal, and the seal is that of its bytes."""
    # Only a short end is searched: a damaged file may be anything, and of any length.
    found = SEAL_AT_END.search(content, max(0, len(content) - 200))
    if found is None:
        return False
    expected = hashlib.sha256(set_seal(content, NO_SEAL)).hexdigest()
    return expected.encode() == found[1]


def write_sealed(path: Path, value: object) -> None:
    """Write one of a study's files: as `write_json`, with a seal at the end."""
    write_atomically(path, sealed(format_json(value)))


def load_sealed(path: Path, kind: type[Decoded]) -> Decoded:
    """Read one of a study's files: check its seal and schema version, then its content.

    Raises:
        RecordError: it cannot be read, was changed since it was written, or is not such a file.
        OtherVersionError: it has another schema version.
    """
    content = read_bytes(path)
    is_as_written = is_whole(content)
    is_older = b'"seal"' not in content[-200:]
    version = schema_version(content)
    if version not in (None, SCHEMA_VERSION) and (is_as_written or (version == 1 and is_older)):
        raise OtherVersionError(
            f"{path}: schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "use the version that wrote it, or another --out folder"
        )
    if not is_as_written:
        raise RecordError(f"{path}: not the file that was written: it was changed or cut off")
    return decode_json(path, content, kind)


def schema_version(content: bytes) -> int | None:
    """The schema version that a file names; None where it names none."""
    try:
        return msgspec.json.decode(content, type=_Versioned).schema_version
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _Versioned(msgspec.Struct):
    schema_version: int


def format_json(value: object) -> bytes:
    """A value as indented JSON, one field a line, so that differences can be read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file that is not a study's: for people, and for other programs."""
    write_atomically(path, format_json(value))


def load_json(path: Path, kind: type[Decoded]) -> Decoded:
    """Read a JSON file that is not a study's, checked against its type.

    Raises:
        RecordError: it cannot be read, or is not such a file.
    """
    return decode_json(path, read_bytes(path), kind)


def decode_json(path: Path, content: bytes, kind: type[Decoded]) -> Decoded:
    """What a file's content says.

    Raises:
        RecordError: it is not such a file.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    # In a string that is no UTF-8, msgspec does not raise an error of its own.
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a valid {kind.__name__}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Read a file; RecordError with its name when that fails."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}; mend that") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(TEMPORARY_SUFFIX, f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; results are meant to be shared.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        flush_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Have a folder's names on the disk, so that after a power cut no later file is there without an
    earlier one. Not every system can; then its own order has to do."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
