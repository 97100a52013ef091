"""The results that open the README: a table and a figure, made from a study's records."""

import re
from collections.abc import Sequence
from statistics import fmean

from ablations.analysis.attribution import Attribution
from ablations.analysis.replication import replication_rows
from ablations.analysis.statistics import Estimate
from ablations.analysis.summary import AblationResult, Results
from ablations.words import plural
from reports.documents.markers import BEGIN, END, fill_parts
from reports.figures.svg import COLOURS
from reports.text.evidence import alone_sentences, attribution_lead, has_one_seed, verdict_name
from reports.text.methods import left_out
from reports.text.replication import replication_lead, study_labels
from reports.text.wording import (
    REMOVED_WORDS,
    VERDICT_WORDS,
    chance_notices,
    decimal,
    enumerate_words,
    interval,
    mixed_notices,
    notices,
    signed,
    timing_notice,
)

RESULTS_PART = "results"
"""How the part of the README is called that is made here."""


def insert_results(readme: str, results: Results, elsewhere: Sequence[Results] = ()) -> str:
    """The README with its results made anew.

    Raises:
        ValueError: it does not have the two marks that they stand between (`markers.py`), once.
    """
    if len(re.findall(rf"{BEGIN}{RESULTS_PART}\b", readme)) != 1:
        raise ValueError(
            f"the README needs the lines {BEGIN + RESULTS_PART + ' -->'!r} and {END!r}, once each"
        )

    def make_part(name: str, arguments: Sequence[str]) -> str:
        if name != RESULTS_PART or arguments:
            raise ValueError(f"the README has a part {name!r}; it may only have {RESULTS_PART!r}")
        return results_section(results, elsewhere)

    return fill_parts(readme, make_part)


def summary_page(results: Results) -> str:
    """Markdown of a study by itself: first what a reader must know before any number, as on its page."""
    study = results.study
    notes = [
        *notices(study.spec),
        *chance_notices(study),
        *mixed_notices(study),
        *filter(None, [timing_notice(results)]),
        *(f"Left out: {problem}." for problem in left_out(study)),
    ]
    title = f"## Ablations on {study.spec.dataset_title}"
    return "\n\n".join(
        [title, *(f"**Please note:** {note}" for note in notes), results_section(results)]
    )


def results_section(results: Results, elsewhere: Sequence[Results] = ()) -> str:
    """Markdown: what was measured, on what, and one line for each ablation."""
    lines = [
        "| ablation | without | test accuracy | target, same seeds | difference | 95 % interval "
        + "| verdict on removing it | seeds | parameters | epoch |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
        *(table_line(row, results.target) for row in results.rows),
    ]
    parts = [summary(results), "\n".join(lines), verdicts(results)]
    # One seed's shares would say nothing of others.
    for found in [found for found in results.attributions if len(found.seeds) > 1][:1]:
        parts += [
            f"**What they are worth together.** {attribution_lead(found, results)}",
            worths_table(found),
            alone_sentences(found),
        ]
    if elsewhere:
        parts.append(elsewhere_section([results, *elsewhere]))
    return "\n\n".join([*filter(None, parts), provenance(results)]) + "\n"


def worths_table(found: Attribution) -> str:
    """Markdown: what having each ingredient adds, by every measure."""
    lines = [
        "| worth of having it, points (95 % interval) | beside the others | alone | on average over all orders (Shapley) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for worth in found.contributions:
        measures = (worth.left_out, worth.alone, worth.shapley)
        cells = [estimate_words(measure) for measure in measures]
        lines.append(f"| {' | '.join([REMOVED_WORDS[worth.name], *cells])} |")
    return "\n".join(lines)


def estimate_words(found: Estimate | None) -> str:
    """Mean and interval; empty where it was not run."""
    if found is None:
        return ""
    brackets = f" ({interval(found.interval_95)})" if found.interval_95 else ""
    return signed(found.mean) + brackets


def elsewhere_section(studies: Sequence[Results]) -> str:
    """Which conclusions hold on other data."""
    places = [
        f"{label} (target {decimal(study.target.accuracy_pct.mean)} %, "
        f"{plural(len(study.target.runs), 'seed')})"
        for label, study in zip(study_labels([one.study for one in studies]), studies, strict=True)
        if study.target
    ]
    return (
        f"**Does it hold elsewhere?** {enumerate_words(places)}, each study judged by itself. "
        f"{replication_lead(replication_rows(studies))} All numbers side by side: "
        "[docs/transfer.html](docs/transfer.html)."
    )


def verdicts(results: Results) -> str:
    """What a verdict is."""
    margin_pct = decimal(results.study.spec.margin_pct)
    return (
        f"Verdicts: *matters* is a difference surely beyond ±{margin_pct} points, *real but small* one "
        f"surely within them and not zero, *negligible* one within them and not told apart from zero; "
        "*undecided* means that these seeds do not tell whether it is within them or beyond; with "
        "*hurts* or *helps* it is surely not zero. Their p values are corrected for all "
        "comparisons of the table (Holm). The tests behind them, the noise and the interactions are "
        "in the report."
    )


def summary(results: Results) -> str:
    """The headline, and whether the assignment is met."""
    target = results.target
    if target is None:
        return "The target has not been run yet."
    passed = [one for one in results.requirements if one.verdict == "pass"]
    text = (
        f"**The target: {decimal(target.accuracy_pct.mean)} % on {results.study.spec.dataset_title}'s "
        f"{results.study.spec.dataset.num_test:,} test images after its last epoch, with "
        f"{target.parameters:,} parameters (mean of {plural(len(target.runs), 'seed')}).** "
        f"It meets {len(passed)} of the assignment's {len(results.requirements)} requirements"
    )
    for verdict in ("fail", "undecided"):
        found = [
            f"{one.wanted} (measured: {one.measured})"
            for one in results.requirements
            if one.verdict == verdict
        ]
        if found:
            text += f"; {VERDICT_WORDS[verdict].lower()}: {enumerate_words(found)}"
    return text + "."


def table_line(row: AblationResult, target: AblationResult | None) -> str:
    """One line of the table."""
    difference = row.difference_pct
    interval_text = "no spread" if difference and len(difference.by_seed) > 1 else "one seed"
    if difference and difference.interval_95:
        interval_text = interval(difference.interval_95)
    # Accuracy of the target at the seeds of this difference, which need not be all of its seeds.
    paired_pct = (
        fmean(target.accuracy_pct.by_seed[seed] for seed in difference.by_seed)
        if difference and target
        else None
    )
    removes = row.ablation.removes
    cells = [
        f"`{row.ablation.name}`",
        f"**{removes}**" if row.ablation.is_core else removes,
        f"{decimal(row.accuracy_pct.mean)} %{diverged_words(row)}",
        f"{decimal(paired_pct)} %" if paired_pct is not None else "",
        signed(difference.mean) if difference else "",
        interval_text if difference else "",
        verdict_name(row.verdict) if row.verdict else "",
        str(len(difference.by_seed) if difference else len(row.runs)),
        f"{row.parameters:,}",
        f"{decimal(row.epoch_time.median_seconds, 1)} s" if row.epoch_time else "",
    ]
    return "| " + " | ".join(cells) + " |"


def diverged_words(row: AblationResult) -> str:
    """How many of its runs diverged and when, in brackets; empty where none did."""
    if not row.num_diverged:
        return ""
    epochs = sorted({run.last_epoch.epoch for run in row.runs if run.status == "diverged"})
    return (
        f" ({row.num_diverged} of {plural(len(row.runs), 'run')} diverged, in epoch "
        f"{enumerate_words(map(str, epochs))})"
    )


def provenance(results: Results) -> str:
    """What the table's columns are, and where they were measured."""
    spec = results.study.spec
    environments = {
        (
            run.environment.device_name,
            run.environment.torch_version,
            run.environment.num_threads,
            run.environment.arithmetic,
        )
        for row in results.rows
        for run in row.runs
    }
    places = enumerate_words(
        f"{device} ({plural(threads, 'thread')} a run, PyTorch {torch_version}, "
        f"{arithmetic} arithmetic)"
        for device, torch_version, threads, arithmetic in sorted(environments)
    )
    one_seed = (
        "One seed proves little: all rows of one seed share that seed's luck with the target. "
        if has_one_seed(results.rows)
        else ""
    )
    text = (
        "Bold: the four concepts that the assignment asks for. Accuracy is the mean over seeds of the "
        f"last of {spec.num_epochs} epochs, not the best; differences are in percentage points from the "
        "target's runs with the same seeds, and the interval is Student's. "
        f"{one_seed}Nothing was tuned again for an ablation: it trains exactly as the target does, but for what "
        f"it removes. Measured on {places}."
    )
    timing = results.study.timing
    if timing:
        text += (
            " Epoch time (training and testing) was measured alone, with "
            f"{plural(timing.environment.num_threads, 'thread')} and "
            f"{timing.environment.arithmetic} arithmetic: the median of "
            f"{plural(timing.plan.num_rounds, 'interleaved round')}."
        )
    return text


def standalone_svg(svg: str) -> str:
    """A figure of the page as a file of its own, with the page's colours and a white ground."""
    # A plain string: Markup would escape what is put into it.
    svg = str(svg).replace(
        "<svg ",
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'font-family="sans-serif" ',
        1,
    )
    # Not every program that shows SVG knows CSS variables.
    for name, value in COLOURS.items():
        svg = svg.replace(f"var(--figure-{name})", value)
    style = "<style>svg{background:#fff}</style>"
    return re.sub(r"(<svg [^>]*>)", rf"\1{style}", svg, count=1) + "\n"
