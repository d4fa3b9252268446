/** The counters above the incidents, which the portal tells whenever they change. */

import { highlight } from "./highlight.js";

/** @param {import("../events/stream.js").StreamEvent} event of `stats.updated` */
export function showFigures({ data: { domain, stats } }) {
  if (domain !== "incidents") return;
  const figures = { ...stats, ...stats.open_by_severity };
  for (const element of document.querySelectorAll("[data-figure]")) {
    const text = String(figures[element.dataset.figure]);
    if (element.textContent === text) continue;
    element.textContent = text;
    highlight(element.closest("li"));
  }
}
