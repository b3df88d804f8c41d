// Runs before the first paint, so that a chosen theme does not flash. Nothing chosen: the system's.
(() => {
  try {
    const chosen = localStorage.getItem("loudhailer-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
})();
