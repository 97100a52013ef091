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
from ablations.catalogue.entries import entries_under, find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.records.atomic_io import RecordError, write_json
from ablations.records.checksums import write_with_checksum
from ablations.records.lock import study_lock
from ablations.records.run import RECORD_FILE
from ablations.records.study import load_study, missing_runs, plan_runs, quarantine_damaged_runs
from ablations.records.study_spec import (
    STUDY_FILE,
    StudyError,
    check_folder,
    create_study,
    load_spec,
)
from ablations.records.timing import TIMING_FILE, EpochTime
from tests.factories import (
    DIGITS,
    ENVIRONMENT,
    make_record,
    make_spec,
    make_study,
    make_timing,
    write_record,
    write_study,
)
from tests.faults import count_fault


def plan(names: list[str], seeds: list[int]) -> list[RunSpec]:
    return plan_runs(make_spec(), [find_ablation(name) for name in names], seeds)


TARGET_ALONE = make_study({"target": [0]})
TWO_SEEDS = make_study({"target": [0, 1], "no-gap": [0, 1]})


def test_runs_are_planned_seed_by_seed() -> None:
    entries = entries_under("published")
    run_specs = plan_runs(make_spec(), entries, [0, 1])
    assert [run_spec.seed for run_spec in run_specs] == [0] * len(entries) + [1] * len(entries)
    assert [one.ablation for one in run_specs[: len(entries)]] == [a.name for a in entries]
    assert all(run_spec.training.num_epochs == 20 for run_spec in run_specs)


def test_study_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    write_study(tmp_path / "study", TWO_SEEDS)
    study = load_study(tmp_path / "study")
    assert study == replace(TWO_SEEDS, name="study")
    run_specs = plan(["target", "no-gap"], [0, 1, 2])
    assert missing_runs(study, run_specs) == run_specs[4:]


def test_runs_of_other_places_and_studies_are_left_out(tmp_path: Path) -> None:
    study_dir = write_study(tmp_path / "study", TARGET_ALONE)
    shutil.copytree(study_dir / "target" / "seed-0", study_dir / "target" / "seed-1")
    [longer] = plan_runs(make_spec(num_epochs=21), [find_ablation("no-gap")], [0])
    write_record(study_dir, make_record(longer))
    elsewhere = plan(["target"], [2, 3])
    differing = {"device_type": "cuda", "arithmetic": "float32"}
    for run_spec, (field, value) in zip(elsewhere, differing.items(), strict=True):
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
    write_study(tmp_path, TWO_SEEDS)
    [planned] = plan(["no-gap"], [2])
    changed = replace(planned, network=replace(planned.network, dropout=0.3))
    write_record(tmp_path, make_record(changed))
    study = load_study(tmp_path)
    assert {record.run_spec.ablation for record in study.records} == {"target"}
    assert len(study.problems) == 3
    assert all("runs of this ablation have different defin" in line for line in study.problems)
    with pytest.raises(RecordError, match="delete the old ones"):
        missing_runs(study, plan(["target", "no-gap"], [0, 1]))
    shutil.rmtree(tmp_path / "no-gap" / "seed-0")
    shutil.rmtree(tmp_path / "no-gap" / "seed-1")
    with pytest.raises(StudyError, match="of another definition"):
        missing_runs(load_study(tmp_path), [planned])
    assert quarantine_damaged_runs(tmp_path, load_study(tmp_path)) == [], "it is intact"


def test_runs_of_two_protocols_are_not_mixed(tmp_path: Path) -> None:
    write_study(tmp_path, TARGET_ALONE)
    [newer] = plan(["no-gap"], [0])
    version = PROTOCOL_VERSION + 1
    digest = newer.digest_under(version)
    record = msgspec.structs.replace(make_record(newer), protocol_version=version, digest=digest)
    write_record(tmp_path, record)
    study = load_study(tmp_path)
    assert [record.run_spec.ablation for record in study.records] == ["no-gap"]
    [problem] = study.problems
    assert problem.startswith(
        f"target/seed-0: was trained under protocol version {PROTOCOL_VERSION}"
    )
    with pytest.raises(StudyError, match=r"under another protocol version than .*--out"):
        missing_runs(study, [newer])
    with pytest.raises(RecordError, match="they are not mixed"):
        missing_runs(study, plan(["target"], [0]))
    assert quarantine_damaged_runs(tmp_path, study) == [], "both are intact"


def test_unreadable_record_is_not_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_specs = plan(["target"], [0])
    write_study(tmp_path, TARGET_ALONE)
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


def test_study_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / STUDY_FILE
    write_with_checksum(path, msgspec.structs.replace(make_spec(), schema_version=7))
    with pytest.raises(RecordError, match=r"schema_version.*use the version of this program"):
        load_spec(tmp_path)
    # The first schema had no checksum.
    write_json(path, msgspec.structs.replace(make_spec(), schema_version=1))
    with pytest.raises(RecordError, match=r"study\.json: not the file that was written"):
        load_spec(tmp_path)


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"dataset = mnist, not digits.*--out"):
        check_folder(tmp_path, make_spec(), make_spec(DIGITS))


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(StudyError, match="not an empty folder and not a study"):
            check_folder(path, None, make_spec())
    with pytest.raises(StudyError, match="cannot be written"):
        create_study(tmp_path / "thesis.txt" / "study", make_spec())
    with pytest.raises(StudyError, match="is not a study"):
        load_study(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "precious"


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
    write_study(tmp_path, TWO_SEEDS)
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
    write_study(tmp_path / "study", TARGET_ALONE)
    real = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(RecordError, match=f"{name}: cannot be read: Permission denied"):
        load_study(tmp_path / "study")
