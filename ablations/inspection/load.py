"""What a report shows beside numbers: observations of networks, images, and the networks themselves.

`load_exhibits` reads what is there, and a report does without what is not. `build.py` makes
what is missing, from a study's weights and the data set.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ablations.inspection.gallery import Gallery, has_weights, load_gallery, shown_runs
from ablations.records.atomic_io import RecordError
from ablations.records.observations import Observations, load_observations
from ablations.records.run import RunRecord, load_weights
from ablations.records.study import Study, in_study, run_folder


@dataclass(frozen=True)
class Exhibits:
    """What there is to show of a study's networks."""

    observations: dict[tuple[str, int], Observations] = field(default_factory=dict)
    """By ablation and seed."""
    gallery: Gallery | None = None
    weights: dict[str, bytes] = field(default_factory=dict)
    """Of the gallery's seed, as safetensors, by ablation."""
    problems: tuple[str, ...] = ()
    """Files that were left out, and why."""


def load_exhibits(study_dir: Path, study: Study) -> Exhibits:
    """Read what is there; a damaged file is left out, and named."""
    observations, weights, problems = {}, {}, []
    for record in study.records:
        run = record.run_spec
        try:
            found = load_observations(record_folder(study_dir, record), record)
        except RecordError as error:
            problems.append(str(error))
            continue
        if found:
            observations[run.ablation, run.seed] = found
    gallery, runs = None, shown_runs(study, study_dir)
    try:
        gallery = load_gallery(study_dir, runs)
    except RecordError as error:
        problems.append(str(error))
    for name, record in runs.items() if gallery else ():
        try:
            weights[name] = load_weights(record_folder(study_dir, record), record)
        except RecordError as error:
            problems.append(str(error))
    named = tuple(in_study(problem, study_dir) for problem in problems)
    return Exhibits(observations, gallery, weights, named)


def record_folder(study_dir: Path, record: RunRecord) -> Path:
    """Where a record's run lies."""
    return run_folder(study_dir, record.run_spec.ablation, record.run_spec.seed)


def unobserved_runs(study_dir: Path, study: Study) -> list[RunRecord]:
    """The runs whose weights are there, and whose networks nobody has looked at, or another's."""
    return [
        record
        for record in study.records
        if has_weights(study_dir, record) and not is_observed(study_dir, record)
    ]


def is_observed(study_dir: Path, record: RunRecord) -> bool:
    """Whether there are observations of a run's own network."""
    try:
        return load_observations(record_folder(study_dir, record), record) is not None
    except RecordError:
        return False


def is_up_to_date(study_dir: Path, study: Study) -> bool:
    """Whether everything is there that the study's weights allow."""
    runs = shown_runs(study, study_dir)
    try:
        has_gallery = not runs or load_gallery(study_dir, runs) is not None
    except RecordError:
        has_gallery = False
    return has_gallery and not unobserved_runs(study_dir, study)
