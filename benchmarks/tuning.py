"""Search for a recipe on held-out training images: `python -m benchmarks.tuning search`.

Every trial trains on 50,000 training images and is judged on the other 10,000 (`held_out.py`). Optuna
proposes recipes and keeps every trial in a file, so that a search that was stopped goes on (Akiba et
al., 2019, arXiv:1907.10902). `compare` measures single changes over several seeds, and `report`
writes docs/tuning.md.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import click
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ablations.catalogue.recipes import TUNED
from ablations.data.datasets import resolve_dataset
from ablations.records.atomic_io import write_atomically, write_json
from ablations.runner.process_pool import default_num_jobs
from benchmarks.held_out import Variant, train_held_out
from benchmarks.trials import SPACE, UNCHANGED, Trial, best_recipes, read_trials, render

STARTING_POINT = {
    "learning_rate": 0.1, "batch_size": 64, "warm_up": 0.2, "weight_decay": 5e-4,
    "affine_strength": 0.8,
}  # fmt: skip
"""The first trial."""
VARIANTS = {
    UNCHANGED: Variant(),
    "batches of 32": Variant({"batch_size": 32}),
    "batches of 128": Variant({"batch_size": 128}),
    "half the peak rate": Variant({"learning_rate": TUNED.learning_rate / 2}),
    "twice the peak rate": Variant({"learning_rate": 2 * TUNED.learning_rate}),
    "no warm-up": Variant({"warm_up": 0.0}),
    "constant rate, half the peak": Variant(
        {"warm_up": None, "learning_rate": TUNED.learning_rate / 2}
    ),
    "cosine in place of linear": Variant(is_cosine=True),
    "no Nesterov": Variant({"nesterov": False}),
    "no weight decay": Variant({"weight_decay": 0.0}),
    "published augmentation": Variant({"affine_strength": None}),
    "no augmentation": Variant({"augment": False}),
    "no augmentation in the last 2 epochs": Variant(num_plain_epochs=2),
    "label smoothing 0.1": Variant(label_smoothing=0.1),
    "average of weights, decay 0.999": Variant(average_decay=0.999),
    "no dropout (for information)": Variant(network={"dropout": 0.0}),
    "dropout 0.05 (for information)": Variant(network={"dropout": 0.05}),
}
"""Changes of the recipe that were compared with it."""
SPAWN = multiprocessing.get_context("spawn")


@click.group()
def main() -> None:
    """Search for a recipe on held-out training images, and compare recipes over seeds."""


NETWORK = click.option("--network", default="target", help="Name in the catalogue.")
EPOCHS = click.option("--epochs", "num_epochs", type=int, default=8)
JOBS = click.option("--jobs", "num_jobs", type=int, default=default_num_jobs("cpu"))
OUT = click.option("--out", type=click.Path(path_type=Path), default=Path("docs/tuning"))


@main.command()
@NETWORK
@EPOCHS
@JOBS
@OUT
@click.option("--trials", "num_trials", type=int, default=24, help="In all, earlier ones included.")
@click.option("--journal", type=click.Path(path_type=Path), default=Path("docs/tuning/journal.log"))
def search(
    network: str, num_epochs: int, num_jobs: int, out: Path, num_trials: int, journal: Path
) -> None:
    """Propose and train recipes, one seed each; write all trials to OUT/NETWORK.json."""
    name, folder = resolve_dataset("mnist", log=click.echo)
    journal.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=f"{network}-{num_epochs}-epochs",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
        load_if_exists=True,
    )
    # A search that goes on must not propose its first recipes again.
    study.sampler = optuna.samplers.TPESampler(
        seed=len(study.trials), multivariate=True, constant_liar=True
    )
    if not study.trials:
        study.enqueue_trial(STARTING_POINT)

    def completed() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])

    running: dict[Future[float], optuna.Trial] = {}
    with ProcessPoolExecutor(num_jobs, mp_context=SPAWN) as pool:
        while (num_done := len(completed())) < num_trials:
            while len(running) < min(num_jobs, num_trials - num_done):
                trial = study.ask(SPACE)
                # Another seed for each trial: a lucky seed must not favour a recipe.
                task = pool.submit(
                    train_held_out, network, Variant(trial.params), num_epochs, trial.number,
                    name, folder,
                )  # fmt: skip
                running[task] = trial
            for task in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(task)
                study.tell(trial, task.result())
                click.echo(f"{trial.number}: {task.result():.2f} % {trial.params}")
    trials = [
        Trial(network, str(one.number), num_epochs, one.params, {one.number: one.value or 0.0})
        for one in completed()
    ]
    write_json(out / f"{network}.json", trials)


@main.command()
@NETWORK
@EPOCHS
@JOBS
@OUT
@click.option("--seeds", "num_seeds", type=int, default=4)
@click.option("--best", "num_best", type=int, help="The best recipes of the search, not variants.")
@click.argument("names", nargs=-1)
def compare(
    network: str,
    num_epochs: int,
    num_jobs: int,
    out: Path,
    num_seeds: int,
    num_best: int | None,
    names: Sequence[str],
) -> None:
    """Train variants of the tuned recipe with several seeds; add them to OUT/variants.json."""
    dataset_name, folder = resolve_dataset("mnist", log=click.echo)
    path = out / "variants.json"
    known = read_trials(path) if path.exists() else []
    variants = VARIANTS
    if num_best:
        trials = best_recipes(read_trials(out / f"{network}.json"))[:num_best]
        variants = {f"trial {trial.name}": Variant(trial.fields) for trial in trials}
    done = {(one.network, one.num_epochs, one.name) for one in known}
    seeds = range(1000, 1000 + num_seeds)
    with ProcessPoolExecutor(num_jobs, mp_context=SPAWN) as pool:
        tasks = {
            name: {
                seed: pool.submit(
                    train_held_out, network, _on_tuned(variants[name]), num_epochs, seed,
                    dataset_name, folder,
                )
                for seed in seeds
            }
            for name in names or variants
            if (network, num_epochs, name) not in done
        }  # fmt: skip
        for name, by_seed in tasks.items():
            found = {seed: task.result() for seed, task in by_seed.items()}
            fields = dict(variants[name].fields)
            known.append(Trial(network, name, num_epochs, fields, found))
            write_json(path, known)
            click.echo(f"{known[-1].accuracy_pct:.3f} % (n = {num_seeds}) {name}")


@main.command()
@OUT
def report(out: Path) -> None:
    """Write docs/tuning.md and its figure from the files in OUT."""
    documents = render(out)
    for name, text in documents.items():
        write_atomically(out.parent / name, text.encode())
        click.echo(f"{out.parent / name}")


def _on_tuned(variant: Variant) -> Variant:
    """The tuned recipe with a variant's changes."""
    tuned = {name: getattr(TUNED, name) for name in (*SPACE, "nesterov")}
    return replace(variant, fields={**tuned, **variant.fields})


if __name__ == "__main__":
    main()
