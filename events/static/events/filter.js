/**
 * Which events are wanted, by one tab or by all of them together. Pure.
 *
 * @typedef {object} Filter
 * @property {string[]} types event types, also `server.*`; none stands for all
 * @property {string} subject the one thing whose events are wanted; empty stands for all
 */

export const OPEN = "stream.open";
export const RESET = "stream.reset";
export const CLOSING = "stream.closing";
export const HEARTBEAT = "heartbeat";
export const OWN_TYPES = [OPEN, RESET, CLOSING, HEARTBEAT];

const LONGEST = 2_000; // characters of `types` that the server takes

/**
 * @param {string} pattern a type, `server.*`, or `*` for all but the stream's own
 * @param {string} type
 */
export function matches(pattern, type) {
  if (pattern === type) return true;
  if (OWN_TYPES.includes(type)) return false;
  return pattern === "*" || (pattern.endsWith(".*") && type.startsWith(pattern.slice(0, -1)));
}

/**
 * @param {Filter} filter
 * @param {string} type
 */
export function wants({ types }, type) {
  return !types.length || types.some((pattern) => matches(pattern, type));
}

/**
 * @param {Filter} filter
 * @param {import("./stream.js").StreamEvent} event
 */
export function admits(filter, event) {
  return wants(filter, event.type) && (!filter.subject || filter.subject === event.subject);
}

/**
 * Whether whatever the one asks for is in what the other asks for.
 *
 * @param {Filter} filter
 * @param {Filter} wish
 */
export function covers(filter, wish) {
  if (filter.subject && filter.subject !== wish.subject) return false;
  if (!filter.types.length) return true;
  return wish.types.length > 0 && wish.types.every((type) => wants(filter, type));
}

/**
 * The least that one stream can ask for so that all are served: a subject only where all want the
 * same one, and everything where the types would be too long to name.
 *
 * @param {Filter[]} wishes at least one
 * @returns {Filter}
 */
export function union(wishes) {
  const subjects = new Set(wishes.map(({ subject }) => subject));
  const subject = subjects.size === 1 ? wishes[0].subject : "";
  if (wishes.some(({ types }) => !types.length)) return { types: [], subject };
  const all = [...new Set(wishes.flatMap(({ types }) => types))];
  const types = all.filter((type) => !all.some((other) => other !== type && matches(other, type)));
  return { types: types.join().length > LONGEST ? [] : types.sort(), subject };
}
