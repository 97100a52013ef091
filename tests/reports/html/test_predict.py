"""Predict first: a guess comes before each result, by card or for all results at once."""

import re
from collections import Counter

from playwright.sync_api import Locator, Page, expect

from ablations.analysis.summary import Results
from reports.text.predict import Guess, choices
from tests.reports.html.pages import HOSTILE

RESULTS = "#answer, #requirements, #differences, #evidence, #numbers"


def cards(page: Page) -> Locator:
    return page.locator("details.predict")


def guess(card: Locator, chosen: Guess) -> None:
    """Open a card and commit to a guess."""
    card.locator("> summary").click()
    card.locator(f"input[value={chosen}]").check()
    card.get_by_role("button", name="Submit").click()


def score(page: Page) -> str:
    return page.locator("#score-words").inner_text()


def test_answer_is_hidden_until_a_guess(page: Page, results: Results) -> None:
    compared = [row for row in results.rows if row.ablation.kind != "target"]
    summaries = cards(page).locator("> summary").all_inner_texts()
    assert summaries == [
        f"Predict first: what does {row.ablation.name} do to the accuracy?" for row in compared
    ]
    expect(page.locator("details.predict[open]")).to_have_count(0)
    card = cards(page).first
    card.locator("> summary").click()
    expect(card.locator(".predicted")).not_to_be_visible()
    # Without a choice the page asks for one.
    missing = card.get_by_role("alert")
    card.get_by_role("button", name="Submit and show the result").click()
    expect(missing).to_have_text("Choose one of the three first.")
    expect(card.locator("input").first).to_be_focused()
    expect(card.locator(".predicted")).not_to_be_visible()
    card.get_by_label("worse, by more than 0.10 points").check()
    expect(missing).not_to_be_visible()
    card.get_by_role("button", name="Submit and show the result").click()
    expect(card.locator(".predicted")).to_contain_text(f"{compared[0].accuracy_pct.mean:.2f}")
    expect(card.locator(".predicted")).to_be_visible()
    expect(card.locator("form")).not_to_be_visible()
    expect(card.locator(".outcome")).to_be_focused()


def test_guesses_are_answered_and_counted_and_kept_nowhere(page: Page, results: Results) -> None:
    compared = [row for row in results.rows if row.ablation.kind != "target"]
    address = page.evaluate("location.href")
    assert score(page) == f"You guessed 0 of {len(compared)}"
    guessed = [choices(row, 0.1)[number % 3] for number, row in enumerate(compared, start=1)]
    for card, choice in zip(cards(page).all(), guessed, strict=True):
        guess(card, choice.guess)
        words = f"{choice.reason} You said: {choice.words}."
        expect(card.locator(".outcome")).to_contain_text(words)
    counts = Counter(choice.outcome for choice in guessed)
    outcomes = ("right", "still possible", "wrong")
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in outcomes)
    assert score(page) == f"You guessed {len(compared)} of {len(compared)}: {words}"
    lines = page.locator("#score li").all_inner_texts()
    for line, row, choice in zip(lines, compared, guessed, strict=True):
        words = f"without {row.ablation.removes}: you said {choice.words}"
        assert line.endswith(f"{choice.outcome}: {words}")
    # What looks like markup stays text.
    assert HOSTILE in page.locator("#score").inner_text()
    assert page.evaluate("location.href") == address
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    page.reload()
    assert score(page).startswith("You guessed 0 of ")


def test_guess_by_keyboard(page: Page) -> None:
    page.locator("details.predict > summary").first.focus()
    for key in ("Enter", "Tab", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(cards(page).first.locator(".outcome")).to_contain_text("You said: hardly any difference")
    expect(cards(page).first.locator(".outcome")).to_be_focused()


def test_answers_without_a_guess_are_not_counted_and_one_can_start_again(page: Page) -> None:
    first = cards(page).first
    first.locator("> summary").click()
    first.get_by_role("button", name="Show without guessing").click()
    expect(first.locator(".outcome")).to_have_text("Shown without a guess.")
    assert score(page).startswith("You guessed 0 of ")
    guess(cards(page).nth(1), "better")
    page.get_by_role("button", name="Open every answer").last.click()
    expect(page.locator(".predicted:visible")).to_have_count(cards(page).count())
    expect(cards(page).nth(1).locator(".outcome")).to_contain_text("You said: better")
    assert score(page).startswith("You guessed 1 of ")
    page.get_by_role("button", name="Close every answer").last.click()
    expect(page.locator("details.predict[open]")).to_have_count(0)
    page.get_by_role("button", name="Start again").click()
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("#score li")).to_have_count(0)
    expect(first.locator("> summary")).to_be_focused()
    cards(page).nth(1).locator("> summary").click()
    expect(cards(page).nth(1).locator(".predicted")).not_to_be_visible()
    expect(cards(page).nth(1).locator("input:checked")).to_have_count(0)


def mode_button(page: Page) -> Locator:
    return page.locator("#predict").get_by_role("button", name="Show the results")


def begin_mode(page: Page) -> None:
    page.get_by_role("button", name="Predict first: hide the results").click()


def test_classroom_mode_hides_the_results_until_asked(page: Page, results: Results) -> None:
    expect(mode_button(page)).not_to_be_visible()
    begin_mode(page)
    assert page.evaluate("location.href").endswith("#predict")
    expect(page.locator(RESULTS).locator("visible=true")).to_have_count(0)
    expect(page.locator("#methods")).to_be_visible()
    expect(page.get_by_role("link", name="Verdicts")).not_to_be_visible()
    expect(page.get_by_role("link", name="Methods")).to_be_visible()
    # The reader continues at the instruction, which leads to the cards.
    link = page.get_by_role("link", name="To the first card")
    expect(link).to_be_focused()
    assert link.evaluate("link => link.hash") == "#" + str(cards(page).first.get_attribute("id"))
    num_core = sum(row.ablation.is_core for row in results.rows)
    expect(page.locator("#predict [role=status]")).to_have_text(
        f"The results of {cards(page).count()} cards are hidden. "
        f"Guess at least the {num_core} core cards, then press Show the results."
    )
    guess(page.locator("details.predict[data-core]").first, "worse")
    guess(page.locator("details.predict:not([data-core])").first, "worse")
    assert score(page) == f"You guessed 2 of {cards(page).count()} (core cards: 1 of {num_core})"
    mode_button(page).click()
    expect(page.locator(RESULTS).locator("visible=true")).to_have_count(5)
    assert "#" not in page.evaluate("location.href")
    expect(page.locator("#answer-heading")).to_be_focused()


def test_in_classroom_mode_a_guess_is_recorded_without_its_answer(page: Page) -> None:
    shown, first, second = (cards(page).nth(number) for number in range(3))
    shown.locator("> summary").click()
    shown.get_by_role("button", name="Show without guessing").click()
    guess(first, "better")
    expect(first.locator(".predicted")).to_be_visible()
    begin_mode(page)
    # What was open is hidden again; the guess is kept.
    expect(page.locator(".predicted:visible")).to_have_count(0)
    expect(shown.locator(".outcome")).not_to_be_visible()
    guess(second, "worse")
    words = "worse, by more than 0.10 points. The answer appears with the results."
    expect(second.locator(".outcome")).to_have_text(f"Noted: you said {words}")
    expect(second.locator(".outcome")).to_be_focused()
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
    assert re.search("right|wrong|possible", score(page))
    # A card without a guess can still be guessed.
    shown.evaluate("card => { card.open = true }")
    expect(shown.locator("form")).to_be_visible()


def test_last_card_offers_the_results_and_does_not_show_them(page: Page) -> None:
    page.evaluate("location.hash = '#predict'")
    expect(page.locator("#numbers")).not_to_be_visible()
    for card in cards(page).all():
        guess(card, "hardly")
    expect(page.locator("#numbers")).not_to_be_visible()
    assert score(page).endswith("This is every card: press Show the results.")
    last = cards(page).last.locator(".outcome")
    expect(last).to_be_focused()
    expect(last).to_contain_text("This was the last card.")
    last.get_by_role("button", name="Show the results").click()
    expect(page.locator("#numbers")).to_be_visible()
    expect(page.locator(".predicted:visible")).to_have_count(cards(page).count())
    expect(last).to_be_in_viewport()
    # Hiding the results again starts again.
    begin_mode(page)
    assert score(page).startswith("You guessed 0 of ")
    expect(page.locator("#numbers")).not_to_be_visible()


def test_classroom_mode_survives_links_and_reloads_until_it_is_ended(page: Page) -> None:
    begin_mode(page)
    guess(cards(page).first, "worse")
    page.get_by_role("link", name="Methods").click()
    page.wait_for_function("location.hash === '#methods'")
    expect(page.locator("#numbers")).not_to_be_visible()
    expect(cards(page).first.locator(".outcome")).to_contain_text("Noted")
    page.wait_for_function("history.state?.predicting")
    page.evaluate("document.querySelector('table[data-view] .sort').click()")
    assert "sort=" in page.evaluate("location.hash")
    page.reload()
    expect(page.locator("#numbers")).not_to_be_visible()
    mode_button(page).click()
    page.reload()
    expect(page.locator("#numbers")).to_be_visible()
    # Going back does not start it again.
    page.go_back()
    page.wait_for_function("history.state === null")
    expect(page.locator("#numbers")).to_be_visible()
