"""What each ingredient contributes when several are removed in combination: pure functions.

A cell of a design is the set of removed ingredients, with the accuracy of each seed. A contribution
is what *having* the ingredient adds, in percentage points: the opposite sign of an ablation's
difference. Every measure is a contrast of cell means over all seeds that each cell has, with the
standard deviation pooled over the design's cells (Montgomery, section 3.5; `analysis.intervals`).

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

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from math import factorial

import msgspec

from ablations.analysis.intervals import Effect, contrast, pool_variance
from ablations.catalogue.designs import Design, removed_sets, subsets

Removed = frozenset[str]
"""Names of the ablations that remove ingredients; the empty set is the full network."""
Cells = Mapping[Removed, Mapping[int, float]]
"""Accuracy by seed of each network."""
Coefficients = Mapping[Removed, float]
"""Of the mean of each network, in a contrast."""


class Contribution(msgspec.Struct, frozen=True):
    """What one ingredient adds; None for measures whose networks were not run."""

    name: str
    """Of the ablation that removes it."""
    left_out: Effect | None
    alone: Effect | None
    main_effect: Effect | None
    shapley: Effect | None


class Interaction(msgspec.Struct, frozen=True):
    """Of two ingredients."""

    names: tuple[str, str]
    effect: Effect


class Step(msgspec.Struct, frozen=True):
    """One step of the ladder: an ingredient is added to those before it."""

    adds: str | None
    """Of the ablation that removes it; None: the bare network."""
    accuracy_pct: Effect
    gain: Effect | None
    """Over the step before."""


class Attribution(msgspec.Struct, frozen=True):
    """What the ingredients of one set contribute."""

    names: list[str]
    """Of the ablations that remove them, in the order of the catalogue."""
    num_seeds: tuple[int, ...]
    """Of each network of the design."""
    full_minus_bare: Effect
    contributions: list[Contribution] = msgspec.field(name="worths")
    interactions: list[Interaction]
    """Of every two; empty without all combinations."""
    ladder: list[Step]
    """From the bare network to the full one; empty where a step is missing."""
    is_factorial: bool


def attribute(
    cells: Cells, order: Sequence[str], floor: float = 0.0, failed: Collection[Removed] = ()
) -> list[Attribution]:
    """The contributions of every set of ingredients whose networks were run, factorials first.

    A set is identified by its bare network. A factorial within a known one is listed only if it has
    more seeds and is the largest such set. `order` is that of the catalogue; `floor` the least standard
    deviation; `failed` are networks with a failed run.
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
            found.append(_attribute_among(cells, names, design, floor, failed))
    return found


def _attribute_among(
    cells: Cells,
    names: Sequence[str],
    design: Design,
    floor: float,
    failed: Collection[Removed],
) -> Attribution:
    """The contributions of these ingredients, by every measure that was run."""
    groups = {
        removed: list(cells[removed].values()) for removed in subsets(names) if cells.get(removed)
    }
    pool = pool_variance(groups, floor, failed)

    def measure(coefficients: Coefficients) -> Effect | None:
        """None where the measure needs a network that was not run."""
        return (
            contrast(coefficients, groups, pool) if coefficients.keys() <= groups.keys() else None
        )

    def gain(name: str, removed: Sequence[str]) -> Effect | None:
        return measure(_gain(name, frozenset(removed)))

    contributions = [
        Contribution(
            name,
            gain(name, [name]),
            gain(name, names),
            main_effect=measure(_main_effect(names, name)),
            shapley=measure(_shapley_value(names, name)),
        )
        for name in names
    ]
    ladder = [
        Step(adds, accuracy_pct, gain(adds, names[number - 1 :]) if adds else None)
        for number, adds in enumerate((None, *names))
        if (accuracy_pct := measure({frozenset(names[number:]): 1.0}))
    ]
    full_minus_bare = measure({frozenset(): 1.0, frozenset(names): -1.0})
    assert full_minus_bare, "every design has the full and the bare network"
    return Attribution(
        names=list(names),
        num_seeds=tuple(len(groups[removed]) for removed in removed_sets(design, names)),
        full_minus_bare=full_minus_bare,
        contributions=contributions,
        interactions=[
            Interaction(pair, effect)
            for pair in combinations(names, 2)
            if (effect := measure(_interaction(names, pair)))
        ],
        ladder=ladder if len(ladder) > len(names) else [],
        is_factorial=all(one.shapley for one in contributions),
    )


def _gain(name: str, removed: Removed) -> Coefficients:
    """What adding an ingredient gains for the network without all these."""
    return {removed - {name}: 1.0, removed: -1.0}


def _weighted(terms: Sequence[tuple[float, Coefficients]]) -> Coefficients:
    """The weighted sum of contrasts."""
    total: Counter[Removed] = Counter()
    for weight, coefficients in terms:
        for removed, coefficient in coefficients.items():
            total[removed] += weight * coefficient  # type: ignore[assignment]
    return total


def _main_effect(names: Sequence[str], name: str) -> Coefficients:
    """The mean gain over all combinations of the others."""
    every = _all_without(names, name)
    return _weighted([(1 / len(every), _gain(name, removed)) for removed in every])


def _shapley_value(names: Sequence[str], name: str) -> Coefficients:
    """The mean gain over all orders of adding them: a combination's weight is its share of orders."""
    terms = []
    for removed in _all_without(names, name):
        num_present, num_missing = len(names) - len(removed), len(removed) - 1
        weight = factorial(num_present) * factorial(num_missing) / factorial(len(names))
        terms.append((weight, _gain(name, removed)))
    return _weighted(terms)


def _interaction(names: Sequence[str], pair: tuple[str, str]) -> Coefficients:
    """Half the increase of one ingredient's gain when the other is present."""
    one, other = pair
    rests = subsets([name for name in names if name not in pair])
    half = 0.5 / len(rests)
    return _weighted(
        [(half, _gain(one, rest | {one})) for rest in rests]
        + [(-half, _gain(one, rest | {one, other})) for rest in rests]
    )


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
