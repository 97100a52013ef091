"""The sources of a study's ablations and of the methods that it uses."""

from importlib import resources

from ablations.analysis.summary import Results
from ablations.version import VERSION
from reports.exports.download import file_name
from reports.exports.tables import latex_text

METHODS = {
    "dunnett1955": "Dunnett, Journal of the American Statistical Association 50, 1955: intervals that hold together.",
    "smyth2004": "Smyth, Statistical Applications in Genetics and Molecular Biology 3(1), 2004: unequal spreads.",
    "jennison1989": "Jennison and Turnbull, Journal of the Royal Statistical Society B 51, 1989: planned looks.",
    "shapley1953": "Shapley, A Value for n-Person Games, 1953: Shapley values.",
}
"""Methods of the analysis by their keys in `methods.bib`."""


def _methods(results: Results) -> list[str]:
    """The keys of the methods that this study uses."""
    model = results.model
    is_used = {
        "dunnett1955": model is not None,
        "smyth2004": model is not None,
        "jennison1989": model is not None and model.num_looks > 1,
        "shapley1953": any(found.is_factorial for found in results.attributions),
    }
    return [key for key in METHODS if is_used[key]]


def references(results: Results) -> list[str]:
    """The sources of the ablations, and of the parts of the analysis that this study uses."""
    sources = dict.fromkeys(row.ablation.source for row in results.rows)
    return [*sources, *(METHODS[key] for key in _methods(results))]


def bibtex(results: Results) -> str:
    """An entry for the study, in the year of its last run, and one for each method that it uses."""
    spec, records = results.study.spec, results.study.records
    year = max((run.finished_at for run in records), default="")[:4]
    title = latex_text(f"Ablation study of a small convolutional network on {spec.dataset_title}")
    commits = ", ".join(sorted({run.environment.commit for run in records}))
    study = (
        f"@misc{{{file_name(results.study.name, f'ablations-{year}')},\n"
        "  author       = {{The mnist-ablations authors}},\n"
        f"  title        = {{{{{title}}}}},\n"
        f"  year         = {{{year}}},\n"
        f"  howpublished = {{Computed with mnist-ablations {VERSION}}},\n"
        f"  note         = {{{len(records)} runs, {spec.recipe} recipe, commit {latex_text(commits)}}}\n"
        "}\n"
    )
    entries = (
        resources.files(__package__)
        .joinpath("methods.bib")
        .read_text(encoding="utf-8")
        .split("\n\n")
    )
    used = [
        one.strip() + "\n"
        for one in entries
        if any(f"{{{key}," in one for key in _methods(results))
    ]
    return "\n".join([study, *used])
