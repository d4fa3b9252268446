/**
 * Tells of a page whose other scripts do not come, as one of them was held back or is waited for: it
 * would promise to follow what happens for ever. What it shows, its links and its forms are good.
 *
 * What such a page lacks can say so itself, by `data-unloaded`.
 */

"use strict";

{
  const PATIENCE = 15_000; // ms for which scripts may be on their way
  const UNLOADED = "This page was not loaded whole: it does not show what changes. Reload it.";
  const find = (id) => document.getElementById(id);

  const check = () => {
    const badge = find("connection");
    if (!badge || "opened" in badge.dataset) return;
    Object.assign(badge, { textContent: "Not connected", title: UNLOADED });
    badge.dataset.status = "closed";
    for (const element of document.querySelectorAll("[data-unloaded]")) {
      element.textContent = element.dataset.unloaded;
    }
    (find("problem") ?? find("connection-news")).textContent = UNLOADED;
  };

  addEventListener("load", check);
  setTimeout(check, PATIENCE);
}
