"""Reads the measurements, images and networks for a report.

A report does without what is missing; `build.py` makes it from a study's weights and the data set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ablations.inspection.gallery import (
    Gallery,
    has_weights,
    load_gallery,
    record_folder,
    shown_runs,
)
from ablations.records.atomic_io import RecordError
from ablations.records.observations import Observations, load_observations
from ablations.records.run import WEIGHTS_FILE, RunRecord, read_verified
from ablations.records.study import Study, within_study


@dataclass(frozen=True)
class Exhibits:
    """The measurements, images and networks of a study that a report shows."""

    observations: dict[tuple[str, int], Observations] = field(default_factory=dict)
    """By ablation and seed."""
    gallery: Gallery | None = None
    weights: dict[str, bytes] = field(default_factory=dict)
    """Weights of the gallery's seed in safetensors format, by ablation."""
    problems: tuple[str, ...] = ()
    """Files that were left out, and why."""
    unmeasured: tuple[RunRecord, ...] = ()
    """The runs with weights, but without measurements on them."""
    shown_runs: dict[str, RunRecord] = field(default_factory=dict)
    """The gallery's runs, by ablation."""

    @property
    def is_complete(self) -> bool:
        """Whether everything exists that can be made from the study's weights."""
        return not self.unmeasured and (self.gallery is not None or not self.shown_runs)


def load_exhibits(study_dir: Path, study: Study) -> Exhibits:
    """Read and verify what exists; a damaged file is left out and named in `problems`."""
    observations, weights = {}, {}
    problems: list[str] = []

    @contextmanager
    def problems_kept() -> Iterator[None]:
        try:
            yield
        except RecordError as error:
            problems.append(within_study(str(error), study_dir))

    for record in study.records:
        with problems_kept():
            if found := load_observations(record_folder(study_dir, record), record):
                observations[record.run_spec.ablation, record.run_spec.seed] = found
    gallery, runs = None, shown_runs(study, study_dir)
    with problems_kept():
        gallery = load_gallery(study_dir, runs)
    for name, record in runs.items() if gallery else ():
        with problems_kept():
            weights[name] = read_verified(record_folder(study_dir, record) / WEIGHTS_FILE, record)
    unmeasured = tuple(
        record
        for record in study.records
        if has_weights(study_dir, record)
        and (record.run_spec.ablation, record.run_spec.seed) not in observations
    )
    return Exhibits(observations, gallery, weights, tuple(problems), unmeasured, runs)
