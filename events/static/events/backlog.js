/** The last events that the shared stream brought, for tabs that join it or fell behind. */

import { admits } from "./filter.js";

const MOST = 1_000; // events
const LARGEST = 4_000_000; // characters of all their JSON

/** Complete for the stream's filter from its beginning, a position, to the stream's position. */
export class Backlog {
  /** @param {number | null} from null where the stream does not know its position yet */
  constructor(from) {
    this.from = from;
    /** @type {{event: import("./stream.js").StreamEvent, size: number}[]} */
    this.entries = [];
    this.size = 0;
  }

  /**
   * @param {number | null} from
   * @param {import("./stream.js").StreamEvent[]} events that follow those before
   */
  add(from, events) {
    this.from ??= from;
    for (const event of events) {
      const size = JSON.stringify(event).length;
      this.entries.push({ event, size });
      this.size += size;
    }
    while (this.entries.length > MOST || this.size > LARGEST) this.forgetOldest();
  }

  forgetOldest() {
    const { event, size } = this.entries.shift();
    this.from = event.id;
    this.size -= size;
  }

  /** @param {number} position whether nothing after it is missing here */
  reaches(position) {
    return this.from !== null && position >= this.from;
  }

  /**
   * @param {number} position
   * @param {import("./filter.js").Filter} wish
   */
  after(position, wish) {
    const events = this.entries.map(({ event }) => event);
    return events.filter((event) => event.id > position && admits(wish, event));
  }
}
