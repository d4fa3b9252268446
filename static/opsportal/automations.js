/**
 * The list of automations, kept true by the stream: how each was run last, and what it is called.
 *
 * Its rows never move by themselves: what is new is counted in a notice, and shown on demand.
 */

import { join } from "./joining.js";
import { showNews } from "./news.js";
import { RUN_EVENTS, statusWord, tally, write } from "./run_rows.js";
import { keepTimes, setTime, showTimes, timeElement } from "./times.js";

const find = (id) => document.getElementById(id);
const table = find("automations");
const rowOf = (id) => find(`automation-${id}`);
const searched = (new URLSearchParams(location.search).get("search") ?? "").toLowerCase();

const added = new Set(); // ids of automations that the list may show if it were fetched now
const misplaced = new Set(); // ids of those it would show elsewhere
const deleted = new Set();

// What is run

function ran(event) {
  const { id, automation_id: automation, counts } = event.data;
  const cell = rowOf(automation)?.querySelector(".last");
  if (!cell || Number(cell.dataset.run || 0) > id) return;
  if (Number(cell.dataset.run) !== id) begin(cell, event.data);
  cell.dataset.status = event.data.status;
  write(cell.querySelector(".status"), statusWord(event.type, event.data.status));
  write(cell.parentElement.querySelector(".tally"), tally(counts));
}

function begin(cell, { id, created_at: moment }) {
  cell.dataset.run = id;
  const link = cell.querySelector(".status");
  link.href = table.dataset.run.replace("/0/", `/${id}/`);
  link.hidden = false;
  cell.querySelector(".never").hidden = true;
  const age = cell.parentElement.querySelector(".age");
  if (age.querySelector("time[datetime]")) setTime(age.querySelector("time"), moment);
  else age.replaceChildren(timeElement(moment, "age"));
}

function advanced({ data }) {
  const cell = table.querySelector(`.last[data-run="${Number(data.id)}"]`);
  if (cell) write(cell.parentElement.querySelector(".tally"), tally(data.counts));
}

// What is changed

function defined({ data }) {
  const { id, name, change, changes = {} } = data;
  const row = rowOf(id);
  if (change === "deleted") remove(id, row);
  else if (!row) consider(id, name, changes.description?.new);
  else {
    if (changes.name) misplaced.add(id);
    write(row.querySelector(".name"), name);
    if (changes.description) write(row.querySelector(".note"), String(changes.description.new));
    if (changes.enabled) enable(row, changes.enabled.new === true);
  }
}

/** The description, which is searched too, is not always told. */
function consider(id, name, description = "") {
  if (!searched || `${name}\n${description}`.toLowerCase().includes(searched)) added.add(id);
}

function enable(row, isEnabled) {
  row.toggleAttribute("data-disabled", !isEnabled);
  row.querySelector(".off").hidden = isEnabled;
}

/** Out of the table at once, a row would move the next one under somebody's pointer. */
function remove(id, row) {
  added.delete(id);
  misplaced.delete(id);
  if (!row) return;
  row.classList.add("deleted");
  deleted.add(id);
}

/** Puts the list that was fetched in place of this one. */
function show(page) {
  for (const id of ["count", "empty", "pages"]) find(id).replaceWith(page.getElementById(id));
  table.replaceChildren(...page.getElementById("automations").children);
  for (const set of [added, misplaced, deleted]) set.clear();
  showTimes(table);
}

const HANDLERS = {
  "automation.definition_changed": defined,
  ...Object.fromEntries(RUN_EVENTS.map((type) => [type, ran])),
  "automation.target_changed": advanced,
};

keepTimes();
const news = { new: added, deleted, "out of place": misplaced };
const refresh = join(HANDLERS, { show, settle: () => showNews(news), landing: "count" });
find("show-news").addEventListener("click", refresh);
