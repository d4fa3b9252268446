/** The bell in the header: how many notifications of this user are unread. */

/** The type of event that rings it, where it is addressed to no channel. */
export const RING = "notification.sent";

const MOST = 99; // that are shown as a number

/** @param {import("../events/stream.js").StreamEvent} event */
export function ring({ data }) {
  const bell = document.getElementById("bell");
  // The page was rendered after its cursor: the stream may repeat what is counted already.
  if (data.channel !== null || data.id <= Number(bell.dataset.last)) return;
  bell.dataset.last = data.id;
  const unread = Number(bell.dataset.unread) + 1;
  bell.dataset.unread = unread;
  bell.querySelector("[data-count]").textContent = unread > MOST ? `${MOST}+` : unread;
  bell.setAttribute("aria-label", `Notifications, ${unread} unread`);
}
