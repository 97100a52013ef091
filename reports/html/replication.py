"""Several studies side by side, as one HTML file: do the verdicts of one replicate in the others?"""

from collections.abc import Sequence

from ablations.analysis.replication import replication_rows
from ablations.analysis.summary import Results
from reports.figures.differences import replication_figure
from reports.html.page import render_template
from reports.text.answer import notices
from reports.text.replication import AGREEMENT_WORDS, replication_lead, study_labels


def render_replication(studies: Sequence[Results]) -> str:
    """The whole HTML document. The same results give the same bytes."""
    rows = replication_rows(studies)
    labels = study_labels([results.study for results in studies])
    return render_template(
        "replication.html",
        studies=studies,
        notices=[notices(one.study.spec, one.study.records) for one in studies],
        labels=labels,
        rows=rows,
        lead=replication_lead(rows),
        figure=replication_figure(rows, studies, labels) if rows else None,
        agreement_words=AGREEMENT_WORDS,
    )
