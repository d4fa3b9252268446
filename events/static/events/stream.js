/**
 * The event stream of docs/protocol.md in a page.
 *
 *     const stream = useSSE({ url: "/api/v1/events/stream", types: ["server.*"], lastEventId: 1532 });
 *     const unsubscribe = stream.on("server.updated", (event) => show(event.data));
 *
 * `EventSource` alone would not do: it gives up for good on any answer but 200, forgets its last id
 * when it is made anew, and does not notice a connection that died in silence. So each instance
 * lives for one connection only, and everything about trying again is decided here.
 *
 * @typedef {"connecting" | "live" | "reconnecting" | "closed"} Status
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
 * @property {boolean} [enabled] false: stays closed and sends nothing
 * @property {string[]} [types] the event types wanted, also `server.*`; all by default
 * @property {string} [subject] the one thing whose events are wanted
 * @property {number | null} [lastEventId] the cursor that the page was rendered with
 * @property {(status: 401 | 403) => void} [onUnauthorized] the reader is known no more, or may not
 *   read; the stream is closed
 *
 * @typedef {object} Subscription
 * @property {Status} status
 * @property {boolean} isConnected
 * @property {(type: string, fn: (event: StreamEvent) => void) => () => void} on calls `fn` with
 *   each event of a type, of `server.*`, or of every type for `*`; the stream's own `stream.open`
 *   and `stream.reset` only by name. Returns how to unsubscribe.
 * @property {(fn: (status: Status) => void) => () => void} onStatus calls `fn` at each change
 * @property {() => void} close ends the stream for good
 */

// All times are in milliseconds.
const CONNECT_TIMEOUT = 15_000;
const PROBE_TIMEOUT = 10_000;
const SHORTEST_BACKOFF = 1_000;
const LONGEST_BACKOFF = 30_000;
const STABLE = 10_000; // a connection that lived this long makes its loss the first again
const INVITED_BACK = [500, 3_000]; // within which to return to a server that ended on purpose
const HEARTBEATS_MISSED = 2.5; // after which a connection counts as dead

const OPEN = "stream.open";
const RESET = "stream.reset";
const CLOSING = "stream.closing";
const HEARTBEAT = "heartbeat";
const OWN_TYPES = [OPEN, RESET, CLOSING, HEARTBEAT];

/**
 * @param {Options} options
 * @returns {Subscription}
 */
export function useSSE(options) {
  const stream = new Stream(options);
  if (options.enabled !== false) stream.start();
  return {
    get status() {
      return stream.status;
    },
    get isConnected() {
      return stream.status === "live";
    },
    on: (type, fn) => stream.on(type, fn),
    onStatus: (fn) => add(stream.watchers, fn),
    close: () => stream.close(),
  };
}

/** What is read, how far, and when to connect. It has one connection at a time, or none. */
class Stream {
  /** @param {Options} options */
  constructor({ url, types = [], subject = "", lastEventId = null, onUnauthorized = () => {} }) {
    this.url = url;
    this.types = types;
    this.subject = subject;
    this.lastId = lastEventId;
    this.onUnauthorized = onUnauthorized;
    /** @type {Status} */
    this.status = "closed";
    this.watchers = new Set();
    this.subscribers = new Set();
    this.known = new Set(types.filter((type) => !type.endsWith("*")));
    this.attempts = 0;
    /** @type {Connection | null} */
    this.connection = null;
    this.timer = 0;
    this.probe = new AbortController();
    this.suspended = false;
    this.unbind = new AbortController();
  }

  start() {
    this.setStatus("connecting");
    this.followPage();
    this.connect();
  }

  close() {
    this.unbind.abort();
    this.disconnect();
    this.setStatus("closed");
  }

  /**
   * @param {string} type
   * @param {(event: StreamEvent) => void} fn
   */
  on(type, fn) {
    if (!type.endsWith("*")) {
      // An event addressed to this user alone may be of a type that `stream.open` does not name.
      this.known.add(type);
      this.connection?.listen([type]);
    }
    return add(this.subscribers, { type, fn });
  }

  // Connecting

  connect() {
    this.disconnect();
    this.connection = new Connection(this.address(), this.known, {
      onFrame: (type, id, data) => this.receive(type, id, data),
      onLost: (lived) => this.lost(lived),
    });
  }

  disconnect() {
    clearTimeout(this.timer);
    this.probe.abort();
    this.connection?.close();
    this.connection = null;
  }

  /** @param {number} delay */
  connectIn(delay) {
    this.setStatus("reconnecting");
    this.timer = setTimeout(() => this.connect(), delay);
  }

  address() {
    const address = new URL(this.url, location.href);
    if (this.types.length) address.searchParams.set("types", this.types.join(","));
    if (this.subject) address.searchParams.set("subject", this.subject);
    if (this.lastId !== null) address.searchParams.set("last_event_id", String(this.lastId));
    return address.href;
  }

  /** @param {number | null} lived how long the stream was open, null where it never was */
  async lost(lived) {
    this.disconnect();
    this.setStatus("reconnecting");
    if (lived !== null) {
      if (lived >= STABLE) this.attempts = 0;
      this.connectIn(this.backoff());
      return;
    }
    const probe = (this.probe = new AbortController());
    const answer = await ask(this.address(), probe);
    if (probe.signal.aborted) return;
    if (answer.status === 401 || answer.status === 403) this.refuse(answer.status);
    else this.connectIn(this.backoff() + answer.retryAfter);
  }

  /** Full jitter, so that the clients of a server that failed do not return as one wave. */
  backoff() {
    const ceiling = Math.min(LONGEST_BACKOFF, SHORTEST_BACKOFF * 2 ** this.attempts);
    this.attempts += 1;
    return Math.random() * ceiling;
  }

  /** @param {401 | 403} status */
  refuse(status) {
    this.close();
    this.onUnauthorized(status);
  }

  // Reading

  /**
   * @param {string} type
   * @param {number} id
   * @param {any} data
   */
  receive(type, id, data) {
    switch (type) {
      case OPEN:
        this.opened(data);
        break;
      case HEARTBEAT:
        this.lastId = Math.max(this.lastId ?? id, id);
        break;
      case RESET:
        // The one id that may be lower: the log can have gone back to an older one.
        this.lastId = data.cursor;
        this.emit({ id, type, data });
        break;
      case CLOSING:
        this.ended(data.reason);
        break;
      default:
        if (this.lastId !== null && id <= this.lastId) return;
        this.lastId = id;
        this.emit(data);
    }
  }

  /** @param {{cursor: number, heartbeat: number, types: string[]}} data */
  opened(data) {
    this.lastId ??= data.cursor;
    data.types.forEach((type) => this.known.add(type));
    this.setStatus("live");
    this.emit({ id: data.cursor, type: OPEN, data });
  }

  /** @param {string} reason */
  ended(reason) {
    this.disconnect();
    const [soonest, latest] = INVITED_BACK;
    const delay = soonest + Math.random() * (latest - soonest);
    this.connectIn(reason === "overload" ? delay + this.backoff() : delay);
  }

  /** @param {StreamEvent} event */
  emit(event) {
    for (const { type, fn } of [...this.subscribers]) {
      if (matches(type, event.type)) call(fn, event);
    }
  }

  /** @param {Status} status */
  setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    for (const fn of [...this.watchers]) call(fn, status);
  }

  // The page's own life

  followPage() {
    const { signal } = this.unbind;
    addEventListener("online", () => this.hurry(), { signal });
    addEventListener("offline", () => this.connection?.lose(), { signal });
    addEventListener("pagehide", () => this.suspend(), { signal });
    addEventListener("pageshow", () => this.resume(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.hurry(),
      { signal },
    );
  }

  /** An open connection would keep the page out of the back/forward cache. */
  suspend() {
    this.suspended = true;
    this.disconnect();
  }

  resume() {
    if (!this.suspended) return;
    this.suspended = false;
    this.setStatus("reconnecting");
    this.connect();
  }

  /** Something woke up: what waits tries at once, and what is open shows that it is alive. */
  hurry() {
    if (this.suspended) return;
    if (this.connection) {
      this.connection.check();
    } else {
      this.attempts = 0;
      this.connect();
    }
  }
}

/** One `EventSource`, from its start to its end; it tells of its end once, or never if closed. */
class Connection {
  /**
   * @param {string} address
   * @param {Iterable<string>} types
   * @param {{onFrame: (type: string, id: number, data: any) => void,
   *   onLost: (lived: number | null) => void}} callbacks
   */
  constructor(address, types, { onFrame, onLost }) {
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.openedAt = 0;
    this.heardAt = Date.now();
    this.patience = CONNECT_TIMEOUT;
    this.listening = new Set();
    this.source = new EventSource(address);
    this.source.onerror = () => this.lose();
    this.listen([...OWN_TYPES, ...types]);
    this.watchdog = 0;
    this.check();
  }

  /** @param {Iterable<string>} types each is an event name of its own to the browser */
  listen(types) {
    for (const type of types) {
      if (this.listening.has(type)) continue;
      this.listening.add(type);
      this.source.addEventListener(type, (message) => this.receive(message));
    }
  }

  /** @param {MessageEvent} message */
  receive(message) {
    this.heardAt = Date.now();
    const data = JSON.parse(message.data);
    if (message.type === OPEN) {
      this.openedAt = this.heardAt;
      this.patience = data.heartbeat * 1_000 * HEARTBEATS_MISSED;
      this.listen(data.types);
      this.check();
    }
    this.onFrame(message.type, Number(message.lastEventId), data);
  }

  /** By the wall clock, which goes on while the machine sleeps and timers stand still. */
  check() {
    clearTimeout(this.watchdog);
    const left = this.heardAt + this.patience - Date.now();
    if (left <= 0) this.lose();
    else this.watchdog = setTimeout(() => this.check(), left);
  }

  lose() {
    this.close();
    this.onLost(this.openedAt ? Date.now() - this.openedAt : null);
  }

  close() {
    clearTimeout(this.watchdog);
    this.source.close();
  }
}

/**
 * Why the stream cannot be had, which an `EventSource` does not tell.
 *
 * @param {string} address
 * @param {AbortController} probe
 * @returns {Promise<{status: number, retryAfter: number}>} status 0 where nobody answers
 */
async function ask(address, probe) {
  const request = new AbortController();
  const abandon = () => request.abort();
  const timeout = setTimeout(abandon, PROBE_TIMEOUT);
  probe.signal.addEventListener("abort", abandon);
  try {
    const headers = { Accept: "text/event-stream" };
    const answer = await fetch(address, { headers, cache: "no-store", signal: request.signal });
    const seconds = Number(answer.headers.get("Retry-After"));
    return { status: answer.status, retryAfter: seconds > 0 ? seconds * 1_000 : 0 };
  } catch {
    return { status: 0, retryAfter: 0 };
  } finally {
    clearTimeout(timeout);
    request.abort(); // where it was the stream after all, it is not to stay open beside the next
  }
}

/**
 * @param {string} wanted
 * @param {string} type
 */
function matches(wanted, type) {
  if (wanted === type) return true;
  if (OWN_TYPES.includes(type)) return false;
  return wanted === "*" || (wanted.endsWith(".*") && type.startsWith(wanted.slice(0, -1)));
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
