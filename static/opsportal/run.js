/** One run's page, kept true by the events of that run: how it goes, its targets, and its log. */

import { keepDurations, showDuration } from "./durations.js";
import { join } from "./joining.js";
import { finish, reach, showServer, take } from "./log.js";
import { done, labelsIn, RUN_EVENTS, statusWord, tally, write } from "./run_rows.js";
import { keepTimes, showTimes, timeElement } from "./times.js";

const find = (id) => document.getElementById(id);
const run = find("run");
const TARGET_LABELS = labelsIn("target-statuses");
const NOT_DONE = JSON.parse(find("not-done").textContent);
const FINISHED = ["completed", "failed", "cancelled"];

// How it goes

function told({ type, data }) {
  const { status } = data;
  const isCancelling = type === "automation.cancelling";
  find("present").dataset.status = status;
  find("present").toggleAttribute("data-cancelling", isCancelling);
  write(find("status"), statusWord(type, status));
  write(find("error"), data.error);
  showDuration(find("length").firstElementChild, data);
  showMoment("began", data.started_at);
  showMoment("ended", data.finished_at);
  showCounts(data.counts);
  offer(status, isCancelling);
  if (FINISHED.includes(status)) end(status);
}

function showMoment(id, moment) {
  if (moment) find(id).replaceChildren(timeElement(moment, "moment"));
}

function showCounts(counts) {
  find("progress").max = counts.total || 1;
  find("progress").value = done(counts);
  find("tally").textContent = tally(counts);
}

/** What can be done about it now. */
function offer(status, isCancelling) {
  const isOver = FINISHED.includes(status);
  find("cancel")?.toggleAttribute("hidden", isOver || isCancelling);
  find("retry")?.toggleAttribute("hidden", !isOver || !isRetriable());
}

const isRetriable = () => [...rows()].some(({ dataset }) => NOT_DONE.includes(dataset.status));

/** The one thing of a log that a screen reader hears without asking. */
function end(status) {
  find("run-news").textContent = `The run is over: ${statusWord("", status)}, ${find("tally").textContent}.`;
  finish();
}

// Its targets

const rows = () => find("target-rows").tBodies[0].rows;

function targetTold({ data }) {
  showCounts(data.counts);
  const row = find("target-rows").querySelector(`[data-position="${Number(data.position)}"]`);
  if (!row) return;
  row.dataset.status = data.status;
  write(row.querySelector(".status"), TARGET_LABELS[data.status]);
  write(row.querySelector(".exit"), data.exit_signal || String(data.exit_code ?? "—"));
  write(row.querySelector(".note"), data.error);
  showDuration(row.querySelector(".duration"), data);
}

run.addEventListener("click", ({ target }) => {
  if (target.matches(".only")) showServer(target.textContent);
});

/** All that the server renders but the log, which goes on where it was. */
function show(page) {
  for (const id of ["head", "facts", "target-rows"]) {
    find(id).replaceWith(page.getElementById(id));
    showTimes(find(id));
  }
  globalThis.htmx.process(find("head"));
  const { lines, finished } = page.getElementById("log").dataset;
  find("truncated").replaceWith(page.getElementById("truncated"));
  reach(Number(lines));
  if (finished) finish();
}

const HANDLERS = {
  ...Object.fromEntries(RUN_EVENTS.map((type) => [type, told])),
  "automation.target_changed": targetTold,
  "log.added": ({ data }) => take(data.lines),
};

keepTimes();
keepDurations();
join(HANDLERS, { subject: `automation.run/${run.dataset.id}`, show });
