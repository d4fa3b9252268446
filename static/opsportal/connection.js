/** The page's connection to the stream: started from what the page carries, shown in its header. */

import { useSSE } from "../events/stream.js";
import { RING, ring } from "./bell.js";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  polling: "Polling",
  closed: "Not connected",
};
const LOST = "The connection was lost. Changes appear when it is back.";
const NEWS = {
  live: "Live again: changes appear by themselves.",
  reconnecting: LOST,
  polling: "The live connection does not get through. Changes appear every few seconds.",
};
const SETTLED = 4_000; // ms for which a status must last before a screen reader hears of it

/**
 * One stream for the page and its bell: a browser has few connections.
 *
 * @param {string[]} types the event types that the page shows
 * @param {string} [subject] the one thing that it shows
 * @returns {{stream: import("../events/stream.js").Subscription, cursor: number}}
 */
export function openStream(types, subject = "") {
  const badge = document.getElementById("connection");
  const cursor = Number(badge.dataset.cursor);
  badge.dataset.opened = ""; // for unloaded.js
  const stream = useSSE({
    url: badge.dataset.stream,
    types: [...types, RING],
    lastEventId: cursor,
    identity: badge.dataset.identity,
    onUnauthorized: () => goToLogin(badge.dataset.login),
  });
  const announce = announcer();
  show(badge, stream);
  stream.onStatus(() => show(badge, stream));
  stream.onStatus(() => announce(newsOf(stream)));
  stream.on(RING, ring);
  return { stream: subject ? about(subject, stream) : stream, cursor };
}

/** The stream, of whose events only those about one thing are handed on, and its own, about none. */
function about(subject, stream) {
  const on = (type, fn) =>
    stream.on(type, (event) => {
      if (event.subject === undefined || event.subject === subject) fn(event);
    });
  return Object.assign(Object.create(stream), { on });
}

/**
 * Has the page made anew where what it shows cannot be kept true: events cannot be replayed, or
 * rights have ended while nobody was connected.
 *
 * A stream that other tabs share may have been opened before this page was made, and before rights
 * were given that the page knows of: what it told then says nothing of them.
 *
 * @param {ReturnType<typeof openStream>} opened
 * @param {string[]} needed types whose events the page shows
 * @param {() => void} renew
 */
export function whenOutdated({ stream, cursor }, needed, renew) {
  stream.on("stream.reset", renew);
  stream.on("stream.open", ({ id, data }) => {
    if (id >= cursor && !needed.every((type) => data.types.includes(type))) renew();
  });
}

/** @param {string} login */
export function goToLogin(login) {
  const next = location.pathname + location.search;
  location.assign(`${login}?${new URLSearchParams({ next })}`);
}

/** Of polls that nobody answers the word stays, and the style tells. */
function show(badge, { status, isStale }) {
  badge.dataset.status = status;
  badge.toggleAttribute("data-stale", isStale);
  badge.title = status === "polling" ? newsOf({ status, isStale }) : "";
  badge.textContent = WORDS[status];
}

function newsOf({ status, isStale }) {
  return status === "polling" && isStale ? LOST : NEWS[status];
}

/** Tells of losses that last and of their end, and of nothing that mends itself at once. */
function announcer() {
  const region = document.getElementById("connection-news");
  let timer = 0;
  let told = NEWS.live;
  return (news) => {
    clearTimeout(timer);
    if (news === told || !news) return;
    timer = setTimeout(() => {
      told = news;
      region.textContent = news;
    }, SETTLED);
  };
}
