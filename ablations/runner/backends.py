"""Where a study's runs are carried out: in processes of this machine, or on a Ray cluster."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ablations.data.dataset import Dataset
    from ablations.runner.ray_pool import Cluster
    from ablations.runner.scheduler import WorkerPool, WorkerSetup

Backend = Literal["processes", "ray"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


def connection(
    backend: Backend, address: str | None, num_jobs: int | None, gpus_per_task: float
) -> "AbstractContextManager[Cluster | None]":
    """A connection to a Ray cluster; None for processes. ClusterError when it cannot be used."""
    from ablations.runner.scheduler import ClusterError

    if backend == "processes":
        return nullcontext()
    try:
        from ablations.runner.ray_pool import connect
    except ImportError as error:
        raise ClusterError(
            '--backend ray needs Ray; install it with: pip install -e ".[ray]"'
        ) from error
    return connect(address, num_jobs, gpus_per_task)


def make_pool(
    setup: "WorkerSetup", num_jobs: int, cluster: "Cluster | None", dataset: "Dataset"
) -> "WorkerPool":
    """A pool whose workers start when they are needed."""
    if cluster is None:
        from ablations.runner.process_pool import ProcessPool

        return ProcessPool(setup, num_jobs)
    from ablations.runner.ray_pool import ClusterPool

    return ClusterPool(setup, cluster, dataset)
