"""What a run costs beside its training: in processes, on a Ray cluster, and on the disk.

    python -m benchmarks.overhead --out docs/performance/overhead.json

Runs are as short as they can be, so that nearly all of their time is what is asked for.
`performance.py` makes part of docs/scaling.md of what is written here.
"""

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path

import click
import msgspec
from rich.console import Console

from ablations.analysis.summary import summarise
from ablations.catalogue.designs import design_ablations
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import RunSpec
from ablations.commands.options import clear_errors
from ablations.data.datasets import load_dataset
from ablations.records.atomic_io import write_json
from ablations.records.run import RunResult, write_run
from ablations.records.study import load_study, missing_runs, plan_runs, run_folder
from ablations.records.study_spec import StudySpec, create_study
from ablations.runner.backends import BACKENDS, Backend, connection, make_pool
from ablations.runner.progress import say
from ablations.runner.scheduler import Event, RunFailed, RunFinished, WorkerSetup, execute
from benchmarks.measurements import BackendOverhead, DiskOverhead, Overhead, spread
from speed.arithmetic import Arithmetic

DEFAULT_OUT = Path("runs/bench/overhead.json")
NUM_SEEDS = 30
"""Of the study that docs/scaling.md asks about: every combination of 8 ingredients."""
ARITHMETIC: Arithmetic = "float32"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--runs", type=click.IntRange(min=4), default=64, show_default=True, help="A round.")
@click.option("--slots", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=NUM_SEEDS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True)
@clear_errors
def main(rounds: int, runs: int, slots: int, seeds: int, out: Path) -> None:
    """Measure what a run costs beside its training. Leave the machine alone meanwhile.

    \b
    Example:
      python -m benchmarks.overhead --out docs/performance/overhead.json
    """
    console = Console()
    write_json(out, measure_overhead(rounds, runs, slots, seeds, console))
    say(console, f"All figures: {out}")


def measure_overhead(
    num_rounds: int, num_runs: int, num_slots: int, num_seeds: int, console: Console
) -> Overhead:
    """Measure both backends in turns, then the disk."""
    import torch

    from ablations.runner.run_one import describe_environment, utc_now
    from ablations.version import source_commit, source_digest

    dataset = load_dataset("digits", None)
    setup = WorkerSetup("digits", None, "cpu", ARITHMETIC, source_commit(), source_digest())
    spec = StudySpec(dataset.id, dataset.title, 1, 128, "cpu", ARITHMETIC)
    runs = plan_runs(spec, [CATALOGUE[0]], range(num_runs))
    backends: dict[Backend, list[BackendOverhead]] = {name: [] for name in BACKENDS}
    for _ in range(num_rounds):
        for name, found in backends.items():
            with connection(name, None, num_slots, 1.0) as cluster:
                pool = make_pool(setup, num_slots, cluster, dataset)
                overhead, results = time_runs(runs, execute(runs, pool), num_slots)
            found.append(overhead)
            say(console, f"{name}: {1000 * overhead.slot_seconds:.0f} ms of a slot for each run")
    with tempfile.TemporaryDirectory() as folder:
        disk = measure_disk(Path(folder), spec, results, num_seeds, console)
    return Overhead(
        environment=describe_environment(torch.device("cpu"), ARITHMETIC),
        measured_at=utc_now(),
        num_rounds=num_rounds,
        num_runs=num_runs,
        num_slots=num_slots,
        slot_seconds={k: spread([o.slot_seconds for o in v]) for k, v in backends.items()},
        driver_seconds={k: spread([o.driver_seconds for o in v]) for k, v in backends.items()},
        startup_seconds={k: spread([o.startup_seconds for o in v]) for k, v in backends.items()},
        disk=disk,
    )


def time_runs(
    runs: Sequence[RunSpec], events: Iterable[Event], num_slots: int
) -> tuple[BackendOverhead, list[RunResult]]:
    """Carry runs out; what each costs from when every worker has ended its first ones."""
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
    return (
        BackendOverhead(
            slot_seconds=(wall_seconds * num_slots - training_seconds) / len(counted),
            driver_seconds=cpu_seconds / len(counted),
            startup_seconds=startup_seconds,
        ),
        results,
    )


def measure_disk(
    folder: Path,
    spec: StudySpec,
    results: Sequence[RunResult],
    num_seeds: int,
    console: Console,
) -> DiskOverhead:
    """Write a study of every combination and seed, read it again, and render its report."""
    from reports.html.page import render_page

    factors = [entry for entry in CATALOGUE if entry.is_core or entry.kind == "training"]
    runs = plan_runs(spec, design_ablations("factorial", factors), range(num_seeds))
    create_study(folder, spec)
    seconds = []
    for run, result in zip(runs, cycle(results), strict=False):
        record = msgspec.structs.replace(result.record, run_spec=run, digest=run.digest)
        started = time.perf_counter()
        write_run(run_folder(folder, run.ablation, run.seed), replace(result, record=record))
        seconds.append(time.perf_counter() - started)
    say(console, f"{len(runs):,} runs written, {1000 * sum(seconds) / len(seconds):.1f} ms each")
    times = [time.perf_counter()]
    assert not missing_runs(load_study(folder), runs)
    times.append(time.perf_counter())
    found = summarise(load_study(folder))
    times.append(time.perf_counter())
    page = render_page(found)
    times.append(time.perf_counter())
    resume, read, render = (after - before for before, after in pairwise(times))
    say(console, f"resumed in {resume:.1f} s, read in {read:.1f} s, rendered in {render:.1f} s")
    return DiskOverhead(
        num_runs=len(runs),
        write_seconds=spread(seconds),
        resume_seconds=resume,
        summarise_seconds=read,
        render_seconds=render,
        page_bytes=len(page.encode()),
    )


if __name__ == "__main__":
    main()
