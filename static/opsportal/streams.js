/**
 * The processes and their streams, fetched anew every few seconds.
 *
 * These are no events, so the page asks; a tab that nobody sees asks for nothing.
 */

import { keepTimes, setTime } from "./times.js";

const find = (id) => document.getElementById(id);
const table = find("processes");
const INTERVAL = table.dataset.refresh * 1000; // ms between two answers
const PATIENCE = 5_000; // ms until an answer is given up
const rows = table.tBodies[0].rows;

// How a row shows its process, in the words of the template

function fill(row, { process, kind, state, started_at: started, age, hub }) {
  row.dataset.process = process;
  row.dataset.state = state;
  write(row, ".kind", capitalised(kind));
  write(row, ".identity", process);
  write(row, ".status", capitalised(state));
  writeTime(row, ".started", started);
  write(row, ".age", `${Math.round(age)} s`);
  write(row, ".streams", hub?.streams ?? "—");
  write(row, ".lag", hub?.lag ?? "—");
  write(row, ".events", counted(hub?.ring?.events, "event"));
  writeTime(row, ".oldest", hub?.ring?.oldest);
  row.querySelector(".ring .detail").hidden = !hub?.ring?.oldest;
  writeTime(row, ".repaired", hub?.repaired_at, hub ? "never" : "—");
  fillUsers(row.querySelector("details"), hub);
}

function fillUsers(details, hub) {
  details.hidden = !hub?.users;
  if (details.hidden) return;
  write(details, "summary", counted(hub.users, "user"));
  details.querySelector("ol").replaceChildren(...(hub.by_user ?? []).map(userElement));
}

function userElement({ username, streams }) {
  const element = document.createElement("li");
  element.append(part("username", username), " ", part("amount", streams));
  return element;
}

function part(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

const capitalised = (word) => word.charAt(0).toUpperCase() + word.slice(1);
const counted = (number, thing) =>
  number == null ? "—" : `${number} ${thing}${number === 1 ? "" : "s"}`;

function write(row, selector, value) {
  const element = row.querySelector(selector);
  const text = String(value);
  if (element.textContent !== text) element.textContent = text;
}

function writeTime(row, selector, moment, otherwise = "—") {
  const element = row.querySelector(selector);
  if (moment) {
    setTime(element, moment);
  } else {
    element.removeAttribute("datetime");
    element.removeAttribute("title");
    element.textContent = otherwise;
  }
}

// The rows: those that are there stay as they are, so that nobody loses the focus or an open list

function show(processes) {
  const known = new Map([...rows].map((row) => [row.dataset.process, row]));
  processes.forEach((process, place) => {
    const row = known.get(process.process) ?? newRow();
    known.delete(process.process);
    fill(row, process);
    if (rows[place] !== row) table.tBodies[0].insertBefore(row, rows[place] ?? null);
  });
  for (const row of known.values()) row.remove();
  find("empty").hidden = processes.length > 0;
}

const newRow = () => find("process-row").content.firstElementChild.cloneNode(true);

// Asking

let timer = 0;

async function refresh() {
  clearTimeout(timer);
  try {
    const processes = await fetchProcesses();
    if (processes) show(processes);
    tell("");
  } catch {
    tell("The portal does not answer: these figures are old. Trying again.");
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, INTERVAL);
}

/** What the API answers; null where this user may see it no more, and the page says so. */
async function fetchProcesses() {
  const signal = AbortSignal.timeout(PATIENCE);
  const response = await fetch(table.dataset.source, { cache: "no-store", signal });
  if (response.status === 401 || response.status === 403) {
    location.reload();
    return null;
  }
  if (!response.ok) throw new Error(`The processes could not be fetched: ${response.status}`);
  return response.json();
}

function tell(text) {
  const element = find("stale");
  if (element.textContent !== text) element.textContent = text;
}

keepTimes();
timer = setTimeout(refresh, INTERVAL);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});
