/** How a row shows its run. Texts from events go into the page as text only. */

import { showDuration } from "./durations.js";
import { highlight } from "./highlight.js";
import { setTime } from "./times.js";

/** @param {string} id of an element with what Django's choices are, as JSON */
export const labelsIn = (id) => Object.fromEntries(JSON.parse(document.getElementById(id).textContent));

const LABELS = labelsIn("statuses");
const FAILURES = ["failed", "unreachable", "timed_out"];

/** @type {string[]} the events that tell of a run as a whole */
export const RUN_EVENTS = ["queued", "started", "cancelling", "completed", "failed", "cancelled"].map(
  (what) => `automation.${what}`,
);

/**
 * @param {string} type of an event
 * @param {string} status
 * @returns {string} as it is called then
 */
export const statusWord = (type, status) =>
  type === "automation.cancelling" ? "Cancelling" : LABELS[status];

export const done = ({ total = 0, pending = 0, running = 0 }) => total - pending - running;

/** @returns {string} such as `12 of 20, 1 failed` */
export function tally(counts) {
  const failed = FAILURES.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  const text = `${done(counts)} of ${counts.total ?? 0}`;
  return failed ? `${text}, ${failed} failed` : text;
}

/** Text as text, whatever markup it holds; a cell glows where it changes. */
export function write(element, text) {
  if (!element || element.textContent === text) return;
  element.textContent = text;
  if (element.hasAttribute("title")) element.title = text;
  highlight(element.closest("th, td") ?? element);
}

/**
 * Shows the run that an event tells of.
 *
 * @param {HTMLTableRowElement} row
 * @param {import("../events/stream.js").StreamEvent} event
 */
export function updateRun(row, { type, data }) {
  row.dataset.status = data.status;
  write(row.querySelector(".status"), statusWord(type, data.status));
  write(row.querySelector(".run .note"), data.error || data.reason);
  updateCounts(row, data.counts);
  showDuration(row.querySelector(".duration"), data);
}

export function updateCounts(row, counts) {
  const progress = row.querySelector("progress");
  progress.max = counts.total || 1;
  progress.value = done(counts);
  const tallied = row.querySelector(".tally");
  if (tallied.textContent !== tally(counts)) tallied.textContent = tally(counts);
}

/**
 * @param {HTMLTableElement} table
 * @param {import("../events/stream.js").StreamEvent} event of a run that it does not show
 * @returns {HTMLTableRowElement} the row for it
 */
export function newRun(table, event) {
  const { data } = event;
  const row = document.getElementById("run-row").content.firstElementChild.cloneNode(true);
  row.id = `run-${data.id}`;
  Object.assign(row.dataset, { id: data.id, automation: data.automation, started_by: data.started_by });
  const link = row.querySelector(".name");
  link.href = table.dataset.run.replace("/0/", `/${data.id}/`);
  link.textContent = "one" in table.dataset ? `Run ${data.id}` : `${data.automation} #${data.id}`;
  const who = row.querySelector(".who");
  who.textContent = data.started_by || "—";
  who.title = data.started_by;
  setTime(row.querySelector(".age time"), data.created_at);
  updateRun(row, event);
  return row;
}
