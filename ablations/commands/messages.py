"""What is said of a study before it begins, and when it was stopped."""

import shlex
import sys

from rich.console import Console

from ablations.catalogue.presets import FULL
from ablations.commands.prepare import PreparedStudy
from ablations.records.study import find_study, missing_runs
from ablations.runner.duration import estimate_seconds
from ablations.runner.progress import say
from ablations.words import duration, plural


def announce(study: PreparedStudy, console: Console) -> None:
    """Say what will be done, and about how long it will take."""
    spec = study.spec
    num_images = spec.num_train_images or spec.dataset.num_train
    num_variants = len({run.ablation for run in study.run_specs})
    num_seeds = len({run.seed for run in study.run_specs})
    part = ""
    if study.shard:
        part = f"part {study.shard.number} of {study.shard.count}: {plural(len(study.run_specs), 'run')} of "
    say(
        console,
        f"{part}{plural(num_variants, 'variant')} x {plural(num_seeds, 'seed')}, "
        f"{plural(spec.num_epochs, 'epoch')} of {num_images:,} images of {spec.dataset_title} "
        f"({study.dataset.source}), tested on {spec.dataset.num_test:,}.",
    )
    at_a_time = f"{study.num_jobs} at a time"
    if study.setup.num_replicas > 1:
        at_a_time = f"up to {study.setup.num_replicas} seeds of a variant as one network"
    if study.cluster:
        at_a_time += " on a Ray cluster"
    say(
        console,
        f"On {study.setup.device} ({study.setup.arithmetic}), {at_a_time}, into {study.study_dir}/: "
        f"{len(study.run_specs) - len(study.missing)} of {len(study.run_specs)} runs are there already.",
    )
    if not spec.is_full_length:
        say(
            console,
            f"This is not the full recipe ({FULL.num_epochs} epochs of all images): networks that "
            "learn slowly will look worse than they are.",
        )
    if not study.missing:
        return
    done = study.on_disk.records
    if not done and not study.is_device_here:
        say(
            console,
            f"How long it will take cannot be tried out: there is no {study.setup.device} here.",
        )
        return
    if not done:
        say(console, "A few steps are tried out, to say how long it will take ...")
        if study.setup.arithmetic != "plain":
            say(
                console,
                "(The first time, loops are compiled for this processor: half a minute now, and "
                "some seconds more for each variant with other shapes, which are not counted.)",
            )
    seconds = estimate_seconds(study.missing, done, study.num_jobs, study.dataset, study.setup)
    say(
        console,
        f"The {len(study.missing)} missing runs will take about {duration(seconds)}, "
        "and timing the epochs a little longer.",
    )


def list_runs(study: PreparedStudy, console: Console) -> None:
    """Name every run of the plan, and whether it is there."""
    missing = set(study.missing)
    for run in study.run_specs:
        state = "would run" if run in missing else "is there"
        say(console, f"  {state:<10} {run.ablation}, seed {run.seed}")


def say_how_to_go_on(study: PreparedStudy, console: Console) -> None:
    """After Ctrl-C: what is kept, and the command that does the rest."""
    num_missing = len(missing_runs(find_study(study.study_dir) or study.on_disk, study.run_specs))
    num_done = len(study.run_specs) - num_missing
    message = f"Stopped. {num_done} of {len(study.run_specs)} runs are finished and kept in {study.study_dir}/."
    if num_done:
        message += f" A report on them: python cli.py report {study.study_dir}"
    rest = "the rest" if num_missing else "what is left, the epoch times and the report"
    command = shlex.join([sys.executable, *sys.argv])
    say(console, f"{message}\nThe same command does {rest}:\n  {command}")
