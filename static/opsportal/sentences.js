/** Events in words, by the table that the server tells them by (sentences.py). */

const { sentences, pages } = JSON.parse(document.getElementById("telling").textContent);
const TOKEN = /\[|\]|\{(\w+)(?:\|([^}]*))?\}/g;

/** @typedef {import("../events/stream.js").StreamEvent} StreamEvent */

/**
 * Text as text, whatever markup it holds.
 *
 * @param {StreamEvent} event
 * @param {boolean} [links] whether what it is about leads to its page
 * @returns {{tone: string, words: Node[]}}
 */
export function tell(event, links = true) {
  const found = sentenceOf(event);
  if (!found) return { tone: "", words: [element("code", event.type)] };
  const page = links ? pageOf(event.subject) : "";
  const words = parts(found, event.data).map(([text, isLink]) =>
    isLink && page ? Object.assign(element("a", text), { href: page }) : document.createTextNode(text),
  );
  return { tone: found.tone, words };
}

function sentenceOf({ type, data }) {
  return sentences[type]?.find(({ when }) => {
    const [field, value] = when.split("=");
    return !field || (field in data && told(data[field]) === value);
  });
}

/** The sentence, cut where a link begins or ends. */
function parts({ text }, data) {
  const found = [["", false]];
  let end = 0;
  for (const token of text.matchAll(TOKEN)) {
    found.at(-1)[0] += text.slice(end, token.index);
    end = token.index + token[0].length;
    if (token[1]) {
      const value = told(data[token[1]]);
      if (value) found.at(-1)[0] += (token[2] ?? "") + value;
    } else {
      found.push(["", token[0] === "["]);
    }
  }
  found.at(-1)[0] += text.slice(end);
  return found;
}

/** A value of an event's data, which may be whatever JSON can hold. */
function told(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  const names = Array.isArray(value) ? value : Object.keys(value);
  return names.map((name) => String(name).replaceAll("_", " ")).join(", ");
}

/**
 * @param {string} subject
 * @returns {string} the path of the page about it; empty where it has none
 */
export function pageOf(subject) {
  const [kind, key] = subject.split("/");
  return kind in pages && /^\d+$/.test(key) ? pages[kind].replace("/0/", `/${key}/`) : "";
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}
