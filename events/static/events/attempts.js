/** How often to try, for how long to wait, and when to rely on what is had. Without any clock. */

// All times are in milliseconds.
const SHORTEST = 1_000;
const LONGEST = 30_000;
const STABLE = 10_000; // a connection that lived this long makes its loss the first again
const FUTILE = 3; // failures in a row
const SHORTEST_TRIAL = 3_000;
const LONGEST_TRIAL = 60_000;

/** The attempts of one source, and the connections that came of them. */
export class Attempts {
  constructor() {
    this.failures = 0;
    /** For how long a stream must be open before polls are given up for it. */
    this.trial = SHORTEST_TRIAL;
  }

  /** Whether something else should be done beside trying again. */
  get areFutile() {
    return this.failures >= FUTILE;
  }

  /**
   * A connection was lost, or there was none: the trial of one that does not last gets longer.
   *
   * @param {number} lived for how long it was open; 0 where it never was
   */
  note(lived) {
    if (lived >= Math.max(STABLE, 2 * this.trial)) {
      this.failures = 0;
      this.trial = SHORTEST_TRIAL;
      return;
    }
    this.failures += 1;
    if (lived && this.areFutile) this.trial = Math.min(LONGEST_TRIAL, 2 * this.trial);
  }

  /** It passed its trial; until it is stable, its loss is as bad as before. */
  trust() {
    this.failures = FUTILE - 1;
  }

  /** Full jitter, so that the clients of a server that failed do not return as one wave. */
  delay() {
    const ceiling = SHORTEST * 2 ** Math.max(0, this.failures - 1);
    return Math.random() * Math.min(LONGEST, ceiling);
  }
}
