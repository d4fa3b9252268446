/**
 * One stream for all tabs of a login, as a browser has few connections to a server.
 *
 * The tab that holds a lock has the stream and tells the others by a channel; when it goes, in
 * whatever way, the lock passes on. What is told is told with the positions it lies between, so a
 * tab knows by itself whether it has missed something. docs/client.md says who says what.
 */

import { Leader } from "./leader.js";

const PROTOCOL = 1; // raised where tabs of before a deployment would not understand those of after it

// All times are in milliseconds.
const HEARTBEAT = 30_000; // as long as the stream has not told its own
const HEARTBEATS_MISSED = 1.25; // after which a leader is asked whether it is there
const WELCOME = 2_000; // for which a newcomer waits until it asks the same
const ANSWER = 3_000; // within which a leader answers, or another takes over
const SPREAD = 1_000; // so that not all take over at once

/** This tab's place among all: it leads, it follows, or it is the only one. */
export class Tabs {
  /**
   * @param {import("./reader.js").Reader} reader
   * @param {import("./stream.js").Options} options
   * @param {(status: 401 | 403) => void} onRefused
   */
  constructor(reader, options, onRefused) {
    this.reader = reader;
    this.options = options;
    this.onRefused = onRefused;
    this.tab = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    const { href } = new URL(options.url, location.href);
    this.name = `${PROTOCOL} ${href} ${options.identity}`;
    /** @type {Leader | null} this tab as the leader */
    this.leader = null;
    this.followed = ""; // the leader by which this tab is served
    /** @type {BroadcastChannel | null} */
    this.channel = null;
    this.candidacy = new AbortController();
    this.isJoining = false;
    this.patience = HEARTBEAT * HEARTBEATS_MISSED;
    this.watchdog = 0;
  }

  enter() {
    if (!this.options.identity || !canShare()) {
      this.lead(false);
      return;
    }
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => this.hear(data);
    this.joinSoon();
    this.stand(false);
  }

  exit() {
    clearTimeout(this.watchdog);
    this.leader?.stop();
    this.leader = null;
    this.followed = "";
    this.send({ kind: "leave", tab: this.tab });
    this.channel?.close();
    this.channel = null;
    this.candidacy.abort();
  }

  /** Something woke up, or someone looks: the connection shows that it is alive. */
  hurry() {
    if (this.leader) this.leader.source.hurry();
    else if (this.channel) this.doubt(true);
  }

  lose() {
    this.leader?.source.lose();
  }

  /** @param {string} name of an event that the page wants to hear of, too */
  listen(name) {
    if (this.leader) this.leader.source.listen([name]);
    else this.joinSoon();
  }

  // Election

  /** @param {boolean} isForced takes the lead from a tab that does not answer */
  async stand(isForced) {
    const candidacy = (this.candidacy = new AbortController());
    const { signal } = candidacy;
    const terms = isForced ? { steal: true } : { signal };
    try {
      await navigator.locks.request(this.name, terms, () => this.reign(signal));
    } catch (error) {
      if (signal.aborted) return;
      if (error.name === "AbortError") this.stepDown();
      else this.lead(false); // locks are forbidden here
    }
  }

  /** @param {AbortSignal} signal which ends it */
  reign(signal) {
    if (signal.aborted) return null;
    this.lead(this.followed !== "");
    return new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  /** @param {boolean} isSuccessor */
  lead(isSuccessor) {
    clearTimeout(this.watchdog);
    this.followed = "";
    const send = (message) => this.send(message);
    const refuse = (status) => this.refuse(status);
    this.leader = new Leader(this.member(), this.reader, send, refuse, this.options);
    this.leader.start(isSuccessor);
  }

  /** Another tab took over, as this one had not answered. */
  stepDown() {
    this.leader?.stop();
    this.leader = null;
    this.join();
    this.stand(false);
  }

  // Following

  /** A page names one thing after the other that it wants to hear of. */
  joinSoon() {
    if (this.isJoining) return;
    this.isJoining = true;
    queueMicrotask(() => {
      this.isJoining = false;
      if (this.channel && !this.leader) this.join();
    });
  }

  join() {
    this.followed = "";
    this.send({ kind: "join", ...this.member() });
    this.waitFor(WELCOME);
  }

  member() {
    const { wish, names, position } = this.reader;
    return { tab: this.tab, wish, names: [...names], position };
  }

  /** @param {any} message */
  hear(message) {
    if (this.leader) this.leader.hear(message);
    else if (message.kind === "lead") this.join();
    else if (message.kind === "welcome" && message.tab === this.tab) this.follow(message);
    else if (message.leader === this.followed) this.take(message);
    else if (message.kind === "pong") this.join();
  }

  follow({ leader, from, to, events, open, status, isStale }) {
    this.followed = leader;
    this.reader.setStatus(status, isStale);
    if (open) this.opened(open);
    if (this.reader.advance(from, to, events)) this.waitFor(this.patience);
    else this.join();
  }

  take({ kind, from, to, events, position, data, status, isStale }) {
    const { reader } = this;
    this.waitFor(this.patience);
    if (kind === "advance" && !reader.follow(from, to, events)) this.join();
    else if (kind === "reset") reader.reset(position, data);
    else if (kind === "open") this.opened(data);
    else if (kind === "status") reader.setStatus(status, isStale);
    else if (kind === "refused") this.refuse(status);
  }

  opened(data) {
    this.patience = data.heartbeat * 1_000 * HEARTBEATS_MISSED;
    this.reader.opened(data);
  }

  /** @param {401 | 403} status */
  refuse(status) {
    this.exit();
    this.onRefused(status);
  }

  // A leader that is silent

  waitFor(patience) {
    clearTimeout(this.watchdog);
    const delay = patience + Math.random() * SPREAD;
    this.watchdog = setTimeout(() => this.doubt(false), delay);
  }

  /** @param {boolean} isUrgent */
  doubt(isUrgent) {
    clearTimeout(this.watchdog);
    this.send({ kind: "ping", isUrgent });
    const delay = ANSWER + Math.random() * SPREAD;
    this.watchdog = setTimeout(() => this.takeOver(), delay);
  }

  takeOver() {
    this.candidacy.abort();
    this.stand(true);
  }

  /** @param {object} message */
  send(message) {
    this.channel?.postMessage(message);
  }
}

/** Locks are for secure origins only, and not for old browsers. */
function canShare() {
  return "BroadcastChannel" in globalThis && "locks" in navigator;
}
