"""Studies that are killed at random moments, again and again, and then run to their end.

One round of ten kills by default; `make chaos` does ten rounds, and notes them for
`docs/reliability.md`. A round's number is the seed of its random moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path

import psutil
import pytest

from ablations.records.run import load_record, without_times
from ablations.records.timing import TIMING_FILE
from tests.faults import tell_fault

pytestmark = pytest.mark.skipif(
    not hasattr(os, "killpg"), reason="processes are killed with signals, which Windows has not"
)

REPOSITORY = Path(__file__).resolve().parents[3]
NUM_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
NUM_KILLS = 10
"""Of a round."""
NUM_SEEDS = 6
VARIANTS = ["no-augmentation", "no-lr-schedule", "no-momentum"]
"""Beside the target."""
NUM_RUNS = (1 + len(VARIANTS)) * NUM_SEEDS
START_SECONDS = 8.0
"""About how long a study takes from its start to its first run."""
FAULTS = {
    "driver killed (SIGKILL)": signal.SIGKILL,
    "worker killed (SIGKILL)": signal.SIGKILL,
    "driver told to end (SIGTERM)": signal.SIGTERM,
    "Ctrl-C once": signal.SIGINT,
    "Ctrl-C twice": signal.SIGINT,
}
EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
WEIGHTS = [3, 5, 1, 1, 1]
"""How often each is drawn, in proportion."""


def start_study(out: Path, seeds: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(REPOSITORY / "cli.py"), "ablate", *VARIANTS]
    command += ["--dataset", "digits", "--epochs", "1", "--seeds", f"0-{seeds - 1}"]
    # Nothing to compile, or to load that was compiled, and little to time: a study is soon at work
    # again, and soon at its end.
    command += ["--preset", "quick", "--arithmetic", "plain", "--jobs", "2", "--out", str(out)]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def records_in(out: Path) -> dict[Path, bytes]:
    """The content of every record, by its place in the study."""
    return {path.relative_to(out): path.read_bytes() for path in out.glob("*/seed-*/record.json")}


def workers_of(driver: int) -> list[int]:
    """The worker processes of a driver."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(driver).children():
            with suppress(psutil.NoSuchProcess):  # It has just ended.
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
    return found


def group_is_empty(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(condition: object, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def wait_for_moment(draw: random.Random, process: subprocess.Popen[bytes], out: Path) -> None:
    """Until a random moment: while the study starts, or shortly after its next runs."""
    if draw.random() < 0.3:
        wait_until(lambda: process.poll() is not None, draw.uniform(0, START_SECONDS))
        return
    # After the last run there is the timing, and the report.
    wanted = min(len(records_in(out)) + draw.randint(1, 2), NUM_RUNS)
    wait_until(lambda: process.poll() is not None or len(records_in(out)) >= wanted, 120)
    # A run takes about half a second: its files are written somewhere in between.
    time.sleep(draw.uniform(0, 0.6))


def strike(draw: random.Random, fault: str, process: subprocess.Popen[bytes]) -> bool:
    """Do the harm; whether there was anything to do it to."""
    if process.poll() is not None:
        return False
    if fault.startswith("worker"):
        workers = workers_of(process.pid)
        if not workers:
            return False
        os.kill(draw.choice(workers), FAULTS[fault])
        return True
    process.send_signal(FAULTS[fault])
    if fault == "Ctrl-C twice":
        time.sleep(0.1)
        if process.poll() is None:
            process.send_signal(FAULTS[fault])
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study that nobody interrupts."""
    out = tmp_path_factory.mktemp("chaos") / "whole"
    _, errors = start_study(out, NUM_SEEDS).communicate(timeout=300)
    assert len(records_in(out)) == NUM_RUNS, errors.decode()
    return out


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_study_that_is_killed_again_and_again_loses_nothing(
    whole: Path, seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    kills: Counter[str] = Counter()
    for number in count():
        if sum(kills.values()) >= NUM_KILLS:
            break  # A study may come to its end before that; then there is another.
        killed = tmp_path / f"killed-{number}"
        kept = torment(killed, draw, kills)
        process = start_study(killed, NUM_SEEDS)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        assert_equal_studies(whole, killed, NUM_RUNS)
        now = records_in(killed)
        assert all(now[path] == content for path, content in kept.items())
        assert not list(killed.rglob("*.tmp"))
    for fault, times in kills.items():
        tell_fault(
            "processes",
            fault,
            "no finished run lost or done twice; the same command ends with the same numbers, bit by bit",
            times=times,
        )


def torment(killed: Path, draw: random.Random, kills: Counter[str]) -> dict[Path, bytes]:
    """Kill a study and go on with it, until there are enough kills or nothing is left to do. Returns
    its records, none of which was lost or made again on the way."""
    kept: dict[Path, bytes] = {}
    while sum(kills.values()) < NUM_KILLS and not (killed / TIMING_FILE).exists():
        process = start_study(killed, NUM_SEEDS)
        fault = ""
        while process.poll() is None and sum(kills.values()) < NUM_KILLS:
            wait_for_moment(draw, process, killed)
            fault = draw.choices(list(FAULTS), WEIGHTS)[0]
            if strike(draw, fault, process):
                kills[fault] += 1
            if not fault.startswith("worker"):
                break
        if fault.startswith("worker"):
            process.kill()
        _, errors = process.communicate(timeout=120)
        # Before its first run it may have been struck while Python itself was starting.
        if len(records_in(killed)) > len(kept) and not fault.startswith("worker"):
            assert process.returncode in (EXIT_CODES[FAULTS[fault]], 0), errors.decode()
            assert b"Traceback" not in errors
        # Nobody is left who computes for a driver that is gone.
        assert wait_until(lambda leader=process.pid: group_is_empty(leader), 20)
        now = records_in(killed)
        assert not [path for path in kept if now.get(path) != kept[path]], "lost, or done twice"
        kept = now
    return kept


def test_second_process_is_told_who_is_there_until_it_is_dead(tmp_path: Path) -> None:
    out = tmp_path / "study"
    first = start_study(out, 30)
    assert wait_until(lambda: first.poll() is not None or records_in(out), 120)
    second = start_study(out, 30)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"process {first.pid} on " in errors.decode()
    assert len(errors.decode().strip().splitlines()) == 1
    first.kill()
    first.communicate()
    kept = records_in(out)
    third = start_study(out, 30)
    # The dead process's lock keeps nobody out.
    assert wait_until(lambda: third.poll() is not None or len(records_in(out)) > len(kept), 120)
    third.terminate()
    third.communicate(timeout=60)
    assert third.returncode == 143
    now = records_in(out)
    assert len(now) > len(kept)
    assert all(now[path] == content for path, content in kept.items())
    tell_fault(
        "processes", "a second process in the folder", "it stops, and names the first one's pid"
    )
    tell_fault("processes", "a lock left by a dead process", "the next process goes on at once")


def assert_equal_studies(one: Path, other: Path, num_runs: int) -> None:
    """Equal but for times: records, predictions and weights."""
    paths = records_in(one)
    assert records_in(other).keys() == paths.keys()
    assert len(paths) == num_runs
    for path in paths:
        ours, theirs = (load_record((out / path).parent) for out in (one, other))
        assert without_times(ours) == without_times(theirs), path
        for name in ours.file_sha256:
            files = [((out / path).parent / name).read_bytes() for out in (one, other)]
            assert files[0] == files[1], path
