"""What a worker does, in whichever pool: train a group of runs, and tell of them.

Imports what takes long to import, so only workers import it.
"""

import traceback
from collections.abc import Callable, Sequence
from functools import partial

import torch

from ablations.catalogue.experiment import RunSpec
from ablations.data.dataset import Dataset
from ablations.runner.run_one import run_experiment, run_group, use_one_thread
from ablations.runner.scheduler import EpochFinished, Event, RunFailed, RunFinished, WorkerSetup
from ablations.training.epoch import EpochRecord
from ablations.version import source_digest
from speed.arithmetic import keep_freed_memory


def prepare_process(setup: WorkerSetup) -> None:
    """Set this process up for computing."""
    if setup.device == "cpu":
        use_one_thread()
        keep_freed_memory()


def do_runs(
    run_specs: Sequence[RunSpec],
    load: Callable[[], Dataset],
    setup: WorkerSetup,
    tell: Callable[[Event], None],
) -> None:
    """Do a group of runs. Whatever goes wrong is told as these runs' failure, and not raised.

    Raises:
        ConnectionError: there is nobody to tell.
    """
    not_ended = list(run_specs)

    def finish(event: RunFinished) -> None:
        not_ended.remove(event.run_spec)
        tell(event)

    try:
        prepare_process(setup)
        if setup.source_digest not in ("", source_digest()):
            raise RuntimeError(
                "the source was changed while the study ran; the same command does the rest with "
                "what is there now"
            )
        train_group(run_specs, load(), setup, tell, finish)
    except ConnectionError:
        raise
    # Whatever it was, the next runs may be fine.
    except Exception as error:  # noqa: BLE001
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        for run_spec in not_ended:
            tell(RunFailed(run_spec, reason, traceback.format_exc()))


def train_group(
    run_specs: Sequence[RunSpec],
    dataset: Dataset,
    setup: WorkerSetup,
    tell: Callable[[EpochFinished], None],
    finish: Callable[[RunFinished], None],
) -> None:
    """Train a group of runs: as one network where seeds may share one, else one after another."""

    def tell_epoch(run_spec: RunSpec, epoch: EpochRecord) -> None:
        tell(EpochFinished(run_spec, epoch))

    device = torch.device(setup.device)
    if setup.num_replicas > 1:
        for run_spec, result in run_group(run_specs, dataset, device, tell_epoch, setup.commit):
            finish(RunFinished(run_spec, result))
        return
    for run_spec in run_specs:
        after_epoch = partial(tell_epoch, run_spec)
        result = run_experiment(
            run_spec, dataset, device, after_epoch, setup.commit, setup.arithmetic
        )
        finish(RunFinished(run_spec, result))
