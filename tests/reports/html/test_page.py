"""The report: complete, well-formed and safe to open."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from matplotlib.figure import Figure

from ablations.analysis.summary import Results, results_csv, summarise
from ablations.catalogue.designs import CORE, design_ablations
from ablations.catalogue.presets import QUICK
from reports.documents.readme import standalone_svg
from reports.figures import svg
from reports.figures.differences import difference_figure
from reports.html.page import NO_EXHIBITS, published_errors_pct, read_static, render_page
from reports.text import answer, methods, wording
from tests.factories import (
    ALL_NAMES,
    DIGITS,
    ENVIRONMENT,
    make_exhibits,
    make_results,
    make_spec,
    make_study,
    make_timing,
)
from tests.reports.html.pages import HOSTILE, PageReader, text_of


def several(num_seeds: int, *names: str) -> dict[str, range]:
    """The same seeds for each of the names, or for the whole catalogue."""
    return {name: range(num_seeds) for name in names or ALL_NAMES}


def design(name: str, num_seeds: int) -> dict[str, range]:
    return {ablation.name: range(num_seeds) for ablation in design_ablations(name, CORE)}


FACTORIAL = design("factorial", 3)
SHORT = make_spec(num_epochs=1, num_train_images=QUICK.num_train_images)
TUNED_SPEC = msgspec.structs.replace(make_spec(num_epochs=19), recipe="tuned")
STUDIES: dict[str, tuple[dict, dict]] = {
    "whole catalogue": (several(3), {"timing": make_timing()}),
    "factorial": (FACTORIAL, {}),
    "factorial of one seed": (design("factorial", 1), {}),
    "factorial that diverged": (FACTORIAL, {"diverged": [max(FACTORIAL, key=len)]}),
    "ladder": (design("ladder", 2), {}),
    "add one in": (design("add-one-in", 2), {}),
    "combinations without the target": (several(2, "no-gap+no-fc-head"), {}),
    "two sets of combinations": (
        several(2, "target", "no-gap", "no-dropout", "no-dropout+no-gap")
        | several(1, "no-momentum", "no-augmentation+no-momentum"),
        {},
    ),
    "one combination": (several(2, "target", "no-gap+no-fc-head"), {}),
    "one seed": (several(1, "target", "no-relu", "no-gap"), {}),
    "diverged": (several(2, "target", "no-batchnorm"), {"diverged": ["no-batchnorm"]}),
    "target diverged": (several(2, "target", "no-gap"), {"diverged": ["target"]}),
    "no target": (several(2, "no-gap", "no-relu"), {}),
    "target alone": (several(1, "target"), {}),
    "no shared seed": ({"target": [0], "no-gap": [1]}, {}),
    "retuned": (
        several(3, "target", "no-gap", "no-dropout", "no-gap-retuned", "placebo"),
        {"spec": TUNED_SPEC},
    ),
    "nothing": ({}, {}),
    "one epoch": (several(1, "target", "no-gap"), {"spec": SHORT}),
    "digits": (several(2, "target", "no-gap"), {"spec": make_spec(DIGITS, "scikit-learn digits")}),
    "partly timed": (several(1, "target", "no-gap"), {"timing": make_timing(["target"])}),
}  # fmt: skip


@cache
def results_of(study: str) -> Results:
    seeds, options = STUDIES[study]
    return make_results(seeds, **options)


@cache
def page_of(study: str) -> str:
    results = results_of(study)
    return render_page(results, make_exhibits(results.study) if results.target else NO_EXHIBITS)


@pytest.mark.parametrize("study", STUDIES)
def test_every_kind_of_study_gives_a_well_formed_page(study: str) -> None:
    page = page_of(study)
    assert len(page.encode()) < 4_000_000
    reader = PageReader(page)
    assert all(count == 1 for count in reader.ids.values()), reader.ids.most_common(3)
    assert set(reader.references) <= set(reader.ids)
    links = {link for link in reader.links if not link.startswith("data:image/png;base64,")}
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(reader.ids)
    assert "None" not in re.sub("None[.:]", "", reader.text).split()
    assert not re.search(r"\bnan\b|\binf\b", reader.text)
    assert reader.headings[0] == 1 and reader.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(reader.headings))


def test_retuned_ablations_stand_beside_those_at_the_targets_settings() -> None:
    text, found = text_of(page_of("retuned")), answer.answer(results_of("retuned"))
    assert "At the target’s settings, and each network at its own" in text
    assert "batch_size 128" in text and "has a recipe of its own" in text
    assert [(row.ablation.name, own.ablation.name) for row, own in found.retuned] == [
        ("no-gap", "no-gap-retuned")
    ]
    # Neither a retuned ablation nor a placebo counts as a removal.
    assert found.lowest.count("Of 2 ablations:") == 1
    assert "placebo" in found.controls
    assert "Nothing was retuned" in text_of(page_of("whole catalogue"))


def test_no_text_of_a_record_becomes_markup(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    # The script, the networks, and the results to download.
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img src=x" not in page and page.count("</style>") == 1
    assert f"$x_1$ {HOSTILE}" in PageReader(page).text
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "attr" not in policy
    script = read_static(".js")
    assert not re.search(r"</|<!--|innerHTML", script), "the script could end its own element"


def test_text_of_a_figure_is_not_changed() -> None:
    with svg.figure_style():
        figure = Figure(figsize=(2, 2))
        text = 'style="fill: red" id="x" #1b2130 1.23456 <path d="1.23456"/>'
        figure.text(0.123456, 0.5, text, weight="bold", color=svg.COLOURS["ink"])
        drawn = svg.to_svg(figure, "some", "title", "description")
    [element] = ElementTree.fromstring(drawn).iter("text")
    assert element.text == text and element.attrib["fill"] == "var(--figure-ink)"


def test_standalone_figure_has_its_colours_and_a_background(results: Results) -> None:
    figure = difference_figure(results.rows, 0.1)
    assert figure
    drawn = standalone_svg(figure)
    assert "var(" not in drawn
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) <= set(svg.COLOURS.values())
    style = ElementTree.fromstring(drawn).find("{http://www.w3.org/2000/svg}style")
    assert style is not None and style.text == "svg{background:#fff}"


def test_one_row_far_away_makes_the_axis_logarithmic() -> None:
    near = make_results(
        several(3, "target", "no-batchnorm", "no-gap-matched", "one-conv-per-stage")
    )
    far = make_results(several(3), diverged=["no-batchnorm"])
    for found, is_logarithmic in ((near, False), (far, True)):
        drawn = difference_figure(found.rows, 0.1)
        assert drawn and ("logarithmic beyond ±1 (shaded)" in drawn) == is_logarithmic


def test_page_has_every_number_change_and_test(results: Results, report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    text, section = text_of(page), page.split('id="evidence"')[1].split("</section>")[0]
    lines = [text_of(line) for line in re.findall(r"<tr.*?</tr>", section, re.DOTALL)]
    for row in results.rows:
        assert f'id="entry-{row.ablation.name}"' in page
        values = [row.accuracy_pct.mean, *row.accuracy_pct.by_seed.values()]
        numbers = [f"{value:.2f}" for value in (*values, row.best_epoch_accuracy_pct.mean)]
        numbers += [f"{row.parameters:,}", f"{row.multiply_adds:,}"]
        assert all(number in text for number in numbers), row.ablation.name
        if row.verdict and row.difference_pct:
            [line] = [line for line in lines if line.split(" ")[0] == row.ablation.name]
            assert wording.signed(row.difference_pct.mean) in line
            assert wording.verdict_name(row, 0.1) in line
            assert wording.verdict_details(row) in line
            assert wording.interval(row.difference_pct.interval_95) in line
            assert wording.interval(row.difference_pct.new_images_interval_95) in line
            assert wording.interval(row.difference_pct.new_images_interval_95) in text
            assert wording.decimal(row.difference_pct.spreads[0], 3) in line
    assert results.model and results.model.seed_correlation
    correlation, _ = results.model.seed_correlation
    assert f"over common seeds is {wording.signed(correlation)} in this study" in text
    assert "- block='conv-bn-relu' + block='conv-relu'" in text
    assert "num_epochs" not in text


def test_answer_has_the_core_concepts_with_their_numbers(results: Results) -> None:
    found = answer.answer(results)
    core = [row for row in results.rows if row.ablation.is_core]
    assert "3 seeds" in found.lead and "no-lr-schedule" in found.lowest
    for row, removal in zip(core, found.removals, strict=True):
        assert row.difference_pct and removal.row is row
        assert wording.estimate_words(row.difference_pct) in removal.measured
    [size] = [one.measured for one in found.removals if "parameters" in one.measured]
    matched = next(row for row in results.rows if row.ablation.name == "no-gap-matched")
    assert "43,538 parameters" in size and "20,000" in size
    assert matched.difference_pct and wording.signed(matched.difference_pct.mean) in size


def test_combinations_are_on_the_page() -> None:
    results, text = results_of("factorial"), text_of(page_of("factorial"))
    [attribution] = results.attributions
    for interaction in attribution.interactions:
        assert wording.signed(interaction.effect.mean) in text
    for row in results.combinations:
        assert row.ablation.removes in text
        assert f"{row.parameters:,}" in text and wording.decimal(row.accuracy_pct.mean) in text
    removing_all = wording.signed(-attribution.full_minus_bare.mean)
    answer = page_of("factorial").split('id="answer"')[1].split("</section>")[0]
    assert f"{removing_all} points (3 seeds" in answer
    assert "Shapley" not in page_of("ladder").split('id="together"')[1].split("</section>")[0]
    [row] = results_of("one combination").combinations
    section = page_of("one combination").split('id="combinations"')[1]
    assert wording.decimal(row.accuracy_pct.mean) in section
    assert row.ablation.name in results_csv(results_of("one combination"))


def test_page_begins_with_the_network_and_notices() -> None:
    text = text_of(page_of("whole catalogue"))
    assert "6 convolutional blocks in 3 stages and 18,962 parameters" in text
    assert "for 20 epochs of 60,000 images" in text
    assert "Please note" not in text and "published run, 1 seed" in text
    for study in ("digits", "one epoch"):
        text = text_of(page_of(study))
        [notice] = answer.notices(results_of(study).study.spec)
        assert f"Please note: {notice}" in text
        assert "published run, 1 seed" not in text
    errors_pct = published_errors_pct()
    assert len(errors_pct) == 20 and errors_pct[-1] == pytest.approx(0.55)


def test_mixed_versions_margin_groups_and_left_out_records_are_stated() -> None:
    spec = msgspec.structs.replace(make_spec(), margin_pct=0.25)
    study = make_study(
        several(3, "target", "no-gap"), spec=spec, problems=("x/record.json: damaged",)
    )
    assert answer.notices(spec, study.records) == []
    records = list(study.records)
    # Another commit alone changes no number.
    for index, field in ((2, "torch_version"), (4, "commit")):
        environment = msgspec.structs.replace(ENVIRONMENT, **{field: "9.9.9"})
        records[index] = msgspec.structs.replace(records[index], environment=environment)
    records[2] = msgspec.structs.replace(records[2], num_replicas=2)
    unknown = replace(records[0].run_spec, ablation="no-such-thing", seed=9)
    records.append(msgspec.structs.replace(records[0], run_spec=unknown))
    text = text_of(render_page(summarise(replace(study, records=tuple(records)))))
    assert answer.notices(spec, records) == []
    assert "0.25 points (25 of" in text and "±0.10" not in text
    assert "Up to 2 seeds" in text and "one wider network" in text
    assert "x/record.json: damaged" in text and "no-such-thing" in text
    assert "9.9.9" in text and "differ in: PyTorch and commit." in text


def test_incomplete_studies_state_what_is_missing() -> None:
    contents = answer.contents(make_results({"target": range(3), "no-gap": [0]}))
    assert "4 runs" in contents and "no-relu" in contents
    for study, words in (
        ("diverged", "2 of 2 failed"),
        ("diverged", "seed 0 diverged in epoch 4 (the loss was no longer finite), seed 1 diverged"),
        ("partly timed", "not measured yet"),
        ("one seed", "Not measured yet"),
        ("one epoch", "✗ Not met: at least 99.4 %"),
        ("one seed", "? Undecided: at least 99.4 %"),
        ("target diverged", "✗ Not met: at least 99.4 %"),
        ("target diverged", "✓ Met: fewer than 20,000 parameters"),
    ):
        assert words in text_of(page_of(study))


@pytest.mark.parametrize(
    ("seeds_by_name", "command"),
    [
        (several(2), "--all ... --seeds 0,1"),
        ({"target": [0, 1], "no-gap": [0]}, "no-gap ... --seeds 0"),
        ({"target": [4]}, "target ... --seeds 4"),
        (
            FACTORIAL,
            "--design factorial no-batchnorm no-dropout no-gap no-fc-head ... --seeds 0,1,2",
        ),
        ({"no-gap+no-fc-head+no-dropout": [0]}, "no-dropout+no-gap+no-fc-head ... --seeds 0"),
    ],
)
def test_commands_reproduce_the_study(seeds_by_name: dict[str, range], command: str) -> None:
    options = "--dataset mnist --recipe published --epochs 20 --device cpu --arithmetic plain --margin 0.1"
    found = methods.reproduce_commands(make_results(seeds_by_name))
    assert f"python cli.py ablate {command.replace('...', options)}" in found
    quick = methods.reproduce_commands(results_of("one epoch"))
    assert quick[0].endswith(
        "--preset quick --dataset mnist --recipe published --epochs 1 --device cpu --arithmetic plain --margin 0.1 --seeds 0"
    )


def test_differences_have_a_sign() -> None:
    values = {0.0: "0.00", -0.001: "0.00", -1.5: "−1.50", 0.25: "+0.25"}
    assert {value: wording.signed(value) for value in values} == values
