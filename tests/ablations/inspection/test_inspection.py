"""What is measured in trained networks, and shown of them: against other ways to the same numbers."""

import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import TrainingSpec
from ablations.data.dataset import Dataset
from ablations.inspection.build import complete_exhibits, make_exhibits
from ablations.inspection.load import GALLERY_FILE, NUM_SHOWN, Gallery, load_exhibits
from ablations.inspection.measure import (
    head_rank,
    measure_network,
    measure_signals,
)
from ablations.records.checksums import load_with_checksum, write_with_checksum
from ablations.records.observations import Observations
from ablations.records.run import (
    OBSERVATIONS_FILE,
    WEIGHTS_FILE,
    load_predictions,
    load_record,
    run_folder,
    write_run,
)
from ablations.records.study import (
    load_study,
    plan_runs,
)
from ablations.records.study_spec import create_study
from ablations.training.batches import InputScale, load_images, prepare_pixels
from ablations.training.seeding import initialise_weights
from mnist_blocks import TARGET, NetworkSpec
from mnist_blocks.network import build_network
from tests.factories import make_spec, run_experiment, run_specs_on

CPU = torch.device("cpu")
NAMES = ("target", "no-batchnorm", "no-input-normalisation")


def write_runs(folder: Path, digits: Dataset, names: Iterable[str]) -> Path:
    """A study of short runs on real digits."""
    spec = make_spec(digits.id, digits.title, num_epochs=2, num_train_images=600)
    create_study(folder, spec)
    for run in plan_runs(spec, [find_ablation(name) for name in names], [0]):
        write_run(run_folder(folder, run), run_experiment(run, digits))
    return folder


@pytest.fixture(scope="module")
def study_dir(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_runs(tmp_path_factory.mktemp("studies") / "digits", digits, NAMES)
    make_exhibits(folder, load_study(folder), digits)
    return folder


def untrained(spec: NetworkSpec = TARGET) -> nn.Sequential:
    network = build_network(spec)
    initialise_weights(network, 0)
    return network


def test_signals_are_those_of_the_network_run_step_by_step(digits: Dataset) -> None:
    network = untrained(replace(TARGET, dropout=0.0)).train()
    images, _ = load_images(digits, TrainingSpec(num_train_images=64), CPU)
    scale = InputScale(digits.mean, digits.std)
    signals = measure_signals(network, images, scale)
    assert [signal.block for signal in signals] == [
        f"stage{stage}.block{block}" for stage in (1, 2, 3) for block in (1, 2)
    ]
    activations = prepare_pixels(images.pixels, scale)
    sizes = []
    for stage in (network.stage1, network.stage2, network.stage3):
        for name, part in stage.named_children():
            activations = part(activations)
            if name.startswith("block"):
                sizes.append(activations.square().mean().sqrt().item())
    assert [signal.output_rms for signal in signals] == pytest.approx(sizes, rel=1e-3)


@pytest.mark.parametrize("name", [ablation.name for ablation in CATALOGUE])
def test_head_amounts_to_one_matrix(name: str) -> None:
    network = untrained(find_ablation(name).network_spec).double().eval()
    layers = [layer for layer in network.head if isinstance(layer, nn.Linear | nn.Conv2d)]
    inputs = layers[0].weight[0].numel()

    def answer(vectors: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            shape = (-1, inputs, 1, 1) if isinstance(layer, nn.Conv2d) else (-1, layer.in_features)
            vectors = layer(vectors.reshape(shape)).flatten(start_dim=1)
        return vectors

    with torch.no_grad():
        matrix = answer(torch.eye(inputs).double()) - answer(torch.zeros(1, inputs).double())
    assert head_rank(network) == torch.linalg.matrix_rank(matrix) == 10


def test_narrow_head_has_the_rank_of_its_narrowest_layer() -> None:
    assert head_rank(untrained(replace(TARGET, hidden_features=(4,)))) == 4


def test_diverged_network_is_observed_without_numbers(digits: Dataset) -> None:
    network = untrained()
    with torch.no_grad():
        network.stage1.block1.conv.weight.fill_(math.nan)
    [run] = run_specs_on(digits, num_train_images=600)
    wrong = np.zeros(digits.id.num_test, np.uint8)
    found = measure_network(run, network, digits, wrong, "0" * 64, CPU)
    assert found.signals[0].output_rms is None
    msgspec.json.decode(msgspec.json.encode(found), type=type(found))


def test_a_run_leaves_observations_of_its_own_network(study_dir: Path, digits: Dataset) -> None:
    study = load_study(study_dir)
    exhibits = load_exhibits(study_dir, study)
    assert set(exhibits.observations) == {(name, 0) for name in NAMES} and not exhibits.problems
    for record in study.records:
        found = exhibits.observations[record.run_spec.ablation, 0]
        assert found.weights_sha256 == record.file_sha256[WEIGHTS_FILE]
        run_dir = study_dir / record.run_spec.ablation / "seed-0"
        predicted = load_predictions(run_dir, record).predicted_class
        assert found.confusion == confusion_matrix(digits.test_labels, predicted).tolist()
        assert found.num_known_images == 600
        assert found.signals_at_start != found.signals


def test_gallery_shows_what_the_records_say(study_dir: Path, digits: Dataset) -> None:
    study = load_study(study_dir)
    exhibits = load_exhibits(study_dir, study)
    gallery = exhibits.gallery
    assert gallery is not None and set(exhibits.weights) == set(NAMES)
    records = {record.run_spec.ablation: record for record in study.records}
    labels = digits.test_labels.tolist()
    assert gallery.samples == sorted(map(labels.index, range(10))), "the first of each class"
    assert gallery.variants
    for name, found in gallery.variants.items():
        wrong, target_wrong = (
            set(records[one].wrong_test_images or []) for one in (name, "target")
        )
        assert found.num_lost == len(wrong - target_wrong)
        assert found.lost == sorted(wrong - target_wrong)[:NUM_SHOWN]
        assert found.won == sorted(target_wrong - wrong)[:NUM_SHOWN]
        predictions = load_predictions(study_dir / name / "seed-0", records[name])
        for number, answer in found.answers.items():
            image = gallery.image(number)
            assert image.pixels == digits.test_images[number].tobytes()
            assert image.class_index == labels[number]
            assert answer.class_index == predictions.predicted_class[number]
            if number in found.won:
                truth = predictions.true_class_probability[number]
                assert answer.probability == pytest.approx(truth, abs=1e-4)


def test_files_of_other_weights_are_made_again(study_dir: Path, digits: Dataset) -> None:
    study = load_study(study_dir)
    path = study_dir / NAMES[1] / "seed-0" / OBSERVATIONS_FILE
    for file, file_type in ((study_dir / GALLERY_FILE, Gallery), (path, Observations)):
        content = file.read_bytes()
        weights_sha256 = {} if file_type is Gallery else "0" * 64
        found = load_with_checksum(file, file_type)
        write_with_checksum(file, msgspec.structs.replace(found, weights_sha256=weights_sha256))
        exhibits = load_exhibits(study_dir, study)
        assert exhibits.problems == () and not exhibits.is_complete
        assert (exhibits.gallery is None) == (file_type is Gallery)
        assert ((NAMES[1], 0) in exhibits.observations) == (file_type is Gallery)
        assert make_exhibits(study_dir, study, digits) == []
        assert file.read_bytes() == content and load_exhibits(study_dir, study).is_complete


def test_damaged_files_are_named_and_left_out(study_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(study_dir, tmp_path / "study")
    study = load_study(folder)
    observations = folder / NAMES[0] / "seed-0" / OBSERVATIONS_FILE
    weights = folder / NAMES[1] / "seed-0" / WEIGHTS_FILE
    observations.write_bytes(observations.read_bytes()[:100])
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    exhibits = load_exhibits(folder, study)
    assert set(exhibits.observations) == {(name, 0) for name in NAMES[1:]}
    assert set(exhibits.weights) == set(NAMES) - {NAMES[1]}
    assert "not the file that was written" in exhibits.problems[0]
    assert "not the file that was recorded" in exhibits.problems[1]
    assert str(folder) not in "".join(exhibits.problems)
    (folder / GALLERY_FILE).unlink()
    weights.with_name(OBSERVATIONS_FILE).unlink()
    lines: list[str] = []
    complete_exhibits(folder, study, None, lines.append)
    assert len(lines) == 2 and "not the file that was recorded" in lines[-1]
    gallery = load_exhibits(folder, study).gallery
    assert gallery and set(gallery.variants) == {NAMES[2]}


def test_records_without_digests_show_no_networks(study_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(study_dir, tmp_path / "odd")
    for path in folder.glob("*/seed-0/record.json"):
        write_with_checksum(path, msgspec.structs.replace(load_record(path.parent), file_sha256={}))
    study = load_study(folder)
    assert len(study.records) == len(NAMES)
    exhibits = load_exhibits(folder, study)
    assert exhibits.weights == {} and exhibits.observations == {}
    assert exhibits.is_complete


def test_failing_to_look_does_not_lose_a_run(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr("ablations.runner.run_one.measure_network", fail)
    folder = write_runs(tmp_path / "study", digits, ["target"])
    study = load_study(folder)
    assert load_exhibits(folder, study).unmeasured == study.records
    make_exhibits(folder, study, digits)
    assert load_exhibits(folder, study).is_complete
