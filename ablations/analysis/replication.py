"""Does what one study concludes hold in another, on other data or by another recipe?

Pure functions of results. Each study is judged by itself, by its own margin; what is compared is
what may be concluded, not the sizes of differences: accuracies on two data sets have no common
scale.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from ablations.analysis.summary import AblationResult, Results
from ablations.catalogue.ablation import Ablation
from ablations.catalogue.entries import CATALOGUE

Agreement = Literal["holds", "reversed", "differs", "open", "missing"]


class TransferRow(msgspec.Struct, frozen=True):
    """One ablation in every study."""

    ablation: Ablation
    rows: list[AblationResult | None]
    """In the order of the studies; None where it was not run."""
    agreement: Agreement
    """`holds`: decided everywhere, with the same verdict. `reversed`: it surely hurts in one study
    and surely helps in another. `differs`: decided everywhere, with other verdicts. `open`: some
    study does not tell. `missing`: some study does not have it."""


def transfer(studies: Sequence[Results]) -> list[TransferRow]:
    """Every ablation that at least one of the studies compares, in the order of the catalogue."""
    found = []
    for ablation in CATALOGUE:
        rows = [
            next((row for row in study.rows if row.ablation.name == ablation.name), None)
            for study in studies
        ]
        rows = [row if row and row.verdict else None for row in rows]
        if any(rows):
            found.append(TransferRow(ablation, rows, agreement(rows)))
    return found


def agreement(rows: Sequence[AblationResult | None]) -> Agreement:
    """Whether the verdicts on one ablation say the same."""
    verdicts = [row.verdict for row in rows if row and row.verdict]
    effects = {verdict.effect for verdict in verdicts}
    if {"hurts", "helps"} <= effects:
        return "reversed"
    if len(verdicts) < len(rows):
        return "missing"
    if any(verdict.kind in ("undecided", "one seed") for verdict in verdicts):
        return "open"
    same = len({(verdict.kind, verdict.effect) for verdict in verdicts}) == 1
    return "holds" if same else "differs"
