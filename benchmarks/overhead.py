"""The cost of a run beyond its training: in processes, on a Ray cluster, and on disk.

    python -m benchmarks.overhead --out docs/performance/overhead.json

Runs are as short as possible, so that almost all of their time is overhead.
"""

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path

import click
import msgspec
import torch

from ablations.analysis.summary import summarise
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.commands.options import clear_errors
from ablations.data.datasets import load_dataset
from ablations.records.atomic_io import write_json
from ablations.records.run import RunResult, run_folder, write_run
from ablations.records.study import (
    load_study,
    missing_runs,
    plan_runs,
)
from ablations.records.study_spec import StudySpec, create_study
from ablations.runner.backends import BACKENDS, Backend, connection, make_pool
from ablations.runner.run_one import describe_environment, utc_now
from ablations.runner.scheduler import Event, RunFailed, RunFinished, WorkerSetup, execute
from ablations.version import source_commit, source_digest
from benchmarks.derived import FACTORIAL_SEEDS, large_factorial
from benchmarks.measurements import BackendOverhead, DiskOverhead, Overhead, spread
from benchmarks.options import SETTINGS, out_option, rounds_option
from reports.html.page import render_page
from speed.arithmetic import Arithmetic

ARITHMETIC: Arithmetic = "float32"


@click.command(context_settings=SETTINGS)
@rounds_option(3)
@click.option("--runs", type=click.IntRange(min=4), default=64, show_default=True, help="A round.")
@click.option("--slots", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=FACTORIAL_SEEDS, show_default=True)
@out_option("overhead.json")
@clear_errors
def main(num_rounds: int, runs: int, slots: int, seeds: int, out: Path) -> None:
    """Measure the cost of a run beyond its training. Do not use the machine meanwhile."""
    write_json(out, measure_overhead(num_rounds, runs, slots, seeds))
    click.echo(f"All numbers: {out}")


def measure_overhead(num_rounds: int, num_runs: int, num_slots: int, num_seeds: int) -> Overhead:
    """Measure both backends in turn, then the disk."""
    dataset = load_dataset("digits", None)
    setup = WorkerSetup("digits", None, "cpu", ARITHMETIC, source_commit(), source_digest())
    spec = StudySpec(dataset.id, dataset.title, 1, 128, "cpu", ARITHMETIC)
    run_specs = plan_runs(spec, [find_ablation("target")], range(num_runs))
    by_backend: dict[Backend, list[BackendOverhead]] = {name: [] for name in BACKENDS}
    for _ in range(num_rounds):
        for name, found in by_backend.items():
            with connection(name, None, num_slots, 1.0) as cluster:
                pool = make_pool(setup, num_slots, cluster, dataset)
                overhead, results = time_runs(execute(run_specs, pool), num_slots)
            found.append(overhead)
            click.echo(f"{name}: {1000 * overhead.slot_seconds:.0f} ms of a worker per run")
    with tempfile.TemporaryDirectory() as folder:
        disk = measure_disk(Path(folder), spec, results, num_seeds)

    def by_name(field: str) -> dict[str, object]:
        return {
            name: spread([getattr(overhead, field) for overhead in found])
            for name, found in by_backend.items()
        }

    fields = ("slot_seconds", "driver_seconds", "startup_seconds")
    return Overhead(
        environment=describe_environment(torch.device("cpu"), ARITHMETIC),
        measured_at=utc_now(),
        num_rounds=num_rounds,
        num_runs=num_runs,
        num_slots=num_slots,
        disk=disk,
        **{field: by_name(field) for field in fields},  # type: ignore[arg-type]
    )


def time_runs(events: Iterable[Event], num_slots: int) -> tuple[BackendOverhead, list[RunResult]]:
    """The overhead of each run, once every worker has ended its first two runs."""
    started = time.perf_counter()
    startup_seconds = 0.0
    results: list[RunResult] = []
    num_warm = 2 * num_slots
    for event in events:
        if isinstance(event, RunFailed):
            raise click.ClickException(f"{event.reason}\n{event.details}")
        if isinstance(event, RunFinished):
            if not results:
                startup_seconds = time.perf_counter() - started
            results.append(event.result)
            if len(results) == num_warm:
                warm, warm_cpu = time.perf_counter(), time.process_time()
    wall_seconds = time.perf_counter() - warm
    cpu_seconds = time.process_time() - warm_cpu
    counted = results[num_warm:]
    training_seconds = sum(result.record.wall_seconds for result in counted)
    overhead = BackendOverhead(
        slot_seconds=(wall_seconds * num_slots - training_seconds) / len(counted),
        driver_seconds=cpu_seconds / len(counted),
        startup_seconds=startup_seconds,
    )
    return overhead, results


def measure_disk(
    folder: Path, spec: StudySpec, results: Sequence[RunResult], num_seeds: int
) -> DiskOverhead:
    """Write a large factorial study, read it again, and render its report."""
    run_specs: list[RunSpec] = large_factorial(spec, num_seeds)
    create_study(folder, spec)
    seconds = []
    for run_spec, result in zip(run_specs, cycle(results), strict=False):
        record = msgspec.structs.replace(result.record, run_spec=run_spec, digest=run_spec.digest)
        started = time.perf_counter()
        run_dir = run_folder(folder, run_spec)
        write_run(run_dir, replace(result, record=record))
        seconds.append(time.perf_counter() - started)
    times = [time.perf_counter()]
    assert not missing_runs(load_study(folder), run_specs)
    times.append(time.perf_counter())
    found = summarise(load_study(folder))
    times.append(time.perf_counter())
    page = render_page(found)
    times.append(time.perf_counter())
    resume, read, render = (after - before for before, after in pairwise(times))
    click.echo(f"found in {resume:.1f} s, read in {read:.1f} s, rendered in {render:.1f} s")
    return DiskOverhead(
        num_runs=len(run_specs),
        write_seconds=spread(seconds),
        resume_seconds=resume,
        summarise_seconds=read,
        render_seconds=render,
        page_bytes=len(page.encode()),
    )


if __name__ == "__main__":
    main()
