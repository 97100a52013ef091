// What is written into a live region is read aloud, even if it stood there before. So it is
// written only where it is something new.
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
