// Predict first: a guess before each answer, a score, and a mode that hides the results.
// Guesses are kept in this page until it is closed; nothing is stored or sent.
{
  const SYMBOLS = { right: "\u2713", "still possible": "?", wrong: "\u2717" };
  const cards = [...document.querySelectorAll("details.predict")];
  const numCore = cards.filter((card) => card.dataset.core !== undefined).length;
  const tools = document.querySelectorAll(".predict-tools");
  const score = document.getElementById("score");
  const classroom = document.getElementById("predict");
  // Of each answered card: the chosen field, or null if it was shown without a guess.
  const answered = new Map();

  // ---- One card

  function isHiding() {
    return document.documentElement.classList.contains("predicting");
  }

  function outcomeWords(chosen) {
    if (!chosen) return "Shown without a guess.";
    const { outcome, reason, words } = chosen.dataset;
    return `${SYMBOLS[outcome]} ${reason} You said: ${words}.`;
  }

  // A card has three states: to guess, guessed while results are hidden, and answered.
  function showCard(card) {
    const isAnswered = answered.has(card);
    const isNoted = isAnswered && isHiding();
    const chosen = answered.get(card);
    const outcome = card.querySelector(".outcome");
    if (isNoted) outcome.textContent = `Noted: you said ${chosen.dataset.words}. The answer appears with the results.`;
    else if (isAnswered) outcome.textContent = outcomeWords(chosen);
    outcome.dataset.outcome = isNoted ? "" : (chosen?.dataset.outcome ?? "");
    outcome.hidden = !isAnswered;
    card.querySelector(".guess").hidden = isAnswered;
    card.querySelector(".guessed").hidden = !isNoted;
    card.querySelector(".predicted").hidden = !isAnswered || isNoted;
  }

  // The pressed button is gone, so the focus moves to the outcome.
  function answerCard(card, chosen) {
    const outcome = card.querySelector(".outcome");
    answered.set(card, chosen);
    showCard(card);
    showScore();
    if (isHiding() && answered.size === cards.length) outcome.append(" This was the last card. ", showButton());
    outcome.focus();
  }

  function showButton() {
    const place = document.createElement("span");
    const button = document.createElement("button");
    place.className = "controls";
    button.type = "button";
    button.textContent = "Show the results";
    button.addEventListener("click", actions.show);
    place.append(button);
    return place;
  }

  function resetCard(card) {
    answered.delete(card);
    card.querySelector(".guess").reset();
    setLiveText(card.querySelector(".missing"), "");
    card.open = false;
    showCard(card);
  }

  // ---- The score

  function scoreWords(guessedCards, guesses) {
    const found = `You guessed ${guesses.length} of ${cards.length}`;
    if (isHiding()) {
      const numGuessed = guessedCards.filter((card) => card.dataset.core !== undefined).length;
      const all = guesses.length === cards.length ? ". This is every card: press Show the results." : "";
      return (numCore ? `${found} (core cards: ${numGuessed} of ${numCore})` : found) + all;
    }
    const counts = Object.keys(SYMBOLS)
      .map((outcome) => [guesses.filter((chosen) => chosen.dataset.outcome === outcome).length, outcome])
      .filter(([number]) => number > 0)
      .map(([number, outcome]) => `${number} ${outcome}`);
    return counts.length ? `${found}: ${counts.join(", ")}` : found;
  }

  function scoreLine([card, chosen]) {
    const line = document.createElement("li");
    const link = document.createElement("a");
    link.href = `#${card.id}`;
    link.textContent = card.dataset.words;
    const { words, outcome } = chosen.dataset;
    line.append(isHiding() ? "noted: " : `${SYMBOLS[outcome]} ${outcome}: `, link, `: you said ${words}`);
    return line;
  }

  function showScore() {
    const guessed = [...answered].filter(([, chosen]) => chosen);
    const words = scoreWords(
      guessed.map(([card]) => card),
      guessed.map(([, chosen]) => chosen),
    );
    for (const element of document.querySelectorAll(".score-words")) setLiveText(element, words);
    score.querySelector("ol").replaceChildren(...guessed.map(scoreLine));
    score.classList.toggle("begun", guessed.length > 0);
  }

  // ---- All cards

  function openAll() {
    for (const card of cards) {
      if (!answered.has(card)) answered.set(card, null);
      showCard(card);
      card.open = true;
    }
    showScore();
  }

  function closeAll() {
    for (const card of cards) card.open = false;
  }

  function startAgain() {
    for (const card of cards) resetCard(card);
    showScore();
  }

  // ---- Classroom mode: a class guesses first, then all results are shown.

  function setHiding(isHidden, words) {
    document.documentElement.classList.toggle("predicting", isHidden);
    for (const button of document.querySelectorAll("[data-predict=hide]")) button.hidden = isHidden;
    for (const button of document.querySelectorAll("[data-predict=show]")) button.hidden = !isHidden;
    classroom.querySelector("a").hidden = !isHidden;
    setLiveText(classroom.querySelector("[role=status]"), words);
    cards.forEach(showCard);
    showScore();
  }

  // A card that was shown without a guess can be guessed again.
  function hideResults() {
    if (answered.size === cards.length) startAgain();
    for (const [card, chosen] of [...answered]) if (!chosen) resetCard(card);
    const enough = numCore ? `at least the ${numCore} core cards` : "as many as you like";
    setHiding(true, `The results of ${cards.length} cards are hidden. Guess ${enough}, then press Show the results.`);
  }

  function showResults() {
    setHiding(false, "");
    rememberMode(withoutMode());
  }

  // ---- The mode is stored in the history, so that it survives links within the page and a reload.

  function withoutMode() {
    return location.hash === "#predict" ? location.href.split("#")[0] : location.href;
  }

  function rememberMode(address) {
    try {
      history.replaceState(isHiding() ? { predicting: true } : null, "", address);
    } catch {
      // Some browsers refuse that for files. The page works anyway.
    }
  }

  function followAddress() {
    const isLeft = !isHiding() && history.state?.predicting;
    // Going back does not restart a mode that was ended.
    if (isLeft) return rememberMode(withoutMode());
    if (location.hash === "#predict" && !isHiding()) hideResults();
    if (isHiding()) rememberMode(location.href);
  }

  function beginMode() {
    if (location.hash === "#predict" || history.state?.predicting) hideResults();
    if (isHiding()) rememberMode(location.href);
  }

  function goTo(element) {
    if (element.tabIndex < 0) element.tabIndex = -1;
    element.focus();
  }

  const actions = {
    open: openAll,
    close: closeAll,
    again() {
      startAgain();
      goTo(cards[0].querySelector("summary"));
    },
    hide() {
      hideResults();
      rememberMode("#predict");
      // Next to the instruction.
      goTo(classroom.querySelector("a"));
    },
    // Continue where the button was: at the cards, or at the results above them.
    show({ target }) {
      const place = target.closest(".outcome, .predict-tools:not(.classroom)");
      showResults();
      goTo(place ?? document.querySelector(".result :is(h2, h3)") ?? classroom);
    },
  };

  // ---- Print: open all cards, also in browsers that cannot do it by style.

  let closedCards = [];
  function openForPrint() {
    closedCards = cards.filter((card) => !card.open);
    for (const card of closedCards) card.open = true;
  }

  function closeAfterPrint() {
    for (const card of closedCards) card.open = false;
  }

  // ---- Begin

  function beginCard(card) {
    const form = card.querySelector(".guess");
    resetCard(card);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = form.querySelector(":checked");
      if (chosen) return answerCard(card, chosen);
      setLiveText(form.querySelector(".missing"), "Choose one of the three first.");
      form.querySelector("[type=radio]").focus();
    });
    // The browser's own message disappears too soon.
    form.noValidate = true;
    form.addEventListener("change", () => setLiveText(form.querySelector(".missing"), ""));
    form.querySelector("[type=button]").addEventListener("click", () => answerCard(card, null));
  }

  // Links to hidden elements are hidden, too.
  function markLinks() {
    for (const link of document.querySelectorAll("a[href^='#']")) {
      const target = document.getElementById(link.hash.slice(1));
      const place = link.closest("nav li") ?? link;
      if (target?.closest(".result")) place.classList.add("to-result");
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!cards.length || !score || !classroom) return;
    cards.forEach(beginCard);
    classroom.querySelector("a").hash = cards[0].id;
    markLinks();
    showScore();
    for (const element of tools) element.hidden = false;
    for (const button of document.querySelectorAll("button[data-predict]")) {
      button.addEventListener("click", actions[button.dataset.predict]);
    }
    beginMode();
    addEventListener("hashchange", followAddress);
    addEventListener("beforeprint", openForPrint);
    addEventListener("afterprint", closeAfterPrint);
  });
}
