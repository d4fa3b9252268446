/** The overview: one stream for its panels and its feed, which say what they want before it opens. */

import { openFollowed } from "./following.js";
import { keepTimes } from "./times.js";

keepTimes();
openFollowed(document.getElementById("feed")?.dataset.types.split(",").filter(Boolean) ?? []);
