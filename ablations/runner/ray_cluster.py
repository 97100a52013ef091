"""A connection to a Ray cluster: many machines, for studies of hundreds of runs.

What a run needs travels with it, and its result comes back (`ray_pool.py`). So the machines need
an environment with this project's dependencies (`pip install -e ".[ray]"`), and no shared disk.
"""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

WAY_OUT = 'install it with: pip install -e ".[ray]"'

CONNECT_SECONDS = 10.0

HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 says first, with settings that set nothing; a server answers with its own
(RFC 9113, 3.4). Ray speaks gRPC, which is HTTP/2."""
SETTINGS_FRAME = 4


class ClusterError(Exception):
    """A cluster cannot be used; one line says why, and the way out."""


@dataclass(frozen=True)
class Cluster:
    """A connection to a Ray cluster. There is one in a process at most."""

    gpus_per_task: float
    """Below 1, several groups of seeds share a GPU."""
    max_tasks: int | None
    """None: as many as the cluster's processors take."""

    def device(self) -> str:
        """`cuda` where the cluster has a GPU, else `cpu`."""
        return "cuda" if any(found.get("GPU") for found in self.machines()) else "cpu"

    def num_slots(self, device: str) -> int:
        """How many tasks the machines that are there now can do at a time."""
        slots = sum(self.slots_of(found, device) for found in self.machines())
        return slots if self.max_tasks is None else min(slots, self.max_tasks)

    def slots_of(self, found: Mapping[str, float], device: str) -> int:
        """How many tasks a machine with these resources can do: none is spread over several GPUs."""
        num_cores = int(found.get("CPU", 0))
        if device == "cpu":
            return num_cores
        return min(num_cores, int(found.get("GPU", 0)) * int(1 / self.gpus_per_task))

    def machines(self) -> list[dict[str, float]]:
        """What each living machine has."""
        import ray

        with connection_needed():
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in nodes if node["Alive"]]

    def leave(self) -> None:
        """Disconnect, and end a cluster that was started here: it is needed no more."""
        import ray

        ray.shutdown()


@contextlib.contextmanager
def connect(address: str | None, max_tasks: int | None, gpus_per_task: float) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or without an address start one on this machine alone.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster at the address.
    """
    # Ray sends statistics of its use to its makers unless it is told not to.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f"--backend ray needs Ray; {WAY_OUT}") from error
    if address and "://" in address:
        raise ClusterError(
            f"--ray-address {address}: a remote client cannot be used; run this on a machine of the "
            "cluster, with --ray-address auto"
        )
    if address and address != "auto":
        check_reachable(address)
    with staged_source() as source, own_signals():
        try:
            ray.init(
                address=address or "local",
                runtime_env={"working_dir": source},
                include_dashboard=None if address else False,
                configure_logging=False,
                log_to_driver=False,
            )
        except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            where = f"the Ray cluster at {address}" if address else "Ray on this machine"
            raise ClusterError(f"{where} cannot be used: {reason}") from error
    cluster = Cluster(gpus_per_task, max_tasks)
    try:
        yield cluster
    finally:
        cluster.leave()


@contextlib.contextmanager
def connection_needed() -> Iterator[None]:
    """What cannot be asked of the cluster is one clear line."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"the Ray cluster fails ({reason}); finished runs are kept: once that is mended, the same "
            "command does the rest"
        ) from error


def check_reachable(address: str) -> None:
    """Raise ClusterError unless somebody answers there who may be Ray: it would try for minutes."""
    host, _, port = address.rpartition(":")
    way_out = "write HOST:PORT as ray start printed it, or auto on one of the cluster's machines"
    try:
        where = (host.strip("[]"), int(port))  # an IPv6 address has brackets
        with socket.create_connection(where, timeout=CONNECT_SECONDS) as connection:
            connection.sendall(HTTP2_GREETING)
            answer = connection.makefile("rb").read(4)
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address} ({error}); {way_out}") from error
    if len(answer) < 4 or answer[3] != SETTINGS_FRAME:
        raise ClusterError(f"what answers at {address} is no Ray cluster; {way_out}")


@contextlib.contextmanager
def staged_source() -> Iterator[str]:
    """A folder with the source that decides a result, and nothing else: what every machine gets."""
    from ablations.version import PROJECT_DIR, SOURCE_PACKAGES

    with tempfile.TemporaryDirectory() as folder:
        for package in SOURCE_PACKAGES:
            shutil.copytree(
                PROJECT_DIR / package,
                Path(folder) / package,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        yield folder


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Ray sets handlers of its own; what a signal does here is decided in `signals.py`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
