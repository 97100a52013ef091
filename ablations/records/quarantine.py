"""What cannot be trusted in a study's folder is put aside: moved whole, never deleted."""

import shutil
from itertools import count
from pathlib import Path

from ablations.records.atomic_io import RecordError, UnreadableError
from ablations.records.checksums import OtherVersionError
from ablations.records.study import OtherStudyError, in_study, load_run, load_timing, record_paths
from ablations.records.study_spec import load_spec
from ablations.records.timing import TIMING_FILE

SET_ASIDE_DIR = "set-aside"


def set_aside_damaged(study_dir: Path) -> list[str]:
    """Move what cannot be trusted out of the way of runs that will be made again.

    That is a run whose record, predictions or weights are not what was written or which lies in the
    wrong place, and epoch times that are damaged. They are moved whole,
    into `set-aside/`: nothing is deleted. Returns a line for each, to be said. Only for whoever
    holds the study (`only_one_process`).

    Raises:
        RecordError: the study's own `study.json` is damaged.
        UnreadableError: the system does not give a file out, which says nothing of what is in it.
    """
    spec = load_spec(study_dir)
    lines = []
    for path in record_paths(study_dir):
        try:
            load_run(path.parent, study_dir, spec)
        except (OtherVersionError, OtherStudyError):
            continue  # whole, and of use elsewhere
        except UnreadableError:
            raise
        except RecordError as error:
            lines.append(set_aside(path.parent, study_dir, error))
    try:
        load_timing(study_dir)
    except OtherVersionError:
        pass
    except UnreadableError:
        raise
    except RecordError as error:
        lines.append(set_aside(study_dir / TIMING_FILE, study_dir, error))
    return lines


def set_aside(path: Path, study_dir: Path, reason: RecordError) -> str:
    """Move a file or folder of a study into its `set-aside/`; returns a line that says so."""
    name = "-".join(path.relative_to(study_dir).parts)
    numbers = (study_dir / SET_ASIDE_DIR / f"{name}-{number}" for number in count(1))
    place = next(place for place in numbers if not place.exists())
    place.parent.mkdir(exist_ok=True)
    shutil.move(path, place)  # a link may lead to another disk, where renaming fails
    within = place.relative_to(study_dir)
    return f"Set aside: {in_study(str(reason), study_dir)}; it is kept as {within}"
