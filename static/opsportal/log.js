/**
 * The live log of a run: its rows in the page, what of them is shown, and where one is in it.
 *
 * A reader who is at the end follows it; who scrolls away is left where they are, and told how much
 * has come since.
 */

import { draw, parse, plain } from "./ansi.js";
import { Blocks } from "./log_blocks.js";
import { LogReader } from "./log_reader.js";
import { LogRows } from "./log_rows.js";
import { Search } from "./log_search.js";

const NEAR = 24; // px from the end within which one is at the end

const find = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});
const box = find("log");
const shape = find("log-line").content.firstElementChild;

const log = new LogRows();
const changed = new Set(); // places of rows to draw anew
let picked = null; // places of the rows that pass the filters; null where all do
let examined = 0; // rows that the filters were asked of
let columns = 0; // letters in a wrapped line; 0 where lines are not wrapped
let isFollowing = false;
let drawn = 0; // items that the blocks know of
let unseen = 0; // rows that came since one stopped following
let target = 0; // the number of the row that the address names; 0 where it names none
const loaded = Number(box.dataset.lines); // lines of before the page

const count = () => (picked ? picked.length : log.rows.length);
const placeAt = (item) => (picked ? picked[item] : item);
const rowAt = (item) => log.rows[placeAt(item)];

// A row in the page

function element(item) {
  const row = rowAt(item);
  const line = shape.cloneNode(true);
  line.dataset.stream = row.stream;
  const number = line.querySelector(".number");
  number.textContent = placeAt(item) + 1;
  number.href = `#L${placeAt(item) + 1}`;
  line.querySelector("time").textContent = clock.format(new Date(row.timestamp));
  line.querySelector(".source").textContent = row.server;
  const { runs } = parse(row.text, row.style);
  draw(line.querySelector(".text"), runs, search.marksIn(runs.map(({ text }) => text).join("")));
  if (item === search.item) line.classList.add("found");
  if (placeAt(item) === target - 1) line.classList.add("target");
  return line;
}

function linesOf(item) {
  return columns ? Math.max(1, Math.ceil(rowAt(item).length / columns)) : 1;
}

const blocks = new Blocks({ box, list: find("log-lines"), count, element, linesOf });
const search = new Search({
  count,
  first: () => Math.max(0, blocks.first()),
  textAt: (item) => plain(rowAt(item).text),
  show: (item) => {
    pause();
    blocks.show(item);
  },
  redraw: (item) => (item === undefined ? blocks.redrawAll() : blocks.redraw(item)),
});

// Lines come

const reader = new LogReader({
  source: box.dataset.source,
  add(line) {
    const before = log.rows.length;
    const place = log.add(line);
    if (place < before) changed.add(place);
  },
  added: showAdded,
});

function showAdded() {
  const before = drawn;
  pick();
  blocks.extend();
  drawn = count();
  for (const place of changed) {
    const item = itemOf(place);
    if (item >= 0 && item < before) blocks.redraw(item);
  }
  changed.clear();
  search.extend();
  if (!isFollowing && log.next - 1 > loaded) unseen += count() - before;
  if (isTargetThere() && !found) goToTarget();
  if (isFollowing) blocks.showEnd();
  showState();
}

/** The item of a row by its place; -1 where it is not shown. */
function itemOf(place) {
  if (!picked) return place;
  let [low, high] = [0, picked.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (picked[middle] < place) low = middle + 1;
    else high = middle;
  }
  return picked[low] === place ? low : -1;
}

function showState() {
  const lines = log.next - 1;
  const known = Math.max(lines, reader.until);
  const share = lines < known ? `, ${Math.floor((lines / known) * 100)} % loaded` : "";
  write(find("log-count"), counted(log.rows.length) + share);
  const isBehind = !isFollowing && unseen > 0;
  find("follow").ariaPressed = String(isFollowing);
  find("unseen").hidden = !isBehind;
  if (isBehind) write(find("unseen"), `${counted(unseen, "new line")}, follow`);
  find("log-empty").hidden = count() > 0;
  write(find("log-empty"), emptiness(lines, known));
}

function emptiness(lines, known) {
  if (lines < known) return "Loading …";
  if (lines) return "No line is of that server and these streams.";
  return box.dataset.pruned ? "This log is kept no more." : "Nothing was printed yet.";
}

function counted(number, thing = "line") {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Following

function follow() {
  isFollowing = true;
  unseen = 0;
  blocks.showEnd();
  showState();
}

function pause() {
  isFollowing = false;
  showState();
}

const isAtEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - NEAR;
let lastTop = 0;

box.addEventListener("scroll", () => {
  const isUp = box.scrollTop < lastTop;
  lastTop = box.scrollTop;
  if (isFollowing && isUp && !isAtEnd()) pause();
  else if (!isFollowing && !isUp && isAtEnd() && find("follow").dataset.finished !== "1") follow();
});
find("follow").addEventListener("click", () => (isFollowing ? pause() : follow()));
find("unseen").addEventListener("click", follow);

// What is shown

const server = find("log-server");
const streams = [...document.querySelectorAll("[name=log-stream]")];
const filters = () => ({
  server: server.value,
  streams: new Set(streams.filter(({ checked }) => checked).map(({ value }) => value)),
});
let wanted = filters();

function pick() {
  if (!picked) return;
  for (; examined < log.rows.length; examined++) {
    if (passes(log.rows[examined])) picked.push(examined);
  }
}

const passes = (row) =>
  (!wanted.server || row.server === wanted.server) && wanted.streams.has(row.stream);

/** The row that was first in the window stays there, or the one after it. */
function filter() {
  const place = count() ? placeAt(Math.max(0, blocks.first())) : 0;
  wanted = filters();
  picked = wanted.server || wanted.streams.size < streams.length ? [] : null;
  examined = 0;
  pick();
  box.classList.toggle("single", Boolean(wanted.server));
  const one = wanted.server ? { server: wanted.server } : {};
  find("download").search = new URLSearchParams({ format: "text", ...one });
  again(nearest(place));
  search.restart();
}

/** The first item from a row's place on. */
function nearest(place) {
  if (!picked) return place;
  const item = picked.findIndex((other) => other >= place);
  return item < 0 ? picked.length - 1 : item;
}

function again(item) {
  blocks.reset();
  drawn = count();
  if (isFollowing) blocks.showEnd();
  else if (count()) {
    blocks.draw(item);
    box.scrollTop += blocks.offsetOf(item);
  }
  showState();
}

server.addEventListener("change", filter);
for (const stream of streams) stream.addEventListener("change", filter);

/** @param {string} name of the one server whose lines are wanted */
export function showServer(name) {
  server.value = name;
  filter();
  box.closest("section").scrollIntoView({ block: "start" });
}

// How it is shown

function measure() {
  const probe = find("log-probe");
  const width = box.clientWidth - probe.offsetLeft - 12;
  columns = find("wrap").checked ? Math.max(10, Math.floor(width / (probe.offsetWidth / 100))) : 0;
}

function restyle() {
  const item = count() ? Math.max(0, blocks.first()) : 0;
  box.classList.toggle("wrapped", find("wrap").checked);
  box.classList.toggle("timed", find("times").checked);
  measure();
  again(item);
}

for (const id of ["wrap", "times"]) find(id).addEventListener("change", restyle);
let width = 0;
new ResizeObserver(() => {
  const isOther = width && width !== box.clientWidth;
  width = box.clientWidth;
  if (isOther && columns) restyle();
}).observe(box);

box.addEventListener("pointerover", ({ target: hovered }) => {
  const line = hovered.closest(".line");
  if (!line || line.title) return;
  const row = log.rows[Number(line.querySelector(".number").textContent) - 1];
  line.title = [clock.format(new Date(row.timestamp)), row.server, row.stream].filter(Boolean).join(" · ");
});

// A line that the address names

let found = false; // whether it was gone to

const isTargetThere = () => target > 0 && target <= log.rows.length;

function goToTarget() {
  found = true;
  if (itemOf(target - 1) < 0) clearFilters();
  isFollowing = false;
  blocks.redrawAll();
  blocks.show(itemOf(target - 1));
  box.closest("section").scrollIntoView({ block: "start" });
}

function clearFilters() {
  server.value = "";
  for (const stream of streams) stream.checked = true;
  filter();
}

function readAddress() {
  target = Number(/^#L(\d+)$/.exec(location.hash)?.[1] ?? 0);
  found = !target;
  if (isTargetThere()) goToTarget();
}

addEventListener("hashchange", readAddress);

// The page

/** Has all lines up to this one shown, of which the page or an event knows. */
export const reach = (seq) => reader.reach(seq);

/** @param {import("./log_rows.js").LogLine[]} lines of an event */
export const take = (lines) => reader.take(lines);

/** Where nothing more comes, to be at the end is not to follow. */
export function finish() {
  find("follow").dataset.finished = "1";
  find("follow").hidden = true;
}

measure();
readAddress();
box.classList.toggle("wrapped", find("wrap").checked);
if (box.dataset.finished) finish();
else if (!target) isFollowing = true;
reach(loaded);
showState();
