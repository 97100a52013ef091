"""The part of docs/scaling.md that is made from measurements."""

import math

from ablations.catalogue.designs import design_ablations
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.training.seed_groups import MAX_REPLICAS, replicas_for_all, split_into_groups
from ablations.words import duration
from benchmarks.measurements import Overhead, Spread
from reports.text.wording import decimal

NUM_NETWORKS, NUM_SEEDS = 2**8, 30
"""A factorial of eight ingredients."""
SLOTS = (2, 16, 64, 256, 1000)


def overhead_words(overhead: Overhead | None, run_seconds: float) -> str:
    """What a run costs beside its training, and what follows for a large study.

    `run_seconds` is what a run of the reference study took on one core.
    """
    if overhead is None:
        return "Not measured yet.\n"
    paragraphs = [measured_words(overhead), table(overhead), factorial_words(overhead, run_seconds)]
    return "\n\n".join([*paragraphs, gpu_words()]) + "\n"


def measured_words(overhead: Overhead) -> str:
    """How it was measured."""
    return (
        f"Measured on {overhead.environment.device_name}, with {overhead.num_slots} workers and "
        f"{overhead.num_rounds} rounds of {overhead.num_runs} runs that train on 128 images for one "
        "epoch, so that hardly anything is left but what a run costs beside its training. The "
        "median round (lowest to highest):"
    )


def table(overhead: Overhead) -> str:
    """What was measured."""
    lines = ["| | processes | Ray |", "|---|---:|---:|"]
    rows = {
        "a worker's time beside training, for each run": overhead.slot_seconds,
        "the driver's processor time for each run": overhead.driver_seconds,
        "start, until the first run has ended": overhead.startup_seconds,
    }
    for what, found in rows.items():
        lines.append(f"| {what} | {in_time(found['processes'])} | {in_time(found['ray'])} |")
    return "\n".join(lines)


def in_time(found: Spread) -> str:
    """Seconds, or milliseconds where they are few."""
    if found.median < 1:
        low, middle, high = (1000 * value for value in (found.low, found.median, found.high))
        return f"{middle:.0f} ms ({low:.0f} to {high:.0f})"
    return f"{decimal(found.median, 1)} s ({decimal(found.low, 1)} to {decimal(found.high, 1)})"


def factorial_words(overhead: Overhead, run_seconds: float) -> str:
    """The factorial on more and more cores."""
    disk = overhead.disk
    num_runs = NUM_NETWORKS * NUM_SEEDS
    driver_seconds = overhead.driver_seconds["ray"].median + disk.write_seconds.median
    lines = [
        (
            f"**A factorial of eight ingredients with {NUM_SEEDS} seeds** is {num_runs:,} runs. On the disk, "
            f"{disk.num_runs:,} records: a run is written in {1000 * disk.write_seconds.median:.1f} ms, "
            f"what is missing is seen in {disk.resume_seconds:.1f} s, and the page "
            f"({disk.page_bytes / 1e6:.1f} MB) takes {disk.summarise_seconds + disk.render_seconds:.1f} s. "
            f"A run of the reference study takes {duration(run_seconds)} on one of these cores, so on "
            "a cluster of such cores:"
        ),
        "",
        "| cores | whole study | of it beside training | driver busy |",
        "|---:|---:|---:|---:|",
    ]
    for num_slots in SLOTS:
        rounds = math.ceil(num_runs / num_slots)
        startup = overhead.startup_seconds["ray"].median
        beside = startup + rounds * overhead.slot_seconds["ray"].median
        whole = rounds * run_seconds + beside
        busy = num_runs * driver_seconds / whole
        lines.append(
            f"| {num_slots:,} | {duration(whole)} | {100 * beside / whole:.1f} % | {100 * busy:.1f} % |"
        )
    lines += [
        "",
        (
            f"Only {overhead.num_slots} workers at a time were measured; the rest is arithmetic, under the "
            "assumption that a worker costs the driver no more when there are many. Reports while runs are under "
            "way come on top, and may take a tenth of the driver's time. The driver would be the "
            f"limit at {1 / driver_seconds:,.0f} finished runs a second."
        ),
    ]
    return "\n".join(lines)


def gpu_words() -> str:
    """What can be said of GPUs without having measured any."""
    lines = [
        (
            "**On GPUs** a task is a group of seeds. No GPU has been measured with this project yet, so "
            "there is no time to give; what can be said is how the work is divided:"
        ),
        "",
        "| GPUs | seeds a task, at most | tasks | tasks that a GPU does one after another |",
        "|---:|---:|---:|---:|",
    ]
    runs = factorial_runs()
    for num_gpus in (8, 1000):
        groups = split_into_groups(runs, replicas_for_all(runs, MAX_REPLICAS, num_gpus))
        lines.append(
            f"| {num_gpus:,} | {max(map(len, groups))} | {len(groups):,} | "
            f"{math.ceil(len(groups) / num_gpus)} |"
        )
    lines += [
        "",
        (
            "For a course with 8 GPUs: start Ray on each machine, and give the command once; `--dry-run` "
            "lists the runs. For a lab with 1,000: the same, or an array of 1,000 parts. First do one seed "
            "with `--seeds 0`, which says what a run takes there; the study then goes on from those runs."
        ),
    ]
    return "\n".join(lines)


def factorial_runs() -> list[RunSpec]:
    """The runs of the large factorial."""
    factors = [entry for entry in CATALOGUE if entry.is_core or entry.kind == "training"]
    spec = StudySpec(DatasetId("mnist", "", 60_000, 10_000), "MNIST", 20, None, "cuda")
    return plan_runs(spec, design_ablations("factorial", factors), range(NUM_SEEDS))
