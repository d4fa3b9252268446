/** Times as people read them: how long ago, with the moment itself in the tooltip. */

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
];
const INTERVAL = 15_000; // ms between looks at the clock
const DAY_AND_TIME = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const moment = new Intl.DateTimeFormat("en-GB", DAY_AND_TIME);
const absolute = new Intl.DateTimeFormat("en-GB", {
  ...DAY_AND_TIME,
  year: "numeric",
  second: "2-digit",
  timeZoneName: "short",
});

const clock = new Intl.DateTimeFormat("en-GB", { ...DAY_AND_TIME, second: "2-digit" });

// How an element shows its time, by its `data-as`; as an age where it has none.
const SHOWN_AS = {
  age,
  span: (time) => span((Date.now() - Date.parse(time)) / 1_000),
  left,
  moment: (time) => moment.format(new Date(time)),
  clock: (time) => clock.format(new Date(time)),
};

/**
 * @param {string} time as RFC 3339
 * @returns {string} such as `3 min ago`
 */
export function age(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1_000;
  const unit = UNITS.find(([, length]) => seconds >= length);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]} ago` : "just now";
}

/** What is past was expected, and nothing was told of it since: it says nothing any more. */
function left(time) {
  const seconds = (Date.parse(time) - Date.now()) / 1_000;
  return seconds > 0 ? `in ${span(seconds)}` : "—";
}

/**
 * @param {number} seconds
 * @returns {string} its two largest units, such as `3 h 12 min`
 */
export function span(seconds) {
  const index = UNITS.findIndex(([, length]) => seconds >= length);
  if (index < 0) return `${Math.max(0, Math.floor(seconds))} s`;
  const [unit, length] = UNITS[index];
  const text = `${Math.floor(seconds / length)} ${unit}`;
  const [smaller, size] = UNITS[index + 1] ?? ["s", 1];
  const rest = smaller === "s" ? 0 : Math.floor((seconds % length) / size);
  return rest ? `${text} ${rest} ${smaller}` : text;
}

/**
 * @param {HTMLTimeElement} element
 * @param {string} time as RFC 3339
 */
export function setTime(element, time) {
  element.dateTime = time;
  element.title = absolute.format(new Date(time));
  refresh(element);
}

/** Keeps the times in the page true, now and as they grow older. */
export function keepTimes() {
  showTimes(document);
  setInterval(() => document.querySelectorAll("time[datetime]").forEach(refresh), INTERVAL);
}

/** @param {ParentNode} part of the page, as the server rendered it */
export function showTimes(part) {
  part.querySelectorAll("time[datetime]").forEach((element) => setTime(element, element.dateTime));
}

/** An element of the page's own to be put where one is missing. */
export function timeElement(time, shownAs) {
  const element = document.createElement("time");
  element.dataset.as = shownAs;
  setTime(element, time);
  return element;
}

function refresh(element) {
  const text = SHOWN_AS[element.dataset.as ?? "age"](element.dateTime);
  if (element.textContent !== text) element.textContent = text;
}
