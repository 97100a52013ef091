"""Conducts a study from the request to the last report: what `cli.py ablate` does.

Find the data and the folder, see which runs are missing, say what will be done and do it: each
run is written as it ends, and a new report with it. Then epochs are timed with nothing else
running, and the last report is written.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from ablations.commands.live_report import InterimReports, show_networks
from ablations.commands.messages import print_how_to_resume, print_plan, print_runs
from ablations.commands.prepare import PreparedStudy, StudyRequest, prepare
from ablations.records.checksums import write_sealed
from ablations.records.lock import only_one_process
from ablations.records.quarantine import set_aside_damaged
from ablations.records.run import write_run
from ablations.records.study import load_study, missing_runs, one_run_of_each_ablation, run_folder
from ablations.records.study_spec import StudyError, check_folder, create_study
from ablations.records.timing import TIMING_FILE
from ablations.runner.backends import connection, make_pool
from ablations.runner.epoch_timing import measure_epoch_times
from ablations.runner.progress import StudyProgress, counting_bar, print_line
from ablations.runner.scheduler import RunFailed, RunFinished, Stop, WorkerPool, execute
from ablations.runner.signals import StopRequest, handle_signals
from ablations.words import plural

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
    backend = request.backend, request.ray_address, request.num_jobs, request.gpus_per_task
    with handle_signals() as interruption:
        try:
            with connection(*backend) as cluster:
                study = prepare(request, console, cluster)
                print_plan(study, console)
                if request.is_dry_run:
                    print_runs(study, console)
                    return 0
                create_study(study.study_dir, study.spec)
                with only_one_process(study.study_dir):
                    study = take_stock(study, console)
                    maker = StudyMaker(
                        study, write_report, console, interruption, request.stops_at_failure
                    )
                    failures = maker.make()
            interruption.check()
        except KeyboardInterrupt:
            with interruption.deferred():
                if study:
                    print_how_to_resume(study, console)
            return interruption.exit_code
    for failure in failures:
        print_line(
            console,
            f"FAILED: {failure.run_spec.ablation}, seed {failure.run_spec.seed}: {failure.reason}",
        )
        print_line(console, failure.details)
    return EXIT_FAILED if failures else 0


def take_stock(study: PreparedStudy, console: Console) -> PreparedStudy:
    """Now that nobody else is at work in the folder: see again whether it is this study's, put away what
    is damaged, and see what is missing, since another process may have been there meanwhile.

    Raises:
        StudyError: another process has made another study there.
    """
    check_folder(study.study_dir, study.spec)
    for line in set_aside_damaged(study.study_dir):
        print_line(console, line)
    return replace(study, missing=missing_runs(study.study_dir, study.run_specs))


@dataclass(frozen=True)
class StudyMaker:
    """Makes what is missing of a study whose folder nobody else is at work in."""

    study: PreparedStudy
    write_report: Callable[[Path], Path]
    console: Console
    interruption: StopRequest
    stops_at_failure: bool

    def make(self) -> list[RunFailed]:
        """Do the missing runs, time epochs, and write the last report. Returns the runs that failed.

        Raises:
            KeyboardInterrupt: it was stopped; whatever there is, is on the disk.
            StudyError: a run cannot be written.
        """
        failures = self.do_missing_runs()
        if self.study.cluster:
            self.study.cluster.leave()
        is_cut_short = self.interruption.wants_to_finish or (failures and self.stops_at_failure)
        is_part = self.study.shard and self.study.shard.count > 1
        if not is_cut_short and not is_part:
            if self.study.is_device_here:
                self.time_epochs()
            else:
                device = self.study.setup.device
                print_line(
                    self.console, f"Epochs are not timed: there is no {device} on this machine."
                )
        show_networks(self.study, self.console)
        print_line(self.console, f"Report: {self.write_report(self.study.study_dir)}")
        if self.interruption.wants_to_finish:
            raise KeyboardInterrupt
        return failures

    def do_missing_runs(self) -> list[RunFailed]:
        """Do the missing runs, and write each one as it ends. Returns those that failed.

        Raises:
            StudyError: a run cannot be written.
        """
        study, interruption = self.study, self.interruption
        failures: list[RunFailed] = []
        if not study.missing:
            return failures
        reports = InterimReports(study, self.write_report, self.console)
        progress = StudyProgress(self.console, len(study.missing), study.spec.num_epochs)
        pool = make_pool(study.setup, study.num_jobs, study.cluster, study.dataset)
        watch = Watch(interruption, pool, self.console, progress.finishing_message)
        events = execute(study.missing, pool, watch.look)
        # A signal is looked for several times a second, between two events: none gets lost.
        with closing(events), progress, interruption.deferred(can_finish=True):
            for event in events:
                if isinstance(event, RunFinished):
                    keep(study, event)
                progress.show(event)
                if isinstance(event, RunFailed):
                    failures.append(event)
                    watch.is_failure_enough = self.stops_at_failure
                if isinstance(event, RunFinished) and not watch.stops_now:
                    with suppress(KeyboardInterrupt), interruption.at_once():
                        reports.update()
        interruption.check()
        return failures

    def time_epochs(self) -> None:
        """Time an epoch of every ablation in the folder, unless that has been done for them all.

        Times are only comparable when they were measured together, so a new ablation means that all
        are measured again.
        """
        import torch

        study = self.study
        found = load_study(study.study_dir)
        to_time = one_run_of_each_ablation(found.records)
        timed = found.timing.by_ablation if found.timing else {}
        if all(run.ablation in timed for run in to_time):
            return
        print_line(
            self.console,
            "Runs are done. Now each variant's epoch time, measured alone, in rounds ...",
        )
        num_measurements = len(to_time) * (study.timing_plan.num_rounds + 1)
        with counting_bar(self.console, "timing epochs", num_measurements) as advance:

            def after_measurement() -> None:
                self.interruption.check()
                advance()

            timing = measure_epoch_times(
                to_time,
                study.dataset,
                torch.device(study.setup.device),
                study.setup.arithmetic,
                study.timing_plan,
                after_measurement,
            )
        write_sealed(study.study_dir / TIMING_FILE, timing)


class Watch:
    """Looks whether to stop, several times a second while runs are under way, and says once what
    whoever waits should know."""

    def __init__(
        self,
        interruption: StopRequest,
        pool: WorkerPool,
        console: Console,
        finishing_words: Callable[[], str],
    ) -> None:
        self.interruption = interruption
        self.pool = pool
        self.console = console
        self.finishing_words = finishing_words
        self.is_failure_enough = False
        """Whether a run has failed, and that is a reason to stop."""
        self.has_said_finishing = False
        self.has_said_waiting = False

    @property
    def stops_now(self) -> bool:
        """Whether what is under way is to be left."""
        return self.is_failure_enough or self.interruption.is_immediate

    def look(self) -> Stop:
        """Whether to stop."""
        if self.stops_now:
            return Stop.NOW
        wants_to_finish = self.interruption.wants_to_finish
        if wants_to_finish and not self.has_said_finishing:
            self.has_said_finishing = True
            print_line(self.console, self.finishing_words())
        has_machines = self.pool.has_machines()
        if not has_machines and not self.has_said_waiting:
            print_line(
                self.console,
                "The cluster has lost its last machine. Waiting for another to join ...",
            )
        self.has_said_waiting = not has_machines
        return Stop.GRACEFULLY if wants_to_finish else Stop.NO


def keep(study: PreparedStudy, event: RunFinished) -> None:
    """Write a finished run to the disk.

    Raises:
        StudyError: it cannot be written; then nothing after it could be, either.
    """
    folder = run_folder(study.study_dir, event.run_spec.ablation, event.run_spec.seed)
    try:
        write_run(folder, event.result)
    except OSError as error:
        num_kept = len(study.run_specs) - len(missing_runs(study.study_dir, study.run_specs))
        raise StudyError(
            f"{folder} cannot be written ({error.strerror}), so the study has stopped; "
            f"{num_kept} of {plural(len(study.run_specs), 'run')} are kept: once that is mended, the same "
            "command does the rest"
        ) from error
