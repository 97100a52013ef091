"""Several studies side by side, in words: do the verdicts of one replicate in the others?"""

from collections.abc import Sequence

from ablations.analysis.replication import Agreement, ReplicationRow
from ablations.records.study import Study
from reports.text.templates import render_sentences

AGREEMENT_WORDS: dict[Agreement, str] = {
    "replicated": "same verdict in every study",
    "same direction": "same direction in every study, with other or uncertain sizes",
    "reversed": "hurts in one study and helps in another",
    "different": "different verdicts",
    "inconclusive": "inconclusive in at least one study",
    "missing": "not run in every study",
}


def study_labels(studies: Sequence[Study]) -> list[str]:
    """Each study's data set, with the study's name and number where data sets are not unique."""
    titles = [study.spec.dataset_title for study in studies]
    if len(set(titles)) == len(titles):
        return titles
    return [
        f"{title}, {study.name} ({number})"
        for number, (title, study) in enumerate(zip(titles, studies, strict=True), start=1)
    ]


def replication_lead(rows: Sequence[ReplicationRow]) -> str:
    """How many verdicts replicate, with the names of those that every study decides."""
    names: dict[Agreement, list[str]] = {}
    for row in rows:
        names.setdefault(row.agreement, []).append(row.ablation.name)
    return render_sentences(
        "replication.jinja", names=names, agreement_words=AGREEMENT_WORDS, num_ablations=len(rows)
    )
