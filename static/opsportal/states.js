/** The states that servers are in, and for how long: what is being tested stays what it was. */

/**
 * @param {{status: string, maintenance_until?: string}} server what is known of it, as its element
 *   holds it
 * @returns {string} its state, or nothing while that is being found out
 */
function stateOf({ status, maintenance_until: until }) {
  if (until) return "maintenance";
  return status === "testing" ? "" : status;
}

/**
 * Notes the state that an element's server is in by now.
 *
 * @param {HTMLElement} element with what is known in its data attributes, `state` among them
 * @returns {boolean} whether it is a new one
 */
export function noteState(element) {
  const state = stateOf(element.dataset);
  if (!state || state === element.dataset.state) return false;
  element.dataset.state = state;
  return true;
}
