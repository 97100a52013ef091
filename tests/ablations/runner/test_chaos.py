"""A study that is killed at random moments and resumed until it ends has lost nothing.

A moment is a number of printed lines, so the machine's pace does not matter. A round's number is the
seed of its moments; `make chaos` does ten longer rounds.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec
import psutil
import pytest

from ablations.catalogue.entries import find_ablation
from ablations.data.datasets import Dataset
from ablations.records.run import PREDICTIONS_FILE, WEIGHTS_FILE, load_record
from ablations.records.study import plan_runs
from tests.factories import make_spec, run_experiment, without_times
from tests.faults import IS_EXHAUSTIVE, count_fault

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows has none, and still has to import this module."""

REPOSITORY = Path(__file__).resolve().parents[3]
NUM_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
NUM_KILLS, NUM_SEEDS, NUM_JOBS = (10, 10, 2) if IS_EXHAUSTIVE else (1, 1, 1)
"""In a round."""
NUM_RUNS = 2 * NUM_SEEDS
FAULTS = {
    "driver killed (SIGKILL)": SIGKILL,
    "worker killed (SIGKILL)": SIGKILL,
    "driver told to end (SIGTERM)": signal.SIGTERM,
    "Ctrl-C once": signal.SIGINT,
    "Ctrl-C twice": signal.SIGINT,
}
WEIGHTS = [3, 5, 1, 1, 1]
"""How often each fault is drawn, in proportion."""
EXIT_CODES = {SIGKILL: -SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}


def start_study(out: Path) -> subprocess.Popen[str]:
    command = f"""{sys.executable} -u {REPOSITORY / "cli.py"} ablate no-momentum --dataset digits
        --seeds 0-{NUM_SEEDS - 1} --epochs 1 --preset quick --arithmetic plain --jobs {NUM_JOBS}"""
    return subprocess.Popen(
        [*command.split(), "--device", "cpu", "--out", str(out)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def records_in(out: Path) -> dict[Path, bytes]:
    """The content of every record, by its path in the study."""
    return {path.relative_to(out): path.read_bytes() for path in out.glob("*/seed-*/record.json")}


def worker_pids(driver: int) -> list[int]:
    pids = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(driver).children():
            with suppress(psutil.NoSuchProcess):  # It has just ended.
                if "spawn_main" in " ".join(child.cmdline()):
                    pids.append(child.pid)
    return pids


def wait_until_group_is_empty(leader: int) -> None:
    """Wait for the last process of a group: no worker outlives its driver."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(leader, 0)
            time.sleep(0.05)


def read_lines(process: subprocess.Popen[str], num_lines: int) -> bool:
    """Wait for this many printed lines, or for the last one; whether the study is running then."""
    assert process.stdout
    lines = (process.stdout.readline() for _ in range(num_lines))
    return not any(line.startswith("Report: ") or not line for line in lines)


def inject_fault(chance: random.Random, fault: str, process: subprocess.Popen[str]) -> bool:
    """Send the signal; whether there was a process to send it to."""
    is_worker = fault.startswith("worker")
    targets = worker_pids(process.pid) if is_worker else [process.pid]
    if not targets:
        return False
    target = chance.choice(targets)
    with suppress(ProcessLookupError):
        os.kill(target, FAULTS[fault])
        # Two signals at once are one: the driver confirms the first with a line.
        if fault == "Ctrl-C twice" and read_lines(process, 1):
            os.kill(target, FAULTS[fault])
        return True
    return False


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_study_that_is_killed_again_and_again_loses_nothing(
    seed: int, digits: Dataset, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(make_spec(digits.id, digits.title, 1), recipe="tuned")
    ablations = [find_ablation(name) for name in ("target", "no-momentum")]
    run_specs = plan_runs(spec, ablations, range(NUM_SEEDS))
    undisturbed = {one: run_experiment(one, digits) for one in run_specs}
    chance = random.Random(seed)
    num_faults: Counter[str] = Counter()
    for number in count():
        if num_faults.total() >= NUM_KILLS:
            break  # A study may end before that; then another one begins.
        out = tmp_path / f"killed-{number}"
        kept = disturb_study(out, chance, num_faults)
        process = start_study(out)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        records = records_in(out)
        assert len(records) == len(undisturbed)
        assert records.items() >= kept.items()
        for folder in [(out / path).parent for path in records]:
            record = load_record(folder)
            result = undisturbed[record.run_spec]
            assert without_times(record) == without_times(result.record)
            for name in (WEIGHTS_FILE, PREDICTIONS_FILE):
                assert (folder / name).read_bytes() == result.files[name]
        assert not list(out.rglob("*.tmp"))
    for fault, times in num_faults.items():
        count_fault(
            "processes",
            fault,
            "no finished run lost or done twice; the same command ends with the same numbers, bit by bit",
            times=times,
        )


def disturb_study(out: Path, chance: random.Random, num_faults: Counter[str]) -> dict[Path, bytes]:
    """Kill and resume a study until all kills are done, or the study is. Returns its records."""
    kept: dict[Path, bytes] = {}
    while num_faults.total() < NUM_KILLS and len(kept) < NUM_RUNS:
        process = start_study(out)
        fault = ""
        # The first five lines announce the study.
        while read_lines(process, chance.randint(1, 4) if fault else chance.randint(1, 9)):
            fault = chance.choices(list(FAULTS), WEIGHTS)[0]
            num_faults[fault] += inject_fault(chance, fault, process)
            if not fault.startswith("worker") or num_faults.total() >= NUM_KILLS:
                break
        assert process.stdout
        printed = process.stdout.read()  # `communicate` would lose what is in its buffer.
        _, errors = process.communicate()
        # A run whose process has died three times fails; the same command trains it again.
        has_failed = re.search("^FAILED: .* its process died 3 times", printed, re.MULTILINE)
        undisturbed = 1 if has_failed else 0
        is_disturbed = fault and not fault.startswith("worker")
        expected = EXIT_CODES[FAULTS[fault]] if is_disturbed else undisturbed
        assert process.returncode in (expected, undisturbed), errors
        assert "Traceback" not in errors
        wait_until_group_is_empty(process.pid)
        records = records_in(out)
        assert records.items() >= kept.items()
        kept = records
    return kept
