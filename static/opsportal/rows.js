/**
 * How a row of the list shows its server, and takes in what an event tells of it.
 *
 * Each row holds what is known of its server in its data attributes. Texts from events go into the
 * page as text only.
 */

import { highlight } from "./highlight.js";
import { noteState } from "./states.js";
import { setTime } from "./times.js";

const statuses = document.getElementById("statuses").textContent;
const labels = Object.fromEntries(JSON.parse(statuses));

/** How a row shows each thing that an event may tell of its server. */
const SHOW = {
  name(row, name) {
    write(row, ".name", name);
    row.querySelector(".test")?.setAttribute("aria-label", `Test ${name}`);
    row.querySelector(".choose")?.setAttribute("aria-label", `Choose ${name}`);
    row.querySelector(".test")?.setAttribute("data-refused", `${name} was not tested`);
  },
  host: (row) => write(row, ".address", address(row.dataset)),
  port: (row) => write(row, ".address", address(row.dataset)),
  environment: (row, name) => write(row, ".environment", name || "—"),
  tags: (row, tags) => writeTags(row, tags),
  status: (row, status) => write(row, ".status", labels[status]),
  message: (row, message) => write(row, ".message", message),
  latency: (row, milliseconds) => write(row, ".duration", milliseconds ? `${milliseconds} ms` : "—"),
  maintenance_until: (row, end) => (row.querySelector(".badge").hidden = !end),
  maintenance_reason: (row, reason) => (row.querySelector(".badge").title = reason),
};

/** Shows what is told of a server, and leaves the rest of its row as it is. `moment` is when. */
export function update(row, told, moment) {
  const fields = Object.keys(told).filter((field) => field in SHOW);
  for (const field of fields) row.dataset[field] = asText(told[field]);
  for (const field of fields) SHOW[field](row, told[field]);
  if (noteState(row)) setTime(row.querySelector("time"), moment);
}

/** A field as a data attribute holds it. Tags have no spaces in them. */
export function asText(value) {
  return Array.isArray(value) ? value.join(" ") : String(value ?? "");
}

/** Text as text, whatever markup it holds. */
export function write(row, selector, text) {
  const element = row.querySelector(selector);
  if (element.textContent === text) return;
  element.textContent = text;
  if (element.hasAttribute("title")) element.title = text;
  highlight(element.closest("th, td"));
}

function writeTags(row, tags) {
  const element = row.querySelector(".tags");
  element.replaceChildren(...tags.map(tagElement));
  element.title = tags.join(" ");
  highlight(element.closest("td"));
}

function tagElement(tag) {
  const element = document.createElement("span");
  element.className = "tag";
  element.textContent = tag;
  return element;
}

/** Without a port where no event has told of it. */
function address({ host, port }) {
  const shown = host.includes(":") ? `[${host}]` : host;
  return port ? `${shown}:${port}` : shown;
}
