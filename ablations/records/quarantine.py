"""The quarantine of a study: damaged runs and files are moved there, and never deleted."""

import shutil
from itertools import count
from pathlib import Path

from ablations.records.atomic_io import DamagedFileError
from ablations.records.study import Study, within_study

QUARANTINE_DIR = "quarantine"


def quarantine_damaged_runs(study_dir: Path, study: Study) -> list[str]:
    """Move damaged runs and a damaged `timing.json` into `quarantine/`; returns a line for each.

    Call it only while you hold `study_lock`, with a study that was loaded since.
    """
    lines = []
    for path, error in study.rejected.items():
        if isinstance(error, DamagedFileError):
            name = "-".join(path.parts)
            places = (study_dir / QUARANTINE_DIR / f"{name}-{number}" for number in count(1))
            place = next(place for place in places if not place.exists())
            place.parent.mkdir(exist_ok=True)
            # A link may lead to another disk, where renaming fails.
            shutil.move(study_dir / path, place)
            lines.append(
                f"Quarantined: {within_study(str(error), study_dir)}; it is kept as "
                f"{place.relative_to(study_dir)}"
            )
    return lines
