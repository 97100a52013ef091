"""A packed study: nothing that is shown changes, and a damaged file or a foreign one does no harm."""

import shutil
import zipfile
from pathlib import Path
from random import Random

import pytest

from ablations.catalogue.entries import find_ablation
from ablations.data.dataset import Dataset
from ablations.inspection.load import load_exhibits
from ablations.records.atomic_io import DamagedFileError, RecordError
from ablations.records.checksums import write_with_checksum
from ablations.records.merge import merge_studies
from ablations.records.packed import PACKED_FILE, pack
from ablations.records.run import RECORD_FILE, WEIGHTS_FILE, write_run
from ablations.records.study import load_study, plan_runs
from ablations.records.study_spec import STUDY_FILE, StudySpec
from tests.factories import run_experiment
from tests.faults import count_fault
from tests.test_cli import run_cli

NAMES = ["no-batchnorm+no-gap", "no-gap", "target"]


@pytest.fixture(scope="module")
def made(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three networks with two seeds each."""
    folder = tmp_path_factory.mktemp("made") / "study"
    spec = StudySpec(digits.id, digits.title, 1, 256, device_type="cpu")
    write_with_checksum(folder / STUDY_FILE, spec)
    for run_spec in plan_runs(spec, [find_ablation(name) for name in NAMES], [0, 1]):
        write_run(
            folder / run_spec.ablation / f"seed-{run_spec.seed}", run_experiment(run_spec, digits)
        )
    return folder


@pytest.fixture
def packed(made: Path, tmp_path: Path) -> Path:
    """A folder with `study.json` and `runs.zip` alone."""
    folder = tmp_path / "packed"
    folder.mkdir()
    shutil.copy(made / STUDY_FILE, folder)
    shutil.copy(pack(made, load_study(made).records, 1), folder)
    return folder


def weights_in(folder: Path) -> list[str]:
    return [path.parent.as_posix() for path in sorted(folder.rglob(WEIGHTS_FILE))]


def test_packing_changes_nothing_that_is_shown(made: Path, packed: Path, tmp_path: Path) -> None:
    before, after = load_study(made), load_study(packed)
    assert after.records == before.records
    assert not after.problems
    shown, shown_after = load_exhibits(made, before), load_exhibits(packed, after)
    assert shown_after.observations == shown.observations
    assert len(shown.observations) == 6
    assert shown_after.shown_runs == shown.shown_runs
    # Of the second seed and of the combination, which no page shows, the networks are left out.
    assert weights_in(packed) == [str(packed / name / "seed-0") for name in NAMES[1:]]
    assert merge_studies([packed], tmp_path / "merged").num_copied == 6


def test_the_same_runs_give_the_same_file(packed: Path) -> None:
    content = (packed / PACKED_FILE).read_bytes()
    result = run_cli("pack", packed)
    assert result.output == f"{packed / PACKED_FILE}\n"
    assert (packed / PACKED_FILE).read_bytes() == content
    run_cli("pack", packed, "--networks", 0)
    with zipfile.ZipFile(packed / PACKED_FILE) as archive:
        assert not [name for name in archive.namelist() if name.endswith(WEIGHTS_FILE)]


def test_only_missing_runs_are_restored(packed: Path) -> None:
    load_study(packed)
    kept = packed / "target" / "seed-0"
    (kept / WEIGHTS_FILE).unlink()
    lost = packed / "target" / "seed-1"
    shutil.rmtree(lost)
    load_study(packed)
    assert not (kept / WEIGHTS_FILE).exists()
    assert (lost / RECORD_FILE).exists()


def test_files_elsewhere_are_not_written(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed / PACKED_FILE, "a") as archive:
        for name in (
            "../../record.json",
            f"{tmp_path}/record.json",
            "a/b/page.html",
            "record.json",
        ):
            archive.writestr(name, "harm")
    before = {path for path in tmp_path.rglob("*") if "seed" not in path.parent.name}
    load_study(packed)
    new = {path for path in tmp_path.rglob("*") if "seed" not in path.parent.name} - before
    assert {path.parent.parent.name for path in new if path.is_file()} <= {"packed"}
    assert not [
        path for path in new if path.is_file() and "harm" in path.read_text(encoding="utf-8")
    ]


def test_damage_is_found(packed: Path) -> None:
    content = (packed / PACKED_FILE).read_bytes()
    records = load_study(packed).records
    random = Random(0)
    for number in range(40):
        damaged = bytearray(content)
        if number % 4:
            damaged[random.randrange(len(content))] ^= random.randint(1, 255)
        else:
            del damaged[random.randrange(len(content)) :]
        for name in NAMES:
            shutil.rmtree(packed / name, ignore_errors=True)
        (packed / PACKED_FILE).write_bytes(damaged)
        try:
            found = load_study(packed)
        except DamagedFileError as error:
            assert PACKED_FILE in str(error)
            continue
        # A byte that decides nothing, such as a date.
        assert all(record in records for record in found.records)
    count_fault("records", "packed file: a byte changed, or cut off", "refused", times=40)


def test_a_folder_that_cannot_be_written_is_named(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ablations.records.packed.write_atomically", refuse)
    with pytest.raises(RecordError, match=r"runs\.zip: cannot be unpacked: Permission denied"):
        load_study(packed)
