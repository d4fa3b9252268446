/** What a list would show otherwise if it were fetched now: seen at once, and heard now and then. */

const PAUSE = 5_000; // ms between two times of telling a screen reader

const find = (id) => document.getElementById(id);
let timer = 0;

/** @param {Record<string, Set<number>>} news ids of rows by what is said of them, such as `new` */
export function showNews(news) {
  const parts = Object.entries(news).filter(([, ids]) => ids.size);
  write("news", parts.map(([what, ids]) => `${ids.size} ${what}`).join(", "));
  find("show-news").hidden = !parts.length;
  timer ||= setTimeout(tell, PAUSE);
}

function tell() {
  timer = 0;
  write("news-told", find("news").textContent);
}

function write(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

/**
 * @param {Set<number>} set
 * @param {number} id
 * @param {boolean} isMember
 */
export function mark(set, id, isMember) {
  if (isMember) set.add(id);
  else set.delete(id);
}
