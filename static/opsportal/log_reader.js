/**
 * The lines of a run's log, each once and in order: those of before the page from the API, those after
 * from the stream, joined by their numbers.
 */

const PAGE = 2_000; // lines in one answer, which is bounded in bytes, too
const AGAIN = 3_000; // ms after which a request that failed is made again
const SLICE = 8; // ms of a frame for adding lines
const PAUSE = 100; // ms between two looks of a reader, while there is more to add

/** @typedef {import("./log_rows.js").LogLine} LogLine */

export class LogReader {
  /**
   * @param {object} options
   * @param {string} options.source the API's path of the log
   * @param {(line: LogLine) => void} options.add takes the next line
   * @param {() => void} options.added is called after some, a few times a second at most where many come
   */
  constructor({ source, add, added }) {
    this.source = source;
    this.add = add;
    this.added = added;
    this.next = 1; // the number of the line that is wanted
    /** @type {LogLine[][]} */
    this.waiting = []; // what is there, in order, and not added yet
    /** @type {LogLine[][]} */
    this.held = []; // what the stream brought while earlier lines are fetched
    this.isFetching = false;
    this.isScheduled = false;
    this.shownAt = 0;
    this.until = 0; // the last line that is known to be there
  }

  /** Has the lines up to this one fetched, where they have not come. */
  reach(seq) {
    this.until = Math.max(this.until, seq);
    if (this.wanted() <= this.until && !this.isFetching) this.fetch();
  }

  /** @param {LogLine[]} lines of an event: what came already is dropped, what is missing fetched. */
  take(lines) {
    if (!lines.length) return;
    if (this.isFetching || lines[0].seq > this.wanted()) {
      this.held.push(lines);
      this.reach(lines[0].seq - 1);
    } else this.queue(lines);
  }

  /** The number of the line after all that wait. */
  wanted() {
    const last = this.waiting.at(-1)?.at(-1);
    return last ? last.seq + 1 : this.next;
  }

  queue(lines) {
    const wanted = this.wanted();
    const fresh = lines[0].seq < wanted ? lines.filter(({ seq }) => seq >= wanted) : lines;
    if (!fresh.length) return;
    this.waiting.push(fresh);
    this.schedule();
  }

  async fetch() {
    this.isFetching = true;
    while (this.wanted() <= this.until) {
      const page = await this.page(this.wanted() - 1);
      if (page.lines.length) this.queue(page.lines);
      else this.skip(); // they are kept no more
    }
    this.isFetching = false;
    for (const lines of this.held.splice(0)) this.take(lines);
  }

  skip() {
    this.next = Math.max(this.next, this.until + 1);
  }

  /** The answer, however long it takes; and the page is left where this user may see it no more. */
  async page(after) {
    for (;;) {
      const response = await fetch(this.address(after), { cache: "no-store" }).catch(() => null);
      if (response?.ok) return response.json();
      if (response && [401, 403, 404].includes(response.status)) location.reload();
      await new Promise((resolve) => setTimeout(resolve, AGAIN * (1 + Math.random())));
    }
  }

  address(after) {
    return `${this.source}?${new URLSearchParams({ after, limit: PAGE })}`;
  }

  // Adding, for a part of each frame

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => this.work());
  }

  work() {
    this.isScheduled = false;
    const begin = performance.now();
    while (this.waiting.length && performance.now() < begin + SLICE) this.addSome();
    if (!this.waiting.length || begin > this.shownAt + PAUSE) {
      this.shownAt = begin;
      this.added();
    }
    if (this.waiting.length) this.schedule();
  }

  addSome() {
    const lines = this.waiting[0].splice(0, 100);
    if (!this.waiting[0].length) this.waiting.shift();
    for (const line of lines) this.add(line);
    this.next = lines.at(-1).seq + 1;
  }
}
