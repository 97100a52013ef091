"""Records: what is written is what is read, and what was changed is noticed."""

import hashlib
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, DatasetId, RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.records.atomic_io import RecordError, format_json, write_atomically
from ablations.records.checksums import is_whole, sealed
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    Predictions,
    RunRecord,
    RunResult,
    encode_predictions,
    load_predictions,
    load_record,
    without_times,
    write_run,
)
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner.run_one import run_experiment
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network
from tests.strategies import network_specs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def result(digits: Dataset) -> RunResult:
    spec = StudySpec(digits.id, digits.title, 2, 256, "cpu")
    [run_spec] = plan_runs(spec, [find_ablation("no-gap")], [3])
    return run_experiment(run_spec, digits, CPU)


@pytest.fixture
def run_dir(result: RunResult, tmp_path: Path) -> Path:
    folder = tmp_path / "no-gap" / "seed-3"
    write_run(folder, result)
    return folder


def test_what_is_written_is_read(result: RunResult, run_dir: Path) -> None:
    assert sorted(path.name for path in run_dir.iterdir()) == [
        OBSERVATIONS_FILE,
        PREDICTIONS_FILE,
        RECORD_FILE,
        WEIGHTS_FILE,
    ]
    assert load_record(run_dir) == result.record


def test_predictions_are_the_networks(result: RunResult, run_dir: Path, digits: Dataset) -> None:
    predictions = load_predictions(run_dir, result.record)
    is_wrong = predictions.predicted_class != digits.test_labels
    assert len(is_wrong) - is_wrong.sum() == result.record.last_epoch.test_correct
    assert result.record.wrong_test_images == np.flatnonzero(is_wrong).tolist()
    loss = float(-np.log(predictions.true_class_probability).mean())
    assert loss == pytest.approx(result.record.last_epoch.test_loss, rel=1e-4)


def test_weights_give_the_recorded_predictions(
    result: RunResult, run_dir: Path, digits: Dataset
) -> None:
    network = build_network(result.record.run_spec.network).eval()
    network.load_state_dict(load_file(run_dir / WEIGHTS_FILE))
    inputs = (torch.from_numpy(digits.test_images)[:, None] / 255 - digits.mean) / digits.std
    predicted = network(inputs).argmax(dim=1).numpy()
    predictions = load_predictions(run_dir, result.record)
    assert (predicted == predictions.predicted_class).all()


def test_record_tells_parameters_costs_and_place(result: RunResult) -> None:
    record = result.record
    assert record.parameters == 43_538
    assert record.multiply_adds == 1_888_032
    assert record.environment.torch_version == str(torch.__version__)
    assert record.environment.device_type == "cpu"
    assert len(record.epochs) == 2
    assert record.status == "finished"


def test_same_run_same_record_times_aside(result: RunResult, digits: Dataset) -> None:
    again = run_experiment(result.record.run_spec, digits, CPU)
    assert again.record != result.record
    assert without_times(again.record) == without_times(result.record)
    assert again.predictions_npz == result.predictions_npz
    assert again.weights_safetensors == result.weights_safetensors


def test_wrong_data_set_is_refused(result: RunResult, digits: Dataset) -> None:
    other = DatasetId("digits", "0" * 64, 1437, 360)
    run_spec = result.record.run_spec
    moved = RunSpec(run_spec.ablation, run_spec.network, run_spec.training, other, 0)
    with pytest.raises(ValueError, match="but the data set is"):
        run_experiment(moved, digits, CPU)


@given(st.data())
def test_changed_predictions_are_noticed(
    result: RunResult, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(result.predictions_npz)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("run")
    (folder / PREDICTIONS_FILE).write_bytes(content)
    with pytest.raises(RecordError, match="not the file that was recorded"):
        load_predictions(folder, result.record)


CHANGES = [
    (lambda text: text[: len(text) // 2], "not a valid"),
    (lambda text: "", "not a valid"),
    (lambda text: "[]", "not a valid"),
    (lambda text: text.replace('"schema_version": 2', '"schema": 2'), ""),
    (lambda text: text.replace('"seed": 3', '"seed": 4'), "does not fit"),
    (lambda text: text.replace('"dropout": 0.1', '"dropout": 0.2'), "does not fit"),
    (lambda text: text.replace('"protocol_version": 1', '"protocol_version": 2'), "does not fit"),
    (lambda text: text.replace('"dropout": 0.1', '"dropout": 3'), "not a valid"),
    (lambda text: text.replace('"status": "finished"', '"status": "fine"'), "not a valid"),
    (lambda text: text.replace('"test_correct"', '"test_right"'), "not a valid"),
    (
        lambda text: re.sub(r'("wrong_test_images": \[)\s*\d+,', r"\1", text),
        "not those that were counted",
    ),
    (
        lambda text: re.sub(r'("wrong_test_images": \[\s*)\d+', r"\g<1>360", text),
        "not those that were counted",
    ),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_damaged_record_is_one_clear_line(run_dir: Path, change: object, message: str) -> None:
    path = run_dir / RECORD_FILE
    text = path.read_text()
    changed = change(text)  # type: ignore[operator]
    assert changed != text
    path.write_text(changed)
    with pytest.raises(RecordError, match="not the file that was written") as error:
        load_record(run_dir)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"), [(change, message) for change, message in CHANGES if message]
)
def test_record_that_was_sealed_again_must_still_fit_itself(
    run_dir: Path, change: object, message: str
) -> None:
    path = run_dir / RECORD_FILE
    unsealed = re.sub(r',\s*"seal": "[0-9a-f]{64}"', "", path.read_text())
    path.write_bytes(sealed(change(unsealed).encode()))  # type: ignore[operator]
    with pytest.raises(RecordError, match=message) as error:
        load_record(run_dir)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@given(st.dictionaries(st.text(), st.integers(), min_size=1), st.booleans(), st.data())
def test_seal_is_of_every_byte(value: dict[str, int], indented: bool, data: st.DataObject) -> None:
    content = sealed(format_json(value) if indented else msgspec.json.encode(value))
    assert is_whole(content)
    decoded = msgspec.json.decode(content)
    digits = decoded.pop("seal")
    assert decoded == {name: number for name, number in value.items() if name != "seal"}
    # By hand: the digest is of the file's own bytes, with zeros for its digits.
    assert hashlib.sha256(content.replace(digits.encode(), b"0" * 64)).hexdigest() == digits
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not is_whole(bytes(changed))
    assert not is_whole(content[:place])
    assert not is_whole(content + b" ")


def test_missing_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        load_record(tmp_path)


def test_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ablations.records.atomic_io.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(network_specs(), st.integers(0, 10**9))
def test_experiments_survive_json(network: NetworkSpec, seed: int) -> None:
    dataset = DatasetId("digits", "ab" * 32, 1437, 360)
    run_spec = RunSpec("target", network, TrainingSpec(), dataset, seed)
    copy = msgspec.json.decode(msgspec.json.encode(run_spec), type=RunSpec)
    assert copy == run_spec
    assert copy.digest == run_spec.digest


def test_every_planned_run_has_its_own_digest() -> None:
    dataset = DatasetId("mnist", "ab" * 32, 60_000, 10_000)
    specs = [StudySpec(dataset, "MNIST", epochs, None, "cpu") for epochs in (3, 20)]
    digests = [run.digest for spec in specs for run in plan_runs(spec, CATALOGUE, range(20))]
    assert len(set(digests)) == len(digests)


def test_digest_does_not_depend_on_fields_at_their_defaults() -> None:
    # Spelt out by hand: a later version with more fields must give old runs the same name.
    dataset = DatasetId("mnist", "ab", 6, 1)
    run_spec = RunSpec(
        "no-dropout", NetworkSpec(dropout=0.0), TrainingSpec(num_epochs=3), dataset, 5
    )
    text = (
        b'[{"dropout":0.0},{"num_epochs":3},'
        b'{"name":"mnist","num_test":1,"num_train":6,"sha256":"ab"},5]'
    )
    assert run_spec.digest == hashlib.sha256(text).hexdigest()[:16]


def test_another_protocol_is_another_run() -> None:
    dataset = DatasetId("mnist", "ab", 6, 1)
    run_spec = RunSpec("target", NetworkSpec(), TrainingSpec(), dataset, 5)
    assert run_spec.digest == run_spec.digest_under(PROTOCOL_VERSION)
    assert len({run_spec.digest_under(version) for version in range(1, 10)}) == 9


def test_predictions_have_the_same_bytes_each_time() -> None:
    predictions = Predictions(np.arange(10, dtype=np.uint8), np.ones(10, dtype=np.float32))
    assert encode_predictions(predictions) == encode_predictions(predictions)


def test_last_epoch_is_the_result_and_best_epoch_is_something_else(result: RunResult) -> None:
    worse = msgspec.structs.replace(result.record.epochs[-1], test_correct=0)
    record: RunRecord = msgspec.structs.replace(
        result.record, epochs=[*result.record.epochs, worse]
    )
    assert record.last_epoch.test_correct == 0
    assert record.best_epoch.test_correct > 0
