/** What happens, in words, as it happens. */

import { eventList, inOne } from "./event_list.js";
import { follow } from "./following.js";
import { tell } from "./sentences.js";
import { setTime } from "./times.js";

const find = (id) => document.getElementById(id);
const list = find("feed");

const feed = eventList({
  list: inOne(list),
  most: () => Number(list.dataset.most),
  row: happening,
  // A link must not move away from under a pointer, nor lose the focus.
  isHeld: () => list.matches(":hover, :focus-within"),
  onWaiting: (count) => (find("feed-waiting").textContent = count ? `${count} more` : ""),
});

/** In the form of the template. */
function happening(event) {
  const row = find("happening").content.firstElementChild.cloneNode(true);
  const { tone, words } = tell(event);
  row.dataset.event = event.id;
  row.dataset.tone = tone;
  row.querySelector(".sentence").replaceChildren(...words);
  row.querySelector(".who").textContent = event.actor?.username ?? "";
  setTime(row.querySelector("time"), event.timestamp);
  return row;
}

follow(Object.fromEntries(list.dataset.types.split(",").filter(Boolean).map((type) => [type, feed.add])));
list.addEventListener("mouseleave", feed.show);
list.addEventListener("focusout", feed.show);
