"""Studies: which runs they need, which of them exist, and which files are not used."""

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ablations.analysis.summary import summarise
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, DatasetId, RunSpec
from ablations.inspection.load import load_exhibits
from ablations.records.atomic_io import RecordError, write_json
from ablations.records.checksums import write_with_checksum
from ablations.records.lock import study_lock
from ablations.records.quarantine import QUARANTINE_DIR, quarantine_damaged_runs
from ablations.records.run import RECORD_FILE, RunRecord
from ablations.records.study import load_study, missing_runs, plan_runs, run_folder
from ablations.records.study_spec import (
    STUDY_FILE,
    StudyError,
    check_folder,
    create_study,
    load_spec,
)
from ablations.records.timing import TIMING_FILE, EpochTime
from tests.factories import ENVIRONMENT, make_record, make_spec, make_timing
from tests.faults import count_fault

DOCS = Path(__file__).resolve().parents[3] / "docs"


def plan(names: list[str], seeds: list[int]) -> list[RunSpec]:
    return plan_runs(make_spec(), [find_ablation(name) for name in names], seeds)


def write_record(study_dir: Path, record: RunRecord) -> Path:
    run_spec = record.run_spec
    path = run_folder(study_dir, run_spec) / RECORD_FILE
    write_with_checksum(path, record)
    return path


def write_study(study_dir: Path, names: list[str], seeds: list[int]) -> list[RunSpec]:
    create_study(study_dir, make_spec())
    for run_spec in plan(names, seeds):
        write_record(study_dir, make_record(run_spec))
    return plan(names, seeds)


def test_runs_are_planned_seed_by_seed() -> None:
    run_specs = plan_runs(make_spec(), CATALOGUE, [0, 1])
    assert [run_spec.seed for run_spec in run_specs] == [0] * len(CATALOGUE) + [1] * len(CATALOGUE)
    assert [one.ablation for one in run_specs[: len(CATALOGUE)]] == [a.name for a in CATALOGUE]
    assert all(run_spec.training.num_epochs == 20 for run_spec in run_specs)


def test_study_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    write_study(tmp_path / "study", ["no-gap", "target"], [1, 0])
    study = load_study(tmp_path / "study")
    assert (study.name, study.spec, study.problems) == ("study", make_spec(), ())
    found = [(record.run_spec.seed, record.run_spec.ablation) for record in study.records]
    assert found == [(0, "no-gap"), (0, "target"), (1, "no-gap"), (1, "target")]
    run_specs = plan(["target", "no-gap"], [0, 1, 2])
    assert missing_runs(study, run_specs) == run_specs[4:]


@pytest.mark.parametrize(("name", "num_runs"), [("reference", 99), ("fashion-mnist", 50)])
def test_committed_studies_are_intact(name: str, num_runs: int) -> None:
    study = load_study(DOCS / name)
    assert len(study.records) == num_runs
    assert study.problems == () and study.timing
    exhibits = load_exhibits(DOCS / name, study)
    assert exhibits.observations and exhibits.problems == ()
    run_specs = [record.run_spec for record in study.records]
    assert missing_runs(study, run_specs) == []


def test_runs_of_other_places_and_studies_are_left_out(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    write_study(study_dir, ["target"], [0])
    shutil.copytree(study_dir / "target" / "seed-0", study_dir / "target" / "seed-1")
    [longer] = plan_runs(make_spec(num_epochs=21), [find_ablation("no-gap")], [0])
    write_record(study_dir, make_record(longer))
    elsewhere = plan(["target"], [2, 3])
    for run_spec, (field, value) in zip(
        elsewhere, [("device_type", "cuda"), ("arithmetic", "float32")], strict=True
    ):
        environment = msgspec.structs.replace(ENVIRONMENT, **{field: value})
        write_record(study_dir, make_record(run_spec, environment=environment, last_error_pct=50.0))
        count_fault(
            "records", f"a run of another {field} in a study", "left out, never averaged in"
        )
    study = load_study(study_dir)
    [row] = summarise(study).rows
    assert row.accuracy_pct.by_seed.keys() == {0}
    assert len(study.problems) == 4
    assert sum("is of another study" in problem for problem in study.problems) == 3
    assert str(tmp_path) not in "".join(study.problems), "a report must not show local paths"
    # These runs are intact, and took hours: they are not quarantined.
    for run_spec in elsewhere:
        with pytest.raises(RecordError, match=r"is of another study.*choose another folder"):
            missing_runs(study, [run_spec])
    [line] = quarantine_damaged_runs(study_dir, study)
    assert "target/seed-1/record.json: is a record of 'target', seed 0" in line


def test_runs_of_two_definitions_are_not_averaged(tmp_path: Path) -> None:
    run_specs = write_study(tmp_path, ["target", "no-gap"], [0, 1])
    [planned] = plan(["no-gap"], [2])
    changed = replace(planned, network=replace(planned.network, dropout=0.3))
    write_record(tmp_path, make_record(changed))
    study = load_study(tmp_path)
    assert {record.run_spec.ablation for record in study.records} == {"target"}
    assert len(study.problems) == 3
    assert all("runs of this ablation have different defin" in line for line in study.problems)
    with pytest.raises(RecordError, match="delete the old ones"):
        missing_runs(study, run_specs)
    shutil.rmtree(tmp_path / "no-gap" / "seed-0")
    shutil.rmtree(tmp_path / "no-gap" / "seed-1")
    with pytest.raises(StudyError, match="of another definition"):
        missing_runs(load_study(tmp_path), [planned])
    assert quarantine_damaged_runs(tmp_path, load_study(tmp_path)) == [], "it is intact"


def test_runs_of_two_protocols_are_not_mixed(tmp_path: Path) -> None:
    run_specs = plan(["target", "no-gap"], [0])
    newer = PROTOCOL_VERSION + 1
    create_study(tmp_path, make_spec())
    for run_spec, version in zip(run_specs, (PROTOCOL_VERSION, newer), strict=True):
        digest = run_spec.digest_under(version)
        record = make_record(run_spec)
        write_record(
            tmp_path, msgspec.structs.replace(record, protocol_version=version, digest=digest)
        )
    study = load_study(tmp_path)
    assert [record.run_spec.ablation for record in study.records] == ["no-gap"]
    [problem] = study.problems
    assert problem.startswith(
        f"target/seed-0: was trained under protocol version {PROTOCOL_VERSION}"
    )
    with pytest.raises(StudyError, match=r"under another protocol version than .*--out"):
        missing_runs(study, run_specs[1:])
    with pytest.raises(RecordError, match="they are not mixed"):
        missing_runs(study, run_specs[:1])
    assert quarantine_damaged_runs(tmp_path, study) == [], "both are intact"


def test_unreadable_record_is_not_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_specs = write_study(tmp_path, ["target"], [0])
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == RECORD_FILE:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        study = load_study(tmp_path)
        with pytest.raises(RecordError, match="Input/output error; fix that"):
            missing_runs(study, run_specs)
        assert quarantine_damaged_runs(tmp_path, study) == []
    assert missing_runs(load_study(tmp_path), run_specs) == []
    count_fault(
        "records",
        "a record that cannot be read for now (EIO)",
        "one clear line; it is not quarantined",
    )


def test_damage_is_quarantined_and_nothing_is_overwritten(tmp_path: Path) -> None:
    damaged = []
    for number in range(1, 4):
        run_specs = write_study(tmp_path, ["target", "no-gap"], [0])
        write_with_checksum(tmp_path / TIMING_FILE, make_timing(["target"]))
        run_dir = tmp_path / "no-gap" / "seed-0"
        for path in (run_dir / RECORD_FILE, tmp_path / TIMING_FILE):
            damaged.append(path.read_bytes()[:-number])
            path.write_bytes(damaged[-1])
        (run_dir / "notes.txt").write_text(f"a user's, {number}")
        study = load_study(tmp_path)
        assert missing_runs(study, run_specs) == [run_specs[1]]
        assert len(study.records) == 1 and len(study.problems) == 2
        lines = quarantine_damaged_runs(tmp_path, study)
        assert [line.partition("; it is kept as ")[2] for line in lines] == [
            f"quarantine/no-gap-seed-0-{number}",
            f"quarantine/timing.json-{number}",
        ]
        assert lines[0].startswith("Quarantined: no-gap/seed-0/record.json: not the file that was")
        assert (tmp_path / "target" / "seed-0").exists() and not run_dir.exists()
        assert load_study(tmp_path).problems == ()
    kept = [path for path in (tmp_path / QUARANTINE_DIR).rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in kept if path.name != "notes.txt") == sorted(damaged)
    assert len([path for path in kept if path.name == "notes.txt"]) == 3


def test_study_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / STUDY_FILE
    write_with_checksum(path, msgspec.structs.replace(make_spec(), schema_version=7))
    with pytest.raises(RecordError, match=r"schema_version.*use the version of this program"):
        load_spec(tmp_path)
    # The first schema had no checksum.
    write_json(path, msgspec.structs.replace(make_spec(), schema_version=1))
    with pytest.raises(RecordError, match=r"study\.json: not the file that was written"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("device_type", "cuda"), ("dataset", DatasetId("digits", "cd" * 32, 1437, 360))],
)
def test_another_study_in_the_folder_is_refused(tmp_path: Path, field: str, value: object) -> None:
    other = msgspec.structs.replace(make_spec(), **{field: value})
    with pytest.raises(StudyError, match=f"{field} = .*--out"):
        check_folder(tmp_path, make_spec(), other)


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(StudyError, match="not an empty folder and not a study"):
            check_folder(path, None, make_spec())
    with pytest.raises(StudyError, match="cannot be written"):
        create_study(tmp_path / "thesis.txt" / "study", make_spec())
    with pytest.raises(StudyError, match="is not a study"):
        load_study(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_folder_of_a_process_that_was_killed_at_its_first_file_is_free(tmp_path: Path) -> None:
    (tmp_path / ".study.json.abc123.tmp").write_bytes(b"{")
    check_folder(tmp_path, None, make_spec())
    with study_lock(tmp_path, make_spec()) as study:
        assert study.records == ()
        assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("digest", "device_type", "is_used"),
    [(None, "cpu", True), ("0" * 64, "cpu", False), (None, "cuda", False)],
)
def test_times_of_another_definition_or_device_are_left_out(
    tmp_path: Path, digest: str | None, device_type: str, is_used: bool
) -> None:
    write_study(tmp_path, ["target", "no-gap"], [0, 1])
    timing = make_timing(["target", "no-gap"])
    if digest:
        timing.by_ablation["no-gap"] = EpochTime(digest, [2.0])
    environment = msgspec.structs.replace(timing.environment, device_type=device_type)
    timing = msgspec.structs.replace(timing, environment=environment)
    write_with_checksum(tmp_path / TIMING_FILE, timing)
    study = load_study(tmp_path)
    assert study.timing == (timing if is_used else None)
    assert ["measures the times again" in problem for problem in study.problems] == [True] * (
        not is_used
    )
    assert quarantine_damaged_runs(tmp_path, study) == []


@pytest.mark.parametrize("name", ["study", "target"])
def test_unreadable_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_study(tmp_path / "study", ["target"], [0])
    real = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(RecordError, match=f"{name}: cannot be read: Permission denied"):
        load_study(tmp_path / "study")
