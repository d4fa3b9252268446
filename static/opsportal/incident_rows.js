/**
 * How a row of the list, or a card of the board, shows its incident.
 *
 * Each holds what is known of its incident in its data attributes. Texts from events go into the
 * page as text only.
 */

import { highlight } from "./highlight.js";

/** @param {string} id of an element with what Django's choices are, as JSON */
const labelsIn = (id) => Object.fromEntries(JSON.parse(document.getElementById(id).textContent));

export const STATUSES = labelsIn("statuses");
const SEVERITIES = labelsIn("severities");

const SHOW = {
  title(row, title) {
    write(row, ".name", title);
    row.querySelector(".choose")?.setAttribute("aria-label", `Choose ${title}`);
  },
  severity: (row, severity) => write(row, ".severity", SEVERITIES[severity]),
  status: (row, status) => write(row, ".status", STATUSES[status]),
  assignee: (row, name) => write(row, ".assignee", name || "—", name || "Nobody"),
  servers: (row, names) => write(row, ".affected", names.join(", ")),
  comments(row, number) {
    row.querySelector(".comments").hidden = !number;
    write(row, ".number", String(number));
  },
};

/**
 * What an event tells of its incident, by the names of the data attributes.
 *
 * @param {import("../events/stream.js").StreamEvent} event
 * @returns {Record<string, any>}
 */
export function toldBy({ type, data, timestamp }) {
  if (type === "incident.created") return { ...data, created_at: timestamp, updated_at: timestamp };
  if (type === "incident.updated") {
    const { changes, ...present } = data;
    return { ...present, ...newServers(changes), updated_at: timestamp };
  }
  return { title: data.title, status: data.new_status, updated_at: timestamp };
}

/** Whoever publishes an event by hand may write anything there. */
function newServers(changes) {
  const names = changes.servers?.new;
  return Array.isArray(names) ? { servers: names.map(String) } : {};
}

/** Shows what is told of an incident, and leaves the rest of its row as it is. */
export function update(row, told) {
  for (const [field, value] of Object.entries(told)) {
    row.dataset[field] = Array.isArray(value) ? JSON.stringify(value) : (value ?? "");
    SHOW[field]?.(row, value);
  }
}

/** Counts a comment that the row does not know of: their keys only grow. */
export function countComment(row, { comment }) {
  const { comments, last_comment: last } = row.dataset;
  if (comment > Number(last)) update(row, { comments: Number(comments) + 1, last_comment: comment });
}

/** Text as text, whatever markup it holds; where there is a place for it. */
export function write(row, selector, text, title = text) {
  const element = row.querySelector(selector);
  if (!element || element.textContent === text) return;
  element.textContent = text;
  if (element.hasAttribute("title")) element.title = title;
  highlight(element.closest("th, td, .card"));
}
