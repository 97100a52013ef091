"""The lesson's arithmetic: an example worked out by hand, and the estimates of the report."""

from statistics import fmean

import pytest

from ablations.analysis.statistics import paired_difference
from ablations.analysis.worked_example import difference_after_epoch, paired_steps
from tests.factories import make_results


def test_steps_of_an_example() -> None:
    # Differences 1, 2, 3: mean 2, s = 1; t with two degrees of freedom is 4.303.
    steps = paired_steps({0: 11, 1: 12, 2: 13, 9: 0}, {0: 10, 1: 10, 2: 10})
    assert steps.differences == {0: 1, 1: 2, 2: 3}
    assert (steps.mean, steps.squares, steps.deviation) == (2, 2, 1)
    assert steps.t_quantile == pytest.approx(4.303, abs=0.0005)
    assert steps.interval_95 == pytest.approx((-0.484, 4.484), abs=0.001)
    difference = paired_difference({0: 11, 1: 12, 2: 13}, dict.fromkeys(range(3), 10))
    assert difference and steps.interval_95 == pytest.approx(difference.interval_95)
    assert steps.unpaired_standard_error == pytest.approx(3**-0.5)
    with pytest.raises(ValueError, match="1 shared seeds"):
        paired_steps({0: 1}, {0: 2})


def test_difference_after_the_last_epoch_is_the_reports() -> None:
    results = make_results({"target": [0, 1], "no-gap": [0, 1, 2]}, diverged=["no-gap"])
    target, variant = results.rows
    assert variant.difference_pct
    last = len(variant.runs[0].epochs)
    found = difference_after_epoch(variant.runs, target.runs[:2], last)
    assert found == pytest.approx(
        fmean(
            run.last_epoch.test_accuracy_pct - other.epochs[last - 1].test_accuracy_pct
            for run, other in zip(variant.runs[:2], target.runs, strict=True)
        )
    )
    assert difference_after_epoch(variant.runs, target.runs, last + 1) is None
