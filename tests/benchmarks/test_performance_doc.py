"""docs/performance.md: made from what was measured, and never older than it."""

import re
from pathlib import Path

import msgspec
import pytest
from benchmarks.contenders import Plan
from benchmarks.performance_words import (
    accuracy_rows,
    accuracy_sentence,
    choices_gain,
    floor_of_a_step,
    full_study,
    profile_rows,
    speed_rows,
    speedup_without,
    study_growth,
)
from benchmarks.scaling_words import overhead_words
from click.testing import CliRunner

from ablations.records.atomic_io import RecordError, load_json, write_json
from benchmarks import performance
from benchmarks.compare import Comparison, Row
from benchmarks.measurements import (
    Accuracy,
    AccuracyRun,
    Choice,
    Choices,
    DiskOverhead,
    Floor,
    GroupTime,
    GroupTimes,
    Overhead,
    Part,
    Profile,
    Rate,
    Scaling,
    Spread,
    StepSpeed,
    StudyTime,
    StudyTimes,
)
from benchmarks.performance import (
    DOCUMENT,
    MEASUREMENTS,
    REPOSITORY,
    SCALING,
    Measured,
    draw_figures,
    fill_scaling,
    read_measured,
    render_document,
)
from speed.arithmetic import ARITHMETICS, Arithmetic
from tests.factories import ENVIRONMENT

NOW = "2026-01-31T12:00:00+00:00"
TRAINING_FLOP = 11_000_000


def about(value: float) -> Spread:
    return Spread(value, 0.97 * value, 1.04 * value)


def make_comparison() -> Comparison:
    rows = [
        Row(name, title, about(speed), about(0.8 * speed), about(speed / 2000), about(speed / 2500),
            about(speed / 2100), memory, None, 97.5)
        for name, title, speed, memory in [
            ("dataloader", "usual PyTorch loop", 2000.0, 900.0),
            ("dataloader-tuned", "the same, tuned for this machine", 2500.0, 900.0),
            ("lightning", "PyTorch Lightning", 1800.0, 1100.0),
            ("one-run", "this project, one run", 9000.0, None),
            ("study", "this project, a study of 2 runs", 17000.0, 1400.0),
        ]
    ]  # fmt: skip
    plan = Plan("mnist", 1, False, 60_000, 10_000, "cpu", 3, 2)
    versions = {"torch": "2.15.0", "pillow": "12.0"}
    return Comparison(rows, plan, [], ENVIRONMENT, 2, versions, NOW)


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


def make_scaling(*, is_quick: bool = False, memory_mib: float | None = 500.0) -> Scaling:
    speed_of = {"plain": 5000.0, "float32": 9000.0, "bfloat16": 12_000.0}

    def speed(arithmetic: Arithmetic, batch_size: int, width: int) -> StepSpeed:
        return StepSpeed(
            arithmetic, batch_size, (4 * width, 8 * width, 16 * width), 500_000 * width**2,
            TRAINING_FLOP * width**2 // 4, about(speed_of[arithmetic] * 4 / width**2 * batch_size / (batch_size + 40)),
            memory_mib,
        )  # fmt: skip

    return Scaling(
        environment=ENVIRONMENT,
        num_usable_cores=2,
        measured_at=NOW,
        dataset_name="mnist",
        is_quick=is_quick,
        num_rounds=5,
        num_images_a_round=6144,
        study_times=StudyTimes(
            "bfloat16", 3, 3000, 10_000, 3000 * TRAINING_FLOP, 10_000 * 4_000_000,
            [
                StudyTime(num_runs, min(num_runs, 2), about(5 + 0.5 * num_runs), about(4.5))
                for num_runs in (1, 2, 4, 8, 16, 32, 64)
            ],
        ),
        batch_sizes=[speed(one, size, 2) for one in ARITHMETICS for size in (32, 64, 128, 256, 512, 1024)],
        widths=[speed(one, 128, width) for one in ARITHMETICS for width in (1, 2, 4)],
        floor=Floor(
            [Rate("float32 convolution", "large", 200.0, "GFLOP/s"),
             Rate("memory copy", "256 MiB", 30.0, "GB/s")],
            200.0, 400.0, 30.0,
        ),
    )  # fmt: skip


def make_gpu() -> GroupTimes:
    times = [
        GroupTime(1, "trained", 3, 6.0, 300 * 2**20),
        GroupTime(64, "out of memory", 0, 0.0, 0),
    ]
    return GroupTimes("replicas: the target on MNIST", ENVIRONMENT, NOW, times)


def make_measured() -> Measured:
    return Measured(
        make_comparison(),
        make_choices(),
        make_profile(),
        make_accuracy(),
        make_scaling(),
        make_gpu(),
    )


def test_document_is_fresh() -> None:
    measured = read_measured(MEASUREMENTS)
    assert DOCUMENT.read_text() == render_document(measured), "stale: run `make performance`"
    assert measured.scaling is None or not measured.scaling.is_quick


def test_files_that_the_document_points_at_exist() -> None:
    text = DOCUMENT.read_text()
    for path in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCUMENT.parent / path).exists(), path
    for module in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (REPOSITORY / "benchmarks" / f"{module}.py").exists(), module
    drawn = {path.name for path in MEASUREMENTS.glob("*.svg")}
    assert drawn == set(re.findall(r"\(performance/([^)]+\.svg)\)", text))


def test_figures_are_of_what_was_measured() -> None:
    # Another version of matplotlib may draw the same figure with other bytes.
    for name, fresh in draw_figures(read_measured(MEASUREMENTS)).items():
        committed = (MEASUREMENTS / name).read_text()
        assert re.findall(r"<desc.*?</desc>", committed) == re.findall(r"<desc.*?</desc>", fresh)


def test_document_tells_what_was_measured(tmp_path: Path) -> None:
    text = render_document(make_measured())
    assert "Not measured yet" not in text
    assert "with 17,000 training images a second:\n8.5 (8.2–8.8) times as many" in text
    assert "| this project, one run | 9,000 (8,730–9,360) | 4.50" in text and "not measured" in text
    kept, _, rejected = text.partition("Tried, and not kept")
    assert "| the plain | 40.00" in kept and "| the fused | 10.00" in kept
    assert "| the compiled | 50.00" in rejected and "the fused" not in rejected
    assert "4.0 times as fast as the plain" in text
    assert "| the rest | 3.00 | 30 % |" in text and "2.0 times as fast and not more" in text
    assert "−0.200" in text and "For fused bfloat16 the interval does not contain zero" in text
    assert "| 64 | | out of memory | |" in text
    assert "mean nothing" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1 and len(table.splitlines()) > 2, table
    assert not re.search(r"\n\n\n", text)
    assert render_document(make_measured()) == text


def test_document_says_what_is_missing() -> None:
    text = render_document(Measured())
    assert text.count("Not measured yet.") == 5
    assert "No GPU was at hand" in text
    assert ".svg" not in text
    assert "mean nothing" in render_document(Measured(scaling=make_scaling(is_quick=True)))


def test_measurements_come_back_from_the_disk(tmp_path: Path) -> None:
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
    figures = {path.name for path in folder.glob("*.svg")}
    assert figures == set(re.findall(r"\(performance/([^)]+\.svg)\)", document.read_text()))
    for path in folder.glob("*.svg"):
        drawn = path.read_text()
        assert "background:#fff" in drawn and "<title" in drawn and "nan" not in drawn.lower()

    (folder / "choices.json").write_text('{"rows": 1}')
    with pytest.raises(RecordError, match=r"choices\.json: not a valid Choices"):
        read_measured(folder)
    finished = CliRunner().invoke(performance.main, options)
    assert finished.exit_code == 1 and "Error: " in finished.output


def test_memory_that_was_not_measured_is_not_drawn() -> None:
    scaling = make_scaling(memory_mib=None)
    figures = draw_figures(Measured(scaling=scaling))
    assert "peak memory" not in figures["batch-size.svg"]


def test_full_study_is_the_catalogue_at_full_length() -> None:
    study = full_study()
    assert study.num_images == study.num_variants * 3 * 20 * 60_000
    assert study.hours(study.num_images / 7200) == 2


def test_gain_of_choices_counts_what_is_kept() -> None:
    choices = make_choices()
    assert choices_gain(choices) == 4
    rows = [row for row in choices.rows if row.name != "fused"]
    assert choices_gain(msgspec.structs.replace(choices, rows=rows)) is None


def test_shares_of_a_step() -> None:
    profile = make_profile()
    rows = profile_rows(profile)
    assert [row.title for row in rows] == ["convolutions", "batch norm", "the rest"]
    assert [row.share_pct for row in rows] == [50, 20, 30]
    assert speedup_without(rows[0]) == 2
    full = msgspec.structs.replace(profile, step_milliseconds=about(6.0))
    assert [row.title for row in profile_rows(full)] == ["convolutions", "batch norm"]
    # 128 images of 11,067,840 operations each, at 400 thousand million a second.
    assert floor_of_a_step(profile, make_scaling().floor) == pytest.approx(3.5417, abs=1e-4)


def test_accuracy_is_compared_seed_by_seed() -> None:
    reference, *others = accuracy_rows(make_accuracy())
    assert reference.arithmetic == "plain" and reference.difference is None
    by_name = {row.arithmetic: row for row in others}
    assert by_name["bfloat16"].difference is not None
    assert by_name["bfloat16"].difference.mean == pytest.approx(-0.2)
    assert "lower by 0.20 ±" in accuracy_sentence(by_name["bfloat16"])
    assert "contains zero" in accuracy_sentence(by_name["float32"])
    [_, single, _] = accuracy_rows(make_accuracy(num_seeds=1))
    assert "too few seeds" in accuracy_sentence(single)


def test_growth_of_a_study_is_that_of_its_last_doubling() -> None:
    scaling = make_scaling()
    growth = study_growth(scaling.study_times, scaling.floor)
    assert growth is not None
    assert (growth.from_runs, growth.to_runs, growth.num_jobs) == (32, 64, 2)
    assert growth.seconds_for_each_run_more == pytest.approx(0.5)
    # Of each run, 0.0825 s of training in bfloat16 and 0.2 s of testing in float32, two at a time.
    assert growth.share_of_floor_pct == pytest.approx(100 * 0.2825 / 2 / 0.5)
    single = msgspec.structs.replace(
        scaling.study_times, by_num_runs=scaling.study_times.by_num_runs[:1]
    )
    assert study_growth(single, scaling.floor) is None


def test_speeds_are_set_beside_the_limit_of_their_own_arithmetic() -> None:
    scaling = make_scaling()
    for row, gflop_per_second in zip(
        speed_rows(scaling.widths, scaling.floor), (200, 200, 400), strict=True
    ):
        for speed, share_pct in zip(row.speeds, row.share_of_floor_pct, strict=True):
            gflop = speed.images_per_second.median * speed.training_flop / 1e9
            assert share_pct == pytest.approx(100 * gflop / gflop_per_second)


def test_damaged_measurement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    with pytest.raises(RecordError, match="cannot be read"):
        load_json(path, GroupTimes)


def test_scaling_document_is_fresh() -> None:
    text = SCALING.read_text(encoding="utf-8")
    assert fill_scaling(text, read_measured(MEASUREMENTS)) == text


def test_large_factorial_is_told_from_what_was_measured() -> None:
    disk = DiskOverhead(512, about(0.002), 0.1, 0.4, 1.2, 3_000_000)
    both = {"processes": about(0.05), "ray": about(0.1)}
    overhead = Overhead(ENVIRONMENT, NOW, 3, 64, 2, both, both, both, disk)
    words = overhead_words(overhead, 100.0)
    # 7,680 runs of 100 s, 1,000 at a time: 8 rounds of 100.1 s, and the start.
    assert "| 1,000 | 13 min | 0.1 % | 97.8 % |" in words
    # 256 groups of 30 on 8 GPUs; of at most 10 on 1,000, so that all 768 start at once.
    assert "| 8 | 30 | 256 | 32 |" in words
    assert "| 1,000 | 10 | 768 | 1 |" in words
    assert overhead_words(None, 100.0) == "Not measured yet.\n"
