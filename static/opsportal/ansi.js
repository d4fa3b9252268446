/**
 * What a terminal makes of a line, as far as a page can: colours and weights (SGR, ECMA-48 8.3.117,
 * with the 256 and the true colours of ITU T.416 as xterm takes them), carriage returns that write a
 * line anew, and backspaces. All other escape sequences are dropped, and control characters are shown
 * as pictures. Pure, but for `draw`, which puts text into the page as text only.
 *
 * @typedef {object} Style
 * @property {string} [ink] of the text: `0` to `15`, or `#rrggbb`
 * @property {string} [ground] behind it, likewise
 * @property {boolean} [bold]
 * @property {boolean} [dim]
 * @property {boolean} [italic]
 * @property {boolean} [underline]
 * @property {boolean} [inverse]
 * @property {boolean} [struck]
 *
 * @typedef {{text: string, style: Style | null}} Run
 */

// CSI, OSC, other strings, other escapes; of one that the text ends within, what there is of it.
const ESCAPE =
  /(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[PX^_][^\x1b]*(?:\x1b\\|$)|\x1b[ -/]*[0-~]?/g;
const UNUSUAL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/; // a tab is text
const BELL = /\x07/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;
const C1 = /[\x80-\x9f]/g;
const OVERTYPED = /[^\b]\x08/;

const SWITCHES = {
  1: ["bold"],
  2: ["dim"],
  3: ["italic"],
  4: ["underline"],
  7: ["inverse"],
  9: ["struck"],
  21: ["underline"],
};
const ENDS = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["struck"],
  39: ["ink"],
  49: ["ground"],
};

/** Whether a text is shown otherwise than as it stands. */
export const isUnusual = (text) => UNUSUAL.test(text);

/**
 * @param {string} text a line, or what there is of it
 * @param {Style | null} [style] that it begins in
 * @returns {{runs: Run[], style: Style | null}} what it shows, and the style that it ends in
 */
export function parse(text, style = null) {
  if (!isUnusual(text)) return { runs: text ? [{ text, style }] : [], style };
  const runs = [];
  let from = 0;
  for (const match of text.matchAll(ESCAPE)) {
    push(runs, text.slice(from, match.index), style);
    from = match.index + match[0].length;
    if (match[3] === "m" && !match[2]) style = styled(style, match[1]);
  }
  push(runs, text.slice(from), style);
  return { runs, style };
}

/** @returns {string} what a line shows, without its styles */
export function plain(text) {
  if (!isUnusual(text)) return text;
  return pictured(text.replace(ESCAPE, ""));
}

/** @returns {Style | null} that a text ends in */
export function styleAfter(text, style) {
  return text.includes("\x1b") || text.includes("\x9b") ? parse(text, style).style : style;
}

/**
 * Where a line is written anew from its beginning, as a progress bar does, the last one counts.
 *
 * @param {string} text
 * @param {Style | null} style that it begins in
 * @returns {{text: string, style: Style | null}} the last writing of it
 */
export function lastWriting(text, style) {
  if (!text.includes("\r")) return { text, style };
  const end = text.replace(/\r+$/, "");
  const from = end.lastIndexOf("\r") + 1;
  return { text: text.slice(from), style: styleAfter(text.slice(0, from), style) };
}

function push(runs, text, style) {
  if (text) runs.push({ text: pictured(text), style });
}

/** Carriage returns that are left are at the end, and show nothing. */
function pictured(text) {
  if (!isUnusual(text)) return text;
  let shown = text.replace(/\r/g, "").replace(BELL, "");
  while (OVERTYPED.test(shown)) shown = shown.replace(OVERTYPED, "");
  return shown
    .replace(CONTROL, (control) => (control === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + control.charCodeAt(0))))
    .replace(C1, "\ufffd");
}

// Select Graphic Rendition

function styled(style, parameters) {
  const codes = separated(parameters).split(";").map(Number);
  let next = { ...style };
  for (let place = 0; place < codes.length; place++) {
    const code = codes[place];
    if (code === 0) next = {};
    else if (code === 38 || code === 48) {
      const { colour, length } = extended(codes.slice(place + 1));
      if (colour) next[code === 38 ? "ink" : "ground"] = colour;
      place += length;
    } else apply(next, code);
  }
  return Object.keys(next).length ? next : null;
}

/** Colons join what belongs to one code: `38:2::R:G:B`, where xterm leaves one out, or `4:3`. */
function separated(parameters) {
  if (!parameters.includes(":")) return parameters;
  return parameters
    .replace(/([34]8:2):\d*(:\d+:\d+:\d+)/g, "$1$2")
    .replace(/([34]8:[\d:]+)/g, (colour) => colour.replaceAll(":", ";"))
    .replace(/\b4:0/g, "24")
    .replace(/:\d*/g, "");
}

function apply(style, code) {
  for (const name of SWITCHES[code] ?? []) style[name] = true;
  for (const name of ENDS[code] ?? []) delete style[name];
  if (code >= 30 && code <= 37) style.ink = String(code - 30);
  if (code >= 40 && code <= 47) style.ground = String(code - 40);
  if (code >= 90 && code <= 97) style.ink = String(code - 82);
  if (code >= 100 && code <= 107) style.ground = String(code - 92);
}

/** The colour of `5;N` or `2;R;G;B`, and how many numbers tell it. */
function extended([kind, ...numbers]) {
  if (kind === 5) return { colour: isByte(numbers[0]) ? indexed(numbers[0]) : "", length: 2 };
  if (kind !== 2) return { colour: "", length: 1 };
  const parts = numbers.slice(0, 3);
  return { colour: parts.length === 3 && parts.every(isByte) ? hex(parts) : "", length: 4 };
}

const isByte = (number) => Number.isInteger(number) && number >= 0 && number <= 255;
const hex = (parts) => `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;

/** xterm's: 16 that have names, a cube of six steps, and greys. */
function indexed(number) {
  if (number < 16) return String(number);
  if (number >= 232) return hex(Array(3).fill(8 + (number - 232) * 10));
  const steps = [36, 6, 1].map((size) => Math.floor((number - 16) / size) % 6);
  return hex(steps.map((step) => (step ? 55 + step * 40 : 0)));
}

// Drawing

/**
 * Puts a line into an element.
 *
 * @param {HTMLElement} element
 * @param {Run[]} runs
 * @param {[number, number][]} [marks] parts of the text to mark: from, to
 */
export function draw(element, runs, marks = []) {
  const parts = marks.length ? runs.flatMap(cutter(marks)) : runs;
  element.replaceChildren(...parts.map(drawn));
}

/** Cuts runs where marks begin and end. */
function cutter(marks) {
  let place = 0;
  return ({ text, style }) => {
    const begin = place;
    place += text.length;
    const inside = marks.flat().filter((cut) => cut > begin && cut < place);
    const cuts = [begin, ...inside, place];
    return cuts.slice(1).map((end, index) => ({
      text: text.slice(cuts[index] - begin, end - begin),
      style,
      isMarked: marks.some(([from, to]) => cuts[index] >= from && end <= to),
    }));
  };
}

function drawn({ text, style, isMarked = false }) {
  if (!style) return isMarked ? wrapped("mark", text) : text;
  const span = wrapped("span", isMarked ? wrapped("mark", text) : text);
  for (const name of ["bold", "dim", "italic", "underline", "struck", "inverse"]) {
    if (style[name]) span.classList.add(name);
  }
  paint(span, "ink", style.ink);
  paint(span, "ground", style.ground);
  return span;
}

function wrapped(name, content) {
  const element = document.createElement(name);
  element.append(content);
  return element;
}

/** Which shade a colour has on this page's ground is for the style sheet to say. */
function paint(span, name, colour) {
  if (!colour) return;
  if (!colour.startsWith("#")) return span.classList.add(`${name}-${colour}`);
  span.classList.add(name);
  span.style.setProperty(`--${name}`, colour);
}
