/** Where events come from: the stream, tried again and again, and polls while it cannot be had. */

import { Attempts } from "./attempts.js";
import { Connection } from "./connection.js";
import { CLOSING, HEARTBEAT, OPEN, RESET } from "./filter.js";
import { Polling } from "./polling.js";
import { ask } from "./request.js";

// All times are in milliseconds.
const INVITED_BACK = [500, 3_000]; // within which to return to a server that ended on purpose
const REOPENING = 50; // in which those who want more of the stream are waited for
const EXCUSED = 2_000; // for which a connection that is opened anew on purpose counts as there

/**
 * @typedef {object} Callbacks
 * @property {() => import("./filter.js").Filter} wanted what is to be asked for from now on
 * @property {(from: number | null, to: number, events: import("./stream.js").StreamEvent[]) => void}
 *   onAdvance tells of all events from one position to another
 * @property {(position: number, data: any) => void} onReset what follows the position is lost
 * @property {(data: any) => void} onOpen the stream is open
 * @property {(status: import("./stream.js").Status, isStale: boolean) => void} onStatus
 * @property {(status: 401 | 403) => void} onRefused the source has stopped
 */

/** It has one connection at a time, or none, and knows how far it has read, for one filter. */
export class Source {
  /**
   * @param {{url: string, history?: string}} options
   * @param {Callbacks} callbacks
   */
  constructor({ url, history }, callbacks) {
    this.url = new URL(url, location.href);
    this.history = history ? new URL(history, location.href) : historyBeside(this.url);
    this.callbacks = callbacks;
    /** @type {import("./filter.js").Filter} */
    this.filter = { types: [], subject: "" };
    this.names = new Set();
    /** @type {number | null} */
    this.position = null;
    this.reached = -1; // the highest position so far
    /** @type {import("./stream.js").Status} */
    this.status = "connecting";
    this.isStale = true;
    this.attempts = new Attempts();
    this.isStopped = false; // which whoever is told something may do meanwhile
    /** @type {Connection | null} */
    this.connection = null;
    /** What the open stream said of itself; null while it is not open. */
    this.open = null;
    /** @type {Polling | null} */
    this.polling = null;
    this.probe = new AbortController();
    this.timer = 0;
    this.excuse = 0;
    this.trial = 0;
  }

  /**
   * Begins, with what the page shows by now.
   *
   * @param {import("./stream.js").Status} status
   * @param {number} delay
   */
  start(status, delay) {
    this.setStatus(status, status !== "live");
    if (status === "polling") this.poll();
    if (status === "live") this.excuseFor(delay + EXCUSED);
    if (delay) this.connectIn(delay);
    else this.connect();
  }

  stop() {
    this.isStopped = true;
    this.polling?.pause();
    this.polling = null;
    this.disconnect();
    clearTimeout(this.excuse);
  }

  /**
   * Asks for what is wanted by now, and for all of it after a position, were it read before.
   *
   * @param {number | null} position
   */
  aim(position) {
    this.filter = this.callbacks.wanted();
    if (this.position === null || (position !== null && position < this.position)) {
      this.position = position;
    }
    if (this.connection) this.reopen();
    this.polling?.hurry();
  }

  /** @param {Iterable<string>} names of events to be listened for */
  listen(names) {
    for (const name of names) this.names.add(name);
    this.connection?.listen(names);
  }

  /** What is open is looked at, as timers of a tab that nobody sees are slow. */
  check() {
    this.connection?.check();
  }

  /** Something woke up: what waits tries at once, too. */
  hurry() {
    if (this.connection) this.check();
    else this.connect();
    this.polling?.hurry();
  }

  /** The network is gone: what is open is open no more, whatever it seems. */
  lose() {
    this.connection?.lose();
  }

  // Connecting

  connect() {
    this.disconnect();
    if (this.isStopped) return;
    this.filter = this.callbacks.wanted();
    this.connection = new Connection(this.address(), this.names, {
      onFrame: (type, id, data) => this.receive(type, id, data),
      onLost: (lived) => this.lost(lived),
    });
  }

  disconnect() {
    clearTimeout(this.timer);
    clearTimeout(this.trial);
    this.probe.abort();
    this.connection?.close();
    this.connection = null;
    this.open = null;
    this.polling?.resume();
  }

  /** @param {number} delay */
  connectIn(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  reopen() {
    this.disconnect();
    this.excuseFor(EXCUSED);
    this.connectIn(REOPENING);
  }

  address() {
    const address = this.question(this.url);
    if (this.position !== null) address.searchParams.set("last_event_id", String(this.position));
    return address.href;
  }

  /** @param {URL} url of what takes the stream's filter */
  question(url) {
    const address = new URL(url);
    const { types, subject } = this.filter;
    if (types.length) address.searchParams.set("types", types.join(","));
    if (subject) address.searchParams.set("subject", subject);
    return address;
  }

  /** @param {number | null} lived for how long the stream was open, null where it never was */
  async lost(lived) {
    this.disconnect();
    this.attempts.note(lived ?? 0);
    if (this.attempts.areFutile) this.poll();
    else this.interrupt();
    if (lived === null) await this.findOut();
    else this.connectIn(this.attempts.delay());
  }

  async findOut() {
    const { signal } = (this.probe = new AbortController());
    const { status, delay } = await ask(this.address(), signal);
    if (signal.aborted || this.isStopped) return;
    if (status === 401 || status === 403) this.refuse(status);
    else this.connectIn(this.attempts.delay() + delay);
  }

  /** @param {401 | 403} status */
  refuse(status) {
    this.stop();
    this.callbacks.onRefused(status);
  }

  // Reading

  /**
   * @param {string} type
   * @param {number} id
   * @param {any} data
   */
  receive(type, id, data) {
    if (type === OPEN) this.opened(data);
    else if (type === HEARTBEAT) this.advance(this.position, id, []);
    else if (type === RESET) this.reset(data);
    else if (type === CLOSING) this.ended(data.reason);
    else this.advance(this.position, id, [data]);
  }

  /** @param {{cursor: number, heartbeat: number, types: string[]}} data */
  opened(data) {
    this.open = data;
    this.position ??= data.cursor;
    this.listen(data.types);
    if (this.polling) this.tryOut();
    else this.setStatus("live", false);
    this.callbacks.onOpen(data);
  }

  /** What came before the position was told already, or belongs to a question that is old. */
  advance(from, to, events) {
    const { position } = this;
    if (position !== null && (from > position || to <= position)) return;
    const news = position === null ? events : events.filter(({ id }) => id > position);
    this.position = to;
    this.reached = Math.max(this.reached, to);
    this.callbacks.onAdvance(position, to, news);
  }

  /** Who had got farther, before the stream went back for somebody else, has missed nothing. */
  reset(data) {
    const { position } = this;
    const goesOn = data.reason === "retention" && this.reached > position;
    this.position = goesOn ? this.reached : data.cursor;
    this.reached = this.position;
    this.callbacks.onReset(position, data);
    if (goesOn && this.connection) this.reopen();
  }

  /** @param {string} reason */
  ended(reason) {
    this.disconnect();
    if (reason === "lifetime") this.excuseFor(INVITED_BACK[1] + EXCUSED);
    else this.interrupt();
    const [soonest, latest] = INVITED_BACK;
    const delay = soonest + Math.random() * (latest - soonest);
    this.connectIn(reason === "overload" ? delay + this.attempts.delay() : delay);
  }

  // Polling

  poll() {
    if (this.polling || this.isStopped) return;
    this.polling = new Polling(
      () => ({ address: this.question(this.history).href, after: this.position }),
      {
        onPage: (page, after) => this.answered(page, after),
        onFailed: () => this.setStatus("polling", true),
        onRefused: (status) => this.refuse(status),
      },
    );
    this.setStatus("polling", true);
    this.polling.resume();
  }

  /**
   * @param {import("./polling.js").Page | null} page
   * @param {number | null} after
   */
  answered(page, after) {
    const isBack = this.isStale;
    this.setStatus("polling", false);
    if (page?.reset) this.reset(resetOf(page.cursor, after));
    else if (page) this.advance(after, page.cursor, page.events);
    if (isBack && !this.connection) this.connect();
  }

  /** A stream that was refused or flapped must last before it is relied on again. */
  tryOut() {
    this.polling.pause();
    this.setStatus("polling", false);
    this.trial = setTimeout(() => this.trust(), this.attempts.trial);
  }

  trust() {
    this.polling = null;
    this.attempts.trust();
    this.setStatus("live", false);
  }

  // What is told of it

  interrupt() {
    if (!this.polling) this.setStatus("reconnecting", true);
  }

  /** @param {number} delay for which nobody needs to know that the stream is not open */
  excuseFor(delay) {
    clearTimeout(this.excuse);
    if (this.status === "live") this.excuse = setTimeout(() => this.interrupt(), delay);
  }

  /**
   * @param {import("./stream.js").Status} status
   * @param {boolean} isStale
   */
  setStatus(status, isStale) {
    clearTimeout(this.excuse);
    if (status === this.status && isStale === this.isStale) return;
    this.status = status;
    this.isStale = isStale;
    this.callbacks.onStatus(status, isStale);
  }
}

/** `events/stream` lies in the folder that is the log's history. */
function historyBeside(url) {
  return new URL(url.pathname.replace(/stream\/?$/, ""), url);
}

/** As `stream.reset` says it, which a page of the log does not: which of the two it is. */
function resetOf(cursor, after) {
  return { reason: after > cursor ? "unknown_cursor" : "retention", cursor };
}
