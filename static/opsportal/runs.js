/**
 * The list of runs, kept true by the stream.
 *
 * Its rows never move by themselves, as someone may be about to click: runs that are new, or not of
 * the filter any more, are counted in a notice, and shown on demand.
 */

import { keepDurations } from "./durations.js";
import { join } from "./joining.js";
import { mark, showNews } from "./news.js";
import { RUN_EVENTS, updateCounts, updateRun } from "./run_rows.js";
import { keepTimes, showTimes } from "./times.js";

const find = (id) => document.getElementById(id);
const table = find("runs");
const rowOf = (id) => find(`run-${id}`);

const query = new URLSearchParams(location.search);
const FILTERS = {
  status: ({ status }, wanted) => wanted.includes(status),
  automation: ({ automation }, wanted) => wanted.at(-1) === automation,
  started_by: ({ started_by: name }, wanted) => wanted.at(-1) === name,
};
const filters = Object.entries(FILTERS)
  .map(([name, passes]) => ({ passes, wanted: query.getAll(name).filter(Boolean) }))
  .filter(({ wanted }) => wanted.length);
const matches = (run) => filters.every(({ passes, wanted }) => passes(run, wanted));

const added = new Set(); // ids of runs that the list would show if it were fetched now
const misplaced = new Set(); // ids of those it would show no more

function told(event) {
  const { data } = event;
  const row = rowOf(data.id);
  if (row) {
    updateRun(row, event);
    mark(misplaced, data.id, !matches(row.dataset));
  } else if (event.type === "automation.queued" || filters.length || added.has(data.id)) {
    mark(added, data.id, matches(data));
  }
}

/** Puts the list that was fetched in place of this one. */
function show(page) {
  for (const id of ["count", "empty", "pages"]) find(id).replaceWith(page.getElementById(id));
  table.replaceChildren(...page.getElementById("runs").children);
  added.clear();
  misplaced.clear();
  showTimes(table);
}

const HANDLERS = {
  ...Object.fromEntries(RUN_EVENTS.map((type) => [type, told])),
  "automation.target_changed": ({ data }) => rowOf(data.id) && updateCounts(rowOf(data.id), data.counts),
};

keepTimes();
keepDurations();
const news = { new: added, "out of place": misplaced };
const refresh = join(HANDLERS, { show, settle: () => showNews(news), landing: "count" });
find("show-news").addEventListener("click", refresh);
