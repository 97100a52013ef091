"""Damage to a study's files: no wrong number is shown, and no intact run is lost.

A few runs are trained once. Then faults are put into copies of them: changed bytes, truncated files,
deleted and exchanged files, interrupted writes. A run whose own files were not touched must stay and
not be trained again, and whatever is shown must equal what was trained.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ablations.analysis.summary import summarise
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.inspection.load import load_exhibits
from ablations.records.atomic_io import RecordError, format_json
from ablations.records.checksums import write_with_checksum
from ablations.records.observations import Observations
from ablations.records.quarantine import QUARANTINE_DIR, quarantine_damaged_runs
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunResult,
    load_predictions,
    read_verified,
    write_run,
)
from ablations.records.study import load_study, missing_runs, plan_runs, run_folder
from ablations.records.study_spec import STUDY_FILE, StudySpec, create_study
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


OUTCOMES = {
    "study.json cut off": "refused, with the suggested fix",
    "a run killed while it was written": "made again, nothing wrong shown",
    "a record deleted": "made again, nothing wrong shown",
    "predictions, weights or observations deleted": "the record is shown, without what they would add",
    "a run copied to another seed's place": "quarantined, nothing wrong shown",
}


class DamagedStudy(RuleBasedStateMachine):
    """A study that is run, damaged, resumed and reported in any order."""

    made: ClassVar[Results]
    spec: ClassVar[StudySpec]
    faults: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.study_dir = self.root / "study"
        create_study(self.study_dir, self.spec)
        self.timing = make_timing(NAMES, spec=self.spec)
        write_with_checksum(self.study_dir / TIMING_FILE, self.timing)
        self.untouched: dict[RunSpec, int] = {}
        """Intact runs, and the inode of their record: it stays while they are not made again."""

    def teardown(self) -> None:
        try:
            self.resume()  # Any sequence of faults can be repaired.
        finally:
            shutil.rmtree(self.root)

    def folder(self, run: RunSpec) -> Path:
        return run_folder(self.study_dir, run.ablation, run.seed)

    def choose_run(self, data: st.DataObject) -> RunSpec:
        return data.draw(st.sampled_from(list(self.made)), "run")

    def choose_file(self, data: st.DataObject, names: tuple[str, ...] = ALL_FILES) -> Path:
        there = [path for path in sorted(self.study_dir.rglob("*")) if path.name in names]
        there = [path for path in there if QUARANTINE_DIR not in path.parts]
        assume(there)
        return data.draw(st.sampled_from(there), "file")

    def touch(self, path: Path) -> None:
        """Note that a file is not what was written: its run is not intact any more."""
        if path.name in OWN_FILES:
            for run in list(self.untouched):
                if self.folder(run) == path.parent:
                    del self.untouched[run]

    def write(self, run: RunSpec) -> None:
        write_run(self.folder(run), self.made[run])
        self.untouched[run] = (self.folder(run) / RECORD_FILE).stat().st_ino

    @rule(data=st.data())
    def make_a_run(self, data: st.DataObject) -> None:
        run = self.choose_run(data)
        assume(not (self.folder(run) / RECORD_FILE).exists())
        self.write(run)

    @rule(data=st.data(), num_files=st.integers(0, 3), num_bytes=st.integers(0, 5000))
    def be_killed_while_writing(self, data: st.DataObject, num_files: int, num_bytes: int) -> None:
        run = self.choose_run(data)
        folder, result = self.folder(run), self.made[run]
        assume(not (folder / RECORD_FILE).exists())
        contents = (result.predictions_npz, result.weights_safetensors, result.observations_json)
        names = (PREDICTIONS_FILE, WEIGHTS_FILE, OBSERVATIONS_FILE)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in list(zip(names, contents, strict=True))[:num_files]:
            assert content is not None
            (folder / name).write_bytes(content)
        (folder / f".{RECORD_FILE}.x1.tmp").write_bytes(format_json(result.record)[:num_bytes])
        self.faults["a run killed while it was written"] += 1

    @rule(data=st.data(), place=st.floats(0, 1, exclude_max=True), pattern=st.integers(0, 255))
    def change_a_byte_or_cut_off(self, data: st.DataObject, place: float, pattern: int) -> None:
        path = self.choose_file(data, (*ALL_FILES, TIMING_FILE))
        content = bytearray(path.read_bytes())
        assume(content)
        index = int(place * len(content))
        content[index] ^= pattern
        path.write_bytes(content if pattern else content[:index])
        self.touch(path)
        self.faults["a byte changed" if pattern else "a file cut off"] += 1

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = self.choose_file(data)
        path.unlink()
        # Without predictions and weights a record still has all numbers.
        if path.name == RECORD_FILE:
            self.touch(path)
            self.faults["a record deleted"] += 1
        else:
            self.faults["predictions, weights or observations deleted"] += 1

    @rule(data=st.data(), name=st.sampled_from(ALL_FILES))
    def swap_files(self, data: st.DataObject, name: str) -> None:
        one, other = self.choose_run(data), self.choose_run(data)
        paths = [self.folder(run) / name for run in (one, other)]
        assume(one != other and all(path.exists() for path in paths))
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            path.write_bytes(content)
            self.touch(path)
        self.faults["files of two runs swapped"] += 1

    @rule(data=st.data(), seed=st.integers(2, 5))
    def copy_elsewhere(self, data: st.DataObject, seed: int) -> None:
        run = self.choose_run(data)
        place = run_folder(self.study_dir, run.ablation, seed)
        assume(self.folder(run).exists() and not place.exists())
        shutil.copytree(self.folder(run), place)
        self.faults["a run copied to another seed's place"] += 1

    @rule(length=st.integers(0, 100))
    def damage_the_study_file(self, length: int) -> None:
        path = self.study_dir / STUDY_FILE
        content = path.read_bytes()
        path.write_bytes(content[:length])
        with pytest.raises(RecordError, match=r"copy study\.json"):
            load_study(self.study_dir)
        path.write_bytes(content)
        self.faults["study.json cut off"] += 1

    @rule()
    def resume(self) -> None:
        """What `ablate` does: load, quarantine, train what is missing."""
        study = load_study(self.study_dir)
        missing = missing_runs(study, list(self.made))
        assert not set(missing) & self.untouched.keys()
        files_before = self.contents()
        lines = quarantine_damaged_runs(self.study_dir, study)
        assert self.contents() == files_before, "something was deleted or overwritten"
        assert all("\n" not in line and str(self.root) not in line for line in lines)
        for run in missing:
            assert not (self.folder(run) / RECORD_FILE).exists()
            self.write(run)
        if not (self.study_dir / TIMING_FILE).exists():
            write_with_checksum(self.study_dir / TIMING_FILE, self.timing)
        study = load_study(self.study_dir)
        assert study.problems == ()
        assert {record.run_spec: record for record in study.records} == {
            run: result.record for run, result in self.made.items()
        }
        assert study.timing == self.timing

    def contents(self) -> Counter[bytes]:
        """Every file's content, wherever in the study it lies."""
        return Counter(path.read_bytes() for path in self.study_dir.rglob("*") if path.is_file())

    @invariant()
    def only_what_was_made_is_shown(self) -> None:
        study = load_study(self.study_dir)
        for record in study.records:
            assert record == self.made[record.run_spec].record
        shown = {record.run_spec for record in study.records}
        assert self.untouched.keys() <= shown, "an intact run is not shown"
        for run, inode in self.untouched.items():
            assert (self.folder(run) / RECORD_FILE).stat().st_ino == inode, "it was made again"
        assert study.timing in (None, self.timing)
        for problem in study.problems:
            assert "\n" not in problem and str(self.root) not in problem

    @rule()
    def report(self) -> None:
        """What a report shows besides numbers is what was made."""
        study = load_study(self.study_dir)
        results = summarise(study)
        assert sum(len(row.runs) for row in results.rows) == len(study.records)
        exhibits = load_exhibits(self.study_dir, study)
        for (name, seed), seen in exhibits.observations.items():
            [result] = [
                r for run, r in self.made.items() if (run.ablation, run.seed) == (name, seed)
            ]
            assert seen == msgspec.json.decode(result.observations_json or b"", type=Observations)
        for record in study.records:
            folder, result = self.folder(record.run_spec), self.made[record.run_spec]
            if (folder / WEIGHTS_FILE).exists():
                assert read_verified(folder / WEIGHTS_FILE, record) == result.weights_safetensors
            if (folder / PREDICTIONS_FILE).exists():
                load_predictions(folder, record)
                assert (folder / PREDICTIONS_FILE).read_bytes() == result.predictions_npz


def test_no_wrong_number_is_shown_and_no_run_is_lost(made: Results, spec: StudySpec) -> None:
    DamagedStudy.made, DamagedStudy.spec = made, spec
    DamagedStudy.faults.clear()
    num_examples, num_steps = (250, 40) if IS_EXHAUSTIVE else (15, 30)
    sampled = settings(
        suppress_health_check=list(HealthCheck),
        deadline=None,
        derandomize=True,
        max_examples=num_examples,
        stateful_step_count=num_steps,
    )
    run_state_machine_as_test(DamagedStudy, settings=sampled)  # type: ignore[no-untyped-call]
    for fault, times in DamagedStudy.faults.items():
        outcome = OUTCOMES.get(fault, "quarantined and made again, nothing wrong shown")
        count_fault("records", fault, outcome, times=times)
