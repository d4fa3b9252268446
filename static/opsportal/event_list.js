/**
 * A list of events, the newest first, which takes in many a second.
 *
 * However fast they come, the list takes a few rows a frame, and holds so many and no more. While
 * it is held, as somebody reads it, what comes waits; of what waits only as many are kept as the
 * list has room for. There is never a gap between its rows.
 */

import { highlight } from "./highlight.js";

const AT_ONCE = 10; // rows made in one frame, so that nothing else has to wait for long

/**
 * @typedef {object} Rows of a list
 * @property {() => number} count
 * @property {() => HTMLElement} last
 * @property {(rows: HTMLElement[]) => void} prepend
 * @property {() => void} removeLast
 * @property {() => void} clear
 */

/**
 * @param {HTMLElement} list
 * @returns {Rows} those of a list that is short
 */
export function inOne(list) {
  return {
    count: () => list.childElementCount,
    last: () => list.lastElementChild,
    prepend: (rows) => list.prepend(...rows),
    removeLast: () => list.lastElementChild.remove(),
    clear: () => list.replaceChildren(),
  };
}

/**
 * @param {object} options
 * @param {Rows} options.list
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
  let isCut = false; // whether some of them were dropped: then no row of before may stay
  let frame = 0;

  function add(event) {
    count += 1;
    waiting.push(event);
    // Not at each one, as the beginning of an array is dear to cut off; a hidden tab has no frames.
    if (waiting.length >= 2 * most()) drop();
    show();
  }

  function drop() {
    if (waiting.length <= most()) return;
    waiting = waiting.slice(-most());
    isCut = true;
  }

  function show() {
    frame ||= requestAnimationFrame(update);
  }

  function update() {
    frame = 0;
    if (isHeld()) {
      onWaiting(count);
    } else {
      insert();
      onWaiting(0);
    }
  }

  function insert() {
    drop();
    if (isCut) list.clear();
    const rows = waiting.splice(0, AT_ONCE).reverse().map(row);
    count = waiting.length;
    list.prepend(rows);
    cut();
    // Of many, nobody sees which ones are new.
    if (waiting.length) show();
    else rows.forEach(highlight);
  }

  function cut() {
    const surplus = list.count() - most();
    if (!isCut && surplus <= 0) return;
    isCut = false;
    for (let removed = 0; removed < surplus; removed += 1) list.removeLast();
    onCut(list.last());
  }

  return { add, show };
}
