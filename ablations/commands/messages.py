"""What is printed about a study before its runs start, and after it was interrupted."""

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from ablations.catalogue.experiment import RunSpec
from ablations.commands.looks import next_look, outside_the_plan
from ablations.commands.prepare import PreparedStudy
from ablations.records.atomic_io import RecordError
from ablations.records.study import load_study, missing_runs
from ablations.records.study_spec import StudyError
from ablations.runner.duration import estimate_seconds
from ablations.runner.progress import print_line
from ablations.words import duration, plural


def print_plan(study: PreparedStudy, console: Console) -> None:
    """Print what will run, where, and how long it will take."""
    spec, setup, run_specs = study.spec, study.setup, study.run_specs
    num_images = spec.num_train_images or spec.dataset.num_train
    seeds = Counter(run_spec.ablation for run_spec in run_specs)
    of_ablations = sorted({number for name, number in seeds.items() if name != "target"})
    num_seeds = " or ".join(map(str, of_ablations))
    shard = ""
    if part := study.shard:
        shard = f"part {part.number} of {part.count}: {plural(len(run_specs), 'run')} of "
    print_line(
        console,
        f"{shard}the target with {plural(seeds['target'], 'seed')}"
        + (f", {plural(len(seeds) - 1, 'ablation')} with {num_seeds} each" if num_seeds else "")
        + f"; the {spec.recipe} recipe, "
        f"{plural(spec.num_epochs, 'epoch')} of {num_images:,} images of {spec.dataset_title} "
        f"({study.dataset.source}), tested on {spec.dataset.num_test:,}.",
    )
    at_a_time = f"{study.num_jobs} at a time"
    if setup.num_replicas > 1:
        at_a_time = f"up to {setup.num_replicas} seeds of a variant as one network"
    if study.cluster:
        at_a_time += " on a Ray cluster"
    print_line(
        console,
        f"On {setup.device} ({setup.arithmetic}), {at_a_time}, into {study.study_dir}/: "
        f"{len(run_specs) - len(study.missing)} of {len(run_specs)} runs are there already.",
    )
    if outside := outside_the_plan(study.on_disk, run_specs):
        print_line(
            console,
            f"Not in the study's plan: so many seeds of {', '.join(outside)}. With them, verdicts no "
            "longer hold their error rate of 5 %; a new study (--out) has its own plan.",
        )
    if study.missing:
        _print_duration(study, console)


def print_look(study: PreparedStudy, more: Sequence[RunSpec], console: Console) -> None:
    """Print what a look at the results decided, and what the plan has next."""
    plan = study.spec.seed_plan
    if study.shard or plan is None or len(plan.looks) < 2:
        return
    line = "The plan is complete: every ablation is decided, or has the most seeds."
    if more:
        names = ", ".join(dict.fromkeys(run_spec.ablation for run_spec in more))
        line = f"Next in the plan: {plural(len(more), 'run')} of {names} (--until-decided)."
    print_line(console, line)


def _print_duration(study: PreparedStudy, console: Console) -> None:
    done = study.on_disk.records
    if not done and not study.is_device_here:
        device = study.setup.device
        print_line(console, f"The duration is not estimated: this machine has no {device} device.")
        return
    if not done:
        print_line(console, "Timing a few steps; the first time, this also compiles code ...")
    seconds = estimate_seconds(study.missing, done, study.num_jobs, study.dataset, study.setup)
    print_line(
        console,
        f"Training {plural(len(study.missing), 'run')} will take about {duration(seconds)}; epoch timing takes a "
        "little longer.",
    )


def print_runs(study: PreparedStudy, console: Console) -> None:
    """Print every run of the study, and whether it is there."""
    missing = set(study.missing)
    for run_spec in study.run_specs:
        state = "would run" if run_spec in missing else "is there"
        print_line(console, f"  {state:<10} {run_spec.ablation}, seed {run_spec.seed}")


def print_how_to_resume(study: PreparedStudy, until_decided: bool, console: Console) -> None:
    """Print, after an interruption, what is kept and the command that continues the study."""
    num_runs = len(study.run_specs)
    num_done = 0
    # A problem of the folder must not change the exit code that the signal gave.
    with suppress(StudyError, RecordError):
        on_disk = load_study(study.study_dir)
        missing = missing_runs(on_disk, study.run_specs)
        if until_decided:
            missing = next_look(on_disk)
            num_runs = len(on_disk.records) + len(missing)
        num_done = num_runs - len(missing)
    message = f"Stopped. {num_done} of {num_runs} runs are finished and kept in {study.study_dir}/."
    if num_done:
        message += f" For a report on them: python cli.py report {study.study_dir}"
    command = shlex.join([sys.executable, *sys.argv])
    print_line(console, f"{message}\nTo continue, run the same command again:\n  {command}")
