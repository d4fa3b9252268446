/**
 * The buttons that bring an incident to another status: from each status those that lead on from
 * there, and that its user may press, as the server says.
 */

import { tell } from "./actions.js";

const JUST_NOW = 600; // ms in which a press was meant for what stood there before

const moves = JSON.parse(document.getElementById("moves").textContent);
const came = new WeakMap(); // each button to when it came to where it is

/**
 * @param {HTMLElement} group of the buttons of one incident, named `to`
 * @param {string} status that it has now
 */
export function offerMoves(group, status) {
  const buttons = [...group.querySelectorAll("button[name='to']")];
  const focused = buttons.find((button) => button === document.activeElement);
  const places = buttons.map(placeOf);
  for (const button of buttons) button.hidden = !moves[status].includes(button.value);
  buttons.forEach((button, index) => {
    if (placeOf(button) !== places[index]) came.set(button, performance.now());
  });
  if (focused?.hidden) refocus(group, buttons);
}

function placeOf(button) {
  const { x, y, width } = button.getBoundingClientRect();
  return [x, y, width].join();
}

/** A button that is gone would take the focus with it to the page's beginning. */
function refocus(group, buttons) {
  const next = buttons.find((button) => !button.hidden) ?? group.closest("[tabindex]");
  next?.focus({ preventScroll: true });
}

/**
 * Keeps back what is pressed just when a button has come under the pointer or the focus: the press
 * was meant for another.
 *
 * @param {HTMLElement} page
 */
export function guardMoves(page) {
  page.addEventListener("click", (event) => isTooSoon(event) && refuse(event), { capture: true });
}

function isTooSoon({ target }) {
  const button = target.closest("button[name='to']");
  return performance.now() - (came.get(button) ?? -JUST_NOW) < JUST_NOW;
}

function refuse(event) {
  event.preventDefault();
  event.stopPropagation();
  tell("problem", "Nothing was done: the incident has just changed. Look at it again.");
}
