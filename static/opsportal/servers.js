/**
 * The list of servers, kept true by the stream.
 *
 * Rows that are there never move by themselves, as someone may be about to click: changes that would
 * give the list another order or other members are counted in a notice, and shown on demand.
 */

import { takeActions } from "./actions.js";
import { keepChoice } from "./bulk.js";
import { highlight } from "./highlight.js";
import { join } from "./joining.js";
import { mark, showNews } from "./news.js";
import { asText, update, write } from "./rows.js";
import { keepTimes, showTimes } from "./times.js";

const DELETED_FOR = 3_000; // ms for which a deleted server's row stays, struck

const find = (id) => document.getElementById(id);
const table = find("servers");

const rowOf = (id) => find(`server-${id}`);
const rows = () => [...table.tBodies[0].querySelectorAll("tr:not(.deleted)")];

// The list: its order and its filters

const query = new URLSearchParams(location.search);
const ORDERS = { last_test_latency: "latency" };
const ordering = query.get("ordering") || "name";
const descends = ordering.startsWith("-");
const orderedBy = ORDERS[ordering.replace("-", "")] ?? ordering.replace("-", "");

const FILTERS = {
  search: ["name", "host"],
  status: ["status"],
  environment: ["environment"],
  tag: ["tags"],
  maintenance: ["maintenance_until"],
};
const filters = Object.entries(FILTERS)
  .map(([name, fields]) => ({ fields, wanted: query.get(name) ?? "", name }))
  .filter(({ wanted }) => wanted);

/** Whether a server passes the filters, as far as is known of it. */
function matches(server) {
  return filters.every(({ name, fields, wanted }) =>
    fields.some((field) => !(field in server) || passes(name, asText(server[field]), wanted)),
  );
}

function passes(filter, text, wanted) {
  if (filter === "search") return text.toLowerCase().includes(wanted.toLowerCase());
  if (filter === "maintenance") return (text !== "") === (wanted === "true");
  return filter === "tag" ? text.split(" ").includes(wanted) : text === wanted;
}

const placed = new WeakMap(); // each row to what it was sorted by when it was put there

function notePlaces() {
  for (const row of rows()) placed.set(row, row.dataset[orderedBy]);
}

const isInPlace = (row) => matches(row.dataset) && placed.get(row) === row.dataset[orderedBy];

function comesBefore(row, other) {
  const [first, second] = descends ? [other, row] : [row, other];
  return first.dataset[orderedBy] < second.dataset[orderedBy];
}

/** Only a list that shows every server, by something that is known of a new one. */
function hasPlaceForNew() {
  const total = Number(find("count").dataset.total);
  return !filters.length && rows().length === total && ["name", "host"].includes(orderedBy);
}

// What events do

const added = new Set(); // ids of servers that the list would show if it were fetched now
const misplaced = new Set(); // ids of those it would show elsewhere, or no more

const HANDLERS = {
  "server.created": ({ data, timestamp }) => create(data, timestamp),
  "server.updated": ({ data, timestamp }) =>
    amend(data, { ...data, ...newValues(data.changes) }, data.changes, timestamp),
  "server.status_changed": ({ data, timestamp }) =>
    amend(data, outcome(data), { status: true }, timestamp),
  "server.deleted": ({ data }) => remove(data),
};

function newValues(changes) {
  return Object.fromEntries(Object.entries(changes).map(([field, change]) => [field, change.new]));
}

/** A test that has succeeded tells how long it took. */
function outcome({ name, new_status: status, message }) {
  const latency = status === "success" ? /\((\d+) ms\)\.$/.exec(message)?.[1] : undefined;
  return status === "success" || status === "failed"
    ? { name, status, message, latency }
    : { name, status, message };
}

function create(server, moment) {
  if (rowOf(server.id)) return;
  if (hasPlaceForNew()) insert(server, moment);
  else if (matches(server)) added.add(server.id);
}

function insert(server, moment) {
  const row = find("server-row").content.firstElementChild.cloneNode(true);
  row.id = `server-${server.id}`;
  row.dataset.id = server.id;
  const pathTo = (path) => path.replace("/0/", `/${server.id}/`);
  row.querySelector(".name").href = pathTo(table.dataset.detail);
  row.querySelector(".test")?.setAttribute("hx-post", pathTo(table.dataset.test));
  row.querySelector(".choose")?.setAttribute("value", server.id);
  update(row, server, moment);
  const next = rows().find((other) => comesBefore(row, other)) ?? null;
  table.tBodies[0].insertBefore(row, next);
  takeActions(row);
  placed.set(row, row.dataset[orderedBy]);
  [...row.cells].forEach(highlight);
  count(+1);
}

function amend({ id }, told, changes, moment) {
  const row = rowOf(id);
  if (row) {
    update(row, told, moment);
    mark(misplaced, id, !isInPlace(row));
  } else if (filters.some(({ fields }) => fields.some((field) => field in changes))) {
    mark(added, id, matches(told));
  }
}

/** Out of the table at once, a row would move the next one under somebody's pointer. */
function remove({ id }) {
  added.delete(id);
  misplaced.delete(id);
  const row = rowOf(id);
  if (!row) return;
  row.removeAttribute("id");
  row.classList.add("deleted");
  row.querySelector(".test")?.setAttribute("disabled", "");
  row.querySelector(".choose")?.remove();
  choice.show();
  write(row, ".status", "Deleted");
  setTimeout(() => row.remove(), DELETED_FOR);
  count(-1);
}

/** In the words of the template. */
function count(change) {
  const element = find("count");
  const shown = rows().length;
  const start = Number(element.dataset.start) || 1;
  const total = Number(element.dataset.total) + change;
  const range = total > shown ? `${start}–${start + shown - 1} of ` : "";
  element.dataset.total = total;
  element.textContent = `${range}${total} server${total === 1 ? "" : "s"}`;
  find("empty").hidden = shown > 0;
}

const choice = keepChoice(table);

/** Puts the list that was fetched in place of this one, with the choice and the focus as they are. */
function show(page) {
  const focused = document.activeElement.closest("tr")?.id;
  for (const id of ["count", "empty", "pages"]) find(id).replaceWith(page.getElementById(id));
  table.replaceChildren(...page.getElementById("servers").children);
  takeActions(table);
  choice.restore();
  if (focused) find(focused)?.querySelector("button")?.focus();
  added.clear();
  misplaced.clear();
  notePlaces();
  showTimes(table);
}

keepTimes();
notePlaces();
const news = { new: added, "out of place": misplaced };
const refresh = join(HANDLERS, { show, settle: () => showNews(news), landing: "count" });
find("show-news").addEventListener("click", refresh);
