// Predict first: a guess before each answer, a score, and a mode that hides the results.
// Guesses live in this page alone, until it is closed: nothing is stored, and nothing is sent.
{
  const SYMBOLS = { right: "\u2713", "still possible": "?", wrong: "\u2717" };
  const cards = [...document.querySelectorAll("details.predict")];
  const tools = document.querySelectorAll(".predict-tools");
  const score = document.getElementById("score");
  const classroom = document.getElementById("predict");
  // Of every card that shows its answer: the chosen field, or null where it was shown unguessed.
  const answered = new Map();

  // ---- One card

  function isHiding() {
    return document.documentElement.classList.contains("predicting");
  }

  // Show a card's answer. The guess stays what it is from then on.
  function showAnswer(card, chosen) {
    answered.set(card, chosen);
    const outcome = card.querySelector(".outcome");
    outcome.textContent = chosen
      ? `${SYMBOLS[chosen.dataset.outcome]} ${chosen.dataset.reason} You said: ${chosen.dataset.words}.`
      : "Shown without a guess.";
    outcome.dataset.outcome = chosen?.dataset.outcome ?? "";
    outcome.hidden = false;
    card.querySelector(".guess").hidden = true;
    card.querySelector(".predicted").hidden = false;
  }

  // The button that was pressed is gone, so the outcome is where one reads on.
  function answerCard(card, chosen) {
    const outcome = card.querySelector(".outcome");
    showAnswer(card, chosen);
    showScore();
    if (answered.size === cards.length && isHiding()) {
      showResults(`All ${cards.length} cards are answered: here are the results.`);
      outcome.append(" This was the last card: the results are shown now.");
    }
    outcome.focus();
  }

  function closeCard(card) {
    const form = card.querySelector(".guess");
    form.reset();
    form.hidden = false;
    card.querySelector(".outcome").hidden = true;
    card.querySelector(".predicted").hidden = true;
    card.open = false;
  }

  // ---- The score

  function scoreWords(guesses) {
    const counts = Object.keys(SYMBOLS)
      .map((outcome) => [guesses.filter((chosen) => chosen.dataset.outcome === outcome).length, outcome])
      .filter(([number]) => number > 0)
      .map(([number, outcome]) => `${number} ${outcome}`);
    const found = `You guessed ${guesses.length} of ${cards.length}`;
    return counts.length ? `${found}: ${counts.join(", ")}` : found;
  }

  function scoreLine([card, chosen]) {
    const line = document.createElement("li");
    const link = document.createElement("a");
    link.href = `#${card.id}`;
    link.textContent = card.dataset.words;
    const { words, outcome } = chosen.dataset;
    line.append(`${SYMBOLS[outcome]} ${outcome}: `, link, `: you said ${words}`);
    return line;
  }

  function showScore() {
    const guessed = [...answered].filter(([, chosen]) => chosen);
    score.querySelector("#score-words").textContent = scoreWords(guessed.map(([, chosen]) => chosen));
    score.querySelector("ol").replaceChildren(...guessed.map(scoreLine));
    score.classList.toggle("begun", guessed.length > 0);
  }

  // ---- Every card at once

  function openAll() {
    for (const card of cards) {
      if (!answered.has(card)) showAnswer(card, null);
      card.open = true;
    }
    showScore();
    if (isHiding()) showResults("Every answer is open: here are the results.");
  }

  function closeAll() {
    for (const card of cards) card.open = false;
  }

  function startAgain() {
    answered.clear();
    for (const card of cards) closeCard(card);
    showScore();
  }

  // ---- Classroom mode

  function setHiding(isHidden, words) {
    document.documentElement.classList.toggle("predicting", isHidden);
    classroom.querySelector("[data-predict=hide]").hidden = isHidden;
    classroom.querySelector("[data-predict=show]").hidden = !isHidden;
    classroom.querySelector("[role=status]").textContent = words;
  }

  function hideResults() {
    if (answered.size === cards.length) startAgain();
    setHiding(true, `The results are hidden until each of the ${cards.length} cards below is answered.`);
  }

  function showResults(words) {
    setHiding(false, words);
    if (location.hash === "#predict") setAddress(location.href.split("#")[0]);
  }

  function setAddress(address) {
    try {
      history.replaceState(null, "", address);
    } catch {
      // Some browsers refuse that for files. The page works all the same.
    }
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
      setAddress("#predict");
      goTo(cards.find((card) => !answered.has(card)).querySelector("summary"));
    },
    show() {
      showResults("");
      goTo(document.querySelector(".result :is(h2, h3)") ?? classroom);
    },
  };

  // ---- Print: browsers that cannot open a card by style need it opened.

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
    closeCard(card);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answerCard(card, form.querySelector(":checked"));
    });
    form.querySelector("[type=button]").addEventListener("click", () => answerCard(card, null));
  }

  // What leads to something hidden is hidden with it.
  function markLinks() {
    for (const link of document.querySelectorAll("nav a[href^='#']")) {
      const target = document.getElementById(link.hash.slice(1));
      if (target?.closest(".result")) (link.closest("li") ?? link).classList.add("result");
    }
  }

  if (cards.length && score && classroom) {
    cards.forEach(beginCard);
    markLinks();
    showScore();
    for (const element of tools) element.hidden = false;
    for (const button of document.querySelectorAll("button[data-predict]")) {
      button.addEventListener("click", actions[button.dataset.predict]);
    }
    const hideWhenLinked = () => location.hash === "#predict" && hideResults();
    hideWhenLinked();
    addEventListener("hashchange", hideWhenLinked);
    addEventListener("beforeprint", openForPrint);
    addEventListener("afterprint", closeAfterPrint);
  }
}
