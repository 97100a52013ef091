"""Output that cannot be written, or that its reader does not want, ends no command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
FULL = Path("/dev/full")
NETWORK = "from mnist_blocks import NetworkSpec\nNet = NetworkSpec()\n"


def start(*arguments: object, environment: dict[str, str] = {}, **options: Any) -> Any:  # noqa: B006
    command = [sys.executable, REPOSITORY / "cli.py", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | environment, **options)


def without_reader() -> int:
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def check_options(folder: Path) -> list[object]:
    (folder / "net.py").write_text(NETWORK, encoding="utf-8")
    options = ["--dataset", "digits", "--epochs", "1", "--seeds", "0"]
    return ["check", f"{folder / 'net.py'}:Net", *options, "--json", folder / "grade.json"]


def test_old_encoding_and_forced_colours_change_characters_only(tmp_path: Path) -> None:
    environment = {"PYTHONIOENCODING": "cp1252", "FORCE_COLOR": "1"}
    printed, log = tmp_path / "printed.txt", tmp_path / "log.txt"
    with printed.open("wb") as file:
        process = start(*check_options(tmp_path), environment=environment, stdout=file)
        assert process.wait() == 3
    lines = printed.read_text(encoding="cp1252")
    assert "+ pass       fewer than 20,000 parameters" in lines
    assert "\x1b" not in lines
    assert json.loads((tmp_path / "grade.json").read_bytes())["verdict"] == "undecided"
    study = REPOSITORY / "docs" / "reference"
    with log.open("wb") as file:
        process = start("compare", "no-relu", "target", study, environment=environment, stdout=file)
        assert process.wait() == 0
    assert "no-relu minus target: -0.92" in log.read_text(encoding="cp1252")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("buffering", ["", "1"])
def test_full_disk_has_its_own_exit_code_and_a_line(buffering: str) -> None:
    with FULL.open("wb") as full:
        environment = {"PYTHONUNBUFFERED": buffering}
        process = start(
            "list", environment=environment, stdout=full, stderr=subprocess.PIPE, encoding="utf-8"
        )
        line = "Standard output: No space left on device; the command goes on without it.\n"
        assert process.communicate()[1] == line
    assert process.returncode == 4


def test_closed_pipe_has_its_own_exit_code_and_no_grade_is_lost(tmp_path: Path) -> None:
    for arguments in (["--help"], ["list"], check_options(tmp_path)):
        writer = without_reader()
        process = start(*arguments, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        errors = process.communicate()[1]
        assert process.returncode == 141, arguments
        assert b"Traceback" not in errors
    assert json.loads((tmp_path / "grade.json").read_bytes())["verdict"] == "undecided"


def test_closed_pipe_does_not_hide_a_mistake() -> None:
    writer = without_reader()
    process = start("show", "no-such-name", stdout=writer, stderr=writer)
    os.close(writer)
    assert process.wait() == 2


def test_study_goes_on_without_its_reader(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--arithmetic", "plain", "--epochs", "1", "--preset", "quick"]
    process = start(
        *["ablate", "target", "--dataset", "digits", *options, "--seeds", "0"],
        *["--out", tmp_path / "study"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait() == 141
    assert errors == b"Standard output: Broken pipe; the command goes on without it.\n"
    assert len(list(tmp_path.glob("study/*/seed-0/record.json"))) == 1
    assert (tmp_path / "study" / "report.html").exists()


def test_pipe_that_returns_at_once_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start("ablate", "--help", stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read().endswith(b"Show this message and exit.\n")
    assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the current folder of a process")
def test_deleted_current_folder_is_a_mistake_with_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "current"
    folder.mkdir()
    command = f'rmdir "{folder}"; exec "{sys.executable}" "{REPOSITORY / "cli.py"}" list'
    result = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Error: the current folder no longer exists" in result.stderr


def test_grade_is_not_written_where_the_output_goes(tmp_path: Path) -> None:
    options = check_options(tmp_path)
    with (tmp_path / "grade.json").open("wb") as output:
        process = start(*options, stdout=output, stderr=subprocess.PIPE)
        assert b"what is printed goes there" in process.communicate()[1]
    assert process.returncode == 2
