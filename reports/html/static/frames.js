// Frames that scroll sideways: one can be focused only where there is something to scroll, says so
// until it has been scrolled. A diagram begins where it differs from the target, and a figure of
// differences at its zero line.

const FRAME_HINTS = ["scrolls sideways \u2192", "\u2190 scrolls sideways \u2192", "\u2190 scrolls sideways"];
const MARKS = ".diagram g:is(.removed, .added, .changed, .moved):not(.shape), .plot .zero";
// Distances on the screen are rounded, and not always in the same direction.
const ROUNDING_PX = 2;

document.addEventListener("DOMContentLoaded", startFrames);

function startFrames() {
  const frames = new Map();
  // It also reports a frame that gets its size only when the part around it is opened, and always
  // before that is painted, so nothing moves afterwards. A size that is the frame's own must not be
  // changed from here: the hint stands beside it.
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
    scrollToMark(frame);
  }
  frame.width = element.clientWidth;
  frame.start = element.scrollLeft;
  showHint(frame, isWider);
}

// To what is marked first, where the frame's beginning does not show all of it.
function scrollToMark(frame) {
  const { element } = frame;
  const box = element.querySelector(MARKS);
  if (!box) {
    return;
  }
  const { left, right } = box.getBoundingClientRect();
  const offset = element.scrollLeft - element.getBoundingClientRect().left;
  const isBeyond = right + offset > element.clientWidth;
  element.scrollLeft = isBeyond ? (left + right - element.clientWidth) / 2 + offset : 0;
}

// Where a hint has stood, its place stays free: nothing moves below whoever scrolls.
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

// A frame that gets another width may be scrolled by that, and not by the reader.
function noticeScroll(frame) {
  const { element, width, start } = frame;
  if (element.clientWidth === width && Math.abs(element.scrollLeft - start) > ROUNDING_PX) {
    frame.isScrolled = true;
    frame.hint?.classList.add("past");
  }
}
