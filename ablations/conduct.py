"""Conducts a study from the request to the last report: what `cli.py ablate` does.

Find the data and the folder, see which runs are missing, say what will be done and do it: each
run is written as it ends, and a new report with it. Then epochs are timed with nothing else
running, and the last report is written.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ablations.announce import announce, list_runs, say_how_to_go_on
from ablations.backends import connection, make_pool
from ablations.commands import in_one_line
from ablations.execution import RunFailed, RunFinished, WorkerPool, execute
from ablations.experiment import Experiment
from ablations.interruption import Interruption
from ablations.ownership import only_one_process
from ablations.prepare import PreparedStudy, StudyRequest, prepare
from ablations.progress import StudyProgress, say
from ablations.records import write_run, write_sealed
from ablations.study import (
    Study,
    StudyError,
    check_folder,
    create_study,
    load_study,
    missing_runs,
    run_folder,
    set_aside_damaged,
)
from ablations.timing import TIMING_FILE, measure_epoch_times
from ablations.words import plural

REPORT_SHARE_OF_TIME = 0.1
"""While runs are under way, reports take at most this share of the time."""

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
"""The second is for Ctrl-C; after another signal it is 128 and that signal's number."""


def conduct(request: StudyRequest, write_report: Callable[[Path], Path]) -> int:
    """Carry out a study. `write_report` renders a study folder's report and returns its path.

    Returns the exit code: 0, or 1 when a run failed, or 128 and a signal's number after it (130
    after Ctrl-C).

    Raises:
        DataError, StudyError, RecordError: the data or the folder cannot be used.
    """
    console = Console()
    study = None
    failures: list[RunFailed] = []
    interruption = Interruption()
    backend = request.backend, request.ray_address, request.num_jobs, request.gpus_per_task
    with interruption:
        try:
            with connection(*backend) as cluster:
                study = prepare(request, console, cluster)
                announce(study, console)
                if request.is_dry_run:
                    list_runs(study, console)
                    return 0
                create_study(study.study_dir, study.spec)
                with only_one_process(study.study_dir):
                    study = take_stock(study, console)
                    failures = make_study(
                        study, write_report, console, interruption, request.stops_at_failure
                    )
            interruption.check()
        except KeyboardInterrupt:
            if study:
                say_how_to_go_on(study, console)
            return interruption.exit_code
    for failure in failures:
        say(console, f"FAILED: {failure.run.ablation}, seed {failure.run.seed}: {failure.reason}")
        say(console, failure.details)
    return EXIT_FAILED if failures else 0


def take_stock(study: PreparedStudy, console: Console) -> PreparedStudy:
    """Now that nobody else is at work in the folder: see again whether it is this study's, put away what
    is damaged, and see what is missing, since another process may have been there meanwhile.

    Raises:
        StudyError: another process has made another study there.
    """
    check_folder(study.study_dir, study.spec)
    for line in set_aside_damaged(study.study_dir):
        say(console, line)
    return replace(study, missing=missing_runs(study.study_dir, study.runs))


def make_study(
    study: PreparedStudy,
    write_report: Callable[[Path], Path],
    console: Console,
    interruption: Interruption,
    stops_at_failure: bool,
) -> list[RunFailed]:
    """Do the missing runs, time epochs, and write the last report. Returns the runs that failed.

    Raises:
        KeyboardInterrupt: it was stopped; whatever there is, is on the disk.
        StudyError: a run cannot be written.
    """
    failures = do_missing_runs(study, write_report, console, interruption, stops_at_failure)
    is_cut_short = interruption.wants_to_finish or (failures and stops_at_failure)
    if not is_cut_short and not study.shard:
        if study.is_device_here:
            time_epochs(study, console, interruption)
        else:
            say(console, f"Epochs are not timed: there is no {study.setup.device} on this machine.")
    show_networks(study, console)
    say(console, f"Report: {write_report(study.study_dir)}")
    if interruption.wants_to_finish:
        raise KeyboardInterrupt
    return failures


def do_missing_runs(
    study: PreparedStudy,
    write_report: Callable[[Path], Path],
    console: Console,
    interruption: Interruption,
    stops_at_failure: bool,
) -> list[RunFailed]:
    """Do the missing runs, and write each one as it ends. Returns those that failed.

    Raises:
        StudyError: a run cannot be written.
    """
    failures: list[RunFailed] = []
    if not study.missing:
        return failures
    reports = InterimReports(study, write_report, console)
    progress = StudyProgress(console, len(study.missing), study.spec.num_epochs)
    is_said = False

    def should_stop() -> bool:
        nonlocal is_said
        interruption.check()
        if interruption.wants_to_finish and not is_said:
            is_said = True
            say(console, progress.finishing_words())
        return interruption.wants_to_finish

    pool = make_pool(study.setup, study.num_jobs, study.cluster, study.dataset)
    events = execute(study.missing, pool, should_stop)
    with closing(events), progress, interruption.finishing_first():
        for event in events:
            if isinstance(event, RunFinished):
                with interruption.later():
                    keep(study, event)
            interruption.check()
            progress.show(event)
            if isinstance(event, RunFailed):
                failures.append(event)
                if stops_at_failure:
                    break
            if isinstance(event, RunFinished):
                try:
                    reports.update()
                except KeyboardInterrupt:
                    with interruption.later():
                        keep_what_has_ended(study, pool)
                    raise
    return failures


def keep_what_has_ended(study: PreparedStudy, pool: WorkerPool) -> None:
    """Write the runs that ended while nobody listened, before their workers are stopped."""
    while news := list(pool.wait(0)):
        for event in news:
            if isinstance(event, RunFinished):
                keep(study, event)


def keep(study: PreparedStudy, event: RunFinished) -> None:
    """Write a finished run to the disk.

    Raises:
        StudyError: it cannot be written; then nothing after it could be, either.
    """
    folder = run_folder(study.study_dir, event.run.ablation, event.run.seed)
    try:
        write_run(folder, event.result)
    except OSError as error:
        num_kept = len(study.runs) - len(missing_runs(study.study_dir, study.runs))
        raise StudyError(
            f"{folder} cannot be written ({error.strerror}), so the study has stopped; "
            f"{num_kept} of {plural(len(study.runs), 'run')} are kept: once that is mended, the same "
            "command does the rest"
        ) from error


class InterimReports:
    """The reports that are written while runs are under way.

    A report takes seconds in which a worker may wait for its next run, so when runs are short not
    every one of them gets a report of its own. One that cannot be written (on Windows, because a
    program holds the last one open) is said, and stops nothing.
    """

    def __init__(
        self, study: PreparedStudy, write_report: Callable[[Path], Path], console: Console
    ) -> None:
        self.study = study
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
            show_networks(self.study, self.console)
            path = self.write_report(self.study.study_dir)
        except OSError as error:
            say(self.console, f"No report for now: {in_one_line(error)}")
            return
        if self.is_first:
            say(self.console, f"The report so far, which grows as runs end: {path}")
            self.is_first = False
        ended = time.monotonic()
        self.not_before = ended + (ended - started) * (1 / REPORT_SHARE_OF_TIME - 1)


def show_networks(study: PreparedStudy, console: Console) -> None:
    """Make what the report shows of the networks that are there by now."""
    from ablations.make_exhibits import make_exhibits

    found = load_study(study.study_dir)
    for problem in make_exhibits(study.study_dir, found, study.dataset):
        say(console, f"The report shows less of the networks: {problem}")


def time_epochs(study: PreparedStudy, console: Console, interruption: Interruption) -> None:
    """Time an epoch of every ablation in the folder, unless that has been done for them all.

    Times are only comparable when they were measured together, so a new ablation means that all
    are measured again.
    """
    import torch

    found = load_study(study.study_dir)
    to_time = one_run_of_each_ablation(found)
    timed = {}
    if found.timing and found.timing.environment.arithmetic == study.spec.arithmetic:
        timed = found.timing.by_ablation
    if all(name in timed and timed[name].digest == run.digest for name, run in to_time.items()):
        return
    say(console, "Runs are done. Now each variant's epoch time, measured alone, in rounds ...")
    num_measurements = len(to_time) * (study.timing_plan.num_rounds + 1)
    with StudyProgress.counting(console, "timing epochs", num_measurements) as advance:

        def after_measurement() -> None:
            interruption.check()
            advance()

        timing = measure_epoch_times(
            list(to_time.values()),
            study.dataset,
            torch.device(study.setup.device),
            study.setup.arithmetic,
            study.timing_plan,
            after_measurement,
        )
    write_sealed(study.study_dir / TIMING_FILE, timing)


def one_run_of_each_ablation(study: Study) -> dict[str, Experiment]:
    """One experiment for each ablation that the study has a run of, all with the same seed."""
    experiments = [record.experiment for record in study.records]
    return {run.ablation: replace(run, seed=0) for run in reversed(experiments)}
