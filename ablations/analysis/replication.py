"""Whether a study's verdicts replicate in another study, on other data or by another recipe.

Pure functions of results. Each study has its own verdicts by its own margin. Only verdicts are
compared: differences on two data sets have no common scale.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from ablations.analysis.summary import AblationResult, Results
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE

Agreement = Literal[
    "replicated", "same direction", "reversed", "different", "inconclusive", "missing"
]


class ReplicationRow(msgspec.Struct, frozen=True):
    """One ablation in every study."""

    ablation: Ablation
    rows: list[AblationResult | None]
    """In the order of the studies; None where it was not run."""
    agreement: Agreement
    """`replicated`: the same verdict in every study, with a decided size. `same direction`: hurts, or
    helps, in every study, with other or uncertain sizes. `reversed`: hurts in one study and helps in
    another. `inconclusive`: too few seeds or an uncertain size in some study. `different`: decided in
    every study, with other verdicts. `missing`: not run in some study."""


def replication_rows(studies: Sequence[Results]) -> list[ReplicationRow]:
    """Every ablation that at least two of the studies compare, in the order of the catalogue."""
    by_name = [
        {row.ablation.name: row for row in study.rows if row.difference_pct} for study in studies
    ]
    found = []
    for ablation in CATALOGUE:
        rows = [study.get(ablation.name) for study in by_name]
        if sum(row is not None for row in rows) > 1:
            found.append(ReplicationRow(ablation, rows, agreement(rows)))
    return found


def agreement(rows: Sequence[AblationResult | None]) -> Agreement:
    """How the verdicts on one ablation compare."""
    verdicts = [row.verdict for row in rows if row and row.verdict]
    directions = {verdict.direction for verdict in verdicts}
    sizes = {verdict.size for verdict in verdicts}
    if {"hurts", "helps"} <= directions:
        return "reversed"
    if not all(rows):
        return "missing"
    if len(verdicts) < len(rows):
        return "inconclusive"
    if len(directions) == 1 and len(sizes) == 1 and "uncertain" not in sizes:
        return "replicated"
    if len(directions) == 1 and "no clear effect" not in directions:
        return "same direction"
    return "inconclusive" if "uncertain" in sizes else "different"
