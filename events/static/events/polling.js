/** The log read in pages, for as long as no stream gets through. */

import { limited, retryAfter } from "./request.js";

// All times are in milliseconds.
const INTERVAL = 5_000; // between two polls, give or take a quarter
const LONGEST = 30_000; // the same, while none is answered
const FIRST = 1_000; // within which the first one is sent
const TIMEOUT = 15_000; // until a poll counts as not answered

/**
 * @typedef {object} Page
 * @property {import("./stream.js").StreamEvent[]} events
 * @property {number} cursor how far it reaches
 * @property {boolean} more
 * @property {boolean} reset
 *
 * @typedef {object} Question
 * @property {string} address without the position
 * @property {number | null} after the position; null asks only where the log ends
 */

/** Asks again and again, and tells of each answer; it rests while paused. */
export class Polling {
  /**
   * @param {() => Question} question
   * @param {{onPage: (page: Page | null, after: number | null) => void, onFailed: () => void,
   *   onRefused: (status: 401 | 403) => void}} callbacks the page is null where nothing is new
   */
  constructor(question, { onPage, onFailed, onRefused }) {
    this.question = question;
    this.onPage = onPage;
    this.onFailed = onFailed;
    this.onRefused = onRefused;
    this.failures = 0;
    this.known = { address: "", tag: "" };
    this.timer = 0;
    this.request = new AbortController();
    this.isPaused = true;
  }

  /** It goes on where it rests, and is at work already otherwise. */
  resume() {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.pollIn(Math.random() * FIRST);
  }

  pause() {
    this.isPaused = true;
    clearTimeout(this.timer);
    this.request.abort();
  }

  /** Asks at once, unless it rests; what was asked before counts no more. */
  hurry() {
    if (this.isPaused) return;
    this.pause();
    this.isPaused = false;
    this.pollIn(0);
  }

  /** @param {number} delay */
  pollIn(delay) {
    this.timer = setTimeout(() => this.poll(), delay);
  }

  async poll() {
    const { signal } = (this.request = new AbortController());
    const { address, after } = this.question();
    const answer = await this.ask(address, after, signal);
    if (signal.aborted) return;
    if (answer.refused) this.onRefused(answer.refused);
    else if (answer.failed) this.fail(answer.delay);
    else this.succeed(answer.page, after);
  }

  /** @param {number} delay */
  fail(delay) {
    this.failures += 1;
    const usual = Math.min(LONGEST, INTERVAL * 2 ** this.failures);
    this.pollIn(delay + about(usual));
    this.onFailed();
  }

  succeed(page, after) {
    this.failures = 0;
    this.pollIn(page?.more ? 0 : about(INTERVAL));
    this.onPage(page, after);
  }

  /**
   * @param {string} address
   * @param {number | null} after
   * @param {AbortSignal} signal
   * @returns {Promise<{page?: Page | null, refused?: 401 | 403, failed?: boolean, delay?: number}>}
   */
  async ask(address, after, signal) {
    const limit = limited(signal, TIMEOUT);
    try {
      return await this.read(withPosition(address, after), limit.signal);
    } catch {
      return { failed: true, delay: 0 };
    } finally {
      limit.end();
    }
  }

  /** The answer to a question that was answered before is 304, where nothing is new. */
  async read(address, signal) {
    const headers = { Accept: "application/json" };
    if (this.known.tag && this.known.address === address) headers["If-None-Match"] = this.known.tag;
    const answer = await fetch(address, { headers, cache: "no-store", signal });
    if (answer.status === 304) return { page: null };
    if (answer.status === 401 || answer.status === 403) return { refused: answer.status };
    if (!answer.ok) return { failed: true, delay: retryAfter(answer) };
    const page = await readPage(address, answer);
    this.known = { address, tag: answer.headers.get("ETag") ?? "" };
    return { page };
  }
}

/** Where no position is known, the header of the smallest answer tells where the log ends. */
function withPosition(address, after) {
  const complete = new URL(address);
  if (after === null) complete.searchParams.set("limit", "1");
  else complete.searchParams.set("after", String(after));
  return complete.href;
}

/** @returns {Promise<Page>} */
async function readPage(address, answer) {
  if (new URL(address).searchParams.has("after")) return answer.json();
  const cursor = Number(answer.headers.get("X-Event-Cursor"));
  return { events: [], cursor, more: false, reset: false };
}

const about = (delay) => delay * (0.75 + Math.random() / 2);
