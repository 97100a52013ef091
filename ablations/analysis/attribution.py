"""What each ingredient contributes when several are removed in combination: pure functions.

A cell of a design is the set of removed ingredients, with the accuracy of each seed. A contribution
is what *having* the ingredient adds, in percentage points: the opposite sign of an ablation's
difference.

- left out: the full network minus the one without the ingredient
- alone: the bare network with the ingredient minus the bare network
- main effect: mean of that difference over all combinations of the others (Montgomery, Design and
  Analysis of Experiments, section 6.3)
- Shapley value: mean over all orders in which ingredients could be added (Shapley 1953). The values
  add up to the difference between the full and the bare network.
- interaction of two: half the difference between one ingredient's contributions with and without
  the other, averaged over the rest (Montgomery, same section). Negative: each partly replaces the
  other.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from math import factorial
from operator import itemgetter
from statistics import fmean

import msgspec

from ablations.analysis.statistics import Estimate, estimate, holm, paired_difference
from ablations.catalogue.designs import Design, removed_sets, subsets

Removed = frozenset[str]
"""Names of the ablations that remove ingredients; the empty set is the full network."""
Cells = Mapping[Removed, Mapping[int, float]]
"""Accuracy by seed of each network."""
Accuracies = Mapping[Removed, float]
"""Accuracy of each network at one seed."""


class Contribution(msgspec.Struct, frozen=True):
    """What one ingredient adds; None for measures whose networks were not run."""

    name: str
    """Of the ablation that removes it."""
    left_out: Estimate | None
    alone: Estimate | None
    main_effect: Estimate | None
    shapley: Estimate | None
    alone_minus_left_out_p: float | None = None
    """Paired t-test of the difference between these two contributions, Holm-adjusted over the
    ingredients; None where one is unknown or their difference has no spread."""


class Interaction(msgspec.Struct, frozen=True):
    """Of two ingredients."""

    names: tuple[str, str]
    effect: Estimate


class Step(msgspec.Struct, frozen=True):
    """One step of the ladder: an ingredient is added to those before it."""

    adds: str | None
    """Of the ablation that removes it; None: the bare network."""
    accuracy_pct: Estimate
    gain: Estimate | None
    """Over the step before."""


class Attribution(msgspec.Struct, frozen=True):
    """What the ingredients of one set contribute."""

    names: list[str]
    """Of the ablations that remove them, in the order of the catalogue."""
    seeds: list[int]
    """Those that every compared network has."""
    full_minus_bare: Estimate
    contributions: list[Contribution] = msgspec.field(name="worths")
    interactions: list[Interaction]
    """Of every two; empty without all combinations."""
    ladder: list[Step]
    """From the bare network to the full one; empty where a step is missing."""
    is_factorial: bool


def attribute(cells: Cells, order: Sequence[str]) -> list[Attribution]:
    """The contributions of every set of ingredients whose networks share seeds, factorials first.

    A set is identified by its bare network. A set within a known one is listed only if it has more
    seeds and is the largest such set. `order` is that of the catalogue.
    """
    bare_sets = sorted(
        (removed for removed in cells if len(removed) > 1),
        key=lambda removed: (-len(removed), sorted(map(order.index, removed))),
    )
    found: list[Attribution] = []
    designs: tuple[Design, ...] = ("factorial", "add-one-in", "ladder")
    for design, bare in product(designs, bare_sets):
        names = sorted(bare, key=order.index)
        networks = [cells.get(removed, {}) for removed in removed_sets(design, names)]
        seeds = sorted(set.intersection(*map(set, networks)))
        within = [known for known in found if bare <= set(known.names)]
        is_known = any(
            bare == set(known.names) or set(seeds) <= set(known.seeds) for known in within
        )
        if seeds and not is_known and len(within) < 2:
            found.append(_attribute_among(cells, names, seeds))
    return found


def _attribute_among(cells: Cells, names: Sequence[str], seeds: Sequence[int]) -> Attribution:
    """The contributions of these ingredients over these seeds, by every measure that was run."""
    accuracies = {
        seed: {removed: found[seed] for removed, found in cells.items() if seed in found}
        for seed in seeds
    }

    def over_seeds(measure: Callable[[Accuracies], float]) -> Estimate | None:
        """None where the measure needs a network that was not run with all the seeds."""
        try:
            return estimate({seed: measure(found) for seed, found in accuracies.items()})
        except KeyError:
            return None

    def gain(name: str, removed: Sequence[str]) -> Estimate | None:
        return over_seeds(partial(_gain, name=name, removed=frozenset(removed)))

    left_out = {name: gain(name, [name]) for name in names}
    alone = {name: gain(name, names) for name in names}
    p_values = _test_differences(alone, left_out)
    contributions = [
        Contribution(
            name,
            left_out[name],
            alone[name],
            main_effect=over_seeds(partial(_main_effect, names=names, name=name)),
            shapley=over_seeds(partial(_shapley_value, names=names, name=name)),
            alone_minus_left_out_p=p_values.get(name),
        )
        for name in names
    ]
    ladder = [
        Step(adds, accuracy_pct, gain(adds, names[number - 1 :]) if adds else None)
        for number, adds in enumerate((None, *names))
        if (accuracy_pct := over_seeds(itemgetter(frozenset(names[number:]))))
    ]
    return Attribution(
        names=list(names),
        seeds=list(seeds),
        full_minus_bare=estimate(
            {
                seed: found[frozenset()] - found[frozenset(names)]
                for seed, found in accuracies.items()
            }
        ),
        contributions=contributions,
        interactions=[
            Interaction(pair, effect)
            for pair in combinations(names, 2)
            if (effect := over_seeds(partial(_interaction, names=names, pair=pair)))
        ],
        ladder=ladder if len(ladder) > len(names) else [],
        is_factorial=all(one.shapley for one in contributions),
    )


def _test_differences(
    alone: Mapping[str, Estimate | None], left_out: Mapping[str, Estimate | None]
) -> dict[str, float]:
    """Test of each ingredient whether it contributes differently alone than left out."""
    tests = {}
    for name, one in alone.items():
        other = left_out[name]
        gap = paired_difference(one.by_seed, other.by_seed) if one and other else None
        if gap and gap.t_test_p is not None:
            tests[name] = gap.t_test_p
    return holm(tests)


def _gain(accuracy: Accuracies, name: str, removed: Removed) -> float:
    """What adding an ingredient gains for the network without all these."""
    return accuracy[removed - {name}] - accuracy[removed]


def _main_effect(accuracy: Accuracies, names: Sequence[str], name: str) -> float:
    """The mean gain over all combinations of the others."""
    return fmean(_gain(accuracy, name, removed) for removed in _all_without(names, name))


def _shapley_value(accuracy: Accuracies, names: Sequence[str], name: str) -> float:
    """The mean gain over all orders of adding them: a combination's weight is its share of orders."""
    total = 0.0
    for removed in _all_without(names, name):
        num_present, num_missing = len(names) - len(removed), len(removed) - 1
        weight = factorial(num_present) * factorial(num_missing) / factorial(len(names))
        total += weight * _gain(accuracy, name, removed)
    return total


def _interaction(accuracy: Accuracies, names: Sequence[str], pair: tuple[str, str]) -> float:
    """Half the increase of one ingredient's gain when the other is present."""
    one, other = pair
    rest = [name for name in names if name not in pair]
    increases = (
        _gain(accuracy, one, removed | {one}) - _gain(accuracy, one, removed | {one, other})
        for removed in subsets(rest)
    )
    return fmean(increases) / 2


def contribution_with_and_without(
    attribution: Attribution, interaction: Interaction
) -> tuple[float, float]:
    """The mean contribution of an interaction's first ingredient with the second, and without it.

    Half their sum is the main effect, half their difference the interaction.
    """
    main_effects = {one.name: one.main_effect for one in attribution.contributions}
    main = main_effects[interaction.names[0]]
    assert main
    return main.mean + interaction.effect.mean, main.mean - interaction.effect.mean


def _all_without(names: Sequence[str], name: str) -> list[Removed]:
    """Every set of removed ingredients that contains one."""
    return [removed | {name} for removed in subsets([one for one in names if one != name])]
