"""Studies on a real Ray cluster, whose nodes all run on this machine."""

import builtins
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("CI"):  # There it must be installed.
    pytest.importorskip("ray", reason='Ray is not installed (pip install -e ".[ray]")')
import ray
from psutil import Process
from ray.cluster_utils import Cluster as TwoNodes
from rich.console import Console

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import DatasetId, RunSpec
from ablations.commands.run_study import StopCheck
from ablations.data.datasets import Dataset
from ablations.records.run import load_record, without_times
from ablations.records.study import plan_runs
from ablations.records.study_spec import StudySpec
from ablations.runner import ray_pool as cluster_pool
from ablations.runner.process_pool import ProcessPool
from ablations.runner.ray_cluster import Cluster, ClusterError, check_reachable, connect
from ablations.runner.ray_pool import ClusterPool
from ablations.runner.scheduler import (
    EpochFinished,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    Stop,
    WorkerSetup,
    execute,
)
from ablations.runner.signals import Interruption
from ablations.version import VERSION, source_digest
from tests.ablations.runner.test_chaos import (
    NUM_ROUNDS,
    assert_equal_studies,
    records_in,
    wait_until,
)
from tests.faults import tell_fault

REPOSITORY = Path(__file__).resolve().parents[3]
# Nothing to compile: every Ray session has the source in another place.
SETUP = WorkerSetup("digits", None, "cpu", "plain", "a commit", source_digest())


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    """Two machines that work, as far as Ray can tell, and one that only directs them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = TwoNodes(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def runs_on(dataset: Dataset, seeds: range, epochs: int = 1) -> list[RunSpec]:
    spec = StudySpec(dataset.id, dataset.title, epochs, 256, "cpu")
    return plan_runs(spec, [find_ablation("target")], seeds)


def kinds(events: list[Event], run: RunSpec) -> list[type]:
    return [type(event) for event in events if event.run_spec == run]


def test_runs_on_two_nodes_are_those_of_this_machine(nodes: TwoNodes, digits: Dataset) -> None:
    runs = runs_on(digits, range(4), epochs=2)
    with connect(nodes.address, None, 1.0) as cluster:
        assert cluster.num_slots("cpu") == 2
        events = list(execute(runs, ClusterPool(SETUP, cluster, digits)))
    here = {
        event.run_spec: event.result
        for event in execute(runs, ProcessPool(SETUP, 2))
        if isinstance(event, RunFinished)
    }
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, EpochFinished, RunFinished]
    for event in events:
        if isinstance(event, RunFinished):
            assert without_times(event.result.record) == without_times(here[event.run_spec].record)
            assert event.result.weights_safetensors == here[event.run_spec].weights_safetensors


def test_seeds_that_share_a_network_are_told_of_one_by_one(
    nodes: TwoNodes, digits: Dataset
) -> None:
    runs = runs_on(digits, range(3))
    with connect(nodes.address, None, 1.0) as cluster:
        pool = ClusterPool(replace(SETUP, num_replicas=2), cluster, digits)
        events = list(execute(runs, pool))
    for run in runs:
        assert kinds(events, run) == [RunStarted, EpochFinished, RunFinished]
    found = {event.run_spec: event.result for event in events if isinstance(event, RunFinished)}
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
    is_killed = False
    with connect(nodes.address, None, 1.0) as cluster:
        for event in execute(runs, ClusterPool(SETUP, cluster, digits)):
            events.append(event)
            if not is_killed and all(EpochFinished in kinds(events, run) for run in runs[:2]):
                is_killed = True
                nodes.remove_node(workers_of(nodes)[0], allow_graceful=False)
        assert cluster.num_slots("cpu") == 1
    assert is_killed
    num_starts = [kinds(events, run).count(RunStarted) for run in runs]
    assert sorted(num_starts[:2]) == [1, 2], "the run of the killed node begins again, no other"
    assert all(kinds(events, run)[-1] is RunFinished for run in runs)
    tell_fault("cluster", "a node killed in the middle", "its run begins again on another node")


def workers_of(nodes: TwoNodes) -> list[Any]:
    """The machines that work, but for the one through which the driver is connected, if it is one."""
    ours = ray.get_runtime_context().get_node_id()
    found = nodes.list_all_nodes()
    return [node for node in found if not node.head and node.node_id != ours]


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


class Fixed(Cluster):
    """A cluster whose machines are given."""

    def __init__(self, share: float, most: int | None, found: list[dict[str, float]]) -> None:
        super().__init__(share, most)
        object.__setattr__(self, "found", found)

    def machines(self) -> list[dict[str, float]]:
        found: list[dict[str, float]] = self.found  # type: ignore[attr-defined]
        return found


class Deserted(Fixed):
    """A cluster whose machines come and go."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__(1.0, None, [])
        object.__setattr__(self, "counts", iter(counts))

    def machines(self) -> list[dict[str, float]]:
        return [{"CPU": 1.0}] * next(self.counts)  # type: ignore[attr-defined]


def test_lost_machines_are_told_once_each_time(
    nodes: TwoNodes, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_pool, "SLOTS_SECONDS", 0.0)
    console = Console(file=StringIO(), width=200)
    with connect(nodes.address, None, 1.0):
        pool = ClusterPool(SETUP, Deserted([2, 0, 0, 1, 0]), digits)
    stop_check = StopCheck(Interruption(), pool, console, lambda: "not to be said")
    for number in (0, 1, 1, 1, 2):
        assert stop_check() is Stop.NOT
        said = console.file.getvalue()  # type: ignore[attr-defined]
        assert said.count("Waiting for another") == number


def test_graphics_processors_are_shared_as_asked(nodes: TwoNodes) -> None:
    with connect(nodes.address, None, 0.5) as cluster:
        assert cluster.device() == "cuda"
        assert cluster.num_slots("cuda") == 0, "the machine with the GPU has no core for a task"
    two_gpus = [{"CPU": 16.0, "GPU": 2.0}]
    for share, num_tasks in {1.0: 2, 0.7: 2, 0.5: 4, 0.4: 4, 0.25: 8, 0.1: 16}.items():
        assert Fixed(share, None, two_gpus).num_slots("cuda") == num_tasks
    assert Fixed(0.25, 3, two_gpus).num_slots("cuda") == 3
    assert Fixed(1.0, None, [{"CPU": 4.0}]).num_slots("cuda") == 0
    # A task is on one machine: cores of one are of no use to the GPUs of another.
    apart = [{"CPU": 16.0}, {"CPU": 1.0, "GPU": 4.0}, {}]
    assert Fixed(1.0, None, apart).num_slots("cuda") == 1
    assert Fixed(1.0, None, apart).num_slots("cpu") == 17


def start_study(
    out: Path,
    *more: str,
    seeds: str = "0-3",
    arithmetic: str = "plain",
    environment: Mapping[str, str] = os.environ,
) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "cli.py"), "ablate", "no-momentum", *more]
    command += ["--dataset", "digits", "--device", "cpu", "--arithmetic", arithmetic]
    command += ["--epochs", "1", "--seeds", seeds]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_driver_that_is_stopped_goes_on_with_whichever_backend(
    nodes: TwoNodes, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    on_ray = ("--backend", "ray", "--ray-address", nodes.address, "--jobs", "1")
    stops = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
    kept: dict[Path, bytes] = {}
    for number, exit_code in stops.items():
        process = start_study(out, *on_ray)
        has_more = partial(has_more_than, len(kept), out)
        assert wait_until(lambda: process.poll() is not None or has_more(), 240)  # noqa: B023
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == exit_code, printed
        if number != signal.SIGKILL:
            assert f"of 8 runs are finished and kept in {out}" in printed
        now = records_in(out)
        assert len(kept) < len(now) < 8
        assert now.items() >= kept.items(), "no run is done twice"
        kept = now
    for folder in (out, whole):
        process = start_study(folder)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    assert records_in(out).items() > kept.items()
    assert_equal_studies(whole, out, 8)
    for name in ("killed (SIGKILL)", "stopped (SIGTERM)", "stopped (Ctrl-C)"):
        tell_fault("cluster", f"driver {name}", "the study goes on, on the cluster or without")


def has_more_than(number: int, out: Path) -> bool:
    return len(records_in(out)) > number


@pytest.mark.skipif(NUM_ROUNDS == 1, reason="takes minutes: make chaos does it")
@pytest.mark.parametrize("program", ["raylet", "gcs_server"])
def test_end_of_ray_itself_loses_nothing(program: str, tmp_path: Path) -> None:
    out = tmp_path / "study"
    cluster = TwoNodes(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        process = start_study(out, "--backend", "ray", "--ray-address", cluster.address)
        assert wait_until(lambda: process.poll() is not None or has_more_than(0, out), 240)
        rays = [child for child in Process().children(recursive=True) if is_of_ray(child)]
        # Of several clusters of these tests, the last one.
        max((ray for ray in rays if ray.name() == program), key=Process.create_time).kill()
        printed, _ = process.communicate(timeout=180)
        assert process.returncode not in (0, None), printed
    finally:
        cluster.shutdown()
    kept = records_in(out)
    assert 1 <= len(kept) < 8
    process = start_study(out)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert len(records_in(out)) == 8
    assert records_in(out).items() > kept.items()
    where = {"raylet": "the driver's machine", "gcs_server": "the head"}[program]
    tell_fault(
        "cluster", f"Ray killed on {where}", "the driver ends; the same command does the rest"
    )


def test_cluster_of_this_machine_alone_sends_no_statistics(tmp_path: Path) -> None:
    told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    out = tmp_path / "study"
    on_ray = ("--backend", "ray", "--jobs", "2")
    process = start_study(out, *on_ray, seeds="0", arithmetic="float32", environment=told)
    assert wait_until(lambda: process.poll() is not None or has_more_than(0, out), 240)
    rays = [child for child in Process(process.pid).children(recursive=True) if is_of_ray(child)]
    assert {"gcs_server", "raylet"} <= {child.name() for child in rays}
    assert all(child.environ()["RAY_USAGE_STATS_ENABLED"] == "0" for child in rays)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    for path in records_in(out):
        record = load_record((out / path).parent)
        assert record.environment.project_version == VERSION
        assert record.environment.num_threads == 1


def is_of_ray(process: Process) -> bool:
    """Whether this is one of Ray's own programs."""
    return any("/ray/" in word for word in process.cmdline()[:2])


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


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"-ER"])
def test_other_service_at_the_address_is_one_clear_line(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="is no Ray cluster; write"):
            check_reachable(address)


def test_cluster_that_stops_answering_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ray.exceptions.RaySystemError("the head is gone")

    monkeypatch.setattr(ray, "nodes", fail)
    with pytest.raises(ClusterError, match="finished runs are kept"):
        Cluster(1.0, None).num_slots("cpu")
