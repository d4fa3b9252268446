/** What is unresolved: the worst first, and among equals the one that was opened last. */

import { showBars, showFigures, write } from "../charts.js";
import { follow } from "../following.js";
import { highlight } from "../highlight.js";
import { setTime } from "../times.js";
import { leave, showMore } from "./lists.js";

const find = (id) => document.getElementById(id);
const list = find("open-incidents");
const labels = JSON.parse(find("incident-labels").textContent);
const SEVERITIES = Object.keys(labels.severity); // the worst first
const UNRESOLVED = ["open", "acknowledged"];

const rowOf = (id) => find(`incident-${id}`);
const rank = ({ dataset }) => SEVERITIES.indexOf(dataset.severity); // -1 where it is not known

function opened({ data, timestamp }) {
  if (UNRESOLVED.includes(data.status)) show(rowOf(data.id) ?? newRow(data.id, timestamp), data);
}

function updated({ data }) {
  const row = rowOf(data.id);
  if (row) show(row, data);
}

/** Of one that was reopened, its severity is told by no event: the row goes without, on top. */
function moved({ data, timestamp }) {
  const row = rowOf(data.id);
  const told = { title: data.title, status: data.new_status };
  if (!UNRESOLVED.includes(data.new_status)) leave(row, ".state", labels.status[data.new_status]);
  else show(row ?? newRow(data.id, timestamp), told);
}

function newRow(id, moment) {
  const row = find("open-incident").content.firstElementChild.cloneNode(true);
  const subject = row.querySelector(".subject");
  row.id = `incident-${id}`;
  row.dataset.opened = moment;
  subject.href = subject.getAttribute("href").replace("/0/", `/${id}/`);
  setTime(row.querySelector("time"), moment);
  return row;
}

/** Shows what is told of an incident, in its place. */
function show(row, { title, status, severity, assignee }) {
  row.querySelector(".subject").title = title;
  write(row.querySelector(".subject"), title);
  write(row.querySelector(".state"), labels.status[status]);
  if (severity) write(row.querySelector(".severity"), labels.severity[severity]);
  if (severity) row.dataset.severity = severity;
  if (assignee !== undefined) write(row.querySelector(".assignee"), assignee ?? "");
  place(row);
  highlight(row);
}

function place(row) {
  const others = [...list.children].filter((other) => other !== row);
  const next = others.find((other) => comesBefore(row, other)) ?? null;
  if (!row.isConnected || row.nextElementSibling !== next) list.insertBefore(row, next);
}

function comesBefore(row, other) {
  if (rank(row) !== rank(other)) return rank(row) < rank(other);
  return Date.parse(row.dataset.opened) > Date.parse(other.dataset.opened);
}

function counted({ data: { domain, stats } }) {
  if (domain !== "incidents") return;
  const tile = find("incidents-tile");
  showFigures(tile, stats);
  showBars(tile, stats.open_by_severity);
  showMore(find("more-incidents"), stats.open);
}

follow({
  "incident.created": opened,
  "incident.updated": updated,
  "incident.status_changed": moved,
  "incident.deleted": ({ data }) => leave(rowOf(data.id), ".state", "Deleted"),
  "stats.updated": counted,
});
