/** What is under way: what runs before what waits, and among equals the one that came last. */

import { showBars, showFigures, write } from "../charts.js";
import { follow } from "../following.js";
import { highlight } from "../highlight.js";
import { RUN_EVENTS, statusWord, updateCounts } from "../run_rows.js";
import { setTime } from "../times.js";
import { leave, showMore } from "./lists.js";

const find = (id) => document.getElementById(id);
const list = find("open-runs");
const UNFINISHED = ["running", "queued"]; // in this order

const rowOf = (id) => find(`run-${id}`);
const rank = ({ dataset }) => UNFINISHED.indexOf(dataset.status); // -1 where it is about to go

function told({ type, data }) {
  const row = rowOf(data.id);
  if (UNFINISHED.includes(data.status)) show(row ?? newRow(data), type, data);
  else if (row) end(row, type, data);
}

function newRow({ id, automation }) {
  const row = find("open-run").content.firstElementChild.cloneNode(true);
  const subject = row.querySelector(".subject");
  row.id = `run-${id}`;
  row.dataset.id = id;
  subject.href = subject.getAttribute("href").replace("/0/", `/${id}/`);
  subject.title = `${automation} #${id}`;
  write(subject, subject.title);
  return row;
}

/** Shows what is told of a run, in its place. */
function show(row, type, { status, counts, started_by: starter, started_at: start, created_at: made }) {
  row.dataset.status = status;
  write(row.querySelector(".state"), statusWord(type, status));
  write(row.querySelector(".starter"), starter);
  updateCounts(row, counts);
  setTime(row.querySelector("time"), start ?? made);
  place(row);
  highlight(row);
}

function end(row, type, { status, counts }) {
  row.dataset.status = status;
  updateCounts(row, counts);
  leave(row, ".state", statusWord(type, status));
}

function place(row) {
  const others = [...list.children].filter((other) => other !== row);
  const next = others.find((other) => comesBefore(row, other)) ?? null;
  if (!row.isConnected || row.nextElementSibling !== next) list.insertBefore(row, next);
}

function comesBefore(row, other) {
  if (rank(row) !== rank(other)) return rank(row) < rank(other);
  return Number(row.dataset.id) > Number(other.dataset.id);
}

/** Of a run that the list does not hold, this tells too little for a row. */
function progressed({ data }) {
  const row = rowOf(data.id);
  if (row) updateCounts(row, data.counts);
}

function counted({ data: { domain, stats } }) {
  if (domain !== "automation") return;
  const { completed, failed, cancelled } = stats;
  const tile = find("automation-tile");
  showFigures(tile, stats);
  showBars(tile, { completed, failed, cancelled });
  showMore(find("more-runs"), stats.running + stats.queued);
}

follow({
  ...Object.fromEntries(RUN_EVENTS.map((type) => [type, told])),
  "automation.target_changed": progressed,
  "stats.updated": counted,
});
