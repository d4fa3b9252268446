/**
 * Opens the panel of the admin's pages where there is room for it, unless it was closed. It runs
 * before the page is painted, or all of it would move.
 */

"use strict";

if (matchMedia("(min-width: 100rem)").matches && localStorage.getItem("feed") !== "closed") {
  document.documentElement.dataset.feed = "open";
}
