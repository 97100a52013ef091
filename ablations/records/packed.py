"""A study's runs in one file, `runs.zip`, to commit or to send.

`pack` writes it beside the folders of the runs. Reading a study restores the folders that are missing.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from ablations.records.atomic_io import (
    DamagedFileError,
    RecordError,
    read_content,
    write_atomically,
)
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunRecord,
    run_folder,
)

PACKED_FILE = "runs.zip"
_FILES = (WEIGHTS_FILE, PREDICTIONS_FILE, OBSERVATIONS_FILE, RECORD_FILE)
"""Of a run, the record last, because it completes the run."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
"""What `zipfile` raises for changed bytes."""


def pack(study_dir: Path, records: Iterable[RunRecord], num_networks: int) -> Path:
    """Write the study's `runs.zip`, and return its path. Equal runs give equal bytes.

    Of every run the record and the observations are packed; weights and predictions only of the
    single ablations' runs with a seed below `num_networks`.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for run_spec in (record.run_spec for record in records):
            has_network = run_spec.seed < num_networks and "+" not in run_spec.ablation
            for name in _FILES if has_network else _FILES[2:]:
                path = run_folder(study_dir, run_spec) / name
                if path.exists():
                    # Without a date, which would be today's.
                    member = zipfile.ZipInfo(path.relative_to(study_dir).as_posix())
                    archive.writestr(member, read_content(path), zipfile.ZIP_DEFLATED, 9)
    write_atomically(study_dir / PACKED_FILE, buffer.getvalue())
    return study_dir / PACKED_FILE


def unpack(study_dir: Path, destination: Path) -> None:
    """Write the packed runs whose folders have no record into a folder, usually the study's own.

    Raises:
        DamagedFileError: `runs.zip` is not what `pack` wrote.
        RecordError: the folder cannot be written.
    """
    packed = study_dir / PACKED_FILE
    if not packed.exists():
        return
    try:
        with zipfile.ZipFile(packed) as archive:
            names = [name for name in archive.namelist() if _is_of_a_run(name)]
            run_dirs = {Path(name).parent for name in names}
            missing = {one for one in run_dirs if not (study_dir / one / RECORD_FILE).exists()}
            for name in names:
                if Path(name).parent in missing:
                    write_atomically(destination / name, archive.read(name))
    except _DAMAGE as error:
        raise DamagedFileError(f"{packed}: not the file that was written: {error}") from error
    except OSError as error:
        raise RecordError(f"{packed}: cannot be unpacked: {error.strerror}") from error


def _is_of_a_run(name: str) -> bool:
    """Whether a member has the path of a run's file: a file from elsewhere must not write others."""
    path = Path(name)
    return (
        len(path.parts) == 3
        and not path.is_absolute()
        and ".." not in path.parts
        and path.name in _FILES
    )
