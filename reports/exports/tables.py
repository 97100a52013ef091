"""Results as tables for papers and pages: LaTeX and Markdown."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ablations.analysis.summary import AblationResult, Results
from reports.text.templates import render_sentences
from reports.text.wording import MINUS, decimal, interval, signed, verdict_cell


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
        return texts if is_combined else texts | {"Verdict": verdict_cell(row, spec.margin_pct)}

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
