/** Events a minute over the last hour: those that the feed tells of. */

import { drawColumns, serverClock, write } from "./charts.js";
import { follow } from "./following.js";

const MINUTE = 60_000; // ms
const find = (id) => document.getElementById(id);

let { start, counts } = JSON.parse(find("activity-counts").textContent);
let frame = 0;

/** @param {number} now by the server's clock */
function shift(now) {
  const past = Math.floor((now - start) / MINUTE) - (counts.length - 1);
  if (past <= 0) return false;
  counts = [...counts, ...Array(Math.min(past, counts.length)).fill(0)].slice(-counts.length);
  start += past * MINUTE;
  return true;
}

function draw() {
  frame = 0;
  drawColumns(find("activity").querySelector("svg"), counts);
  write(find("activity-total"), counts.reduce((sum, count) => sum + count, 0));
  write(find("activity-peak"), `a minute: ${Math.max(...counts)} at most`);
}

/** @param {import("../events/stream.js").StreamEvent} event */
function countEvent({ timestamp }) {
  const moment = Date.parse(timestamp);
  shift(moment);
  const minute = Math.floor((moment - start) / MINUTE);
  if (minute < 0) return;
  counts[minute] += 1;
  frame ||= requestAnimationFrame(draw);
}

const types = find("feed").dataset.types.split(",").filter(Boolean);
follow(Object.fromEntries(types.map((type) => [type, countEvent])));

// Minutes pass also in which nothing happens.
const { now } = JSON.parse(find("activity-counts").textContent);
const clock = serverClock(now);
setInterval(() => shift(clock()) && draw(), MINUTE / 12);
