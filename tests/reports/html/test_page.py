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

from ablations.analysis.summary import Results, summarise
from ablations.catalogue.designs import CORE, design_ablations
from ablations.catalogue.entries import find_ablation
from ablations.catalogue.presets import QUICK
from reports.exports.data import results_csv
from reports.exports.references import references
from reports.figures import svg
from reports.figures.attribution import STRONGEST, combinations_figure
from reports.figures.effects import cost_figure, effects_figure
from reports.figures.svg import standalone_svg
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
    assert len(page.encode()) < 3_000_000
    reader = PageReader(page)
    assert all(count == 1 for count in reader.ids.values()), reader.ids.most_common(3)
    assert set(reader.references) <= set(reader.ids)
    data = re.compile(
        r"data:(image/(png|svg\+xml)|text/(csv|markdown|x-bibtex)|application/x-tex)\b"
    )
    papers = re.compile("https://(arxiv.org/abs|jmlr.org/papers)/")
    links = {link for link in reader.links if not data.match(link) and not papers.match(link)}
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(reader.ids)
    assert "None" not in re.sub("None[.:]", "", reader.text).split()
    assert not re.search(r"\bnan\b|\binf\b", reader.text)
    assert reader.headings[0] == 1 and reader.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(reader.headings))


def test_retuned_ablations_stand_beside_those_at_the_targets_settings() -> None:
    text, found = text_of(page_of("retuned")), answer.answer(results_of("retuned"))
    assert "At the target’s settings, and each network at its own" in text
    assert "batch size 128" in text and "with its own recipe" in text
    assert [(row.ablation.name, own.ablation.name) for row, own in found.retuned] == [
        ("no-gap", "no-gap-retuned")
    ]
    # Neither a retuned ablation nor a placebo counts as a removal.
    assert found.lowest.count("Of 2 ablations:") == 1
    assert "Negative control" in found.controls
    assert "Nothing was retuned" in text_of(page_of("whole catalogue"))


def test_no_text_of_a_record_becomes_markup(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    # The script and the networks.
    assert page.count("<script") == page.count("</script>") == 2
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
    figure = effects_figure(results.rows, 0.1, "some")
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
        drawn = effects_figure(found.rows, 0.1, "some")
        assert drawn and ("logarithmic beyond ±1 (shaded)" in drawn) == is_logarithmic


def test_references_are_those_of_methods_that_were_used() -> None:
    used = {name: " ".join(references(results_of(name))) for name in STUDIES}
    assert "Shapley" in used["factorial"] and "Shapley" not in used["whole catalogue"]
    assert "Dunnett" in used["whole catalogue"] and "Dunnett" not in used["one seed"]
    assert not any("Jennison" in sources for sources in used.values())


def test_every_paper_of_arxiv_is_a_link_and_the_gradient_has_its_sign() -> None:
    page = page_of("whole catalogue")
    mentions = re.findall(r"(.)arXiv:\d{4}\.\d{4,5}", page)
    assert len(mentions) > 20 and set(mentions) == {">"}
    assert (
        "derivative of the loss with respect to the weights. Training steps go against it" in page
    )


def test_costs_share_one_axis_of_effects() -> None:
    found = make_results(several(3), diverged=["no-batchnorm"], timing=make_timing())
    compared = [row for row in found.rows if row.difference_pct]
    drawn = cost_figure(compared, found.target)
    assert drawn
    limits = [axes.get_ylim() for axes in drawn.figure.axes]
    assert len(limits) == 3 and len(set(limits)) == 1
    low, high = limits[0]
    assert -200 < low < -80 and 0 < high < 10


def test_page_has_every_number_and_change(results: Results, report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    text = text_of(page)
    for row in results.rows:
        assert f'id="entry-{row.ablation.name}"' in page
        numbers = [f"{value:.2f}" for value in row.accuracy_pct.by_seed.values()]
        numbers += [f"{row.parameters:,}", f"{row.multiply_adds:,}"]
        assert all(number in text for number in numbers), row.ablation.name
    assert results.model and results.model.seed_correlation
    correlation, _ = results.model.seed_correlation
    assert f"target and ablation correlate by {wording.signed(correlation)}" in text
    assert "- block='conv-bn-relu' + block='conv-relu'" in text
    assert "num_epochs" not in text


def test_answer_names_the_largest_loss(results: Results) -> None:
    found = answer.answer(results)
    assert "3 seeds" in found.lead
    assert found.lowest.startswith("Largest loss: without the learning rate schedule, ")


def test_effects_are_drawn_with_intervals_verdicts_and_the_limit(results: Results) -> None:
    compared = [row for row in results.rows if row.difference_pct]
    for is_narrow in (False, True):
        drawn = effects_figure(compared, 0.1, "some", is_narrow=is_narrow)
        assert drawn
        texts = [one.text or "" for one in ElementTree.fromstring(drawn).iter("text")]
        for row in compared:
            assert any(text.startswith(wording.signed(row.difference_pct.mean)) for text in texts)
            assert is_narrow or wording.verdict_name(row, 0.1) in texts
            shown = wording.capitalised(row.ablation.removes)[:25]
            assert any(text.startswith(shown) for text in texts)
        costs = cost_figure(compared, results.target, is_narrow=is_narrow)
        assert costs and "limit of the assignment" in costs and "multiply-adds per image" in costs


def section_of(study: str) -> str:
    """The section on combinations."""
    return page_of(study).split('id="together"')[1].split("</section>")[0]


def test_combinations_are_on_the_page() -> None:
    results, section = results_of("factorial"), section_of("factorial")
    text = text_of(section.split(">", 1)[1])
    [attribution] = results.attributions
    for interaction in attribution.interactions:
        assert wording.signed(interaction.effect.mean) in text
    effects = {row.ablation.name: row.difference_pct for row in results.rows if row.difference_pct}
    for row in results.combinations:
        assert row.ablation.removes in text and f"{row.parameters:,}" in text
        assert wording.decimal(row.accuracy_pct.mean) in text
    # One quantity has one sign and one interval everywhere.
    assert attribution.all_removed == results.combinations[-1].difference_pct
    assert [one.removed_first for one in attribution.effects] == [effects[n] for n in effects]
    removing_all = wording.estimate_words(attribution.all_removed)
    assert removing_all in text
    assert "Shapley" not in section_of("ladder")
    # Without a set that is complete enough, the table is open.
    [row] = results_of("one combination").combinations
    section = section_of("one combination")
    assert wording.decimal(row.accuracy_pct.mean) in section and "<details open>" in section
    assert row.ablation.name in results_csv(results_of("one combination"))
    assert 'id="together"' not in page_of("whole catalogue")


PAIRS = ["no-gap", "no-dropout", "no-batchnorm", "no-dropout+no-gap", "no-batchnorm+no-gap"]
FIVE = [*CORE, find_ablation("no-momentum")]


@pytest.mark.parametrize(
    ("names", "shape", "num_missing"),
    [
        ([one.name for one in design_ablations("factorial", CORE[:2])], (2, 2), 0),
        ([one.name for one in design_ablations("factorial", CORE[:3])], (4, 2), 0),
        ([one.name for one in design_ablations("factorial", CORE)][:-1], (4, 4), 1),
        ([one.name for one in design_ablations("factorial", FIVE)], (8, 4), 0),
        (["target", *PAIRS], (4, 2), 2),
    ],
)
def test_heat_map_has_every_combination(
    names: list[str], shape: tuple[int, int], num_missing: int
) -> None:
    results = make_results(several(2, *names))
    drawn = combinations_figure(results)
    assert drawn
    texts = [one.text for one in ElementTree.fromstring(drawn).iter("text")]
    cells = texts[-shape[0] * shape[1] - 1 :]  # The full network has two lines.
    rows = [row for row in (*results.rows, *results.combinations) if row.difference_pct]
    means = [wording.signed(row.difference_pct.mean) for row in rows]
    assert sorted(cells) == sorted([*means, "full", "network", *["not run"] * num_missing])
    # No colour hides the text on it.
    opacities = re.findall(r'fill-opacity="([\d.]+)"', drawn)
    assert max(map(float, opacities)) == STRONGEST


def test_heat_map_is_left_out_where_it_would_be_mostly_empty_or_too_large() -> None:
    six = [*FIVE, find_ablation("no-augmentation")]
    for ablations in (design_ablations("ladder", CORE), design_ablations("factorial", six)):
        assert (
            combinations_figure(make_results(several(1, *[one.name for one in ablations]))) is None
        )
    # Of two sets without a common map, the first is drawn.
    assert combinations_figure(results_of("two sets of combinations"))


def test_page_begins_with_the_network_and_notices() -> None:
    text = text_of(page_of("whole catalogue"))
    assert "20 epochs of 60,000 images" in text and "18,962" in text
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
    assert "±0.25 points (25 of" in text and "±0.10" not in text
    assert "Up to 2 seeds" in text and "one wider network" in text
    assert "x/record.json: damaged" in text and "no-such-thing" in text
    assert "9.9.9" in text and "differ in: PyTorch and commit." in text


def test_incomplete_studies_state_what_is_missing() -> None:
    contents = answer.contents(make_results({"target": range(3), "no-gap": [0]}))
    assert "4 runs" in contents and "no-relu" in contents
    for study, words in (
        ("diverged", "2 of 2 failed"),
        ("diverged", "Seed 1 diverged in epoch 4: the loss was no longer finite."),
        ("one seed", "Epoch times were not measured yet"),
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
