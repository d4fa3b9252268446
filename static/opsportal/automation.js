/** One automation's page, kept true by its events and those of its runs. */

import { showDeletion } from "./deletion.js";
import { keepDurations } from "./durations.js";
import { highlight } from "./highlight.js";
import { join } from "./joining.js";
import "./picking.js";
import { newRun, RUN_EVENTS, updateCounts, updateRun, write } from "./run_rows.js";
import { keepTimes, showTimes, span } from "./times.js";

const RECENT = 10; // runs that are shown

const find = (id) => document.getElementById(id);
const automation = find("automation");
const id = Number(automation.dataset.id);
const table = find("runs");

// Its runs

function ran(event) {
  if (!table || event.data.automation_id !== id) return;
  const row = find(`run-${event.data.id}`);
  if (row) updateRun(row, event);
  else if (event.type === "automation.queued") addRun(event);
}

function addRun(event) {
  const row = newRun(table, event);
  table.tBodies[0].prepend(row);
  [...row.cells].forEach(highlight);
  if (table.tBodies[0].rows.length > RECENT) table.tBodies[0].lastElementChild.remove();
  find("no-runs").hidden = true;
}

// What it is

const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;

/** What can be shown as an event tells it; all else is in the page that the server renders. */
const SHOW = {
  name(name) {
    write(find("name"), name);
    document.title = `${name} · OpsPortal`;
  },
  description: (text) => write(find("description"), text),
  interpreter: (text) => write(find("interpreter"), text),
  timeout: (seconds) => write(find("timeout"), `${span(seconds)} for each server`),
  concurrency: (number) => write(find("concurrency"), counted(number, "server")),
  max_failures: (number) => write(find("max_failures"), number ? counted(number, "failure") : "never"),
  enabled(isEnabled) {
    find("disabled").hidden = isEnabled;
    find("go")?.toggleAttribute("disabled", !isEnabled);
  },
};

function defined({ data, actor }) {
  if (data.id !== id) return;
  if (data.change === "deleted") return remove(actor);
  const changes = Object.entries(data.changes ?? {});
  for (const [field, change] of changes) SHOW[field]?.(change.new);
  const others = changes.map(([field]) => field).filter((field) => !(field in SHOW));
  if (others.length) tellOf(others, actor);
}

/** A form that somebody is filling in does not change under their hands. */
function tellOf(fields, actor) {
  const who = actor?.username ?? "Somebody";
  const text = `${who} has changed its ${fields.join(", ")}.`;
  find("changed").querySelector("span").textContent = text;
  find("changed").hidden = false;
}

function remove(actor) {
  find("changed").hidden = true;
  showDeletion(automation, "automation", actor);
}

function show(page) {
  for (const part of ["name", "disabled", "description", "facts", "script", "run", "runs", "no-runs"]) {
    const fetched = page.getElementById(part);
    if (part === "runs" && table) table.replaceChildren(...fetched.children);
    else if (fetched) find(part)?.replaceWith(fetched);
  }
  document.title = page.title;
  find("changed").hidden = true;
  showTimes(automation);
  prepare();
}

function prepare() {
  const form = find("start");
  if (form) globalThis.htmx.process(form);
}

const HANDLERS = {
  "automation.definition_changed": defined,
  ...Object.fromEntries(RUN_EVENTS.map((type) => [type, ran])),
  "automation.target_changed": ({ data }) =>
    find(`run-${data.id}`) && updateCounts(find(`run-${data.id}`), data.counts),
};

keepTimes();
keepDurations();
prepare();
const refresh = join(HANDLERS, { show });
find("show-changes").addEventListener("click", refresh);
