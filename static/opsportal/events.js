/** The explorer: events as they come, which wait while somebody reads, and older ones on demand. */

import { inBlocks } from "./blocks.js";
import { goToLogin, openStream, whenOutdated } from "./connection.js";
import { eventList } from "./event_list.js";
import { pageOf, tell } from "./sentences.js";
import { keepTimes, setTime, showTimes } from "./times.js";

const NEWEST = 500; // rows, unless older ones were asked for
const MOST = 5_000; // rows, whatever was asked for
const TOLD_FOR = 2_000; // ms

const find = (id) => document.getElementById(id);
const list = find("events");
const rows = inBlocks(list);
const isLive = "live" in list.dataset;
const words = (text) => text.split(",").filter(Boolean);

// Rows, in the form of the template

/** @type {WeakMap<Element, object>} the events of rows whose JSON nobody has looked at yet */
const unseen = new WeakMap();

function rowOf(event) {
  const row = find("event").content.firstElementChild.cloneNode(true);
  const { tone, words: told } = tell(event, false);
  const actor = event.actor?.username ?? "";
  row.dataset.event = event.id;
  row.dataset.tone = tone;
  row.querySelector(".sentence").replaceChildren(...told);
  row.querySelector(".type").textContent = event.type;
  row.querySelector(".who").textContent = actor;
  row.querySelector(".page").setAttribute("href", pageOf(event.subject));
  row.querySelector(".same-type").href = `?types=${encodeURIComponent(event.type)}`;
  row.querySelector(".same-subject").href = `?subject=${encodeURIComponent(event.subject)}`;
  row.querySelector(".same-actor").href = `?actor=${encodeURIComponent(actor)}`;
  const time = row.querySelector("time");
  time.dataset.as = shownAs();
  setTime(time, event.timestamp);
  unseen.set(row, event);
  return row;
}

/** Of an event that came, its JSON is written when somebody wants to see it. */
function fill({ target }) {
  const row = target.closest("li");
  if (!target.open || !unseen.has(row)) return;
  row.querySelector("pre").textContent = JSON.stringify(unseen.get(row), null, 2);
  unseen.delete(row);
}

async function copied({ target }) {
  const button = target.closest(".copy");
  if (!button) return;
  const text = button.closest(".whole").querySelector("pre").textContent;
  const done = await navigator.clipboard.writeText(text).then(
    () => "Copied",
    () => "Not copied",
  );
  button.textContent = done;
  setTimeout(() => (button.textContent = "Copy"), TOLD_FOR);
}

// Live

let most = NEWEST;
let isPaused = false;

const opened = new Set(); // rows, which would take long to be looked for among thousands

function noteOpened({ target }) {
  if (target.open) opened.add(target);
  else opened.delete(target);
}

/** Rows that are read must not move: where one is open, and where the list's top is out of sight. */
function isRead() {
  if (list.hidden) return false;
  const { bottom } = find("tools").getBoundingClientRect();
  return opened.size > 0 || list.getBoundingClientRect().top < bottom - 4;
}

const live = eventList({
  list: rows,
  most: () => most,
  row: rowOf,
  isHeld: () => isPaused || isRead(),
  onWaiting(count) {
    showWhetherAny();
    find("show-waiting").hidden = !count;
    find("show-waiting").textContent = `Show ${count} new`;
  },
  onCut(oldest) {
    setOlder(oldest.dataset.event);
  },
});

function showWhetherAny() {
  list.hidden = !rows.count();
  find("none").hidden = !list.hidden;
}

function passes({ subject, actor }) {
  const { subject: wantedSubject, actor: wantedActor } = list.dataset;
  if (wantedSubject && subject !== wantedSubject) return false;
  return !wantedActor || actor?.username === wantedActor;
}

function pause(paused) {
  isPaused = paused;
  find("pause").ariaPressed = String(paused);
  find("pause").textContent = paused ? "Resume" : "Pause";
  live.show();
}

/** Whatever holds the rows is given up. */
function showWaiting() {
  for (const row of opened) row.open = false;
  scrollTo({ top: 0 });
  pause(false);
  find("pause").focus(); // the button that was pressed goes
}

function keepLive() {
  const types = words(list.dataset.types);
  const opened = openStream(types);
  for (const type of types) opened.stream.on(type, (event) => passes(event) && live.add(event));
  whenOutdated(opened, words(list.dataset.needed), () => location.reload());
  find("pause").addEventListener("click", () => pause(!isPaused));
  find("show-waiting").addEventListener("click", showWaiting);
  addEventListener("scroll", live.show, { passive: true });
  list.addEventListener("toggle", noteOpened, true);
  list.addEventListener("toggle", live.show, true);
}

// Older ones: the next page's rows, after those that are there

/** @param {string} position before which the list has no rows */
function setOlder(position) {
  const address = new URL(find("older").href);
  address.searchParams.set("before", position);
  find("older").href = address;
  find("older").hidden = false;
}

/** Where the list is full, the link leads to the next page as any link does. */
async function loadOlder(event) {
  const link = event.currentTarget;
  if (rows.count() >= MOST) return;
  event.preventDefault();
  if (link.ariaBusy === "true") return;
  link.ariaBusy = "true";
  const page = await fetchPage(link.href).catch(() => null);
  link.ariaBusy = null;
  find("problem").textContent = page ? "" : "The portal does not answer: no older events. Try again.";
  if (page) append(page);
}

/** @returns {Promise<Document>} the page at this address, as the server renders it */
async function fetchPage(address) {
  const response = await fetch(address, { cache: "no-store" });
  if (response.redirected) goToLogin(find("connection").dataset.login);
  if (!response.ok || response.redirected) throw new Error(`No older events: ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function append(page) {
  const blocks = [...page.getElementById("events").children];
  const before = rows.count();
  list.append(...blocks);
  most = Math.min(most + rows.count() - before, MOST);
  blocks.forEach(showRowTimes);
  const older = page.getElementById("older");
  find("older").href = older.getAttribute("href");
  find("older").hidden = older.hidden;
  showWhetherAny();
  find("none-text").textContent = page.getElementById("none-text").textContent;
}

// Times: how long ago, or by the clock; the reader's choice is kept

const CHOICE = "opsportal.events.times";
const shownAs = () => localStorage.getItem(CHOICE) ?? "age";

function showRowTimes(part) {
  for (const time of part.querySelectorAll("time")) time.dataset.as = shownAs();
  showTimes(part);
}

function showChoice() {
  const isClock = shownAs() === "clock";
  list.classList.toggle("clock", isClock);
  find("times").ariaPressed = String(isClock);
  showRowTimes(list);
}

function chooseTimes() {
  localStorage.setItem(CHOICE, shownAs() === "clock" ? "age" : "clock");
  showChoice();
}

// Filters: a short address, and a tree that is out of the way when one turns to something else

function shorten({ formData }) {
  const types = formData.getAll("types").join(",");
  for (const [name, value] of [...formData]) if (!value.trim()) formData.delete(name);
  formData.delete("types");
  if (types) formData.set("types", types);
}

/** All of a kind are chosen, or some of them. */
function keepTree({ target }) {
  const isBranch = (box) => box.closest(".branch") !== null;
  for (const box of target.closest("fieldset").querySelectorAll("input")) {
    if (target.checked && isBranch(box) !== isBranch(target)) box.checked = false;
  }
}

function closeTree(event) {
  const tree = document.querySelector(".types");
  const isAway = event.type === "keydown" ? event.key === "Escape" : !tree.contains(event.target);
  if (!tree.open || !isAway) return;
  tree.open = false;
  if (event.type === "keydown") tree.querySelector("summary").focus();
}

keepTimes();
showChoice();
if (isLive) keepLive();
list.addEventListener("toggle", fill, true);
list.addEventListener("click", copied);
find("older").addEventListener("click", loadOlder);
find("times").addEventListener("click", chooseTimes);
find("filters").addEventListener("formdata", shorten);
document.querySelector(".tree").addEventListener("change", keepTree);
addEventListener("click", closeTree);
addEventListener("keydown", closeTree);
