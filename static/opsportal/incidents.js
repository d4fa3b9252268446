/**
 * The list of incidents, kept true by the stream.
 *
 * Its rows never move by themselves, as someone may be about to click: what would come in, go or
 * stand elsewhere is counted in a notice, and shown on demand.
 */

import { keepChoice } from "./bulk.js";
import { showFigures } from "./figures.js";
import { countComment, toldBy, update, write } from "./incident_rows.js";
import { join } from "./joining.js";
import { mark, showNews } from "./news.js";
import { keepTimes, showTimes } from "./times.js";

const find = (id) => document.getElementById(id);
const table = find("incidents");

const rowOf = (id) => find(`incident-${id}`);
const rows = () => [...table.tBodies[0].querySelectorAll("tr:not(.deleted)")];

// The list: its order and its filters

const query = new URLSearchParams(location.search);
const orderedBy = (query.get("ordering") || "-created_at").split(",")[0].replace("-", "");

/** Whether one filter lets an incident pass; undefined where that is not known. */
const FILTERS = {
  status: ({ status }, wanted) => wanted.includes(status),
  severity: ({ severity }, wanted) => (severity ? wanted.includes(severity) : undefined),
  assignee: ({ assignee }, [wanted]) => (assignee === undefined ? undefined : (assignee ?? "") === wanted),
  server: ({ servers }, [wanted]) => servers && asList(servers).includes(wanted),
  // The description, which is searched too, is in no event.
  search: ({ title }, [wanted]) => title.toLowerCase().includes(wanted.toLowerCase()) || undefined,
};
const filters = Object.entries(FILTERS)
  .map(([name, passes]) => ({ name, passes, wanted: query.getAll(name).filter(Boolean) }))
  .filter(({ wanted }) => wanted.length);

const asList = (names) => (Array.isArray(names) ? names : JSON.parse(names));

/** Whether the list is to show an incident: true, false, or undefined where that is not known. */
function matches(incident) {
  const answers = filters.map(({ passes, wanted }) => passes(incident, wanted));
  if (answers.includes(false)) return false;
  return answers.includes(undefined) ? undefined : true;
}

const placed = new WeakMap(); // each row to what it was sorted by when it was put there

function notePlaces() {
  for (const row of rows()) placed.set(row, row.dataset[orderedBy]);
}

/** A row that is shown passed the filters; what is not known of it now is as it was. */
const isInPlace = (row) =>
  matches(row.dataset) !== false && placed.get(row) === row.dataset[orderedBy];

// What events do

const known = new Map(); // ids of incidents that may be for the list to what was told of them
const added = new Set(); // ids of incidents that the list would show if it were fetched now
const perhaps = new Set(); // ids of those of which that is not known
const misplaced = new Set(); // ids of those it would show elsewhere, or no more
const deleted = new Set(); // ids of those that are there no more

const HANDLERS = {
  "incident.created": (event) => rowOf(event.data.id) || consider(event.data.id, toldBy(event)),
  "incident.updated": (event) => amend(event, Object.keys(event.data.changes)),
  "incident.status_changed": (event) => amend(event, ["status"]),
  "incident.commented": ({ data }) => rowOf(data.id) && countComment(rowOf(data.id), data),
  "incident.deleted": ({ data }) => remove(data),
  "stats.updated": showFigures,
};

/** Notes whether an incident that has no row is one for the list. */
function consider(id, told) {
  known.set(id, { ...known.get(id), ...told });
  const answer = matches(known.get(id));
  mark(added, id, answer === true);
  mark(perhaps, id, answer === undefined);
}

function amend(event, changed) {
  const { id } = event.data;
  const row = rowOf(id);
  if (row) {
    update(row, toldBy(event));
    mark(misplaced, id, !isInPlace(row));
  } else if (known.has(id) || filters.some(({ name }) => changed.includes(FIELDS[name] ?? name))) {
    consider(id, toldBy(event));
  }
}

const FIELDS = { server: "servers", search: "title" }; // by which a filter of another name picks

/** Out of the table at once, a row would move the next one under somebody's pointer. */
function remove({ id }) {
  for (const set of [known, added, perhaps, misplaced]) set.delete(id);
  const row = rowOf(id);
  if (!row || deleted.has(id)) return;
  row.classList.add("deleted");
  row.querySelector(".choose")?.remove();
  choice.show();
  write(row, ".status", "Deleted");
  deleted.add(id);
  countAll(-1);
}

/** In the words of the template. */
function countAll(change) {
  const element = find("count");
  const shown = rows().length;
  const start = Number(element.dataset.start) || 1;
  const total = Number(element.dataset.total) + change;
  const range = total > shown ? `${start}–${start + shown - 1} of ` : "";
  element.dataset.total = total;
  element.textContent = `${range}${total} incident${total === 1 ? "" : "s"}`;
}

const choice = keepChoice(table);

/** Puts the list that was fetched in place of this one, with the choice and the focus as they are. */
function show(page) {
  const focused = document.activeElement.closest("tr")?.id;
  for (const id of ["count", "empty", "pages", "figures"]) find(id).replaceWith(page.getElementById(id));
  table.replaceChildren(...page.getElementById("incidents").children);
  choice.restore();
  if (focused) find(focused)?.querySelector("a")?.focus({ preventScroll: true });
  for (const set of [known, added, perhaps, misplaced, deleted]) set.clear();
  notePlaces();
  showTimes(table);
}

keepTimes();
notePlaces();
const news = {
  new: added,
  "perhaps new": perhaps,
  deleted,
  "out of place": misplaced,
};
const refresh = join(HANDLERS, { show, settle: () => showNews(news), landing: "count" });
find("show-news").addEventListener("click", refresh);
