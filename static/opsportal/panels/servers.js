/** How the fleet is: servers by status, how long they were up, and those that fail. */

import { drawLosses, serverClock, showBars, showFigures, write } from "../charts.js";
import { follow } from "../following.js";
import { highlight } from "../highlight.js";
import { setTime, span } from "../times.js";
import { leave, showMore } from "./lists.js";

const find = (id) => document.getElementById(id);
const list = find("failing");

// The state of each server, as its history has it: what is being tested stays what it was.

/** @type {Map<number, string>} */
const states = new Map();
for (const [state, ids] of Object.entries(JSON.parse(find("server-states").textContent))) {
  for (const id of ids) states.set(id, state);
}

const count = (wanted) => [...states.values()].filter((state) => state === wanted).length;

/** @param {string | null} state null where the server is gone */
function setState({ id, name, message = "" }, state, moment) {
  const before = states.get(id);
  if (state === before) return;
  passTime();
  if (state) states.set(id, state);
  else states.delete(id);
  if (state === "failed") addRow(id, name, message, moment);
  if (before === "failed") leave(rowOf(id), ".message", REASONS[state] ?? "Deleted");
  showMore(find("more-failing"), count("failed"));
}

function tested({ data, timestamp }) {
  const { id, new_status: status, message } = data;
  const row = rowOf(id);
  if (row && status === "failed") showMessage(row, message);
  if (status !== "testing" && states.get(id) !== "maintenance") setState(data, status, timestamp);
}

function updated({ data, timestamp }) {
  const row = rowOf(data.id);
  if (row) write(row.querySelector(".subject"), data.name);
  const end = data.changes.maintenance_until;
  if (end) setState(data, end.new ? "maintenance" : stateAfter(data.status), timestamp);
}

/** Of a server whose maintenance ends during a test, nobody knows how it is. */
const stateAfter = (status) => (status === "testing" ? "unknown" : status);

// Those that fail, the last to begin first

const REASONS = { success: "Answers again", unknown: "To be tested anew", maintenance: "In maintenance" };
const rowOf = (id) => find(`failing-${id}`);

function addRow(id, name, message, moment) {
  const row = find("failing-server").content.firstElementChild.cloneNode(true);
  const subject = row.querySelector(".subject");
  row.id = `failing-${id}`;
  subject.href = subject.getAttribute("href").replace("/0/", `/${id}/`);
  subject.title = name;
  write(subject, name);
  showMessage(row, message);
  setTime(row.querySelector("time"), moment);
  list.prepend(row);
  highlight(row);
}

function showMessage(row, message) {
  write(row.querySelector(".message"), message);
  row.querySelector(".message").title = message;
}

// Uptime: each span's seconds, up and down, of all servers together

const TICK = 15_000; // ms
const { end, length, seconds: spans } = JSON.parse(find("uptime-spans").textContent);
const clock = serverClock(end);
let spanEnd = end;
let passed = end; // up to which time is counted

/** Counts the time since the last look, for as many servers as were up and down in it. */
function passTime() {
  const now = clock();
  while (passed < now) {
    if (passed >= spanEnd) beginSpan();
    const until = Math.min(now, spanEnd);
    spans.at(-1)[0] += (count("success") * (until - passed)) / 1_000;
    spans.at(-1)[1] += (count("failed") * (until - passed)) / 1_000;
    passed = until;
  }
}

function beginSpan() {
  spans.push([0, 0]);
  spans.shift();
  spanEnd += length;
}

function showUptime() {
  passTime();
  const [up, down] = [0, 1].map((which) => spans.reduce((sum, span) => sum + span[which], 0));
  write(find("uptime"), up + down ? percent(up / (up + down)) : "—");
  const lost = down ? `down for ${span(down)} in all` : "never down";
  write(find("uptime-text"), up + down ? lost : "not known yet");
  drawLosses(find("uptime-tile").querySelector("svg"), spans);
}

/** Never rounded up to 100: what was down for a moment was down. */
const percent = (ratio) => `${(Math.floor(ratio * 10_000) / 100).toFixed(2)} %`;

function counted({ data: { domain, stats } }) {
  if (domain !== "servers") return;
  const tile = find("servers-tile");
  showFigures(tile, stats);
  showBars(tile, stats.by_status);
}

follow({
  "server.created": ({ data, timestamp }) => states.has(data.id) || setState(data, data.status, timestamp),
  "server.updated": updated,
  "server.status_changed": tested,
  "server.deleted": ({ data, timestamp }) => setState(data, null, timestamp),
  "stats.updated": counted,
});
setInterval(showUptime, TICK);
