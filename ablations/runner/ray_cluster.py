"""A connection to a Ray cluster.

The source and the images travel to the machines through Ray, and results come back through it
(`ray_pool.py`). So each machine needs this project's dependencies (`pip install -e ".[ray]"`), and
no shared disk.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

CONNECT_SECONDS = 10.0


class ClusterError(Exception):
    """A cluster cannot be used. The message is one line with the suggested fix."""


@dataclass(frozen=True)
class Cluster:
    """A connection to a Ray cluster. A process has at most one."""

    gpus_per_task: float
    """Below 1, several groups of seeds share a GPU."""
    max_tasks: int | None
    """None: as many as the cluster has CPU cores or GPUs for."""

    def device(self) -> str:
        """`cuda` where the cluster has a GPU, else `cpu`."""
        return "cuda" if any(machine.get("GPU") for machine in self.machines()) else "cpu"

    def num_slots(self, device: str) -> int:
        """How many tasks the machines can run at a time now."""
        slots = 0
        for machine in self.machines():
            num_cores = int(machine.get("CPU", 0))
            # A task uses one GPU or a part of it, never parts of two.
            num_shares = int(machine.get("GPU", 0)) * int(1 / self.gpus_per_task)
            slots += num_cores if device == "cpu" else min(num_cores, num_shares)
        return slots if self.max_tasks is None else min(slots, self.max_tasks)

    def machines(self) -> list[dict[str, float]]:
        """The resources of each machine that is alive."""
        import ray

        with cluster_errors():
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in nodes if node["Alive"]]

    def leave(self) -> None:
        """Disconnect, and stop a cluster that was started by `connect`."""
        import ray

        ray.shutdown()


@contextlib.contextmanager
def connect(address: str | None, max_tasks: int | None, gpus_per_task: float) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or without an address start one on this machine.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster at the address.
    """
    from ablations.version import PROJECT_DIR, SOURCE_PACKAGES

    # Otherwise Ray sends usage statistics to its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Otherwise Ray leaves out folders that .gitignore names, such as any named `data`.
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            '--backend ray needs Ray; install it with: pip install -e ".[ray]"'
        ) from error
    if address and address != "auto":
        _check_reachable(address)
    names = {path.name for path in PROJECT_DIR.iterdir()} - set(SOURCE_PACKAGES)
    # The folders that Ray excludes by default are among `names`; without this it warns of them.
    os.environ["RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES"] = ""
    # Ray replaces signal handlers; `signals.py` needs its own.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address or "local",
            runtime_env={
                "working_dir": str(PROJECT_DIR),
                "excludes": [*(f"/{name}" for name in names), "__pycache__"],
            },
            include_dashboard=None if address else False,
            configure_logging=False,
            log_to_driver=False,
        )
    except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        name = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise ClusterError(f"{name} cannot be used: {reason}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    cluster = Cluster(gpus_per_task, max_tasks)
    try:
        yield cluster
    finally:
        cluster.leave()


@contextlib.contextmanager
def cluster_errors() -> Iterator[None]:
    """Turn Ray's errors into ClusterError."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"the Ray cluster failed ({reason}); finished runs are kept: fix the cluster and run the "
            "same command again"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise ClusterError unless something listens at the address: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        # An IPv6 address has brackets.
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({error}); use HOST:PORT as ray start printed it, or "
            "--ray-address auto on a machine of the cluster"
        ) from error
