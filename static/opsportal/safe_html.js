/**
 * HTML from events, of which only what is known to be harmless gets into the page.
 *
 * The portal sends no other, as incidents/markdown.py says; but an event can be published by hand.
 */

const TAGS = new Set(
  "p br hr em strong s code pre blockquote a ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td".split(" "),
);
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/**
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function safeFragment(html) {
  const { body } = new DOMParser().parseFromString(html, "text/html"); // where nothing is run or loaded
  const fragment = document.createDocumentFragment();
  fragment.append(...copies(body));
  return fragment;
}

const copies = (parent) => [...parent.childNodes].flatMap(copy);

function copy(node) {
  if (node.nodeType === Node.TEXT_NODE) return [node.data];
  const name = node.nodeName.toLowerCase();
  if (node.nodeType !== Node.ELEMENT_NODE || !TAGS.has(name)) return [];
  const element = document.createElement(name);
  if (name === "a") setTarget(element, node.getAttribute("href"));
  element.append(...copies(node));
  return [element];
}

function setTarget(link, address) {
  if (!address || !URL.canParse(address, location.href)) return;
  const { href, protocol } = new URL(address, location.href);
  if (!SCHEMES.has(protocol)) return;
  link.href = href;
  link.rel = "nofollow noopener noreferrer";
}
