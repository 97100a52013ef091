"""Predict first: guesses are judged as the study judges, and nothing is lost without a script."""

import gc
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Locator, Page, expect

from ablations.analysis import verdicts
from ablations.analysis.statistics import PairedDifference, paired_difference
from ablations.analysis.summary import Results
from ablations.analysis.verdicts import Verdict, VerdictKind
from reports.html.page import render_page
from reports.text.predict import Guess, Outcome, choices, decided_guess, guess_outcome
from tests.factories import ALL_NAMES, make_results

GUESSES: tuple[Guess, ...] = get_args(Guess)
MARGIN = 0.1
HOSTILE = "<img src=x onerror=alert(1)>\"'"


def judged(values: list[float], num_compared: int) -> tuple[PairedDifference, Verdict]:
    """These differences from the target, when so many such ablations were compared."""
    difference = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))
    assert difference
    with pytest.MonkeyPatch.context() as patch:
        # How many seeds would settle it takes long to compute, and no guess depends on it.
        patch.setattr(verdicts, "seeds_to_settle", lambda *_: None)
        # And statsmodels' Holm collects garbage each time, which takes most of a second here.
        patch.setattr(gc, "collect", lambda *_: 0)
        found = verdicts.decide_verdicts(
            {str(number): difference for number in range(num_compared)}, MARGIN
        )
    return difference, found["0"]


def outcomes(values: list[float], num_compared: int = 1) -> dict[Guess, Outcome]:
    """Of each guess."""
    _, verdict = judged(values, num_compared)
    return {guess: guess_outcome(guess, verdict) for guess in GUESSES}


@pytest.mark.parametrize(
    ("values", "worse", "hardly", "better"),
    [
        ([-1.0, -1.1, -0.9, -1.0], "right", "wrong", "wrong"),
        ([1.0, 1.1, 0.9, 1.0], "wrong", "wrong", "right"),
        ([0.0, 0.01, -0.01, 0.0], "wrong", "right", "wrong"),
        ([-0.05, -0.051, -0.049, -0.05], "wrong", "right", "wrong"),
        ([-0.3, 0.3], "still possible", "still possible", "still possible"),
        ([-0.3, -0.1, -0.15, -0.2], "still possible", "still possible", "wrong"),
        ([0.3, 0.1, 0.15, 0.2], "wrong", "still possible", "still possible"),
        ([-1.0], "still possible", "still possible", "still possible"),
        ([-1.0, -1.0], "still possible", "still possible", "still possible"),
    ],
)
def test_outcome_of_each_guess(values: list[float], worse: str, hardly: str, better: str) -> None:
    assert outcomes(values) == {"worse": worse, "hardly": hardly, "better": better}


def test_interval_beyond_the_margin_is_not_yet_right_among_many_comparisons() -> None:
    values = [-0.30, -0.20, -0.25]
    assert outcomes(values)["worse"] == "right"
    # Its direction is sure, though.
    expected = {"worse": "still possible", "hardly": "still possible", "better": "wrong"}
    assert outcomes(values, 3) == expected
    assert set(outcomes(values, 1000).values()) == {"still possible"}


differences = st.lists(st.floats(-2, 2).map(lambda value: round(value, 2)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(differences, st.integers(1, 15))
def test_one_guess_is_right_if_and_only_if_the_verdict_is_decided(
    values: list[float], num_compared: int
) -> None:
    difference, verdict = judged(values, num_compared)
    found = list(outcomes(values, num_compared).values())
    if verdict.kind in ("undecided", "one seed"):
        assert "right" not in found and "still possible" in found
    else:
        assert sorted(found) == ["right", "wrong", "wrong"]
    if difference.interval_95 is None:
        assert set(found) == {"still possible"}


@settings(max_examples=40)
@given(differences)
def test_worse_and_better_change_places_with_the_sign(values: list[float]) -> None:
    there, back = outcomes(values), outcomes([-value for value in values])
    assert there == {**back, "worse": back["better"], "better": back["worse"]}


@given(st.sampled_from(get_args(VerdictKind)), st.sampled_from(["hurts", "helps", "unclear"]))
def test_any_verdict_at_all_has_at_most_one_right_guess(kind: VerdictKind, effect: str) -> None:
    verdict = Verdict(kind, effect, None, None, None, None)  # type: ignore[arg-type]
    found = [guess_outcome(guess, verdict) for guess in GUESSES]
    is_decided = decided_guess(verdict) is not None
    assert found.count("right") == is_decided
    assert found.count("wrong") == (2 if is_decided else effect != "unclear")


def test_reasons_say_what_the_study_says(results: Results) -> None:
    for row in results.rows:
        if row.ablation.kind == "target":
            continue
        for choice in choices(row, MARGIN):
            is_half_right = choice.reason.startswith("Right direction; whether by more than 0.10 ")
            assert is_half_right or choice.reason.lower().startswith(choice.outcome + ": ")
            if is_half_right:
                assert choice.outcome == "still possible" and row.verdict
                assert choice.guess == {"hurts": "worse", "helps": "better"}[row.verdict.effect]
            assert choice.words.count("0.10 points") == 1
            if row.verdict and decided_guess(row.verdict):
                assert row.verdict.kind in choice.reason
    row = results.rows[1]
    assert (
        "no seed was run both"
        in choices(msgspec.structs.replace(row, difference_pct=None, verdict=None), MARGIN)[
            0
        ].reason
    )
    assert "more than 0.25 points" in choices(row, 0.25)[0].words


@pytest.fixture(scope="module")
def results() -> Results:
    """Decided and undecided ablations, one with a single seed, one that shares none; and one whose
    words are hostile."""
    seeds = {name: range(4) for name in ALL_NAMES}
    results = make_results(
        {**seeds, ALL_NAMES[-2]: [0], ALL_NAMES[-1]: [9]}, diverged=[ALL_NAMES[1]]
    )
    hostile = replace(results.rows[3].ablation, removes=HOSTILE)
    rows = list(results.rows)
    rows[3] = msgspec.structs.replace(rows[3], ablation=hostile)
    return msgspec.structs.replace(results, rows=rows)


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page."""
    path = tmp_path_factory.mktemp("predict") / "report.html"
    path.write_text(render_page(results), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, report: str) -> Iterator[Page]:
    """The page, without a network; whatever it complains about fails the test."""
    context = browser.new_context(offline=True, reduced_motion="reduce")
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report)
    yield page
    context.close()
    assert complaints == []


def cards(page: Page) -> Locator:
    return page.locator("details.predict")


def guess(card: Locator, chosen: Guess) -> None:
    """Open a card and commit to a guess."""
    card.locator("> summary").click()
    card.locator(f"input[value={chosen}]").check()
    card.get_by_role("button", name="Commit").click()


def score(page: Page) -> str:
    return page.locator("#score-words").inner_text()


def test_answer_is_hidden_until_one_commits(page: Page, results: Results) -> None:
    compared = [row for row in results.rows if row.ablation.kind != "target"]
    assert cards(page).count() == len(compared)
    for card, row in zip(cards(page).all(), compared, strict=True):
        assert card.get_attribute("open") is None
        words = f"Predict first: what does {row.ablation.name} do to the accuracy?"
        assert card.locator("> summary").inner_text() == words
        expect(card.locator("form")).not_to_be_visible()
    card = cards(page).first
    card.locator("> summary").click()
    expect(card.locator("form")).to_be_visible()
    expect(card.locator(".predicted")).not_to_be_visible()
    expect(card.locator(".outcome")).not_to_be_visible()
    # Without a choice the browser asks for one.
    card.get_by_role("button", name="Commit and see").click()
    expect(card.locator(".predicted")).not_to_be_visible()
    card.get_by_label("worse, by more than 0.10 points").check()
    expect(card.locator(".predicted")).not_to_be_visible()
    card.get_by_role("button", name="Commit and see").click()
    expect(card.locator(".predicted")).to_be_visible()
    expect(card.locator(".predicted")).to_contain_text(f"{compared[0].accuracy_pct.mean:.2f}")
    expect(card.locator("form")).not_to_be_visible()
    expect(card.locator(".outcome")).to_be_focused()


def test_guess_is_told_what_the_study_says_and_is_counted(page: Page, results: Results) -> None:
    compared = [row for row in results.rows if row.ablation.kind != "target"]
    assert score(page) == f"You guessed 0 of {len(compared)}"
    counts: Counter[str] = Counter()
    for number, (card, row) in enumerate(zip(cards(page).all(), compared, strict=True)):
        choice = choices(row, MARGIN)[number % 3]
        guess(card, choice.guess)
        expect(card.locator(".outcome")).to_contain_text(choice.reason)
        expect(card.locator(".outcome")).to_contain_text(f"You said: {choice.words}.")
        counts[choice.outcome] += 1
        parts = [f"{counts[kind]} {kind}" for kind in get_args(Outcome) if counts[kind]]
        parts.sort(key=lambda part: part.endswith("wrong"))
        assert score(page) == f"You guessed {number + 1} of {len(compared)}: {', '.join(parts)}"
        line = page.locator("#score li").last.inner_text()
        assert line.endswith(
            f"{choice.outcome}: without {row.ablation.removes}: you said {choice.words}"
        )
    assert len(counts) == 3
    assert page.locator("#score-words").get_attribute("role") == "status"


def test_guess_by_keyboard(page: Page) -> None:
    page.locator("details.predict > summary").first.focus()
    for key in ("Enter", "Tab", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(cards(page).first.locator(".outcome")).to_contain_text("You said: hardly any difference")
    expect(cards(page).first.locator(".outcome")).to_be_focused()


def test_committing_to_nothing_says_what_is_missing(page: Page) -> None:
    card = cards(page).first
    card.locator("> summary").click()
    missing = card.get_by_role("alert")
    expect(missing).not_to_be_visible()
    card.get_by_role("button", name="Commit").click()
    expect(missing).to_have_text("Choose one of the three first.")
    expect(card.locator("input").first).to_be_focused()
    expect(card.locator(".predicted")).not_to_be_visible()
    card.locator("input[value=hardly]").check()
    expect(missing).not_to_be_visible()
    card.get_by_role("button", name="Commit").click()
    expect(card.locator(".predicted")).to_be_visible()


def test_showing_an_answer_is_no_guess(page: Page) -> None:
    card = cards(page).first
    card.locator("> summary").click()
    card.get_by_role("button", name="Show without guessing").click()
    expect(card.locator(".outcome")).to_have_text("Shown without a guess.")
    expect(card.locator(".predicted")).to_be_visible()
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("#score li")).to_have_count(0)


def test_start_again(page: Page) -> None:
    guess(cards(page).first, "worse")
    guess(cards(page).nth(1), "better")
    page.get_by_role("button", name="Start again").click()
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("#score li")).to_have_count(0)
    expect(page.locator("details.predict[open]")).to_have_count(0)
    expect(cards(page).first.locator("> summary")).to_be_focused()
    cards(page).first.locator("> summary").click()
    expect(cards(page).first.locator(".predicted")).not_to_be_visible()
    expect(cards(page).first.locator("input:checked")).to_have_count(0)


def test_every_answer_at_once(page: Page) -> None:
    guess(cards(page).first, "worse")
    page.get_by_role("button", name="Open every answer").last.click()
    for card in cards(page).all():
        expect(card.locator(".predicted")).to_be_visible()
    expect(cards(page).first.locator(".outcome")).to_contain_text("You said: worse")
    assert score(page).startswith("You guessed 1 of ")
    page.get_by_role("button", name="Close every answer").last.click()
    expect(page.locator("details.predict[open]")).to_have_count(0)


def test_nothing_is_kept_outside_of_the_page(page: Page) -> None:
    address = page.evaluate("location.href")
    guess(cards(page).first, "worse")
    assert page.evaluate("location.href") == address
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    page.reload()
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("details.predict[open]")).to_have_count(0)


def test_hostile_words_stay_words(page: Page) -> None:
    guess(cards(page).nth(2), "worse")
    assert HOSTILE in page.locator("#score li").inner_text()
    assert page.locator("img").count() == 0


RESULTS = "#answer, #requirements, #differences, #evidence, #numbers, #noise"


def mode_button(page: Page) -> Locator:
    return page.locator("#predict").get_by_role("button", name="Show the results")


def begin_mode(page: Page) -> None:
    page.get_by_role("button", name="Predict first: hide the results").click()


def test_classroom_mode_hides_the_results_until_asked(page: Page, results: Results) -> None:
    show = mode_button(page)
    expect(show).not_to_be_visible()
    begin_mode(page)
    assert page.evaluate("location.href").endswith("#predict")
    for section in page.locator(RESULTS).all():
        expect(section).not_to_be_visible()
    expect(page.locator("#methods")).to_be_visible()
    expect(page.get_by_role("link", name="Verdicts")).not_to_be_visible()
    expect(page.get_by_role("link", name="Methods")).to_be_visible()
    # One reads on at the instruction, which leads to the cards.
    link = page.get_by_role("link", name="To the first card")
    expect(link).to_be_focused()
    expect(page.locator("#predict [role=status]")).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0
    assert link.evaluate("link => link.hash") == "#" + str(cards(page).first.get_attribute("id"))
    num_core = sum(row.ablation.is_core for row in results.rows)
    assert 0 < num_core < cards(page).count()
    expect(page.locator("#predict [role=status]")).to_have_text(
        f"The results of {cards(page).count()} cards are hidden. "
        f"Guess at least the {num_core} core cards, then press Show the results."
    )
    show.click()
    for section in page.locator(RESULTS).all():
        expect(section).to_be_visible()
    assert "#" not in page.evaluate("location.href")
    expect(page.locator("#answer-heading")).to_be_focused()
    expect(page.get_by_role("link", name="Verdicts", exact=True)).to_be_visible()


def test_core_cards_are_those_of_the_core(page: Page, results: Results) -> None:
    core = [row.ablation.name for row in results.rows if row.ablation.is_core]
    assert page.locator("article:has(.tag:text-is('core'))").count() == len(core)
    summaries = page.locator("details.predict[data-core] > summary").all_inner_texts()
    for summary, name in zip(summaries, core, strict=True):
        assert f" {name} " in summary
    begin_mode(page)
    assert score(page) == f"You guessed 0 of {cards(page).count()} (core cards: 0 of {len(core)})"
    guess(page.locator("details.predict[data-core]").first, "worse")
    guess(page.locator("details.predict:not([data-core])").first, "worse")
    assert score(page) == f"You guessed 2 of {cards(page).count()} (core cards: 1 of {len(core)})"


def test_every_link_to_a_hidden_result_is_hidden(browser: Browser, report: str) -> None:
    page = browser.new_page()
    # In a card, and in running text; the script has not begun when they are put there.
    page.add_init_script(
        """document.addEventListener('DOMContentLoaded', () => {
            for (const place of document.querySelectorAll('.predict > form, #methods > p')) {
                const link = document.createElement('a');
                link.href = '#numbers-heading';
                link.textContent = 'Why it happens';
                link.className = 'leading';
                place.append(link);
            }
        })"""
    )
    page.goto(report)
    cards(page).first.locator("> summary").click()
    expect(page.locator("#methods .leading").first).to_be_visible()
    expect(cards(page).first.locator(".leading")).to_be_visible()
    begin_mode(page)
    expect(page.locator(".leading:visible")).to_have_count(0)
    expect(page.locator("a[href='#methods']").first).to_be_visible()
    page.close()


def test_in_classroom_mode_a_guess_is_noted_and_tells_nothing(page: Page) -> None:
    shown, first, second = (cards(page).nth(number) for number in range(3))
    shown.locator("> summary").click()
    shown.get_by_role("button", name="Show without guessing").click()
    guess(first, "better")
    expect(first.locator(".predicted")).to_be_visible()
    begin_mode(page)
    # What was open before is hidden with the rest; a guess is kept, and a look is not.
    expect(page.locator(".predicted:visible")).to_have_count(0)
    expect(shown.locator(".outcome")).not_to_be_visible()
    guess(second, "worse")
    expect(second.locator(".predicted")).not_to_be_visible()
    words = second.locator("input[value=worse]").get_attribute("data-words")
    expect(second.locator(".outcome")).to_have_text(
        f"Noted: you said {words}. The answer appears with the results."
    )
    expect(second.locator(".outcome")).to_be_focused()
    expect(second.locator("> summary")).to_contain_text("guessed")
    expect(page.locator(".guessed:visible")).to_have_count(2)
    assert not re.search("right|wrong|possible", page.locator("#score").inner_text())
    cards(page).nth(3).locator("> summary").click()
    button = page.get_by_role("button", name=re.compile("without guessing|Open every answer"))
    expect(button).to_have_count(0)
    mode_button(page).click()
    for card, chosen in ((first, "better"), (second, "worse")):
        card.evaluate("card => { card.open = true }")
        reason = card.locator(f"input[value={chosen}]").get_attribute("data-reason")
        expect(card.locator(".outcome")).to_contain_text(str(reason))
        expect(card.locator(".predicted")).to_be_visible()
    expect(page.locator(".guessed:visible")).to_have_count(0)
    expect(page.locator("#score li")).to_have_count(2)
    assert re.search("right|wrong|possible", score(page))
    # A card that nobody guessed is still to be guessed.
    shown.evaluate("card => { card.open = true }")
    expect(shown.locator("form")).to_be_visible()


def test_results_are_shown_from_beside_the_cards(page: Page) -> None:
    for number, place in enumerate(("#entries p.predict-tools", "#score")):
        begin_mode(page)
        guess(cards(page).nth(number), "worse")
        assert score(page).startswith(f"You guessed {number + 1} of ")
        expect(page.locator(place).locator(".score-words")).to_have_text(score(page))
        page.locator(place).get_by_role("button", name="Show the results").click()
        expect(page.locator("#numbers")).to_be_visible()
        expect(page.locator(place)).to_be_focused()
        expect(page.locator(place)).to_be_in_viewport()


def test_last_card_offers_the_results_and_does_not_show_them(page: Page) -> None:
    page.evaluate("location.hash = '#predict'")
    expect(page.locator("#numbers")).not_to_be_visible()
    for card in cards(page).all():
        guess(card, "hardly")
    expect(page.locator("#numbers")).not_to_be_visible()
    expect(page.locator(".predicted:visible")).to_have_count(0)
    assert score(page).endswith("This is every card: press Show the results.")
    last = cards(page).last.locator(".outcome")
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    expect(last).to_contain_text("This was the last card.")
    last.get_by_role("button", name="Show the results").click()
    expect(page.locator("#numbers")).to_be_visible()
    expect(page.locator(".predicted:visible")).to_have_count(cards(page).count())
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()
    # To hide the results again is to begin again.
    begin_mode(page)
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("#numbers")).not_to_be_visible()


def test_classroom_mode_can_be_linked(browser: Browser, report: str) -> None:
    page = browser.new_page()
    page.goto(f"{report}#predict")
    expect(page.locator("#answer")).not_to_be_visible()
    expect(mode_button(page)).to_be_visible()
    expect(page.locator("h1")).to_be_in_viewport()
    # Paper cannot be pressed.
    page.emulate_media(media="print")
    expect(page.locator("#answer")).to_be_visible()
    page.close()


def test_classroom_mode_outlives_links_and_reloads_until_it_is_ended(page: Page) -> None:
    begin_mode(page)
    guess(cards(page).first, "worse")
    page.get_by_role("link", name="Methods").click()
    page.wait_for_function("location.hash === '#methods'")
    expect(page.locator("#numbers")).not_to_be_visible()
    expect(cards(page).first.locator(".outcome")).to_contain_text("Noted")
    page.wait_for_function("history.state?.predicting")
    page.reload()
    expect(page.locator("#numbers")).not_to_be_visible()
    # Guesses live in the page alone.
    assert score(page).startswith("You guessed 0 of ")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    mode_button(page).click()
    page.reload()
    expect(page.locator("#numbers")).to_be_visible()
    # Nor does it begin again for whoever goes back.
    page.go_back()
    page.wait_for_function("history.state === null")
    expect(page.locator("#numbers")).to_be_visible()
    page.reload()
    expect(page.locator("#numbers")).to_be_visible()


def test_sorting_a_table_does_not_end_the_mode(page: Page) -> None:
    begin_mode(page)
    page.evaluate("document.querySelector('table[data-view] .sort').click()")
    assert "sort=" in page.evaluate("location.hash")
    page.reload()
    expect(page.locator("#numbers")).not_to_be_visible()


def test_error_in_this_part_leaves_the_others_working(
    browser: Browser, report: str, tmp_path: Path
) -> None:
    text = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    path = tmp_path / "report.html"
    path.write_text(text.replace('class="outcome"', 'class="lost"'), encoding="utf-8")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert len(errors) == 1
    page.locator("table[data-view=numbers] .sort").first.click()
    expect(page.locator("[aria-sort]")).to_have_count(1)
    page.close()


@pytest.mark.parametrize("media", ["screen", "print"])
def test_answers_are_there_without_a_script(browser: Browser, report: str, media: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{report}#predict")
    page.emulate_media(media=media)
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("button:visible")).to_have_count(0)
    card = cards(page).first
    if media == "screen":
        card.locator("> summary").click()
    expect(card.locator(".predicted")).to_be_visible()
    expect(card.locator("form")).not_to_be_visible()
    context.close()


def test_print_shows_every_answer_and_no_form(page: Page) -> None:
    cards(page).nth(1).locator("> summary").click()
    page.emulate_media(media="print")
    for card in cards(page).all():
        expect(card.locator(".predicted dl")).to_be_visible()
        # A closed card's content has a box even while it is not painted.
        assert card.locator(".predicted").evaluate(
            "box => box.checkVisibility({contentVisibilityAuto: true})"
        )
        expect(card.locator("form")).not_to_be_visible()
    expect(page.locator(".controls button:visible")).to_have_count(0)


def test_browsers_that_cannot_style_closed_cards_open_them_to_print(page: Page) -> None:
    guess(cards(page).first, "worse")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("details.predict[open]")).to_have_count(cards(page).count())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("details.predict[open]")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cards_are_accessible(browser: Browser, report: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(f"{report}#predict")
    expect(page.locator("#answer")).not_to_be_visible()
    for number, chosen in enumerate(GUESSES):
        guess(cards(page).nth(number), chosen)
    cards(page).nth(4).locator("> summary").click()
    if scheme == "dark":
        page.locator("#score").get_by_role("button", name="Show the results").click()
    found = Axe().run(page, context={"include": [["#predict"], ["#entries"], ["#score"]]})
    assert found.response["violations"] == [], found.generate_report()
    page.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_cards_fit_their_window(browser: Browser, report: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page.goto(report)
    guess(cards(page).first, "worse")
    cards(page).nth(1).locator("> summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button:visible, label:visible").all():
        box = button.bounding_box()
        assert box and box["width"] >= 24 and box["height"] >= 24
    page.close()
