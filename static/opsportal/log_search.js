/** Finding a text in the log, in whatever case; some rows a frame, as there may be many. */

const SLICE = 6; // ms of a frame
const find = (id) => document.getElementById(id);

export class Search {
  /**
   * @param {object} options
   * @param {() => number} options.count how many items there are to look through
   * @param {() => number} options.first the first one in the window
   * @param {(item: number) => string} options.textAt what one of them shows
   * @param {(item: number) => void} options.show brings one into the window
   * @param {(item?: number) => void} options.redraw draws one anew, or all
   */
  constructor({ count, first, textAt, show, redraw }) {
    Object.assign(this, { count, first, textAt, show, redraw });
    this.wanted = "";
    this.items = []; // those with the text in them
    this.examined = 0;
    this.at = -1; // which of them one is at
    this.from = -1; // the item from which on the first one is looked for; -1 where it is no more
    this.frame = 0;
    const field = find("log-search");
    field.addEventListener("input", () => this.begin(field.value));
    field.addEventListener("keydown", (event) => this.press(event));
    find("log-next").addEventListener("click", () => this.go(1));
    find("log-previous").addEventListener("click", () => this.go(-1));
  }

  /** The item that one is at; undefined where that is none. */
  get item() {
    return this.items[this.at];
  }

  /** @returns {[number, number][]} where the text is in what a row shows */
  marksIn(text) {
    if (!this.wanted) return [];
    const shown = this.fold(text);
    const marks = [];
    for (let place = shown.indexOf(this.wanted); place >= 0; ) {
      marks.push([place, place + this.wanted.length]);
      place = shown.indexOf(this.wanted, place + this.wanted.length);
    }
    return marks;
  }

  /** Letters whose lower case is longer would move all that follow. */
  fold(text) {
    const folded = text.toLowerCase();
    return folded.length === text.length ? folded : text;
  }

  begin(text) {
    this.wanted = this.fold(text);
    this.restart();
    this.from = this.wanted ? this.first() : -1;
    this.redraw();
  }

  /** Looks through all items anew. */
  restart() {
    this.items = [];
    this.examined = 0;
    this.at = this.from = -1;
    this.extend();
    this.tell();
  }

  /** Looks through the items that came. */
  extend() {
    if (!this.wanted || this.frame || this.examined >= this.count()) return;
    this.frame = requestAnimationFrame(() => this.work());
  }

  work() {
    this.frame = 0;
    const end = performance.now() + SLICE;
    while (this.examined < this.count() && performance.now() < end) this.examine(500);
    if (this.from >= 0) this.goToFirst();
    this.tell();
    this.extend();
  }

  /** From where one is on; where there is none, the first of all. */
  goToFirst() {
    const index = this.items.findIndex((item) => item >= this.from);
    if (index < 0 && this.examined < this.count()) return;
    this.from = -1;
    this.at = Math.max(0, index) - 1;
    this.go(1);
  }

  examine(number) {
    const end = Math.min(this.count(), this.examined + number);
    for (; this.examined < end; this.examined++) {
      if (this.fold(this.textAt(this.examined)).includes(this.wanted)) this.items.push(this.examined);
    }
  }

  /** To the next match or the one before, round the ends. */
  go(step) {
    const number = this.items.length;
    if (!number) return;
    const before = this.item;
    this.from = -1;
    const from = this.at < 0 && step < 0 ? 0 : this.at;
    this.at = (from + step + number) % number;
    if (before !== undefined) this.redraw(before);
    this.show(this.item);
    this.redraw(this.item);
    this.tell();
  }

  press(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    this.go(event.shiftKey ? -1 : 1);
  }

  tell() {
    const { length } = this.items;
    const shown = length.toLocaleString("en");
    const place = this.at < 0 ? shown : `${(this.at + 1).toLocaleString("en")} of ${shown}`;
    find("log-matches").textContent = this.wanted ? place : "";
  }
}
