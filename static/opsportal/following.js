/** What the parts of a page follow: each says what it wants, and one stream serves all of them. */

import { openStream, whenOutdated } from "./connection.js";

/** @typedef {import("../events/stream.js").StreamEvent} StreamEvent */

/** @type {Map<string, Array<(event: StreamEvent) => void>>} */
const followers = new Map();

/**
 * To be called before the stream is opened.
 *
 * @param {Record<string, (event: StreamEvent) => void>} handlers by the type of their events
 */
export function follow(handlers) {
  for (const [type, handle] of Object.entries(handlers)) {
    followers.set(type, [...(followers.get(type) ?? []), handle]);
  }
}

/**
 * Opens the stream. What cannot be replayed is fetched anew, with the page.
 *
 * @param {string[]} needed types whose events the page shows
 * @param {() => void} [renew] see `whenOutdated`; the page is loaded anew if it is left out
 */
export function openFollowed(needed, renew = () => location.reload()) {
  const opened = openStream([...followers.keys()]);
  for (const [type, handlers] of followers) {
    for (const handle of handlers) opened.stream.on(type, handle);
  }
  whenOutdated(opened, needed, renew);
}
