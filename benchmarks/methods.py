"""The training methods of the comparison: how each is run, and what is counted.

Each method runs in a fresh process. This project's compiled kernels come from the cache on disk.

- **Images per second**: the training images of all epochs and runs, divided by the seconds from the
  start of the first epoch to the end of the last. Testing after each epoch takes part of these
  seconds; the test images are not counted.
- **From launch**: the same images, divided by the seconds from the launch of the process until its
  result is on disk.
- **Memory**: the peak of the whole process tree.

The baselines time their epochs themselves. This project's seconds come from the study's records: a
run began `wall_seconds` before its record was written. The interval from the first run's start to
the last record includes what a run does before its first epoch and after its last; the minimum of
that over runs is subtracted once.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import click
import msgspec

from ablations.catalogue.recipes import RecipeName
from ablations.records.run import RECORD_FILE, run_folder
from ablations.records.study import (
    load_study,
)
from ablations.words import plural
from benchmarks.baselines.recipe import BaselineResult
from benchmarks.measurements import Measurement, Plan
from benchmarks.memory import run_watched
from speed.arithmetic import choose_arithmetic

REPOSITORY = Path(__file__).resolve().parents[1]
BASELINE_FILE = "result.json"
LOG_FILE = "output.txt"
BASELINE_NAME = "dataloader"
"""The method that the others are compared with."""
TUNED_BASELINE_NAME = "dataloader-tuned"


@dataclass(frozen=True)
class Outcome:
    """What a method's own files contain."""

    num_images: int
    training_seconds: float
    finished_at: float
    """When the last result was on disk, in seconds since the epoch."""
    last_accuracy_pct: float


@dataclass(frozen=True)
class Method:
    """A method of training the network: how to start it, and how to read its results."""

    name: str
    title: str
    command: Callable[[Plan, Path | None, Path], list[str]]
    """From the plan, the data set's folder, and the folder for results."""
    read: Callable[[Path], Outcome]


class MethodFailed(click.ClickException):
    """A method failed; the message has the end of its output."""


def all_methods(plan: Plan) -> list[Method]:
    """The methods of a comparison, the baseline first."""
    precision = choose_arithmetic("auto", plan.device)
    study = f"this project, a study of {plural(plan.num_study_runs, 'run')}"
    baselines = [
        (BASELINE_NAME, "plain PyTorch loop", ["dataloader", "--untuned"]),
        (TUNED_BASELINE_NAME, "tuned PyTorch loop", ["dataloader"]),
        ("lightning", "PyTorch Lightning, tuned", ["lightning"]),
    ]
    num_runs = plan.num_study_runs
    projects: list[tuple[str, str, int, str, RecipeName]] = [
        ("one-run", f"this project, one run, {precision}", 1, "auto", "published"),
        ("study", f"{study}, {precision}", num_runs, "auto", "published"),
        ("one-run-tuned", f"this project, one run, {precision}, tuned recipe", 1, "auto", "tuned"),
        ("study-tuned", f"{study}, {precision}, tuned recipe", num_runs, "auto", "tuned"),
    ]
    if precision == "bfloat16":  # The baselines compute in float32.
        projects.append(("study-float32", f"{study}, float32", num_runs, "float32", "published"))
    return [
        *(
            Method(name, title, partial(_baseline_command, arguments), read_baseline)
            for name, title, arguments in baselines
        ),
        *(
            Method(name, title, partial(_project_command, num_runs, option, recipe), read_study)
            for name, title, num_runs, option, recipe in projects
        ),
    ]


def measure(
    method: Method, plan: Plan, data_dir: Path | None, folder: Path, round_number: int
) -> Measurement:
    """Run a method once in its own process; everything that it writes goes to `folder`.

    Raises:
        MethodFailed: it ended with an error, or left no complete result.
    """
    folder.mkdir(parents=True)
    log, results = folder / LOG_FILE, folder / "results"
    command = method.command(plan, data_dir, results)
    watched = run_watched(command, log, REPOSITORY)
    if watched.exit_code != 0:
        output = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise MethodFailed("\n".join([f"{method.title} failed:", *output[-15:]]))
    outcome = method.read(results)
    return Measurement(
        method=method.name,
        round_number=round_number,
        num_images=outcome.num_images,
        training_seconds=outcome.training_seconds,
        seconds_from_launch=outcome.finished_at - watched.started_at,
        peak_memory_mib=watched.peak_memory_mib,
        last_accuracy_pct=outcome.last_accuracy_pct,
    )


def _common_options(plan: Plan, data_dir: Path | None, num_epochs: int) -> list[str]:
    options = ["--dataset", plan.dataset_name, "--device", plan.device, "--epochs", str(num_epochs)]
    return options + (["--data-dir", str(data_dir)] if data_dir else [])


def _baseline_command(
    arguments: list[str], plan: Plan, data_dir: Path | None, results: Path
) -> list[str]:
    module, *own_options = arguments
    options = [*own_options, *_common_options(plan, data_dir, plan.num_epochs)]
    options += ["--train-images", str(plan.num_train_images), "--out", str(results / BASELINE_FILE)]
    return [sys.executable, "-m", f"benchmarks.baselines.{module}", *options]


def _project_command(
    num_runs: int,
    precision: str,
    recipe: RecipeName,
    plan: Plan,
    data_dir: Path | None,
    results: Path,
) -> list[str]:
    options = _common_options(plan, data_dir, plan.num_project_epochs or plan.num_epochs)
    options += ["--seeds", f"0-{num_runs - 1}", "--arithmetic", precision, "--recipe", recipe]
    options += ["--preset", "quick"] if plan.is_quick else []
    options += ["--jobs", "1"] if num_runs == 1 else []
    return [sys.executable, "cli.py", "ablate", "target", *options, "--out", str(results)]


def read_baseline(results: Path) -> Outcome:
    """The result of a baseline's run."""
    path = results / BASELINE_FILE
    result = msgspec.json.decode(path.read_bytes(), type=BaselineResult)
    return Outcome(
        num_images=result.num_train_images * len(result.epochs),
        training_seconds=result.seconds,
        finished_at=path.stat().st_mtime,
        last_accuracy_pct=result.epochs[-1].test_accuracy_pct,
    )


def read_study(results: Path) -> Outcome:
    """All runs of a study together.

    Raises:
        MethodFailed: a record is damaged, or a run diverged and so did less work.
    """
    study = load_study(results)
    if study.problems or any(record.status != "finished" for record in study.records):
        raise MethodFailed(f"not all runs finished: {' '.join(study.problems) or 'diverged'}")
    num_images = 0
    started_at, written_at, seconds_outside_epochs = [], [], []
    for record in study.records:
        run_spec = record.run_spec
        num_train = run_spec.training.num_train_images or run_spec.dataset.num_train
        num_images += num_train * len(record.epochs)
        path = run_folder(results, run_spec) / RECORD_FILE
        written_at.append(path.stat().st_mtime)
        # Each of several seeds trained as one network is recorded with its share of the seconds.
        started_at.append(written_at[-1] - record.wall_seconds * record.num_replicas)
        share_outside = record.wall_seconds - sum(epoch.seconds for epoch in record.epochs)
        seconds_outside_epochs.append(share_outside * record.num_replicas)
    return Outcome(
        num_images=num_images,
        training_seconds=max(written_at) - min(started_at) - min(seconds_outside_epochs),
        finished_at=max(written_at),
        last_accuracy_pct=fmean(record.last_epoch.test_accuracy_pct for record in study.records),
    )
