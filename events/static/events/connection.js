/** One connection to the stream, from its start to its end. */

import { OPEN, OWN_TYPES } from "./filter.js";

// All times are in milliseconds.
const CONNECT_TIMEOUT = 15_000;
const HEARTBEATS_MISSED = 2.5; // after which a connection counts as dead

/** One `EventSource`; it tells of its end once, or never if closed. */
export class Connection {
  /**
   * @param {string} address
   * @param {Iterable<string>} names
   * @param {{onFrame: (type: string, id: number, data: any) => void,
   *   onLost: (lived: number | null) => void}} callbacks `lived` is for how long it was open, null
   *   where it never was
   */
  constructor(address, names, { onFrame, onLost }) {
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.openedAt = 0;
    this.heardAt = Date.now();
    this.patience = CONNECT_TIMEOUT;
    this.listening = new Set();
    this.source = new EventSource(address);
    this.source.onerror = () => this.lose();
    this.listen([...OWN_TYPES, ...names]);
    this.watchdog = 0;
    this.check();
  }

  /** @param {Iterable<string>} names each is an event name of its own to the browser */
  listen(names) {
    for (const name of names) {
      if (this.listening.has(name)) continue;
      this.listening.add(name);
      this.source.addEventListener(name, (message) => this.receive(message));
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
