"""What a worker of either pool does: trains, and assembles records, predictions and weights.

Imports slow modules, so the pools import it only in their workers.
"""

import contextlib
import hashlib
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import numba
import numpy as np
import torch
from safetensors.torch import save

from ablations.catalogue.experiment import PROTOCOL_VERSION, RunSpec
from ablations.data.dataset import Dataset
from ablations.inspection.measure import measure_network
from ablations.operating_system import processor_name
from ablations.records.checksums import encode_with_checksum
from ablations.records.run import (
    OBSERVATIONS_FILE,
    PREDICTIONS_FILE,
    WEIGHTS_FILE,
    Environment,
    Predictions,
    RunRecord,
    RunResult,
    encode_predictions,
)
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, WorkerSetup
from ablations.training.epoch import EpochRecord
from ablations.training.gpu_memory import train_as_fits
from ablations.training.loop import TrainedNetwork, train
from ablations.version import VERSION, source_commit, source_digest
from ablations.words import first_line
from mnist_blocks.summary import count_parameters, total_multiply_adds
from speed.arithmetic import Arithmetic, keep_freed_memory


def execute_group(
    run_specs: Sequence[RunSpec],
    load: Callable[[], Dataset],
    setup: WorkerSetup,
    send: Callable[[Event], None],
) -> None:
    """Carry out a group of runs. An error is sent as a failure of the runs that have not ended."""
    unfinished = list(run_specs)
    try:
        if setup.device == "cpu":
            # Fixes the order of sums; many such processes are the fastest.
            torch.set_num_threads(1)
            keep_freed_memory()
        if setup.source_digest not in ("", source_digest()):
            raise RuntimeError(
                "the source files changed while the study ran; run the same command again to finish "
                "the study with the files as they are now"
            )
        for run_spec, result in run_group(
            run_specs, load(), setup, lambda run_spec, epoch: send(EpochFinished(run_spec, epoch))
        ):
            unfinished.remove(run_spec)
            send(RunFinished(run_spec, result))
    except Exception as error:  # noqa: BLE001 (other runs may still succeed)
        for run_spec in unfinished:
            send(RunFailed(run_spec, first_line(error), traceback.format_exc()))


def run_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    setup: WorkerSetup,
    after_epoch: Callable[[RunSpec, EpochRecord], None],
) -> Iterator[tuple[RunSpec, RunResult]]:
    """Train runs that differ only in their seeds: as one network, or one after another.

    Yields each run spec with its result when its training ends. One network uses plain arithmetic,
    and is split into several if the device's memory cannot hold all seeds at once.

    Raises:
        ValueError: the data set is not the one in the run specs, or they differ in more than seeds.
    """
    if dataset.id != run_specs[0].dataset:
        raise ValueError(f"run on {run_specs[0].dataset}, but the data set is {dataset.id}")
    device = torch.device(setup.device)
    parts: Iterator[list[tuple[RunSpec, TrainedNetwork]]]
    arithmetic: Arithmetic = "plain" if setup.num_replicas > 1 else setup.arithmetic
    environment = describe_environment(device, arithmetic, setup.commit)
    if setup.num_replicas > 1:
        parts = train_as_fits(run_specs, dataset, device, after_epoch)
    else:
        parts = (
            [(one, train(one, dataset, device, partial(after_epoch, one), arithmetic))]
            for one in run_specs
        )
    started = time.perf_counter()
    for part in parts:
        seconds = (time.perf_counter() - started) / len(part)
        for run_spec, trained in part:
            shared = dataset, environment, seconds, len(part), setup.fallback_reason
            yield run_spec, _assemble_result(run_spec, trained, *shared)
        started = time.perf_counter()


def _assemble_result(
    run_spec: RunSpec,
    trained: TrainedNetwork,
    dataset: Dataset,
    environment: Environment,
    wall_seconds: float,
    num_replicas: int,
    fallback_reason: str,
) -> RunResult:
    test_result = trained.test_result
    predicted_class = test_result.predicted_class.numpy()
    predictions = Predictions(predicted_class, test_result.true_class_probability.numpy())
    weights = trained.network.state_dict()
    files = {
        PREDICTIONS_FILE: encode_predictions(predictions),
        WEIGHTS_FILE: save({name: one.cpu().contiguous() for name, one in weights.items()}),
    }
    file_sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    record = RunRecord(
        run_spec=run_spec,
        digest=run_spec.digest,
        status="diverged" if trained.has_diverged else "finished",
        epochs=trained.epochs,
        parameters=count_parameters(trained.network),
        multiply_adds=total_multiply_adds(run_spec.network),
        environment=environment,
        file_sha256=file_sha256,
        wrong_test_images=test_result.wrong_images,
        wall_seconds=wall_seconds,
        finished_at=utc_now(),
        num_replicas=num_replicas,
        fallback_reason=fallback_reason,
        protocol_version=PROTOCOL_VERSION,
    )
    device = torch.device(environment.device_type)
    # A run may have taken hours. The report can measure its network later.
    with contextlib.suppress(RuntimeError):
        observations = measure_network(
            run_spec, trained.network, dataset, predicted_class, file_sha256[WEIGHTS_FILE], device
        )
        files[OBSERVATIONS_FILE] = encode_with_checksum(observations, is_indented=False)
    return RunResult(record, files)


def choose_device(name: str) -> str:
    """The device's name; for `auto` the first of cuda, mps and cpu that this machine has.

    Raises:
        ValueError: this machine does not have the device.
    """
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if has_device(device))
    if not has_device(name):
        raise ValueError(f"this machine has no {name} device that torch can use; try --device cpu")
    return name


def has_device(name: str) -> bool:
    """Whether this machine has a cuda, mps or cpu device."""
    if name == "cuda":
        return torch.cuda.is_available()
    return name == "cpu" or torch.backends.mps.is_available()


def describe_environment(
    device: torch.device, arithmetic: Arithmetic = "plain", commit: str | None = None
) -> Environment:
    """The hardware and software versions of this process."""
    return Environment(
        device_type=device.type,
        device_name=_device_name(device),
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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {os.cpu_count()} cores"


def utc_now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
