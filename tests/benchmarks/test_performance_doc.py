"""docs/performance.md and the measured part of docs/scaling.md."""

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from ablations.records.atomic_io import write_json
from benchmarks import performance
from benchmarks.derived import (
    minimum_step_milliseconds,
    speed_rows,
    study_growth,
)
from benchmarks.measurements import (
    Accuracy,
    AccuracyRun,
    Choice,
    Choices,
    DiskOverhead,
    GroupTime,
    GroupTimes,
    Overhead,
    Part,
    Profile,
    Spread,
    StudyTime,
)
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
from speed.arithmetic import ARITHMETICS, Arithmetic
from tests.factories import ENVIRONMENT

NOW = "2026-01-31T12:00:00+00:00"


def about(value: float) -> Spread:
    return Spread(value, 0.97 * value, 1.04 * value)


def make_choice(name: str, milliseconds: float, against: str, *, is_kept: bool = True) -> Choice:
    ratio = Spread(40 / milliseconds, 39 / milliseconds, 41 / milliseconds)
    return Choice(name, f"the {name}", f"about {name}", is_kept, about(milliseconds), "step",
                  against, ratio)  # fmt: skip


def make_choices() -> Choices:
    rows = [
        make_choice("fused", 10.0, "plain"),
        make_choice("plain", 40.0, "plain", is_kept=False),
        make_choice("compiled", 50.0, "plain", is_kept=False),
    ]
    return Choices(ENVIRONMENT, 2, NOW, 128, 7, "plain", rows)


def make_profile() -> Profile:
    parts = [
        Part("norm", "batch norm", 2.0, "waits for memory"),
        Part("conv", "convolutions", 5.0, ""),
    ]
    return Profile(ENVIRONMENT, NOW, "bfloat16", 200, about(10.0), parts)


def make_accuracy(num_seeds: int = 5) -> Accuracy:
    offsets: dict[Arithmetic, list[int]] = {
        "plain": [0, 0, 0, 0, 0],
        "float32": [2, -1, 0, 1, -2],
        "bfloat16": [-20, -22, -18, -21, -19],
    }
    runs = [
        AccuracyRun(arithmetic, seed, 9940 + 3 * seed + offsets[arithmetic][seed], 10_000,
                    "ab" * 8, "0123456789ab", "Example CPU", "2.15.0")
        for arithmetic in ARITHMETICS
        for seed in range(num_seeds)
    ]  # fmt: skip
    return Accuracy("plain", "target", "mnist", 20, 60_000, runs)


COMMITTED = read_measured(MEASUREMENTS)
assert COMMITTED.scaling and COMMITTED.comparison
SCALING_TIMES, FLOOR = COMMITTED.scaling.study_times, COMMITTED.scaling.floor


def make_measured() -> Measured:
    """The committed comparison and scaling, and small examples of the rest."""
    times = [
        GroupTime(1, "trained", num_epochs=3, seconds_per_run=6.0, peak_memory_bytes=300 * 2**20),
        GroupTime(64, "out of memory"),
    ]
    return replace(
        COMMITTED,
        choices=make_choices(),
        profile=make_profile(),
        accuracy=make_accuracy(),
        gpu=GroupTimes("replicas: the target on MNIST", NOW, ENVIRONMENT, times),
        overhead=None,
    )


def test_documents_are_fresh() -> None:
    assert render_document(COMMITTED) == DOCUMENT.read_text(), "stale: run `make performance`"
    text = SCALING.read_text(encoding="utf-8")
    assert fill_scaling(text, COMMITTED) == text, "stale: run `make performance`"
    assert COMMITTED.scaling and not COMMITTED.scaling.is_quick


def test_figures_are_fresh() -> None:
    drawn = draw_figures(COMMITTED)
    assert drawn.keys() == {path.name for path in MEASUREMENTS.glob("*.svg")}
    assert drawn.keys() == figures_in(DOCUMENT.read_text())
    # Another version of matplotlib may draw the same figure with other bytes.
    for name, fresh in drawn.items():
        committed = (MEASUREMENTS / name).read_text()
        assert re.findall(r"<desc.*?</desc>", committed) == re.findall(r"<desc.*?</desc>", fresh)


def figures_in(text: str) -> set[str]:
    return set(re.findall(r"\(performance/([^)]+\.svg)\)", text))


def test_document_states_what_was_measured() -> None:
    text = render_document(make_measured())
    assert "Not measured" not in text
    assert "21,208 training images per second,\n6.9 (6.7–8.4) times the speed" in text
    kept, _, rejected = text.partition("Tried and rejected")
    assert "| the plain | 40.00" in kept and "| the fused | 10.00" in kept
    assert "| the compiled | 50.00" in rejected and "the fused" not in rejected
    assert "4.0 times as fast as the plain" in text
    assert "| not in a part | 3.00 | 30 % |" in text and "would be 2.0 times as fast" in text
    assert "−0.200" in text and "fused bfloat16: accuracy is lower by 0.20 ±" in text
    assert "fused float32: inconclusive" in text
    assert "| 64 | | out of memory | |" in text
    assert "mean nothing" not in text
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
    assert "too few seeds" in render_document(Measured(accuracy=make_accuracy(num_seeds=1)))
    slower = [msgspec.structs.replace(row, is_kept=False) for row in make_choices().rows]
    choices = msgspec.structs.replace(make_choices(), rows=slower)
    assert "fastest implementation" not in render_document(Measured(choices=choices))
    assert render_overhead(None, 100.0).strip() == "Not measured yet."


def test_measurements_are_read_from_disk(tmp_path: Path) -> None:
    folder, document = tmp_path / "performance", tmp_path / "performance.md"
    measured = make_measured()
    for name in ("comparison", "choices", "profile", "accuracy", "scaling", "gpu"):
        write_json(folder / f"{name}.json", getattr(measured, name))
    assert read_measured(folder) == measured
    scaling = tmp_path / "scaling.md"
    scaling.write_text(SCALING.read_text())
    options = ["--measurements", str(folder), "--out", str(document), "--scaling", str(scaling)]
    finished = CliRunner().invoke(performance.main, options)
    assert finished.exit_code == 0, finished.output
    assert document.read_text() == render_document(measured)
    assert "Not measured yet." in scaling.read_text()
    assert {path.name for path in folder.glob("*.svg")} == figures_in(document.read_text())
    for path in folder.glob("*.svg"):
        drawn = path.read_text()
        assert "background:#fff" in drawn and "<title" in drawn and "nan" not in drawn.lower()
    (folder / "choices.json").write_text('{"rows": 1}')
    finished = CliRunner().invoke(performance.main, options)
    assert finished.exit_code == 1
    assert "choices.json: not a valid Choices" in finished.output


def test_minimum_time_of_a_step() -> None:
    # 128 images of 11,067,840 operations each.
    minimum_ms = 1000 * 128 * 0.01106784 / FLOOR.bfloat16_gflop_per_second
    assert minimum_step_milliseconds(make_profile(), FLOOR) == pytest.approx(minimum_ms)


def test_growth_of_a_study_is_that_of_its_last_doubling() -> None:
    fewer, more = (StudyTime(n, 2, about(5 + 0.5 * n), about(4.5)) for n in (32, 64))
    times = msgspec.structs.replace(SCALING_TIMES, by_num_runs=[fewer, more])
    growth = study_growth(times, FLOOR)
    assert growth is not None and (growth.fewer, growth.more) == (fewer, more)
    assert growth.seconds_per_additional_run == pytest.approx(0.5)
    # Training in bfloat16, testing in float32, two runs at a time.
    minimum_seconds = (
        times.training_flop_of_a_run / FLOOR.bfloat16_gflop_per_second
        + times.test_flop_of_a_run / FLOOR.float32_gflop_per_second
    ) / 1e9
    assert growth.share_of_limit_pct == pytest.approx(100 * minimum_seconds / 2 / 0.5)
    assert study_growth(msgspec.structs.replace(times, by_num_runs=[more]), FLOOR) is None


def test_speeds_are_compared_with_the_limit_of_their_precision() -> None:
    rows = speed_rows(COMMITTED.scaling.widths, FLOOR)
    assert [row.arithmetic for row in rows] == list(ARITHMETICS)
    for row in rows:
        peak = FLOOR.float32_gflop_per_second
        peak = FLOOR.bfloat16_gflop_per_second if row.arithmetic == "bfloat16" else peak
        for speed, share_pct in zip(row.speeds, row.share_of_limit_pct, strict=True):
            gflop = speed.images_per_second.median * speed.training_flop / 1e9
            assert share_pct == pytest.approx(100 * gflop / peak)


def test_large_factorial_follows_from_measurements() -> None:
    disk = DiskOverhead(512, about(0.002), 0.1, 0.4, 1.2, 3_000_000)
    both = {"processes": about(0.05), "ray": about(0.1)}
    text = render_overhead(Overhead(ENVIRONMENT, NOW, 3, 64, 2, both, both, both, disk), 100.0)
    # 7,680 runs of 100 s, 1,000 at a time: 8 rounds of 100.1 s, and the start.
    assert "| 1,000 | 13 min | 0.1 % | 97.8 % |" in text
    # 256 groups of 30 on 8 GPUs; of at most 10 on 1,000, so that all 768 start at once.
    assert "| 8 | 30 | 256 | 32 |" in text
    assert "| 1,000 | 10 | 768 | 1 |" in text
