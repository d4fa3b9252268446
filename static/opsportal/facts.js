/** What is known of the server: its facts, its present state, and its maintenance. */

import { highlight } from "./highlight.js";
import { noteState } from "./states.js";
import { span, timeElement } from "./times.js";

const find = (id) => document.getElementById(id);
const statuses = Object.fromEntries(JSON.parse(find("statuses").textContent));

/** How each thing that an event may tell is shown. */
const SHOW = {
  name(name) {
    write("name", name);
    document.title = `${name} · OpsPortal`;
  },
  host: () => write("address", address(find("present").dataset)),
  port: () => write("address", address(find("present").dataset)),
  username: (name) => write("username", name),
  // The event of one that takes the other's place tells of both, in this order.
  shared_credential: (name) => write("credential", name ?? "None"),
  credential: () => find("credential").textContent === "None" && write("credential", "Its own"),
  environment: (name) => write("environment", name ?? "—"),
  tags: showTags,
  check_interval: showInterval,
  status: (status) => write("status", statuses[status]),
  message: (message) => write("message", message),
  maintenance_until: showMaintenance,
  maintenance_reason: (reason) => write("maintenance-reason", reason),
};

/**
 * Shows what an event tells of the server.
 *
 * @param {Record<string, any>} told
 * @returns {boolean} whether it is in another state by now
 */
export function showFacts(told) {
  const known = find("present").dataset;
  const fields = Object.keys(told).filter((field) => field in SHOW);
  for (const field of fields) known[field] = String(told[field] ?? "");
  for (const field of fields) SHOW[field](told[field]);
  return noteState(find("present"));
}

/** @param {string} moment at which a check began: about when the next one will */
export function showNextCheck(moment) {
  const seconds = Number(find("interval").dataset.seconds);
  if (seconds) showTime("next", new Date(Date.parse(moment) + seconds * 1_000).toISOString(), "left");
}

/** @param {string | null} time nothing is known of it where there is none */
export function showTime(id, time, shownAs) {
  find(id).replaceChildren(time ? timeElement(time, shownAs) : "—");
}

/** Text as text, whatever markup it holds. */
export function write(id, text) {
  const element = find(id);
  if (element.textContent === text) return;
  element.textContent = text;
  highlight(element);
}

function address({ host, port }) {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function showTags(tags) {
  const elements = tags.map((tag) => {
    const element = document.createElement("span");
    element.className = "tag";
    element.textContent = tag;
    return element;
  });
  find("tags").replaceChildren(...(elements.length ? elements : ["—"]));
  highlight(find("tags"));
}

function showInterval(own) {
  const { dataset } = find("interval");
  const seconds = own ?? Number(dataset.default);
  dataset.seconds = seconds;
  write("interval", seconds ? `every ${span(seconds)}` : "only when asked for");
  showTime("next", null);
}

function showMaintenance(end) {
  showTime("end", end, "moment");
  find("banner").hidden = !end;
  if (end) showTime("next", null);
  const button = find("begin");
  if (button) button.textContent = end ? "Change" : "Begin";
}
