"""The explanations of the core concepts: short, and no more than was measured."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page

from ablations.analysis.mechanisms import SignalProfile, compare_gaps, observed_pair
from ablations.analysis.summary import Results, summarise
from ablations.analysis.verdicts import Verdict
from ablations.catalogue.entries import CATALOGUE
from ablations.inspection.load import Exhibits, load_exhibits
from ablations.records.study import load_study
from reports.figures.mechanisms import signal_figure
from reports.html.mechanisms import EXPLANATIONS, make_mechanisms
from reports.html.page import template_environment
from reports.text.wording import two_digits
from tests.conftest import REPOSITORY
from tests.factories import ALL_NAMES, make_exhibits, make_results
from tests.reports.html.pages import text_of

CORE = [ablation.name for ablation in CATALOGUE if ablation.is_core]


def panels_of(results: Results, exhibits: Exhibits) -> dict[str, str]:
    """The HTML of each panel, by ablation."""
    page = template_environment().get_template("why.html")
    mechanisms = make_mechanisms(results, exhibits)
    html = page.render(mechanisms=mechanisms, results=results, spec=results.study.spec)
    panels = re.findall('<article id="why-(.*?)".*?</h3>(.*?)</article>', html, re.DOTALL)
    assert html.count("<article") == len(panels)
    return dict(panels)


def words_of(panel: str) -> tuple[str, str]:
    """The text of a panel and the caption of its only figure."""
    text, caption = panel.split("<figure>")
    return text_of(text), text_of(caption.partition("<figcaption>")[2].partition("<")[0])


def with_verdict(results: Results, verdict: Verdict) -> Results:
    rows = [msgspec.structs.replace(row, verdict=verdict) for row in results.rows]
    return msgspec.structs.replace(results, rows=rows)


def studies() -> dict[str, tuple[Results, Exhibits]]:
    reference = load_study(REPOSITORY / "docs" / "reference")
    made = {
        f"{num_seeds} and {num_target_seeds} seeds": make_results(
            dict.fromkeys(ALL_NAMES, range(num_seeds)) | {"target": range(num_target_seeds)}
        )
        for num_seeds, num_target_seeds in ((3, 3), (3, 1), (2, 2), (1, 1))
    }
    made["not matched"] = make_results(dict.fromkeys(["target", *CORE], range(3)))
    for verdict in (Verdict("no clear effect", "uncertain", True), Verdict("helps", "above")):
        made[str(verdict)] = with_verdict(made["3 and 3 seeds"], verdict)
    found = {name: (results, make_exhibits(results.study)) for name, results in made.items()}
    exhibits = load_exhibits(REPOSITORY / "docs" / "reference", reference)
    return found | {"reference": (summarise(reference), exhibits)}


def test_every_panel_is_short() -> None:
    for study, (results, exhibits) in studies().items():
        panels = panels_of(results, exhibits)
        assert list(panels) == CORE, study
        for panel in panels.values():
            text, caption = words_of(panel)
            assert 30 < len(text.split()) <= 60, f"{study}: {text}"
            assert 10 < len(caption.split()) <= 40, f"{study}: {caption}"
            assert text.startswith("Effect: ") and "None" not in panel


def test_panels_state_what_was_measured(results: Results, exhibits: Exhibits) -> None:
    assert all(set(one.network) & EXPLANATIONS.keys() for one in CATALOGUE if one.is_core)
    panels = panels_of(results, exhibits)
    texts = {name: words_of(panel)[0] for name, panel in panels.items()}
    for words in ("beyond the limit of 20,000", "At similar size", "25,274", "698"):
        assert words in texts["no-gap"]
    assert "head: 698, 25,274, 11,162" in panels["no-gap"]
    known = [exhibits.observations["no-dropout", seed].known_accuracy_pct for seed in range(3)]
    assert f"{100 - sum(known) / 3:.2f} % of" in texts["no-dropout"]
    first = [exhibits.observations["target", seed].signals_at_start[0] for seed in range(3)]
    mean = sum(signal.output_rms or 0 for signal in first) / 3
    assert f"before training, with: {two_digits(mean)}, " in panels["no-batchnorm"]
    assert "rank 10 from 698 parameters; without it, rank 10 from 330" in texts["no-fc-head"]
    assert panels_of(results, Exhibits()) == {}


def test_without_a_network_of_similar_size_the_panel_says_so() -> None:
    results = make_results(dict.fromkeys(["target", "no-gap"], range(2)))
    panel = panels_of(results, make_exhibits(results.study))["no-gap"]
    assert "No network without it at a similar size was run." in panel
    assert "similar size</text>" not in panel


def test_two_seeds_have_no_interval() -> None:
    for num_seeds in (2, 3):
        results = make_results(dict.fromkeys(["target", "no-dropout"], range(num_seeds)))
        panel = panels_of(results, make_exhibits(results.study))["no-dropout"]
        assert ("95 % intervals" in words_of(panel)[1]) == (num_seeds > 2)


def with_signals(exhibits: Exhibits, output_rms: float | None) -> Exhibits:
    """Other signals without batch normalisation; None as in a network that has diverged."""
    observations = dict(exhibits.observations)
    for seed in range(3):
        found = observations["no-batchnorm", seed]
        signals = [msgspec.structs.replace(one, output_rms=output_rms) for one in found.signals]
        observations["no-batchnorm", seed] = msgspec.structs.replace(found, signals=signals)
    return replace(exhibits, observations=observations)


def test_diverged_networks_are_not_explained(results: Results, exhibits: Exhibits) -> None:
    assert list(panels_of(results, with_signals(exhibits, None))) == CORE[1:]
    even = panels_of(results, with_signals(exhibits, 0.5))["no-batchnorm"]
    assert "These networks do not clearly show this." in even


def test_explanations_pair_the_seeds(results: Results, exhibits: Exhibits) -> None:
    kept = dict(exhibits.observations)
    del kept["no-dropout", 0], kept["no-dropout", 2]
    row = next(row for row in results.rows if row.ablation.name == "no-dropout")
    pair = observed_pair(row, results.target, kept)
    assert pair and pair.seeds == [1] and results.target
    training, test = compare_gaps(pair).target
    assert training.by_seed == {1: 100 - kept["target", 1].known_accuracy_pct}
    assert test.by_seed == {1: 100 - results.target.accuracy_pct.by_seed[1]}
    panel = panels_of(results, replace(exhibits, observations=kept))["no-dropout"]
    assert "One seed." in words_of(panel)[1]


@pytest.mark.parametrize(
    ("known_with", "known_without", "effect", "is_raised", "is_overfitted"),
    [
        (0.60, 0.40, "no clear effect", True, False),
        (0.60, 0.10, "no clear effect", True, True),
        (0.60, 0.40, "hurts", False, True),
        (0.40, 0.60, "no clear effect", False, True),
    ],
)
def test_overfitting_is_mentioned_only_as_measured(
    results: Results, exhibits: Exhibits, known_with: float, known_without: float, effect: str, is_raised: bool, is_overfitted: bool
) -> None:  # fmt: skip
    observations = dict(exhibits.observations)
    for seed in range(3):
        errors_pct = {"target": known_with + 0.005 * seed, "no-dropout": known_without}
        for name, error_pct in errors_pct.items():
            observations[name, seed] = msgspec.structs.replace(
                observations[name, seed], known_accuracy_pct=100 - error_pct
            )
    judged = with_verdict(results, Verdict(effect, "below"))  # type: ignore[arg-type]
    panel = panels_of(judged, replace(exhibits, observations=observations))["no-dropout"]
    assert ("raises the training error" in panel) == is_raised
    assert ("hardly overfits" in panel) == (not is_overfitted)
    assert ("Only one dropout probability" in panel) == (not is_raised)


@pytest.mark.parametrize("values", [[0.0021, 0.0047], [1e-9, 100.0], [0.5, 0.5]])
def test_every_logarithmic_axis_has_ticks(values: list[float]) -> None:
    svg = signal_figure("ticks", [SignalProfile(values * 3, values * 3)] * 2)
    labels = set(re.findall(r">([\d.]+)</text>", svg)) - set("123456")
    assert len(labels) >= 2


def test_panels_fit_the_screen(open_page: Callable[..., Page], report: Path) -> None:
    page = open_page(report, "#why", 1440)
    boxes = "panels => panels.map(panel => panel.getBoundingClientRect().x)"
    panels = page.locator("#why article")
    assert len(set(panels.evaluate_all(boxes))) == 2
    assert page.locator("#why").evaluate("section => section.offsetHeight") < 1100
    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        sizes = page.locator("#why svg text").evaluate_all(
            """texts => texts.map(text => parseFloat(getComputedStyle(text).fontSize)
                * text.ownerSVGElement.clientWidth / text.ownerSVGElement.viewBox.baseVal.width)"""
        )
        assert 12 <= min(sizes) <= max(sizes) < 18
    assert len(set(panels.evaluate_all(boxes))) == 1
