"""What the cards and the explanations state: it follows from what was measured."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from PIL import Image

from ablations.analysis.mechanisms import SignalProfile, compare_gaps, observed_pair
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE
from ablations.inspection.load import Exhibits
from reports.figures.mechanisms import signal_figure
from reports.html.cards import confusion_of, finding
from reports.html.live import image_picture
from reports.html.mechanisms import EXPLANATIONS, make_mechanisms
from reports.html.page import render_page
from reports.text.predict import Outcome, choices
from reports.text.templates import render_paragraphs
from reports.text.wording import two_digits, verdict_name
from tests.factories import make_results

RIGHT, WRONG, POSSIBLE = get_args(Outcome)


def row_named(results: Results, name: str) -> AblationResult:
    return next(row for row in results.rows if row.ablation.name == name)


def with_verdict(results: Results, verdict: Verdict | None) -> AblationResult:
    """A row with another verdict; None: as with one seed."""
    row = row_named(results, "no-batchnorm")
    difference = msgspec.structs.replace(row.difference_pct, num_seeds=(3 if verdict else 1, 3))
    return msgspec.structs.replace(row, difference_pct=difference, verdict=verdict)


@pytest.mark.parametrize(
    ("verdict", "words", "outcomes"),
    [
        (Verdict("hurts", "above"), "Without batch normalisation the network is worse, by more than 0.10 points.", [RIGHT, WRONG, WRONG]),
        (Verdict("helps", "above"), "is better, by more than", [WRONG, WRONG, RIGHT]),
        (Verdict("hurts", "below"), "is worse, and the difference is less than 0.10 points.", [WRONG, RIGHT, WRONG]),
        (Verdict("no clear effect", "below"), "neither clearly worse nor clearly better, and the difference is less than", [WRONG, RIGHT, WRONG]),
        (Verdict("hurts", "uncertain"), "is worse. Whether the difference is larger than 0.10 points is uncertain.", [POSSIBLE, POSSIBLE, WRONG]),
        (Verdict("helps", "uncertain"), "is better. Whether", [WRONG, POSSIBLE, POSSIBLE]),
        (Verdict("no clear effect", "uncertain"), "neither clearly worse nor clearly better. Whether", [POSSIBLE] * 3),
        (Verdict("hurts", "above", is_provisional=True), "Provisional, between two planned looks: Without", [RIGHT, WRONG, WRONG]),
        (None, "ne seed: three seeds of it and of the target are needed", [POSSIBLE] * 3),
    ],
)  # fmt: skip
def test_finding_and_outcomes_of_guesses_follow_the_verdict(
    results: Results, verdict: Verdict | None, words: str, outcomes: list[Outcome]
) -> None:
    row = with_verdict(results, verdict)
    assert words in finding(row, 0.1)
    for choice, outcome in zip(choices(row, 0.1), outcomes, strict=True):
        assert choice.outcome == outcome and "0.10 points" in choice.words
        known = (
            f"the verdict is “{verdict_name(row, 0.1)}”" if verdict else "no verdict from one seed"
        )
        assert choice.reason.startswith(f"{outcome.capitalize()}: {known}")


def test_nothing_is_known_without_a_run_of_the_target() -> None:
    row = row_named(make_results({"no-augmentation": range(3)}), "no-augmentation")
    assert finding(row, 0.25) == ""
    for choice in choices(row, 0.25):
        assert choice.outcome == POSSIBLE and "no comparison" in choice.reason
        assert "0.25 points" in choice.words


def test_confusion_is_summed_over_seeds(results: Results, exhibits: Exhibits) -> None:
    row = row_named(results, "no-relu")
    found = confusion_of(row, exhibits)
    assert found is not None and found.num_seeds == 3
    assert sum(map(sum, found.counts)) == 3 * results.study.spec.dataset.num_test
    wrong = sum(len(run.wrong_test_images or []) for run in row.runs)
    assert found.counts[4][9] == wrong >= found.most > 0
    assert confusion_of(row, Exhibits()) is None


def test_images_have_the_answers_of_both_networks(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    card = page.partition('id="entry-no-batchnorm"')[2].partition("</article>")[0]
    images = r'<img src="data:image/png;base64,[^"]+".*? alt="(Test image[^"]+)"'
    described = re.findall(images, card)
    assert len(described) == 16
    for words in described:
        assert words.count("with probability") == 2
        assert "the network without batch normalisation" in words


def test_pictures_are_the_images() -> None:
    pixels = bytes(range(196)) * 4
    content = base64.b64decode(image_picture(pixels).partition(",")[2])
    assert Image.open(io.BytesIO(content)).tobytes() == pixels


def test_every_core_ingredient_is_explained_with_measured_numbers(
    results: Results, exhibits: Exhibits
) -> None:
    mechanisms = {
        mechanism.pair.row.ablation.name: mechanism
        for mechanism in make_mechanisms(results, exhibits)
    }
    core = [ablation for ablation in CATALOGUE if ablation.is_core]
    assert list(mechanisms) == [ablation.name for ablation in core]
    assert all(set(ablation.network) & EXPLANATIONS.keys() for ablation in core)
    texts = {name: mechanism.paragraphs[0] for name, mechanism in mechanisms.items()}
    for words in ("beyond the assignment’s limit of 20,000", "no-gap-matched", "25,274", "698"):
        assert words in texts["no-gap"]
    known = [exhibits.observations["no-dropout", seed].known_accuracy_pct for seed in range(3)]
    assert f"{100 - sum(known) / 3:.2f} % of" in texts["no-dropout"]
    first = [exhibits.observations["target", seed].signals_at_start[0] for seed in range(3)]
    mean = sum(signal.output_rms or 0 for signal in first) / 3
    section = render_page(results, exhibits).partition('id="why"')[2].partition("</section>")[0]
    tables = section.split("<table>")[1:]
    assert f"<td>{mean:.3g}</td>" in tables[0]
    for table in tables:
        lines = re.findall("<tr>.*?</tr>", table.partition("</table>")[0])
        assert len({len(re.findall("</t[hd]>", line)) for line in lines}) == 1
    assert "is 10 of at most 10; without the head it is 10" in texts["no-fc-head"]
    assert make_mechanisms(results, Exhibits()) == []


def with_signals(exhibits: Exhibits, output_rms: float | None) -> Exhibits:
    """Other signals without batch normalisation; None as in a network that has diverged."""
    observations = dict(exhibits.observations)
    for seed in range(3):
        found = observations["no-batchnorm", seed]
        signals = [msgspec.structs.replace(one, output_rms=output_rms) for one in found.signals]
        observations["no-batchnorm", seed] = msgspec.structs.replace(found, signals=signals)
    return replace(exhibits, observations=observations)


def test_diverged_networks_are_not_explained(results: Results, exhibits: Exhibits) -> None:
    found = make_mechanisms(results, with_signals(exhibits, None))
    names = [mechanism.pair.row.ablation.name for mechanism in found]
    assert names == ["no-dropout", "no-gap", "no-fc-head"]
    even = make_mechanisms(results, with_signals(exhibits, 0.5))[0]
    assert "These networks do not show this." in even.paragraphs[0]


def test_explanations_pair_the_seeds(results: Results, exhibits: Exhibits) -> None:
    kept = dict(exhibits.observations)
    del kept["no-dropout", 0], kept["no-dropout", 2]
    pair = observed_pair(row_named(results, "no-dropout"), results.target, kept)
    assert pair and pair.seeds == [1] and results.target
    gaps = compare_gaps(pair)
    assert gaps.target.training_pct.by_seed == {1: 100 - kept["target", 1].known_accuracy_pct}
    assert gaps.target.test_pct.by_seed == {1: 100 - results.target.accuracy_pct.by_seed[1]}
    assert "(1 seed)" in render_paragraphs("gap.jinja", pair=pair, gaps=gaps, margin_pct=0.1)[0]


@pytest.mark.parametrize(
    ("known_with", "known_without", "effect", "is_raised", "is_memorised"),
    [
        (0.60, 0.40, "no clear effect", True, False),
        (0.60, 0.10, "no clear effect", True, True),
        (0.60, 0.40, "hurts", False, True),
        (0.40, 0.60, "no clear effect", False, True),
    ],
)
def test_overfitting_is_mentioned_only_as_measured(
    results: Results, exhibits: Exhibits, known_with: float, known_without: float, effect: str, is_raised: bool, is_memorised: bool
) -> None:  # fmt: skip
    observations = dict(exhibits.observations)
    for seed in range(3):
        errors_pct = {"target": known_with + 0.005 * seed, "no-dropout": known_without}
        for name, error_pct in errors_pct.items():
            observations[name, seed] = msgspec.structs.replace(
                observations[name, seed], known_accuracy_pct=100 - error_pct
            )
    row = row_named(results, "no-dropout")
    verdict = msgspec.structs.replace(row.verdict, direction=effect)
    row = msgspec.structs.replace(row, verdict=verdict)
    pair = observed_pair(row, results.target, observations)
    assert pair
    text = render_paragraphs("gap.jinja", pair=pair, gaps=compare_gaps(pair), margin_pct=0.1)[0]
    assert ("raises the error on training images" in text) == is_raised
    assert ("does not memorise" in text) == (not is_memorised)


def test_measurements_have_two_digits() -> None:
    words = {0.0213: "0.021", 2.0: "2", 99.7: "100", 0.0000187: "0.000019", 43210.0: "43000"}
    assert {value: two_digits(value) for value in words} == words


@pytest.mark.parametrize("values", [[0.0021, 0.0047], [1e-9, 100.0], [0.5, 0.5]])
def test_every_logarithmic_axis_has_ticks(
    results: Results, exhibits: Exhibits, values: list[float]
) -> None:
    row = row_named(results, "no-batchnorm")
    pair = observed_pair(row, results.target, exhibits.observations)
    assert pair
    svg = signal_figure("ticks", pair, [SignalProfile(True, False, values * 3, values * 3)])
    labels = {label for label in re.findall(r">([^<>]+)</text>", svg) if label[-1].isdigit()}
    assert len(labels - {"1.1", "1.2", "2.1", "2.2", "3.1", "3.2"}) >= 2
