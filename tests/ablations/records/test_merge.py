"""Merging parts of a study into one folder."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from ablations.catalogue.entries import find_ablation
from ablations.records import merge
from ablations.records.lock import study_lock
from ablations.records.merge import merge_studies
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    RunResult,
    write_run,
)
from ablations.records.study import load_study, plan_runs
from ablations.records.study_spec import SeedPlan, StudyError, StudySpec, create_study, load_spec
from tests.ablations.runner.test_chaos import records_in
from tests.factories import make_record, make_spec


def write_part(part: Path, spec: StudySpec, seeds: range, chance: int = 0) -> None:
    """A part of a study as if it had been made: records, predictions and weights."""
    create_study(part, spec)
    for run in plan_runs(spec, [find_ablation("target")], seeds):
        files = {
            PREDICTIONS_FILE: b"predictions %d" % chance,
            WEIGHTS_FILE: b"weights %d" % run.seed,
        }
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        record = msgspec.structs.replace(make_record(run), file_sha256=digests)
        files[OBSERVATIONS_FILE] = b"damaged"
        write_run(part / "target" / f"seed-{run.seed}", RunResult(record, files))


def test_merge_takes_what_can_be_trusted_and_replaces_nothing(tmp_path: Path) -> None:
    spec = make_spec()
    one, two, out = (tmp_path / name for name in ("one", "two", "out"))
    write_part(one, spec, range(3))
    write_part(two, spec, range(2, 5), chance=1)
    cut_off = two / "target" / "seed-4" / WEIGHTS_FILE
    cut_off.write_bytes(b"weigh")
    merged = merge_studies([one, two], out)
    assert (merged.num_copied, merged.num_present) == (4, 0)
    [damaged, other] = merged.problems
    assert "holds another run, which stays" in other
    assert "cut off" in damaged
    before = records_in(out)
    assert sorted(before) == [Path(f"target/seed-{seed}/record.json") for seed in range(4)]
    assert load_study(out).problems == ()
    cut_off.write_bytes(b"weights 4")
    again = merge_studies([one, two], out)
    assert (again.num_copied, again.num_present) == (1, 4)
    assert records_in(out).items() > before.items()
    # What was damaged in the whole study does not keep an intact run out.
    (out / "target" / "seed-0" / WEIGHTS_FILE).write_bytes(b"")
    (out / "target" / "seed-1" / RECORD_FILE).write_bytes(b"{}")
    repaired = merge_studies([one, two], out)
    assert (repaired.num_copied, repaired.num_present) == (2, 3)
    assert sum("Quarantined" in problem for problem in repaired.problems) == 2
    assert load_study(out).problems == ()
    assert len(records_in(out)) == 5


def test_merge_verifies_what_it_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, out = tmp_path / "part", tmp_path / "out"
    write_part(part, make_spec(), range(2))
    weights = part / "target" / "seed-1" / WEIGHTS_FILE

    def damage_a_run_that_was_loaded(*inputs: object) -> list[str]:
        weights.write_bytes(b"other")
        return []

    monkeypatch.setattr(merge, "quarantine_damaged_runs", damage_a_run_that_was_loaded)
    merged = merge_studies([part], out)
    assert merged.num_copied == 1
    [problem] = merged.problems
    assert str(weights) in problem
    assert list(records_in(out)) == [Path("target/seed-0/record.json")]


def test_merge_refuses_parts_of_different_studies(tmp_path: Path) -> None:
    one, two, out = (tmp_path / name for name in ("one", "two", "out"))
    write_part(one, make_spec(), range(1))
    write_part(two, msgspec.structs.replace(make_spec(), margin_pct=0.05), range(1, 2))
    with pytest.raises(StudyError, match=r"the first has margin_pct = 0\.05, not 0\.1"):
        merge_studies([one, two], out)
    assert not out.exists()
    with pytest.raises(StudyError, match="nowhere is not a study"):
        merge_studies([one, tmp_path / "nowhere"], out)
    merge_studies([one], out)
    plans = [SeedPlan((seeds,), ("no-gap",)) for seeds in (5, 10)]
    for number, plan in enumerate(plans):
        planned = msgspec.structs.replace(make_spec(), seed_plan=plan)
        write_part(tmp_path / f"plan-{number}", planned, range(number, number + 1))
    with pytest.raises(StudyError, match="the first has seed_plan = 10 seeds of 1 ablation, not 5"):
        merge_studies([tmp_path / "plan-0", tmp_path / "plan-1"], tmp_path / "both")
    merge_studies([tmp_path / "plan-0"], tmp_path / "both")
    assert load_spec(tmp_path / "both").seed_plan == plans[0]
    with pytest.raises(StudyError, match="both and the parts have other plans"):
        merge_studies([tmp_path / "plan-1"], tmp_path / "both")
    with study_lock(out, make_spec()), pytest.raises(StudyError, match="another process uses"):
        merge_studies([one], out)
