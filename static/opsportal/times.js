/** Times as people read them: how long ago, with the moment itself in the tooltip. */

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
];
const INTERVAL = 15_000; // ms between looks at the clock
const absolute = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

/**
 * @param {string} moment as RFC 3339
 * @returns {string} such as `3 min ago`
 */
export function age(moment) {
  const seconds = (Date.now() - Date.parse(moment)) / 1_000;
  const unit = UNITS.find(([, length]) => seconds >= length);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]} ago` : "just now";
}

/**
 * @param {HTMLTimeElement} element
 * @param {string} moment as RFC 3339
 */
export function setTime(element, moment) {
  element.dateTime = moment;
  element.title = absolute.format(new Date(moment));
  refresh(element);
}

/** Shows the times in the page as ages, now and as they grow. */
export function keepTimes() {
  showTimes(document);
  setInterval(() => document.querySelectorAll("time[datetime]").forEach(refresh), INTERVAL);
}

/** @param {ParentNode} part of the page, as the server rendered it */
export function showTimes(part) {
  part.querySelectorAll("time[datetime]").forEach((element) => setTime(element, element.dateTime));
}

function refresh(element) {
  const text = age(element.dateTime);
  if (element.textContent !== text) element.textContent = text;
}
