"""The numbers of the page's figures, as tables for readers who cannot see a figure."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from ablations.analysis.summary import AblationResult
from ablations.records.run import RunRecord
from reports.text.wording import decimal, signed


class FigureTable(NamedTuple):
    """The content of a figure, formatted."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    """As many cells in each as there are columns; the first names the row."""


def differences_table(rows: Sequence[AblationResult]) -> FigureTable | None:
    """Each ablation's difference from the target at every seed; None without a difference."""
    found = {row.ablation.name: row.difference_pct for row in rows if row.difference_pct}
    if not found:
        return None
    seeds = sorted({seed for difference in found.values() for seed in difference.by_seed})

    def cell(value: float | None) -> str:
        return "–" if value is None else signed(value)

    return FigureTable(
        "Accuracy minus the target’s with the same seed, in percentage points",
        ["without", *(f"seed {seed}" for seed in seeds), "mean"],
        [
            [name, *(cell(one.by_seed.get(seed)) for seed in seeds), signed(one.mean)]
            for name, one in found.items()
        ],
    )


def seeds_table(row: AblationResult, target: AblationResult | None) -> FigureTable | None:
    """Target and ablation at each seed that both have; None for the target itself."""
    if target is None or row.difference_pct is None:
        return None
    accuracies = target.accuracy_pct.by_seed, row.accuracy_pct.by_seed
    return FigureTable(
        f"Every seed of {row.ablation.name}: test accuracy in percent, and the difference in points",
        ["seed", "target", "without", "difference"],
        [
            [str(seed), *(decimal(found[seed]) for found in accuracies), signed(difference)]
            for seed, difference in row.difference_pct.by_seed.items()
        ],
    )


def curves_table(
    runs: Sequence[RunRecord], name: str, published_error_pct: Sequence[float] = ()
) -> FigureTable:
    """Each run's test error after every epoch; a diverged run ends early."""
    errors_pct = {
        f"seed {run.run_spec.seed}": [100 - epoch.test_accuracy_pct for epoch in run.epochs]
        for run in runs
    }
    if published_error_pct:
        errors_pct["published run"] = list(published_error_pct)
    return FigureTable(
        f"Test images that {name} gets wrong after each epoch, in percent",
        ["epoch", *errors_pct],
        [
            [str(number), *("–" if error is None else decimal(error) for error in errors)]
            for number, errors in enumerate(zip_longest(*errors_pct.values()), start=1)
        ],
    )
