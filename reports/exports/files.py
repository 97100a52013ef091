"""The files that a page offers."""

from ablations.analysis.summary import Results
from reports.exports.data import epochs_csv, summary_csv
from reports.exports.download import Download, file_name, make_download
from reports.exports.references import bibtex
from reports.exports.tables import latex_tables, markdown_tables


def downloads(results: Results) -> list[Download]:
    """The files that a page offers; none without a run."""
    if not (results.rows or results.combinations):
        return []
    csv_type = "text/csv;charset=utf-8"
    files = (
        ("summary.csv", "Summary of every network (CSV)", csv_type, summary_csv),
        ("epochs.csv", "Every epoch of every run (CSV)", csv_type, epochs_csv),
        ("tables.tex", "Tables (LaTeX)", "application/x-tex", latex_tables),
        ("tables.md", "Tables (Markdown)", "text/markdown;charset=utf-8", markdown_tables),
        ("references.bib", "References (BibTeX)", "text/x-bibtex;charset=utf-8", bibtex),
    )
    return [
        make_download(
            file_name(results.study.name, name), label, media_type, write(results).encode()
        )
        for name, label, media_type, write in files
    ]
