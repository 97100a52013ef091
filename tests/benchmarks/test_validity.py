"""The simulation of whole studies, and the document that is rendered from its results."""

import pytest

from ablations.records.atomic_io import load_json
from benchmarks.simulation import EFFECTS_PCT, Design, is_false, simulate_study
from benchmarks.validity import (
    DOCUMENT,
    PLANNED_LOOKS,
    RESULTS,
    Validity,
    all_spreads,
    error_pct,
    render_document,
)

SPREADS = dict.fromkeys(("target", "one", "other"), 0.03)


def test_document_is_fresh() -> None:
    text = render_document(load_json(RESULTS, Validity))
    assert text == DOCUMENT.read_text(encoding="utf-8"), "stale: run python -m benchmarks.validity"


def test_error_rates_are_at_most_five_percent() -> None:
    validity = load_json(RESULTS, Validity)
    assert validity.num_studies >= 2000
    ours = [one for one in validity.rates if one.method == "ours"]
    # Three sets of spreads, five designs, and every effect.
    assert len(ours) == 3 * 5 * len(EFFECTS_PCT)
    for one in ours:
        assert one.false_pct <= one.missed_pct <= 5 + error_pct(5, validity.num_studies), one
    pooled = [one for one in validity.rates if one.method == "pooled"]
    assert max(one.missed_pct for one in pooled if one.spreads == "MNIST") > 10


@pytest.mark.parametrize("until_decided", [False, True])
def test_studies_end_at_the_last_look_or_when_decided(until_decided: bool) -> None:
    design = Design(PLANNED_LOOKS, until_decided)
    found = simulate_study(0, SPREADS, design, "ours", (0.0,))
    assert found == simulate_study(0, SPREADS, design, "ours", (0.0,))
    assert found.num_decided == [2]
    # Two ablations of 40 seeds, and the target with 57; or fewer.
    assert (found.num_runs == 2 * 40 + 57) == (not until_decided)


def test_misses_and_false_verdicts_are_counted() -> None:
    # Without any allowance for chance, studies would miss in half of the cases.
    found = [simulate_study(seed, SPREADS, Design((5,)), "ours", EFFECTS_PCT) for seed in range(60)]
    assert 0 <= sum(one.missed[0] for one in found) <= 8
    assert is_false((0.01, 0.2), 0.0) and not is_false((0.01, 0.2), 0.05)
    assert is_false((-0.05, 0.05), 0.1) and not is_false((-0.05, 0.05), 0.05)
    assert is_false((0.11, 0.3), 0.1) and not is_false((0.11, 0.3), 0.15)
    assert not is_false((-1.0, 1.0), 0.1)


def test_spreads_have_the_scale_of_the_margin() -> None:
    spreads = all_spreads()
    assert list(spreads) == ["MNIST", "Fashion-MNIST", "equal"]
    assert all(0.02 < sorted(one.values())[len(one) // 2] < 0.1 for one in spreads.values())
