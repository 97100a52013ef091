"""Runs: the files that are written are read again, and changes of them are found."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ablations.catalogue.entries import entries_under
from ablations.catalogue.experiment import PROTOCOL_VERSION, DatasetId, RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.records.atomic_io import DamagedFileError, RecordError
from ablations.records.checksums import encode_with_checksum, has_valid_checksum
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunResult,
    load_predictions,
    load_record,
    write_run,
)
from ablations.records.study import plan_runs
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network
from tests.factories import make_spec, run_experiment, run_specs_on


@pytest.fixture(scope="module")
def result(digits: Dataset) -> RunResult:
    [run_spec] = run_specs_on(digits, "no-gap", num_epochs=2, num_train_images=256)
    return run_experiment(run_spec, digits)


@pytest.fixture
def run_dir(result: RunResult, tmp_path: Path) -> Path:
    write_run(tmp_path, result)
    return tmp_path


def test_what_is_written_is_read(result: RunResult, run_dir: Path) -> None:
    assert {path.name for path in run_dir.iterdir()} == {
        OBSERVATIONS_FILE,
        PREDICTIONS_FILE,
        RECORD_FILE,
        WEIGHTS_FILE,
    }
    record = load_record(run_dir)
    assert record == result.record
    assert (record.parameters, record.multiply_adds) == (43_538, 1_888_032)
    assert record.environment.torch_version == str(torch.__version__)
    assert len(record.epochs) == 2
    assert record.status == "finished"


def test_predictions_and_weights_are_those_of_the_record(
    result: RunResult, run_dir: Path, digits: Dataset
) -> None:
    predictions = load_predictions(run_dir, result.record)
    is_wrong = predictions.predicted_class != digits.test_labels
    assert len(is_wrong) - is_wrong.sum() == result.record.last_epoch.test_correct
    assert result.record.wrong_test_images == np.flatnonzero(is_wrong).tolist()
    loss = float(-np.log(predictions.true_class_probability).mean())
    assert loss == pytest.approx(result.record.last_epoch.test_loss, rel=1e-4)
    network = build_network(result.record.run_spec.network).eval()
    network.load_state_dict(load_file(run_dir / WEIGHTS_FILE))
    inputs = (torch.from_numpy(digits.test_images)[:, None] / 255 - digits.mean) / digits.std
    assert (network(inputs).argmax(dim=1).numpy() == predictions.predicted_class).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 2', '"schema_version": 3', r"schema_version.*use the version"),
        ('"schema_version": 2', '"schema_version": "2"', "schema_version"),
        ('"seed": 0', '"seed": 4', "digest does not match"),
        ('"dropout": 0.1', '"dropout": 0.2', "digest does not match"),
        ('"protocol_version": 1', '"protocol_version": 2', "digest does not match"),
        ('"dropout": 0.1', '"dropout": 3', "not a valid"),
        ('"status": "finished"', '"status": "fine"', "not a valid"),
        ('"test_correct"', '"test_right"', "not a valid"),
    ],
)
def test_edited_record_is_refused(run_dir: Path, old: str, new: str, message: str) -> None:
    path = run_dir / RECORD_FILE
    edited = path.read_text(encoding="utf-8").replace(old, new)
    assert edited != path.read_text(encoding="utf-8")
    path.write_text(edited, encoding="utf-8")
    with pytest.raises(DamagedFileError, match="not the file that was written") as error:
        load_record(run_dir)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    # With a new checksum it is not damaged, but it is not a record of this program either.
    path.write_bytes(encode_with_checksum(msgspec.json.decode(edited)))
    with pytest.raises(RecordError, match=message) as error:
        load_record(run_dir)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not isinstance(error.value, DamagedFileError)


@given(st.dictionaries(st.text(), st.text(), min_size=1), st.booleans(), st.data())
def test_checksum_covers_every_byte(
    value: dict[str, str], is_indented: bool, data: st.DataObject
) -> None:
    content = encode_with_checksum(value, is_indented=is_indented)
    assert has_valid_checksum(content)
    decoded = msgspec.json.decode(content)
    digits = decoded.pop("seal")
    assert decoded == {name: text for name, text in value.items() if name != "seal"}
    # The format of committed studies: the SHA-256 of the file with zeros for its own digits.
    zeroed = content.replace(digits.encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == digits
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not has_valid_checksum(bytes(changed))
    assert not has_valid_checksum(content[:place])
    assert not has_valid_checksum(content + b" ")


def test_every_planned_run_has_its_own_digest() -> None:
    specs = [make_spec(num_epochs=num_epochs) for num_epochs in (3, 20)]
    entries = entries_under("published")
    run_specs = [one for spec in specs for one in plan_runs(spec, entries, range(20))]
    digests = [run_spec.digest for run_spec in run_specs]
    digests += [run_specs[0].digest_under(PROTOCOL_VERSION + number) for number in range(1, 9)]
    assert run_specs[0].digest == run_specs[0].digest_under(PROTOCOL_VERSION)
    assert len(set(digests)) == len(digests)


def test_digest_does_not_depend_on_fields_at_their_defaults() -> None:
    # A later version with more fields must give old runs the same digest.
    dataset = DatasetId("mnist", "ab", 6, 1)
    run_spec = RunSpec(
        "no-dropout", NetworkSpec(dropout=0.0), TrainingSpec(num_epochs=3), dataset, 5
    )
    text = (
        b'[{"dropout":0.0},{"num_epochs":3},'
        b'{"name":"mnist","num_test":1,"num_train":6,"sha256":"ab"},5]'
    )
    assert run_spec.digest == hashlib.sha256(text).hexdigest()[:16]
