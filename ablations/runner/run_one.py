"""An experiment, or several seeds of it, from start to finish: train, and put together what is left."""

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numba
import numpy as np
import torch
from safetensors.torch import save

from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.data.datasets import Dataset
from ablations.inspection.measure import measure_network
from ablations.records.checksums import encode_with_checksum
from ablations.records.run import (
    PREDICTIONS_FILE,
    WEIGHTS_FILE,
    Environment,
    Predictions,
    RunRecord,
    RunResult,
    encode_predictions,
)
from ablations.training.epoch import EpochRecord
from ablations.training.gpu_memory import train_as_fits
from ablations.training.loop import TrainedNetwork, train
from ablations.version import VERSION, source_commit
from mnist_blocks.summary import count_parameters, total_multiply_adds
from speed.arithmetic import Arithmetic


def run_experiment(
    run_spec: RunSpec,
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[EpochRecord], None] = lambda record: None,
    commit: str | None = None,
    arithmetic: Arithmetic = "plain",
) -> RunResult:
    """Train an experiment and return its record, predictions and weights; writes nothing.

    `commit` is recorded as the source's; by default it is looked up.

    Raises:
        ValueError: the data set is not the one that the experiment names.
    """
    check_dataset(run_spec, dataset)
    started = time.perf_counter()
    trained = train(run_spec, dataset, device, after_epoch, arithmetic)
    environment = describe_environment(device, arithmetic, commit)
    seconds = time.perf_counter() - started
    return assemble_result(run_spec, trained, dataset, device, environment, seconds)


def run_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    device: torch.device,
    after_epoch: Callable[[RunSpec, EpochRecord], None] = lambda run_spec, record: None,
    commit: str | None = None,
) -> Iterator[tuple[RunSpec, RunResult]]:
    """`run_experiment` for experiments that differ in their seeds alone, trained as one network.

    Yields each experiment with its result: all of them at the end, or part after part where the
    device's memory cannot hold them all at once.

    Raises:
        ValueError: the data set is not the one that the experiments name, or they differ in more
            than their seeds.
    """
    check_dataset(run_specs[0], dataset)
    environment = describe_environment(device, commit=commit)
    started = time.perf_counter()
    for part in train_as_fits(run_specs, dataset, device, after_epoch):
        seconds = (time.perf_counter() - started) / len(part)
        for run_spec, trained in part:
            yield (
                run_spec,
                assemble_result(
                    run_spec, trained, dataset, device, environment, seconds, len(part)
                ),
            )
        started = time.perf_counter()


def check_dataset(run_spec: RunSpec, dataset: Dataset) -> None:
    """Raise ValueError unless the data set is the one that the experiment names."""
    if dataset.id != run_spec.dataset:
        raise ValueError(f"experiment on {run_spec.dataset}, but the data set is {dataset.id}")


def assemble_result(
    run_spec: RunSpec,
    trained: TrainedNetwork,
    dataset: Dataset,
    device: torch.device,
    environment: Environment,
    wall_seconds: float,
    num_replicas: int = 1,
) -> RunResult:
    """A run's record and files from what its training ended with, and a look at its network."""
    predicted_class = trained.test_result.predicted_class.numpy()
    predictions_npz = encode_predictions(
        Predictions(predicted_class, trained.test_result.true_class_probability.numpy())
    )
    weights = {
        name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()
    }
    weights_safetensors = save(weights)
    weights_sha256 = hashlib.sha256(weights_safetensors).hexdigest()
    record = RunRecord(
        run_spec=run_spec,
        digest=run_spec.digest,
        status="diverged" if trained.has_diverged else "finished",
        epochs=trained.epochs,
        parameters=count_parameters(trained.network),
        multiply_adds=total_multiply_adds(run_spec.network),
        environment=environment,
        file_sha256={
            PREDICTIONS_FILE: hashlib.sha256(predictions_npz).hexdigest(),
            WEIGHTS_FILE: weights_sha256,
        },
        wrong_test_images=trained.test_result.wrong_images,
        wall_seconds=wall_seconds,
        finished_at=utc_now(),
        num_replicas=num_replicas,
        protocol_version=PROTOCOL_VERSION,
    )
    observations_json = None
    # The run is made, and may have taken hours; a report can have it looked at again.
    with contextlib.suppress(RuntimeError):
        observations = measure_network(
            run_spec, trained.network, dataset, predicted_class, weights_sha256, device
        )
        observations_json = encode_with_checksum(observations, is_indented=False)
    return RunResult(record, predictions_npz, weights_safetensors, observations_json)


def choose_device(name: str) -> str:
    """`auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        ValueError: a device was asked for by name that this machine does not have.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, is_there in available.items() if is_there)
    if not available[name]:
        raise ValueError(f"this machine has no {name} device that torch can use; try --device cpu")
    return name


def use_one_thread() -> None:
    """Compute in one thread: several such processes are quicker than one with several threads.

    Sums over one thread also have one order, so a run's numbers do not depend on the machine's
    number of cores or on how many runs share it.
    """
    torch.set_num_threads(1)


def describe_environment(
    device: torch.device, arithmetic: Arithmetic = "plain", commit: str | None = None
) -> Environment:
    """Where this process computes, and with which versions."""
    return Environment(
        device_type=device.type,
        device_name=device_name(device),
        num_threads=torch.get_num_threads(),
        operating_system=f"{platform.system()} {platform.machine()}",
        python_version=platform.python_version(),
        torch_version=str(torch.__version__),  # a subclass of str, which JSON refuses
        numpy_version=np.__version__,
        project_version=VERSION,
        commit=commit or source_commit(),
        arithmetic=arithmetic,
        numba_version=numba.__version__,
    )


def device_name(device: torch.device) -> str:
    """The device's model, as the driver or the operating system calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def utc_now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
