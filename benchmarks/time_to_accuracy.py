"""The time to 99.4 %: this project with the tuned recipe, and the usual loop with the published one.

The number of epochs comes from committed studies with many seeds, and the speed from a comparison of
methods on this machine (`compare.py`).
"""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from ablations.analysis.requirements import WANTED_ACCURACY_PCT
from ablations.analysis.runs import runs_of
from ablations.records.run import RunRecord
from ablations.records.study import load_study
from benchmarks.derived import NUM_MNIST_IMAGES
from benchmarks.measurements import Comparison
from benchmarks.methods import BASELINE_NAME, REPOSITORY

PUBLISHED_STUDY = REPOSITORY / "docs" / "published"
SHORT_STUDY = REPOSITORY / "docs" / "ten-epochs"
"""The target with the tuned recipe in ten epochs."""


class TimeToAccuracy(NamedTuple):
    """How long one run takes until the mean over seeds is at least 99.4 %."""

    title: str
    num_epochs: int
    seconds: float
    """Of one run; a study's runs share the machine, so each has its share of the time."""
    speedup: float
    """Over the usual loop with the published recipe."""


def epochs_to_wanted_accuracy(runs: Sequence[RunRecord]) -> int | None:
    """The first epoch whose mean over runs is at least 99.4 %; None if there is none."""
    by_epoch = zip(*(run.epochs for run in runs), strict=False)
    means = [fmean(epoch.test_accuracy_pct for epoch in epochs) for epochs in by_epoch]
    return next((n for n, mean in enumerate(means, 1) if mean >= WANTED_ACCURACY_PCT), None)


def times_to_accuracy(comparison: Comparison) -> list[TimeToAccuracy]:
    """The baseline with the published recipe, then this project with the tuned one.

    Empty where a recipe does not reach the accuracy, or where a study is missing.
    """
    epochs_published, epochs_tuned = (
        epochs_to_wanted_accuracy(runs_of(load_study(folder), "target"))
        if folder.exists()
        else None
        for folder in (PUBLISHED_STUDY, SHORT_STUDY)
    )
    if epochs_published is None or epochs_tuned is None:
        return []
    by_method = {row.method: row for row in comparison.rows}
    num_epochs = {BASELINE_NAME: epochs_published}
    num_epochs |= dict.fromkeys(("one-run-tuned", "study-tuned"), epochs_tuned)
    return [
        TimeToAccuracy(
            row.title,
            epochs,
            epochs * NUM_MNIST_IMAGES / row.images_per_second.median,
            row.ratio.median * epochs_published / epochs,
        )
        for name, epochs in num_epochs.items()
        if (row := by_method.get(name))
    ]
