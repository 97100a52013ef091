"""Several studies side by side, in words: do the verdicts of one replicate in the others?"""

from collections.abc import Sequence

from ablations.analysis.replication import Agreement, ReplicationRow
from ablations.analysis.summary import Results
from ablations.records.study import Study
from ablations.words import plural
from reports.text.templates import render_sentences
from reports.text.wording import decimal

AGREEMENT_WORDS: dict[Agreement, str] = {
    "replicated": "same verdict",
    "same direction": "same direction",
    "reversed": "opposite directions",
    "different": "different verdicts",
    "inconclusive": "inconclusive",
    "missing": "not run everywhere",
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
        names.setdefault(row.agreement, []).append(row.ablation.removes)
    return render_sentences(
        "replication.jinja", names=names, agreement_words=AGREEMENT_WORDS, num_ablations=len(rows)
    )


def study_words(results: Results) -> str:
    """One line about a study: data, recipe, length, and the target's accuracy."""
    spec, target = results.study.spec, results.target
    num_images = spec.num_train_images or spec.dataset.num_train
    reached = "no run of the target"
    if target:
        reached = (
            f"target {decimal(target.accuracy_pct.mean)} % ({plural(len(target.runs), 'seed')})"
        )
    return (
        f"{results.study.name}: {spec.dataset_title}, {spec.recipe} recipe, {plural(spec.num_epochs, 'epoch')} "
        f"of {num_images:,} images, margin {decimal(spec.margin_pct)} points; {reached}."
    )
