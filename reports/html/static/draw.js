// The section "Draw a digit": the reader draws or picks an image, and every network classifies it.
//
// Points of strokes are in units of the board: (0, 0) is its top left corner, (1, 1) its bottom right.

const PICTURE_SIDE = 28;
// MNIST's digits fill 20 pixels, and their centre of mass lies in the middle of pixel 14.
const DIGIT_SIDE = 20;
const CENTRE_OF_MASS = 14.5;
// About the width of MNIST's strokes, in pixels of the picture.
const PEN_WIDTH = 2.8;
const BOARD_PEN_WIDTH = 0.09;
// A finger that taps moves less than this. Every larger drawing is fitted.
const TAP_SIZE = 0.02;
// Time for networks in one frame; the rest is for the pen.
const FRAME_BUDGET_MS = 12;
const MAPS_PER_ROW = 8;
const JUDGEMENT_SYMBOLS = { right: "✓", wrong: "✗", agrees: "=", differs: "≠", diverged: "–" };

document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("draw-live");
  if (!section) {
    return;
  }
  const live = JSON.parse(document.getElementById("live-data").textContent);
  const state = {
    ...live, // class_names, networks and samples
    board: document.getElementById("draw-board"),
    seen: document.getElementById("draw-seen"),
    status: document.getElementById("draw-status"),
    maps: document.getElementById("draw-maps"),
    panels: [...section.querySelectorAll(".draw-panel")],
    sampleButtons: [...section.querySelectorAll(".draw-sample")],
    networkButtons: [...section.querySelectorAll(".draw-strip button")],
    chosen: 1, // the network that is shown beside the target, which is number 0
    strokes: [],
    sample: live.samples[0] || null,
    pointer: null, // the finger or button that is down
    frame: 0,
    isChanged: false,
    pixels: null, // the networks' input; null while the board is empty
    prepared: null, // filled at the first picture
    results: [],
    numDone: live.networks.length,
    shown: null, // the last finished round
  };
  section.hidden = false;
  document.getElementById("draw-needs-script").hidden = true;
  listenToPen(state);
  document.getElementById("draw-clear").addEventListener("click", () => replaceDrawing(state, null));
  state.sampleButtons.forEach((button, number) => {
    button.addEventListener("click", () => replaceDrawing(state, state.samples[number]));
  });
  state.networkButtons.forEach((button, number) => {
    button.addEventListener("click", () => {
      state.chosen = number + 1;
      showPanels(state);
    });
  });
  state.maps.addEventListener("toggle", () => showPanels(state));
  // The networks must not delay the first paint: they wait until the section is near.
  new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && requestPicture(state),
    { rootMargin: "50% 0px" },
  ).observe(section);
});

function listenToPen(state) {
  const { board } = state;
  function addPoint({ clientX, clientY }) {
    const box = board.getBoundingClientRect();
    const point = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    // A captured pointer continues outside the board.
    state.strokes.at(-1).push(point.map((share) => Math.min(Math.max(share, 0), 1)));
    requestPicture(state);
  }
  board.addEventListener("pointerdown", (event) => {
    if (state.pointer === null && event.button === 0) {
      event.preventDefault();
      board.setPointerCapture(event.pointerId);
      state.pointer = event.pointerId;
      state.sample = null;
      state.strokes.push([]);
      addPoint(event);
    }
  });
  board.addEventListener("pointermove", (event) => {
    if (event.pointerId === state.pointer) {
      addPoint(event);
    }
  });
  // Also after pointerup and pointercancel.
  board.addEventListener("lostpointercapture", () => {
    state.pointer = null;
    requestPicture(state);
  });
}

function replaceDrawing(state, sample) {
  state.pointer = null;
  state.strokes = [];
  state.sample = sample;
  requestPicture(state);
}

// One picture per frame, however many points arrive.
function requestPicture(state) {
  state.isChanged = true;
  state.frame ||= requestAnimationFrame(() => drawFrame(state));
}

// A round classifies one picture by every network, so that all answers shown are about the same
// picture. On a slow machine a round takes several frames, and the pen still draws smoothly.
function drawFrame(state) {
  state.frame = 0;
  state.prepared ||= state.networks.map(prepareNetwork);
  const { prepared, results } = state;
  if (state.isChanged) {
    paintPicture(state);
    if (state.numDone === prepared.length) {
      state.isChanged = false;
      state.numDone = 0;
      state.round = { sample: state.sample, pixels: state.pixels };
    }
  }
  const end = performance.now() + FRAME_BUDGET_MS;
  while (state.numDone < prepared.length && performance.now() < end) {
    const { pixels } = state.round;
    results[state.numDone] = pixels && runNetwork(prepared[state.numDone], pixels);
    state.numDone++;
  }
  if (state.numDone === prepared.length) {
    state.shown = judgeRound(state);
    showRound(state);
  }
  if (state.numDone < prepared.length || state.isChanged) {
    state.frame = requestAnimationFrame(() => drawFrame(state));
  }
}

function paintPicture(state) {
  const { board, seen, strokes, sample } = state;
  state.pixels = sample
    ? Float32Array.from(decodeBytes(sample.pixels), (byte) => byte / 255)
    : pictureOfStrokes(strokes);
  paintGrey(seen, state.pixels || new Float32Array(PICTURE_SIDE ** 2), PICTURE_SIDE, 0, 1);
  state.sampleButtons.forEach((button, number) => {
    button.setAttribute("aria-pressed", String(state.samples[number] === sample));
  });
  const context = board.getContext("2d");
  const side = board.width;
  context.fillStyle = "#000000";
  context.fillRect(0, 0, side, side);
  if (sample) {
    context.drawImage(seen, 0, 0, side, side);
  }
  context.strokeStyle = "#ffffff";
  context.lineWidth = BOARD_PEN_WIDTH * side;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    // The first point twice: a line of one point is a dot.
    for (const [x, y] of [stroke[0], ...stroke]) {
      context.lineTo(x * side, y * side);
    }
    context.stroke();
  }
}

// The strokes as MNIST's digits were made from paper (LeCun et al., Gradient-Based Learning Applied
// to Document Recognition, 1998, section III.A): the larger of width and height becomes 20 pixels,
// edges are grey, and the centre of mass is put into the middle of 28 x 28 pixels. Since strokes
// are known as lines, they are as wide in a small drawing as in a large one. A tap becomes a dot.
function pictureOfStrokes(strokes) {
  const points = strokes.flat();
  if (points.length === 0) {
    return null;
  }
  const [left, right] = extremes(points.map(([x]) => x));
  const [top, bottom] = extremes(points.map(([, y]) => y));
  const size = Math.max(right - left, bottom - top);
  const scale = size < TAP_SIZE ? 0 : (DIGIT_SIDE - PEN_WIDTH) / size;
  let shiftX = PICTURE_SIDE / 2 - (scale * (left + right)) / 2;
  let shiftY = PICTURE_SIDE / 2 - (scale * (top + bottom)) / 2;
  const [massX, massY] = centreOfMass(paintStrokes(strokes, scale, shiftX, shiftY));
  shiftX += CENTRE_OF_MASS - massX;
  shiftY += CENTRE_OF_MASS - massY;
  return paintStrokes(strokes, scale, shiftX, shiftY);
}

function extremes(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) {
    low = Math.min(low, number);
    high = Math.max(high, number);
  }
  return [low, high];
}

function paintStrokes(strokes, scale, shiftX, shiftY) {
  const pixels = new Float32Array(PICTURE_SIDE ** 2);
  const place = ([x, y]) => [scale * x + shiftX, scale * y + shiftY];
  for (const stroke of strokes) {
    // The first line leads from its point to itself: a stroke of one point is a dot.
    stroke.forEach((point, i) => paintLine(pixels, place(stroke[Math.max(i - 1, 0)]), place(point)));
  }
  return pixels;
}

// A pixel is white where its centre is well within the pen's line, black outside, and grey at the
// edge, which is a pixel wide.
function paintLine(pixels, [startX, startY], [endX, endY]) {
  const [deltaX, deltaY] = [endX - startX, endY - startY];
  const lengthSquared = deltaX ** 2 + deltaY ** 2;
  let pixel = 0;
  for (let y = 0.5 - startY; y < PICTURE_SIDE - startY; y++) {
    for (let x = 0.5 - startX; x < PICTURE_SIDE - startX; x++) {
      const along = lengthSquared ? (x * deltaX + y * deltaY) / lengthSquared : 0;
      const nearest = Math.min(Math.max(along, 0), 1);
      const distance = Math.sqrt((x - nearest * deltaX) ** 2 + (y - nearest * deltaY) ** 2);
      const ink = Math.min(Math.max(PEN_WIDTH / 2 + 0.5 - distance, 0), 1);
      pixels[pixel] = Math.max(pixels[pixel], ink);
      pixel++;
    }
  }
}

function centreOfMass(pixels) {
  let [mass, sumX, sumY] = [0, 0, 0];
  pixels.forEach((ink, pixel) => {
    mass += ink;
    sumX += ink * ((pixel % PICTURE_SIDE) + 0.5);
    sumY += ink * (Math.floor(pixel / PICTURE_SIDE) + 0.5);
  });
  return [sumX / mass, sumY / mass];
}

// Square maps of values as grey pixels, in rows with a gap: `low` is black, `high` is white.
function paintGrey(canvas, values, side, low, high) {
  const area = side ** 2;
  const numMaps = values.length / area;
  canvas.width = Math.min(numMaps, MAPS_PER_ROW) * (side + 1) - 1;
  canvas.height = Math.ceil(numMaps / MAPS_PER_ROW) * (side + 1) - 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const step = high > low ? 255 / (high - low) : 0;
  for (let map = 0; map < numMaps; map++) {
    for (let i = 0; i < area; i++) {
      image.data.fill(step * (values[map * area + i] - low), 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255; // nothing of it is transparent
    }
    const row = Math.floor(map / MAPS_PER_ROW);
    context.putImageData(image, (map % MAPS_PER_ROW) * (side + 1), row * (side + 1));
  }
}

// What each network answers, and whether that is right. The true class of a test image decides; a
// drawing has none, so the others are compared with the target. Without a result, or if the network
// diverged in training and its output is not a number, the answer is -1.
function judgeRound({ results, round }) {
  const answers = results.map((result) => result?.probabilities.indexOf(Math.max(...result.probabilities)) ?? -1);
  const judgements = answers.map((answer, number) => {
    if (answer < 0) {
      return round.pixels ? "diverged" : "";
    }
    if (round.sample) {
      return answer === round.sample.class_index ? "right" : "wrong";
    }
    return number === 0 || answers[0] < 0 ? "" : answer === answers[0] ? "agrees" : "differs";
  });
  return { ...round, answers, judgements };
}

function showRound(state) {
  state.networkButtons.forEach((button, i) => showAnswer(state, button, i + 1));
  showPanels(state);
  setLiveText(state.status, state.pointer === null ? statusText(state) : "");
  // Screen readers read its changes from now on: what readers ask for, not the first image.
  state.status.setAttribute("role", "status");
}

function showAnswer({ class_names, shown }, element, number) {
  const judgement = shown.judgements[number];
  element.dataset.judgement = judgement;
  element.querySelector(".draw-class").textContent = class_names[shown.answers[number]] ?? "–";
  element.querySelector(".draw-symbol").textContent = JUDGEMENT_SYMBOLS[judgement] ?? "";
  element.querySelector(".draw-word").textContent = judgement;
}

// The target and, beside it, the chosen network.
function showPanels(state) {
  const { networks, panels, maps, class_names, chosen, results, shown } = state;
  if (!shown) {
    return;
  }
  state.networkButtons.forEach((button, i) => {
    button.setAttribute("aria-pressed", String(i + 1 === chosen));
  });
  panels.forEach((panel, place) => {
    const number = place && chosen;
    const answer = shown.answers[number];
    const probabilities = answer < 0 ? [] : results[number].probabilities;
    showAnswer(state, panel, number);
    if (place) {
      panel.querySelector(".draw-title").textContent = `Without ${networks[number].without}`;
    }
    panel.querySelector(".draw-probability").textContent = answer < 0 ? "" : percent(probabilities[answer]);
    panel.querySelector(".draw-bars").setAttribute("aria-label", probabilityWords(class_names, probabilities));
    panel.querySelectorAll(".draw-bar").forEach((bar, i) => {
      bar.classList.toggle("draw-top", i === answer);
      bar.style.setProperty("--share", probabilities[i] ?? 0);
    });
    const stages = maps.open && results[number] ? results[number].stages : [];
    maps.querySelectorAll(".draw-stages")[place].replaceChildren(...stages.map(stageFigure));
  });
}

function percent(probability) {
  return probability > 0.9995 ? "> 99.9\u00a0%" : `${(100 * probability).toFixed(1)}\u00a0%`;
}

function probabilityWords(class_names, probabilities) {
  const likely = [...probabilities.entries()].filter(([, probability]) => probability >= 0.01);
  likely.sort(([, one], [, other]) => other - one);
  return likely.map(([i, probability]) => `${class_names[i]} ${percent(probability)}`).join(", ") || "No prediction";
}

function statusText({ class_names, shown: { sample, pixels, answers, judgements } }) {
  if (!pixels) {
    return "Nothing is drawn.";
  }
  const [answer] = answers;
  const [judgement, ...others] = judgements;
  const subject = sample ? `Test image ${sample.number} (class ${class_names[sample.class_index]}). ` : "";
  const prediction = answer < 0 ? "has no prediction: it diverged" : `predicts ${class_names[answer]}${sample ? `: ${judgement}` : ""}`;
  const numGood = others.filter((one) => one === "right" || one === "agrees").length;
  const share = ` The others: ${numGood} of ${others.length} ${sample ? "right" : "agree"}.`;
  const isShared = others.length > 0 && (sample || answer >= 0);
  return `${subject}The target ${prediction}.${isShared ? share : ""}`;
}

// All channels of a stage, on one scale, so that inactive channels look inactive.
function stageFigure({ name, channels, side, values }) {
  const figure = document.createElement("figure");
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.textContent = `${name.replace(/(\d+)$/, " $1")}: ${channels} maps of ${side} × ${side}`;
  paintGrey(figure.appendChild(document.createElement("canvas")), values, side, ...extremes(values));
  return figure;
}
