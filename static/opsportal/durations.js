/** How long things took, or have been under way: ticking, in the words of the templates. */

import { span } from "./times.js";

const SHORT = 10; // seconds below which tenths are told
const LONG = 3_600; // seconds from which on seconds are not told any more
const TICK = 1_000; // ms

/** @param {number} seconds */
function lasted(seconds) {
  return seconds < SHORT ? `${Math.max(0, seconds).toFixed(1)} s` : length(seconds);
}

function length(seconds) {
  if (seconds < 60 || seconds >= LONG) return span(seconds);
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/**
 * @param {HTMLElement} element
 * @param {{started_at: string | null, finished_at: string | null}} thing
 */
export function showDuration(element, { started_at: start, finished_at: end }) {
  delete element.dataset.since;
  if (!start) element.textContent = end ? "—" : "";
  else if (end) element.textContent = lasted((Date.parse(end) - Date.parse(start)) / 1_000);
  else {
    element.dataset.since = start;
    tick(element);
  }
}

/** Keeps those true that are under way. */
export function keepDurations() {
  const all = () => document.querySelectorAll(".duration[data-since]").forEach(tick);
  all();
  setInterval(all, TICK);
}

/** Whole seconds: tenths of what goes on would flicker. */
function tick(element) {
  const text = length((Date.now() - Date.parse(element.dataset.since)) / 1_000);
  if (element.textContent !== text) element.textContent = text;
}
