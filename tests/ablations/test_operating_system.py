"""Other systems, as far as they can be imitated on this one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from ablations import operating_system
from ablations.catalogue.entries import CATALOGUE
from ablations.operating_system import processor_name, replace_file
from ablations.runner import process_pool

REPOSITORY = Path(__file__).resolve().parents[2]

WITHOUT_POSIX = """
import os, signal, sys
for module, names in {
    os: "fork forkpty getloadavg getpgid getuid geteuid killpg mkfifo sched_getaffinity setsid",
    signal: "SIGHUP SIGUSR1 SIGUSR2 SIGALRM pthread_sigmask",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("grp", "pwd", "pty", "resource", "termios"):
    sys.modules[name] = None
"""
"""Run by Python before a program: what Windows lacks, without what Python itself needs here."""

EVERYTHING = """
import importlib, pkgutil
import ablations, mnist_blocks, reports, speed
for package in (ablations, mnist_blocks, reports, speed):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".ray_pool"):  # Ray has other modules on Windows.
            importlib.import_module(module.name)
import cli
cli.main()
"""


def test_a_study_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    """In the command and in its workers, which Python starts anew with the same replacements."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    # Without kernels to compile.
    arguments = f"""ablate target --dataset digits --epochs 1 --seeds 0 --jobs 1 --device cpu
        --arithmetic plain --recipe published --out {tmp_path}/study"""
    result = subprocess.run(
        [sys.executable, "-c", EVERYTHING, *arguments.split()],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        capture_output=True,
        encoding="utf-8",
        timeout=550,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "study" / "target" / "seed-0" / "record.json").exists()


def test_a_command_prints_a_name_that_the_console_lacks(tmp_path: Path) -> None:
    folder = tmp_path / "数据"
    try:
        folder.mkdir()
    except UnicodeEncodeError:
        pytest.skip("no file can have such a name where Python uses ASCII")
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / "cli.py"), "data", "--data-dir", str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "MNIST_DATA_DIR": ""},
        capture_output=True,
        encoding="cp1252",
    )
    assert result.returncode == 1
    assert "?? (--data-dir): has no file of MNIST" in result.stdout, result.stderr


def test_windows_waits_for_a_file_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "new", tmp_path / "old"
    monkeypatch.setattr(operating_system, "IS_WINDOWS", True)
    rename = Mock(side_effect=[PermissionError, PermissionError, None])
    monkeypatch.setattr(Path, "replace", rename)
    replace_file(source, target)
    assert rename.call_count == 3
    monkeypatch.setattr(operating_system, "_REPLACE_SECONDS", 0)
    for is_windows in (True, False):
        monkeypatch.setattr(operating_system, "IS_WINDOWS", is_windows)
        rename.side_effect = PermissionError
        with pytest.raises(PermissionError):
            replace_file(source, target)
    rename.reset_mock()
    with pytest.raises(PermissionError):
        replace_file(source, target)
    rename.assert_called_once_with(target)


def test_constants_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(operating_system.__file__).read_text(encoding="utf-8")
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        exec(compile(source, "operating_system", "exec"), windows := {})  # noqa: S102
    assert windows["ENDING_SIGNALS"] == (signal.SIGINT, signal.SIGTERM, 21)
    monkeypatch.setattr(process_pool, "MAX_PROCESSES", windows["MAX_PROCESSES"])
    assert process_pool.ProcessPool(Mock(), 1_000).num_slots() < 63


def test_processor_is_named_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=FileNotFoundError))
    monkeypatch.setattr("platform.processor", lambda: "Intel64 Family 6")
    monkeypatch.setattr(sys, "platform", "win32")
    assert processor_name() == "Intel64 Family 6"
    monkeypatch.setattr(sys, "platform", "darwin")
    run = Mock(side_effect=[Mock(stdout="Apple M4\n"), FileNotFoundError])
    monkeypatch.setattr(subprocess, "run", run)
    assert [processor_name(), processor_name()] == ["Apple M4", "Intel64 Family 6"]


def test_names_are_possible_on_every_system() -> None:
    """No two differ by case alone; none is a device's, too long or has forbidden characters."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    ).stdout.split("\0")
    names = [*filter(None, tracked), *(ablation.name for ablation in CATALOGUE)]
    assert len({name.lower() for name in names}) == len(names)
    devices = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
    for name in names:
        assert not re.search(r'[<>:"|?*\\]|[. ](/|$)', name) and len(name) < 150, name
        assert not any(devices.match(part) for part in name.split("/")), name
