"""Studies: which runs they need, which are there; and the numbers made of them."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablations.analysis.requirements import in_pct, judge_accuracy
from ablations.analysis.statistics import paired_difference, t_interval_95
from ablations.analysis.summary import CSV_COLUMNS, results_csv, results_json, summarise
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.experiment import PROTOCOL_VERSION, DatasetId
from ablations.catalogue.presets import choose_preset
from ablations.records.atomic_io import RecordError, UnreadableError, write_json
from ablations.records.checksums import OtherVersionError, write_sealed
from ablations.records.lock import only_one_process
from ablations.records.quarantine import SET_ASIDE_DIR, set_aside_damaged
from ablations.records.run import RunRecord
from ablations.records.study import (
    Study,
    load_study,
    missing_runs,
    plan_runs,
    run_folder,
)
from ablations.records.study_spec import (
    StudyError,
    StudySpec,
    check_folder,
    create_study,
    load_spec,
)
from ablations.records.timing import TIMING_FILE, EpochTime
from tests.factories import (
    ALL_NAMES,
    ENVIRONMENT,
    make_record,
    make_spec,
    make_study,
    make_timing,
)
from tests.faults import tell_fault

MNIST_ID = DatasetId("mnist", "ab" * 32, 60_000, 10_000)


def write_study(folder: Path, spec: StudySpec, names: list[str], seeds: list[int]) -> None:
    create_study(folder, spec)
    for run in plan_runs(spec, [find_ablation(name) for name in names], seeds):
        write_sealed(run_folder(folder, run.ablation, run.seed) / "record.json", make_record(run))


def test_runs_are_planned_seed_by_seed() -> None:
    runs = plan_runs(make_spec(), CATALOGUE, [0, 1])
    assert [run.seed for run in runs] == [0] * len(CATALOGUE) + [1] * len(CATALOGUE)
    assert [run.ablation for run in runs[: len(CATALOGUE)]] == [a.name for a in CATALOGUE]
    assert all(run.training.num_epochs == 20 for run in runs)


def test_only_what_is_missing_is_left(tmp_path: Path) -> None:
    spec = make_spec()
    write_study(tmp_path / "study", spec, ["target", "no-gap"], [0])
    runs = plan_runs(spec, [find_ablation("target"), find_ablation("no-gap")], [0, 1])
    missing = missing_runs(tmp_path / "study", runs)
    assert [(run.ablation, run.seed) for run in missing] == [("target", 1), ("no-gap", 1)]


def test_study_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    spec = make_spec()
    write_study(tmp_path / "study", spec, ["no-gap", "target"], [1, 0])
    study = load_study(tmp_path / "study")
    assert study.spec == spec
    assert study.name == "study"
    found = [(run.run_spec.seed, run.run_spec.ablation) for run in study.records]
    assert found == [(0, "no-gap"), (0, "target"), (1, "no-gap"), (1, "target")]
    assert study.problems == ()


def test_damaged_record_is_left_out_and_named(tmp_path: Path) -> None:
    write_study(tmp_path / "study", make_spec(), ["target", "no-gap"], [0])
    path = tmp_path / "study" / "no-gap" / "seed-0" / "record.json"
    path.write_bytes(path.read_bytes()[:100])
    study = load_study(tmp_path / "study")
    assert [run.run_spec.ablation for run in study.records] == ["target"]
    [problem] = study.problems
    assert problem.startswith("no-gap/seed-0/record.json: not the file that was written")


def test_record_from_elsewhere_is_left_out(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    write_study(study_dir, make_spec(), ["target"], [0])
    shutil.copytree(study_dir / "target" / "seed-0", study_dir / "target" / "seed-1")
    [longer] = plan_runs(make_spec(num_epochs=21), [find_ablation("no-gap")], [0])
    write_sealed(run_folder(study_dir, "no-gap", 0) / "record.json", make_record(longer))
    study = load_study(study_dir)
    assert [(run.run_spec.ablation, run.run_spec.seed) for run in study.records] == [("target", 0)]
    assert len(study.problems) == 2
    assert "is of another study" in study.problems[0]
    assert "is a record of 'target', seed 0" in study.problems[1]
    assert str(tmp_path) not in "".join(study.problems), "a report is passed on"


def test_runs_of_two_definitions_are_never_averaged(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    write_study(study_dir, make_spec(), ["target", "no-gap"], [0, 1])
    [run] = plan_runs(make_spec(), [find_ablation("no-gap")], [2])
    changed = replace(run, network=replace(run.network, dropout=0.3))
    write_sealed(run_folder(study_dir, "no-gap", 2) / "record.json", make_record(changed))
    study = load_study(study_dir)
    assert {run.run_spec.ablation for run in study.records} == {"target"}
    assert "no-gap: its runs are of different definitions" in study.problems[0]


def test_changed_definition_is_refused(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    create_study(study_dir, make_spec())
    [planned] = plan_runs(make_spec(), [find_ablation("no-relu")], [0])
    before = replace(planned, network=replace(planned.network, dropout=0.3))
    write_sealed(run_folder(study_dir, "no-relu", 0) / "record.json", make_record(before))
    with pytest.raises(StudyError, match="as it was defined before"):
        missing_runs(study_dir, [planned])
    assert set_aside_damaged(study_dir) == [], "it is whole"


def of_protocol(record: RunRecord, version: int) -> RunRecord:
    digest = record.run_spec.digest_under(version)
    return msgspec.structs.replace(record, protocol_version=version, digest=digest)


def test_another_protocol_is_refused_and_not_mixed(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    runs = plan_runs(make_spec(), [find_ablation("target"), find_ablation("no-gap")], [0])
    newer = PROTOCOL_VERSION + 1
    create_study(study_dir, make_spec())
    for run, version in zip(runs, (PROTOCOL_VERSION, newer), strict=True):
        record = of_protocol(make_record(run), version)
        write_sealed(run_folder(study_dir, run.ablation, 0) / "record.json", record)
    with pytest.raises(StudyError, match=f"under protocol version {newer}, .*--out"):
        missing_runs(study_dir, runs)
    assert set_aside_damaged(study_dir) == [], "it is whole"
    study = load_study(study_dir)
    assert [record.run_spec.ablation for record in study.records] == ["no-gap"]
    [problem] = study.problems
    assert problem.startswith(
        f"target/seed-0: was trained under protocol version {PROTOCOL_VERSION}"
    )


@pytest.mark.parametrize(
    ("field", "value"), [("device_type", "cuda"), ("device_type", "mps"), ("arithmetic", "float32")]
)
def test_runs_of_another_device_or_arithmetic_are_never_averaged_in(
    tmp_path: Path, field: str, value: str
) -> None:
    study_dir = tmp_path / "study"
    write_study(study_dir, make_spec(), ["target"], [0, 1])
    [run] = plan_runs(make_spec(), [find_ablation("target")], [2])
    elsewhere = msgspec.structs.replace(ENVIRONMENT, **{field: value})
    record = make_record(run, environment=elsewhere, last_error_pct=50.0)
    write_sealed(run_folder(study_dir, "target", 2) / "record.json", record)
    study = load_study(study_dir)
    [row] = summarise(study).rows
    assert row.accuracy_pct.by_seed.keys() == {0, 1}
    [problem] = study.problems
    assert problem.startswith("target/seed-2/record.json: is of another study")
    # It is whole, and hours of somebody's machine: `ablate` does not put it away by itself.
    with pytest.raises(StudyError, match=r"is of another study.*choose another folder"):
        missing_runs(study_dir, [run])
    assert set_aside_damaged(study_dir) == []
    assert (run_folder(study_dir, "target", 2) / "record.json").exists()
    tell_fault("records", f"a run of another {field} in a study", "left out, never averaged in")


def test_what_cannot_be_read_for_now_is_not_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_dir = tmp_path / "study"
    write_study(study_dir, make_spec(), ["target"], [0])
    runs = plan_runs(make_spec(), [find_ablation("target")], [0])
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "record.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        with pytest.raises(UnreadableError, match="Input/output error; mend that"):
            missing_runs(study_dir, runs)
        with pytest.raises(UnreadableError, match="Input/output error; mend that"):
            set_aside_damaged(study_dir)
    assert missing_runs(study_dir, runs) == []
    tell_fault(
        "records",
        "a record that cannot be read for now (EIO)",
        "one clear line; nothing is put away",
    )


def test_what_is_damaged_is_set_aside_and_nothing_is_overwritten(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    runs = plan_runs(make_spec(), [find_ablation("target"), find_ablation("no-gap")], [0])
    paths = [run_folder(study_dir, run.ablation, 0) / "record.json" for run in runs]
    damaged = []
    for number in range(1, 4):
        write_study(study_dir, make_spec(), ["target", "no-gap"], [0])
        write_sealed(study_dir / TIMING_FILE, make_timing(["target"]))
        for path in (paths[1], study_dir / TIMING_FILE):
            damaged.append(path.read_bytes()[:-number])
            path.write_bytes(damaged[-1])
        (paths[1].parent / "notes.txt").write_text(f"a user's, {number}")
        assert missing_runs(study_dir, runs) == [runs[1]]
        lines = set_aside_damaged(study_dir)
        assert [line.partition("; it is kept as ")[2] for line in lines] == [
            f"set-aside/no-gap-seed-0-{number}",
            f"set-aside/timing.json-{number}",
        ]
        assert lines[0].startswith("Set aside: no-gap/seed-0/record.json: not the file that was")
        assert paths[0].exists() and not paths[1].exists()
        assert load_study(study_dir).problems == ()
    kept = [path for path in (study_dir / SET_ASIDE_DIR).rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in kept if path.name != "notes.txt") == sorted(damaged)
    assert len([path for path in kept if path.name == "notes.txt"]) == 3


def test_missing_predictions_and_weights_are_no_fault_and_others_are(tmp_path: Path) -> None:
    # As in docs/reference, which has records alone.
    study_dir = tmp_path / "study"
    write_study(study_dir, make_spec(), ["target"], [0])
    [run] = plan_runs(make_spec(), [find_ablation("target")], [0])
    assert missing_runs(study_dir, [run]) == []
    for name in ("weights.safetensors", "predictions.npz"):
        path = run_folder(study_dir, "target", 0) / name
        path.write_bytes(b"of another run")
        assert missing_runs(study_dir, [run]) == [run]
        [problem] = load_study(study_dir).problems
        assert problem.startswith(f"target/seed-0/{name}: not the file that was recorded")
        path.unlink()


def test_damaged_study_file_says_the_way_out(tmp_path: Path) -> None:
    write_study(tmp_path / "study", make_spec(), ["target"], [0])
    path = tmp_path / "study" / "study.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"9.1"))
    for read in (load_study, set_aside_damaged, load_spec):
        with pytest.raises(RecordError, match=r"study.json: not the file that .* copy it here"):
            read(tmp_path / "study")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_epochs", 5),
        ("num_train_images", 9000),
        ("device_type", "cuda"),
        ("dataset", DatasetId("digits", "cd" * 32, 1437, 360)),
    ],
)
def test_another_study_in_the_folder_is_refused(tmp_path: Path, field: str, value: object) -> None:
    create_study(tmp_path / "study", make_spec())
    other = msgspec.structs.replace(make_spec(), **{field: value})
    with pytest.raises(StudyError, match=f"{field} = .*--out"):
        check_folder(tmp_path / "study", other)


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StudyError, match="not an empty folder and not a study"):
        check_folder(tmp_path, make_spec())
    with pytest.raises(StudyError, match="not an empty folder and not a study"):
        check_folder(tmp_path / "thesis.txt", make_spec())
    with pytest.raises(StudyError, match="cannot be written"):
        create_study(tmp_path / "thesis.txt" / "study", make_spec())
    with pytest.raises(StudyError, match="is not a study"):
        load_study(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_study_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study" / "study.json"
    write_sealed(path, msgspec.structs.replace(make_spec(), schema_version=7))
    with pytest.raises(OtherVersionError, match="version 7, but this program reads version 2"):
        load_study(tmp_path / "study")
    # As the first version wrote it: without a seal.
    write_json(path, msgspec.structs.replace(make_spec(), schema_version=1))
    with pytest.raises(OtherVersionError, match=r"version 1, .*; use the version that wrote it"):
        load_study(tmp_path / "study")


def test_presets() -> None:
    assert choose_preset("full", MNIST_ID).num_epochs == 20
    assert choose_preset("full", MNIST_ID).num_train_images is None
    assert choose_preset("quick", MNIST_ID).num_train_images == 9000
    small = choose_preset("quick", DatasetId("digits", "cd" * 32, 1437, 360))
    assert (small.num_train_images, small.num_epochs) == (None, 20)


def test_results_are_the_records_numbers() -> None:
    study = make_study(dict.fromkeys(ALL_NAMES, range(3)))
    results = summarise(study)
    by_run = {(r.run_spec.ablation, r.run_spec.seed): r for r in study.records}
    assert [row.ablation.name for row in results.rows] == [entry.name for entry in CATALOGUE]
    for row in results.rows:
        for seed in range(3):
            run = by_run[row.ablation.name, seed]
            target = by_run["target", seed]
            accuracy = run.epochs[-1].test_accuracy_pct
            assert row.accuracy_pct.by_seed[seed] == accuracy
            if row.difference_pct:
                expected = accuracy - target.epochs[-1].test_accuracy_pct
                assert row.difference_pct.by_seed[seed] == pytest.approx(expected)
    assert results.target is not None
    assert results.target.difference_pct is None


def test_difference_is_taken_over_shared_seeds_alone() -> None:
    difference = paired_difference({0: 98.0, 1: 97.0, 5: 10.0}, {0: 99.0, 1: 99.5, 7: 50.0})
    assert difference is not None
    assert difference.by_seed == {0: -1.0, 1: -2.5}
    assert difference.mean == -1.75
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    single = paired_difference({0: 1.0}, {0: 3.0})
    assert single is not None
    assert single.interval_95 is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_interval_is_scipys_paired_t_interval(values: list[float]) -> None:
    interval = t_interval_95(values)
    if interval is None:
        assert max(values) - min(values) < 1e-9
        return
    low, high = interval
    mean = sum(values) / len(values)
    assert low <= mean + 1e-9
    assert high >= mean - 1e-9
    if max(values) - min(values) > 1e-3:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, n = 3: t(0.975, 2) = 4.3027; 4.3027 / sqrt(3) = 2.4842.
    assert t_interval_95([1, 2, 3]) == pytest.approx((-0.4842, 4.4842), abs=1e-3)
    assert t_interval_95([2, 2]) is None
    assert t_interval_95([99.4 - 99.42, 99.3 - 99.32]) is None  # equal but for rounding
    assert t_interval_95([2]) is None


def test_requirements_are_measured() -> None:
    results = summarise(make_study(dict.fromkeys(ALL_NAMES, range(2))))
    accuracy, parameters, concepts, epochs = results.requirements
    assert "18,962" in parameters.measured
    assert parameters.verdict == concepts.verdict == "pass"
    assert accuracy.verdict == judge_accuracy(list(results.target.accuracy_pct.by_seed.values()))  # type: ignore[union-attr]
    assert f"{results.target.accuracy_pct.mean:.2f}" in accuracy.measured  # type: ignore[union-attr]
    assert "after epoch 19" in epochs.measured


@pytest.mark.parametrize(
    ("accuracies_pct", "verdict"),
    [
        ([99.50, 99.52, 99.48], "pass"),
        ([99.30, 99.32, 99.28], "fail"),
        ([99.40, 99.45, 99.37], "undecided"),
        ([99.60], "undecided"),
        ([99.39], "undecided"),
        ([99.60, 99.60], "undecided"),
        ([65.0], "fail"),
        ([9.8, 9.8, 9.8], "fail"),
        ([99.5, 99.5, 99.52, 99.48, 9.8], "fail"),
    ],
)
def test_accuracy_is_judged_by_its_interval(accuracies_pct: list[float], verdict: str) -> None:
    assert judge_accuracy(accuracies_pct) == verdict


def test_epoch_of_the_last_requirement_is_said_where_runs_diverged() -> None:
    runs = plan_runs(make_spec(), [find_ablation("target")], range(3))
    records = [make_record(run, diverges_after=3 if run.seed == 0 else None) for run in runs]
    *_, epochs = summarise(Study("s", make_spec(), tuple(records), None, ())).requirements
    assert "after epoch 19, or where a run diverged, of the same runs" in epochs.measured
    low, high = re.search(r"interval ([^ ]+) % to ([^ ]+) %", epochs.measured).groups()  # type: ignore[union-attr]
    assert 0 <= float(low) <= float(high) <= 100


def test_ablations_that_reach_the_accuracy_are_told_by_what_they_break() -> None:
    names = ["target", "no-gap", "no-dropout", "single-fc", "no-relu"]
    runs = plan_runs(make_spec(), [find_ablation(name) for name in names], [0])
    errors = {"target": 0.7, "no-relu": 2.0}
    records = [make_record(run, last_error_pct=errors.get(run.ablation, 0.4)) for run in runs]
    accuracy, *_ = summarise(Study("s", make_spec(), tuple(records), None, ())).requirements
    [keeping] = accuracy.reached_and_kept
    assert keeping.startswith("single-fc (")
    assert accuracy.reached_and_broke == [
        "no-dropout (99.60 %, 1 seed, without dropout)",
        "no-gap (99.60 %, 1 seed, 43,538 parameters, without global average pooling)",
    ]


def test_failed_requirement_is_said() -> None:
    spec = make_spec()
    [run] = plan_runs(spec, [find_ablation("target")], [0])
    record = make_record(run, last_error_pct=35.0)
    study = Study("s", spec, (record,), None, ())
    accuracy, *_ = summarise(study).requirements
    assert accuracy.verdict == "fail"
    assert accuracy.note.startswith(f"{9940 - record.last_epoch.test_correct:,} images of 10,000")
    assert "more than another draw" in accuracy.note
    assert "0 of 1 run reached it" in accuracy.note


def test_shortfall_is_explained_from_the_study_itself() -> None:
    spec = make_spec()
    errors_pct = {"target": (0.59, 0.64), "no-gap": (0.55, 0.5), "no-relu": (3.0, 3.0)}
    records = tuple(
        make_record(run, last_error_pct=errors_pct[run.ablation][run.seed])
        for run in plan_runs(spec, [find_ablation(name) for name in errors_pct], [0, 1])
    )
    results = summarise(Study("s", spec, records, None, ()))
    assert results.target is not None
    mean = results.target.accuracy_pct.mean
    accuracy, *_ = results.requirements
    assert 99.3 < mean < 99.4
    assert f"{(99.4 - mean) * 100:.1f} images of 10,000 short on average, less" in accuracy.note
    assert [words.split()[0] for words in accuracy.reached_and_broke] == ["no-gap"]


def test_accuracy_is_printed_on_the_right_side_of_the_limit() -> None:
    assert in_pct(99.4) == "99.40 %"
    assert in_pct(99.3967) == "99.397 %"
    assert in_pct(99.39) == "99.39 %"


def test_tables_hold_every_run() -> None:
    results = summarise(make_study(dict.fromkeys(ALL_NAMES, range(2))))
    lines = results_csv(results).splitlines()
    assert lines[0] == ",".join(CSV_COLUMNS)
    assert len(lines) == 1 + 2 * len(CATALOGUE)
    content = msgspec.json.decode(results_json(results))
    assert len(content["ablations"]) == len(CATALOGUE)
    assert results_csv(results) == results_csv(results)


def test_folder_of_a_process_that_was_killed_at_its_first_file_is_free(tmp_path: Path) -> None:
    (tmp_path / ".study.json.abc123.tmp").write_bytes(b"{")
    check_folder(tmp_path, make_spec())
    create_study(tmp_path, make_spec())
    with only_one_process(tmp_path):
        assert not list(tmp_path.glob("*.tmp"))
    (tmp_path / "other" / "file").mkdir(parents=True)
    with pytest.raises(StudyError, match="is not an empty folder"):
        check_folder(tmp_path / "other", make_spec())


def test_times_of_another_definition_are_not_shown(tmp_path: Path) -> None:
    spec = make_spec()
    write_study(tmp_path, spec, ["target", "no-gap"], [0, 1])
    timing = make_timing(["target", "no-gap"])
    right = timing.by_ablation
    wrong = {**right, "no-gap": EpochTime("0" * 64, [2.0])}
    for by_ablation, device_type, shown, num_problems in (
        (right, "cpu", {"target", "no-gap"}, 0),
        (wrong, "cpu", {"target"}, 1),
        (right, "cuda", None, 1),
    ):
        where = msgspec.structs.replace(timing.environment, device_type=device_type)
        write_sealed(
            tmp_path / TIMING_FILE,
            msgspec.structs.replace(timing, by_ablation=by_ablation, environment=where),
        )
        study = load_study(tmp_path)
        assert (set(study.timing.by_ablation) if study.timing else None) == shown
        assert len(study.problems) == num_problems
        assert all("measures them again" in problem for problem in study.problems)


@contextmanager
def as_somebody() -> Iterator[None]:
    """Without the rights of a superuser, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are of another kind here")
def test_what_may_not_be_read_is_no_smaller_study() -> None:
    spec = make_spec()
    runs = plan_runs(spec, [find_ablation("target")], range(2))
    with tempfile.TemporaryDirectory() as folder:
        study_dir = Path(folder)
        write_study(study_dir, spec, ["target"], [0, 1])
        for path in [study_dir, *study_dir.rglob("*")]:
            path.chmod(0o755)
        (study_dir / "target" / "seed-1").chmod(0)
        with as_somebody():
            study = load_study(study_dir)
            with pytest.raises(UnreadableError, match="Permission denied"):
                missing_runs(study_dir, runs)
        (study_dir / "target").chmod(0)
        with as_somebody(), pytest.raises(UnreadableError, match="Permission denied"):
            load_study(study_dir)
        (study_dir / "target").chmod(0o755)
    assert [record.run_spec.seed for record in study.records] == [0]
    [problem] = study.problems
    assert "seed-1" in problem
    assert "Permission denied" in problem
