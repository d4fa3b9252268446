/** Short lists of what is wrong. */

import { write } from "../charts.js";

const GONE_FOR = 3_000; // ms for which a row stays that is about to go
const SHOWN = 8; // rows; the list holds more, which move up as those go

/** Out of the list at once, a row would move the next one under somebody's pointer. */
export function leave(row, selector, reason) {
  if (!row) return;
  row.removeAttribute("id");
  row.classList.add("gone");
  write(row.querySelector(selector), reason);
  setTimeout(() => row.remove(), GONE_FOR);
}

/** @param {number} total of what the list could show */
export function showMore(element, total) {
  element.hidden = total <= SHOWN;
  write(element.querySelector("span"), total - SHOWN);
}
