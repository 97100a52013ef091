"""README.md, and the Markdown summary of a study."""

from collections.abc import Sequence

from ablations.analysis.replication import replication_rows
from ablations.analysis.summary import Results
from reports.text.answer import notices, together_sentence
from reports.text.methods import left_out
from reports.text.replication import replication_lead, study_labels
from reports.text.templates import render_markdown


def render_readme(results: Results, others: Sequence[Results] = ()) -> str:
    """README.md with the numbers of the reference study, and what other studies replicate."""
    studies = [results, *others]
    attribution = next((found for found in results.attributions if min(found.num_seeds) > 1), None)
    return render_markdown(
        "README.jinja",
        results=results,
        environments=_environments(results),
        removing_all=together_sentence(attribution) if attribution else "",
        replication=replication_lead(replication_rows(studies)) if others else "",
        labels=study_labels([one.study for one in studies]),
    )


def render_summary(results: Results) -> str:
    """`report.md` of one study: notices first, then the table."""
    study = results.study
    notes = [
        *notices(study.spec, study.records),
        *(f"Left out: {problem}." for problem in left_out(study)),
    ]
    return render_markdown(
        "report.jinja", results=results, environments=_environments(results), notes=notes
    )


def _environments(results: Results) -> list[tuple[object, ...]]:
    """Device, threads of a run, version of PyTorch and arithmetic, of all that were used."""
    runs = [run.environment for row in results.rows for run in row.runs]
    return sorted(
        {(run.device_name, run.num_threads, run.torch_version, run.arithmetic) for run in runs}
    )
