"""The report: complete, well-formed, safe to open, and the same for the same results."""

import html
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from operator import mul
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
from reports.text import answer, evidence, methods, wording
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

TIMED = ("target", "no-gap", "no-relu")
VOID_ELEMENTS = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</style>&amp;"


class PageReader(HTMLParser):
    """Reads a page strictly: every element is closed in order, without handlers and styles."""

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
        self.handle_startendtag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.open_elements.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            value = value or ""
            assert not name.startswith("on") and name != "style", f"{tag} has {name}"
            if name == "id":
                self.ids[value] += 1
            elif name in ("href", "xlink:href", "src", "srcset", "action", "data"):
                self.links.append(value)
            elif name in ("aria-labelledby", "aria-describedby"):
                self.references += value.split()
            else:
                self.links += re.findall(r"url\(([^)]*)\)", value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_elements.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open_elements):
            self.text += data


def text_of(page: str) -> str:
    return " ".join(PageReader(page).text.split())


def several(num_seeds: int, *names: str) -> dict[str, range]:
    """The same seeds for each of the names, or for the whole catalogue."""
    return {name: range(num_seeds) for name in names or ALL_NAMES}


def design(name: str, num_seeds: int) -> dict[str, range]:
    return {ablation.name: range(num_seeds) for ablation in design_ablations(name, CORE)}


FACTORIAL = design("factorial", 3)
SHORT = make_spec(num_epochs=1, num_train_images=QUICK.num_train_images)
STUDIES: dict[str, tuple[dict, dict]] = {
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
    "several seeds": ({**several(3, "target", "no-relu"), "no-momentum": [0]}, {"timing": make_timing()}),
    "diverged": (several(2, "target", "no-batchnorm"), {"diverged": ["no-batchnorm"]}),
    "target diverged": (several(2, "target", "no-gap"), {"diverged": ["target"]}),
    "no target": (several(2, "no-gap", "no-relu"), {}),
    "target alone": (several(1, "target"), {}),
    "no shared seed": ({"target": [0], "no-gap": [1]}, {}),
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


@pytest.fixture(scope="module")
def full_results() -> Results:
    return make_results({**several(3), "no-momentum": [0]}, timing=make_timing())


@pytest.fixture(scope="module")
def full_page(full_results: Results) -> str:
    return render_page(full_results, make_exhibits(full_results.study))


def test_same_results_give_the_same_bytes(full_results: Results, full_page: str) -> None:
    assert render_page(full_results, make_exhibits(full_results.study)) == full_page
    assert len(full_page.encode()) < 4_000_000


@pytest.mark.parametrize("study", STUDIES)
def test_every_kind_of_study_gives_a_well_formed_page(study: str) -> None:
    page = page_of(study)
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


def test_page_loads_nothing_and_runs_only_its_own_script(full_page: str) -> None:
    assert "://" not in full_page
    reader = PageReader(full_page)
    assert not reader.elements.keys() & {"link", "iframe", "object", "embed", "base"}
    assert reader.elements["img"] > 100
    scripts = re.findall(r"<script([^>]*)>", full_page)
    assert scripts.count("") == 1 and '<script>"use strict";' in full_page
    assert all(
        re.fullmatch(r' type="application/json" id="[a-z-]+"', one) for one in scripts if one
    )
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', full_page)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "attr" not in policy
    script = read_static(".js")
    assert not re.search(r"</|<!--|innerHTML", script), "the script could end its own element"


def test_no_text_of_a_record_becomes_markup() -> None:
    environment = msgspec.structs.replace(ENVIRONMENT, device_name=HOSTILE, commit=HOSTILE)
    # Matplotlib would set a text between two dollars as a formula.
    spec = make_spec(title=f"$x_1$ {HOSTILE}", num_epochs=1)
    study = make_study(
        several(1, "target", "no-gap"), spec=spec, environment=environment, problems=(HOSTILE,)
    )
    results = summarise(replace(study, name=HOSTILE))
    row = results.rows[1]
    fields = dict.fromkeys(("removes", "question", "expectation", "source"), HOSTILE)
    hostile_row = msgspec.structs.replace(row, ablation=replace(row.ablation, **fields))
    results = msgspec.structs.replace(results, rows=[results.rows[0], hostile_row])
    exhibits = make_exhibits(study, class_names=[HOSTILE] * 10)
    page = render_page(results, replace(exhibits, problems=(HOSTILE,)))
    # The script, the networks, and the results to download.
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img src=x" not in page and "<script>alert" not in page and page.count("</style>") == 1
    assert "$x_1$ <script>" in PageReader(page).text and "{{ 7*7 }}" in PageReader(page).text


def test_text_of_a_figure_is_not_changed() -> None:
    with svg.figure_style():
        figure = Figure(figsize=(2, 2))
        text = 'style="fill: red" id="x" #1b2130 1.23456 <path d="1.23456"/>'
        figure.text(0.123456, 0.5, text, weight="bold", color=svg.COLOURS["ink"])
        drawn = svg.to_svg(figure, "some", "title", "description")
    [element] = ElementTree.fromstring(drawn).iter("text")
    assert element.text == text and element.attrib["fill"] == "var(--figure-ink)"


def test_standalone_figure_has_its_colours_and_a_background(full_results: Results) -> None:
    figure = difference_figure(full_results.rows, 0.1)
    assert figure
    drawn = standalone_svg(figure)
    assert "var(" not in drawn
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) <= set(svg.COLOURS.values())
    style = ElementTree.fromstring(drawn).find("{http://www.w3.org/2000/svg}style")
    assert style is not None and style.text == "svg{background:#fff}"


def test_one_row_far_away_makes_the_axis_logarithmic(full_results: Results) -> None:
    far = make_results(several(3), diverged=["no-batchnorm"])
    for results, is_logarithmic in ((full_results, False), (far, True)):
        drawn = difference_figure(results.rows, 0.1)
        assert drawn and ("logarithmic beyond ±1 (shaded)" in drawn) == is_logarithmic


def test_page_has_every_number_and_change(full_results: Results, full_page: str) -> None:
    text = text_of(full_page)
    for row in full_results.rows:
        assert f'id="entry-{row.ablation.name}"' in full_page
        values = [row.accuracy_pct.mean, *row.accuracy_pct.by_seed.values()]
        numbers = [f"{value:.2f}" for value in (*values, row.best_epoch_accuracy_pct.mean)]
        numbers += [f"{row.parameters:,}", f"{row.multiply_adds:,}"]
        if row.difference_pct:
            numbers.append(wording.signed(row.difference_pct.mean))
        assert all(number in text for number in numbers), row.ablation.name
    assert "- block='conv-bn-relu' + block='conv-relu'" in text
    assert "num_epochs" not in text


def test_verdicts_have_their_tests(full_results: Results, full_page: str) -> None:
    section = full_page.split('id="evidence"')[1].split("</section>")[0]
    lines = [text_of(line) for line in re.findall(r"<tr.*?</tr>", section, re.DOTALL)]
    for row in full_results.rows:
        if row.verdict and row.difference_pct:
            [text] = [line for line in lines if line.split(" ")[0] == row.ablation.name]
            assert evidence.verdict_name(row.verdict) in text
            assert evidence.verdict_details(row.verdict, 0.1) in text
            if row.difference_pct.cohens_d_z is not None:
                assert wording.signed(row.difference_pct.cohens_d_z, 1) in text
    # With three seeds, no permutation test can have a smaller p-value.
    assert "(0.250)" in text_of(section) and "McNemar" in section


def test_answer_has_the_core_concepts_with_their_numbers() -> None:
    names = ("target", *(entry.name for entry in CORE), "no-gap-matched", "no-relu")
    results = make_results(several(3, *names))
    found = answer.answer(results)
    core = [row for row in results.rows if row.ablation.is_core]
    assert "3 seeds" in found.lead and "no-relu" in found.lowest
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


def test_page_begins_with_the_network(full_page: str) -> None:
    begin = " ".join(full_page.split("<nav")[0].split("<h1>")[1].split())
    assert "6 convolutional blocks in 3 stages and 18,962 parameters" in begin
    assert "for 20 epochs of 60,000 images" in begin and 'href="#requirements"' in begin
    assert "for 1 epoch of" in page_of("one epoch").split("<nav")[0]
    assert "The network:" not in page_of("no target").split("<nav")[0]


def test_notices_are_on_the_page(full_page: str) -> None:
    assert "Please note" not in full_page and "published run, 1 seed" in full_page
    for study in ("digits", "one epoch"):
        text = text_of(page_of(study))
        [notice] = answer.notices(results_of(study).study.spec)
        assert f"Please note: {notice}" in text
        assert "published run, 1 seed" not in text
    errors_pct = published_errors_pct()
    assert len(errors_pct) == 20 and errors_pct[-1] == pytest.approx(0.55)


def test_mixed_versions_have_a_notice() -> None:
    study = make_study(several(3, "target", "no-gap"))
    assert answer.notices(study.spec, study.records) == []
    # Another commit alone changes no number.
    changes = {("no-gap", 1): {"torch_version": "9.9"}, ("no-gap", 2): {"commit": "another"}}
    records = [
        msgspec.structs.replace(
            record,
            environment=msgspec.structs.replace(
                ENVIRONMENT, **changes.get((record.run_spec.ablation, record.run_spec.seed), {})
            ),
        )
        for record in study.records
    ]
    mixed = replace(study, records=tuple(records))
    [notice] = answer.notices(mixed.spec, mixed.records)
    assert notice.startswith("1 of 3 paired differences")
    assert "PyTorch" in notice and "NumPy" not in notice
    assert notice in html.unescape(render_page(summarise(mixed)))


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({}, ""),
        ({"no-gap": [1, 1, 1, 1, 3]}, "times the fastest for no-gap: another program"),
        # All variants become slower, as when a processor gets warm.
        ({name: [1.05**i for i in range(5)] for name in TIMED}, "round 5 of 5"),
    ],
)
def test_unreliable_epoch_times_have_a_notice(factors: dict[str, list[float]], words: str) -> None:
    study, timing = make_study(several(2, *TIMED)), make_timing(TIMED)
    times = {
        name: msgspec.structs.replace(
            found,
            seconds_by_round=list(map(mul, found.seconds_by_round, factors.get(name, [1] * 5))),
        )
        for name, found in timing.by_ablation.items()
    }
    timed = replace(study, timing=msgspec.structs.replace(timing, by_ablation=times))
    notice = answer.timing_notice(summarise(timed))
    assert words in notice and bool(words) == bool(notice)
    assert notice in html.unescape(render_page(summarise(timed)))


def test_incomplete_studies_state_what_is_missing() -> None:
    contents = answer.contents(make_results({"target": range(3), "no-gap": [0]}))
    assert "4 runs" in contents and "no-relu" in contents
    assert "2 of 2 diverged" in (text := text_of(page_of("diverged")))
    assert "seed 0 in epoch 4, seed 1 in epoch 4." in text
    assert "not measured yet" in page_of("partly timed") and "Not measured yet" in page_of(
        "one seed"
    )
    for study, words in (
        ("one epoch", "✗ Not met: at least 99.4 %"),
        ("one seed", "? Undecided: at least 99.4 %"),
        ("target diverged", "✗ Not met: at least 99.4 %"),
        ("target diverged", "✓ Met: fewer than 20,000 parameters"),
    ):
        assert words in text_of(page_of(study))
    study = make_study(several(2, "target", "no-gap"))
    records = [msgspec.structs.replace(record, wrong_test_images=None) for record in study.records]
    page = render_page(summarise(replace(study, records=tuple(records))))
    assert "do not name the wrong test images" in text_of(page)


def test_methods_list_margin_groups_environments_and_left_out_records() -> None:
    spec = msgspec.structs.replace(make_spec(), margin_pct=0.25)
    study = make_study(
        several(1, "target", "no-gap"), spec=spec, problems=("x/record.json: damaged",)
    )
    other = msgspec.structs.replace(ENVIRONMENT, torch_version="9.9.9")
    first, second = study.records
    unknown = replace(first.run_spec, ablation="no-such-thing")
    records = (
        msgspec.structs.replace(first, num_replicas=2),
        msgspec.structs.replace(second, environment=other),
        msgspec.structs.replace(first, run_spec=unknown),
    )
    text = text_of(render_page(summarise(replace(study, records=records))))
    assert "0.25 points (25 of" in text and "±0.10" not in text
    assert "Up to 2 seeds" in text and "one wider network" in text
    assert "x/record.json: damaged" in text and "no-such-thing" in text
    assert "9.9.9" in text and "differ in: PyTorch." in text


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
        (
            {"target": [0], "no-gap+no-fc-head+no-dropout": [0]},
            "no-dropout+no-gap+no-fc-head ... --seeds 0",
        ),
    ],
)
def test_commands_reproduce_the_study(seeds_by_name: dict[str, range], command: str) -> None:
    options = "--dataset mnist --epochs 20 --device cpu --arithmetic plain --margin 0.1"
    found = methods.reproduce_commands(make_results(seeds_by_name))
    assert f"python cli.py ablate {command.replace('...', options)}" in found
    quick = methods.reproduce_commands(results_of("one epoch"))
    assert quick[0].endswith(
        "--preset quick --dataset mnist --epochs 1 --device cpu --arithmetic plain --margin 0.1 --seeds 0"
    )


def test_differences_have_a_sign() -> None:
    values = {0.0: "0.00", -0.001: "0.00", -1.5: "−1.50", 0.25: "+0.25"}
    assert {value: wording.signed(value) for value in values} == values
