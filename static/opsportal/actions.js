/**
 * Forms that are sent by htmx while their page stays: `hx-post` on the form, or on a button for what
 * may go on several times at once. What becomes of them comes by the stream; what there is to say
 * comes with the answer, as the event `told` (servers/actions.py), and is shown here.
 *
 * A form or button may have in its data attributes: `refused`, what has failed where the portal says
 * nothing itself; `confirm`, a question that is asked first; `confirmText`, what to know before; `keep`,
 * the word for doing nothing, where "Cancel" could be taken for the action.
 * A form that was done is reset, and gets the event `done`.
 */

const TOLD_FOR = 10_000; // ms; what went wrong stays until the next action, or is dismissed

const find = (id) => document.getElementById(id);
const busy = new WeakSet(); // what is being sent
const on = (type, handle) => document.addEventListener(type, (event) => handle(event.detail, event));

/** What was pressed: a form's button, or one that is no form's but sends by itself. */
const pressedIn = ({ elt, triggeringEvent }) => triggeringEvent?.submitter ?? elt;
const formOf = (element) => (element instanceof HTMLFormElement ? element : element.form);

/** What is said of a form, by its button or by the form itself. */
function saidOf(detail, name) {
  return pressedIn(detail).dataset[name] ?? formOf(detail.elt)?.dataset[name];
}

// Before it is sent

on("htmx:confirm", async (detail, event) => {
  if (busy.has(detail.elt)) return event.preventDefault();
  const question = saidOf(detail, "confirm");
  if (!question) return;
  event.preventDefault();
  const asked = valuesOf(detail.elt);
  const words = { text: saidOf(detail, "confirmText"), keep: saidOf(detail, "keep") };
  if (!(await ask(question, pressedIn(detail).textContent, words))) return;
  if (valuesOf(detail.elt) === asked) detail.issueRequest(true);
  else tell("problem", "Nothing was done: what you were asked about has changed. Look at it again.");
});

const valuesOf = (element) => new URLSearchParams(new FormData(formOf(element))).toString();

/** @returns {Promise<boolean>} whether the answer is the button's own word */
function ask(question, answer, { text = "", keep = "Cancel" }) {
  const dialog = find("confirmation").content.firstElementChild.cloneNode(true);
  dialog.querySelector("h2").textContent = question;
  dialog.querySelector("p").textContent = text;
  dialog.querySelector("[value=no]").textContent = keep;
  dialog.querySelector("[value=yes]").textContent = answer.trim();
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** Times are typed in the reader's zone, and sent as the moments that they are. */
on("htmx:configRequest", (detail) => {
  const { submitter } = detail.triggeringEvent;
  // htmx forgets a button that has lost the focus, as to the question.
  if (submitter?.name) detail.formData.set(submitter.name, submitter.value);
  for (const field of formOf(detail.elt).querySelectorAll("input[type='datetime-local']")) {
    if (field.value) detail.formData.set(field.name, new Date(field.value).toISOString());
  }
});

on("htmx:beforeRequest", ({ requestConfig }) => {
  busy.add(requestConfig.elt);
  pressedIn(requestConfig).ariaBusy = "true";
  tell("notice", "");
});

// When it was answered

on("told", ({ level, text }) => tell(level, text));

on("htmx:afterRequest", ({ requestConfig, successful, xhr }) => {
  busy.delete(requestConfig.elt);
  pressedIn(requestConfig).ariaBusy = null;
  if (successful) finish(formOf(requestConfig.elt));
  else if (!isToldElsewhere(xhr)) {
    const what = saidOf(requestConfig, "refused") ?? "That was not done";
    tell("problem", `${what}: ${reason(xhr.status)}`);
  }
});

/** What was sent may have left the page meanwhile. */
function finish(form) {
  form?.reset();
  form?.dispatchEvent(new CustomEvent("done", { bubbles: true }));
}

/** By the answer itself, or by the login, to which the page is on its way. */
function isToldElsewhere(xhr) {
  return ["HX-Trigger", "HX-Redirect"].some((name) => xhr.getResponseHeader(name));
}

/** `status` is 0 where there is no answer. */
function reason(status) {
  if (status === 0) return "the portal does not answer.";
  if (status === 403) return "you may not, or this page is too old. Reload it.";
  if (status === 404) return "it has been deleted.";
  if (status === 409) return "it has changed meanwhile. Look at it again.";
  if (status === 503) return "the portal is busy. Try it again.";
  return `the portal failed (${status}).`;
}

// What is told

let timer = 0;

/**
 * @param {"notice" | "problem"} level
 * @param {string} text
 */
export function tell(level, text) {
  clearTimeout(timer);
  for (const id of ["notice", "problem"]) find(id).textContent = id === level ? text : "";
  if (text && level === "notice") timer = setTimeout(() => tell("notice", ""), TOLD_FOR);
}

find("dismiss").addEventListener("click", () => tell("notice", ""));

/** For what a script adds to the page with an `hx-post` in it. */
export function takeActions(element) {
  globalThis.htmx.process(element);
}

// Without this script, times are typed in the server's zone.
const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts();
const { value: zone } = parts.find(({ type }) => type === "timeZoneName");
for (const element of document.querySelectorAll(".zone")) element.textContent = zone;
