"""Studies on a real Ray cluster, whose nodes all run on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import psutil
import pytest

if not os.environ.get("CI"):  # There it must be installed.
    pytest.importorskip("ray", reason='Ray is not installed (pip install -e ".[ray]")')
import ray
from ray.cluster_utils import Cluster as LocalNodes

from ablations.data.dataset import Dataset
from ablations.records.run import WEIGHTS_FILE
from ablations.runner.backends import connection
from ablations.runner.process_pool import ProcessPool
from ablations.runner.ray_pool import Cluster, ClusterPool, connect
from ablations.runner.scheduler import (
    ClusterError,
    EpochFinished,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    execute,
)
from tests.ablations.runner.test_chaos import records_in
from tests.ablations.runner.test_process_pool import OTHER_DATA, SETUP, kinds, runs_on
from tests.factories import without_times
from tests.faults import count_fault
from tests.test_cli import ablate_digits, start_study


@pytest.fixture(scope="module")
def nodes() -> Iterator[LocalNodes]:
    """Two nodes with one core each, and a head with a GPU and no core."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = LocalNodes(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: LocalNodes) -> Iterator[Cluster]:
    handler = signal.getsignal(signal.SIGTERM)
    with connect(nodes.address, None, 0.5) as found:
        assert signal.getsignal(signal.SIGTERM) == handler, "a signal ends the study in order"
        yield found


def test_results_are_those_of_this_machine(cluster: Cluster, digits: Dataset) -> None:
    assert cluster.device() == "cuda"
    assert cluster.num_slots("cuda") == 0, "the node with the GPU has no core for a task"
    assert cluster.num_slots("cpu") == 2
    run_specs = runs_on(digits, 3)
    here, there = (
        {
            event.run_spec: (without_times(event.result.record), event.result.files[WEIGHTS_FILE])
            for event in execute(run_specs, pool)
            if isinstance(event, RunFinished)
        }
        for pool in (ProcessPool(SETUP, 2), ClusterPool(SETUP, cluster, digits))
    )
    assert there == here
    assert there.keys() == set(run_specs)


def test_groups_report_each_run(cluster: Cluster, digits: Dataset) -> None:
    *good, bad = runs_on(digits, 3)
    bad = replace(bad, dataset=OTHER_DATA)
    pool = ClusterPool(replace(SETUP, num_replicas=2), cluster, digits)
    events = list(execute([bad, *good], pool))
    assert kinds(events, bad) == [RunStarted, RunFailed]
    for run_spec in good:
        assert kinds(events, run_spec) == [RunStarted, EpochFinished, RunFinished]
    records = [event.result.record for event in events if isinstance(event, RunFinished)]
    assert [record.num_replicas for record in records] == [2, 2]


def test_function_is_called_in_a_task_that_may_crash_or_hang(cluster: Cluster) -> None:
    # These nodes have no GPU, so a share of 0 is asked for.
    on_any_node = Cluster(0.0, None)
    assert on_any_node.call_on_gpu(lambda number: -number, -2, 60.0) == 2
    with pytest.raises(RuntimeError, match="WorkerCrashedError"):
        on_any_node.call_on_gpu(lambda code: os._exit(code), 3, 60.0)
    with pytest.raises(RuntimeError, match="GetTimeoutError"):
        on_any_node.call_on_gpu(lambda seconds: __import__("time").sleep(seconds), 600.0, 1.0)


def test_killed_node_loses_no_run_and_a_new_node_is_used(
    nodes: LocalNodes, cluster: Cluster, digits: Dataset
) -> None:
    run_specs = runs_on(digits, 2, num_epochs=40)
    own_node = ray.get_runtime_context().get_node_id()
    workers = [
        node for node in nodes.list_all_nodes() if not node.head and node.node_id != own_node
    ]
    events: list[Event] = []
    is_killed = False
    for event in execute(run_specs, ClusterPool(SETUP, cluster, digits)):
        events.append(event)
        if not is_killed and all(EpochFinished in kinds(events, one) for one in run_specs):
            is_killed = True
            nodes.remove_node(workers[0], allow_graceful=False)
            nodes.add_node(num_cpus=1)
    num_starts = [kinds(events, run_spec).count(RunStarted) for run_spec in run_specs]
    assert sorted(num_starts) == [1, 2], "only the run of the killed node starts again"
    assert all(kinds(events, run_spec)[-1] is RunFinished for run_spec in run_specs)
    count_fault("cluster", "a node killed in the middle", "its run begins again on another node")


def test_study_ends_when_ray_does_and_keeps_its_runs(tmp_path: Path) -> None:
    """Ray ends the driver when the head has not answered for a while, here for 2 seconds."""
    out = tmp_path / "study"
    arguments = ("target", "--preset", "quick", "--seeds", "0-39", "--jobs", "1")
    environment = os.environ | {"RAY_gcs_rpc_server_reconnect_timeout_s": "2"}
    process = start_study(
        out, *arguments, "--backend=ray", env=environment, stderr=subprocess.STDOUT
    )
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.name() == "gcs_server":
            child.kill()
    printed, _ = process.communicate()
    assert process.returncode == 1, printed
    assert "GCS may have been killed" in printed or "the Ray cluster failed" in printed
    num_kept = len(records_in(out))
    assert 1 <= num_kept < 40
    # Without Ray the same command does the rest.
    planned = ablate_digits(out, *arguments, "--dry-run").output
    assert f"{num_kept} of 40 runs are there already" in planned
    assert planned.count("would run") == 40 - num_kept
    count_fault(
        "cluster", "Ray killed on the head", "the driver ends; the same command does the rest"
    )


@pytest.mark.parametrize(
    ("gpus_per_task", "max_tasks", "machines", "num_slots"),
    [
        (1.0, None, [{"CPU": 16.0, "GPU": 2.0}], 2),
        (0.7, None, [{"CPU": 16.0, "GPU": 2.0}], 2),
        (0.4, None, [{"CPU": 16.0, "GPU": 2.0}], 4),
        (0.1, None, [{"CPU": 16.0, "GPU": 2.0}], 16),
        (0.25, 3, [{"CPU": 16.0, "GPU": 2.0}], 3),
        (1.0, None, [{"CPU": 4.0}], 0),
        # A task cannot use a core of one machine and a GPU of another.
        (1.0, None, [{"CPU": 16.0}, {"CPU": 1.0, "GPU": 4.0}, {}], 1),
    ],
)
def test_tasks_share_gpus(
    monkeypatch: pytest.MonkeyPatch,
    gpus_per_task: float,
    max_tasks: int | None,
    machines: list[dict[str, float]],
    num_slots: int,
) -> None:
    monkeypatch.setattr(Cluster, "machines", lambda self: machines)
    assert Cluster(gpus_per_task, max_tasks).num_slots("cuda") == num_slots


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://a:1", "--ray-address auto"),
        ("127.0.0.1:9", r"no Ray cluster at 127\.0\.0\.1:9"),
        ("nowhere", "use HOST:PORT"),
    ],
)
def test_wrong_address_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with pytest.raises(ClusterError, match=message), connect(address, None, 1.0):
        pass
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", "Ray sends no statistics"


def test_missing_ray_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ablations.runner.ray_pool", None)
    with pytest.raises(ClusterError, match="pip install -e"):
        connection("ray", None, None, 1.0)


def test_cluster_that_stops_answering_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ray.exceptions.RaySystemError("the head is gone")
    monkeypatch.setattr(ray, "nodes", mock.Mock(side_effect=error))
    with pytest.raises(ClusterError, match="finished runs are kept"):
        Cluster(1.0, None).num_slots("cpu")
