// The section "Explore": switches that choose which measured network is shown, and "Predict first".
{
  let panels = new Map(); // by what was removed
  let switches = [];
  let concepts = []; // names of the switches that combine
  let shown = null;

  const keyOf = (names) => [...names].sort().join("+");
  const namesOf = (panel) => panel.dataset.removed.split("+").filter((name) => name);
  const element = (id) => document.getElementById(id);
  const titleOf = (panel) => panel.querySelector("h3").textContent;

  function show(panel) {
    shown = panel;
    for (const one of panels.values()) {
      one.hidden = one !== panel;
      one.open = one === panel;
    }
    const removed = namesOf(panel);
    for (const input of switches) {
      input.checked = !removed.includes(input.dataset.name);
      input.disabled = !networkAfter(input);
    }
  }

  // A concept joins the other concepts that are off, where that was measured; anything else is off alone.
  function toggled(input) {
    const removed = namesOf(shown);
    const { name } = input.dataset;
    if (removed.includes(name)) return removed.filter((one) => one !== name);
    const combines = [name, ...removed].every((one) => concepts.includes(one));
    return combines ? [...removed, name] : [name];
  }

  // If the combination was not measured: the ingredient alone, or the target to get it back.
  function networkAfter(input) {
    const { name } = input.dataset;
    return panels.get(keyOf(toggled(input))) ?? panels.get(namesOf(shown).includes(name) ? "" : name);
  }

  function flip(input) {
    const isMeasured = panels.has(keyOf(toggled(input)));
    choose(networkAfter(input), isMeasured ? "" : " (not measured with the others)");
  }

  function choose(panel, note = "") {
    show(panel);
    setLiveText(element("switched"), `${titleOf(panel)}: ${panel.dataset.evidence}${note}`);
    rememberAddress(`#${panel.id}`);
  }

  function rememberAddress(address) {
    try {
      history.replaceState(null, "", address);
    } catch {
      // Some browsers refuse that for files. The page works anyway.
    }
  }

  function followAddress() {
    const isPredicting = document.body.classList.contains("predicting");
    if (location.hash === "#predict" && questions.length) return isPredicting || beginPrediction();
    if (isPredicting) endPrediction();
    const panel = [...panels.values()].find((one) => `#${one.id}` === location.hash);
    if (!panel) return;
    show(panel);
    setLiveText(element("switched"), "");
    panel.scrollIntoView();
  }

  // ---- Predict first: the results stay hidden until a reader has guessed.

  const guesses = new Map(); // by panel: the distance in points, and whether the direction was right
  let questions = [];
  let asked = null;

  function beginPrediction() {
    document.body.classList.add("predicting");
    document.querySelector(".switches").hidden = true;
    element("predict").hidden = false;
    ask(questions.find((panel) => !guesses.has(panel)) ?? questions[0]);
  }

  function endPrediction() {
    document.body.classList.remove("predicting");
    document.querySelector(".switches").hidden = false;
    element("predict").hidden = true;
  }

  function ask(panel) {
    asked = panel;
    show(panel);
    const form = element("predict").querySelector("form");
    form.querySelector("legend").textContent = `${titleOf(panel)}, compared with the target, the accuracy is …`;
    form.reset();
    form.hidden = guesses.has(panel);
    setLiveText(element("outcome"), "");
    showNext();
    element("predict").scrollIntoView();
  }

  function showNext() {
    element("next").hidden = !guesses.has(asked) || guesses.size === questions.length;
  }

  // The verdict decides about the direction; where it leaves the direction open, no guess is wrong.
  function judge(event) {
    event.preventDefault();
    const { effect, evidence, right } = asked.dataset;
    const form = new FormData(event.target);
    const direction = form.get("direction");
    const isRight = right ? right.split(" ").includes(direction) : null;
    const guess = direction === "0" ? "0" : form.get("points");
    const distance = guess && Math.abs((Number(direction) || 1) * Number(guess) - Number(effect));
    guesses.set(asked, { isRight, distance });
    asked.classList.add("answered");
    event.target.hidden = true;
    const sign = { null: "The study does not decide the direction", true: "Your direction was right", false: "Your direction was not right" }[isRight];
    const nearness = guess ? `; your estimate was ${points(distance)} away` : "";
    setLiveText(element("outcome"), `Measured ${evidence}. ${sign}${nearness}.`);
    element("outcome").focus();
    showNext();
    showScore();
  }

  const points = (difference) => `${difference.toFixed(2)} points`;

  function showScore() {
    const all = [...guesses.values()];
    const judged = all.filter(({ isRight }) => isRight !== null);
    const distances = all.map(({ distance }) => distance).filter((one) => one !== "" && one !== null);
    distances.sort((one, other) => one - other);
    const words = [`${judged.filter(({ isRight }) => isRight).length} of ${judged.length} directions right`];
    if (distances.length) words.push(`median distance ${points(distances[distances.length >> 1])}`);
    element("score").textContent = `${words.join("; ")}.`;
  }

  // ---- Begin

  document.addEventListener("DOMContentLoaded", () => {
    const section = element("explore");
    for (const one of document.querySelectorAll(".needs-script:not(#predict)")) one.hidden = false;
    if (!section) return;
    section.classList.add("live");
    switches = [...section.querySelectorAll(".switches input")];
    concepts = [...section.querySelectorAll(".concept-switches input")].map((input) => input.dataset.name);
    for (const panel of section.querySelectorAll(".panel")) {
      // Only the script opens and closes them.
      panel.removeAttribute("name");
      const summary = panel.querySelector("summary");
      summary.tabIndex = -1;
      summary.addEventListener("click", (event) => event.preventDefault());
      panels.set(keyOf(namesOf(panel)), panel);
    }
    questions = [...panels.values()].filter((panel) => panel.dataset.question);
    questions.sort((one, other) => Number(one.dataset.question) - Number(other.dataset.question));
    for (const input of switches) input.addEventListener("change", () => flip(input));
    element("restore").hidden = !panels.has("");
    element("restore").addEventListener("click", () => choose(panels.get("")));
    element("predict").querySelector("form").addEventListener("submit", judge);
    element("leave").addEventListener("click", () => {
      endPrediction();
      rememberAddress("#effects");
      element("effects").scrollIntoView();
      element("effects-heading").focus();
    });
    element("next").addEventListener("click", () => {
      ask(questions.find((panel) => !guesses.has(panel)));
      element("predict").querySelector("input").focus();
    });
    addEventListener("hashchange", followAddress);
    show([...panels.values()][0]);
    followAddress();
  });
}
