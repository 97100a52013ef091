"""Where a study's runs are carried out: in processes of this machine, or on a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ablations.data.dataset import Dataset
    from ablations.runner.ray_cluster import Cluster
    from ablations.runner.scheduler import WorkerPool, WorkerSetup

Backend = Literal["processes", "ray"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@contextmanager
def connection(
    backend: Backend, address: str | None, num_jobs: int | None, gpus_per_task: float
) -> Iterator["Cluster | None"]:
    """The cluster, for as long as it is needed; None for this machine's processes.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    if backend == "processes":
        yield None
        return
    from ablations.runner.ray_cluster import connect

    with connect(address, num_jobs, gpus_per_task) as cluster:
        yield cluster


def make_pool(
    setup: "WorkerSetup", num_jobs: int, cluster: "Cluster | None", dataset: "Dataset"
) -> "WorkerPool":
    """The workers, which start when they are needed."""
    if cluster is None:
        from ablations.runner.process_pool import ProcessPool

        return ProcessPool(setup, num_jobs)
    from ablations.runner.ray_pool import ClusterPool

    return ClusterPool(setup, cluster, dataset)
