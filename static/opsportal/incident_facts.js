/** What is known of the incident: its state, its facts and its description. */

import { highlight } from "./highlight.js";
import { offerMoves } from "./moves.js";
import { span, timeElement } from "./times.js";

const find = (id) => document.getElementById(id);
const labelsIn = (id) => Object.fromEntries(JSON.parse(find(id).textContent));
const statuses = labelsIn("statuses");
const severities = labelsIn("severities");

const SHOW = {
  title(title) {
    write("title", title);
    document.title = `${title} · OpsPortal`;
  },
  severity(severity) {
    find("present").dataset.severity = severity;
    write("severity", severities[severity]);
  },
  assignee: showAssignee,
  servers: (names) => Array.isArray(names) && showServers(names.map(String)),
  description: (text) => showDescription(String(text ?? "")),
};

/** @param {Record<string, any>} told what an event tells of the incident, by field */
export function showFacts(told) {
  for (const [field, value] of Object.entries(told)) SHOW[field]?.(value);
}

function showAssignee(name) {
  find("present").dataset.assignee = name ?? "";
  write("assignee", name ?? "—");
  const take = find("assign-to-me");
  if (!take) return;
  take.hidden = name === find("incident").dataset.user;
  // A choice that was begun, and not sent, stays.
  const select = find("to");
  const isBegun = select.selectedOptions[0] !== select.querySelector("[selected]");
  select.querySelector("[selected]")?.removeAttribute("selected");
  const present = [...select.options].find(({ value }) => value === (name ?? ""));
  present?.setAttribute("selected", "");
  if (!isBegun) select.value = name ?? "";
}

/** Of a server that comes, events tell the name alone: it is looked up by that. */
function showServers(names) {
  const list = find("servers");
  const known = new Map([...list.querySelectorAll(".server")].map((each) => [each.textContent, each]));
  const shown = names.map((name) => known.get(name) ?? serverElement(name));
  list.replaceChildren(...(shown.length ? shown : ["—"]));
  highlight(list);
}

function serverElement(name) {
  const element = document.createElement("span");
  element.className = "server";
  const { inventory } = find("facts").dataset;
  if (inventory) {
    const link = document.createElement("a");
    link.href = `${inventory}?${new URLSearchParams({ search: name })}`;
    link.textContent = name;
    element.append(link);
  } else {
    element.textContent = name;
  }
  return element;
}

/** Only the server makes HTML of Markdown. */
function showDescription(text) {
  const section = find("description");
  const typed = document.createElement("pre");
  typed.textContent = text;
  section.querySelector(".markdown").replaceChildren(typed);
  section.querySelector(".typed").hidden = false;
  section.hidden = !text;
  highlight(section);
}

/** Shows the status that an incident has from this moment on, and what it took to get there. */
export function showStatus(status, moment) {
  const { dataset } = find("present");
  if (dataset.status === status) return;
  dataset.status = status;
  write("status", statuses[status]);
  find("since").replaceChildren(timeElement(moment, "span"));
  if (status === "open") reopen(moment);
  else if (status !== "closed") write(status, `after ${span(seconds(dataset.opened, moment))}`);
  showMoves();
}

const seconds = (begin, end) => Math.max(0, Date.parse(end) - Date.parse(begin)) / 1_000;

function reopen(moment) {
  find("present").dataset.opened = moment;
  find("reopened").replaceChildren(timeElement(moment, "age"));
  for (const id of ["acknowledged", "resolved"]) write(id, "—");
}

/** The buttons for where it can go from here. */
export function showMoves() {
  const group = document.querySelector("#act .moves");
  if (group) offerMoves(group, find("present").dataset.status);
}

/** Text as text, whatever markup it holds. */
function write(id, text) {
  const element = find(id);
  if (element.textContent === text) return;
  element.textContent = text;
  highlight(element);
}
