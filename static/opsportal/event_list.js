/**
 * A list of events, the newest first, which takes in many a second.
 *
 * However fast they come, the list is touched once a frame at most, and holds so many rows and no
 * more. While it is held, as somebody reads it, what comes waits; of what waits only as many are
 * kept as the list has room for.
 */

import { highlight } from "./highlight.js";

const A_FEW = 20; // rows in a frame that may glow: of more, nobody sees which ones are new

/**
 * @param {object} options
 * @param {HTMLElement} options.list
 * @param {() => number} options.most rows in the list
 * @param {(event: import("../events/stream.js").StreamEvent) => HTMLElement} options.row
 * @param {() => boolean} options.isHeld
 * @param {(count: number) => void} options.onWaiting is told how many wait, when that may have changed
 * @param {(oldest: HTMLElement) => void} [options.onCut] is told the last row that is left, where
 *   older ones had to go
 * @returns {{add: (event: object) => void, show: () => void}} `show` lets in what waits, if nothing
 *   holds it any more
 */
export function eventList({ list, most, row, isHeld, onWaiting, onCut = () => {} }) {
  let waiting = []; // the oldest first
  let count = 0; // of those that came, also those that the list has no room for
  let frame = 0;

  function add(event) {
    count += 1;
    waiting.push(event);
    // Not at each one, as the beginning of an array is dear to cut off; a hidden tab has no frames.
    if (waiting.length >= 2 * most()) waiting = waiting.slice(-most());
    show();
  }

  function show() {
    frame ||= requestAnimationFrame(update);
  }

  function update() {
    frame = 0;
    if (!isHeld()) insert();
    onWaiting(count);
  }

  function insert() {
    const rows = waiting.slice(-most()).reverse().map(row);
    waiting = [];
    count = 0;
    list.prepend(...rows);
    cut();
    if (rows.length <= A_FEW) rows.forEach(highlight);
  }

  function cut() {
    if (list.childElementCount <= most()) return;
    while (list.childElementCount > most()) list.lastElementChild.remove();
    onCut(list.lastElementChild);
  }

  return { add, show };
}
