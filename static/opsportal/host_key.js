/** The card of the host key: the one that is accepted, and one that waits for somebody to. */

import { highlight } from "./highlight.js";

const LOOK = 2_000; // ms in which a key that took another's place cannot be accepted by mistake
// What a test that refused a key says at its end, in our own words: a server's are in quotes.
const PRESENTED = /presented (\S+) (SHA256:[\w+/]{43})\. No login was tried\.$/;
const WAY_IN = ["host", "port", "username", "credential", "shared_credential"];

const find = (id) => document.getElementById(id);
const card = find("host-key");

/** @param {{changes: Record<string, {old: any, new: any}>}} data of `server.updated` */
export async function showAcceptance({ changes }) {
  if (WAY_IN.some((field) => field in changes)) showOffer();
  if (!("host_key" in changes)) return;
  const key = changes.host_key.new;
  showOffer();
  card.dataset.accepted = key;
  write("accepted-kind", key.split(" ")[0]);
  write("accepted", key ? await fingerprint(key) : "none yet");
}

/** @param {{new_status: string, message: string}} data of `server.status_changed` */
export function showTestedKey({ new_status: status, message }) {
  if (status === "testing") return; // what it finds is not known yet
  const [, kind, presented] = PRESENTED.exec(message) ?? [];
  showOffer(kind, presented);
}

/**
 * @param {string} key in OpenSSH form
 * @returns {Promise<string>} its "SHA256:…"
 */
export async function fingerprint(key) {
  // Only pages that came by HTTPS, or from this machine, have the means.
  if (!globalThis.crypto?.subtle) return "(reload to see its fingerprint)";
  const blob = Uint8Array.from(atob(key.split(" ")[1]), (letter) => letter.charCodeAt(0));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", blob));
  return `SHA256:${btoa(String.fromCharCode(...digest)).replace(/=+$/, "")}`;
}

function showOffer(kind = "", presented = "") {
  const before = card.dataset.offered;
  if (presented === before) return;
  card.dataset.offered = presented;
  write("offered-kind", kind);
  write("offered", presented);
  const button = find("accept");
  if (!button) return;
  button.form.elements.fingerprint.value = presented;
  if (!before || !presented) return;
  button.disabled = true;
  setTimeout(() => (button.disabled = false), LOOK);
}

function write(id, text) {
  if (find(id).textContent === text) return;
  find(id).textContent = text;
  highlight(find(id));
}
