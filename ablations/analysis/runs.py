"""Which of a study's runs count, and their accuracies."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress

from ablations.analysis.requirements import HARDLY_LEARNT_PCT, mean_accuracy_pct
from ablations.analysis.spread import Pool, pool_variance, resolution_pct
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import find_ablation
from ablations.records.run import RunRecord
from ablations.records.study import Study


def runs_of(study: Study, name: str) -> list[RunRecord]:
    """The runs of an ablation."""
    return [record for record in study.records if record.run_spec.ablation == name]


def accuracy_by_seed(runs: Sequence[RunRecord], epoch: int | None = None) -> dict[int, float]:
    """Test accuracy after an epoch, in percent, of the runs that reached it; by default the last."""
    reached = [run for run in runs if epoch is None or len(run.epochs) >= epoch]
    index = -1 if epoch is None else epoch - 1
    return {run.run_spec.seed: run.epochs[index].test_accuracy_pct for run in reached}


def wrong_by_seed(runs: Sequence[RunRecord]) -> dict[int, list[int]]:
    """The wrong test images, of the runs whose records name them."""
    return {
        run.run_spec.seed: run.wrong_test_images
        for run in runs
        if run.wrong_test_images is not None
    }


def failed_runs(study: Study) -> list[RunRecord]:
    """The runs that diverged, or ended hardly better than a guess although the target's mean did not."""
    target = runs_of(study, "target")
    has_learnt = bool(target) and mean_accuracy_pct(target) > HARDLY_LEARNT_PCT
    return [
        run
        for run in study.records
        if run.status == "diverged"
        or (has_learnt and run.last_epoch.test_accuracy_pct <= HARDLY_LEARNT_PCT)
    ]


def pool_runs(study: Study, names: Collection[str]) -> Pool:
    """The spread over seeds that these networks share."""
    groups = {name: list(accuracy_by_seed(runs_of(study, name)).values()) for name in names}
    failed = Counter(run.run_spec.ablation for run in failed_runs(study))
    num_failed = {name: number for name, number in failed.items() if name in groups}
    return pool_variance(groups, resolution_pct(study.spec.dataset.num_test), num_failed)


def known_ablation(name: str) -> Ablation | None:
    """The ablation of that name; None if the catalogue does not have it (any more)."""
    with suppress(KeyError, ValueError):
        found = find_ablation(name)
        return found if found.name == name else None
    return None


def unknown_ablations(study: Study) -> list[str]:
    """Names of runs that the catalogue does not know, and that no table shows."""
    names = {record.run_spec.ablation for record in study.records}
    return sorted(name for name in names if known_ablation(name) is None)
