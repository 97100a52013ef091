"""Study designs: of all the networks that a set of removals makes possible, the ones to compare.

Leaving one ingredient out of the whole network, and adding one to the bare network, can give
different answers: two ingredients may do the same work, so that neither is missed alone, or need
each other. A factorial design has every combination, and so can tell (Montgomery, Design and
Analysis of Experiments, chapter 6). Each seed is a block: under one seed all networks see the same
images, and start from the same weights where they share layers.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, combine_entries

Design = Literal["leave-one-out", "add-one-in", "ladder", "factorial"]
DESIGNS: tuple[Design, ...] = get_args(Design)
MOST_FACTORS = 8
"""Of a factorial: 256 networks."""
CORE = tuple(ablation for ablation in CATALOGUE if ablation.is_core)
"""The concepts of the assignment, in the order of the catalogue."""


def design_ablations(design: Design, entries: Sequence[Ablation]) -> list[Ablation]:
    """The target and the ablations that a design compares, the target first.

    - leave-one-out: the whole network, and without each entry's ingredient
    - add-one-in: the bare network, without all of them, and with each one alone
    - ladder: from the bare network to the whole one, adding in the order of the catalogue
    - factorial: every combination

    Raises:
        ValueError: the entries cannot be combined, or are too few or too many for the design.
    """
    subsets = [names_of(entry) for entry in entries]
    factors = [entry.name for entry in CATALOGUE if any(entry.name in names for names in subsets)]
    count = len(factors)
    removed: list[tuple[str, ...]]
    if design == "leave-one-out":
        removed = sorted(subsets, key=lambda names: (len(names), *map(factors.index, names)))
    elif design == "factorial" and count > MOST_FACTORS:
        raise ValueError(
            f"--design factorial of {count} ablations would be {2**count:,} networks; name at most "
            f"{MOST_FACTORS}"
        )
    elif count < 2:
        raise ValueError(f"--design {design} needs at least two ablations; named: {count}")
    elif design == "add-one-in":
        removed = [tuple(factors), *combinations(factors, count - 1)]
    elif design == "ladder":
        removed = [tuple(factors[start:]) for start in range(count)]
    else:
        removed = [subset for size in range(count + 1) for subset in combinations(factors, size)]
    return [combine_entries(names) for names in dict.fromkeys([(), *removed])]


def names_of(entry: Ablation) -> tuple[str, ...]:
    """The catalogue's entries that an ablation removes, none for the target."""
    if entry.kind == "target":
        return ()
    return entry.parts or (entry.name,)
