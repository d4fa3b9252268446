/** Forms that are sent while their page stays: what becomes of them comes by the stream. */

import { goToLogin } from "./connection.js";

const TOLD_FOR = 10_000; // ms

/**
 * Sends a form as the browser would, by the button that was pressed.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLButtonElement} button
 * @returns {Promise<boolean>} whether it was done; what the portal says of it is shown
 */
export async function send(form, button) {
  if (button.ariaBusy === "true") return false;
  button.ariaBusy = "true";
  const { status, message, isLogin } = await post(addressOf(form, button), formData(form, button));
  button.ariaBusy = null;
  const isDone = status >= 200 && status < 300 && !isLogin;
  if (isLogin) goToLogin(document.getElementById("connection").dataset.login);
  else if (isDone) tell("notice", message);
  else tell("problem", message || `${button.dataset.refused}: ${reason(status)}`);
  return isDone;
}

/** A button that names no address of its own answers with the page's. */
function addressOf(form, button) {
  return button.hasAttribute("formaction") ? button.formAction : form.action;
}

/** Times are typed in the reader's zone, and sent as the moments that they are. */
function formData(form, button) {
  const data = new URLSearchParams(new FormData(form, button));
  for (const { name, value } of form.querySelectorAll("input[type='datetime-local']")) {
    if (value) data.set(name, new Date(value).toISOString());
  }
  return data;
}

/** The answer's status, or 0 where there is none. */
async function post(address, body) {
  try {
    const headers = { "X-Requested-With": "fetch" };
    const response = await fetch(address, { method: "POST", headers, body });
    const isJSON = response.headers.get("Content-Type") === "application/json";
    const message = isJSON ? (await response.json()).message : "";
    return { status: response.status, message, isLogin: response.redirected };
  } catch {
    return { status: 0, message: "", isLogin: false };
  }
}

function reason(status) {
  if (status === 0) return "the portal does not answer.";
  if (status === 403) return "you may not, or this page is too old. Reload it.";
  if (status === 404) return "it has been deleted.";
  return `the portal failed (${status}).`;
}

const timers = {};

/** @param {"notice" | "problem"} region */
function tell(region, text) {
  for (const id of ["notice", "problem"]) {
    clearTimeout(timers[id]);
    document.getElementById(id).textContent = id === region ? text : "";
  }
  if (text) timers[region] = setTimeout(() => tell(region, ""), TOLD_FOR);
}

/** Names the zone in which the page's times are typed: without this script it is the server's. */
export function nameZones() {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts();
  const { value } = parts.find(({ type }) => type === "timeZoneName");
  for (const element of document.querySelectorAll(".zone")) element.textContent = value;
}
