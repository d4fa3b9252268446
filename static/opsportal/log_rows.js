/**
 * The rows that a run's log is shown in: its lines, in the order of their numbers. A reader counts rows.
 *
 * A line that does not end goes on in the next one of its server and stream, and in its row; so a
 * progress bar stays one row. A row begins in the style that its server's stream was in.
 *
 * @typedef {object} LogLine as events and the API tell it
 * @property {number} seq
 * @property {string} server
 * @property {"stdout" | "stderr" | "system"} stream
 * @property {string} text
 * @property {string} timestamp
 * @property {boolean} [partial] whether its line goes on
 *
 * @typedef {object} Row
 * @property {string} server
 * @property {string} stream
 * @property {string} timestamp
 * @property {string} text with its escape sequences
 * @property {number} length in letters that are shown
 * @property {import("./ansi.js").Style | null} style that it begins in
 */

import { lastWriting, plain, styleAfter } from "./ansi.js";

const LONGEST = 16_384; // characters of a row; what goes on beyond them has rows of its own

export class LogRows {
  constructor() {
    /** @type {Row[]} */
    this.rows = [];
    this.next = 1; // the number of the line that is wanted
    this.styles = new Map(); // what each stream is in where its last line has ended
    this.open = new Map(); // each stream's row that goes on, by its place
  }

  /**
   * @param {LogLine} line the wanted one
   * @returns {number} the place of its row; that of an earlier one where it goes on
   */
  add(line) {
    this.next = line.seq + 1;
    const source = `${line.stream} ${line.server}`;
    const place = this.open.get(source) ?? this.begin(line, source);
    const row = this.rows[place];
    const { text, style } = lastWriting(row.text + line.text, row.style);
    Object.assign(row, { text, style, length: plain(text).length });
    if (line.partial && text.length < LONGEST) this.open.set(source, place);
    else this.end(row, source);
    return place;
  }

  begin({ server, stream, timestamp }, source) {
    const style = this.styles.get(source) ?? null;
    return this.rows.push({ server, stream, timestamp, text: "", length: 0, style }) - 1;
  }

  end(row, source) {
    this.open.delete(source);
    this.styles.set(source, styleAfter(row.text, row.style));
  }
}
