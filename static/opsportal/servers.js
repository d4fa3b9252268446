/**
 * The list of servers, kept true by the stream.
 *
 * Rows that are there never move by themselves, as someone may be about to click: changes that would
 * give the list another order or other members are counted in a notice, and shown on demand.
 */

import { goToLogin, openStream } from "./connection.js";
import { asText, highlight, update, write } from "./rows.js";
import { keepTimes, showTimes } from "./times.js";

const DELETED_FOR = 3_000; // ms for which a deleted server's row stays, struck
const PROBLEM_FOR = 10_000; // ms for which a test that could not be started is told of
const REFRESH_AGAIN = 3_000; // ms after which a refresh that failed is tried again

const find = (id) => document.getElementById(id);
const table = find("servers");

const rowOf = (id) => find(`server-${id}`);
const rows = () => [...table.tBodies[0].querySelectorAll("tr:not(.deleted)")];

// The list: its order and its filters

const query = new URLSearchParams(location.search);
const ORDERS = { last_tested_at: "tested", last_test_latency: "latency" };
const ordering = query.get("ordering") || "name";
const descends = ordering.startsWith("-");
const orderedBy = ORDERS[ordering.replace("-", "")] ?? ordering.replace("-", "");

const FILTERS = {
  search: ["name", "host"],
  status: ["status"],
  environment: ["environment"],
  tag: ["tags"],
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
  "server.created": ({ data }) => create(data),
  "server.updated": ({ data }) => amend(data, { ...data, ...newValues(data.changes) }, data.changes),
  "server.status_changed": (event) => amend(event.data, outcome(event), { status: true }),
  "server.deleted": ({ data }) => remove(data),
};

function newValues(changes) {
  return Object.fromEntries(Object.entries(changes).map(([field, change]) => [field, change.new]));
}

/** A test that has ended has a time, and, where it succeeded, tells how long it took. */
function outcome({ timestamp, data: { name, new_status: status, message } }) {
  if (status !== "success" && status !== "failed") return { name, status, message };
  const latency = status === "success" ? /\((\d+) ms\)\.$/.exec(message)?.[1] : undefined;
  return { name, status, message, latency, tested: timestamp };
}

function create(server) {
  if (rowOf(server.id)) return;
  if (hasPlaceForNew()) insert(server);
  else if (matches(server)) added.add(server.id);
}

function insert(server) {
  const row = find("server-row").content.firstElementChild.cloneNode(true);
  row.id = `server-${server.id}`;
  row.dataset.id = server.id;
  const path = table.dataset.test.replace("/0/", `/${server.id}/`);
  row.querySelector(".test")?.setAttribute("formaction", path + location.search);
  update(row, server);
  const next = rows().find((other) => comesBefore(row, other)) ?? null;
  table.tBodies[0].insertBefore(row, next);
  placed.set(row, row.dataset[orderedBy]);
  [...row.cells].forEach(highlight);
  count(+1);
}

function amend({ id }, told, changes) {
  const row = rowOf(id);
  if (row) {
    update(row, told);
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
  write(row, ".status", "Deleted");
  setTimeout(() => row.remove(), DELETED_FOR);
  count(-1);
}

function mark(set, id, isMember) {
  if (isMember) set.add(id);
  else set.delete(id);
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

function showNews() {
  const parts = [];
  if (added.size) parts.push(`${added.size} new`);
  if (misplaced.size) parts.push(`${misplaced.size} out of place`);
  const text = parts.join(", ");
  if (find("news").textContent !== text) find("news").textContent = text;
  find("show-news").hidden = !parts.length;
}

// Joining the page and the stream

const { stream, cursor } = openStream(Object.keys(HANDLERS));
let shownUpTo = cursor; // the position of the log that the list shows
let waiting = null; // events that arrive while the list is fetched, else null

function receive(event) {
  if (waiting) {
    waiting.push(event);
  } else if (event.id > shownUpTo) {
    shownUpTo = event.id;
    HANDLERS[event.type](event);
    showNews();
  }
}

let refreshing = new AbortController();

/** Fetches the list anew and shows it in place of this one, then the events that came meanwhile. */
async function refresh() {
  refreshing.abort();
  const { signal } = (refreshing = new AbortController());
  waiting = []; // what came before this moment is in what will be fetched
  try {
    const page = await fetchPage(signal);
    if (page) show(page);
  } catch {
    if (!signal.aborted) setTimeout(refresh, REFRESH_AGAIN * (1 + Math.random()));
  }
}

/** This page as the server renders it now; null where it is another by now, which is gone to. */
async function fetchPage(signal) {
  const response = await fetch(location.href, { cache: "no-store", signal });
  if (response.redirected || (response.status >= 400 && response.status < 500)) {
    location.reload();
    return null;
  }
  if (!response.ok) throw new Error(`The list could not be fetched: ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function show(page) {
  const focused = document.activeElement.closest("tr")?.id;
  for (const id of ["count", "empty", "pages"]) find(id).replaceWith(page.getElementById(id));
  table.replaceChildren(...page.getElementById("servers").children);
  if (focused) find(focused)?.querySelector("button")?.focus();
  added.clear();
  misplaced.clear();
  notePlaces();
  showTimes(table);
  showNews();
  shownUpTo = Number(page.getElementById("connection").dataset.cursor);
  const missed = waiting;
  waiting = null;
  missed.forEach(receive);
}

// Connection tests

/** Sends a row's form as the browser would, and stays; what becomes of it comes by the stream. */
async function startTest(form, button) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  const { status, isLogin } = await post(button.formAction, form);
  button.ariaBusy = null;
  if (isLogin) goToLogin(find("connection").dataset.login);
  else tellProblem(status === 202 ? "" : problem(button.closest("tr"), status));
}

/** The answer's status, or 0 where there is none. */
async function post(address, form) {
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "X-Requested-With": "fetch" },
      body: new URLSearchParams(new FormData(form)),
    });
    return { status: response.status, isLogin: response.redirected };
  } catch {
    return { status: 0, isLogin: false };
  }
}

let problemTimer = 0;

function tellProblem(text) {
  clearTimeout(problemTimer);
  find("problem").textContent = text;
  if (text) problemTimer = setTimeout(() => tellProblem(""), PROBLEM_FOR);
}

function problem(row, status) {
  const { name } = row.dataset;
  if (status === 0) return `${name} was not tested: the portal does not answer.`;
  if (status === 403) return `${name} was not tested: you may not, or this page is too old. Reload it.`;
  if (status === 404) return `${name} was not tested: it has been deleted.`;
  return `${name} was not tested: the portal failed (${status}).`;
}

keepTimes();
notePlaces();
for (const type of Object.keys(HANDLERS)) stream.on(type, receive);
stream.on("stream.reset", refresh);
// Rights can end while nobody is connected: the page then says so itself.
stream.on("stream.open", ({ data }) => data.types.length || refresh());
find("show-news").addEventListener("click", refresh);
find("test")?.addEventListener("submit", (event) => {
  event.preventDefault();
  startTest(event.target, event.submitter);
});
