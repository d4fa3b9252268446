/** What has happened to the server: its states, and who changed what. The newest come first. */

import { highlight } from "./highlight.js";
import { fingerprint } from "./host_key.js";
import { setTime, span, timeElement } from "./times.js";

const find = (id) => document.getElementById(id);
const states = Object.fromEntries(JSON.parse(find("states").textContent));

/**
 * @param {string} state that the server is in from this moment on
 * @param {string} moment
 * @param {string} message
 */
export function addPeriod(state, moment, message) {
  const list = find("period-list");
  if ("older" in list.dataset) return;
  endPeriod(list.firstElementChild, moment);
  const period = find("period").content.firstElementChild.cloneNode(true);
  period.dataset.status = state;
  period.querySelector(".status").textContent = states[state];
  period.querySelector(".message").textContent = message;
  for (const time of period.querySelectorAll("time")) setTime(time, moment);
  list.prepend(period);
  highlight(period);
}

function endPeriod(period, moment) {
  if (!period) return;
  const { dateTime } = period.querySelector(".from time");
  const seconds = (Date.parse(moment) - Date.parse(dateTime)) / 1_000;
  period.querySelector(".length").textContent = span(seconds);
}

/** @param {import("../events/stream.js").StreamEvent} event of `server.updated` */
export function addChanges({ id, timestamp, actor, data }) {
  const list = find("trail-list");
  if ("older" in list.dataset || list.querySelector(`[data-event="${id}"]`)) return;
  const entry = document.createElement("li");
  entry.dataset.event = id;
  entry.append(part("who", actor?.username || "—"), part("when quiet", timeElement(timestamp, "age")));
  for (const [field, change] of Object.entries(data.changes)) entry.append(changeElement(field, change));
  list.prepend(entry);
  highlight(entry);
}

function changeElement(field, change) {
  const element = part("change", part("field-name", field.replaceAll("_", " ")));
  if (field === "credential") element.append("replaced");
  else element.append(part("old", told(field, change.old)), "→", part("new", told(field, change.new)));
  return element;
}

/** A value as the template shows it. */
function told(field, value) {
  if (value === null || value === "" || value.length === 0) return "–";
  if (field === "maintenance_until") return timeElement(value, "moment");
  if (field === "host_key") return fingerprintElement(value);
  return Array.isArray(value) ? value.join(", ") : String(value);
}

function fingerprintElement(key) {
  const element = part("key", key.split(" ")[0]);
  fingerprint(key).then((text) => (element.textContent = text));
  return element;
}

/** Text as text, whatever markup it holds. */
function part(className, content) {
  const element = document.createElement("span");
  element.className = className;
  element.append(content);
  return element;
}
