// Paper has the methods, also in browsers that cannot open a fold by style.
document.addEventListener("DOMContentLoaded", () => {
  const methods = document.getElementById("methods");
  let isOpen = false;
  addEventListener("beforeprint", () => {
    isOpen = methods.open;
    methods.open = true;
  });
  addEventListener("afterprint", () => {
    methods.open = isOpen;
  });
});

// Projector mode: large type, and arrow keys that go from section to section.
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("projector");
  const root = document.documentElement;
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(root.classList.toggle("projector")));
  });
  addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
    const isField = event.target.closest("input, select, textarea, [role=region]");
    if (!step || isField || event.altKey || event.ctrlKey || event.metaKey || !root.classList.contains("projector")) return;
    const sections = [...document.querySelectorAll("main > section")].filter((one) => one.offsetHeight);
    const current = sections.findLastIndex((one) => one.getBoundingClientRect().top < innerHeight / 3);
    // The keys of a presenter's remote first scroll through a section that is longer than the screen.
    const { top, bottom } = sections[Math.max(current, 0)].getBoundingClientRect();
    if ((event.key === "PageDown" && bottom > innerHeight + 1) || (event.key === "PageUp" && top < -1)) return;
    const next = sections[Math.min(Math.max(current + step, 0), sections.length - 1)];
    event.preventDefault();
    next.scrollIntoView();
  });
});
