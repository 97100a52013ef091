"""What `cli.py ablate` does, top to bottom: load, lock, quarantine, run, time epochs, report."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ablations.catalogue.experiment import RunSpec
from ablations.commands.live_report import LiveReport, measure_networks
from ablations.commands.looks import next_look
from ablations.commands.messages import print_how_to_resume, print_look, print_plan, print_runs
from ablations.commands.prepare import PreparedStudy, StudyRequest, prepare
from ablations.records.checksums import write_with_checksum
from ablations.records.lock import study_lock
from ablations.records.run import run_folder, write_run
from ablations.records.study import (
    add_record,
    one_run_of_each_ablation,
    quarantine_damaged_runs,
)
from ablations.records.study_spec import StudyError
from ablations.records.timing import TIMING_FILE
from ablations.runner.backends import connection, make_pool
from ablations.runner.epoch_timing import measure_epoch_times
from ablations.runner.progress import StudyProgress, make_console, print_line
from ablations.runner.scheduler import RunFailed, RunFinished, Stop, execute
from ablations.runner.signals import StopRequest, handle_signals
from ablations.words import plural


def run_study(request: StudyRequest, write_report: Callable[[Path], Path]) -> int:
    """Carry out a study. `write_report` renders the report of a study's folder and returns its path.

    Returns the exit code: 0; 1 when a run failed; 128 plus the signal's number after a signal (130
    after Ctrl-C).

    Raises:
        ClusterError, DataError, StudyError, RecordError: the request cannot be carried out.
    """
    console = make_console()
    study = None
    failures: list[RunFailed] = []
    backend = request.backend, request.ray_address, request.num_jobs, request.gpus_per_task
    with handle_signals() as interruption:
        try:
            with connection(*backend) as cluster:
                study = prepare(request, console, cluster)
                if request.is_dry_run:
                    print_plan(study, console)
                    print_runs(study, console)
                    return 0
                # What was loaded before the lock was taken may have changed since.
                with study_lock(study.study_dir, study.spec) as on_disk:
                    study = replace(study, on_disk=on_disk)
                    print_plan(study, console)
                    for line in quarantine_damaged_runs(study.study_dir, on_disk):
                        print_line(console, line)
                    study, failures = _train_all_looks(
                        study, request, write_report, console, interruption
                    )
                    if cluster:
                        cluster.leave()
                    if not interruption.wants_to_finish and not (
                        failures and request.stops_at_failure
                    ):
                        study = _time_epochs(study, console, interruption)
                    measure_networks(study, console)
                    print_line(console, f"Report: {write_report(study.study_dir)}")
                    if interruption.wants_to_finish:
                        sys.exit(interruption.exit_code)
            interruption.check()
        except SystemExit:
            with interruption.deferred():
                if study:
                    print_how_to_resume(study, request.until_decided, console)
            return interruption.exit_code
    for failure in failures:
        run_spec = failure.run_spec
        print_line(console, f"FAILED: {run_spec.ablation}, seed {run_spec.seed}: {failure.reason}")
        print_line(console, failure.details)
    return 1 if failures else 0


def _train_all_looks(
    study: PreparedStudy,
    request: StudyRequest,
    write_report: Callable[[Path], Path],
    console: Console,
    interruption: StopRequest,
) -> tuple[PreparedStudy, list[RunFailed]]:
    """Train the requested runs and, where the request says so, those of all later looks."""
    while True:
        study, failures = _train_missing_runs(
            study, write_report, console, interruption, request.stops_at_failure
        )
        if failures or interruption.wants_to_finish:
            return study, failures
        more = next_look(study.on_disk)
        print_look(study, more, console)
        if not (request.until_decided and more):
            return study, failures
        study = replace(study, run_specs=list(dict.fromkeys([*study.run_specs, *more])))


def _train_missing_runs(
    study: PreparedStudy,
    write_report: Callable[[Path], Path],
    console: Console,
    interruption: StopRequest,
    stops_at_failure: bool,
) -> tuple[PreparedStudy, list[RunFailed]]:
    """Train the missing runs, and write each one as it ends. Returns the runs that failed, too."""
    failures: list[RunFailed] = []
    if not study.missing:
        return study, failures
    live_report = LiveReport(write_report, console)
    progress = StudyProgress(console, len(study.missing), study.spec.num_epochs)
    pool = make_pool(study.setup, study.num_jobs, study.cluster, study.dataset)

    def should_stop() -> Stop:
        if interruption.is_immediate or (failures and stops_at_failure):
            return Stop.NOW
        progress.print_state(interruption.wants_to_finish, pool.num_slots() > 0)
        return Stop.GRACEFULLY if interruption.wants_to_finish else Stop.NO

    events = execute(study.missing, pool, should_stop)
    # Signals are checked several times a second, between two events, so that none is lost.
    with closing(events), progress, interruption.deferred(can_finish=True):
        for event in events:
            if isinstance(event, RunFinished):
                study = _write_run(study, event)
            progress.show(event)
            if isinstance(event, RunFailed):
                failures.append(event)
            if isinstance(event, RunFinished) and should_stop() is not Stop.NOW:
                with suppress(SystemExit), interruption.at_once():
                    live_report.update(study)
    interruption.check()
    return study, failures


def _write_run(study: PreparedStudy, event: RunFinished) -> PreparedStudy:
    folder = run_folder(study.study_dir, event.run_spec)
    try:
        write_run(folder, event.result)
    except OSError as error:
        num_kept = len(study.run_specs) - len(study.missing)
        raise StudyError(
            f"{folder} cannot be written ({error.strerror}); {num_kept} of "
            f"{plural(len(study.run_specs), 'run')} are kept: fix that, and the same command does the "
            "rest"
        ) from error
    return replace(study, on_disk=add_record(study.on_disk, event.result.record))


def _time_epochs(
    study: PreparedStudy, console: Console, interruption: StopRequest
) -> PreparedStudy:
    """Time an epoch of every ablation of the study, unless all have been timed.

    Times are comparable only if they were measured together: a new ablation means that all are
    measured again. A part of a study is not timed.
    """
    if study.shard and study.shard.count > 1:
        return study
    if not study.is_device_here:
        device = study.setup.device
        print_line(console, f"Epochs are not timed: there is no {device} on this machine.")
        return study
    run_specs = one_run_of_each_ablation(study.on_disk.records)
    times = study.on_disk.timing.by_ablation if study.on_disk.timing else {}
    timed_digests = {time.digest for time in times.values()}
    if all(run_spec.digest in timed_digests for run_spec in run_specs):
        return study
    import torch

    print_line(console, "Runs are done. Timing an epoch of each variant, one at a time ...")

    def show_progress(order: Sequence[RunSpec]) -> Iterator[RunSpec]:
        for run_spec in track(
            order,
            "timing epochs",
            console=console,
            transient=True,
            auto_refresh=False,  # A thread that redraws would disturb what is timed.
            disable=not console.is_terminal,
        ):
            interruption.check()
            yield run_spec

    timing = measure_epoch_times(
        run_specs,
        study.dataset,
        torch.device(study.setup.device),
        study.setup.arithmetic,
        study.timing_plan,
        show_progress,
        num_replicas=int(study.setup.num_replicas > 1),
    )
    write_with_checksum(study.study_dir / TIMING_FILE, timing)
    return replace(study, on_disk=replace(study.on_disk, timing=timing))
