"""Conducts a study from the request to the last report: what `cli.py ablate` does.

Find the data and the folder, see which runs are missing, say what will be done and do it: each
run is written as it ends, and a new report with it. Then epochs are timed with nothing else
running, and the last report is written.
"""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from ablations.catalogue import Ablation
from ablations.data import Dataset, load_dataset, resolve_dataset
from ablations.estimate import estimate_seconds
from ablations.execution import RunFailed, RunFinished, WorkerSetup, default_num_jobs, execute
from ablations.experiment import Experiment
from ablations.presets import Preset, choose_preset
from ablations.progress import StudyProgress
from ablations.records import write_json, write_run
from ablations.study import (
    Study,
    StudyError,
    StudySpec,
    check_folder,
    create_study,
    is_study,
    load_study,
    missing_runs,
    plan_runs,
    run_folder,
)
from ablations.timing import TIMING_FILE, TimingPlan, measure_epoch_times
from ablations.words import duration, plural

REPORT_SHARE_OF_TIME = 0.1
"""While runs are under way, reports take at most this share of the time."""

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


@dataclass(frozen=True)
class StudyRequest:
    """What was asked for; None means: as the preset, or as this machine, has it."""

    ablations: Sequence[Ablation]
    preset_name: str
    seeds: Sequence[int] | None
    num_epochs: int | None
    dataset_name: str
    data_dir: Path | None
    device_name: str
    num_jobs: int | None
    study_dir: Path | None
    is_dry_run: bool
    stops_at_failure: bool


@dataclass(frozen=True)
class PreparedStudy:
    """A request brought together with this machine: what there is, and what is to be done."""

    study_dir: Path
    spec: StudySpec
    setup: WorkerSetup
    dataset: Dataset
    num_jobs: int
    runs: list[Experiment]
    missing: list[Experiment]
    timing_plan: TimingPlan


def conduct(request: StudyRequest, write_report: Callable[[Path], Path]) -> int:
    """Carry out a study. `write_report` renders a study folder's report and returns its path.

    Returns the exit code: 0, or 1 when a run failed, or 130 after Ctrl-C.

    Raises:
        DataError, StudyError, RecordError: the data or the folder cannot be used.
    """
    console = Console()
    study = None
    try:
        study = prepare(request, console)
        announce(study, console)
        if request.is_dry_run:
            list_runs(study, console)
            return 0
        create_study(study.study_dir, study.spec)
        with only_one_process(study.study_dir):
            failures = carry_out(study, write_report, console, request.stops_at_failure)
            if not (failures and request.stops_at_failure):
                time_epochs(study, console)
            say(console, f"Report: {write_report(study.study_dir)}")
    except KeyboardInterrupt:
        if study:
            say_how_to_go_on(study, console)
        return EXIT_INTERRUPTED
    for failure in failures:
        say(console, f"FAILED: {failure.run.ablation}, seed {failure.run.seed}: {failure.reason}")
        say(console, failure.details)
    return EXIT_FAILED if failures else 0


def prepare(request: StudyRequest, console: Console) -> PreparedStudy:
    """Find the data, the device and the folder, and see what is there already."""
    from ablations.running import choose_device, source_commit

    name, folder = resolve_dataset(
        request.dataset_name, request.data_dir, say=lambda line: say(console, line)
    )
    dataset = load_dataset(name, folder)
    try:
        device_name = choose_device(request.device_name)
    except ValueError as error:
        raise StudyError(str(error)) from error
    preset = choose_preset(request.preset_name, dataset.id)
    spec = StudySpec(
        dataset=dataset.id,
        dataset_title=dataset.title,
        num_epochs=request.num_epochs or preset.num_epochs,
        num_train_images=preset.num_train_images,
        device_type=device_name,
    )
    study_dir = request.study_dir or default_study_dir(preset, spec)
    check_folder(study_dir, spec)
    runs = plan_runs(spec, request.ablations, request.seeds or preset.seeds)
    return PreparedStudy(
        study_dir=study_dir,
        spec=spec,
        setup=WorkerSetup(name, folder, device_name, source_commit()),
        dataset=dataset,
        num_jobs=request.num_jobs or default_num_jobs(device_name),
        runs=runs,
        missing=missing_runs(study_dir, runs),
        timing_plan=preset.timing,
    )


def default_study_dir(preset: Preset, spec: StudySpec) -> Path:
    """A folder under `runs/` whose name says what sets the study apart.

    The same request finds the same folder again, which is how it goes on where it stopped.
    """
    parts = [spec.dataset.name]
    if preset.name != "full":
        parts.append(preset.name)
    if spec.num_epochs != preset.num_epochs:
        parts.append(f"{spec.num_epochs}-epochs")
    if spec.device_type != "cpu":
        parts.append(spec.device_type)
    return Path("runs") / "-".join(parts)


def announce(study: PreparedStudy, console: Console) -> None:
    """Say what will be done, and about how long it will take."""
    spec = study.spec
    num_images = spec.num_train_images or spec.dataset.num_train
    num_seeds = len({run.seed for run in study.runs})
    say(
        console,
        f"{plural(len(study.runs) // num_seeds, 'variant')} x {plural(num_seeds, 'seed')}, "
        f"{plural(spec.num_epochs, 'epoch')} of {num_images:,} images of {spec.dataset_title} "
        f"({study.dataset.source}), tested on {spec.dataset.num_test:,}.",
    )
    say(
        console,
        f"On {study.setup.device}, {study.num_jobs} at a time, into {study.study_dir}/: "
        f"{len(study.runs) - len(study.missing)} of {len(study.runs)} runs are there already.",
    )
    if not study.missing:
        return
    done = load_study(study.study_dir).records if is_study(study.study_dir) else ()
    seconds = estimate_seconds(
        study.missing, done, study.num_jobs, study.dataset, study.setup.device
    )
    say(console, f"The {len(study.missing)} missing runs will take about {duration(seconds)}.")


def list_runs(study: PreparedStudy, console: Console) -> None:
    """Name every run of the plan, and whether it is there."""
    missing = set(study.missing)
    for run in study.runs:
        state = "would run" if run in missing else "is there"
        say(console, f"  {state:<10} {run.ablation}, seed {run.seed}")


def carry_out(
    study: PreparedStudy,
    write_report: Callable[[Path], Path],
    console: Console,
    stops_at_failure: bool,
) -> list[RunFailed]:
    """Do the missing runs, and write each one as it ends. Returns those that failed."""
    failures: list[RunFailed] = []
    if not study.missing:
        return failures
    reports = InterimReports(study.study_dir, write_report, console)
    progress = StudyProgress(console, len(study.missing), study.spec.num_epochs)
    events = execute(study.missing, study.setup, study.num_jobs)
    with closing(events), progress:
        for event in events:
            if isinstance(event, RunFinished):
                folder = run_folder(study.study_dir, event.run.ablation, event.run.seed)
                write_run(folder, event.result)
            progress.show(event)
            if isinstance(event, RunFailed):
                failures.append(event)
                if stops_at_failure:
                    break
            if isinstance(event, RunFinished):
                reports.update()
    return failures


class InterimReports:
    """The reports that are written while runs are under way.

    A report takes seconds in which a worker may wait for its next run, so when runs are short not
    every one of them gets a report of its own. One that cannot be written (on Windows, because a
    program holds the last one open) is said, and stops nothing.
    """

    def __init__(
        self, study_dir: Path, write_report: Callable[[Path], Path], console: Console
    ) -> None:
        self.study_dir = study_dir
        self.write_report = write_report
        self.console = console
        self.is_first = True
        self.not_before = 0.0

    def update(self) -> None:
        """Write a report, unless the last one is too recent."""
        started = time.monotonic()
        if started < self.not_before:
            return
        try:
            path = self.write_report(self.study_dir)
        except OSError as error:
            say(self.console, f"No report for now: {error.filename}: {error.strerror}")
            return
        if self.is_first:
            say(self.console, f"The report so far, which grows as runs end: {path}")
            self.is_first = False
        ended = time.monotonic()
        self.not_before = ended + (ended - started) * (1 / REPORT_SHARE_OF_TIME - 1)


@contextmanager
def only_one_process(study_dir: Path) -> Iterator[None]:
    """Keep a second process out of a study: it would do the same runs, and disturb the timing.

    Raises:
        StudyError: another process is at work there.
    """
    lock = FileLock(study_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"another process is at work in {study_dir}; wait for it, or choose another folder "
            "with --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def time_epochs(study: PreparedStudy, console: Console) -> None:
    """Time an epoch of every ablation in the folder, unless that has been done for them all.

    Times are only comparable when they were measured together, so a new ablation means that all
    are measured again.
    """
    import torch

    found = load_study(study.study_dir)
    to_time = one_run_of_each_ablation(found)
    timed = found.timing.by_ablation if found.timing else {}
    if all(name in timed and timed[name].digest == run.digest for name, run in to_time.items()):
        return
    num_measurements = len(to_time) * (study.timing_plan.num_rounds + 1)
    with StudyProgress.counting(console, "timing epochs", num_measurements) as advance:
        timing = measure_epoch_times(
            list(to_time.values()),
            study.dataset,
            torch.device(study.setup.device),
            study.timing_plan,
            advance,
        )
    write_json(study.study_dir / TIMING_FILE, timing)


def one_run_of_each_ablation(study: Study) -> dict[str, Experiment]:
    """One experiment for each ablation that the study has a run of, all with the same seed."""
    experiments = [record.experiment for record in study.records]
    return {run.ablation: replace(run, seed=0) for run in reversed(experiments)}


def say_how_to_go_on(study: PreparedStudy, console: Console) -> None:
    """After Ctrl-C: what is kept, and the command that does the rest."""
    missing = missing_runs(study.study_dir, study.runs)
    say(
        console,
        f"Stopped. {len(study.runs) - len(missing)} of {len(study.runs)} runs are finished and kept "
        f"in {study.study_dir}/. A report on them: cli.py report {study.study_dir}\n"
        f"The same command does the rest:\n  {shlex.join([sys.executable, *sys.argv])}",
    )


def say(console: Console, text: str) -> None:
    """Print a line as it is: no wrapping, no colours read into it."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
