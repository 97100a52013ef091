"""The effect of the precision on accuracy, from study folders to one small file:

    python -m benchmarks.accuracy STUDY_FOLDER... --out docs/performance/accuracy.json

The studies hold the same runs in several precisions. Each is made by
`python cli.py ablate target --seeds 0-9 --arithmetic float32 --out STUDY_FOLDER`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from ablations.commands.options import clear_errors
from ablations.records.atomic_io import write_json
from ablations.records.run import RunRecord
from ablations.records.study import load_study
from ablations.records.study_spec import StudyError
from benchmarks.measurements import Accuracy, AccuracyRun
from benchmarks.options import SETTINGS, out_option
from speed.arithmetic import ARITHMETICS


def read_records(folders: Iterable[Path]) -> list[RunRecord]:
    """The run records of several studies.

    Raises:
        StudyError: a folder is not a study, or some of its records cannot be read.
    """
    records: list[RunRecord] = []
    for folder in folders:
        study = load_study(folder)
        if study.problems:
            raise StudyError(f"{folder}: {' '.join(study.problems)}")
        records += study.records
    return records


def collect_accuracy(records: Sequence[RunRecord]) -> Accuracy:
    """The accuracies by precision and seed.

    Raises:
        StudyError: there are none, they differ in more than precision and seed, or two are the
            same.
    """
    if not records:
        raise StudyError("the studies have no finished runs")
    run_spec = replace(records[0].run_spec, seed=0)
    for record in records:
        if replace(record.run_spec, seed=0) != run_spec:
            raise StudyError(
                f"{record.run_spec.ablation}, seed {record.run_spec.seed} "
                f"({record.environment.arithmetic}) differs from the first run in more than its "
                "seed and precision"
            )
    runs = [
        AccuracyRun(
            arithmetic=record.environment.arithmetic,
            seed=record.run_spec.seed,
            test_correct=record.last_epoch.test_correct,
            num_test_images=record.run_spec.dataset.num_test,
            digest=record.digest,
            commit=record.environment.commit,
            device_name=record.environment.device_name,
            torch_version=record.environment.torch_version,
        )
        for record in records
    ]
    [((arithmetic, seed), count)] = Counter((run.arithmetic, run.seed) for run in runs).most_common(
        1
    )
    if count > 1:
        raise StudyError(f"seed {seed} occurs {count} times in {arithmetic}; name each study once")
    return Accuracy(
        reference="plain",
        ablation=run_spec.ablation,
        dataset_name=run_spec.dataset.name,
        num_epochs=run_spec.training.num_epochs,
        num_train_images=run_spec.training.num_train_images or run_spec.dataset.num_train,
        runs=sorted(runs, key=lambda run: (ARITHMETICS.index(run.arithmetic), run.seed)),
    )


@click.command(context_settings=SETTINGS)
@click.argument("study_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option("accuracy.json")
@clear_errors
def main(study_dirs: tuple[Path, ...], out: Path) -> None:
    """Collect the accuracies of studies that differ only in their seeds and precision."""
    accuracy = collect_accuracy(read_records(study_dirs))
    write_json(out, accuracy)
    for arithmetic, count in Counter(run.arithmetic for run in accuracy.runs).items():
        click.echo(f"{arithmetic}: {count} runs")
    click.echo(f"All numbers: {out}")


if __name__ == "__main__":
    main()
