"""Study designs: which combinations of a set of ablations a study compares.

Leaving one ingredient out of the whole network and adding one to the bare network can give
different answers: two ingredients may replace or need each other. A factorial design has every
combination and measures such interactions (Montgomery, Design and Analysis of Experiments, chapter
6).
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
    - ladder: from the whole network to the bare one, the last of the catalogue removed first
    - factorial: every combination

    Raises:
        ValueError: the entries cannot be combined, or the design needs more or fewer.
    """
    removed = [frozenset(names_of(entry)) for entry in entries]
    names = [entry.name for entry in CATALOGUE if any(entry.name in one for one in removed)]
    if design == "leave-one-out":
        removed.sort(key=lambda one: (len(one), sorted(map(names.index, one))))
    elif len(names) < 2:
        raise ValueError(f"--design {design} needs at least two ablations; named: {len(names)}")
    elif design == "factorial" and len(names) > MAX_FACTORS:
        raise ValueError(
            f"--design factorial of {len(names)} ablations would be {2 ** len(names):,} networks; "
            f"name at most {MAX_FACTORS}"
        )
    else:
        removed = removed_sets(design, names)
    return [combine_entries(one) for one in dict.fromkeys([frozenset[str](), *removed])]


def removed_sets(design: Design, names: Sequence[str]) -> list[frozenset[str]]:
    """What each network of a design of combinations lacks: the full one nothing, the bare one all."""
    if design == "ladder":
        return [frozenset(names[start:]) for start in range(len(names) + 1)]
    if design == "add-one-in":
        one_in = combinations(names, len(names) - 1)
        return [frozenset(), frozenset(names), *map(frozenset, one_in)]
    return subsets(names)


def subsets(names: Sequence[str]) -> list[frozenset[str]]:
    """All subsets, the empty one first."""
    sizes = range(len(names) + 1)
    return [frozenset(chosen) for size in sizes for chosen in combinations(names, size)]


def names_of(entry: Ablation) -> tuple[str, ...]:
    """The catalogue's entries that an ablation combines; none for the target."""
    if entry.kind == "target":
        return ()
    return entry.parts or (entry.name,)
