// The section "Explore": switches that choose which measured network is shown, and "Predict first".
{
  let panels = new Map(); // by what was removed
  let switches = [];
  let shown = null;

  const keyOf = (names) => [...names].sort().join("+");
  const namesOf = (panel) => panel.dataset.removed.split("+").filter((name) => name);

  function show(panel, isChosen = true) {
    shown = panel;
    for (const one of panels.values()) {
      one.hidden = one !== panel;
      one.open = one === panel;
    }
    const removed = namesOf(panel);
    for (const input of switches) input.checked = !removed.includes(input.dataset.name);
    const combined = switches.filter(isConcept);
    for (const input of combined) {
      input.disabled = !panels.has(keyOf(toggled(removed, input))) && !panels.has(input.dataset.name);
    }
    if (isChosen) {
      const words = panel.querySelector("h3").textContent;
      const effect = panel.dataset.evidence;
      const isHidden = document.body.classList.contains("predicting");
      setLiveText(document.getElementById("switched"), effect && !isHidden ? `${words}: ${effect}` : words);
      rememberAddress(`#${panel.id}`);
    }
  }

  const isConcept = (input) => input.closest("fieldset") === switches[0].closest("fieldset");

  // A concept joins the other concepts that are off, where that was measured; anything else is off alone.
  function toggled(removed, input) {
    const { name } = input.dataset;
    if (removed.includes(name)) return removed.filter((one) => one !== name);
    const concepts = switches.filter(isConcept).map((one) => one.dataset.name);
    return isConcept(input) && removed.every((one) => concepts.includes(one)) ? [...removed, name] : [name];
  }

  function flip(input) {
    const { name } = input.dataset;
    const panel = panels.get(keyOf(toggled(namesOf(shown), input)));
    show(panel ?? panels.get(name));
    if (!panel) document.getElementById("switched").append(" (not measured with the others)");
  }

  function rememberAddress(address) {
    try {
      history.replaceState(null, "", address);
    } catch {
      // Some browsers refuse that for files. The page works anyway.
    }
  }

  function followAddress() {
    if (location.hash === "#predict") return beginPrediction();
    const panel = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (panel && panels.get(panel.dataset.removed && keyOf(namesOf(panel))) === panel) {
      show(panel, false);
      panel.scrollIntoView();
    }
  }

  // ---- Predict first: the results stay hidden until a reader has guessed.

  const guesses = new Map(); // by panel: the error in points, and whether the direction was right
  let questions = [];

  function beginPrediction() {
    document.body.classList.add("predicting");
    document.querySelector(".switches").hidden = true;
    document.getElementById("predict").hidden = false;
    ask(questions.find((panel) => !guesses.has(panel)) ?? questions[0]);
  }

  function endPrediction() {
    document.body.classList.remove("predicting");
    document.querySelector(".switches").hidden = false;
    document.getElementById("predict").hidden = true;
    rememberAddress("#effects");
    document.getElementById("effects").scrollIntoView();
  }

  function ask(panel) {
    show(panel, false);
    const box = document.getElementById("predict");
    const form = box.querySelector("form");
    const [words] = panel.querySelector("h3").textContent.split("\n");
    box.querySelector("legend").textContent = `${words}, compared with the target, the accuracy is …`;
    form.reset();
    form.hidden = guesses.has(panel);
    setLiveText(document.getElementById("outcome"), "");
    document.getElementById("next").hidden = !guesses.has(panel);
    box.scrollIntoView();
  }

  function judge(event) {
    event.preventDefault();
    const panel = shown;
    const measured = Number(panel.dataset.effect);
    const margin = Number(document.getElementById("explore").dataset.margin);
    const form = new FormData(event.target);
    const guess = Number(form.get("direction")) * Number(form.get("points") || margin);
    const direction = Math.abs(measured) <= margin ? 0 : Math.sign(measured);
    const isRight = direction === Number(form.get("direction"));
    guesses.set(panel, { isRight, error: Math.abs(guess - measured) });
    panel.classList.add("answered");
    event.target.hidden = true;
    const outcome = document.getElementById("outcome");
    const sign = isRight ? "Your direction was right" : "Your direction was not right";
    setLiveText(outcome, `Measured ${panel.dataset.evidence}. ${sign}; your estimate was ${points(guess - measured)} away.`);
    outcome.focus();
    const isLast = guesses.size === questions.length;
    document.getElementById("next").hidden = isLast;
    showScore();
  }

  const points = (difference) => `${Math.abs(difference).toFixed(2)} points`;

  function showScore() {
    const all = [...guesses.values()];
    const errors = all.map(({ error }) => error).sort((one, other) => one - other);
    const numRight = all.filter(({ isRight }) => isRight).length;
    const words = `${numRight} of ${all.length} directions right; median distance ${points(errors[errors.length >> 1])}.`;
    document.getElementById("score").textContent = words;
  }

  // ---- Begin

  document.addEventListener("DOMContentLoaded", () => {
    const section = document.getElementById("explore");
    for (const element of document.querySelectorAll(".needs-script:not(#predict)")) element.hidden = false;
    if (!section) return;
    section.classList.add("live");
    switches = [...section.querySelectorAll(".switches input")];
    for (const panel of section.querySelectorAll(".panel")) {
      // Only the script opens and closes them.
      panel.removeAttribute("name");
      const summary = panel.querySelector("summary");
      summary.tabIndex = -1;
      summary.addEventListener("click", (event) => event.preventDefault());
      panels.set(keyOf(namesOf(panel)), panel);
    }
    questions = [...panels.values()].filter((panel) => panel.dataset.effect);
    for (const input of switches) input.addEventListener("change", () => flip(input));
    document.getElementById("restore").addEventListener("click", () => show(panels.get("") ?? shown));
    document.querySelector("#predict form").addEventListener("submit", judge);
    document.getElementById("leave").addEventListener("click", endPrediction);
    document.getElementById("next").addEventListener("click", () => {
      ask(questions.find((panel) => !guesses.has(panel)));
    });
    show([...panels.values()][0], false);
    followAddress();
    addEventListener("hashchange", followAddress);
  });
}
