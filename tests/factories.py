"""Synthetic studies for tests: plausible numbers without any training."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import save

from ablations.analysis.summary import Results, summarise
from ablations.catalogue.entries import entries_under, find_ablation
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.catalogue.presets import TimingPlan
from ablations.commands.prepare import StudyRequest
from ablations.data.dataset import Dataset
from ablations.inspection.load import Exhibits, Gallery, ImageAnswer, ShownImage, VariantImages
from ablations.records.checksums import write_with_checksum
from ablations.records.observations import BlockSignal, Observations
from ablations.records.run import RECORD_FILE, Environment, RunRecord, RunResult, run_folder
from ablations.records.study import (
    Study,
    plan_runs,
)
from ablations.records.study_spec import STUDY_FILE, StudySpec
from ablations.records.timing import EpochTime, Timing
from ablations.runner.run_one import run_group
from ablations.runner.scheduler import WorkerSetup
from ablations.training.epoch import EpochRecord
from ablations.training.seeding import initialise_weights
from ablations.version import source_commit
from mnist_blocks import NetworkSpec
from mnist_blocks.network import build_network
from mnist_blocks.spec import NUM_CLASSES
from mnist_blocks.summary import count_parameters, total_multiply_adds

ALL_NAMES = tuple(entry.name for entry in entries_under("published"))
MNIST = DatasetId("mnist", "5f" * 32, num_train=60_000, num_test=10_000)
DIGITS = DatasetId("digits", "a0" * 32, num_train=1_437, num_test=360)

ENVIRONMENT = Environment(
    device_type="cpu",
    device_name="Example CPU",
    num_threads=1,
    operating_system="Linux 6.1",
    python_version="3.12.3",
    torch_version="2.15.0",
    numpy_version="2.4.1",
    project_version="1.0.0",
    commit="0123456789abcdef",
)

LAST_ERROR_PCT = {
    "target": 0.58,
    "no-batchnorm": 1.06,
    "no-gap-matched": 0.79,
    "no-relu": 3.9,
    "one-conv-per-stage": 1.2,
    "no-augmentation": 0.71,
    "no-lr-schedule": 0.83,
    "no-momentum": 1.31,
}
"""Synthetic errors on MNIST; the other ablations are close to the target."""


def make_spec(
    dataset: DatasetId = MNIST,
    title: str = "MNIST",
    num_epochs: int = 20,
    num_train_images: int | None = None,
) -> StudySpec:
    """A study's spec, by default with the reference recipe's epochs on MNIST."""
    return StudySpec(dataset, title, num_epochs, num_train_images, device_type="cpu")


def run_specs_on(
    dataset: Dataset,
    name: str = "target",
    num_seeds: int = 1,
    num_epochs: int = 1,
    num_train_images: int | None = None,
) -> list[RunSpec]:
    """One ablation's runs on real images."""
    spec = make_spec(dataset.id, dataset.title, num_epochs, num_train_images)
    return plan_runs(spec, [find_ablation(name)], range(num_seeds))


def make_record(
    run_spec: RunSpec,
    *,
    environment: Environment = ENVIRONMENT,
    diverges_after: int | None = None,
    last_error_pct: float | None = None,
) -> RunRecord:
    """A run whose error decreases smoothly, with noise that depends on its name and seed."""
    noise = random.Random(f"{run_spec.ablation}/{run_spec.seed}")
    if last_error_pct is None:
        last_error_pct = LAST_ERROR_PCT.get(run_spec.ablation, 0.6) + noise.gauss(0, 0.04)
    epochs = []
    for number in range(1, run_spec.training.num_epochs + 1):
        before_drop = 0.0 if number > 15 else 0.35
        error_pct = last_error_pct * (1 + 3.2 / number**1.2 + before_drop) / 1.09
        error_pct *= 1 + noise.gauss(0, 0.05 if number <= 15 else 0.01)
        has_diverged = diverges_after is not None and number > diverges_after
        epochs.append(_make_epoch(run_spec, number, error_pct, has_diverged))
        if has_diverged:
            break
    num_test = run_spec.dataset.num_test
    wrong_images = noise.sample(range(num_test), num_test - epochs[-1].test_correct)
    parameters, multiply_adds = _network_cost(run_spec.network)
    return RunRecord(
        run_spec=run_spec,
        digest=run_spec.digest,
        status="finished" if diverges_after is None else "diverged",
        epochs=epochs,
        parameters=parameters,
        multiply_adds=multiply_adds,
        environment=environment,
        file_sha256={"predictions.npz": "0" * 64, "weights.safetensors": "1" * 64},
        wrong_test_images=sorted(wrong_images),
        wall_seconds=500.0,
        finished_at="2026-01-31T12:00:00+00:00",
    )


@cache
def _network_cost(network: NetworkSpec) -> tuple[int, int]:
    return count_parameters(build_network(network)), total_multiply_adds(network)


def _make_epoch(
    run_spec: RunSpec, number: int, error_pct: float, has_diverged: bool
) -> EpochRecord:
    """One epoch. A network that has diverged predicts the same class for every image."""
    num_test = run_spec.dataset.num_test
    error_pct = 90.2 if has_diverged else min(max(error_pct, 0.0), 90.0)
    num_correct = round(num_test * (1 - error_pct / 100))
    return EpochRecord(
        epoch=number,
        learning_rate=run_spec.training.learning_rate_at(number),
        train_loss=None if has_diverged else error_pct / 20,
        train_accuracy_pct=100 - 1.2 * min(error_pct, 80),
        test_loss=None if has_diverged else error_pct / 30,
        test_correct=num_correct,
        test_accuracy_pct=100 * num_correct / num_test,
        seconds=24.0,
    )


def make_study(
    seeds_by_name: Mapping[str, Iterable[int]],
    *,
    spec: StudySpec | None = None,
    environment: Environment = ENVIRONMENT,
    diverged: Sequence[str] = (),
    timing: Timing | None = None,
    problems: tuple[str, ...] = (),
) -> Study:
    """A study with these runs. `diverged` names the ablations whose runs all diverge."""
    spec = spec or make_spec()
    records = [
        make_record(
            run_spec,
            environment=environment,
            diverges_after=min(3, spec.num_epochs - 1) if name in diverged else None,
            last_error_pct=None if spec.is_mnist else 4.0 + run_spec.seed,
        )
        for name, seeds in seeds_by_name.items()
        for run_spec in plan_runs(spec, [find_ablation(name)], seeds)
    ]
    records.sort(key=lambda record: (record.run_spec.seed, record.run_spec.ablation))
    return Study("example", spec, tuple(records), timing, problems)


def write_study(folder: Path, study: Study) -> Path:
    """Write the spec and the records into a folder, which is returned."""
    write_with_checksum(folder / STUDY_FILE, study.spec)
    for record in study.records:
        write_record(folder, record)
    return folder


def write_record(study_dir: Path, record: RunRecord) -> None:
    """Write a record into the folder of its run."""
    run_dir = run_folder(study_dir, record.run_spec)
    write_with_checksum(run_dir / RECORD_FILE, record)


def make_results(seeds_by_name: Mapping[str, Iterable[int]], **options: object) -> Results:
    """The results of such a study; the options are those of `make_study`."""
    return summarise(make_study(seeds_by_name, **options))  # type: ignore[arg-type]


def make_timing(names: Iterable[str] = ALL_NAMES, spec: StudySpec | None = None) -> Timing:
    """Epoch times that grow with a network's multiply-adds."""
    by_ablation = {}
    spec = spec or make_spec()
    for run_spec in plan_runs(spec, [find_ablation(name) for name in names], [0]):
        noise = random.Random(run_spec.ablation)
        seconds = _network_cost(run_spec.network)[1] / 90_000
        times = [seconds + noise.random() for _ in range(TimingPlan().num_rounds)]
        by_ablation[run_spec.ablation] = EpochTime(run_spec.digest, times)
    environment = msgspec.structs.replace(
        ENVIRONMENT, device_type=spec.device_type, arithmetic=spec.arithmetic
    )
    return Timing(by_ablation, TimingPlan(), environment, "2026-01-31T13:00:00+00:00")


def make_exhibits(study: Study, class_names: Sequence[str] = "0123456789") -> Exhibits:
    """Synthetic observations and images, and untrained networks of the true shapes."""
    records = {
        (record.run_spec.ablation, record.run_spec.seed): record
        for record in study.records
        if "+" not in record.run_spec.ablation
    }
    seed = min(seed for name, seed in records if name == "target")
    shown = {name: record for (name, found), record in records.items() if found == seed}
    variants, images = {}, {0, 1, 2}
    for name, record in shown.items():
        wrong, target_wrong = (
            set(run.wrong_test_images or []) for run in (record, shown["target"])
        )
        lost, won = sorted(wrong - target_wrong), sorted(target_wrong - wrong)
        first = [*lost[:8], *won[:8]]
        answers = {number: ImageAnswer(number % NUM_CLASSES, 0.87) for number in first}
        if name != "target":
            variants[name] = VariantImages(len(lost), len(won), lost[:8], won[:8], answers)
            images.update(first)
    greys = (0, 0, 0, 0, 90, 255)
    gallery = Gallery(
        seed=seed,
        weights_sha256={
            name: record.file_sha256["weights.safetensors"] for name, record in shown.items()
        },
        input_mean=0.1307,
        input_std=0.3081,
        class_names=list(class_names),
        samples=[0, 1, 2],
        images=[
            ShownImage(number, number * 7 % 10, bytes(random.Random(number).choices(greys, k=784)))
            for number in sorted(images)
        ],
        target_answers={number: ImageAnswer(number * 7 % 10, 0.99) for number in images},
        variants=variants,
    )
    return Exhibits(
        observations={key: _make_observations(record) for key, record in records.items()},
        gallery=gallery,
        weights={
            name: _untrained_weights(record.run_spec.network) for name, record in shown.items()
        },
    )


@cache
def _untrained_weights(network: NetworkSpec) -> bytes:
    built = build_network(network)
    initialise_weights(built, 0)
    return save(built.state_dict())


def _make_observations(record: RunRecord) -> Observations:
    network = record.run_spec.network
    noise = random.Random(f"{record.run_spec.ablation}/{record.run_spec.seed}/seen")

    def signals() -> list[BlockSignal]:
        return [
            BlockSignal(f"stage{stage}.block{block}", noise.uniform(0.5, 1))
            for stage in range(1, len(network.channels) + 1)
            for block in range(1, network.convs_per_stage + 1)
        ]

    per_class = record.run_spec.dataset.num_test // NUM_CLASSES
    num_wrong = min(len(record.wrong_test_images or []), per_class)
    confusion = [[per_class if true == answer else 0 for answer in range(10)] for true in range(10)]
    confusion[4][4] -= num_wrong
    confusion[4][9] += num_wrong
    return Observations(
        weights_sha256=record.file_sha256["weights.safetensors"],
        signals_at_start=signals(),
        signals=signals(),
        num_known_images=10_000,
        known_accuracy_pct=99.5 + noise.uniform(-0.2, 0.2),
        confusion=confusion,
        head_rank=10,
    )


def run_experiment(run_spec: RunSpec, dataset: Dataset) -> RunResult:
    """Train one seed by itself on the CPU."""
    setup = WorkerSetup(dataset.id.name, None, "cpu", "plain", source_commit())
    [(_, result)] = run_group([run_spec], dataset, setup, lambda run_spec, epoch: None)
    return result


def without_times(record: RunRecord) -> RunRecord:
    """The record with every time set to zero: equal for two runs of one spec."""
    epochs = [msgspec.structs.replace(epoch, seconds=0.0) for epoch in record.epochs]
    return msgspec.structs.replace(record, epochs=epochs, wall_seconds=0.0, finished_at="")


def make_request(study_dir: Path, names: Iterable[str], **differing: Any) -> StudyRequest:
    """A request for one epoch of the digits on the CPU; other options are None, or given."""
    defaults: dict[str, Any] = {
        **dict.fromkeys(field.name for field in fields(StudyRequest)),
        "ablations": [find_ablation(name) for name in names],
        "preset_name": "full",
        "recipe": "published",
        "seeds": [0],
        "num_epochs": 1,
        "dataset_name": "digits",
        "device_name": "cpu",
        "arithmetic_name": "auto",
        "num_jobs": 1,
        "backend": "processes",
        "gpus_per_task": 1.0,
        "study_dir": study_dir,
        "is_dry_run": False,
        "stops_at_failure": False,
    }
    return StudyRequest(**(defaults | differing))
