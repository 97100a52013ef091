"""docs/performance.md and the measured part of docs/scaling.md."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import msgspec
import pytest
from click.testing import CliRunner

from ablations.records.atomic_io import write_json
from benchmarks import derived, performance
from benchmarks.measurements import DiskOverhead, GroupTime, GroupTimes, Overhead, Spread, StudyTime
from benchmarks.performance import (
    DOCUMENT,
    MEASUREMENTS,
    SCALING,
    Measured,
    draw_figures,
    fill_scaling,
    read_measured,
    render_document,
    render_overhead,
)
from speed.arithmetic import ARITHMETICS
from tests.factories import ENVIRONMENT

NOW = "2026-01-31T12:00:00+00:00"
COMMITTED = read_measured(MEASUREMENTS)
assert COMMITTED.scaling and COMMITTED.choices and COMMITTED.profile and COMMITTED.accuracy
SCALING_TIMES, FLOOR = COMMITTED.scaling.study_times, COMMITTED.scaling.floor
PROFILE, CHOICES, ACCURACY = COMMITTED.profile, COMMITTED.choices, COMMITTED.accuracy
GPU = GroupTimes("replicas: the target on MNIST", NOW, ENVIRONMENT, [
    GroupTime(1, "trained", num_epochs=3), GroupTime(64, "out of memory"),
])  # fmt: skip


def about(value: float) -> Spread:
    return Spread(value, 0.97 * value, 1.04 * value)


def test_documents_and_figures_are_fresh() -> None:
    assert render_document(COMMITTED) == DOCUMENT.read_text(encoding="utf-8"), (
        "stale: run `make performance`"
    )
    text = SCALING.read_text(encoding="utf-8")
    assert fill_scaling(text, COMMITTED) == text, "stale: run `make performance`"
    assert COMMITTED.scaling and not COMMITTED.scaling.is_quick
    drawn = draw_figures(COMMITTED)
    assert drawn.keys() == {path.name for path in MEASUREMENTS.glob("*.svg")}
    assert drawn.keys() == figures_in(DOCUMENT.read_text(encoding="utf-8"))
    # Another version of matplotlib may draw the same figure with other bytes.
    for name, fresh in drawn.items():
        committed = (MEASUREMENTS / name).read_text(encoding="utf-8")
        assert re.findall(r"<desc.*?</desc>", committed) == re.findall(r"<desc.*?</desc>", fresh)


def figures_in(text: str) -> set[str]:
    return set(re.findall(r"\(performance/([^)]+\.svg)\)", text))


def test_every_table_is_complete() -> None:
    text = render_document(replace(COMMITTED, gpu=GPU))
    assert "Not measured" not in text and "mean nothing" not in text
    assert "| 64 | | out of memory | |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1 and len(table.splitlines()) > 2, table
    assert "\n\n\n" not in text


def test_document_states_what_is_missing() -> None:
    text = render_document(Measured())
    assert text.count("Not measured yet.") == 5
    assert "Not measured: no GPU" in text
    assert ".svg" not in text
    quick = msgspec.structs.replace(COMMITTED.scaling, is_quick=True)
    assert "mean nothing" in render_document(Measured(scaling=quick))
    one_seed = msgspec.structs.replace(ACCURACY, runs=[r for r in ACCURACY.runs if r.seed == 0])
    assert "too few seeds" in render_document(Measured(accuracy=one_seed))
    assert render_overhead(None, 100.0).strip() == "Not measured yet."


def test_choices_are_kept_or_rejected() -> None:
    rows = [
        msgspec.structs.replace(row, is_kept=is_kept, milliseconds=about(milliseconds))
        for row, is_kept, milliseconds in zip(
            CHOICES.rows, (False, True, False), (40.0, 10.0, 5.0), strict=False
        )
    ]
    choices = msgspec.structs.replace(CHOICES, rows=rows[::-1], baseline_name=rows[0].name)
    assert derived.kept_choices(choices) == rows[:2]
    assert derived.rejected_choices(choices) == rows[2:]
    assert derived.choices_gain(choices) == 4
    slower = [msgspec.structs.replace(row, is_kept=False) for row in rows]
    assert derived.choices_gain(msgspec.structs.replace(choices, rows=slower)) is None


def test_parts_of_a_step_and_the_rest() -> None:
    parts = [msgspec.structs.replace(part, milliseconds=2.5) for part in PROFILE.parts[:2]]
    profile = msgspec.structs.replace(PROFILE, parts=parts, step_milliseconds=about(10.0))
    *_, rest = derived.profile_rows(profile)
    assert (rest.milliseconds, rest.share_pct, rest.speedup_without) == (5, 50, 2)
    assert derived.profile_excess_pct(profile) == 0


def test_accuracies_are_compared_by_their_means() -> None:
    by_precision: dict[str, list[float]] = {}
    for run in ACCURACY.runs:
        by_precision.setdefault(run.arithmetic, []).append(run.accuracy_pct)
    reference, *others = derived.accuracy_rows(ACCURACY)
    assert (reference.arithmetic, reference.difference) == ("plain", None)
    assert [row.arithmetic for row in others] == list(ARITHMETICS[1:])
    for row in others:
        expected = fmean(by_precision[row.arithmetic]) - fmean(by_precision["plain"])
        assert row.difference.mean == pytest.approx(expected)


def test_measurements_are_read_from_disk(tmp_path: Path) -> None:
    folder, document = tmp_path / "performance", tmp_path / "performance.md"
    measured = replace(COMMITTED, overhead=None, gpu=GPU)
    for name in ("comparison", "choices", "profile", "accuracy", "scaling", "gpu"):
        write_json(folder / f"{name}.json", getattr(measured, name))
    assert read_measured(folder) == measured
    scaling = tmp_path / "scaling.md"
    scaling.write_text(SCALING.read_text(encoding="utf-8"))
    options = ["--measurements", str(folder), "--out", str(document), "--scaling", str(scaling)]
    finished = CliRunner().invoke(performance.main, options)
    assert finished.exit_code == 0, finished.output
    assert document.read_text(encoding="utf-8") == render_document(measured)
    assert "Not measured yet." in scaling.read_text(encoding="utf-8")
    assert {path.name for path in folder.glob("*.svg")} == figures_in(
        document.read_text(encoding="utf-8")
    )
    assert not any(
        "nan" in path.read_text(encoding="utf-8").lower() for path in folder.glob("*.svg")
    )
    (folder / "choices.json").write_text('{"rows": 1}', encoding="utf-8")
    finished = CliRunner().invoke(performance.main, options)
    assert finished.exit_code == 1
    assert "choices.json: not a valid Choices" in finished.output


def test_minimum_time_is_that_of_the_precision() -> None:
    rates = (FLOOR.float32_gflop_per_second,) * 2 + (FLOOR.bfloat16_gflop_per_second,)
    for arithmetic, gflop_per_second in zip(ARITHMETICS, rates, strict=True):
        assert FLOOR.images_per_second(10**9, arithmetic) == pytest.approx(gflop_per_second)
    # 128 images of 11,067,840 operations each.
    minimum_ms = 1000 * 128 * 0.01106784 / FLOOR.bfloat16_gflop_per_second
    assert derived.minimum_step_milliseconds(PROFILE, FLOOR) == pytest.approx(minimum_ms)


def test_growth_of_a_study_is_that_of_its_last_doubling() -> None:
    fewer, more = (StudyTime(n, 2, about(5 + 0.5 * n), about(4.5)) for n in (32, 64))
    times = msgspec.structs.replace(SCALING_TIMES, by_num_runs=[fewer, more])
    growth = derived.study_growth(times, FLOOR)
    assert growth is not None and (growth.fewer, growth.more) == (fewer, more)
    assert growth.seconds_per_additional_run == pytest.approx(0.5)
    # Training in bfloat16, testing in float32, two runs at a time.
    minimum_seconds = (
        times.training_flop_of_a_run / FLOOR.bfloat16_gflop_per_second
        + times.test_flop_of_a_run / FLOOR.float32_gflop_per_second
    ) / 1e9
    assert growth.share_of_limit_pct == pytest.approx(100 * minimum_seconds / 2 / 0.5)
    assert derived.study_growth(msgspec.structs.replace(times, by_num_runs=[more]), FLOOR) is None


def test_large_factorial_follows_from_measurements() -> None:
    disk = DiskOverhead(512, about(0.002), 0.1, 0.4, 1.2, 3_000_000)
    both = {"processes": about(0.05), "ray": about(0.1)}
    text = render_overhead(Overhead(ENVIRONMENT, NOW, 3, 64, 2, both, both, both, disk), 100.0)
    # 7,680 runs of 100 s, 1,000 at a time: 8 rounds of 100.1 s, and the start.
    assert "| 1,000 | 13 min | 0.1 % | 97.8 % |" in text
    # 256 groups of 30 on 8 GPUs; of at most 10 on 1,000, so that all 768 start at once.
    assert "| 8 | 30 | 256 | 32 |" in text
    assert "| 1,000 | 10 | 768 | 1 |" in text
