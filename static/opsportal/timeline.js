/** What has happened to the incident, the newest first, as incidents/entries.py puts it. */

import { highlight } from "./highlight.js";
import { safeFragment } from "./safe_html.js";
import { timeElement } from "./times.js";

const PORTAL = "OpsPortal";
const NOTHING = "–";
const LONG = 80; // characters of a value that is shown when somebody asks

const find = (id) => document.getElementById(id);
const deeds = JSON.parse(find("deeds").textContent);

/**
 * Adds an event's entry, unless the page has it already, or shows older ones.
 *
 * @param {import("../events/stream.js").StreamEvent} event
 */
export function addEntry(event) {
  const list = find("entries");
  const key = `${event.type} ${event.timestamp}`;
  const isThere = [...list.children].some((entry) => entry.dataset.key === key);
  if ("older" in list.dataset || isThere) return;
  const entry = entryOf(event);
  entry.dataset.key = key;
  list.prepend(entry);
  highlight(entry);
}

function entryOf(event) {
  const { data } = event;
  const entry = document.createElement("li");
  entry.dataset.kind = kindOf(event);
  entry.append(headOf(event));
  if (data.changes) entry.append(...Object.entries(data.changes).map(changeOf));
  if ("html" in data) entry.append(part("div", "markdown", safeFragment(data.html)));
  else if (data.error || data.comment) entry.append(part("p", "text", data.error || data.comment));
  return entry;
}

const kindOf = ({ type, data }) => (data.new_status ? `${type}/${data.new_status}` : type);

function headOf(event) {
  const deed = [deeds[kindOf(event)] ?? event.type, toldTo(event)].filter(Boolean).join(" ");
  const head = part("p", "head", part("span", "who", event.actor?.username ?? PORTAL));
  head.append(" ", part("span", "deed", deed), " ", timeElement(event.timestamp, "age"));
  return head;
}

const toldTo = ({ type, data }) => (type.startsWith("notification.") ? data.channel || "you" : "");

function changeOf([field, change]) {
  const name = part("span", "field-name", field.replaceAll("_", " "));
  const [old, now] = [shown(change.old), shown(change.new)];
  if (Math.max(old.length, now.length) > LONG || `${old}${now}`.includes("\n")) {
    const details = part("details", "change", part("summary", "", name));
    details.append(part("pre", "old", old), part("pre", "new", now));
    return details;
  }
  const line = part("p", "change", name);
  line.append(" ", part("span", "old", old), " → ", part("span", "new", now));
  return line;
}

/** Of an event that was published by hand, a value may be any of JSON's. */
function shown(value) {
  if (value == null || value === "" || value.length === 0) return NOTHING;
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Text as text, whatever markup it holds. */
function part(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(content);
  return element;
}
