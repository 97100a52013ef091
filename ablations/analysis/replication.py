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

Agreement = Literal["replicated", "reversed", "different", "inconclusive", "missing"]


class ReplicationRow(msgspec.Struct, frozen=True):
    """One ablation in every study."""

    ablation: Ablation
    rows: list[AblationResult | None]
    """In the order of the studies; None where it was not run."""
    agreement: Agreement
    """`replicated`: decided in every study, with the same verdict. `reversed`: significantly worse
    in one study and significantly better in another. `different`: decided in every study, with
    other verdicts. `inconclusive`: undecided in some study. `missing`: not run in some study."""


def replication_rows(studies: Sequence[Results]) -> list[ReplicationRow]:
    """Every ablation that at least one of the studies compares, in the order of the catalogue."""
    by_name = [{row.ablation.name: row for row in study.rows if row.verdict} for study in studies]
    found = []
    for ablation in CATALOGUE:
        rows = [study.get(ablation.name) for study in by_name]
        if any(rows):
            found.append(ReplicationRow(ablation, rows, agreement(rows)))
    return found


def agreement(rows: Sequence[AblationResult | None]) -> Agreement:
    """How the verdicts on one ablation compare."""
    verdicts = [row.verdict for row in rows if row and row.verdict]
    if {"hurts", "helps"} <= {verdict.effect for verdict in verdicts}:
        return "reversed"
    if len(verdicts) < len(rows):
        return "missing"
    if any(verdict.kind in ("undecided", "one seed") for verdict in verdicts):
        return "inconclusive"
    same = len({(verdict.kind, verdict.effect) for verdict in verdicts}) == 1
    return "replicated" if same else "different"
