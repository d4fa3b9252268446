/** What the admin's pages have of the portal's: the connection, the bell, and what happens. */

import { openFollowed } from "./following.js";
import { keepTimes } from "./times.js";

const find = (id) => document.getElementById(id);
const root = document.documentElement;
const toggle = find("feed-toggle");

function show(isOpen) {
  if (isOpen) root.dataset.feed = "open";
  else delete root.dataset.feed;
  toggle.ariaExpanded = String(isOpen);
}

/** As somebody wants it; panel.js remembers it. */
function set(isOpen) {
  show(isOpen);
  localStorage.setItem("feed", isOpen ? "open" : "closed");
}

function close() {
  set(false);
  toggle.focus();
}

toggle.addEventListener("click", () => set(root.dataset.feed !== "open"));
find("feed-close").addEventListener("click", close);
find("feed-panel").addEventListener("keydown", ({ key }) => key === "Escape" && close());

/** The page may hold a form that somebody fills in: it is not loaded anew by itself. */
function tellOfGap() {
  find("feed-gap").textContent = "Some of what happened is missing here until the page is reloaded.";
}

show(root.dataset.feed === "open");
keepTimes();
openFollowed(find("feed").dataset.types.split(",").filter(Boolean), tellOfGap);
