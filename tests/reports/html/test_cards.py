"""What the cards and the explanations say: words that follow from what was measured."""

import base64
import io
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image

from ablations.analysis.statistics import PairedDifference
from ablations.analysis.summary import AblationResult, Results
from ablations.analysis.verdicts import Verdict, judge
from ablations.catalogue.entries import CATALOGUE
from ablations.inspection.load import Exhibits
from ablations.records.observations import Observations
from reports.figures.mechanisms import signal_figure
from reports.figures.pictures import SQUARE_PIXELS, evidence_picture, image_picture
from reports.html.cards import confusion_of, images_of, what_happened
from reports.html.mechanisms import (
    EXPLANATIONS,
    SignalLine,
    brief,
    find_pair,
    gap_words,
    known_words,
    make_mechanisms,
    times_words,
)
from tests.factories import make_exhibits, make_results, make_spec


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results({ablation.name: range(3) for ablation in CATALOGUE})


@pytest.fixture(scope="module")
def exhibits(results: Results) -> Exhibits:
    return make_exhibits(results.study)


def row_named(results: Results, name: str) -> AblationResult:
    return next(row for row in results.rows if row.ablation.name == name)


def judged(results: Results, by_seed: list[float], name: str = "no-batchnorm") -> AblationResult:
    """The row, with other differences and the verdict that they get."""
    from ablations.analysis.statistics import paired_difference

    difference = paired_difference(
        dict(enumerate(by_seed)), dict.fromkeys(range(len(by_seed)), 0.0)
    )
    assert isinstance(difference, PairedDifference)
    [verdict] = judge({name: difference}, 0.1).values()
    assert isinstance(verdict, Verdict)
    row = row_named(results, name)
    return msgspec.structs.replace(row, difference_pct=difference, verdict=verdict)


@pytest.mark.parametrize(
    ("by_seed", "kind", "finding", "expected"),
    [
        ([-1.0, -1.1, -0.9], "matters", "It matters: without", {"worse": True, "hardly": False}),
        ([0.5, 0.6, 0.55], "matters", "is better by surely", {"worse": False, "better": True}),
        ([-0.02, -0.021, -0.019], "real but small", "real but small", {"worse": True, "hardly": True, "better": False}),
        ([0.001, -0.001, 0.0], "negligible", "It is negligible", {"worse": False, "hardly": True}),
        ([-0.1, -0.11, -0.09], "undecided", "surely worse, but", {"worse": True, "hardly": None, "better": False}),
        ([-0.5, 0.4, 0.1], "undecided", "not the same as there", {"worse": None, "hardly": None}),
        ([-0.5], "one seed", "nothing follows from it", {"worse": None, "hardly": None}),
    ],
)  # fmt: skip
def test_words_follow_the_verdict(
    results: Results,
    by_seed: list[float],
    kind: str,
    finding: str,
    expected: dict[str, bool | None],
) -> None:
    row = judged(results, by_seed)
    assert row.verdict and row.verdict.kind == kind
    words = {
        True: " is as expected: ",
        False: "is not what was measured",
        None: "neither shown nor",
    }
    for expectation, agrees in expected.items():
        ablation = replace(row.ablation, expects=expectation)
        sentences = what_happened(msgspec.structs.replace(row, ablation=ablation), make_spec())
        assert finding in sentences[0]
        assert words[agrees] in sentences[-1]
        # Of an expectation, only that much is compared.
        assert not agrees or "not checked here" in sentences[-1]
    ablation = replace(row.ablation, expects=None)
    sentences = what_happened(msgspec.structs.replace(row, ablation=ablation), make_spec())
    assert "another network than the target, so it is not checked" in sentences[-1]


def test_short_runs_are_not_held_against_expectations(results: Results) -> None:
    [sentence] = what_happened(judged(results, [-1.0, -1.1, -0.9]), make_spec(num_epochs=2))
    assert "expected" not in sentence


def test_every_entry_says_what_it_expects() -> None:
    for ablation in CATALOGUE:
        others = [entry.name for entry in CATALOGUE if entry.name + ":" in ablation.expectation]
        compares_others = ablation.expectation.startswith("Worse than") or others
        assert (ablation.expects is None) == bool(ablation.kind == "target" or compares_others)


def test_target_has_nothing_to_say_of_itself(results: Results) -> None:
    assert results.target is not None
    assert what_happened(results.target, make_spec()) == []


def test_confusion_is_summed_over_seeds(results: Results, exhibits: Exhibits) -> None:
    row = row_named(results, "no-relu")
    found = confusion_of(row, exhibits)
    assert found is not None and found.num_seeds == 3
    num_test = results.study.spec.dataset.num_test
    assert sum(map(sum, found.counts)) == 3 * num_test
    wrong = sum(len(run.wrong_test_images or []) for run in row.runs)
    assert found.counts[4][9] == wrong == found.most
    assert f"4 taken for 9 ({wrong:,} times)" in found.words
    assert confusion_of(row, Exhibits()) is None


def test_faultless_network_has_no_confusions(results: Results, exhibits: Exhibits) -> None:
    row = row_named(results, "no-relu")
    diagonal = [[5 if true == answer else 0 for answer in range(10)] for true in range(10)]
    observations = {
        key: msgspec.structs.replace(found, confusion=diagonal)
        for key, found in exhibits.observations.items()
    }
    found = confusion_of(row, replace(exhibits, observations=observations))
    assert found is not None and found.words == "No test image is classified wrongly."


def test_images_say_what_both_networks_say(results: Results, exhibits: Exhibits) -> None:
    found = images_of(row_named(results, "no-relu"), exhibits)
    assert found is not None and len(found.lost) == len(found.won) == 8
    assert found.num_lost > 8
    for picture in (*found.lost, *found.won):
        assert picture.url.startswith("data:image/png;base64,")
        assert "true class" in picture.words
        assert picture.words.count("with probability") == 2
        assert "the network without the activation function" in picture.words


def read_png(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_pictures_are_the_images() -> None:
    pixels = bytes(range(196)) * 4
    assert read_png(image_picture(pixels)).tobytes() == pixels


def test_evidence_is_told_by_shape_too() -> None:
    picture = read_png(evidence_picture([[1.0, -0.5], [0.0, -1.0]])).astype(int)
    side, middle = SQUARE_PIXELS, SQUARE_PIXELS // 2
    assert picture.shape == (2 * side, 2 * side, 3)

    def has_dot(row: int, column: int) -> bool:
        return not picture[row * side + middle, column * side + middle].any()

    assert [has_dot(0, 0), has_dot(0, 1), has_dot(1, 0), has_dot(1, 1)] == [
        False,
        True,
        False,
        True,
    ]
    # The stronger, the further from white.
    assert picture[0, -1].sum() > picture[-1, -1].sum()
    assert (picture[-1, 0] == 255).all()


def test_every_core_ingredient_is_explained(results: Results, exhibits: Exhibits) -> None:
    mechanisms = make_mechanisms(results, exhibits)
    core = [ablation for ablation in CATALOGUE if ablation.is_core]
    assert [mechanism.name for mechanism in mechanisms] == [ablation.name for ablation in core]
    assert all(set(ablation.network) & EXPLANATIONS.keys() for ablation in core)
    for mechanism in mechanisms:
        assert mechanism.figure.count("<svg") == 1
        columns = len(mechanism.table.columns)
        assert all(len(row) == columns for row in mechanism.table.rows)


def test_explanations_have_the_measured_numbers(results: Results, exhibits: Exhibits) -> None:
    by_name = {mechanism.name: mechanism for mechanism in make_mechanisms(results, exhibits)}
    pooling = by_name["no-gap"]
    assert "beyond the assignment’s 20,000" in pooling.text and "no-gap-matched" in pooling.text
    assert "528" not in pooling.text and "25,274" in pooling.text and "698" in pooling.text
    known = [exhibits.observations["no-dropout", seed].known_accuracy_pct for seed in range(3)]
    assert (
        f"{100 - sum(known) / 3:.2f}\N{NO-BREAK SPACE}% of training images"
        in by_name["no-dropout"].text
    )
    first = [exhibits.observations["target", seed].signals_at_start[0] for seed in range(3)]
    mean = sum(signal.output_rms or 0 for signal in first) / 3
    assert f"{mean:.3g}" in by_name["no-batchnorm"].table.rows[0]
    assert "is 10 of at most 10; without the head it is 10" in by_name["no-fc-head"].text
    assert len(pooling.evidence) == 3 and len(pooling.evidence[0].maps) == 2


def test_diverged_networks_are_not_explained(results: Results, exhibits: Exhibits) -> None:
    def broken(key: tuple[str, int]) -> object:
        found = exhibits.observations[key]
        if key[0] != "no-batchnorm":
            return found
        signals = [msgspec.structs.replace(one, output_rms=None) for one in found.signals]
        return msgspec.structs.replace(found, signals=signals, head_singular_values=[])

    observations = {key: broken(key) for key in exhibits.observations}
    found = make_mechanisms(results, replace(exhibits, observations=observations))  # type: ignore[arg-type]
    assert [mechanism.name for mechanism in found] == ["no-dropout", "no-gap", "no-fc-head"]


def test_nothing_is_explained_without_observations(results: Results) -> None:
    assert make_mechanisms(results, Exhibits()) == []


def test_explanations_pair_the_seeds(results: Results, exhibits: Exhibits) -> None:
    """One seed of the ablation is compared with the same seed of the target alone."""
    kept = {
        key: found
        for key, found in exhibits.observations.items()
        if key[0] != "no-dropout" or key[1] == 1
    }
    by_name = {
        mechanism.name: mechanism
        for mechanism in make_mechanisms(results, replace(exhibits, observations=kept))
    }
    row = by_name["no-dropout"].table.rows[0]
    assert results.target is not None
    known = 100 - kept["target", 1].known_accuracy_pct
    test = 100 - results.target.accuracy_pct.by_seed[1]
    assert row[1:3] == [f"{known:.2f}", f"{test:.2f}"]
    assert "(1 seed)" in by_name["no-dropout"].text


def test_explanations_say_what_is_not_seen(results: Results, exhibits: Exhibits) -> None:
    """Where signals are no more uneven without batch norm, it is not said that they are."""

    def even(found: Observations) -> Observations:
        signals = [msgspec.structs.replace(one, output_rms=0.5) for one in found.signals]
        return msgspec.structs.replace(found, signals=signals)

    kept = {
        key: even(found) if key[0] == "no-batchnorm" else found
        for key, found in exhibits.observations.items()
    }
    texts = [
        make_mechanisms(results, replace(exhibits, observations=found))[0].text
        for found in (kept, exhibits.observations)
    ]
    assert "that is not what is seen" in texts[0]
    assert all("does not show that they cause" in text for text in texts)


@pytest.mark.parametrize(
    ("known_with", "known_without", "test_without", "effect", "is_raised", "is_roomless"),
    [
        (0.60, 0.32, 0.59, "unclear", True, True),
        (0.60, 0.10, 0.59, "unclear", True, False),
        (0.60, 0.32, 0.59, "hurts", False, False),
        (0.32, 0.60, 0.59, "unclear", False, False),
    ],
)
def test_room_to_overfit_is_spoken_of_only_as_measured(
    results: Results,
    exhibits: Exhibits,
    known_with: float,
    known_without: float,
    test_without: float,
    effect: str,
    is_raised: bool,
    is_roomless: bool,
) -> None:
    row = row_named(results, "no-dropout")
    assert row.verdict
    row = msgspec.structs.replace(row, verdict=msgspec.structs.replace(row.verdict, effect=effect))
    pair = find_pair(row, results.target, exhibits)
    assert pair
    spread = (-0.01, 0.0, 0.02)
    known, known_other = ([mean + by for by in spread] for mean in (known_with, known_without))
    known_other[0] += 0.005
    words = known_words(pair, [("target", known, known), ("-", known_other, [test_without] * 3)])
    raised = f"makes training images harder (+{known_with - known_without:.2f} points"
    assert (raised in words) == is_raised
    assert ("not learnt by heart" in words) == is_roomless


def test_numbers_that_do_not_add_up_say_why(results: Results, exhibits: Exhibits) -> None:
    pair = find_pair(row_named(results, "no-dropout"), results.target, exhibits)
    assert pair
    zeros = [0.0] * 3
    for gap_with, gap_without, is_said in ((0.044, 0.266, True), (0.04, 0.27, False)):
        rows = [("target", zeros, [gap_with] * 3), ("-", zeros, [gap_without] * 3)]
        assert ("before rounding" in gap_words(pair, rows)) == is_said


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0213, "0.021"), (2.0, "2"), (99.7, "1e+02"), (123.4, "120"), (43210.0, "43,000")],
)
def test_measurements_are_brief(value: float, words: str) -> None:
    assert brief(value) == words.replace("1e+02", "100")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.05, "about as large as"),
        (30.0, "30 times as large as"),
        (1 / 300, "300 times smaller than"),
    ],
)
def test_ratios_in_words(ratio: float, words: str) -> None:
    assert times_words(ratio) == words


@pytest.mark.parametrize("values", [[0.0021, 0.0047], [1e-9, 100.0], [0.5, 0.5]])
def test_every_logarithmic_axis_has_ticks(values: list[float]) -> None:
    lines = [SignalLine("target", True, False, values)]
    svg = signal_figure("ticks", ["1.1", "1.2"], [("outputs", lines)])
    labels = set(re.findall(r">([^<>]+)</text>", svg)) - {"1.1", "1.2", "outputs", "target"}
    assert len(labels) >= 2
