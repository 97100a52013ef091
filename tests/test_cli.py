"""The command line as a person meets it: real processes, real worker processes, real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from filelock import FileLock

import cli
from ablations.catalogue.entries import CATALOGUE
from ablations.records.checksums import write_with_checksum
from ablations.records.run import RunRecord, load_record, without_times

REPOSITORY = Path(__file__).resolve().parents[1]
ON_DIGITS = ("--dataset", "digits", "--device", "cpu")


def run_cli(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "cli.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )


def ablate_digits(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli(*digits_command(out, *arguments))


def digits_command(out: Path, *arguments: str) -> list[str]:
    # The quick preset is here for its short timing.
    options = (*ON_DIGITS, "--preset", "quick", "--epochs", "1", "--out", str(out))
    return ["ablate", *options, *arguments]


def wait_until_group_is_empty(group: int) -> None:
    """No worker is left behind (Python's own resource tracker takes a moment to end)."""
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def records_of(study: Path) -> dict[str, RunRecord]:
    return {
        str(path.parent.relative_to(study)): load_record(path.parent)
        for path in study.glob("*/seed-*/record.json")
    }


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Target and one ablation at two seeds, one run at a time, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "study"
    finished = ablate_digits(out, "no-gap", "--seeds", "0,1", "--jobs", "1")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return out, finished.stdout


def test_study_has_everything(small_study: tuple[Path, str]) -> None:
    out, printed = small_study
    assert set(records_of(out)) == {f"{n}/seed-{k}" for n in ("target", "no-gap") for k in (0, 1)}
    for name in ("study.json", "timing.json", "report.html", "results.csv", "results.json"):
        assert (out / name).stat().st_size > 100, name
    assert str(out / "report.html") in printed.splitlines()[-1]
    assert "will take about" in printed
    assert "[4/4]" in printed
    page = (out / "report.html").read_text()
    assert "no-gap" in page
    assert "not MNIST" in page or "NOT MNIST" in page
    assert not list(out.rglob("*.tmp"))


def test_number_of_jobs_changes_no_bit(small_study: tuple[Path, str], tmp_path: Path) -> None:
    alone, _ = small_study
    shared = tmp_path / "study"
    finished = ablate_digits(shared, "no-gap", "--seeds", "0,1", "--jobs", "2")
    assert finished.returncode == 0, finished.stderr
    first, second = records_of(alone), records_of(shared)
    assert first.keys() == second.keys()
    for name, record in first.items():
        assert without_times(record) == without_times(second[name])
        for file in ("predictions.npz", "weights.safetensors"):
            assert (alone / name / file).read_bytes() == (shared / name / file).read_bytes()


def test_again_does_nothing_and_more_does_only_what_is_missing(
    small_study: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(small_study[0], out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-*/*")}
    timing = (out / "timing.json").read_bytes()
    again = ablate_digits(out, "no-gap", "--seeds", "0,1")
    assert again.returncode == 0
    assert "4 of 4 runs are there already" in again.stdout
    more = ablate_digits(out, "no-gap", "--seeds", "0-2")
    assert more.returncode == 0
    assert "4 of 6 runs are there already" in more.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(records_of(out)) == 6
    assert (out / "timing.json").read_bytes() == timing


def test_designs_share_a_folder_and_its_margin(tmp_path: Path) -> None:
    out = tmp_path / "study"
    options = ("gap", "dropout", "--seeds", "0,1", "--margin", "0.5")
    factorial = ablate_digits(out, "--design", "factorial", *options)
    assert factorial.returncode == 0, factorial.stderr
    names = {"target", "no-gap", "no-dropout", "no-dropout+no-gap"}
    assert set(records_of(out)) == {f"{name}/seed-{k}" for name in names for k in (0, 1)}
    results = msgspec.json.decode((out / "results.json").read_bytes())
    assert results["study"]["margin_pct"] == 0.5
    [attribution] = results["attributions"]
    assert attribution["is_factorial"]
    assert attribution["names"] == ["no-dropout", "no-gap"]
    page = (out / "report.html").read_text()
    assert "Shapley" in page and "0.50 points" in page
    for design in ("ladder", "add-one-in", "leave-one-out"):
        command = digits_command(out, "--design", design, *options[:4], "--dry-run")
        again = CliRunner().invoke(cli.main, command)
        assert again.exit_code == 0, again.stderr
        assert "is there" in again.stdout
        assert "would run" not in again.stdout, again.stdout
    other = CliRunner().invoke(cli.main, digits_command(out, *options[:4], "--margin", "0.1"))
    assert other.exit_code == 1
    assert "margin_pct = 0.5, and you asked for 0.1" in other.stderr


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    finished = ablate_digits(tmp_path / "study", "--all", "--seeds", "0-1", "--dry-run")
    assert finished.returncode == 0
    assert finished.stdout.count("would run") == 2 * len(CATALOGUE)
    assert "about" in finished.stdout
    assert not (tmp_path / "study").exists()


def test_ctrl_c_keeps_finished_runs_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "study"
    command = [sys.executable, "-u", str(REPOSITORY / "cli.py"), "ablate", *ON_DIGITS]
    command += ["--all", "--epochs", "2", "--seeds", "0-9", "--jobs", "2", "--out", str(out)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("*/seed-*/record.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(
        r"Finishing the [12] runs? under way.*Ctrl-C again stops at once", printed
    ) or ("Stopping" in printed)
    kept = re.search(rf"(\d+) of {10 * len(CATALOGUE)} runs are finished and kept", printed)
    assert kept
    # One run had ended; the other was under way and is finished, or had ended, too.
    assert len(records_of(out)) == int(kept[1]) >= 2
    assert "--seeds 0-9" in printed.splitlines()[-1]
    assert not list(out.rglob("*.tmp"))
    wait_until_group_is_empty(process.pid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate", "no-bn"], "did you mean 'no-batchnorm'?"),
        (["ablate", "xyz"], "unknown ablation 'xyz'"),
        (["show", "no-batchnrm"], "did you mean 'no-batchnorm'?"),
        (["ablate"], "nothing to run"),
        (["ablate", "--all", "no-gap"], "either names or --all"),
        (["ablate", "--all", "--design", "factorial"], "32,768 networks; name at most 8"),
        (["ablate", "--all", "--design", "ladder"], "changes nothing where there is"),
        (["ablate", "--design", "ladder", "gap"], "at least two ablations"),
        (["ablate", "--design", "fractional"], "is not one of"),
        (["ablate", "gap+gap-matched"], "no-gap changes nothing where there is no-gap-matched"),
        (["ablate", "gap+xyz"], "unknown ablation 'xyz'"),
        (["ablate", "--all", "--margin", "0"], "0<x<=100"),
        (["ablate", "--all", "--margin", "nan"], "nan"),
        (["ablate", "--all", "--seeds", "a"], "not a list of seeds"),
        (["ablate", "--all", "--seeds", "4-2"], "runs backwards"),
        (["ablate", "--all", "--seeds", "1,1"], "names a seed twice"),
        (["ablate", "--all", "--seeds", "-1"], "not a list of seeds"),
        (["ablate", "--all", "--seeds", "0-100000000"], "at most 1,000"),
        (["ablate", "--all", "--seeds", ""], "not a list of seeds"),
        (["ablate", "--all", "--epochs", "0"], "x>=1"),
        (["ablate", "--all", "--jobs", "0"], "x>=1"),
        (["ablate", "--all", "--dataset", "mnits"], "mnits"),
        (["ablate", *ON_DIGITS, "target", "--out", "/dev/null"], "choose another folder"),
        (["ablate", *ON_DIGITS, "target", "--out", "/dev/null/x"], "choose another folder"),
        (["ablate", "--dataset", "digits", "--device", "cuda", "target"], "no cuda device"),
        (["report", "/nowhere"], "is not a study"),
        (["report", "."], "is not a study"),
    ],
)
def test_mistake_is_one_clear_line(arguments: Sequence[str], message: str) -> None:
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a cuda device")
    result = CliRunner().invoke(cli.main, list(arguments))
    assert result.exit_code not in (0, None)
    assert isinstance(result.exception, SystemExit), result.exception
    assert message in result.output
    assert "Traceback" not in result.output


def test_truncated_data_is_one_clear_line(tmp_path: Path, mnist_folder: Path) -> None:
    for path in mnist_folder.glob("*ubyte*"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:5000])
    environment = {**os.environ, "MNIST_DATA_DIR": ""}
    finished = subprocess.run(
        [sys.executable, str(REPOSITORY / "cli.py"), "ablate", "target", "--dataset", "mnist"]
        + ["--data-dir", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "train-images" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_second_process_in_a_study_is_refused(small_study: tuple[Path, str]) -> None:
    out, _ = small_study
    with FileLock(out / ".lock"):
        finished = ablate_digits(out, "no-gap", "--seeds", "0,1")
    assert finished.returncode == 1
    assert "another process uses" in finished.stderr


def test_empty_folder_will_do(tmp_path: Path) -> None:
    finished = ablate_digits(tmp_path, "target", "--seeds", "0", "--dry-run")
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_version() -> None:
    result = CliRunner().invoke(cli.main, ["--version"])
    assert re.fullmatch(r"mnist-ablations, version \S+\n", result.output)


def test_record_of_an_unknown_schema(small_study: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(small_study[0], out)
    path = out / "no-gap" / "seed-1" / "record.json"
    write_with_checksum(path, msgspec.structs.replace(load_record(path.parent), schema_version=3))
    finished = ablate_digits(out, "no-gap", "--seeds", "0,1")
    assert finished.returncode == 1
    assert "schema_version" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    rendered = run_cli("report", str(out))
    assert rendered.returncode == 1
    assert "Left out" in rendered.stderr
    assert "schema_version" in (out / "report.html").read_text()


def test_what_was_damaged_is_quarantined_and_run_again(
    small_study: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    shutil.copytree(small_study[0], out)
    weights = bytearray((out / "no-gap" / "seed-1" / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (out / "no-gap" / "seed-1" / "weights.safetensors").write_bytes(weights)
    record = (out / "target" / "seed-0" / "record.json").read_bytes()
    (out / "target" / "seed-0" / "record.json").write_bytes(record[:1000])
    rendered = run_cli("report", str(out))
    assert rendered.returncode == 1
    assert rendered.stderr.count("Left out: ") == 2
    planned = ablate_digits(out, "no-gap", "--seeds", "0,1", "--dry-run")
    assert planned.stdout.count("would run") == 2
    assert not (out / "quarantine").exists()
    again = ablate_digits(out, "no-gap", "--seeds", "0,1")
    assert again.returncode == 0, again.stderr
    assert "2 of 4 runs are there already" in again.stdout
    kept = {path.name for path in (out / "quarantine").iterdir()}
    assert kept == {"no-gap-seed-1-1", "target-seed-0-1"}
    assert again.stdout.count("Quarantined: ") == 2
    kept_weights = out / "quarantine" / "no-gap-seed-1-1" / "weights.safetensors"
    assert kept_weights.read_bytes() == weights
    before, after = records_of(small_study[0]), records_of(out)
    assert {name: without_times(record) for name, record in before.items()} == {
        name: without_times(record) for name, record in after.items()
    }
    for name in ("no-gap/seed-0", "target/seed-1"):
        assert before[name] == after[name], "it was made again"


def test_report_is_rendered_again_from_records_alone(small_study: tuple[Path, str]) -> None:
    out, _ = small_study
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    finished = run_cli("report", str(out))
    assert finished.returncode == 0
    assert (out / "report.html").read_bytes() == page


def test_show_target_prints_the_reference_table() -> None:
    result = CliRunner().invoke(cli.main, ["show", "target"])
    assert result.exit_code == 0
    assert re.search(r"total +18,962 +1,863,456", result.output)
    assert re.search(r"conv 3x3, 32 -> 32 +32, 7, 7 +9,248", result.output)


@pytest.mark.parametrize("ablation", CATALOGUE, ids=lambda entry: entry.name)
def test_show_tells_what_differs(ablation: object) -> None:
    name = ablation.name  # type: ignore[attr-defined]
    result = CliRunner().invoke(cli.main, ["show", name])
    assert result.exit_code == 0
    for change in ablation.changes():  # type: ignore[attr-defined]
        assert f"{change.field}: {change.target_value!r} -> {change.value!r}" in result.output


def test_list_names_all() -> None:
    result = CliRunner().invoke(cli.main, ["list"])
    assert all(ablation.name in result.output for ablation in CATALOGUE)


def test_data_tells_where_and_whether(mnist_folder: Path) -> None:
    result = CliRunner().invoke(cli.main, ["data", "--data-dir", str(mnist_folder)])
    assert result.exit_code == 0
    assert result.output.count("verified") >= 4
    assert "60,000 training and 10,000 test images" in result.output


def test_data_says_that_a_folder_is_not_there(tmp_path: Path, mnist_folder: Path) -> None:
    environment = {"MNIST_DATA_DIR": str(mnist_folder)}
    arguments = ["data", "--data-dir", str(tmp_path / "nowhere")]
    result = CliRunner().invoke(cli.main, arguments, env=environment)
    assert result.exit_code == 0
    assert f"there is no folder {tmp_path / 'nowhere'}" in result.stderr


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(cli.main.commands))])
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(cli.main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert "python cli.py" in result.output


def test_help_does_not_import_what_takes_long() -> None:
    code = (
        "import sys, cli\n"
        "try: cli.main(['ablate', '--help'], prog_name='cli.py')\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'torchvision', 'matplotlib', 'pandas', 'scipy', 'sklearn', 'rich'}\n"
        "print('IMPORTED', sorted(slow & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert finished.stdout.splitlines()[-1] == "IMPORTED []"


def test_study_file_tells_what_the_study_is(small_study: tuple[Path, str]) -> None:
    content = json.loads((small_study[0] / "study.json").read_text())
    assert content["dataset"]["name"] == "digits"
    assert content["num_epochs"] == 1
    assert msgspec.json.decode((small_study[0] / "results.json").read_bytes())["ablations"]
