"""Results as numbers: CSV and JSON."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ablations.analysis.summary import AblationResult, Results
from ablations.records.run import RunRecord
from ablations.training.epoch import EpochRecord
from reports.text.wording import verdict_cell


def _edges(row: AblationResult, field: str) -> tuple[float | None, float | None]:
    return getattr(row.difference_pct, field, None) or (None, None)


COMPARISON_COLUMNS: dict[str, Callable[[AblationResult], object]] = {
    "mean_difference_points": lambda row: getattr(row.difference_pct, "mean", None),
    "interval_95_low": lambda row: _edges(row, "interval_95")[0],
    "interval_95_high": lambda row: _edges(row, "interval_95")[1],
    "new_images_interval_95_low": lambda row: _edges(row, "new_images_interval_95")[0],
    "new_images_interval_95_high": lambda row: _edges(row, "new_images_interval_95")[1],
    "spread_used": lambda row: getattr(row.difference_pct, "spreads", (None,))[0],
    "target_seeds": lambda row: getattr(row.difference_pct, "num_seeds", (None, None))[1],
    "direction": lambda row: getattr(row.verdict, "direction", None),
    "size": lambda row: getattr(row.verdict, "size", None),
}
"""An ablation's difference from the target, its interval and its verdict; empty where there is none."""
SUMMARY_COLUMNS: dict[str, Callable[[AblationResult], object]] = {
    "removes": lambda row: row.ablation.removes,
    "ablation": lambda row: row.ablation.name,
    "parameters": lambda row: row.parameters,
    "multiply_adds": lambda row: row.multiply_adds,
    "seeds": lambda row: len(row.runs),
    "failed_runs": lambda row: len(row.failed),
    "accuracy_mean_pct": lambda row: row.accuracy_pct.mean,
    "accuracy_standard_deviation_points": lambda row: row.accuracy_pct.standard_deviation,
    **COMPARISON_COLUMNS,
    "median_epoch_seconds_alone": lambda row: getattr(row.epoch_time, "median_seconds", None),
}
RUN_COLUMNS: dict[str, Callable[[AblationResult, RunRecord], object]] = {
    "ablation": lambda row, _: row.ablation.name,
    "seed": lambda _, run: run.run_spec.seed,
    "status": lambda _, run: run.status,
    "test_accuracy_pct": lambda _, run: run.last_epoch.test_accuracy_pct,
    "difference_from_target_mean_points": lambda row, run: (
        row.difference_pct.by_seed[run.run_spec.seed] if row.difference_pct else None
    ),
    "test_loss": lambda _, run: run.last_epoch.test_loss,
    "best_epoch": lambda _, run: run.best_epoch.epoch,
    "best_epoch_test_accuracy_pct": lambda _, run: run.best_epoch.test_accuracy_pct,
    "train_loss": lambda _, run: run.last_epoch.train_loss,
    "train_accuracy_pct": lambda _, run: run.last_epoch.train_accuracy_pct,
    "parameters": lambda _, run: run.parameters,
    "multiply_adds": lambda _, run: run.multiply_adds,
    "median_epoch_seconds_alone": lambda row, _: getattr(row.epoch_time, "median_seconds", None),
    "num_epochs": lambda _, run: len(run.epochs),
    "dataset": lambda _, run: run.run_spec.dataset.name,
    "device": lambda _, run: run.environment.device_type,
}
EPOCH_COLUMNS = tuple(name for name in EpochRecord.__struct_fields__ if name != "test_correct")


def summary_csv(results: Results) -> str:
    """One line for each ablation and combination, in the order of the catalogue; no number is rounded."""
    margin_pct = results.study.spec.margin_pct
    return _csv(
        [*SUMMARY_COLUMNS, "verdict"],
        (
            [*(value(row) for value in SUMMARY_COLUMNS.values()), verdict_cell(row, margin_pct)]
            for row in _rows(results)
        ),
    )


def epochs_csv(results: Results) -> str:
    """One line for each epoch of each run, with six significant digits."""
    return _csv(
        ["ablation", "seed", *EPOCH_COLUMNS],
        (
            [row.ablation.name, run.run_spec.seed, *_six_digits(epoch)]
            for row in _rows(results)
            for run in row.runs
            for epoch in run.epochs
        ),
    )


def results_csv(results: Results) -> str:
    """One line for each run, in the order of the catalogue; no number is rounded."""
    return _csv(
        [*RUN_COLUMNS, *COMPARISON_COLUMNS],
        (
            [
                *(value(row, run) for value in RUN_COLUMNS.values()),
                *(value(row) for value in COMPARISON_COLUMNS.values()),
            ]
            for row in _rows(results)
            for run in row.runs
        ),
    )


def results_json(results: Results) -> bytes:
    """Every row of the results with its runs' epochs, and the requirement check."""
    content = {
        "study": results.study.spec,
        "model": results.model,
        "requirements": results.requirements,
        "ablations": results.rows,
        "combinations": results.combinations,
        "attributions": results.attributions,
        "timing": results.study.timing,
        "problems": results.study.problems,
    }
    return msgspec.json.encode(content) + b"\n"


def _rows(results: Results) -> list[AblationResult]:
    return [*results.rows, *results.combinations]


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def _six_digits(epoch: EpochRecord) -> list[str]:
    values = (getattr(epoch, name) for name in EPOCH_COLUMNS)
    return ["" if value is None else f"{value:.6g}" for value in values]
