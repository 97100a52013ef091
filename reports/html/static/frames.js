// Frames that scroll sideways: they can be focused only if there is something to scroll, with a hint
// until the reader scrolls. Figures start at zero.

const FRAME_HINTS = ["scrolls sideways \u2192", "\u2190 scrolls sideways \u2192", "\u2190 scrolls sideways"];
const ZERO = ".plot .zero";
// Distances on the screen are rounded.
const ROUNDING_PX = 2;

document.addEventListener("DOMContentLoaded", startFrames);

function startFrames() {
  const frames = new Map();
  // It also reports frames in parts that are opened later, before they are painted. It must not
  // change a frame's own size, so the hint is outside the frame.
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      updateFrame(frames.get(target) ?? frames.get(target.parentElement));
    }
  });
  for (const element of document.querySelectorAll(".scroll[tabindex]")) {
    const frame = { element, hint: null, width: 0, start: 0, isScrolled: false };
    frames.set(element, frame);
    element.addEventListener("scroll", () => noticeScroll(frame), { passive: true });
    for (const part of [element, ...element.children]) {
      observer.observe(part);
    }
  }
}

function updateFrame(frame) {
  const { element } = frame;
  if (!element.clientWidth || matchMedia("print").matches) {
    return;
  }
  const isWider = element.scrollWidth > element.clientWidth + ROUNDING_PX;
  if (isWider) {
    element.tabIndex = 0;
  } else {
    element.removeAttribute("tabindex");
  }
  if (isWider && !frame.isScrolled) {
    scrollToZero(frame);
  }
  frame.width = element.clientWidth;
  frame.start = element.scrollLeft;
  showHint(frame, isWider);
}

// To the line of zero, if the frame's beginning does not show all of it.
function scrollToZero(frame) {
  const { element } = frame;
  const box = element.querySelector(ZERO);
  if (!box) {
    return;
  }
  const { left, right } = box.getBoundingClientRect();
  const offset = element.scrollLeft - element.getBoundingClientRect().left;
  const isBeyond = right + offset > element.clientWidth;
  element.scrollLeft = isBeyond ? (left + right - element.clientWidth) / 2 + offset : 0;
}

// A hint keeps its place when it disappears, so that nothing moves.
function showHint(frame, isWider) {
  const { element, isScrolled } = frame;
  if (!frame.hint && isWider && !isScrolled) {
    frame.hint = document.createElement("p");
    frame.hint.className = "frame-hint";
    frame.hint.setAttribute("aria-hidden", "true");
    element.before(frame.hint);
  }
  if (!frame.hint) {
    return;
  }
  const isAtEnd = element.scrollLeft + element.clientWidth >= element.scrollWidth - ROUNDING_PX;
  frame.hint.textContent = FRAME_HINTS[element.scrollLeft <= ROUNDING_PX ? 0 : isAtEnd ? 2 : 1];
  frame.hint.hidden = !isWider;
  frame.hint.classList.toggle("past", isScrolled);
}

// A new width can scroll a frame, too.
function noticeScroll(frame) {
  const { element, width, start } = frame;
  if (element.clientWidth === width && Math.abs(element.scrollLeft - start) > ROUNDING_PX) {
    frame.isScrolled = true;
    frame.hint?.classList.add("past");
  }
}
