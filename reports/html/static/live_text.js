// A screen reader reads what is written into a live region, even if the text is the same. So write only changes.
function setLiveText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
