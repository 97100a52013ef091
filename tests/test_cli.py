"""The command line, with real worker processes and real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

import cli
from ablations.catalogue.ablation import Ablation, spec_changes
from ablations.catalogue.entries import ENTRIES
from ablations.catalogue.recipes import RECIPES
from ablations.data.dataset import Dataset
from ablations.records.run import RunRecord, load_record
from ablations.records.study_spec import StudySpec
from tests.ablations.runner.test_chaos import wait_until_group_is_empty
from tests.factories import make_study, without_times, write_study

REPOSITORY = Path(__file__).resolve().parents[1]
ON_DIGITS = ("--dataset", "digits", "--device", "cpu", "--arithmetic", "plain")


def run_cli(*arguments: object) -> Result:
    """Run a command in this process; worker processes are real."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def ablate_digits(out: Path, *arguments: str) -> Result:
    # The quick preset times epochs quickly.
    options = (*ON_DIGITS, "--preset", "quick", "--epochs", 1, "--out", out)
    return run_cli("ablate", *options, *arguments)


def start_study(out: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start `ablate` in another process, and wait for its first finished run."""
    command = [sys.executable, "cli.py", "ablate", *ON_DIGITS, "--epochs", "1", "--out", str(out)]
    process = subprocess.Popen(
        [*command, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, encoding="utf-8", **options
    )
    while process.poll() is None and not list(out.glob("*/seed-*/record.json")):
        time.sleep(0.05)
    return process


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
    assert finished.exit_code == 0, finished.output
    return out, finished.stdout


def test_study_has_everything(small_study: tuple[Path, str]) -> None:
    out, printed = small_study
    assert set(records_of(out)) == {f"{n}/seed-{k}" for n in ("target", "no-gap") for k in (0, 1)}
    for name in ("study.json", "timing.json", "report.html", "results.csv", "results.json"):
        assert (out / name).stat().st_size > 100, name
    assert str(out / "report.html") in printed.splitlines()[-1]
    assert "will take about" in printed
    assert "[4/4]" in printed
    content = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert (content["dataset"]["name"], content["num_epochs"]) == ("digits", 1)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "no-gap" in page
    assert "not MNIST" in page or "NOT MNIST" in page
    assert not list(out.rglob("*.tmp"))
    rendered = run_cli("report", out)
    assert rendered.exit_code == 0, rendered.output
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_designs_share_a_folder_and_its_margin(
    small_study: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    options = ("gap", "dropout", "--seeds", "0,1", "--jobs", "2")
    factorial = ablate_digits(out, "--design", "factorial", "--margin", "0.5", *options)
    assert factorial.exit_code == 0, factorial.output
    names = {"target", "no-gap", "no-dropout", "no-dropout+no-gap"}
    together = records_of(out)
    assert set(together) == {f"{name}/seed-{k}" for name in names for k in (0, 1)}
    # The number of jobs changes no bit: a record holds the checksums of predictions and weights.
    for name, alone in records_of(small_study[0]).items():
        assert without_times(alone) == without_times(together[name])
    results = msgspec.json.decode((out / "results.json").read_bytes())
    assert results["study"]["margin_pct"] == 0.5
    assert (len(results["ablations"]), len(results["combinations"])) == (3, 1)
    [attribution] = results["attributions"]
    assert attribution["is_factorial"]
    assert attribution["names"] == ["no-dropout", "no-gap"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Shapley" in page and "0.50 points" in page
    for design in ("ladder", "add-one-in", "leave-one-out"):
        again = ablate_digits(out, "--design", design, *options, "--dry-run")
        assert again.exit_code == 0, again.stderr
        assert "is there" in again.stdout
        assert "would run" not in again.stdout, again.stdout
    other = ablate_digits(out, *options, "--margin", "0.1")
    assert other.exit_code == 1
    assert "margin_pct = 0.5, not 0.1" in other.stderr


def test_merged_parts_become_the_study(small_study: tuple[Path, str], tmp_path: Path) -> None:
    whole, out = small_study[0], tmp_path / "merged"
    parts = [tmp_path / "1", tmp_path / "2"]
    for seed, part in enumerate(parts):
        shutil.copytree(whole, part)
        shutil.rmtree(part / "no-gap" / f"seed-{seed}")
    found = run_cli("merge", *parts, "--out", out)
    assert "4 runs copied" in found.output
    assert "2 were there already" in found.output
    assert records_of(out) == records_of(whole)
    planned = ablate_digits(parts[0], "no-gap", "--seeds", "0,1", "--shard", "1/2", "--dry-run")
    assert "part 1 of 2: 2 runs" in planned.output
    finished = ablate_digits(out, "no-gap", "--seeds", "0,1")
    assert "4 of 4 runs are there already" in finished.output
    assert (out / "timing.json").exists() and (out / "report.html").exists()


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder with its size and the time of its last change."""
    states = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the home of a user without data sets, and the current folder, `here`."""
    for name in ("home", "here/thesis"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "here" / "thesis" / "chapter.txt").touch()
    (tmp_path / "here" / "net.py").write_text("Net = None", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def digits_study(tmp_path: Path, digits: Dataset) -> Path:
    """A study as `ablate_digits` makes it, of two networks with two seeds each, not trained."""
    seeds = {"target": [0, 1], "no-gap": [0, 1]}
    spec = StudySpec(digits.id, digits.title, 1, None, "cpu", recipe="tuned")
    return write_study(tmp_path / "study", make_study(seeds, spec=spec))


def test_dry_run_writes_nothing(user: Path) -> None:
    before = contents(user)
    found = ablate_digits(Path("study"), "--all", "--seeds", "0-1", "--dry-run")
    assert found.exit_code == 0, found.output
    assert found.output.count("would run") == 2 * len(ENTRIES)
    assert "will take about" in found.output
    assert contents(user) == before


def test_dry_run_reads_packed_runs_and_leaves_them_packed(
    digits_study: Path,
) -> None:
    assert run_cli("pack", digits_study).exit_code == 0
    shutil.rmtree(digits_study / "no-gap")
    before = contents(digits_study)
    planned = ablate_digits(digits_study, "no-gap", "--seeds", "0-2", "--dry-run")
    assert "4 of 6 runs are there already" in planned.output
    assert contents(digits_study) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ablate --all --dry-run", "MNIST is not in data"),
        ("ablate --all --dry-run --data-dir home", "MNIST is not in home"),
        ("ablate no-bn", "unknown ablation"),
        ("ablate --all --out thesis", "is not an empty folder and not a study"),
        ("ablate --all --until-decided --preset quick", "leave out --seeds"),
        ("ablate no-warm-up --recipe published", "not defined under --recipe published"),
        ("ablate --all --out=~no-such-user/study", "there is no such home folder"),
        ("check net.py:Net --json nowhere/grade.json", "no file can be made in"),
        (f"check net.py:Net --json {'g' * 256}", "File name too long"),
        ("check net.py:Net --json thesis", "is a directory"),
        (f"check {'g' * 256}.py:Net", "File name too long"),
        ("check caf\udce9.py:Net", "cannot be written as UTF-8"),
        ("report caf\udce9", "cannot be written as UTF-8"),
        ("data", "MNIST is not in data"),
        ("data --data-dir ~no-such-user", "there is no such home folder"),
        ("merge thesis --out study", "is not a study"),
        ("plan runs/mnist", "is not a study"),
    ],
)
def test_refused_command_writes_nothing(user: Path, arguments: str, message: str) -> None:
    before = contents(user)
    result = run_cli(*arguments.split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert contents(user) == before


def test_second_study_in_a_folder_is_refused_before_steps_are_timed(
    digits_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.commands.messages.estimate_seconds", pytest.fail)
    with FileLock(digits_study / ".lock"):
        refused = ablate_digits(digits_study, "no-relu", "--seeds", "0,1")
    assert refused.exit_code == 1
    assert "another process uses" in refused.stderr


def test_wrong_number_of_cores_is_one_clear_line(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "here" / "net.py").write_text(
        "from mnist_blocks import NetworkSpec as Net", encoding="utf-8"
    )
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "abc")
    for arguments, code in (("ablate target", 1), ("check net.py:Net", 4)):
        result = run_cli(*arguments.split(), "--dataset", "digits")
        assert result.exit_code == code
        assert "$LOKY_MAX_CPU_COUNT is 'abc', not a number" in result.stderr


def test_installed_package_has_no_reference_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "cli.py"))
    result = run_cli("plan")
    assert (result.exit_code, "name a RUN_DIR" in result.stderr) == (2, True)


def test_ctrl_c_keeps_finished_runs_and_prints_how_to_continue(tmp_path: Path) -> None:
    out = tmp_path / "study"
    arguments = ("--jobs", "2", "--all", "--seeds", "0-9")
    process = start_study(out, *arguments, start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate()
    assert process.returncode == 130
    assert re.search(
        r"Finishing the [12] runs? under way. Press Ctrl-C again|Stopping \.\.\.", printed
    )
    kept = re.search(rf"(\d+) of {10 * len(ENTRIES)} runs are finished and kept", printed)
    # One run had ended. The other one was under way and finished, or had ended, too.
    assert kept and len(records_of(out)) == int(kept[1]) >= 2
    assert "--seeds 0-9" in printed.splitlines()[-1]
    assert not list(out.rglob("*.tmp"))
    wait_until_group_is_empty(process.pid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ablate no-bn", "did you mean 'no-batchnorm'?"),
        ("show no-batchnrm", "did you mean 'no-batchnorm'?"),
        ("ablate", "nothing to run"),
        ("ablate --all no-gap", "either names or --all"),
        ("ablate --all --design factorial", "524,288 networks; name at most 8"),
        ("ablate --design fractional", "is not one of"),
        ("ablate gap+gap-matched", "no-gap changes nothing where there is no-gap-matched"),
        ("ablate gap+xyz", "unknown ablation 'xyz'"),
        ("ablate --all --margin 0", "0<x<=100"),
        ("ablate --all --margin nan", "'nan' is not a number"),
        ("ablate --all --seeds a", "not a list of seeds"),
        ("ablate --all --seeds 4-2", "lower seed first"),
        ("ablate --all --seeds 1,1", "names a seed twice"),
        ("ablate --all --seeds 0-100000000", "at most 1,000"),
        ("ablate --all --epochs 0", "x>=1"),
        ("ablate --all --shard=4/3", "write 1/8 to 8/8"),
        ("ablate --all --dataset mnits", "mnits"),
        ("ablate --dataset digits --device cpu target --out /dev/null", "choose another folder"),
        ("ablate --dataset digits --device cuda target", "no cuda device"),
        ("ablate --all --gpus-per-task 0.5", "need --backend ray"),
        ("check net.py", "write the file and the name in it"),
        ("check net.py:", "write the file and the name in it"),
        ("check nowhere.py:Net", "there is no file 'nowhere.py'"),
        ("plan --power nan", "'nan' is not a number"),
        ("report .", "is not a study"),
        ("report docs/reference docs/reference", "given twice"),
    ],
)
def test_mistake_is_one_clear_line(arguments: str, message: str) -> None:
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a cuda device")
    result = run_cli(*arguments.split())
    assert result.exit_code not in (0, None)
    assert isinstance(result.exception, SystemExit), result.exception
    assert message in result.output


def test_version() -> None:
    assert re.fullmatch(r"mnist-ablations, version \S+\n", run_cli("--version").output)


def test_damaged_and_missing_runs_are_run_and_no_others(
    small_study: tuple[Path, str], tmp_path: Path
) -> None:
    study_copy = shutil.copytree(small_study[0], tmp_path / "copy")
    path = study_copy / "no-gap" / "seed-1" / "weights.safetensors"
    weights = path.read_bytes()[:-1]
    path.write_bytes(weights)
    rendered = run_cli("report", study_copy)
    assert rendered.exit_code == 1
    assert rendered.stderr.count("Left out: ") == 1
    planned = ablate_digits(study_copy, "no-gap", "--seeds", "0,1", "--dry-run")
    assert planned.stdout.count("would run") == 1
    assert not (study_copy / "quarantine").exists()
    timing = (study_copy / "timing.json").read_bytes()
    again = ablate_digits(study_copy, "no-gap", "--seeds", "0-2")
    assert again.exit_code == 0, again.output
    assert "3 of 6 runs are there already" in again.stdout
    assert (study_copy / "timing.json").read_bytes() == timing
    assert "kept as quarantine/no-gap-seed-1-1" in again.stdout
    [quarantined] = (study_copy / "quarantine").iterdir()
    assert quarantined.name == "no-gap-seed-1-1"
    assert (quarantined / "weights.safetensors").read_bytes() == weights
    before, after = records_of(small_study[0]), records_of(study_copy)
    assert len(after) == 6
    for name, record in before.items():
        assert without_times(record) == without_times(after[name])
        assert (record == after[name]) == (name != "no-gap/seed-1"), "only this one is run again"


@pytest.mark.parametrize("ablation", ENTRIES, ids=lambda entry: entry.name)
def test_list_and_show_print_each_ablation(ablation: Ablation) -> None:
    assert ablation.name in run_cli("list").output
    shown = run_cli("show", ablation.name)
    assert shown.exit_code == 0
    for recipe in ablation.recipes:
        for change in spec_changes(
            ablation.network_spec, ablation.training_spec(recipe), RECIPES[recipe]
        ):
            assert f"{change.field}: {change.target_value!r} -> {change.value!r}" in shown.output
    if ablation.name == "target":
        assert re.search(r"total +18,962 +1,863,456", shown.output)
        assert re.search(r"conv 3x3, 32 -> 32 +32, 7, 7 +9,248", shown.output)


def test_data_lists_verified_files(
    tmp_path: Path, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(mnist_folder))
    result = run_cli("data", "--data-dir", tmp_path / "nowhere")
    assert result.exit_code == 0
    assert result.output.count("verified") >= 4
    assert "60,000 training and 10,000 test images" in result.output
    assert (
        f"unusable  {tmp_path / 'nowhere'} (--data-dir): there is no such folder" in result.output
    )


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(cli.main.commands))])
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = run_cli(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert "python cli.py" in result.output


@pytest.mark.parametrize("command", [["--help"], ["ablate", "--help"], ["list"]])
def test_start_up_is_light(command: list[str]) -> None:
    code = (
        "import sys, cli\n"
        f"try: cli.main({command}, prog_name='cli.py')\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'torchvision', 'matplotlib', 'pandas', 'scipy', 'sklearn', 'rich'}\n"
        "print('IMPORTED', sorted(slow & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    )
    assert finished.stdout.splitlines()[-1] == "IMPORTED []"
