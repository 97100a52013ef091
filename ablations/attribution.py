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
from itertools import combinations
from math import factorial
from statistics import fmean

import msgspec

from ablations.statistics import Estimate, estimate

Removed = frozenset[str]
Cells = Mapping[Removed, Mapping[int, float]]
"""Accuracy by seed for each set of removed ingredients; the empty set is the whole network."""


class Worth(msgspec.Struct, frozen=True):
    """One ingredient's worth, by every measure that the study's runs allow."""

    name: str
    """Of the ablation that removes it."""
    left_out: Estimate | None
    alone: Estimate | None
    main_effect: Estimate | None
    shapley: Estimate | None


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


def attribute(cells: Cells, order: Sequence[str]) -> Attribution | None:
    """The worth of the ingredients whose combinations have been run.

    The set of ingredients is the largest one whose bare network, with all of them removed, shares
    seeds with the whole network and one of the designs; where two are as large, the one that comes
    first in `order`, the catalogue's. None when there is none.
    """
    bare_sets = sorted(
        (removed for removed in cells if len(removed) > 1),
        key=lambda removed: (-len(removed), sorted(map(order.index, removed))),
    )
    for bare in bare_sets:
        names = sorted(bare, key=order.index)
        for needed in (factorial_cells(names), one_in_cells(names), ladder_cells(names)):
            seeds = common_seeds(cells, needed)
            if seeds:
                return attribute_among(cells, names, seeds)
    return None


def attribute_among(cells: Cells, names: Sequence[str], seeds: Sequence[int]) -> Attribution:
    """The worth of these ingredients over these seeds, by every measure that the cells allow."""
    full, bare = frozenset[str](), frozenset(names)

    def has(needed: Sequence[Removed]) -> bool:
        return set(seeds) <= set(common_seeds(cells, needed))

    def over_seeds(value: Callable[[Callable[[Removed], float]], float]) -> Estimate:
        def at(seed: int) -> float:
            return value(lambda removed: cells[removed][seed])

        return estimate({seed: at(seed) for seed in seeds})

    def worth(name: str) -> Worth:
        def gain(accuracy: Callable[[Removed], float], removed: Removed) -> float:
            return accuracy(removed - {name}) - accuracy(removed)

        others = [other for other in names if other != name]
        around = [frozenset({name, *gone}) for gone in subsets(others)]
        weights = [shapley_weight(len(removed) - 1, len(names)) for removed in around]
        left_out = alone = main_effect = shapley = None
        if has([full, frozenset({name})]):
            left_out = over_seeds(lambda accuracy: gain(accuracy, frozenset({name})))
        if has([bare, bare - {name}]):
            alone = over_seeds(lambda accuracy: gain(accuracy, bare))
        if is_factorial:
            main_effect = over_seeds(
                lambda accuracy: fmean(gain(accuracy, removed) for removed in around)
            )
            shapley = over_seeds(
                lambda accuracy: sum(
                    weight * gain(accuracy, removed)
                    for weight, removed in zip(weights, around, strict=True)
                )
            )
        return Worth(name, left_out, alone, main_effect, shapley)

    def interaction(one: str, other: str) -> Interaction:
        def effect(accuracy: Callable[[Removed], float]) -> float:
            rest = [name for name in names if name not in (one, other)]
            return fmean(
                (
                    accuracy(frozenset(gone))
                    - accuracy(frozenset({one, *gone}))
                    - accuracy(frozenset({other, *gone}))
                    + accuracy(frozenset({one, other, *gone}))
                )
                / 2
                for gone in subsets(rest)
            )

        return Interaction((one, other), over_seeds(effect))

    def rung(number: int) -> Step:
        removed = frozenset(names[number:])
        accuracy_pct = over_seeds(lambda accuracy: accuracy(removed))
        if number == 0:
            return Step(None, accuracy_pct, None)
        before = frozenset(names[number - 1 :])
        gain = over_seeds(lambda accuracy: accuracy(removed) - accuracy(before))
        return Step(names[number - 1], accuracy_pct, gain)

    is_factorial = has(factorial_cells(names))
    return Attribution(
        names=list(names),
        seeds=list(seeds),
        full_minus_bare=over_seeds(lambda accuracy: accuracy(full) - accuracy(bare)),
        worths=[worth(name) for name in names],
        interactions=[interaction(*pair) for pair in combinations(names, 2)]
        if is_factorial
        else [],
        ladder=[rung(number) for number in range(len(names) + 1)]
        if has(ladder_cells(names))
        else [],
        is_factorial=is_factorial,
    )


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets, the empty one first."""
    return [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]


def shapley_weight(num_removed_others: int, num_names: int) -> float:
    """In which share of all orders an ingredient comes right before so many others."""
    before = num_names - 1 - num_removed_others
    return factorial(before) * factorial(num_removed_others) / factorial(num_names)


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
