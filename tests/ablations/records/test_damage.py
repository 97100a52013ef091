"""Damage to a study's files: no wrong number is shown, and no intact run is lost.

A few runs are trained once. Then faults are put into copies of them: changed bytes, truncated files,
deleted and exchanged files, interrupted writes. A run whose own files were not touched must stay and
not be trained again, and whatever is shown must equal what was trained.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from ablations.analysis.summary import summarise
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.inspection.load import load_exhibits
from ablations.records.atomic_io import RecordError, format_json
from ablations.records.checksums import write_with_checksum
from ablations.records.lock import study_lock
from ablations.records.observations import Observations
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunResult,
    read_verified,
    run_folder,
    write_run,
)
from ablations.records.study import (
    QUARANTINE_DIR,
    load_study,
    missing_runs,
    plan_runs,
    quarantine_damaged_runs,
)
from ablations.records.study_spec import STUDY_FILE, StudySpec
from ablations.records.timing import TIMING_FILE
from tests.factories import make_timing, run_experiment
from tests.faults import IS_EXHAUSTIVE, count_fault

NAMES = ("target", "no-gap")
OWN_FILES = (RECORD_FILE, PREDICTIONS_FILE, WEIGHTS_FILE)
"""Files that a record verifies; observations can be measured again from the weights."""
ALL_FILES = (*OWN_FILES, OBSERVATIONS_FILE)

Results = dict[RunSpec, RunResult]


@pytest.fixture(scope="module")
def spec(digits: Dataset) -> StudySpec:
    return StudySpec(digits.id, digits.title, 1, 256, device_type="cpu")


@pytest.fixture(scope="module")
def made(digits: Dataset, spec: StudySpec) -> Results:
    """Runs as they come out of training."""
    runs = plan_runs(spec, [find_ablation(name) for name in NAMES], [0, 1])
    return {run: run_experiment(run, digits) for run in runs}


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, and many files are written."""
    monkeypatch.setattr("ablations.records.atomic_io.os.fsync", lambda descriptor: None)


def files_of(study_dir: Path, *names: str) -> list[Path]:
    """Files of these names that have content and are not in the quarantine."""
    found = [path for path in sorted(study_dir.rglob("*")) if path.name in names]
    return [p for p in found if p.stat().st_size and QUARANTINE_DIR not in p.parts]


def folder_of(study_dir: Path, run: RunSpec) -> Path:
    return run_folder(study_dir, run)


# Each fault returns the files that are not any more what was written.


def change_a_byte(study_dir: Path, made: Results, random: Random) -> list[Path]:
    path = random.choice(files_of(study_dir, *ALL_FILES, TIMING_FILE))
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= random.randint(1, 255)
    path.write_bytes(content)
    return [path]


def cut_off(study_dir: Path, made: Results, random: Random) -> list[Path]:
    path = random.choice(files_of(study_dir, *ALL_FILES, TIMING_FILE))
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content))])
    return [path]


def be_killed_while_writing(study_dir: Path, made: Results, random: Random) -> list[Path]:
    run = random.choice(list(made))
    folder, result = folder_of(study_dir, run), made[run]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in list(result.files)[: random.randint(0, 3)]:
        (folder / name).write_bytes(result.files[name])
    record = format_json(result.record)[: random.randint(0, 5000)]
    (folder / f".{RECORD_FILE}.x1.tmp").write_bytes(record)
    return [folder / RECORD_FILE]


def delete_a_record(study_dir: Path, made: Results, random: Random) -> list[Path]:
    path = random.choice(files_of(study_dir, RECORD_FILE))
    path.unlink()
    return [path]


def delete_another_file(study_dir: Path, made: Results, random: Random) -> list[Path]:
    random.choice(files_of(study_dir, PREDICTIONS_FILE, WEIGHTS_FILE, OBSERVATIONS_FILE)).unlink()
    return []  # Without predictions and weights a record still has all numbers.


def swap_files(study_dir: Path, made: Results, random: Random) -> list[Path]:
    paths = random.sample(files_of(study_dir, random.choice(ALL_FILES)), 2)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    return paths


def copy_elsewhere(study_dir: Path, made: Results, random: Random) -> list[Path]:
    path = random.choice(files_of(study_dir, RECORD_FILE))
    # A copy may be copied, but not to its own place.
    seed = random.choice([n for n in range(2, 6) if path.parent.name != f"seed-{n}"])
    shutil.copytree(path.parent, path.parent.with_name(f"seed-{seed}"), dirs_exist_ok=True)
    return []


def damage_the_study_file(study_dir: Path, made: Results, random: Random) -> list[Path]:
    path = study_dir / STUDY_FILE
    content = path.read_bytes()
    path.write_bytes(content[: random.randint(0, 100)])
    with pytest.raises(RecordError, match=r"copy study\.json"):
        load_study(study_dir)
    path.write_bytes(content)
    return []


MADE_AGAIN = "made again, nothing wrong shown"
QUARANTINED = "quarantined and made again, nothing wrong shown"
FAULTS: dict[str, tuple[Callable[[Path, Results, Random], list[Path]], str]] = {
    "a byte changed": (change_a_byte, QUARANTINED),
    "a file cut off": (cut_off, QUARANTINED),
    "a run killed while it was written": (be_killed_while_writing, MADE_AGAIN),
    "a record deleted": (delete_a_record, MADE_AGAIN),
    "predictions, weights or observations deleted": (
        delete_another_file,
        "the record is shown, without what they would add",
    ),
    "files of two runs swapped": (swap_files, QUARANTINED),
    "a run copied to another seed's place": (copy_elsewhere, "quarantined, nothing wrong shown"),
    "study.json cut off": (damage_the_study_file, "refused, with the suggested fix"),
}


def contents(study_dir: Path) -> Counter[bytes]:
    """Every file's content, wherever in the study it lies."""
    return Counter(path.read_bytes() for path in study_dir.rglob("*") if path.is_file())


def resume(study_dir: Path, made: Results, spec: StudySpec, intact: dict[RunSpec, int]) -> None:
    """What `ablate` does: lock, load, quarantine, train what is missing."""
    timing = make_timing(NAMES, spec=spec)
    with study_lock(study_dir, spec) as study:
        missing = missing_runs(study, list(made))
        assert not set(missing) & intact.keys()
        before = contents(study_dir)
        lines = quarantine_damaged_runs(study_dir, study)
        assert contents(study_dir) == before, "something was deleted or overwritten"
        assert all("\n" not in line and str(study_dir) not in line for line in lines)
        for run in missing:
            assert not (folder_of(study_dir, run) / RECORD_FILE).exists()
            write_run(folder_of(study_dir, run), made[run])
        if not (study_dir / TIMING_FILE).exists():
            write_with_checksum(study_dir / TIMING_FILE, timing)
    study = load_study(study_dir)
    assert study.problems == ()
    found = {record.run_spec: record for record in study.records}
    assert found == {run: result.record for run, result in made.items()}
    assert study.timing == timing


def inodes(study_dir: Path, made: Results) -> dict[RunSpec, int]:
    """The inode of each record: it stays while the run is not made again."""
    return {run: (folder_of(study_dir, run) / RECORD_FILE).stat().st_ino for run in made}


def check_what_is_shown(study_dir: Path, made: Results, intact: dict[RunSpec, int]) -> None:
    study = load_study(study_dir)
    shown = {record.run_spec: record for record in study.records}
    assert all(record == made[run].record for run, record in shown.items())
    assert intact.keys() <= shown.keys(), "an intact run is not shown"
    assert inodes(study_dir, {run: made[run] for run in intact}) == intact, "it was made again"
    assert study.timing in (None, make_timing(NAMES, spec=study.spec))
    assert all("\n" not in line and str(study_dir) not in line for line in study.problems)
    assert sum(len(row.runs) for row in summarise(study).rows) == len(shown)
    seen = load_exhibits(study_dir, study).observations
    for run, record in shown.items():
        folder, result = folder_of(study_dir, run), made[run]
        assert seen.get((run.ablation, run.seed)) in (
            None,
            msgspec.json.decode(result.files[OBSERVATIONS_FILE], type=Observations),
        )
        for name in (WEIGHTS_FILE, PREDICTIONS_FILE):
            if (folder / name).exists():
                assert read_verified(folder / name, record) == result.files[name]


@pytest.mark.parametrize("seed", range(500 if IS_EXHAUSTIVE else 20))
def test_no_wrong_number_is_shown_and_no_run_is_lost(
    made: Results, spec: StudySpec, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    resume(tmp_path, made, spec, {})
    for _ in range(3):
        intact = inodes(tmp_path, made)
        for fault in random.choices(list(FAULTS), k=random.randint(1, 4)):
            inject, outcome = FAULTS[fault]
            touched = {
                path.parent for path in inject(tmp_path, made, random) if path.name in OWN_FILES
            }
            intact = {
                run: inode
                for run, inode in intact.items()
                if folder_of(tmp_path, run) not in touched
            }
            check_what_is_shown(tmp_path, made, intact)
            count_fault("records", fault, outcome)
        resume(tmp_path, made, spec, intact)
