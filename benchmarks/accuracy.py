"""What another arithmetic does to accuracy: from study folders to one small file.

    python -m benchmarks.accuracy STUDY_FOLDER... --out docs/performance/accuracy.json

The studies hold the same experiment in several arithmetics, with the same seeds; such a study is
made by `python cli.py ablate target --seeds 0-9 --arithmetic float32 --out STUDY_FOLDER`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from ablations.catalogue.experiment import RunSpec
from ablations.commands.options import clear_errors
from ablations.records.atomic_io import write_json
from ablations.records.run import RunRecord
from ablations.records.study import load_study
from ablations.records.study_spec import StudyError
from benchmarks.measurements import Accuracy, AccuracyRun
from speed.arithmetic import ARITHMETICS, Arithmetic

DEFAULT_OUT = Path("runs/bench/accuracy.json")
REFERENCE: Arithmetic = "plain"


def read_runs(folders: Iterable[Path]) -> list[RunRecord]:
    """The runs of all the studies.

    Raises:
        StudyError: a folder is no study, or not all of its records can be read.
    """
    records: list[RunRecord] = []
    for folder in folders:
        study = load_study(folder)
        if study.problems:
            raise StudyError(f"{folder}: {' '.join(study.problems)}")
        records += study.records
    return records


def collect_accuracy(records: Sequence[RunRecord]) -> Accuracy:
    """The runs' accuracies, by arithmetic and seed.

    Raises:
        StudyError: there are none, they differ in more than arithmetic and seed, or two are the
            same.
    """
    if not records:
        raise StudyError("the studies have no runs yet")
    run_spec = without_seed(records[0])
    for record in records:
        if without_seed(record) != run_spec:
            raise StudyError(
                f"{record.run_spec.ablation}, seed {record.run_spec.seed} "
                f"({record.environment.arithmetic}) is another experiment than the first run: "
                "all runs must be equal but for their seed and arithmetic"
            )
    counts = Counter((run.environment.arithmetic, run.run_spec.seed) for run in records)
    [((arithmetic, seed), count)] = counts.most_common(1)
    if count > 1:
        raise StudyError(
            f"seed {seed} is there {count} times in {arithmetic}; name each study once"
        )
    return Accuracy(
        reference=REFERENCE,
        ablation=run_spec.ablation,
        dataset_name=run_spec.dataset.name,
        num_epochs=run_spec.training.num_epochs,
        num_train_images=run_spec.training.num_train_images or run_spec.dataset.num_train,
        runs=sorted(map(accuracy_run, records), key=arithmetic_and_seed),
    )


def without_seed(record: RunRecord) -> RunSpec:
    """The experiment as all of its seeds have it."""
    return replace(record.run_spec, seed=0)


def accuracy_run(record: RunRecord) -> AccuracyRun:
    """What is kept of a run."""
    return AccuracyRun(
        arithmetic=record.environment.arithmetic,
        seed=record.run_spec.seed,
        test_correct=record.last_epoch.test_correct,
        num_test_images=record.run_spec.dataset.num_test,
        digest=record.digest,
        commit=record.environment.commit,
        device_name=record.environment.device_name,
        torch_version=record.environment.torch_version,
    )


def arithmetic_and_seed(run: AccuracyRun) -> tuple[int, int]:
    """The order of the file."""
    return ARITHMETICS.index(run.arithmetic), run.seed


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("study_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="JSON."
)
@clear_errors
def main(study_dirs: tuple[Path, ...], out: Path) -> None:
    """Collect the accuracies of studies that differ in their seeds and arithmetic alone."""
    accuracy = collect_accuracy(read_runs(study_dirs))
    write_json(out, accuracy)
    for arithmetic, count in Counter(run.arithmetic for run in accuracy.runs).items():
        click.echo(f"{arithmetic}: {count} runs")
    click.echo(f"All figures: {out}")


if __name__ == "__main__":
    main()
