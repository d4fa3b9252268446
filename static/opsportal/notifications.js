/** The list of this user's notifications, which says when there are more. */

import { RING } from "./bell.js";
import { openStream } from "./connection.js";
import { keepTimes } from "./times.js";

const { stream } = openStream([]);

keepTimes();
stream.on(RING, ({ data }) => {
  if (data.channel === null) document.getElementById("more").hidden = false;
});
stream.on("stream.reset", () => location.reload());
