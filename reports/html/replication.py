"""Several studies side by side, as one HTML file."""

from collections.abc import Sequence

import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ablations.analysis.replication import Agreement, TransferRow, transfer
from ablations.analysis.summary import AblationResult, Results
from ablations.records.study import Study
from reports.figures.effects import scale_differences
from reports.figures.svg import COLOURS, figure_style, to_svg
from reports.html.page import render_template
from reports.text.wording import chance_notices, enumerate_words, mixed_notices, notices, signed

AGREEMENT_WORDS: dict[Agreement, str] = {
    "holds": "holds",
    "reversed": "reversed: it hurts in one and helps in another",
    "differs": "differs",
    "open": "open: not every study tells",
    "missing": "not in every study",
}
MARKS = (("o", "variant"), ("s", "published"), ("^", "ink"), ("D", "target"))
"""Of the studies in turn: marker and colour."""


def render_transfer(studies: Sequence[Results]) -> str:
    """The whole HTML document. The same results give the same bytes."""
    rows = transfer(studies)
    return render_template(
        "transfer.html",
        studies=studies,
        notices=[[*notices(study.study.spec), *chance_notices(study.study), *mixed_notices(study.study)] for study in studies],
        labels=study_labels([study.study for study in studies]),
        rows=rows,
        lead=transfer_lead(rows),
        figure=transfer_figure(rows, studies) if rows else None,
        agreement_words=AGREEMENT_WORDS,
    )  # fmt: skip


def study_labels(studies: Sequence[Study]) -> list[str]:
    """What to call each study: its data set, and its name where that does not tell them apart."""
    titles = [study.spec.dataset_title for study in studies]
    if len(set(titles)) == len(titles):
        return titles
    names = [f"{study.spec.dataset_title}, {study.name}" for study in studies]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def transfer_lead(rows: Sequence[TransferRow]) -> str:
    """How many conclusions hold, and which are reversed."""
    names: dict[Agreement, list[str]] = {}
    for row in rows:
        names.setdefault(row.agreement, []).append(row.ablation.name)
    sentences = []
    for kind, words in (
        ("holds", "The same verdict in every study"),
        ("reversed", "Reversed, harmful in one study and helpful in another"),
        ("differs", "Decided, but differently"),
        ("open", "Not told by every study"),
        ("missing", "Not run in every study"),
    ):
        if kind in names:
            sentences.append(f"{words}: {enumerate_words(names[kind])}.")
    return " ".join(sentences) or "The studies have no comparison."


def transfer_figure(rows: Sequence[TransferRow], studies: Sequence[Results]) -> Markup:
    """Each study in a panel of its own scale, with the same ablations in the same order."""
    labels = study_labels([study.study for study in studies])
    with figure_style():
        figure = Figure(
            figsize=(4 + 3.4 * len(studies), 1.1 + 0.36 * len(rows)), layout="constrained"
        )
        panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
        for number, (axes, study, label) in enumerate(zip(panels, studies, labels, strict=True)):
            draw_panel(axes, [row.rows[number] for row in rows], study, number)
            axes.set_title(label, fontsize=12, color=COLOURS["ink"], loc="left")
        panels[0].set_yticks(
            range(len(rows)), [row.ablation.name for row in rows], color=COLOURS["ink"]
        )
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.supxlabel(
            "test accuracy minus the target's, in percentage points", fontsize=12,
            color=COLOURS["muted"],
        )  # fmt: skip
        description = "; ".join(
            f"{row.ablation.name}: "
            + ", ".join(
                f"{label} {signed(found.difference_pct.mean)}"
                for label, found in zip(labels, row.rows, strict=True)
                if found and found.difference_pct
            )
            for row in rows
        )
        return to_svg(figure, "transfer", "Differences from the target in each study", description)


def draw_panel(
    axes: Axes, rows: Sequence[AblationResult | None], study: Results, number: int
) -> None:
    """One study's means and intervals."""
    found = [row for row in rows if row and row.difference_pct]
    if found:
        scale_differences(axes, found)
    marker, colour = MARKS[number % len(MARKS)]
    for height, row in enumerate(rows):
        if row is None or row.difference_pct is None:
            continue
        difference = row.difference_pct
        if difference.interval_95:
            axes.plot(difference.interval_95, [height] * 2, color=COLOURS[colour], linewidth=2.2)
        axes.plot(
            [difference.mean], [height], marker, color=COLOURS[colour], markersize=8,
            markerfacecolor=COLOURS[colour] if len(difference.by_seed) > 1 else "none",
            markeredgewidth=1.8,
        )  # fmt: skip
    axes.axvline(0, color=COLOURS["ink"], linewidth=1.4, zorder=1)
    for edge in (-study.study.spec.margin_pct, study.study.spec.margin_pct):
        axes.axvline(edge, color=COLOURS["muted"], linewidth=1.2, linestyle=":", zorder=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, digits=None)))
    axes.grid(axis="y", visible=False)
    sns.despine(ax=axes, left=True)
