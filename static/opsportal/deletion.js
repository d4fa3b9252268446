/** The end of what a page is about. */

/**
 * Says that it has been deleted, and takes away what could be done to it.
 *
 * @param {HTMLElement} element which shows it
 * @param {string} thing what it is called
 * @param {{username: string} | null} actor
 */
export function showDeletion(element, thing, actor) {
  const who = actor ? ` by ${actor.username}` : "";
  const gone = document.getElementById("gone");
  gone.textContent = `This ${thing} has been deleted${who}. What you see is what was known of it.`;
  gone.hidden = false;
  element.classList.add("deleted");
  const parts = [...element.querySelectorAll("form, .top .actions")];
  if (parts.some((part) => part.contains(document.activeElement))) gone.focus();
  for (const part of parts) part.remove();
}
