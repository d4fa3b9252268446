/** The tab that holds the stream of all: what it asks for, and what it owes the others. */

import { Backlog } from "./backlog.js";
import { covers, union, wants } from "./filter.js";
import { Source } from "./source.js";

const SETTLING = 100; // ms in which a new leader hears what the others want

/**
 * @typedef {object} Member
 * @property {string} tab
 * @property {import("./filter.js").Filter} wish
 * @property {string[]} names of events that it listens for
 * @property {number | null} position
 */
export class Leader {
  /**
   * @param {Member} self
   * @param {import("./reader.js").Reader} reader of the same tab
   * @param {(message: object) => void} send to the other tabs
   * @param {(status: 401 | 403) => void} onRefused
   * @param {{url: string, history?: string}} options
   */
  constructor(self, reader, send, onRefused, options) {
    this.term = `${self.tab} ${Math.random()}`;
    this.self = self;
    this.reader = reader;
    this.send = send;
    this.onRefused = onRefused;
    this.wishes = new Map();
    this.source = new Source(options, {
      wanted: () => union([...this.wishes.values()]),
      onAdvance: (from, to, events) => this.advance(from, to, events),
      onReset: (position, data) => this.reset(position, data),
      onOpen: (data) => this.opened(data),
      onStatus: (status, isStale) => this.setStatus(status, isStale),
      onRefused: (status) => this.refuse(status),
    });
    this.backlog = new Backlog(self.position);
  }

  /** @param {boolean} isSuccessor others are there, and will say what they want */
  start(isSuccessor) {
    const { reader, source } = this;
    this.note(this.self);
    source.aim(reader.position);
    this.tell({ kind: "lead" });
    source.start(reader.status, isSuccessor ? SETTLING : 0);
  }

  stop() {
    this.source.stop();
  }

  /** @param {any} message of another tab */
  hear(message) {
    if (message.kind === "join") this.admit(message);
    else if (message.kind === "leave") this.wishes.delete(message.tab);
    else if (message.kind === "ping") this.answer(message.isUrgent);
  }

  /** @param {boolean} isUrgent somebody looks at the tab that asks */
  answer(isUrgent) {
    this.tell({ kind: "pong" });
    if (isUrgent) this.source.hurry();
    else this.source.check();
  }

  /**
   * Serves a tab from now on: what it has missed from what is kept, or by reading it again.
   *
   * @param {Member} member
   */
  admit(member) {
    const isServed = this.serves(member);
    this.note(member);
    if (!isServed) this.widen(member.position);
    const from = member.position ?? this.source.position;
    const events = isServed && from !== null ? this.backlog.after(from, member.wish) : [];
    const { open, status, isStale, position: to } = this.source;
    this.tell({ kind: "welcome", tab: member.tab, from, to, events, open, status, isStale });
  }

  note({ tab, wish, names }) {
    this.wishes.set(tab, wish);
    this.source.listen(names);
  }

  /** @param {Member} member */
  serves({ wish, names, position }) {
    const { backlog, source } = this;
    const isHeard = names.every((name) => source.names.has(name));
    if (!isHeard || !covers(source.filter, wish)) return false;
    if (source.open && !mayHave(source.open.types, wish)) return false;
    return position === null || backlog.reaches(position);
  }

  /** @param {number | null} position */
  widen(position) {
    this.source.aim(position);
    this.backlog = new Backlog(this.source.position);
  }

  // What the source tells

  advance(from, to, events) {
    this.backlog.add(from, events);
    if (this.wishes.size > 1) this.tell({ kind: "advance", from, to, events });
    this.reader.follow(from, to, events);
  }

  reset(position, data) {
    this.backlog = new Backlog(this.source.position);
    this.tell({ kind: "reset", position, data });
    this.reader.reset(position, data);
  }

  opened(data) {
    this.tell({ kind: "open", data });
    this.reader.opened(data);
  }

  setStatus(status, isStale) {
    this.tell({ kind: "status", status, isStale });
    this.reader.setStatus(status, isStale);
  }

  refuse(status) {
    this.tell({ kind: "refused", status });
    this.onRefused(status);
  }

  /** @param {object} message */
  tell(message) {
    this.send({ ...message, leader: this.term });
  }
}

/**
 * Whether the stream may have what is wanted. Rights that were given after it was opened are not in
 * what it told: then it is opened anew.
 *
 * @param {string[]} types
 * @param {import("./filter.js").Filter} wish
 */
function mayHave(types, wish) {
  const isThere = (pattern) => types.some((type) => wants({ types: [pattern], subject: "" }, type));
  const wildcards = wish.types.filter((pattern) => pattern.endsWith("*"));
  return wildcards.every(isThere) && (!wish.types.length || wish.types.some(isThere));
}
