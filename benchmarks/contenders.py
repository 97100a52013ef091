"""Who takes part in the comparison: how each is run, and what is counted of it.

Each runs in a fresh process. This project's compiled loops come from the disk, as in every study
but a machine's first, which compiles them for some ten seconds before it begins. Counted are

- **images a second**: the training images of all its epochs and runs, divided by the seconds from
  the start of the first epoch to the end of the last. Testing after each epoch lies in these
  seconds; the test images are not counted. Every epoch counts, the first too.
- **from the launch**: the same images, divided by the seconds from the launch of the process
  until its result is on the disk. Imports and the loading of data lie in these.

The baselines time their epochs themselves. This project's seconds are taken from a study's
records: a run began `wall_seconds` before its record was made, and the file's time says when that
was. From the beginning of the first run to the last record on the disk also takes in what a run
does before its first epoch and after its last (initial weights, predictions); that is subtracted
once, the least of any run. What is left is one run's epochs, or, of runs side by side, everything
between the first epoch of all and the last, waiting for one another included. Timing epochs alone
and the last report come after the last record, and count in neither figure.

Memory is the peak of the whole process tree over its whole life, reports included.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from ablations.records.run import RECORD_FILE
from ablations.records.study import load_study, run_folder
from benchmarks.baselines.recipe import BaselineResult
from benchmarks.memory import run_watched

REPOSITORY = Path(__file__).resolve().parents[1]
BASELINE_FILE = "result.json"
LOG_FILE = "output.txt"


class Plan(msgspec.Struct, frozen=True):
    """What every contender is asked to do."""

    dataset_name: str
    num_epochs: int
    is_quick: bool
    """Whether the training images are as few as the preset `quick` has."""
    num_train_images: int
    num_test_images: int
    device: str
    num_rounds: int
    num_study_runs: int
    """Runs of the contender that is a whole study."""
    num_project_epochs: int | None = None
    """Of this project's runs, when it is not as many: so that all train for about as long, and
    what a study does once (one run waits for another, a report) weighs as in a real one."""


class Measurement(msgspec.Struct, frozen=True):
    """One contender in one round."""

    contender: str
    round_number: int
    num_images: int
    """Training images, each counted as often as it was seen."""
    training_seconds: float
    seconds_from_launch: float
    peak_memory_mib: float | None
    peak_device_memory_mib: float | None
    last_accuracy_pct: float
    """On the test images after the last epoch; the mean of a study's runs."""

    @property
    def images_per_second(self) -> float:
        """While it trains and tests."""
        return self.num_images / self.training_seconds

    @property
    def images_per_second_from_launch(self) -> float:
        """With everything that comes before."""
        return self.num_images / self.seconds_from_launch


@dataclass(frozen=True)
class Outcome:
    """What a contender's own files say."""

    num_images: int
    training_seconds: float
    finished_at: float
    """When the last result was on the disk, in seconds since the epoch."""
    last_accuracy_pct: float


@dataclass(frozen=True)
class Contender:
    """A way to train the network: how to start it, and how to read what it leaves in a folder."""

    name: str
    title: str
    command: Callable[[Plan, Path | None, Path], list[str]]
    """From the plan, the data set's folder, and the folder for what it writes."""
    read: Callable[[Path], Outcome]


class ContenderFailed(Exception):
    """A contender did not do what it was asked; the message has the end of its output."""


def measure(
    contender: Contender, plan: Plan, data_dir: Path | None, folder: Path, round_number: int
) -> Measurement:
    """Run a contender once, in a process of its own; everything it writes goes to `folder`.

    Raises:
        ContenderFailed: it ended with an error, or left no whole result.
    """
    folder.mkdir(parents=True)
    log, results = folder / LOG_FILE, folder / "results"
    command = contender.command(plan, data_dir, results)
    watched = run_watched(command, log, REPOSITORY, watches_gpu=plan.device == "cuda")
    if watched.exit_code != 0:
        output = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise ContenderFailed("\n".join([f"{contender.title} failed:", *output[-15:]]))
    outcome = contender.read(results)
    return Measurement(
        contender=contender.name,
        round_number=round_number,
        num_images=outcome.num_images,
        training_seconds=outcome.training_seconds,
        seconds_from_launch=outcome.finished_at - watched.started_at,
        peak_memory_mib=watched.peak_memory_mib,
        peak_device_memory_mib=watched.peak_device_memory_mib,
        last_accuracy_pct=outcome.last_accuracy_pct,
    )


def baseline_command(*arguments: Any) -> list[str]:
    """Run one of `benchmarks/baselines` alone: its module and options, then what `command` gets."""
    module, *own_options, plan, data_dir, results = arguments
    options = ["--dataset", plan.dataset_name, "--device", plan.device]
    options += ["--epochs", str(plan.num_epochs), "--train-images", str(plan.num_train_images)]
    options += ["--data-dir", str(data_dir)] if data_dir else []
    options += ["--out", str(results / BASELINE_FILE)]
    return [sys.executable, "-m", f"benchmarks.baselines.{module}", *own_options, *options]


def read_baseline(results: Path) -> Outcome:
    """The result of a baseline's only run."""
    path = results / BASELINE_FILE
    result = msgspec.json.decode(path.read_bytes(), type=BaselineResult)
    return Outcome(
        num_images=result.num_train_images * len(result.epochs),
        training_seconds=result.seconds,
        finished_at=path.stat().st_mtime,
        last_accuracy_pct=result.epochs[-1].test_accuracy_pct,
    )


def project_command(
    num_runs: int,
    num_jobs: int | None,
    arithmetic: str,
    plan: Plan,
    data_dir: Path | None,
    results: Path,
) -> list[str]:
    """A study of the target, as a user starts it; `num_jobs` None leaves that to the project."""
    num_epochs = plan.num_project_epochs or plan.num_epochs
    options = ["--seeds", f"0-{num_runs - 1}", "--epochs", str(num_epochs)]
    options += ["--dataset", plan.dataset_name, "--device", plan.device]
    options += ["--preset", "quick"] if plan.is_quick else []
    options += ["--jobs", str(num_jobs)] if num_jobs else []
    options += ["--arithmetic", arithmetic]
    options += ["--data-dir", str(data_dir)] if data_dir else []
    return [sys.executable, "cli.py", "ablate", "target", *options, "--out", str(results)]


def read_study(results: Path) -> Outcome:
    """The runs of a study together.

    Raises:
        ContenderFailed: a record is damaged, or a run diverged and did less than the others.
    """
    study = load_study(results)
    if study.problems or any(record.status != "finished" for record in study.records):
        raise ContenderFailed(f"not all runs are whole: {' '.join(study.problems) or 'diverged'}")
    num_images = 0
    began_at, written_at, seconds_outside_epochs = [], [], []
    for record in study.records:
        run = record.run_spec
        num_images += (run.training.num_train_images or run.dataset.num_train) * len(record.epochs)
        path = run_folder(results, run.ablation, run.seed) / RECORD_FILE
        written_at.append(path.stat().st_mtime)
        # Seeds that a GPU trained as one network are recorded with a share of its seconds each.
        began_at.append(written_at[-1] - record.wall_seconds * record.num_replicas)
        share_outside = record.wall_seconds - sum(epoch.seconds for epoch in record.epochs)
        seconds_outside_epochs.append(share_outside * record.num_replicas)
    return Outcome(
        num_images=num_images,
        training_seconds=max(written_at) - min(began_at) - min(seconds_outside_epochs),
        finished_at=max(written_at),
        last_accuracy_pct=fmean(record.last_epoch.test_accuracy_pct for record in study.records),
    )
