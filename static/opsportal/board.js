/**
 * The board of incidents: cards move from column to column as their events say.
 *
 * In a column that the pointer is over, the other cards stay where they are: what comes is put at its
 * end, and what goes leaves an empty place. So nobody presses what stood elsewhere.
 */

import { takeActions } from "./actions.js";
import { highlight } from "./highlight.js";
import { STATUSES, countComment, toldBy, update } from "./incident_rows.js";
import { join } from "./joining.js";
import { guardMoves, offerMoves } from "./moves.js";
import { keepTimes, setTime, showTimes } from "./times.js";

const GATHER = 1_500; // ms in which what happens is told in one sentence
const WORST_FIRST = ["open", "acknowledged"]; // columns; the others have what came last on top
const SEVERITIES = ["critical", "high", "medium", "low"];

const find = (id) => document.getElementById(id);
const board = find("board");

const cardOf = (id) => find(`incident-${id}`);
const laneOf = (status) => board.querySelector(`.lane[data-status="${status}"]`);
const listOf = (lane) => lane.querySelector(".cards");
const cardsIn = (list) => [...list.querySelectorAll(".card")];
const isHeld = (list) => list.matches(":hover");

// Where cards stand

/** Moves a card to its status's column. */
function place(card) {
  const from = card.closest(".cards");
  const to = listOf(laneOf(card.dataset.status));
  if (from === to) return;
  const hadFocus = card.contains(document.activeElement);
  if (from && isHeld(from)) from.insertBefore(gapOf(card), card);
  to.insertBefore(card, isHeld(to) ? null : nextOf(card, to));
  if (hadFocus) card.querySelector(".name").focus({ preventScroll: true });
  highlight(card);
}

/** An empty place, as high as the card that left it. */
function gapOf(card) {
  const gap = document.createElement("li");
  gap.className = "gap";
  gap.ariaHidden = "true";
  gap.style.height = `${card.getBoundingClientRect().height}px`;
  return gap;
}

function nextOf(card, list) {
  const others = cardsIn(list).filter((other) => other !== card);
  if (!WORST_FIRST.includes(card.dataset.status)) return others[0] ?? null;
  return others.find((other) => comesBefore(card, other)) ?? null;
}

function comesBefore({ dataset: one }, { dataset: other }) {
  const weight = ({ severity }) => SEVERITIES.indexOf(severity);
  if (weight(one) !== weight(other)) return weight(one) < weight(other);
  return Date.parse(one.created_at) > Date.parse(other.created_at);
}

/** Closes the gaps of a column that the pointer is over no more, and brings its cards into their order. */
function tidy(list) {
  if (isHeld(list)) return;
  list.querySelectorAll(".gap").forEach((gap) => gap.remove());
  if (!WORST_FIRST.includes(list.closest(".lane").dataset.status)) return;
  const cards = cardsIn(list);
  const sorted = cards.toSorted((one, other) => (comesBefore(one, other) ? -1 : 1));
  if (sorted.every((card, index) => card === cards[index])) return;
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  list.append(...sorted);
  focused?.focus({ preventScroll: true });
}

const tidyAll = () => board.querySelectorAll(".cards").forEach(tidy);

// What events do

const missing = new Set(); // ids of incidents that are not on the board, and would be if fetched

const HANDLERS = {
  "incident.created": create,
  "incident.updated": amend,
  "incident.status_changed": amend,
  "incident.commented": ({ data }) => cardOf(data.id) && countComment(cardOf(data.id), data),
  "incident.deleted": remove,
};

function create(event) {
  const { data, actor } = event;
  if (cardOf(data.id)) return;
  const card = find("card").content.firstElementChild.cloneNode(true);
  card.id = `incident-${data.id}`;
  for (const element of card.querySelectorAll("[href], [formaction], [hx-post]")) {
    for (const name of ["href", "formaction", "hx-post"]) {
      const path = element.getAttribute(name);
      if (path) element.setAttribute(name, path.replace("/0/", `/${data.id}/`));
    }
  }
  board.append(card); // where it can be filled in; `place` puts it into its column
  setTime(card.querySelector("time"), event.timestamp);
  show(card, toldBy(event));
  takeActions(card);
  announce(`Opened${by(actor)}: ${data.title}`);
}

function amend(event) {
  const { data, actor } = event;
  const card = cardOf(data.id);
  if (!card) return void (isForBoard(event) && missing.add(data.id));
  const before = card.dataset.status;
  show(card, toldBy(event));
  const { status } = card.dataset;
  if (status !== before) announce(`${STATUSES[status]}${by(actor)}: ${data.title}`);
}

/** Whether the board may have to show one that it does not know: it knows no more than it shows. */
function isForBoard({ type, data }) {
  return type === "incident.status_changed" || ("severity" in data.changes && WORST_FIRST.includes(data.status));
}

function show(card, told) {
  update(card, told);
  if (told.title) nameMoves(card);
  const moves = card.querySelector(".moves");
  if (moves) offerMoves(moves, card.dataset.status);
  place(card);
}

function nameMoves(card) {
  for (const button of card.querySelectorAll(".moves button")) {
    button.setAttribute("aria-label", `${button.textContent} ${card.dataset.title}`);
  }
}

function remove({ data: { id, title }, actor }) {
  missing.delete(id);
  const card = cardOf(id);
  if (!card) return;
  if (isHeld(card.closest(".cards"))) card.before(gapOf(card));
  card.remove();
  announce(`Deleted${by(actor)}: ${title}`);
}

const by = (actor) => (actor ? ` by ${actor.username}` : "");

function settle() {
  tidyAll();
  for (const lane of board.querySelectorAll(".lane")) {
    const quantity = `${cardsIn(lane).length}${lane.dataset.more ? "+" : ""}`;
    if (lane.querySelector(".quantity").textContent !== quantity) {
      lane.querySelector(".quantity").textContent = quantity;
    }
  }
  const text = missing.size ? `${missing.size} more` : "";
  if (find("missing").textContent !== text) find("missing").textContent = text;
  find("show-missing").hidden = !text;
}

// What is said of it: not more often than somebody can listen

let sentences = [];
let telling = 0;

function announce(sentence) {
  sentences.push(sentence);
  telling ||= setTimeout(() => {
    const [only] = sentences;
    find("news").textContent = sentences.length === 1 ? only : `${sentences.length} incidents have moved`;
    sentences = [];
    telling = 0;
  }, GATHER);
}

function replace(page) {
  board.replaceChildren(...page.getElementById("board").children);
  missing.clear();
  takeActions(board);
  showTimes(board);
}

keepTimes();
const refresh = join(HANDLERS, { show: replace, settle });
find("show-missing").addEventListener("click", refresh);
board.addEventListener("pointerout", () => requestAnimationFrame(tidyAll));
guardMoves(board);
