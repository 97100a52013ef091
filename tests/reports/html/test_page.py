"""The report: complete, honest, safe to open, and the same for the same results."""

import html
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ablations.analysis.attribution import attribute, contribution_with_and_without
from ablations.analysis.statistics import estimate, sampling_noise_pct
from ablations.analysis.summary import Results, results_csv, summarise
from ablations.catalogue.designs import CORE, design_ablations
from ablations.catalogue.entries import CATALOGUE
from ablations.catalogue.presets import QUICK
from ablations.records.run import Environment
from reports.documents.readme import standalone_svg
from reports.figures import svg
from reports.figures.attribution import contributions_figure
from reports.figures.effects import difference_figure
from reports.html.page import NO_EXHIBITS, published_errors_pct, render_page
from reports.text import evidence, methods, wording
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

VOID_ELEMENTS = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</style>&amp;"


class PageReader(HTMLParser):
    """Reads a page as strictly as this project writes it: every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_elements: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.references: list[str] = []
        self.headings: list[int] = []
        self.elements: Counter[str] = Counter()
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open_elements == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.read_attributes(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.open_elements.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.read_attributes(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_elements.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open_elements):
            self.text += data

    def read_attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            value = value or ""
            assert not name.startswith("on"), f"{tag} has a handler: {name}"
            if name == "id":
                self.ids[value] += 1
            elif name in ("href", "xlink:href", "src", "srcset", "action", "data"):
                self.links.append(value)
            elif name in ("aria-labelledby", "aria-describedby"):
                self.references += value.split()
            else:
                # The page's policy would ignore it. (A hostile text may well contain `style=`.)
                assert name != "style", f"{tag} has a style: {value}"
                self.links += re.findall(r"url\(([^)]*)\)", value)


def several(num_seeds: int, *names: str) -> dict[str, range]:
    """The same seeds for each of the names; for the whole catalogue when there is none."""
    return {name: range(num_seeds) for name in names or ALL_NAMES}


FACTORIAL = {ablation.name: range(3) for ablation in design_ablations("factorial", CORE)}
STUDIES = {
    "factorial": lambda: make_results(FACTORIAL),
    "factorial of one seed": lambda: make_results({key: [0] for key in FACTORIAL}),
    "factorial that diverged": lambda: make_results(
        FACTORIAL, diverged=["no-batchnorm+no-dropout+no-gap+no-fc-head"]
    ),
    "ladder": lambda: make_results(
        {ablation.name: range(2) for ablation in design_ablations("ladder", CORE)}
    ),
    "add one in": lambda: make_results(
        {ablation.name: range(2) for ablation in design_ablations("add-one-in", CORE)}
    ),
    "combinations that cannot be combined": lambda: make_results(
        several(2, "target", "no-batchnorm+no-gap", "no-gap+relu-before-batchnorm")
    ),
    "factorial and another ladder": lambda: make_results(
        several(2, "target", "no-gap", "no-dropout", "no-dropout+no-gap")
        | several(1, "no-momentum", "no-augmentation+no-momentum")
    ),
    "combination alone": lambda: make_results(several(2, "target", "no-gap+no-fc-head")),
    "bare network alone": lambda: make_results(several(2, "no-gap+no-fc-head")),
    "one seed": lambda: make_results(several(1, "target", "no-relu", "no-gap")),
    "several seeds": lambda: make_results(
        {**several(3, "target", "no-relu"), "no-momentum": [0]}, timing=make_timing()
    ),
    "diverged": lambda: make_results(
        several(2, "target", "no-batchnorm"), diverged=["no-batchnorm"]
    ),
    "target diverged": lambda: make_results(several(2, "target", "no-gap"), diverged=["target"]),
    "no target": lambda: make_results(several(2, "no-gap", "no-relu")),
    "target alone": lambda: make_results(several(1, "target")),
    "no shared seed": lambda: make_results({"target": [0], "no-gap": [1]}),
    "nothing": lambda: make_results({}),
    "one epoch": lambda: make_results(
        several(1, "target", "no-gap"),
        spec=make_spec(num_epochs=1, num_train_images=QUICK.num_train_images),
    ),
    "digits": lambda: make_results(
        several(2, "target", "no-gap"), spec=make_spec(DIGITS, "scikit-learn digits")
    ),
    "partly timed": lambda: make_results(
        several(1, "target", "no-gap"), timing=make_timing(["target"])
    ),
}


@cache
def page_of(study: str) -> str:
    """The page of one of the studies above."""
    results = STUDIES[study]()
    return render_page(results, make_exhibits(results.study) if results.target else NO_EXHIBITS)


@pytest.fixture(scope="module")
def full_results() -> Results:
    return make_results({**several(3), "no-momentum": [0]}, timing=make_timing())


@pytest.fixture(scope="module")
def full_page(full_results: Results) -> str:
    return render_page(full_results, make_exhibits(full_results.study))


def test_same_results_give_the_same_bytes(full_results: Results, full_page: str) -> None:
    assert render_page(full_results, make_exhibits(full_results.study)) == full_page


def test_page_of_160_runs_is_small() -> None:
    results = make_results(several(10), timing=make_timing())
    assert len(render_page(results, make_exhibits(results.study)).encode()) < 4_000_000


@pytest.mark.parametrize("study", STUDIES)
def test_every_kind_of_study_gives_a_well_formed_page(study: str) -> None:
    page = page_of(study)
    reader = PageReader(page)
    assert all(count == 1 for count in reader.ids.values()), reader.ids.most_common(3)
    assert set(reader.references) <= set(reader.ids)
    links = {link for link in reader.links if not link.startswith("data:image/png;base64,")}
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(reader.ids)
    assert "None" not in re.sub("None: every record", "", reader.text).split()
    assert not re.search(r"\bnan\b|\binf\b", reader.text)


def test_page_loads_nothing(full_page: str) -> None:
    assert "://" not in full_page
    reader = PageReader(full_page)
    assert not reader.elements.keys() & {
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form[action]",
    }
    assert reader.elements["img"] > 100
    scripts = re.findall(r"<script([^>]*)>", full_page)
    assert scripts.count("") == 1, "one script, which the policy names"
    assert all(
        re.fullmatch(r' type="application/json" id="[a-z-]+"', one) for one in scripts if one
    )
    assert "default-src 'none'" in full_page and "unsafe" not in full_page.partition("<title>")[0]


def test_policy_allows_no_style_but_the_pages_own(full_page: str) -> None:
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', full_page)
    assert "unsafe" not in policy
    assert "style-src-attr" not in policy
    assert "style=" not in full_page


@pytest.mark.parametrize(
    ("style", "attributes"),
    [
        ("fill: none; stroke-width: 0.8", ' fill="none" stroke-width="0.8"'),
        ("stroke-dasharray: 1.2,1.98;", ' stroke-dasharray="1.2,1.98"'),
        ("font: 12px 'DejaVu Sans'; fill: red", ' fill="red" font-weight="400" font-size="12px"'),
        ("font: 700 9.5px &apos;A&apos;, &apos;B&apos;", ' font-weight="700" font-size="9.5px"'),
        ("font-size: 12px; font-family: 'DejaVu Sans'", ' font-size="12px"'),
        ("", ""),
    ],
)
def test_styles_become_attributes(style: str, attributes: str) -> None:
    assert svg.attributes(style) == attributes


def test_texts_of_a_figure_stay_as_they_are() -> None:
    with svg.figure_style():
        figure = Figure(figsize=(2, 2))
        text = 'style="fill: red" id="x" #1b2130 1.23456 <path d="1.23456"/>'
        figure.text(0.123456, 0.5, text, weight="bold", color=svg.COLOURS["ink"])
        drawn = svg.to_svg(figure, "some", "title", "description")
    [element] = [found for found in ElementTree.fromstring(drawn).iter("text")]
    assert element.text == text
    assert element.attrib == {
        "x": "17.78", "y": "72", "font-weight": "700", "font-size": "12px", "text-anchor": "start",
        "fill": "var(--figure-ink)",
    }  # fmt: skip


def test_figure_on_its_own_has_its_colours_and_a_ground(full_results: Results) -> None:
    figure = difference_figure(full_results.rows, 0.1)
    assert figure
    drawn = standalone_svg(figure.svg)
    assert "var(" not in drawn
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) <= set(svg.COLOURS.values())
    root = ElementTree.fromstring(drawn)
    assert root.attrib["font-family"] == "sans-serif"
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None and style.text == "svg{background:#fff}"


def test_headings_descend_one_step_at_a_time(full_page: str) -> None:
    headings = PageReader(full_page).headings
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))


def test_every_number_of_the_results_is_on_the_page(full_results: Results, full_page: str) -> None:
    text = PageReader(full_page).text
    for row in full_results.rows:
        assert row.ablation.name in text
        assert f"{row.accuracy_pct.mean:.2f}" in text
        assert f"{row.parameters:,}" in text
        assert f"{row.multiply_adds:,}" in text
        for value in (*row.accuracy_pct.by_seed.values(), row.best_epoch_accuracy_pct.mean):
            assert f"{value:.2f}" in text
        if row.difference_pct:
            assert wording.signed(row.difference_pct.mean) in text


def test_every_ablation_has_a_section_with_what_it_changes(full_page: str) -> None:
    text = PageReader(full_page).text
    for name in ALL_NAMES:
        assert f'id="entry-{name}"' in full_page
    assert "- block='conv-bn-relu'\n+ block='conv-relu'" in text
    assert "- momentum=0.9\n+ momentum=0.0" in text
    assert "num_epochs" not in text


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(noise=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_no_text_of_a_record_becomes_markup(noise: str) -> None:
    hostile = HOSTILE + noise
    environment = msgspec.structs.replace(ENVIRONMENT, device_name=hostile, commit=hostile)
    spec = make_spec(title=hostile, num_epochs=1)
    study = make_study(
        several(1, "target", "no-gap"), spec=spec, environment=environment, problems=(hostile,)
    )
    results = summarise(replace(study, name=hostile))
    row = results.rows[1]
    ablation = replace(
        row.ablation, removes=hostile, question=hostile, expectation=hostile, source=hostile
    )
    rows = [results.rows[0], msgspec.structs.replace(row, ablation=ablation)]
    exhibits = make_exhibits(study, class_names=[hostile] * 10)
    page = render_page(
        msgspec.structs.replace(results, rows=rows), replace(exhibits, problems=(hostile,))
    )
    # Its own script, networks and numbers to save; the numbers are JSON, where < is escaped.
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img src=x" not in page and "<script>alert" not in page
    assert escape(HOSTILE, quote=False)[:8] in page
    assert "49" not in re.findall(r"&gt;(\S+)&lt;", page)
    assert page.count("</style>") == 1
    PageReader(page)


def test_dollars_in_a_title_stay_text() -> None:
    # Matplotlib would set what stands between two of them as a formula.
    spec = make_spec(title="$x_1$ <b>")
    page = render_page(make_results(several(1, "target", "no-gap"), spec=spec))
    assert "$x_1$ <b>" in PageReader(page).text
    assert "<b>" not in page


def test_answer_names_the_largest_cost_and_its_seeds() -> None:
    answer = wording.answer(make_results(several(3, "target", "no-relu", "no-gap")))
    assert "mean of 3 seeds" in answer.lead
    assert "no-relu (without the activation function) ended lowest: 3." in answer.lowest
    assert "one seed" not in answer.caveats


def test_answer_says_that_single_seeds_prove_little() -> None:
    answer = wording.answer(make_results(several(1, "target", "no-relu", "no-gap")))
    assert "(1 seed)" in answer.lead
    assert "All were compared on one seed only" in answer.caveats
    [removal] = answer.removals
    assert removal.verdict == "inconclusive with one seed"


def test_noise_of_a_test_set_is_the_binomial_interval() -> None:
    assert sampling_noise_pct(99.4, 10_000) == pytest.approx(0.15, abs=0.005)
    assert 0 < sampling_noise_pct(100.0, 360) < 1


def test_difference_that_is_not_told_from_zero_is_not_called_equal() -> None:
    results = make_results(several(3, "target", "single-fc", "no-relu"))
    answer = wording.answer(results)
    verdicts = {row.ablation.name: row.verdict for row in results.rows if row.verdict}
    assert verdicts["single-fc"].effect == "unclear" != verdicts["no-relu"].effect
    assert answer.lowest.endswith(
        "Of the 2, 1 is significantly worse than the target and 1 shows no significant "
        "difference, which is not the same as being equal."
    )
    assert wording.tally(results.rows[2:]) == "It is significantly worse than the target."


def test_interval_that_says_more_than_the_corrected_test_is_put_right() -> None:
    results = make_results(several(3, "target", "no-gap", "no-gap-matched"))
    row = results.rows[1]
    assert row.difference_pct and row.verdict
    for bounds, effect, is_said in (
        ((0.02, 0.16), "unclear", True),
        ((-0.16, -0.02), "unclear", True),
        ((-0.02, 0.16), "unclear", False),
        ((0.02, 0.16), "helps", False),
        (None, "unclear", False),
    ):
        changed = msgspec.structs.replace(
            row,
            difference_pct=msgspec.structs.replace(row.difference_pct, interval_95=bounds),
            verdict=msgspec.structs.replace(row.verdict, effect=effect),
        )
        answer = wording.answer(
            msgspec.structs.replace(results, rows=[results.rows[0], changed, results.rows[2]])
        )
        [removal] = answer.removals
        assert bool(removal.chance) == is_said
        assert not is_said or "can happen by chance among 2 comparisons" in removal.chance


@pytest.mark.parametrize("study", STUDIES)
def test_page_never_claims_that_there_is_no_effect(study: str) -> None:
    assert "no effect" not in page_of(study).lower()


def test_every_verdict_is_said_with_its_tests(full_results: Results, full_page: str) -> None:
    section = full_page.split('id="evidence"')[1].split("</section>")[0]
    lines = [
        " ".join(PageReader(line).text.split())
        for line in re.findall(r"<tr.*?</tr>", section, re.DOTALL)
    ]
    all_details = set()
    for row in full_results.rows:
        if row.verdict is None or row.difference_pct is None:
            continue
        [text] = [line for line in lines if line.split(" ")[0] == row.ablation.name]
        assert evidence.verdict_name(row.verdict) in text
        details = evidence.verdict_details(row.verdict, 0.1)
        all_details.add(details)
        assert details in text
        if row.difference_pct.cohens_d_z is not None:
            assert wording.signed(row.difference_pct.cohens_d_z, 1) in text
    assert len(all_details) > 2
    text = " ".join(PageReader(full_page).text.split())
    # Of three seeds, no permutation test can have a smaller p value.
    assert "(0.250)" in text
    assert "McNemar" in text


def test_combinations_are_shown_and_counted_without_a_design() -> None:
    results = STUDIES["combination alone"]()
    page = page_of("combination alone")
    [row] = results.combinations
    assert wording.decimal(row.accuracy_pct.mean) in page.split('id="combinations"')[1]
    assert "This study contains 4 runs" in page
    assert "no-gap+no-fc-head" in results_csv(results)


def test_worth_alone_is_compared_only_where_the_test_tells() -> None:
    [found] = STUDIES["factorial"]().attributions
    first, *others = found.contributions
    for p, is_reported in ((0.04, True), (0.06, False), (None, False)):
        contribution = msgspec.structs.replace(
            first,
            left_out=estimate({0: 0.1}),
            alone=estimate({0: -0.4}),
            alone_minus_left_out_p=p,
        )
        silent = [msgspec.structs.replace(one, alone_minus_left_out_p=None) for one in others]
        changed = msgspec.structs.replace(found, contributions=[contribution, *silent])
        words = (
            "With the other ingredients present, batch normalisation contributes +0.10 points; "
            "without them, −0.40."
        )
        assert evidence.alone_sentences(changed) == (words if is_reported else "")


def test_interactions_are_read_out_where_their_intervals_miss_zero() -> None:
    [found] = STUDIES["factorial"]().attributions
    first = found.interactions[0]
    for bounds, is_told in (((0.1, 0.3), True), ((-0.3, -0.1), True), ((-0.1, 0.3), False), (None, False)):  # fmt: skip
        effect = msgspec.structs.replace(first.effect, interval_95=bounds)
        one = msgspec.structs.replace(first, effect=effect)
        told = evidence.interaction_sentences(msgspec.structs.replace(found, interactions=[one]))
        beside, without = map(wording.signed, contribution_with_and_without(found, one))
        words = (
            f"batch normalisation contributes {beside} points with dropout and {without} without"
        )
        assert told == (words if is_told else "")


def test_answer_says_what_removing_everything_does() -> None:
    [found] = STUDIES["factorial"]().attributions
    text = " ".join(PageReader(page_of("factorial")).text.split())
    section = text.split("The answer The full")[1].split("To the top")[0]
    assert f"at once: {wording.signed(-found.full_minus_bare.mean)} points (3 seeds, 95" in section
    assert "minus the bare one" not in section


def test_page_begins_with_what_the_network_is(full_page: str) -> None:
    begin = " ".join(full_page.split("<nav")[0].split("<h1>")[1].split())
    assert "6 convolutional blocks in 3 stages and 18,962 parameters" in begin
    assert "for 20 epochs of 60,000 images" in begin
    assert 'href="#requirements">its four requirements' in begin and "In a hurry?" in begin
    assert "for 1 epoch of" in page_of("one epoch").split("<nav")[0]
    assert "The network:" not in page_of("no target").split("<nav")[0]
    assert len(STUDIES["one seed"]().requirements) == 4


def test_legend_has_every_measure_once() -> None:
    # All three removed, each put back alone; left out of the whole only one of them.
    names = ("no-batchnorm", "no-dropout", "no-gap")
    cells = [frozenset(), frozenset(names), *(frozenset(names) - {name} for name in names)]
    cells.append(frozenset({"no-gap"}))
    [found] = attribute({cell: {0: 99.0, 1: 98.0} for cell in cells}, names)
    drawn = contributions_figure(found, wording.REMOVED_WORDS, "contributions")
    legend = re.findall(r">(left out|alone|main effect|Shapley value)<", drawn)
    assert sorted(legend) == ["alone", "left out"]


def test_sizes_stand_beside_what_is_compared() -> None:
    text = " ".join(PageReader(page_of("factorial")).text.split())
    results = STUDIES["factorial"]()
    [found] = results.attributions
    [bare] = [row for row in results.combinations if set(row.ablation.parts) == set(found.names)]
    assert "The full network (18,962 parameters)" in text
    assert f"minus the bare one ({bare.parameters:,} parameters" in text


@pytest.mark.parametrize("field", Environment.__struct_fields__)
def test_environments_that_differ_are_told_apart(field: str) -> None:
    value = getattr(ENVIRONMENT, field)
    other = msgspec.structs.replace(ENVIRONMENT, **{field: 9 if isinstance(value, int) else "x"})
    assert methods.differing_fields([(ENVIRONMENT, 1), (other, 1)])


def test_records_without_wrong_images_have_no_noise_section() -> None:
    study = make_study(several(2, "target", "no-gap"))
    records = [msgspec.structs.replace(record, wrong_test_images=None) for record in study.records]
    page = render_page(summarise(replace(study, records=tuple(records))))
    assert "do not name the wrong test images" in " ".join(page.split())


def test_margin_is_the_studys() -> None:
    spec = msgspec.structs.replace(make_spec(), margin_pct=0.25)
    page = render_page(make_results(several(3, "target", "no-gap"), spec=spec))
    assert "A difference below 0.25 points (25 of" in page
    assert "±0.10" not in page


def test_worth_of_every_ingredient_is_on_the_page() -> None:
    results = STUDIES["factorial"]()
    [attribution] = results.attributions
    text = " ".join(PageReader(page_of("factorial")).text.split())
    for worth in attribution.contributions:
        for measure in (worth.left_out, worth.alone, worth.main_effect, worth.shapley):
            assert measure is not None
            assert wording.signed(measure.mean) in text
    for interaction in attribution.interactions:
        assert wording.signed(interaction.effect.mean) in text
        beside, without = contribution_with_and_without(attribution, interaction)
        assert f"{wording.signed(beside)} {wording.signed(without)}" in text
    for row in results.combinations:
        assert row.ablation.removes in text
    assert "Shapley" not in page_of("ladder").split('id="together"')[1].split("</section>")[0]


def test_answer_begins_with_the_assignments_concepts() -> None:
    results = make_results(several(3, "target", *(entry.name for entry in CORE), "no-relu"))
    removals = wording.answer(results).removals
    core = [row for row in results.rows if row.ablation.is_core]
    assert len(removals) == len(core) == 4
    for row, removal in zip(core, removals, strict=True):
        assert row.verdict and row.difference_pct and row.difference_pct.interval_95
        assert removal.effect == row.verdict.effect and removal.concept == row.ablation.removes
        mean = wording.signed(row.difference_pct.mean)
        bounds = wording.interval(row.difference_pct.interval_95)
        numbers = f"{mean} points (3 seeds, 95\N{NO-BREAK SPACE}% interval {bounds})"
        assert removal.points == f"Removing it: {numbers}"
        words = {
            "hurts": "significantly worse",
            "helps": "significantly better",
            "unclear": "no significant difference",
        }
        assert words[removal.effect] in removal.verdict
    [size] = [removal.size for removal in removals if removal.size]
    assert "43,538 parameters, beyond the assignment’s limit of 20,000" in size
    assert "at about the target" not in size


def test_answer_compares_at_one_size_where_that_was_run() -> None:
    results = make_results(several(3, "target", "no-gap", "no-gap-matched"))
    [removal] = wording.answer(results).removals
    matched = results.rows[2].difference_pct
    assert matched is not None and results.rows[2].verdict
    assert f"target’s size: {wording.signed(matched.mean)} points (3 seeds" in removal.size


def test_disturbed_epoch_times_are_not_passed_on_in_silence() -> None:
    study = make_study(several(2, "target", "no-gap"))
    timing = make_timing(["target", "no-gap"])
    quiet = summarise(replace(study, timing=timing))
    assert wording.timing_notice(quiet) == ""
    times = dict(timing.by_ablation)
    seconds = times["no-gap"].seconds_by_round
    times["no-gap"] = msgspec.structs.replace(
        times["no-gap"], seconds_by_round=[*seconds[:-1], 3 * seconds[0]]
    )
    busy = summarise(replace(study, timing=msgspec.structs.replace(timing, by_ablation=times)))
    notice = wording.timing_notice(busy)
    assert "for no-gap: another program used the machine" in notice
    assert notice in render_page(busy)


def test_machine_that_became_slower_is_said_where_the_times_stand() -> None:
    study = make_study(several(2, "target", "no-gap", "no-relu"))
    timing = make_timing(["target", "no-gap", "no-relu"])
    by_ablation = {
        name: msgspec.structs.replace(
            # A processor that gets warm: every variant, a little slower from round to round.
            found,
            seconds_by_round=[
                seconds * 1.05**number for number, seconds in enumerate(found.seconds_by_round)
            ],
        )
        for name, found in timing.by_ablation.items()
    }
    warm = msgspec.structs.replace(timing, by_ablation=by_ablation)
    results = summarise(replace(study, timing=warm))
    num_rounds = len(timing.by_ablation["target"].seconds_by_round)
    notice = wording.timing_notice(results)
    assert f"round {num_rounds} of {num_rounds} was the slowest" in notice
    assert notice in render_page(results)


def test_differences_between_runs_of_different_versions_are_said() -> None:
    study = make_study(several(3, "target", "no-gap"))
    assert wording.mixed_notices(study) == []
    newer = msgspec.structs.replace(ENVIRONMENT, torch_version="9.9")
    other_commit = msgspec.structs.replace(ENVIRONMENT, commit="another")
    records = [
        msgspec.structs.replace(
            record,
            environment={("no-gap", 1): newer, ("no-gap", 2): other_commit}.get(
                (record.run_spec.ablation, record.run_spec.seed), ENVIRONMENT
            ),
        )
        for record in study.records
    ]
    mixed = replace(study, records=tuple(records))
    [notice] = wording.mixed_notices(mixed)
    assert notice.startswith("1 of 3 paired differences compares runs")
    assert "another PyTorch version than" in notice
    assert "NumPy" not in notice
    assert notice in html.unescape(render_page(summarise(mixed)))


def test_answer_of_an_unfinished_study_says_what_it_contains() -> None:
    contents = wording.contents(make_results({"target": range(3), "no-gap": [0]}))
    assert f"4 runs, of 2 of the catalogue's {len(CATALOGUE)} entries" in contents
    assert "With fewer than 3 seeds: no-gap (1)." in contents
    assert "no-relu" in contents


def test_other_data_is_announced_and_the_published_run_is_not_drawn() -> None:
    page = page_of("digits")
    assert "These are not MNIST&#39;s numbers" in page
    assert "published run, 1 seed" not in page
    assert "--dataset digits" in page


def test_short_training_is_announced_and_the_published_run_is_not_drawn() -> None:
    page = PageReader(page_of("one epoch")).text
    assert f"Training was shorter than in the exercise: {QUICK.num_train_images:,} images" in page
    assert "The numbers cannot be compared with the exercise's" in page
    assert "published run, 1 seed" not in page
    assert (
        "--preset quick --dataset mnist --epochs 1 --device cpu --arithmetic plain --margin 0.1 --seeds 0"
        in page
    )


def test_full_study_has_no_notice_and_draws_the_published_run(full_page: str) -> None:
    assert "Please note" not in full_page
    assert "published run, 1 seed" in full_page


def test_published_log_ends_where_the_published_run_ended() -> None:
    errors_pct = published_errors_pct()
    assert len(errors_pct) == 20
    assert errors_pct[-1] == pytest.approx(0.55)


def test_divergence_is_said_in_words() -> None:
    text = PageReader(page_of("diverged")).text
    assert "2 of 2 diverged" in text
    assert "seed 0 in epoch 4, seed 1 in epoch 4." in re.sub(r"\s+", " ", text)


def test_missing_times_are_said_in_words() -> None:
    assert "not measured yet" in page_of("partly timed")
    assert "Not measured yet" in page_of("one seed")


def test_requirements_are_met_in_words() -> None:
    text = re.sub(r"\s+", " ", PageReader(page_of("one epoch")).text)
    assert "✗ Not met: at least 99.4 %" in text
    undecided = re.sub(r"\s+", " ", PageReader(page_of("one seed")).text)
    assert "? Undecided: at least 99.4 %" in undecided
    diverged = re.sub(r"\s+", " ", PageReader(page_of("target diverged")).text)
    assert "✗ Not met: at least 99.4 %" in diverged
    assert "✓ Met: fewer than 20,000 parameters" in text


def test_seeds_that_shared_a_network_are_said(full_page: str) -> None:
    study = make_study(several(2, "target", "no-gap"))
    records = tuple(msgspec.structs.replace(record, num_replicas=2) for record in study.records)
    page = render_page(summarise(replace(study, records=records)))
    assert "Up to 2 seeds of an ablation were trained as one wider network" in page
    assert "as one wider network" not in full_page


def test_left_out_records_and_several_environments_are_listed() -> None:
    study = make_study(several(1, "target", "no-gap"), problems=("x/record.json: damaged",))
    other = msgspec.structs.replace(ENVIRONMENT, torch_version="9.9.9")
    first, second = study.records
    gone = replace(first.run_spec, ablation="no-such-thing")
    records = (
        first,
        msgspec.structs.replace(second, environment=other),
        msgspec.structs.replace(first, run_spec=gone),
    )
    text = PageReader(render_page(summarise(replace(study, records=records)))).text
    assert "x/record.json: damaged" in text
    assert "no-such-thing" in text
    assert "9.9.9" in text
    assert "differ in:\n    PyTorch." in text


@pytest.mark.parametrize(
    ("seeds_by_name", "commands"),
    [
        (
            several(2),
            [
                "--all --dataset mnist --epochs 20 --device cpu --arithmetic plain --margin 0.1 --seeds 0,1"
            ],
        ),
        (
            {"target": [0, 1], "no-gap": [0]},
            [
                "no-gap --dataset mnist --epochs 20 --device cpu --arithmetic plain --margin 0.1 --seeds 0"
            ],
        ),
        (
            {"target": [4]},
            [
                "target --dataset mnist --epochs 20 --device cpu --arithmetic plain --margin 0.1 --seeds 4"
            ],
        ),
        (
            FACTORIAL,
            [
                (
                    "--design factorial no-batchnorm no-dropout no-gap no-fc-head --dataset mnist "
                    "--epochs 20 --device cpu --arithmetic plain --margin 0.1 --seeds 0,1,2"
                )
            ],
        ),
        (
            {"target": [0], "no-gap+no-fc-head+no-dropout": [0]},
            [
                (
                    "no-dropout+no-gap+no-fc-head --dataset mnist --epochs 20 --device cpu "
                    "--arithmetic plain --margin 0.1 --seeds 0"
                )
            ],
        ),
    ],
)
def test_commands_repeat_the_study(seeds_by_name: dict[str, range], commands: list[str]) -> None:
    found = methods.reproduce_commands(make_results(seeds_by_name))
    assert set(commands) <= {line.removeprefix("python cli.py ablate ") for line in found}


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (-0.001, "0.00"), (-1.5, "−1.50"), (0.25, "+0.25")]
)
def test_differences_are_written_with_their_sign(value: float, text: str) -> None:
    assert wording.signed(value) == text
