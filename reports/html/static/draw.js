// The section "Draw a digit": the reader draws or picks an image, and every network classifies it.
//
// Points of strokes are in units of the board: (0, 0) is its top left corner, (1, 1) its bottom right.

const PICTURE_SIDE = 28;
// MNIST's digits fill 20 pixels, and their centre of mass lies in the middle of pixel 14.
const DIGIT_SIDE = 20;
const CENTRE_OF_MASS = 14.5;
// About the width of MNIST's strokes, in pixels of the picture.
const PEN_WIDTH = 2.8;
// Drawings smaller than this share of the board are not enlarged: a dot stays a dot.
const SMALLEST_DRAWING = 0.15;
const BOARD_PEN_WIDTH = 0.09;
// Time for networks in one frame; the rest is for the pen.
const FRAME_BUDGET_MS = 12;
const PAUSE_BEFORE_STATUS_MS = 700;

document.addEventListener("DOMContentLoaded", startDrawing);

function startDrawing() {
  const section = document.getElementById("draw-live");
  if (!section) {
    return;
  }
  const live = JSON.parse(document.getElementById("live-data").textContent);
  const state = {
    ...live,
    board: document.getElementById("draw-board"),
    seen: document.getElementById("draw-seen"),
    hint: document.getElementById("draw-hint"),
    sentence: document.getElementById("draw-sentence"),
    status: document.getElementById("draw-status"),
    stages: document.getElementById("draw-stages"),
    noMaps: document.getElementById("draw-no-maps"),
    choice: document.getElementById("draw-variant"),
    cards: [...section.querySelectorAll(".draw-answer")],
    sampleButtons: [...section.querySelectorAll(".draw-sample")],
    prepared: [], // filled at the first picture
    results: live.networks.map(() => null),
    strokes: [],
    sample: null, // the number of the picked image, if one is shown
    targetSample: null, // the one that the target has classified
    pixels: null, // the networks' input; null while the board is empty
    pointer: null, // the finger or button that is down
    numWaiting: 0,
    nextNetwork: 0,
    frame: 0,
    timer: 0,
  };
  section.hidden = false;
  document.getElementById("draw-needs-script").hidden = true;
  listenToPen(state);
  listenToButtons(state);
  pictureChanged(state);
}

function listenToPen(state) {
  const { board } = state;
  function addPoints(event) {
    // Between two frames a quick pen reports several points.
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    const stroke = state.strokes[state.strokes.length - 1];
    const box = board.getBoundingClientRect();
    for (const { clientX, clientY } of events.length ? events : [event]) {
      stroke.push([withinBoard((clientX - box.left) / box.width), withinBoard((clientY - box.top) / box.height)]);
    }
    requestPicture(state);
  }
  board.addEventListener("pointerdown", (event) => {
    const isOther = state.pointer !== null && state.pointer !== event.pointerId;
    if (isOther || event.button !== 0) {
      return;
    }
    event.preventDefault();
    board.setPointerCapture(event.pointerId);
    state.pointer = event.pointerId;
    state.sample = null;
    state.strokes.push([]);
    addPoints(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (event.pointerId === state.pointer) {
      addPoints(event);
    }
  });
  // A lost pointer gives no pointerup event.
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    board.addEventListener(kind, (event) => {
      if (event.pointerId === state.pointer) {
        state.pointer = null;
      }
    });
  }
}

// A captured pointer continues outside the board.
function withinBoard(share) {
  return Math.min(Math.max(share, 0), 1);
}

function listenToButtons(state) {
  document.getElementById("draw-undo").addEventListener("click", () => {
    replaceDrawing(state, state.strokes.slice(0, -1), null);
  });
  document.getElementById("draw-clear").addEventListener("click", () => {
    replaceDrawing(state, [], null);
  });
  state.sampleButtons.forEach((button, number) => {
    paintGrey(button.querySelector("canvas"), samplePixels(state, number), 0, 1);
    button.addEventListener("click", () => replaceDrawing(state, [], number));
  });
  state.choice.addEventListener("change", () => showMaps(state));
}

function replaceDrawing(state, strokes, sample) {
  state.pointer = null;
  state.strokes = strokes;
  state.sample = sample;
  requestPicture(state);
}

// One picture per frame, however many points arrive.
function requestPicture(state) {
  if (!state.frame) {
    state.frame = requestAnimationFrame(() => {
      state.frame = 0;
      pictureChanged(state);
    });
  }
}

function pictureChanged(state) {
  const { strokes, sample } = state;
  state.pixels = sample !== null ? samplePixels(state, sample) : pictureOfStrokes(strokes);
  paintGrey(state.seen, state.pixels || new Float32Array(PICTURE_SIDE ** 2), 0, 1);
  paintBoard(state);
  state.hint.hidden = state.pixels !== null;
  state.sampleButtons.forEach((button, number) => {
    button.setAttribute("aria-pressed", String(number === sample));
  });
  const isRunning = state.numWaiting > 0;
  state.numWaiting = state.networks.length;
  if (!isRunning) {
    runWaitingNetworks(state);
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(() => updateStatusText(state), PAUSE_BEFORE_STATUS_MS);
}

function samplePixels(state, number) {
  return Float32Array.from(decodeBytes(state.samples[number].pixels), (byte) => byte / 255);
}

// The strokes as MNIST's digits were made from paper (LeCun et al., Gradient-Based Learning Applied
// to Document Recognition, 1998, section III.A): the larger of width and height becomes 20 pixels,
// edges are grey, and the centre of mass is put into the middle of 28 x 28 pixels. Since strokes
// are known as lines, they are as wide in a small drawing as in a large one.
function pictureOfStrokes(strokes) {
  const points = strokes.flat();
  if (points.length === 0) {
    return null;
  }
  const [left, right] = extremes(points.map(([x]) => x));
  const [top, bottom] = extremes(points.map(([, y]) => y));
  const size = Math.max(right - left, bottom - top, SMALLEST_DRAWING);
  const scale = (DIGIT_SIDE - PEN_WIDTH) / size;
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
  for (const stroke of strokes) {
    const line = stroke.map(([x, y]) => [scale * x + shiftX, scale * y + shiftY]);
    // A stroke of one point is a dot: a line from the point to itself.
    for (let i = 0; i < Math.max(line.length - 1, 1); i++) {
      paintLine(pixels, line[i], line[Math.min(i + 1, line.length - 1)]);
    }
  }
  return pixels;
}

// A pixel is white where its centre is well within the pen's line, black outside, and grey at the
// edge, which is a pixel wide.
function paintLine(pixels, [startX, startY], [endX, endY]) {
  const [deltaX, deltaY] = [endX - startX, endY - startY];
  const lengthSquared = deltaX ** 2 + deltaY ** 2;
  const reach = PEN_WIDTH / 2 + 0.5;
  const [firstRow, lastRow] = pixelsWithin(Math.min(startY, endY) - reach, Math.max(startY, endY) + reach);
  const [firstColumn, lastColumn] = pixelsWithin(Math.min(startX, endX) - reach, Math.max(startX, endX) + reach);
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const [x, y] = [column + 0.5 - startX, row + 0.5 - startY];
      const along = lengthSquared ? (x * deltaX + y * deltaY) / lengthSquared : 0;
      const nearest = Math.min(Math.max(along, 0), 1);
      const distance = Math.hypot(x - nearest * deltaX, y - nearest * deltaY);
      const ink = Math.min(Math.max(reach - distance, 0), 1);
      const pixel = row * PICTURE_SIDE + column;
      pixels[pixel] = Math.max(pixels[pixel], ink);
    }
  }
}

function pixelsWithin(from, to) {
  return [Math.max(Math.floor(from), 0), Math.min(Math.ceil(to), PICTURE_SIDE - 1)];
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

function paintBoard({ board, seen, strokes, sample }) {
  const context = board.getContext("2d");
  const side = board.width;
  context.fillStyle = "#000000";
  context.fillRect(0, 0, side, side);
  if (sample !== null) {
    context.drawImage(seen, 0, 0, side, side);
  }
  context.strokeStyle = "#ffffff";
  context.lineWidth = BOARD_PEN_WIDTH * side;
  context.lineCap = context.lineJoin = "round";
  context.shadowColor = "#ffffff";
  context.shadowBlur = 0.01 * side;
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0][0] * side, stroke[0][1] * side);
    for (const [x, y] of stroke) {
      context.lineTo(x * side, y * side);
    }
    context.stroke();
  }
  context.shadowBlur = 0;
}

// A square of values as grey pixels: `low` is black, `high` is white.
function paintGrey(canvas, values, low, high) {
  const side = Math.sqrt(values.length);
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const step = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < values.length; i++) {
    image.data.fill(step * (values[i] - low), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255; // nothing of it is transparent
  }
  context.putImageData(image, 0, 0);
}

// The networks take turns and continue where they stopped in the last frame, so that a slow machine
// updates predictions less often but draws smoothly.
function runWaitingNetworks(state) {
  if (!state.pixels) {
    state.numWaiting = 0;
    state.results.fill(null);
    state.cards.forEach((_, number) => showAnswer(state, number));
    setLiveText(state.sentence, answerSentence(state));
    showMaps(state);
    return;
  }
  if (state.prepared.length === 0) {
    state.prepared = state.networks.map(prepareNetwork);
  }
  const end = performance.now() + FRAME_BUDGET_MS;
  do {
    const number = state.nextNetwork;
    state.results[number] = runNetwork(state.prepared[number], state.pixels);
    state.nextNetwork = (number + 1) % state.networks.length;
    state.numWaiting--;
    if (number === 0) {
      state.targetSample = state.sample;
    }
    // The others' agreement depends on the target, which is the first.
    (number === 0 ? state.cards.map((_, i) => i) : [number]).forEach((i) => showAnswer(state, i));
    if (number === Number(state.choice.value)) {
      showMaps(state);
    }
  } while (state.numWaiting > 0 && performance.now() < end);
  setLiveText(state.sentence, answerSentence(state));
  if (state.numWaiting > 0) {
    requestAnimationFrame(() => runWaitingNetworks(state));
  }
}

// The class with the highest probability; -1 without a result, or if the network diverged in training
// and its output is not a number.
function answerOf(result) {
  return result ? result.probabilities.indexOf(Math.max(...result.probabilities)) : -1;
}

function showAnswer(state, number) {
  const card = state.cards[number];
  const result = state.results[number];
  const answer = answerOf(result);
  const hasAnswer = answer >= 0;
  function show(selector, text) {
    card.querySelector(selector).textContent = text;
  }
  show(".draw-class", hasAnswer ? state.class_names[answer] : "–");
  show(".draw-probability", hasAnswer ? percent(result.probabilities[answer]) : "");
  show(".draw-sentence", hasAnswer ? probabilitySentence(state, result) : "");
  if (number > 0 && result) {
    const agrees = answer === answerOf(state.results[0]);
    show(".draw-agreement", !hasAnswer ? "it diverged" : agrees ? "✓ agrees" : "≠ differs");
  } else if (number > 0) {
    show(".draw-agreement", "");
  }
  card.classList.toggle("draw-differs", hasAnswer && answer !== answerOf(state.results[0]));
  card.querySelectorAll(".draw-bar").forEach((bar, i) => {
    bar.classList.toggle("draw-top", i === answer);
    bar.style.setProperty("--share", hasAnswer ? result.probabilities[i] : 0);
  });
}

function percent(probability) {
  return probability > 0.9995 ? "> 99.9 %" : `${(100 * probability).toFixed(1)} %`;
}

function probabilitySentence({ class_names }, { probabilities }) {
  const parts = probabilities.map((probability, i) => ({ probability, name: class_names[i] }));
  const likely = parts.filter(({ probability }) => probability >= 0.01);
  likely.sort((one, other) => other.probability - one.probability);
  return `Probabilities: ${likely.map(({ name, probability }) => `${name} ${percent(probability)}`).join(", ")}.`;
}

// Screen readers get one update, after a pause.
function updateStatusText(state) {
  if (state.pixels && state.numWaiting > 0) {
    state.timer = setTimeout(() => updateStatusText(state), PAUSE_BEFORE_STATUS_MS);
    return;
  }
  setLiveText(state.status, answerSentence(state));
}

// The predictions in words. The number that agree is known when all networks are done.
function answerSentence({ results, targetSample, samples, class_names }) {
  if (!results[0]) {
    return "Nothing is drawn yet.";
  }
  const [target, ...others] = results.map(answerOf);
  const subject = targetSample === null ? "The target" : `This is ${samples[targetSample].words}. The target`;
  if (target < 0) {
    return `${subject} has no prediction: it diverged in training.`;
  }
  const probability = percent(results[0].probabilities[target]);
  const numAgree = others.filter((answer) => answer === target).length;
  const share = numAgree === others.length ? "All" : `${numAgree} of the`;
  const isKnown = others.length > 1 && results.every((result) => result);
  const agreement = isKnown ? ` ${share} ${others.length} others agree.` : "";
  return `${subject} predicts ${class_names[target]} (${probability}).${agreement}`;
}

// All channels of each stage of the chosen network.
function showMaps(state) {
  const result = state.results[Number(state.choice.value)];
  const stages = result ? result.stages : [];
  state.noMaps.hidden = stages.length > 0;
  while (state.stages.children.length > stages.length) {
    state.stages.lastElementChild.remove();
  }
  stages.forEach((stage, i) => {
    showStage(state.stages.children[i] || addStage(state.stages), stage);
  });
}

function addStage(parent) {
  const figure = parent.appendChild(document.createElement("figure"));
  figure.appendChild(document.createElement("figcaption"));
  figure.appendChild(document.createElement("div")).className = "draw-channels";
  return figure;
}

// The channels of a stage share one scale, so that inactive channels look inactive.
function showStage(figure, { name, channels, side, values }) {
  const [caption, maps] = figure.children;
  caption.textContent = `${name.replace(/(\d+)$/, " $1")}: ${channels} maps of ${side} × ${side}`;
  while (maps.children.length > channels) {
    maps.lastElementChild.remove();
  }
  while (maps.children.length < channels) {
    maps.appendChild(document.createElement("canvas")).setAttribute("aria-hidden", "true");
  }
  const [low, high] = extremes(values);
  [...maps.children].forEach((canvas, channel) => {
    paintGrey(canvas, values.subarray(channel * side ** 2, (channel + 1) * side ** 2), low, high);
  });
}
