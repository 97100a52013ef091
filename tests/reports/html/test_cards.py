"""What the cards and the explanations state: it follows from what was measured."""

import base64
import io
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image

from ablations.analysis.mechanisms import (
    ErrorGap,
    GapComparison,
    SignalProfile,
    compare_gaps,
    observed_pair,
)
from ablations.analysis.statistics import estimate, paired_difference
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import decide_verdicts
from ablations.catalogue.entries import CATALOGUE
from ablations.inspection.load import Exhibits
from ablations.records.observations import Observations
from reports.figures.mechanisms import signal_figure
from reports.figures.pictures import SQUARE_PIXELS, evidence_picture, image_picture
from reports.html.cards import confusion_of, finding
from reports.html.mechanisms import EXPLANATIONS, make_mechanisms
from reports.html.page import render_page
from reports.text.templates import render_paragraphs
from reports.text.wording import two_digits
from tests.factories import make_exhibits, make_results


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results({ablation.name: range(3) for ablation in CATALOGUE})


@pytest.fixture(scope="module")
def exhibits(results: Results) -> Exhibits:
    return make_exhibits(results.study)


def row_named(results: Results, name: str) -> AblationResult:
    return next(row for row in results.rows if row.ablation.name == name)


def with_differences(results: Results, by_seed: list[float]) -> AblationResult:
    """A row with other differences and the verdict that they get."""
    difference = paired_difference(
        dict(enumerate(by_seed)), dict.fromkeys(range(len(by_seed)), 0.0)
    )
    assert difference
    [verdict] = decide_verdicts({"one": difference}, 0.1).values()
    row = row_named(results, "no-batchnorm")
    return msgspec.structs.replace(row, difference_pct=difference, verdict=verdict)


@pytest.mark.parametrize(
    ("by_seed", "words"),
    [
        ([-1.0, -1.1, -0.9], "Matters: without batch normalisation the network is worse by significantly more than 0.10 points"),
        ([0.5, 0.6, 0.55], "is better by significantly more"),
        ([-0.02, -0.021, -0.019], "Real but small"),
        ([0.001, -0.001, 0.0], "equivalent to the target within ±0.10 points"),
        ([-0.1, -0.11, -0.09], "is significantly worse. Whether"),
        ([-0.5, 0.4, 0.1], "Inconclusive at this number of seeds"),
        ([-0.5], "supports no conclusion"),
    ],
)  # fmt: skip
def test_finding_follows_the_verdict(results: Results, by_seed: list[float], words: str) -> None:
    assert words in finding(with_differences(results, by_seed), 0.1)


def test_confusion_is_summed_over_seeds(results: Results, exhibits: Exhibits) -> None:
    row = row_named(results, "no-relu")
    found = confusion_of(row, exhibits)
    assert found is not None and found.num_seeds == 3
    assert sum(map(sum, found.counts)) == 3 * results.study.spec.dataset.num_test
    wrong = sum(len(run.wrong_test_images or []) for run in row.runs)
    assert found.counts[4][9] == wrong >= found.most > 0
    assert confusion_of(row, Exhibits()) is None


def test_images_have_the_answers_of_both_networks(results: Results, exhibits: Exhibits) -> None:
    page = render_page(results, exhibits)
    cards = page.partition('id="entry-no-relu"')[2].partition("</article>")[0]
    described = re.findall(
        '<img src="data:image/png;base64,[^"]+".*? alt="(Test image[^"]+)"', cards
    )
    assert len(described) == 16
    for words in described:
        assert words.count("with probability") == 2
        assert "the network without the activation function" in words


def test_pictures_are_the_images_and_maps_do_not_rely_on_colour() -> None:
    def read_png(url: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))

    pixels = bytes(range(196)) * 4
    assert read_png(image_picture(pixels)).tobytes() == pixels
    picture = read_png(evidence_picture([[1.0, -0.5], [0.0, -1.0]])).astype(int)
    side, middle = SQUARE_PIXELS, SQUARE_PIXELS // 2
    dots = ~picture[middle::side, middle::side].any(axis=-1)
    assert dots.tolist() == [[False, True], [False, True]]
    # The stronger, the further from white.
    assert picture[0, -1].sum() > picture[-1, -1].sum()
    assert (picture[-1, 0] == 255).all()


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
    pooling = mechanisms["no-gap"]
    assert len(pooling.evidence) == 3 and len(pooling.evidence[0][1]) == 2
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

    def changed(found: Observations) -> Observations:
        signals = [msgspec.structs.replace(one, output_rms=output_rms) for one in found.signals]
        return msgspec.structs.replace(found, signals=signals)

    observations = {
        key: changed(found) if key[0] == "no-batchnorm" else found
        for key, found in exhibits.observations.items()
    }
    return replace(exhibits, observations=observations)


def test_diverged_networks_are_not_explained(results: Results, exhibits: Exhibits) -> None:
    found = make_mechanisms(results, with_signals(exhibits, None))
    assert [mechanism.pair.row.ablation.name for mechanism in found] == [
        "no-dropout",
        "no-gap",
        "no-fc-head",
    ]
    even = make_mechanisms(results, with_signals(exhibits, 0.5))[0]
    assert "These networks do not show this." in even.paragraphs[0]


def test_explanations_pair_the_seeds(results: Results, exhibits: Exhibits) -> None:
    kept = {
        key: found
        for key, found in exhibits.observations.items()
        if key[0] != "no-dropout" or key[1] == 1
    }
    pair = observed_pair(row_named(results, "no-dropout"), results.target, kept)
    assert pair and pair.seeds == [1] and results.target
    gaps = compare_gaps(pair)
    assert gaps.target.training_pct.by_seed == {1: 100 - kept["target", 1].known_accuracy_pct}
    assert gaps.target.test_pct.by_seed == {1: 100 - results.target.accuracy_pct.by_seed[1]}
    assert "(1 seed)" in render_paragraphs("gap.jinja", pair=pair, gaps=gaps)[0]


@pytest.mark.parametrize(
    ("known_with", "known_without", "effect", "is_raised", "is_memorised"),
    [
        (0.60, 0.32, "unclear", True, False),
        (0.60, 0.10, "unclear", True, True),
        (0.60, 0.32, "hurts", False, True),
        (0.32, 0.60, "unclear", False, True),
    ],
)
def test_overfitting_is_mentioned_only_as_measured(
    results: Results, exhibits: Exhibits, known_with: float, known_without: float, effect: str, is_raised: bool, is_memorised: bool
) -> None:  # fmt: skip
    row = row_named(results, "no-dropout")
    verdict = msgspec.structs.replace(row.verdict, effect=effect)
    row = msgspec.structs.replace(row, verdict=verdict)
    with_it, without = (
        estimate({seed: error + 0.005 * seed * (error == known_with) for seed in range(3)})
        for error in (known_with, known_without)
    )
    added = paired_difference(with_it.by_seed, without.by_seed)
    test, zero = estimate(dict.fromkeys(range(3), 0.59)), estimate(dict.fromkeys(range(3), 0.0))
    pair = observed_pair(row, results.target, exhibits.observations)
    assert added and pair
    gaps = GapComparison(ErrorGap(with_it, test, zero), ErrorGap(without, test, zero), added, added)
    text = render_paragraphs("gap.jinja", pair=pair, gaps=gaps)[0]
    assert ("raises the error on training images" in text) == is_raised
    assert ("does not memorise" in text) == (not is_memorised)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0213, "0.021"), (2.0, "2"), (99.7, "100"), (0.0000187, "0.000019"), (43210.0, "43000")],
)
def test_measurements_have_two_digits(value: float, words: str) -> None:
    assert two_digits(value) == words


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
