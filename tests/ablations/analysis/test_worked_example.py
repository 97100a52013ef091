"""The lesson's arithmetic: an example worked out by hand, and the estimates of the report."""

import pytest

from ablations.analysis.statistics import paired_difference
from ablations.analysis.worked_example import pair_interaction, paired_steps


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
