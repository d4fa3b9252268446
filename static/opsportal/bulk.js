/** What was ticked in the list, for what is done to many servers at once. */

const find = (id) => document.getElementById(id);

/**
 * Keeps the choice while the list changes around it.
 *
 * @param {HTMLTableElement} table
 * @returns {{show: () => void, restore: () => void}} `restore` ticks again what was chosen, once
 *   the table was rendered anew
 */
export function keepChoice(table) {
  const form = find("bulk");
  const all = find("choose-all");
  if (!form) return { show() {}, restore() {} };
  const boxes = () => [...table.querySelectorAll(".choose")];
  const chosen = new Set();

  function show() {
    chosen.clear();
    for (const box of boxes()) if (box.checked) chosen.add(box.value);
    const total = boxes().length;
    find("chosen").textContent = `${chosen.size} chosen`;
    form.classList.toggle("open", chosen.size > 0);
    all.checked = total > 0 && chosen.size === total;
    all.indeterminate = chosen.size > 0 && chosen.size < total;
  }

  function restore() {
    for (const box of boxes()) box.checked = chosen.has(box.value);
    show();
  }

  function tick(isTicked) {
    for (const box of boxes()) box.checked = isTicked;
    show();
  }

  all.addEventListener("change", () => tick(all.checked));
  table.addEventListener("change", show);
  form.addEventListener("keydown", pressNearest);
  form.addEventListener("done", () => {
    form.querySelectorAll("details[open]").forEach((details) => (details.open = false));
    tick(false);
  });
  find("choose-none").addEventListener("click", () => tick(false));
  show(); // a page that is reloaded may come with its boxes ticked
  return { show, restore };
}

/** The form has many buttons: Enter in a field is for the one beside it. */
function pressNearest(event) {
  if (event.key !== "Enter" || !event.target.matches("input, select")) return;
  event.preventDefault();
  event.target.closest(".panel").querySelector("button").click();
}
