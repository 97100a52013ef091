"""The lesson's arithmetic: an example worked out by hand, and the estimates of the report."""

from statistics import fmean

import pytest

from ablations.analysis.statistics import paired_difference
from ablations.analysis.worked_example import difference_after_epoch, pair_interaction, paired_steps
from tests.factories import make_results


def test_steps_of_an_example() -> None:
    # Differences 1, 2, 3: mean 2, s = 1; t with two degrees of freedom is 4.303.
    steps = paired_steps({0: 11, 1: 12, 2: 13, 9: 0}, {0: 10, 1: 10, 2: 10})
    assert steps.differences == {0: 1, 1: 2, 2: 3}
    assert (steps.mean, steps.squares, steps.deviation) == (2, 2, 1)
    assert steps.t_quantile == pytest.approx(4.303, abs=0.0005)
    assert steps.interval_95 == pytest.approx((-0.484, 4.484), abs=0.001)
    assert steps.unpaired_standard_error == pytest.approx(3**-0.5)
    with pytest.raises(ValueError, match="1 shared seeds"):
        paired_steps({0: 1}, {0: 2})


def test_interval_equals_the_reports() -> None:
    variant, target = {0: 91, 1: 95, 2: 90, 3: 97}, {0: 93, 1: 94, 2: 92, 3: 99}
    difference = paired_difference(variant, target)
    assert difference and difference.interval_95
    assert paired_steps(variant, target).interval_95 == pytest.approx(difference.interval_95)


def test_interaction_is_half_the_difference_of_the_gains() -> None:
    found = pair_interaction({0: 99, 1: 98}, {0: 90, 1: 91}, {0: 95, 1: 96}, {0: 89, 1: 94, 2: 5})
    assert found.with_other.mean == pytest.approx(8)
    assert found.without_other.mean == pytest.approx(4)
    assert found.interaction.mean == pytest.approx(2)
    assert found.seeds == [0, 1] and found.accuracy_pct["neither"] == 91.5


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
