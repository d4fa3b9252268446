/** What one page reads of the stream: how far it has got, and who in the page is told of what. */

import { OPEN, RESET, admits, matches, wants } from "./filter.js";

const LAG = 15_000; // ms for which a page may know of a later position than its stream

/**
 * Its position is that up to which it has every event that it wants. However events come, from its
 * own stream, another tab's or a poll, again or too late, each is told once, in order, or not yet.
 */
export class Reader {
  /** @param {Pick<import("./stream.js").Options, "types" | "subject" | "lastEventId">} options */
  constructor({ types = [], subject = "", lastEventId = null }) {
    /** @type {import("./filter.js").Filter} */
    this.wish = { types, subject };
    this.position = lastEventId;
    this.aheadSince = 0;
    // The browser hears of no event whose name it was not told.
    this.names = new Set(types.filter((type) => !type.endsWith("*")));
    /** @type {import("./stream.js").Status} */
    this.status = "closed";
    this.isStale = true;
    this.subscribers = new Set();
    this.watchers = new Set();
  }

  /**
   * @param {string} type
   * @param {(event: import("./stream.js").StreamEvent) => void} fn
   */
  on(type, fn) {
    return add(this.subscribers, { type, fn });
  }

  /** @param {(status: import("./stream.js").Status) => void} fn */
  onStatus(fn) {
    return add(this.watchers, fn);
  }

  /**
   * Takes in all events from one position to another, among which may be some that it does not want.
   *
   * @param {number | null} from
   * @param {number | null} to
   * @param {import("./stream.js").StreamEvent[]} events
   * @returns {boolean} false where something before them is missing, and nothing was taken
   */
  advance(from, to, events) {
    this.position ??= from;
    if (this.position === null) return true;
    if (from > this.position) return false;
    for (const event of events) {
      if (this.status === "closed") return true;
      if (event.id > this.position) this.take(event);
    }
    this.position = Math.max(this.position, to);
    return true;
  }

  /**
   * As `advance`, of what a shared stream brings just now. A position that it does not come to is one
   * of another log, of before a restored backup, which whoever opened it at another was not told.
   */
  follow(from, to, events) {
    this.compare(to);
    return this.advance(from, to, events);
  }

  compare(to) {
    if (this.position === null || to >= this.position) this.aheadSince = 0;
    else this.aheadSince ||= Date.now();
    if (!this.aheadSince || Date.now() - this.aheadSince < LAG) return;
    this.aheadSince = 0;
    this.reset(this.position, { reason: "unknown_cursor", cursor: to });
  }

  /** @param {import("./stream.js").StreamEvent} event */
  take(event) {
    this.position = event.id;
    if (admits(this.wish, event)) this.emit(event);
  }

  /**
   * What follows a position cannot be told any more.
   *
   * @param {number} position who is beyond it has missed nothing, unless the log is another one
   * @param {{reason: string, cursor: number}} data the cursor is then lower
   */
  reset(position, data) {
    if (data.reason === "retention" && this.position > position) return;
    this.position = data.cursor;
    this.emit({ id: data.cursor, type: RESET, data });
  }

  /** @param {{cursor: number, heartbeat: number, types: string[]}} data of the shared stream */
  opened(data) {
    this.position ??= data.cursor;
    const types = data.types.filter((type) => wants(this.wish, type));
    this.emit({ id: data.cursor, type: OPEN, data: { ...data, types } });
  }

  /** @param {import("./stream.js").StreamEvent} event */
  emit(event) {
    for (const { type, fn } of [...this.subscribers]) {
      if (matches(type, event.type)) call(fn, event);
    }
  }

  /**
   * @param {import("./stream.js").Status} status
   * @param {boolean} isStale
   */
  setStatus(status, isStale) {
    if (status === this.status && isStale === this.isStale) return;
    this.status = status;
    this.isStale = isStale;
    for (const fn of [...this.watchers]) call(fn, status);
  }
}

/**
 * A subscriber that fails does not keep the event from the others.
 *
 * @template T
 * @param {(argument: T) => void} fn
 * @param {T} argument
 */
function call(fn, argument) {
  try {
    fn(argument);
  } catch (error) {
    reportError(error);
  }
}

/**
 * @template T
 * @param {Set<T>} members
 * @param {T} member
 * @returns {() => void} how to take it out again
 */
function add(members, member) {
  members.add(member);
  return () => void members.delete(member);
}
