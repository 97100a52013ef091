"""Studies on a real Ray cluster of two nodes, which both run on this machine."""

import builtins
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("CI"):  # There it must be installed.
    pytest.importorskip("ray", reason='Ray is not installed (pip install -e ".[ray]")')
from ray.cluster_utils import Cluster as TwoNodes

from ablations.catalogue import find_ablation
from ablations.cluster import Cluster, ClusterError, ClusterPool, connect
from ablations.data import Dataset
from ablations.execution import (
    EpochFinished,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    WorkerSetup,
    execute,
)
from ablations.experiment import DatasetId, Experiment
from ablations.processes import ProcessPool
from ablations.records import load_record, without_times
from ablations.running import source_digest
from ablations.study import StudySpec, plan_runs
from tests.faults import tell_fault
from tests.test_chaos import assert_equal_studies, records_in, wait_until

REPOSITORY = Path(__file__).resolve().parents[1]
SETUP = WorkerSetup("digits", None, "cpu", "float32", "a commit", source_digest())


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    """Two machines, as far as Ray can tell."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = TwoNodes(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def runs_on(dataset: Dataset, seeds: range, epochs: int = 1) -> list[Experiment]:
    spec = StudySpec(dataset.id, dataset.title, epochs, 256, "cpu")
    return plan_runs(spec, [find_ablation("target")], seeds)


def kinds(events: list[Event], run: Experiment) -> list[type]:
    return [type(event) for event in events if event.run == run]


def test_runs_on_two_nodes_are_those_of_this_machine(nodes: TwoNodes, digits: Dataset) -> None:
    runs = runs_on(digits, range(4), epochs=2)
    with connect(nodes.address, None, 1.0) as cluster:
        assert cluster.num_slots("cpu") == 2
        events = list(execute(runs, ClusterPool(SETUP, cluster, digits)))
    here = {
        event.run: event.result
        for event in execute(runs, ProcessPool(SETUP, 2))
        if isinstance(event, RunFinished)
    }
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, EpochFinished, RunFinished]
    for event in events:
        if isinstance(event, RunFinished):
            assert without_times(event.result.record) == without_times(here[event.run].record)
            assert event.result.weights_safetensors == here[event.run].weights_safetensors


def test_seeds_that_share_a_network_are_told_of_one_by_one(
    nodes: TwoNodes, digits: Dataset
) -> None:
    runs = runs_on(digits, range(3))
    with connect(nodes.address, None, 1.0) as cluster:
        pool = ClusterPool(replace(SETUP, num_replicas=2), cluster, digits)
        events = list(execute(runs, pool))
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, RunFinished]
    found = {event.run: event.result for event in events if isinstance(event, RunFinished)}
    assert [found[run].record.num_replicas for run in runs] == [2, 2, 1]


def test_run_that_raises_is_told_and_the_others_go_on(nodes: TwoNodes, digits: Dataset) -> None:
    good, bad = runs_on(digits, range(2))
    bad = replace(bad, dataset=DatasetId("digits", "0" * 64, 1437, 360))
    with connect(nodes.address, 1, 1.0) as cluster:
        events = list(execute([bad, good], ClusterPool(SETUP, cluster, digits)))
    assert kinds(events, bad) == [RunStarted, RunFailed]
    assert kinds(events, good)[-1] is RunFinished


def test_node_that_is_killed_loses_nothing(nodes: TwoNodes, digits: Dataset) -> None:
    runs = runs_on(digits, range(4), epochs=100)
    events: list[Event] = []
    doomed = next(node for node in nodes.list_all_nodes() if not node.head)
    is_killed = False
    with connect(nodes.address, None, 1.0) as cluster:
        for event in execute(runs, ClusterPool(SETUP, cluster, digits)):
            events.append(event)
            if not is_killed and all(EpochFinished in kinds(events, run) for run in runs[:2]):
                is_killed = True
                nodes.remove_node(doomed, allow_graceful=False)
        assert cluster.num_slots("cpu") == 1
    assert is_killed
    num_starts = [kinds(events, run).count(RunStarted) for run in runs]
    assert sorted(num_starts[:2]) == [1, 2], "the run of the killed node begins again, no other"
    assert all(kinds(events, run)[-1] is RunFinished for run in runs)
    tell_fault("cluster", "a node killed in the middle", "its run begins again on another node")


def test_machines_that_come_later_are_used(nodes: TwoNodes, digits: Dataset) -> None:
    runs = runs_on(digits, range(3), epochs=60)
    events: list[Event] = []
    with connect(nodes.address, None, 1.0) as cluster:
        before = cluster.num_slots("cpu")
        for event in execute(runs, ClusterPool(SETUP, cluster, digits)):
            if not events:
                nodes.add_node(num_cpus=1)
            events.append(event)
        assert cluster.num_slots("cpu") == before + 1
    assert all(kinds(events, run)[-1] is RunFinished for run in runs)


def test_graphics_processors_are_shared_as_asked(nodes: TwoNodes) -> None:
    with connect(nodes.address, None, 0.5) as cluster:
        assert cluster.device() == "cuda"
        # Each task also needs a core, and the node with the one GPU has one.
        found = {"CPU": 16.0, "GPU": 2.0}
    shares = {1.0: 2, 0.5: 4, 0.25: 8, 0.1: 16}
    for share, num_tasks in shares.items():
        assert Fixed(share, None, found).num_slots("cuda") == num_tasks
    assert Fixed(0.25, 3, found).num_slots("cuda") == 3
    assert Fixed(1.0, None, {"CPU": 4.0}).num_slots("cuda") == 0


class Fixed(Cluster):
    """A cluster whose machines are given."""

    def __init__(self, share: float, most: int | None, found: dict[str, float]) -> None:
        super().__init__(share, most)
        object.__setattr__(self, "found", found)

    def resources(self) -> dict[str, float]:
        found: dict[str, float] = self.found  # type: ignore[attr-defined]
        return found


def start_study(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "cli.py"), "ablate", "no-momentum", *more]
    command += ["--dataset", "digits", "--device", "cpu", "--arithmetic", "float32"]
    command += ["--epochs", "1", "--seeds", "0-3"]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_driver_goes_on_with_whichever_backend(nodes: TwoNodes, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    on_ray = ("--backend", "ray", "--ray-address", nodes.address)
    process = start_study(out, *on_ray)
    assert wait_until(lambda: process.poll() is not None or records_in(out), 240)
    process.kill()
    printed, _ = process.communicate()
    kept = records_in(out)
    assert 1 <= len(kept) < 8, printed
    for folder, more in ((out, ()), (whole, on_ray)):
        process = start_study(folder, *more)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    now = records_in(out)
    assert all(now[path] == content for path, content in kept.items())
    assert_equal_studies(whole, out, 8)
    tell_fault("cluster", "driver killed (SIGKILL)", "the study goes on, on the cluster or without")


def test_no_statistics_are_sent(nodes: TwoNodes) -> None:
    from ray._common.usage import usage_lib

    with connect(nodes.address, None, 1.0):
        assert not usage_lib.usage_stats_enabled()


def test_what_is_wrong_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="--ray-address auto"), connect("ray://a:1", None, 1.0):
        pass
    started = time.monotonic()
    nowhere = pytest.raises(ClusterError, match=r"no Ray cluster at 127\.0\.0\.1:9")
    with nowhere, connect("127.0.0.1:9", None, 1.0):
        pass
    assert time.monotonic() - started < 60, "Ray itself tries for minutes"
    real = builtins.__import__

    def without_ray(name: str, *others: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *others)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(ClusterError, match="pip install -e"), connect(None, None, 1.0):
        pass


def test_records_say_which_version_made_them(tmp_path: Path) -> None:
    from ablations.version import VERSION

    process = start_study(tmp_path / "study", "--backend", "ray", "--jobs", "2")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    for path in records_in(tmp_path / "study"):
        record = load_record((tmp_path / "study" / path).parent)
        assert record.environment.project_version == VERSION
        assert record.environment.num_threads == 1
