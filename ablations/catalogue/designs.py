"""Study designs: which combinations of a set of ablations a study compares.

Leaving one ingredient out of the whole network and adding one to the bare network can give
different answers: two ingredients may replace or need each other. A factorial design has every
combination and measures such interactions (Montgomery, Design and Analysis of Experiments, chapter
6). Each seed is a block: with the same seed all networks see the same images, and shared layers
start from the same weights.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE, combine_entries

Design = Literal["leave-one-out", "add-one-in", "ladder", "factorial"]
DESIGNS: tuple[Design, ...] = get_args(Design)
MAX_FACTORS = 8
"""Of a factorial design: 256 networks."""
CORE = tuple(ablation for ablation in CATALOGUE if ablation.is_core)
"""The concepts of the assignment, in the order of the catalogue."""


def design_ablations(design: Design, entries: Sequence[Ablation]) -> list[Ablation]:
    """The target, then the ablations that a design compares.

    - leave-one-out: the whole network, and without each entry's ingredient
    - add-one-in: the bare network, without all of them, and with each one alone
    - ladder: from the bare network to the whole one, adding in the order of the catalogue
    - factorial: every combination

    Raises:
        ValueError: the entries cannot be combined, or the design needs more or fewer.
    """
    subsets = [names_of(entry) for entry in entries]
    factors = [entry.name for entry in CATALOGUE if any(entry.name in names for names in subsets)]
    count = len(factors)
    removed: list[tuple[str, ...]]
    if design == "leave-one-out":
        removed = sorted(subsets, key=lambda names: (len(names), *map(factors.index, names)))
    elif design == "factorial" and count > MAX_FACTORS:
        raise ValueError(
            f"--design factorial of {count} ablations would be {2**count:,} networks; name at most "
            f"{MAX_FACTORS}"
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
    """The catalogue's entries that an ablation combines; none for the target."""
    if entry.kind == "target":
        return ()
    return entry.parts or (entry.name,)
