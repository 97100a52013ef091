"""The parts of the lesson plan that are made from the reference study: expected results, in Markdown.

`docs/lesson.md` is written by hand but for these (`markers.py`). The names of ablations stand in its
marks; here each part works for any of them, and its words depend on what was measured.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from ablations.analysis.attribution import attribute
from ablations.analysis.replication import replication_rows
from ablations.analysis.requirements import PARAMETER_LIMIT, judge_parameters
from ablations.analysis.statistics import sampling_noise_pct
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import LEVEL, Verdict, VerdictKind
from ablations.catalogue.designs import names_of
from ablations.catalogue.entries import CATALOGUE, find_ablation
from ablations.catalogue.presets import QUICK
from ablations.words import plural
from mnist_blocks import TARGET
from reports.documents.by_hand import (
    changed_layers_table,
    estimate_words,
    interaction_table,
    markdown_table,
    paired_steps,
    paired_table,
    pairing_gain,
    parameter_table,
)
from reports.documents.markers import fill_parts
from reports.documents.readme import summary
from reports.text.evidence import p_value, verdict_details, verdict_name
from reports.text.predict import choices
from reports.text.replication import replication_lead
from reports.text.wording import (
    REMOVED_WORDS,
    decimal,
    enumerate_words,
    interval,
    notices,
    signed,
    verb,
)

EARLY_EPOCHS = (1, 2, 3, 10)
"""After which the learning of a variant is looked at, beside the last."""

OPEN_KINDS: tuple[VerdictKind, ...] = ("undecided", "one seed")
"""Verdicts that say nothing about the margin."""

MakePart = Callable[[Sequence[Results], Sequence[AblationResult]], str]
"""From the studies, of which the first is the reference, and the ablations that are asked about."""


def insert_lesson(lesson: str, studies: Sequence[Results]) -> str:
    """The lesson plan with every part made anew from the studies, of which the first is the reference.

    Raises:
        ValueError: a mark is not closed, or names a part or an ablation that there is not, or too
            few or too many ablations.
    """

    def make_part(name: str, arguments: Sequence[str]) -> str:
        if name not in PARTS:
            raise ValueError(f"the lesson has no part {name!r}; there are {', '.join(PARTS)}")
        fewest, most, make = PARTS[name]
        if not fewest <= len(arguments) <= most:
            raise ValueError(f"{name} {' '.join(arguments)}: needs {fewest} to {most} ablations")
        rows, missing = find_rows(studies[0], arguments)
        if missing or studies[0].target is None:
            return f"Not run in this study yet: {enumerate_words(missing or ['target'])}.\n"
        return make(studies, rows).rstrip() + "\n"

    return fill_parts(lesson, make_part)


def find_rows(results: Results, names: Sequence[str]) -> tuple[list[AblationResult], list[str]]:
    """The results of ablations that share a seed with the target, and the names of those without.

    Raises:
        ValueError: the catalogue has no such entry.
    """
    by_name = {row.ablation.name: row for row in results.rows}
    for name in names:
        try:
            find_ablation(name)
        except KeyError as error:
            raise ValueError(f"the catalogue has no ablation {name!r}") from error
    missing = [name for name in names if name not in by_name or not by_name[name].difference_pct]
    return [by_name[name] for name in names if name not in missing], missing


def numbers_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """What the study is, and what it says of the target."""
    results = studies[0]
    spec = results.study.spec
    compared = [row for row in results.rows if row.difference_pct]
    facts = (
        f"The study trains on {spec.num_train_images or spec.dataset.num_train:,} images for "
        f"{plural(spec.num_epochs, 'epoch')}, and compares {plural(len(compared), 'ablation')} with the target at a "
        f"margin of {margin_words(results)} points, fixed beforehand: {decimal(margin_images(results), 0)} of the "
        f"{spec.dataset.num_test:,} test images. A difference below that is too small to matter."
    )
    return "\n\n".join([*notices(spec), summary(results), facts])


def margin_words(results: Results) -> str:
    """The margin, in points."""
    return decimal(results.study.spec.margin_pct)


def margin_images(results: Results) -> float:
    """The margin, in test images."""
    return results.study.spec.margin_pct / 100 * results.study.spec.dataset.num_test


def guesses_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """Which guess the study supports, of these ablations, or of the assignment's concepts."""
    results = studies[0]
    rows = rows or [
        row for row in results.rows if row.ablation.is_core and row.difference_pct and row.verdict
    ]
    cells = []
    for row in rows:
        assert row.difference_pct and row.verdict
        bounds = row.difference_pct.interval_95
        cells.append(
            [
                f"`{row.ablation.name}`",
                row.ablation.removes,
                verdict_name(row.verdict),
                guess_words(row.verdict),
                wrong_guesses(row, results.study.spec.margin_pct),
                signed(row.difference_pct.mean),
                interval(bounds) if bounds else "none",
                str(len(row.difference_pct.by_seed)),
            ]
        )
    head = [
        "ablation",
        "without",
        "verdict on removing it",
        "which guess is right",
        "which is wrong",
        "difference",
        "95 % interval",
        "seeds",
    ]
    num_open = sum(bool(row.verdict and row.verdict.kind in OPEN_KINDS) for row in rows)
    note = (
        f"Open: {num_open} of {len(rows)}. Where the study leaves it open, the page calls a guess wrong only if the direction is sure "
        "and another, and still possible otherwise. What counts is the reason that was given."
    )
    return "\n\n".join([markdown_table(head, cells, num_words=5), *([note] if num_open else [])])


def wrong_guesses(row: AblationResult, margin_pct: float) -> str:
    """The guesses that the page calls wrong."""
    wrong = [choice.guess for choice in choices(row, margin_pct) if choice.outcome == "wrong"]
    return enumerate_words(wrong) or "none"


def guess_words(verdict: Verdict) -> str:
    """Which of the three guesses a verdict supports, and no more than that."""
    by_kind = {
        ("matters", "hurts"): "worse by more than the margin",
        ("matters", "helps"): "better, by more than the margin",
        ("undecided", "hurts"): "open: surely worse, but perhaps by less than the margin",
        ("undecided", "helps"): "open: surely better, but perhaps by less than the margin",
        ("undecided", "unclear"): "open: not even better or worse is told",
    }
    if verdict.kind == "one seed":
        return "open: one seed tells nothing of others"
    if verdict.kind in ("negligible", "real but small"):
        return "hardly any difference"
    return by_kind[verdict.kind, verdict.effect]


def layers_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """How the target's parameters are counted."""
    return parameter_table(TARGET)


def resized_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """The layers that an ablation makes larger or smaller, and what the study says of it."""
    [row] = rows
    results = studies[0]
    assert results.target is not None
    before, after = results.target.parameters, row.parameters
    change = f"{abs(after - before):,} parameters {'more' if after > before else 'fewer'}"
    limit = {
        "pass": f"fewer than the assignment's {PARAMETER_LIMIT:,}",
        "fail": f"not fewer than the assignment's {PARAMETER_LIMIT:,}",
    }[judge_parameters(after)]
    text = (
        f"Without {row.ablation.removes}: {change} ({decimal(100 * (after / before - 1), 1)} %), {after:,} in all, "
        f"which is {limit}. Accuracy: {verdict_words(results, row)}"
    )
    return f"{changed_layers_table(row.ablation.network_spec)}\n\n{text}"


def verdict_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """One line for each ablation: difference, interval and verdict."""
    return "\n".join(f"- `{row.ablation.name}`: {verdict_words(studies[0], row)}" for row in rows)


def verdict_words(results: Results, row: AblationResult) -> str:
    """What may be said of one ablation, in a sentence."""
    difference, verdict = row.difference_pct, row.verdict
    assert difference is not None and verdict is not None
    bounds = difference.interval_95
    evidence = f"95 % interval {interval(bounds)}, " if bounds else ""
    details = verdict_details(verdict, results.study.spec.margin_pct)
    return (
        f"{signed(difference.mean)} points ({evidence}{plural(len(difference.by_seed), 'seed')}); verdict on removing "
        f"it: *{verdict_name(verdict)}*" + (f" ({details})." if details else ".")
    )


def seeds_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """What each seed by itself would have made one believe."""
    [row] = rows
    results = studies[0]
    assert row.difference_pct and results.target
    cells, said = [], []
    for seed, difference in row.difference_pct.by_seed.items():
        is_tie = abs(difference) < 1e-9
        said.append("no difference" if is_tie else "better" if difference > 0 else "worse")
        accuracies = (found.accuracy_pct.by_seed[seed] for found in (results.target, row))
        cells.append([str(seed), *map(decimal, accuracies), signed(difference), said[-1]])
    head = ["seed", "target (%)", "without (%)", "difference", "this seed alone says"]
    count = len(said)
    tally = enumerate_words(f"{said.count(words)} {words}" for words in dict.fromkeys(said))
    lesson = (
        "Whoever had run one seed could have published any of these."
        if len(set(said)) > 1
        else f"They agree; that they do at {plural(count, 'seed')} may still be chance: were up as likely as down, "
        f"all signs would agree in {decimal(100 * 2 ** (1 - count), 1)} % of such studies."
    )
    num_test = results.study.spec.dataset.num_test
    noise_pct = sampling_noise_pct(results.target.accuracy_pct.mean, num_test)
    sentences = [
        f"Of {plural(count, 'seed')}: {tally}. {lesson}",
        f"All of them together: {verdict_words(results, row)}",
        f"For scale: another draw of {num_test:,} test images would change one accuracy by about ±{decimal(noise_pct)} points.",
    ]
    return markdown_table(head, cells) + "\n\n" + " ".join(sentences)


def paired_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """The interval of a paired difference, by hand, and why the verdict may say less."""
    [row] = rows
    results = studies[0]
    assert row.difference_pct and row.verdict and results.target
    seeds = list(row.difference_pct.by_seed)
    if len(seeds) < 2:
        return "One seed has no spread, and so no interval: it takes two at least."
    right = [
        {run.run_spec.seed: run.last_epoch.test_correct for run in found.runs}
        for found in (row, results.target)
    ]
    variant, target = ({seed: found[seed] for seed in seeds} for found in right)
    parts = [
        paired_table(variant, target),
        f"```text\n{paired_steps(variant, target, results.study.spec.dataset.num_test)}\n```",
        f"The report says: {verdict_words(results, row)}",
    ]
    if row.difference_pct.interval_95:
        parts += [correction_words(results, row), pairing_gain(variant, target)]
    return "\n\n".join(parts)


def correction_words(results: Results, row: AblationResult) -> str:
    """How an interval and a verdict that is corrected for many comparisons go together."""
    assert row.difference_pct and row.difference_pct.interval_95 and row.verdict
    low, high = row.difference_pct.interval_95
    margin_pct, verdict = results.study.spec.margin_pct, row.verdict
    count = sum(1 for other in results.rows if other.difference_pct)
    tests = (
        f"Corrected for {plural(count, 'comparison')}: p {p_value(verdict.differs_p)} that it is not zero, "
        f"{p_value(verdict.beyond_margin_p)} that it is beyond the margin, {p_value(verdict.within_margin_p)} that it is "
        f"within it; a claim needs less than {LEVEL:g}."
    )
    is_beyond = low > margin_pct or high < -margin_pct
    if is_beyond and verdict.kind != "matters":
        return (
            f"The interval by itself lies beyond ±{margin_words(results)} points, and yet the report does not say "
            f"“matters”: among many comparisons one interval or another misses by chance. {tests}"
        )
    return tests


def interaction_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """Two ingredients in a table of four networks, by hand, and the report's interactions."""
    results = studies[0]
    pair = frozenset(row.ablation.name for row in rows)
    all_cells = {
        frozenset(names_of(row.ablation)): row for row in (*results.rows, *results.combinations)
    }
    cells = {removed: row for removed, row in all_cells.items() if removed <= pair}
    found = attribute(
        {removed: row.accuracy_pct.by_seed for removed, row in cells.items()},
        [entry.name for entry in CATALOGUE],
    )
    if not found or not found[0].is_factorial:
        return "Their combination has not been run with the same seeds in this study yet."
    one, other = found[0].contributions
    assert one.left_out and one.alone
    name, partner = REMOVED_WORDS[one.name], REMOVED_WORDS[other.name]
    steps = [
        f"- worth of {name} beside {partner}: {estimate_words(one.left_out, 3)}",
        f"- worth of {name} without {partner}: {estimate_words(one.alone, 3)}",
        f"- interaction, half of the first minus the second: {estimate_words(found[0].interactions[0].effect, 3)}",
    ]
    return "\n\n".join(
        [
            interaction_table(found[0], cells),
            "\n".join(steps),
            *report_interactions(results),
        ]
    )


def report_interactions(results: Results) -> list[str]:
    """The report's own, each averaged over whether the other ingredients are there."""
    found = next((one for one in results.attributions if one.interactions), None)
    if found is None:
        return []
    lines = [
        f"- {enumerate_words(REMOVED_WORDS[name] for name in interaction.names)}: {estimate_words(interaction.effect)}"
        for interaction in found.interactions
    ]
    lead = (
        f"The report's interactions are averaged over whether the other ingredients are there ({plural(len(found.seeds), 'seed')}). "
        "An interval that contains zero leaves open whether there is one; negative: the two do some of the same work. "
        f"They are not corrected for being {len(lines)}:"
    )
    return [lead, "\n".join(lines)]


def epochs_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """How the differences from the target change while training goes on."""
    results = studies[0]
    spec = results.study.spec
    epochs = [epoch for epoch in EARLY_EPOCHS if epoch < spec.num_epochs] + [spec.num_epochs]
    cells = [
        [f"`{row.ablation.name}`", *(difference_after(results, row, epoch) for epoch in epochs)]
        for row in rows
    ]
    table = markdown_table(
        ["difference from the target, points", *(f"epoch {epoch}" for epoch in epochs)], cells
    )
    num_images = spec.num_train_images or spec.dataset.num_train
    note = "Means over the seeds, without intervals: they show the way, and prove nothing."
    if QUICK.num_train_images:
        share = QUICK.num_train_images * QUICK.num_epochs / num_images
        note += (
            f" A run with `--preset quick` sees {QUICK.num_train_images:,} images {QUICK.num_epochs} times: {decimal(share)} "
            "of one epoch of this study. Its differences belong before the first column, and need not "
            "be like those of the last."
        )
    return f"{table}\n\n{note}"


def difference_after(results: Results, row: AblationResult, epoch: int) -> str:
    """The mean difference after an epoch, over the seeds that both share and that came so far."""
    assert results.target is not None
    found = [
        {run.run_spec.seed: run.epochs for run in one.runs if len(run.epochs) >= epoch}
        for one in (row, results.target)
    ]
    differences = [
        found[0][seed][epoch - 1].test_accuracy_pct - found[1][seed][epoch - 1].test_accuracy_pct
        for seed in found[0].keys() & found[1].keys()
    ]
    return signed(fmean(differences)) if differences else "diverged"


def undecided_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """How much the study leaves open, and whether it shows of anything that it does not matter."""
    results = studies[0]
    verdicts = [row.verdict for row in results.rows if row.verdict]
    num_open = sum(verdict.kind in OPEN_KINDS for verdict in verdicts)
    within = [
        f"`{row.ablation.name}` ({row.verdict.kind})"
        for row in results.rows
        if row.verdict and row.verdict.kind in ("negligible", "real but small")
    ]
    shown = (
        f"Shown to lie within the margin: {enumerate_words(within)}."
        if within
        else "Of none has it been shown that the difference lies within the margin."
    )
    text = f"{num_open} of {plural(len(verdicts), 'verdict')} {verb(num_open, 'is', 'are')} undecided. {shown}"
    return text


def best_epoch_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """By how much the best epoch, which was chosen on the test images, flatters."""
    results = studies[0]
    gains = {
        row.ablation.name: row.best_epoch_accuracy_pct.mean - row.accuracy_pct.mean
        for row in results.rows
    }
    return (
        f"The target's best epoch is {signed(gains['target'])} points above its last, on average over its seeds; over all "
        f"{plural(len(gains), 'variant')} that gain is {signed(min(gains.values()))} to {signed(max(gains.values()))} points, "
        f"where the margin is {margin_words(results)}. It is never negative, whatever was trained: it is the choice that gains."
    )


def surely_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """What is surely not zero, and what of it surely matters."""
    told = [row for row in studies[0].rows if row.verdict and row.verdict.effect != "unclear"]
    matters = [row for row in told if row.verdict and row.verdict.kind == "matters"]
    rest = [row for row in told if row not in matters]

    def names(found: Sequence[AblationResult]) -> str:
        return enumerate_words(f"`{row.ablation.name}`" for row in found) or "none"

    return (
        f"Surely not zero: {names(told)}. Surely beyond the margin: {names(matters)}. Surely not zero, "
        f"and not shown to be beyond the margin: {names(rest)}."
    )


def elsewhere_part(studies: Sequence[Results], rows: Sequence[AblationResult]) -> str:
    """What holds on other data, where there is a study of them."""
    if len(studies) < 2:
        return "There is no study of other data beside this one yet."
    return replication_lead(replication_rows(studies))


PARTS: Mapping[str, tuple[int, int, MakePart]] = {
    "numbers": (0, 0, numbers_part),
    "guesses": (0, len(CATALOGUE), guesses_part),
    "layers": (0, 0, layers_part),
    "resized": (1, 1, resized_part),
    "verdict": (1, len(CATALOGUE), verdict_part),
    "seeds": (1, 1, seeds_part),
    "paired": (1, 1, paired_part),
    "interaction": (2, 2, interaction_part),
    "epochs": (1, len(CATALOGUE), epochs_part),
    "undecided": (0, 0, undecided_part),
    "best-epoch": (0, 0, best_epoch_part),
    "surely": (0, 0, surely_part),
    "elsewhere": (0, 0, elsewhere_part),
}
"""By name: the fewest and the most ablations that a part may be asked about, and what makes it."""
