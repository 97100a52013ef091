"""A study's results as files for other programs: CSV, JSON, LaTeX, Markdown and BibTeX.

Pure functions of the results: the same records give the same bytes.
"""

import csv
import gzip
import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from ablations.analysis.summary import AblationResult, Results
from ablations.records.run import RunRecord
from ablations.training.epoch import EpochRecord
from ablations.version import VERSION
from reports.text.templates import render_sentences
from reports.text.wording import MINUS, decimal, interval, signed, verdict_name

MOST_BYTES = 250_000
"""Of a file inside a page. A larger one is compressed."""
UNRESERVED = "!$'()*+,/:;=?@"
"""What stays as it is in a data URL, besides letters, digits and `-._~` (RFC 3986, section 3.3)."""


class Download(NamedTuple):
    """A file inside a page, for a link that works without a script."""

    name: str
    label: str
    url: str
    size: str


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


def file_name(study: str, name: str) -> str:
    """A file's name after the study's: small letters, digits and hyphens."""
    return "-".join(filter(None, [re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-"), name]))


def make_download(name: str, label: str, media_type: str, content: bytes) -> Download:
    """A file as a data URL (RFC 2397), in the shorter of its two encodings."""
    if len(content) > MOST_BYTES:
        name, media_type = f"{name}.gz", "application/gzip"
        content = gzip.compress(content, mtime=0)
    # Base64 adds a third; percent signs add two bytes to each line of a table of numbers.
    encodings = (f";base64,{b64encode(content).decode()}", f",{quote(content, safe=UNRESERVED)}")
    url = f"data:{media_type}{min(encodings, key=len)}"
    return Download(name, label, url, _size_words(len(content)))


def _size_words(num_bytes: int) -> str:
    """`8 kB`, `1.2 MB`."""
    kilobytes = max(1, round(num_bytes / 1000))
    return f"{kilobytes} kB" if kilobytes < 1000 else f"{num_bytes / 1e6:.1f} MB"


# ---- CSV and JSON


def _edges(row: AblationResult, field: str) -> tuple[float | None, float | None]:
    return getattr(row.difference_pct, field, None) or (None, None)


COMPARISON_COLUMNS: dict[str, Callable[[AblationResult], object]] = {
    "mean_difference_points": lambda row: getattr(row.difference_pct, "mean", None),
    "interval_95_low": lambda row: _edges(row, "interval_95")[0],
    "interval_95_high": lambda row: _edges(row, "interval_95")[1],
    "new_images_interval_95_low": lambda row: _edges(row, "new_images_interval_95")[0],
    "new_images_interval_95_high": lambda row: _edges(row, "new_images_interval_95")[1],
    "spread_used": lambda row: getattr(row.difference_pct, "spreads", (None,))[0],
    "target_seeds": lambda row: getattr(row.difference_pct, "num_seeds", (None, None))[1],
    "direction": lambda row: getattr(row.verdict, "direction", None),
    "size": lambda row: getattr(row.verdict, "size", None),
}
"""An ablation's difference from the target, its interval and its verdict; empty where there is none."""
SUMMARY_COLUMNS: dict[str, Callable[[AblationResult], object]] = {
    "removes": lambda row: row.ablation.removes,
    "ablation": lambda row: row.ablation.name,
    "parameters": lambda row: row.parameters,
    "multiply_adds": lambda row: row.multiply_adds,
    "seeds": lambda row: len(row.runs),
    "failed_runs": lambda row: len(row.failed),
    "accuracy_mean_pct": lambda row: row.accuracy_pct.mean,
    "accuracy_standard_deviation_points": lambda row: row.accuracy_pct.standard_deviation,
    **COMPARISON_COLUMNS,
    "median_epoch_seconds_alone": lambda row: getattr(row.epoch_time, "median_seconds", None),
}
RUN_COLUMNS: dict[str, Callable[[AblationResult, RunRecord], object]] = {
    "ablation": lambda row, _: row.ablation.name,
    "seed": lambda _, run: run.run_spec.seed,
    "status": lambda _, run: run.status,
    "test_accuracy_pct": lambda _, run: run.last_epoch.test_accuracy_pct,
    "difference_from_target_mean_points": lambda row, run: (
        row.difference_pct.by_seed[run.run_spec.seed] if row.difference_pct else None
    ),
    "test_loss": lambda _, run: run.last_epoch.test_loss,
    "best_epoch": lambda _, run: run.best_epoch.epoch,
    "best_epoch_test_accuracy_pct": lambda _, run: run.best_epoch.test_accuracy_pct,
    "train_loss": lambda _, run: run.last_epoch.train_loss,
    "train_accuracy_pct": lambda _, run: run.last_epoch.train_accuracy_pct,
    "parameters": lambda _, run: run.parameters,
    "multiply_adds": lambda _, run: run.multiply_adds,
    "median_epoch_seconds_alone": lambda row, _: getattr(row.epoch_time, "median_seconds", None),
    "num_epochs": lambda _, run: len(run.epochs),
    "dataset": lambda _, run: run.run_spec.dataset.name,
    "device": lambda _, run: run.environment.device_type,
}
EPOCH_COLUMNS = tuple(name for name in EpochRecord.__struct_fields__ if name != "test_correct")


def summary_csv(results: Results) -> str:
    """One line for each ablation and combination, in the order of the catalogue; no number is rounded."""
    margin_pct = results.study.spec.margin_pct
    return _csv(
        [*SUMMARY_COLUMNS, "verdict"],
        (
            [*(value(row) for value in SUMMARY_COLUMNS.values()), _verdict(row, margin_pct)]
            for row in _rows(results)
        ),
    )


def epochs_csv(results: Results) -> str:
    """One line for each epoch of each run, with six significant digits."""
    return _csv(
        ["ablation", "seed", *EPOCH_COLUMNS],
        (
            [row.ablation.name, run.run_spec.seed, *_six_digits(epoch)]
            for row in _rows(results)
            for run in row.runs
            for epoch in run.epochs
        ),
    )


def results_csv(results: Results) -> str:
    """One line for each run, in the order of the catalogue; no number is rounded."""
    return _csv(
        [*RUN_COLUMNS, *COMPARISON_COLUMNS],
        (
            [
                *(value(row, run) for value in RUN_COLUMNS.values()),
                *(value(row) for value in COMPARISON_COLUMNS.values()),
            ]
            for row in _rows(results)
            for run in row.runs
        ),
    )


def results_json(results: Results) -> bytes:
    """Every row of the results with its runs' epochs, and the requirement check."""
    content = {
        "study": results.study.spec,
        "model": results.model,
        "requirements": results.requirements,
        "ablations": results.rows,
        "combinations": results.combinations,
        "attributions": results.attributions,
        "timing": results.study.timing,
        "problems": results.study.problems,
    }
    return msgspec.json.encode(content) + b"\n"


def _rows(results: Results) -> list[AblationResult]:
    return [*results.rows, *results.combinations]


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def _six_digits(epoch: EpochRecord) -> list[str]:
    values = (getattr(epoch, name) for name in EPOCH_COLUMNS)
    return ["" if value is None else f"{value:.6g}" for value in values]


# ---- Tables for papers and pages


class Table(NamedTuple):
    """A table in texts that are not yet escaped. The first column is words, further ones are numbers."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    has_verdicts: bool
    """Whether the last column is words, too."""


def _tables(results: Results) -> list[Table]:
    """Of single ablations, and of combinations, which have no verdict; without those that are empty."""
    return [_table(results, rows) for rows in (results.rows, results.combinations) if rows]


def _table(results: Results, rows: Sequence[AblationResult]) -> Table:
    spec, is_combined = results.study.spec, bool(rows[0].ablation.parts)
    has_interval = any(row.difference_pct and row.difference_pct.interval_95 for row in rows)

    def cells(row: AblationResult) -> dict[str, str]:
        found, deviation = row.difference_pct, row.accuracy_pct.standard_deviation
        spread = "" if deviation is None else f" ± {decimal(deviation)}"
        failed = f", {len(row.failed)} failed" if row.failed else ""
        is_target = row.ablation.kind == "target"
        texts = {
            "Removed": "nothing (target)" if is_target else row.ablation.removes,
            "Parameters": f"{row.parameters:,}",
            "Seeds": f"{len(row.runs)}{failed}",
            "Accuracy (%)": f"{decimal(row.accuracy_pct.mean)}{spread}",
            "Effect": signed(found.mean) if found else "",
        }
        if has_interval:
            texts["95 % interval"] = (
                interval(found.interval_95) if found and found.interval_95 else ""
            )
        return texts if is_combined else texts | {"Verdict": _verdict(row, spec.margin_pct)}

    lines = [cells(row) for row in rows]
    num_seeds = [len(row.runs) for row in rows]
    caption = render_sentences(
        "table_caption.jinja",
        results=results,
        spec=spec,
        is_combined=is_combined,
        has_interval=has_interval,
        fewest=min(num_seeds),
        most=max(num_seeds),
    )
    rows_of_texts = [list(line.values()) for line in lines]
    return Table(caption, list(lines[0]), rows_of_texts, has_verdicts=not is_combined)


def _verdict(row: AblationResult, margin_pct: float) -> str:
    """Empty for the target and for combinations, which have no verdict."""
    is_judged = row.ablation.kind != "target" and not row.ablation.parts
    return verdict_name(row, margin_pct) if is_judged else ""


def markdown_tables(results: Results) -> str:
    """Tables as GitHub renders them, each below its caption."""
    return "\n".join(_markdown(table) for table in _tables(results))


def _markdown(table: Table) -> str:
    numbers = len(table.header) - 1 - table.has_verdicts
    rule = ["---", *["---:"] * numbers, *["---"] * table.has_verdicts]
    # A backslash before any of these characters shows the character (CommonMark, section 2.4).
    escaped = [
        [re.sub(r"([\\`*_<>\[\]|&~$])", r"\\\1", cell) for cell in line]
        for line in ([table.caption], table.header, *table.rows)
    ]
    [caption], header, *rows = escaped
    lines = "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))
    return f"{caption}\n\n{lines}"


LATEX_TEXTS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\textbraceleft{}",
        "}": r"\textbraceright{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        # At the beginning of a row it would be an argument of the line break before it.
        "[": "{[}",
        **{one: f"\\{one}" for one in "&%$#_"},
        MINUS: "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "–": "--",
        "’": "'",
        "“": "``",
        "”": "''",
    }
)
"""Braces are commands, since BibTeX counts them."""


def latex_text(text: str) -> str:
    """The text with everything escaped that LaTeX or BibTeX would read as a command."""
    return text.translate(LATEX_TEXTS).replace(r" \%", r"\,\%")


def latex_tables(results: Results) -> str:
    """Tables with booktabs' rules, to be read by `\\input`."""
    needed = "% Needs \\usepackage{array,booktabs} in the preamble.\n"
    return needed + "".join(_latex(table) for table in _tables(results))


def _latex(table: Table) -> str:
    words = ">{{\\raggedright\\arraybackslash}}p{{{}\\linewidth}}".format
    numbers = "r" * (len(table.header) - 1 - table.has_verdicts)
    columns = f"{words(0.2)}{numbers}{words(0.17)}" if table.has_verdicts else words(0.35) + numbers
    header, *rows = (
        f"{' & '.join(map(latex_text, line))} \\\\" for line in (table.header, *table.rows)
    )
    return "\n".join(
        (
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{latex_text(table.caption)}}}",
            f"\\label{{tab:{'ablations' if table.has_verdicts else 'combinations'}}}",
            "\\footnotesize\\setlength{\\tabcolsep}{3pt}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            "\\toprule",
            header,
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}\n",
        )
    )


# ---- References

DUNNETT = """\
@article{dunnett1955,
  author  = {Dunnett, Charles W.},
  title   = {A Multiple Comparison Procedure for Comparing Several Treatments with a Control},
  journal = {Journal of the American Statistical Association},
  volume  = {50},
  number  = {272},
  pages   = {1096--1121},
  year    = {1955},
  doi     = {10.1080/01621459.1955.10501294}
}
"""
SMYTH = """\
@article{smyth2004,
  author  = {Smyth, Gordon K.},
  title   = {Linear Models and Empirical {Bayes} Methods for Assessing Differential Expression in Microarray Experiments},
  journal = {Statistical Applications in Genetics and Molecular Biology},
  volume  = {3},
  number  = {1},
  pages   = {Article 3},
  year    = {2004},
  doi     = {10.2202/1544-6115.1027}
}
"""
JENNISON_AND_TURNBULL = """\
@article{jennison1989,
  author  = {Jennison, Christopher and Turnbull, Bruce W.},
  title   = {Interim Analyses: The Repeated Confidence Interval Approach},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume  = {51},
  number  = {3},
  pages   = {305--361},
  year    = {1989},
  note    = {With discussion}
}
"""
SHAPLEY = """\
@incollection{shapley1953,
  author    = {Shapley, Lloyd S.},
  title     = {A Value for $n$-Person Games},
  booktitle = {Contributions to the Theory of Games, Volume {II}},
  editor    = {Kuhn, Harold W. and Tucker, Albert W.},
  series    = {Annals of Mathematics Studies},
  number    = {28},
  pages     = {307--317},
  publisher = {Princeton University Press},
  address   = {Princeton, NJ},
  year      = {1953},
  doi       = {10.1515/9781400881970-018}
}
"""


def bibtex(results: Results) -> str:
    """An entry for the study, in the year of its last run, and one for each method that it uses."""
    spec, records, model = results.study.spec, results.study.records, results.model
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
    methods = (
        (model, DUNNETT),
        (model, SMYTH),
        (model and model.num_looks > 1, JENNISON_AND_TURNBULL),
        (any(found.is_factorial for found in results.attributions), SHAPLEY),
    )
    return "\n".join([study, *(entry for is_used, entry in methods if is_used)])
