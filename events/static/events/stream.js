/**
 * The event stream of docs/protocol.md in a page; docs/client.md says how it behaves.
 *
 *     const stream = useSSE({ url: "/api/v1/events/stream", types: ["server.*"], lastEventId: 1532 });
 *     const unsubscribe = stream.on("server.updated", (event) => show(event.data));
 *
 * `EventSource` alone would not do: it gives up for good on any answer but 200, forgets its last id
 * when it is made anew, does not notice a connection that died in silence, and takes one of the
 * browser's six connections for each tab.
 *
 * @typedef {"connecting" | "live" | "reconnecting" | "polling" | "closed"} Status
 *
 * @typedef {object} StreamEvent
 * @property {number} id position in the log
 * @property {string} type such as `server.created`
 * @property {any} data as the type declares it
 * @property {string} [timestamp] of an event of the log, not of the stream's own
 * @property {string} [subject] such as `servers.server/42`
 * @property {{id: number, username: string} | null} [actor]
 *
 * @typedef {object} Options
 * @property {string} url of the stream
 * @property {string} [history] of the log in pages; the folder of the stream by default
 * @property {boolean} [enabled] false: stays closed and sends nothing
 * @property {string[]} [types] the event types wanted, also `server.*`; all by default
 * @property {string} [subject] the one thing whose events are wanted
 * @property {number | null} [lastEventId] the cursor that the page was rendered with
 * @property {string} [identity] of the login: tabs of the same one share a stream. Without it, the
 *   page has a stream of its own
 * @property {(status: 401 | 403) => void} [onUnauthorized] the reader is known no more, or may not
 *   read; the stream is closed
 *
 * @typedef {object} Subscription
 * @property {Status} status
 * @property {boolean} isConnected
 * @property {boolean} isStale whether neither the stream nor a poll gets through
 * @property {(type: string, fn: (event: StreamEvent) => void) => () => void} on calls `fn` with
 *   each event of a type, of `server.*`, or of every type for `*`; the stream's own `stream.open`
 *   and `stream.reset` only by name. Returns how to unsubscribe.
 * @property {(fn: (status: Status) => void) => () => void} onStatus calls `fn` at each change of
 *   `status` or `isStale`
 * @property {() => void} close ends the stream for good
 */

import { Reader } from "./reader.js";
import { Tabs } from "./tabs.js";

/**
 * @param {Options} options
 * @returns {Subscription}
 */
export function useSSE(options) {
  const reader = new Reader(options);
  const stream = new Stream(reader, options);
  if (options.enabled !== false) stream.start();
  return {
    get status() {
      return reader.status;
    },
    get isConnected() {
      return reader.status === "live";
    },
    get isStale() {
      return reader.isStale;
    },
    on: (type, fn) => stream.on(type, fn),
    onStatus: (fn) => reader.onStatus(fn),
    close: () => stream.close(),
  };
}

/** A page that reads, for as long as it is shown. */
class Stream {
  /**
   * @param {Reader} reader
   * @param {Options} options
   */
  constructor(reader, options) {
    this.reader = reader;
    this.onUnauthorized = options.onUnauthorized ?? (() => {});
    this.tabs = new Tabs(reader, options, (status) => this.refuse(status));
    this.isSuspended = false;
    this.unbind = new AbortController();
  }

  start() {
    this.reader.setStatus("connecting", true);
    this.followPage();
    this.tabs.enter();
  }

  close() {
    this.unbind.abort();
    this.tabs.exit();
    this.reader.setStatus("closed", true);
  }

  /** @param {401 | 403} status */
  refuse(status) {
    this.close();
    this.onUnauthorized(status);
  }

  /**
   * @param {string} type
   * @param {(event: StreamEvent) => void} fn
   */
  on(type, fn) {
    const { names } = this.reader;
    if (!type.endsWith("*") && !names.has(type)) {
      // An event addressed to this user alone may be of a type that `stream.open` does not name.
      names.add(type);
      this.tabs.listen(type);
    }
    return this.reader.on(type, fn);
  }

  followPage() {
    const { signal } = this.unbind;
    addEventListener("online", () => this.hurry(), { signal });
    addEventListener("offline", () => this.tabs.lose(), { signal });
    addEventListener("pagehide", () => this.suspend(), { signal });
    addEventListener("pageshow", () => this.resume(), { signal });
    document.addEventListener("freeze", () => this.suspend(), { signal });
    document.addEventListener("resume", () => this.resume(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.hurry(),
      { signal },
    );
  }

  /** Nobody else could hold the stream, and an open one keeps a page from being kept for later. */
  suspend() {
    if (this.isSuspended) return;
    this.isSuspended = true;
    this.tabs.exit();
  }

  resume() {
    if (!this.isSuspended) return;
    this.isSuspended = false;
    this.reader.setStatus("reconnecting", true);
    this.tabs.enter();
  }

  hurry() {
    if (!this.isSuspended) this.tabs.hurry();
  }
}
