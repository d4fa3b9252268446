/**
 * Joins a page, which carries the log's position of before its state, and the stream after it.
 *
 * Its events are handed on in order and each once, also where the page was fetched anew between.
 */

import { openStream, whenOutdated } from "./connection.js";

const REFRESH_AGAIN = 3_000; // ms after which a refresh that failed is tried again

const find = (id) => document.getElementById(id);

/**
 * @typedef {import("../events/stream.js").StreamEvent} StreamEvent
 *
 * @param {Record<string, (event: StreamEvent) => void>} handlers by the events' types, of which one
 *   who may not read the first may not see the page either
 * @param {object} page
 * @param {string} [page.subject] the one thing that it shows
 * @param {(page: Document) => void} page.show puts a page that was fetched in place of this one
 * @param {() => void} [page.settle] is called after each event, and after `show`
 * @param {string} [page.landing] id of what gets the focus where `show` has taken it away
 * @returns {() => Promise<void>} fetches the page anew and shows it
 */
export function join(handlers, { subject = "", show, settle = () => {}, landing = "content" }) {
  const types = Object.keys(handlers);
  const opened = openStream(types, subject);
  const { stream, cursor } = opened;
  let shownUpTo = cursor; // the position of the log that the page shows
  let waiting = null; // events that arrive while it is fetched, else null
  let refreshing = new AbortController();

  function receive(event) {
    if (waiting) {
      waiting.push(event);
    } else if (event.id > shownUpTo) {
      shownUpTo = event.id;
      handlers[event.type](event);
      settle();
    }
  }

  async function refresh() {
    refreshing.abort();
    const { signal } = (refreshing = new AbortController());
    waiting = []; // what came before this moment is in what will be fetched
    try {
      const page = await fetchPage(signal);
      if (page) replace(page);
    } catch {
      if (!signal.aborted) setTimeout(refresh, REFRESH_AGAIN * (1 + Math.random()));
    }
  }

  function replace(page) {
    const focused = document.activeElement;
    show(page);
    shownUpTo = Number(page.getElementById("connection").dataset.cursor);
    const missed = waiting;
    waiting = null;
    missed.forEach(receive);
    settle();
    if (focused !== document.body && !hasFocus()) (heirOf(focused) ?? find(landing)).focus();
  }

  for (const type of types) stream.on(type, receive);
  whenOutdated(opened, types.slice(0, 1), refresh);
  return refresh;
}

/** What is hidden loses the focus only when it is drawn next. */
function hasFocus() {
  const { activeElement } = document;
  return activeElement !== document.body && activeElement.checkVisibility();
}

/** What is in its place now, and can be seen. */
function heirOf({ id }) {
  const heir = id && find(id);
  return heir?.checkVisibility() ? heir : null;
}

/** This page as the server renders it now; null where it is another by now, which is gone to. */
async function fetchPage(signal) {
  const response = await fetch(location.href, { cache: "no-store", signal });
  if (response.redirected || (response.status >= 400 && response.status < 500)) {
    location.reload();
    return null;
  }
  if (!response.ok) throw new Error(`The page could not be fetched: ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}
