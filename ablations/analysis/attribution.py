"""What each ingredient is worth when they are taken together. Pure functions of accuracies.

A cell of a design is the set of what was removed from the network, and the accuracies of the runs
without it, by seed. Worths are the other way round than an ablation's difference: what *having*
the ingredient adds, in percentage points.

- left out:  the whole network minus the one without the ingredient
- alone:     the bare network with the ingredient minus the bare network
- main effect: the mean of that difference over all combinations of the others (Montgomery,
  Design and Analysis of Experiments, section 6.3)
- Shapley value: the mean over all orders in which the ingredients could be added one after another
  (Shapley 1953). They share the whole network's lead over the bare one out completely.
- interaction of two: half of what one is worth more with the other than without it, on average
  over the rest (Montgomery, the same section). Negative: they do the same work.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from math import factorial
from operator import itemgetter
from statistics import fmean

import msgspec

from ablations.analysis.statistics import Estimate, estimate, holm, paired_difference

Removed = frozenset[str]
Cells = Mapping[Removed, Mapping[int, float]]
"""Accuracy by seed for each set of removed ingredients; the empty set is the whole network."""


Accuracies = Mapping[Removed, float]
"""The same for one seed."""


class Worth(msgspec.Struct, frozen=True):
    """One ingredient's worth, by every measure that the study's runs allow."""

    name: str
    """Of the ablation that removes it."""
    left_out: Estimate | None
    alone: Estimate | None
    main_effect: Estimate | None
    shapley: Estimate | None
    alone_minus_left_out_p: float | None = None
    """Paired t-test of whether it is worth something else alone than beside the others, Holm's over
    the ingredients; None where one of the two is not known, or their difference has no spread."""


class Interaction(msgspec.Struct, frozen=True):
    """Of two ingredients."""

    names: tuple[str, str]
    effect: Estimate


class Step(msgspec.Struct, frozen=True):
    """One rung of the ladder: an ingredient is added to those before it."""

    adds: str | None
    """Of the ablation that removes it; None: the bare network."""
    accuracy_pct: Estimate
    gain: Estimate | None
    """Over the rung before."""


class Attribution(msgspec.Struct, frozen=True):
    """What the ingredients of a set are worth together."""

    names: list[str]
    """Of the ablations that remove them, in the order of the catalogue."""
    seeds: list[int]
    """Those that every network which is compared was trained with."""
    full_minus_bare: Estimate
    worths: list[Worth]
    interactions: list[Interaction]
    """Of every two; empty without all combinations."""
    ladder: list[Step]
    """From the bare network to the whole one; empty where a rung is missing."""
    is_factorial: bool


def attribute(cells: Cells, order: Sequence[str]) -> list[Attribution]:
    """The worth of the ingredients whose combinations have been run, factorials first.

    A set of ingredients is known by its bare network, with all of them removed; it must share
    seeds with the whole network and with the rest of one design. Sets within one that is told of
    already are left out; but of those with more seeds the largest is told, too. `order` is that of
    the catalogue.
    """
    bare_sets = sorted(
        (removed for removed in cells if len(removed) > 1),
        key=lambda removed: (-len(removed), sorted(map(order.index, removed))),
    )
    found: list[Attribution] = []
    for cells_of_design in (factorial_cells, one_in_cells, ladder_cells):
        for bare in bare_sets:
            names = sorted(bare, key=order.index)
            seeds = common_seeds(cells, cells_of_design(names))
            within = [known for known in found if bare <= set(known.names)]
            is_told = any(
                bare == set(known.names) or set(seeds) <= set(known.seeds) for known in within
            )
            if seeds and not is_told and len(within) < 2:
                found.append(attribute_among(cells, names, seeds))
    return found


def attribute_among(cells: Cells, names: Sequence[str], seeds: Sequence[int]) -> Attribution:
    """The worth of these ingredients over these seeds, by every measure that the cells allow."""
    full, bare = frozenset[str](), frozenset(names)
    accuracies = {
        seed: {removed: found[seed] for removed, found in cells.items() if seed in found}
        for seed in seeds
    }

    def over_seeds(measure: Callable[[Accuracies], float]) -> Estimate:
        return estimate({seed: measure(found) for seed, found in accuracies.items()})

    def has(needed: Sequence[Removed]) -> bool:
        return set(seeds) <= set(common_seeds(cells, needed))

    def worth(name: str) -> Worth:
        without = frozenset({name})
        return Worth(
            name,
            left_out=over_seeds(partial(gain, name=name, removed=without))
            if has([full, without])
            else None,
            alone=over_seeds(partial(gain, name=name, removed=bare))
            if has([bare, bare - without])
            else None,
            main_effect=over_seeds(partial(main_effect, names=names, name=name))
            if is_factorial
            else None,
            shapley=over_seeds(partial(shapley_value, names=names, name=name))
            if is_factorial
            else None,
        )

    is_factorial = has(factorial_cells(names))
    pairs = combinations(names, 2) if is_factorial else ()
    return Attribution(
        names=list(names),
        seeds=list(seeds),
        full_minus_bare=over_seeds(lambda accuracy: accuracy[full] - accuracy[bare]),
        worths=compare_worths([worth(name) for name in names]),
        interactions=[
            Interaction(pair, over_seeds(partial(interaction, names=names, pair=pair)))
            for pair in pairs
        ],
        ladder=climb(names, over_seeds) if has(ladder_cells(names)) else [],
        is_factorial=is_factorial,
    )


def compare_worths(worths: Sequence[Worth]) -> list[Worth]:
    """Test of each ingredient whether it is worth something else alone than beside the others."""
    tests = {}
    for worth in worths:
        if worth.alone and worth.left_out:
            gap = paired_difference(worth.alone.by_seed, worth.left_out.by_seed)
            if gap and gap.t_test_p is not None:
                tests[worth.name] = gap.t_test_p
    p_values = holm(tests)
    return [
        msgspec.structs.replace(worth, alone_minus_left_out_p=p_values.get(worth.name))
        for worth in worths
    ]


def gain(accuracy: Accuracies, name: str, removed: Removed) -> float:
    """What putting an ingredient back adds to the network that all these were removed from."""
    return accuracy[removed - {name}] - accuracy[removed]


def main_effect(accuracy: Accuracies, names: Sequence[str], name: str) -> float:
    """The mean of an ingredient's gain over all combinations of the others."""
    return fmean(gain(accuracy, name, removed) for removed in all_without(names, name))


def shapley_value(accuracy: Accuracies, names: Sequence[str], name: str) -> float:
    """The mean of an ingredient's gain over all orders of adding them."""
    return sum(
        shapley_weight(len(removed) - 1, len(names)) * gain(accuracy, name, removed)
        for removed in all_without(names, name)
    )


def shapley_weight(num_others_missing: int, num_names: int) -> float:
    """In which share of all orders an ingredient is added when so many others are still missing."""
    num_there = num_names - 1 - num_others_missing
    return factorial(num_there) * factorial(num_others_missing) / factorial(num_names)


def interaction(accuracy: Accuracies, names: Sequence[str], pair: tuple[str, str]) -> float:
    """Half of what one ingredient gains more where the other is than where it is not."""
    one, other = pair
    rest = [name for name in names if name not in pair]
    return (
        fmean(
            gain(accuracy, one, frozenset({one, *removed}))
            - gain(accuracy, one, frozenset({one, other, *removed}))
            for removed in subsets(rest)
        )
        / 2
    )


def worth_beside_and_without(found: Attribution, one: Interaction) -> tuple[float, float]:
    """The mean worth of an interaction's first ingredient where the second is there, and where it is
    not: its main effect is half of their sum, and the interaction half of their difference."""
    worth = next(worth for worth in found.worths if worth.name == one.names[0])
    assert worth.main_effect is not None, "interactions come with main effects"
    main = worth.main_effect.mean
    return main + one.effect.mean, main - one.effect.mean


def climb(
    names: Sequence[str], over_seeds: Callable[[Callable[[Accuracies], float]], Estimate]
) -> list[Step]:
    """The ladder, rung by rung."""
    bare = frozenset(names)
    steps = [Step(None, over_seeds(itemgetter(bare)), None)]
    for number, name in enumerate(names):
        before = frozenset(names[number:])
        steps.append(
            Step(
                name,
                over_seeds(itemgetter(before - {name})),
                over_seeds(partial(gain, name=name, removed=before)),
            )
        )
    return steps


def all_without(names: Sequence[str], name: str) -> list[Removed]:
    """Every set of removed ingredients that one is among."""
    others = [other for other in names if other != name]
    return [frozenset({name, *removed}) for removed in subsets(others)]


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets, the empty one first."""
    return [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]


def factorial_cells(names: Sequence[str]) -> list[Removed]:
    """Every combination."""
    return [frozenset(removed) for removed in subsets(names)]


def one_in_cells(names: Sequence[str]) -> list[Removed]:
    """The whole network, the bare one, and the bare one with each ingredient."""
    bare = frozenset(names)
    return [frozenset(), bare, *(bare - {name} for name in names)]


def ladder_cells(names: Sequence[str]) -> list[Removed]:
    """From the bare network to the whole one."""
    return [frozenset(names[number:]) for number in range(len(names) + 1)]


def common_seeds(cells: Cells, needed: Sequence[Removed]) -> list[int]:
    """The seeds of all these cells; none if one is missing."""
    found = [set(cells.get(removed, {})) for removed in needed]
    return sorted(set.intersection(*found))
