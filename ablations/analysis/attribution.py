"""What removing several ingredients does, and how it divides among them: pure functions.

A cell of a design is the set of removed ingredients, with the accuracy of each seed. All effects are
of removing, in percentage points: negative where removing lowers the accuracy. Every measure is a
contrast of cell means over all seeds that each cell has, with the standard deviation pooled over the
design's cells (Montgomery, Design and Analysis of Experiments, section 3.5; `analysis.intervals`).

- removed first: from the full network, as a single ablation
- removed last: when all others are already removed
- main effect: mean over all combinations of the others (Montgomery, section 6.3)
- Shapley value: mean over all orders of removing (Shapley 1953, A value for n-person games). The
  values add up to bare minus full network.
- interaction of two: the effect of removing both, minus the sum of removing each, averaged over all
  combinations of the others (Grabisch and Roubens 1999, International Journal of Game Theory 28,
  Banzhaf interaction index; twice Montgomery's). Negative: each partly replaces the other.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from math import factorial

import msgspec

from ablations.analysis.intervals import Effect, contrast
from ablations.analysis.spread import pool_variance
from ablations.catalogue.designs import Design, removed_sets, subsets

Removed = frozenset[str]
"""Names of the ablations that remove ingredients; the empty set is the full network."""
Cells = Mapping[Removed, Mapping[int, float]]
"""Accuracy by seed of each network."""
Coefficients = Mapping[Removed, float]
"""Of the mean of each network, in a contrast."""


class RemovalEffects(msgspec.Struct, frozen=True):
    """Of removing one ingredient; None for measures whose networks were not run."""

    name: str
    """Of the ablation."""
    removed_first: Effect | None
    removed_last: Effect | None
    main_effect: Effect | None
    shapley_value: Effect | None


class Interaction(msgspec.Struct, frozen=True):
    """Of two ingredients."""

    names: tuple[str, str]
    effect: Effect


class Step(msgspec.Struct, frozen=True):
    """One step of the ladder: an ingredient is removed after those before it."""

    name: str
    """Of the ablation."""
    effect: Effect


class Attribution(msgspec.Struct, frozen=True):
    """What removing the ingredients of one set does."""

    names: list[str]
    """Of the ablations, in the order of the catalogue."""
    num_seeds: tuple[int, ...]
    """Of each network of the design."""
    all_removed: Effect
    """Bare minus full network."""
    non_additivity: Effect | None
    """`all_removed` minus the sum of the effects of removing each alone; zero if they add up."""
    effects: list[RemovalEffects]
    interactions: list[Interaction]
    """Of every two; empty without all combinations."""
    ladder: list[Step]
    """From the full network to the bare one; empty where a step is missing."""
    is_factorial: bool


def attribute(
    cells: Cells,
    order: Sequence[str],
    floor: float = 0.0,
    num_failed: Mapping[Removed, int] = {},
    differences: Mapping[Removed, Effect | None] | None = None,
) -> list[Attribution]:
    """The effects of every set of ingredients whose networks were run, factorials first.

    A set is identified by its bare network. A factorial within a known one is listed only if it has
    more seeds and is the largest such set. `order` is that of the catalogue; `floor` the least standard
    deviation; `num_failed` counts failed runs. `differences` from the full network have the
    intervals of the study, so that one quantity never has two.
    """
    bare_sets = sorted(
        (removed for removed in cells if len(removed) > 1),
        key=lambda removed: (-len(removed), sorted(map(order.index, removed))),
    )
    found: list[Attribution] = []
    designs: tuple[Design, ...] = ("factorial", "add-one-in", "ladder")
    for design, bare in product(designs, bare_sets):
        names = sorted(bare, key=order.index)
        fewest = min(len(cells.get(removed, {})) for removed in removed_sets(design, names))
        within = [known for known in found if bare <= set(known.names)]
        is_known = any(design != "factorial" or fewest <= min(known.num_seeds) for known in within)
        if fewest and not is_known and len(within) < 2:
            found.append(
                _attribute_among(cells, names, design, floor, num_failed, differences or {})
            )
    return found


def _attribute_among(
    cells: Cells,
    names: Sequence[str],
    design: Design,
    floor: float,
    num_failed: Mapping[Removed, int],
    differences: Mapping[Removed, Effect | None],
) -> Attribution:
    """The effects of removing these ingredients, by every measure that was run."""
    groups = {
        removed: list(cells[removed].values()) for removed in subsets(names) if cells.get(removed)
    }
    failed = {removed: number for removed, number in num_failed.items() if removed in groups}
    pool = pool_variance(groups, floor, failed)

    def measure(coefficients: Coefficients) -> Effect | None:
        """None where the measure needs a network that was not run."""
        was_run = coefficients.keys() <= groups.keys()
        return contrast(coefficients, groups, pool) if was_run else None

    def remove(removed: Collection[str], before: Collection[str] = ()) -> Effect | None:
        """The effect of removing these from the network without those before."""
        known = None if before else differences.get(Removed(removed))
        return known or measure(_removal(removed, before))

    effects = [
        RemovalEffects(
            name,
            removed_first=remove([name]),
            removed_last=remove([name], set(names) - {name}),
            main_effect=measure(_main_effect(names, name)),
            shapley_value=measure(_shapley_value(names, name)),
        )
        for name in names
    ]
    ladder = [
        Step(name, effect)
        for number, name in reversed([*enumerate(names, 1)])
        if (effect := remove([name], names[number:]))
    ]
    all_removed = remove(names)
    assert all_removed, "every design has the full and the bare network"
    singly = [(-1.0, _removal([name])) for name in names]
    return Attribution(
        names=list(names),
        num_seeds=tuple(len(groups[removed]) for removed in removed_sets(design, names)),
        all_removed=all_removed,
        non_additivity=measure(_weighted([(1.0, _removal(names)), *singly])),
        effects=effects,
        interactions=[
            Interaction(pair, effect)
            for pair in combinations(names, 2)
            if (effect := measure(_interaction(names, pair)))
        ],
        ladder=ladder if len(ladder) == len(names) else [],
        is_factorial=all(one.shapley_value for one in effects),
    )


def _removal(removed: Collection[str], before: Collection[str] = ()) -> Coefficients:
    """Removing some ingredients from the network without those before."""
    return {Removed(before) | Removed(removed): 1.0, Removed(before): -1.0}


def _weighted(terms: Sequence[tuple[float, Coefficients]]) -> Coefficients:
    """The weighted sum of contrasts."""
    total: Counter[Removed] = Counter()
    for weight, coefficients in terms:
        for removed, coefficient in coefficients.items():
            total[removed] += weight * coefficient  # type: ignore[assignment]
    return total


def _main_effect(names: Sequence[str], name: str) -> Coefficients:
    """The mean effect over all combinations of the others."""
    rests = _subsets_without(names, name)
    return _weighted([(1 / len(rests), _removal([name], rest)) for rest in rests])


def _shapley_value(names: Sequence[str], name: str) -> Coefficients:
    """The mean effect over all orders of removing: a combination's weight is its share of orders."""
    terms = []
    for before in _subsets_without(names, name):
        num_after = len(names) - len(before) - 1
        weight = factorial(len(before)) * factorial(num_after) / factorial(len(names))
        terms.append((weight, _removal([name], before)))
    return _weighted(terms)


def _interaction(names: Sequence[str], pair: tuple[str, str]) -> Coefficients:
    """The mean change of one ingredient's effect when the other is removed before it."""
    one, other = pair
    rests = _subsets_without(names, *pair)
    share = 1 / len(rests)
    return _weighted(
        [(share, _removal([one], rest | {other})) for rest in rests]
        + [(-share, _removal([one], rest)) for rest in rests]
    )


def _subsets_without(names: Sequence[str], *left_out: str) -> list[Removed]:
    """Every combination of the others."""
    return subsets([name for name in names if name not in left_out])
