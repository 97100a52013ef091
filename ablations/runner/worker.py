"""What a worker does in either pool: carry out a group of runs and send events.

Imports slow modules, so only workers import it.
"""

import traceback
from collections.abc import Callable, Sequence

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.runner.run_one import run_group, use_one_thread
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, WorkerSetup
from ablations.version import source_digest
from ablations.words import first_line
from speed.arithmetic import keep_freed_memory


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
            use_one_thread()
            keep_freed_memory()
        if setup.source_digest not in ("", source_digest()):
            raise RuntimeError(
                "the source files changed while the study ran; run the same command again to finish "
                "the study with the files as they are now"
            )
        for run_spec, result in run_group(
            run_specs,
            load(),
            torch.device(setup.device),
            lambda run_spec, epoch: send(EpochFinished(run_spec, epoch)),
            setup.commit,
            setup.arithmetic,
            as_one_network=setup.num_replicas > 1,
        ):
            unfinished.remove(run_spec)
            send(RunFinished(run_spec, result))
    except Exception as error:  # noqa: BLE001 (other runs may still succeed)
        for run_spec in unfinished:
            send(RunFailed(run_spec, first_line(error), traceback.format_exc()))
