"""Search for a recipe on held-out training images: `python -m benchmarks.tuning search`.

A network trains on the first 50,000 training images and is judged on the other 10,000. The test
images are never loaded into a trial. Optuna proposes recipes and keeps every trial in a file, so
that a search that was stopped goes on (Akiba et al., 2019, arXiv:1907.10902).
"""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import msgspec
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ablations.catalogue.entries import find_ablation
from ablations.catalogue.experiment import RunSpec, TrainingSpec
from ablations.data.dataset import Dataset
from ablations.data.datasets import load_dataset, resolve_dataset
from ablations.records.atomic_io import write_json
from ablations.runner.process_pool import default_num_jobs
from ablations.training.loop import train
from speed.arithmetic import keep_freed_memory

NUM_HELD_OUT = 10_000
STARTING_POINT = {
    "learning_rate": 0.1, "batch_size": 64, "warm_up": 0.2, "weight_decay": 5e-4,
    "affine_strength": 0.8,
}  # fmt: skip
"""The first trial."""


class Trial(msgspec.Struct, frozen=True):
    """A recipe, and the accuracy on held-out images after its last epoch, for each seed."""

    ablation: str
    num_epochs: int
    changes: dict[str, Any]
    """Fields of `TrainingSpec`."""
    accuracy_pct_by_seed: dict[int, float]

    @property
    def accuracy_pct(self) -> float:
        """The mean over seeds."""
        return fmean(self.accuracy_pct_by_seed.values())


def hold_out(dataset: Dataset) -> Dataset:
    """The data set with its last training images in the place of the test images."""
    kept = len(dataset.train_labels) - NUM_HELD_OUT
    return replace(
        dataset,
        id=replace(dataset.id, name=f"{dataset.id.name}-held-out", num_train=kept, num_test=NUM_HELD_OUT),
        train_images=dataset.train_images[:kept],
        train_labels=dataset.train_labels[:kept],
        test_images=dataset.train_images[kept:],
        test_labels=dataset.train_labels[kept:],
    )  # fmt: skip


def propose(trial: optuna.Trial) -> dict[str, Any]:
    """A recipe from the search space: one cycle of the learning rate, affine augmentation."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.5, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        "warm_up": trial.suggest_float("warm_up", 0.0, 0.5, step=0.1),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 3e-3, log=True),
        "affine_strength": trial.suggest_float("affine_strength", 0.2, 1.6, step=0.2),
    }


def train_held_out(
    ablation: str,
    changes: Mapping[str, Any],
    num_epochs: int,
    seed: int,
    dataset_name: str,
    folder: Path | None,
) -> float:
    """Accuracy in percent on the held-out images after the last epoch; the body of a worker."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = hold_out(load_dataset(dataset_name, folder))
    entry = find_ablation(ablation)
    fields = {"drop_learning_rate_after": None, "nesterov": True, **changes}
    recipe = TrainingSpec(num_epochs=num_epochs, **fields)
    run_spec = RunSpec(ablation, entry.network_spec, recipe, dataset.id, seed)
    trained = train(run_spec, dataset, torch.device("cpu"), arithmetic="float32")
    return trained.epochs[-1].test_accuracy_pct


@click.group()
def main() -> None:
    """Search for a recipe on held-out training images, and compare recipes over seeds."""


NETWORK = click.option("--network", default="target", help="Name in the catalogue.")
EPOCHS = click.option("--epochs", "num_epochs", type=int, default=19)
JOBS = click.option("--jobs", "num_jobs", type=int, default=default_num_jobs("cpu"))
OUT = click.option("--out", type=click.Path(path_type=Path), default=Path("runs/tuning"))


@main.command()
@NETWORK
@EPOCHS
@JOBS
@OUT
@click.option("--trials", "num_trials", type=int, default=60, help="In all, earlier ones included.")
def search(network: str, num_epochs: int, num_jobs: int, out: Path, num_trials: int) -> None:
    """Propose and train recipes, one seed each; write all trials to OUT/NETWORK.json."""
    name, folder = resolve_dataset("mnist", log=click.echo)
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=f"{network}-{num_epochs}-epochs",
        storage=JournalStorage(JournalFileBackend(str(out / "journal.log"))),
        sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True),
        direction="maximize",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(STARTING_POINT)

    def completed() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])

    spawn = multiprocessing.get_context("spawn")
    running: dict[Future[float], optuna.Trial] = {}
    with ProcessPoolExecutor(num_jobs, mp_context=spawn) as pool:
        while (num_done := len(completed())) < num_trials:
            while len(running) < min(num_jobs, num_trials - num_done):
                trial = study.ask()
                # Another seed for each trial: a lucky seed must not favour a recipe.
                task = pool.submit(
                    train_held_out, network, propose(trial), num_epochs, trial.number, name, folder
                )
                running[task] = trial
            for task in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(task)
                study.tell(trial, task.result())
                click.echo(f"{trial.number}: {task.result():.2f} % {trial.params}")
    trials = [
        Trial(network, num_epochs, one.params, {one.number: one.value or 0.0})
        for one in completed()
    ]
    write_json(out / f"{network}.json", trials)


@main.command()
@NETWORK
@EPOCHS
@JOBS
@OUT
@click.option("--seeds", type=int, default=5)
@click.argument("recipes", nargs=-1, required=True)
def confirm(
    network: str, num_epochs: int, num_jobs: int, out: Path, seeds: int, recipes: Sequence[str]
) -> None:
    """Train each recipe, a JSON object of changes to the starting point, with several seeds."""
    name, folder = resolve_dataset("mnist", log=click.echo)
    path = out / f"{network}-confirmed.json"
    known = msgspec.json.decode(path.read_bytes(), type=list[Trial]) if path.exists() else []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=spawn) as pool:
        for trial in _confirm_all(
            pool, network, [STARTING_POINT | msgspec.json.decode(one) for one in recipes],
            num_epochs, range(1000, 1000 + seeds), name, folder,
        ):  # fmt: skip
            known.append(trial)
            write_json(path, known)
            click.echo(f"{trial.accuracy_pct:.3f} % (n = {seeds}) {trial.changes}")


def _confirm_all(
    pool: ProcessPoolExecutor,
    network: str,
    recipes: Sequence[dict[str, Any]],
    num_epochs: int,
    seeds: range,
    dataset_name: str,
    folder: Path | None,
) -> Iterator[Trial]:
    """Each recipe over the seeds, in order; all runs share the workers."""
    tasks = [
        {
            seed: pool.submit(
                train_held_out, network, changes, num_epochs, seed, dataset_name, folder
            )
            for seed in seeds
        }
        for changes in recipes
    ]
    for changes, by_seed in zip(recipes, tasks, strict=True):
        accuracies = {seed: task.result() for seed, task in by_seed.items()}
        yield Trial(network, num_epochs, changes, accuracies)


if __name__ == "__main__":
    main()
