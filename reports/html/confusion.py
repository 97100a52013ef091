"""The confusion matrix of a network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ablations.analysis.summary import AblationResult
from ablations.inspection.load import Exhibits

MOST_CONFUSIONS = 3


class Confusion(NamedTuple):
    """Which classes a network confuses, summed over the seeds that were observed."""

    num_seeds: int
    counts: list[list[int]]
    """Test images: one row for each true class, one column for each answer."""
    class_names: Sequence[str]
    most: int
    """The smallest count that is marked as one of the most frequent mistakes."""


def confusion_of(row: AblationResult, exhibits: Exhibits) -> Confusion | None:
    """The confusion matrix summed over the seeds that were observed; None without any."""
    keys = [(row.ablation.name, run.run_spec.seed) for run in row.runs]
    found = [exhibits.observations[key] for key in keys if key in exhibits.observations]
    if not found:
        return None
    counts = np.sum([one.confusion for one in found], axis=0)
    names = exhibits.gallery.class_names if exhibits.gallery else list(map(str, range(len(counts))))
    mistakes = counts - np.diag(counts.diagonal())
    most = np.sort(mistakes, axis=None)[-MOST_CONFUSIONS]
    return Confusion(len(found), counts.tolist(), names, max(int(most), 1))
