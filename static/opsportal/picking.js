/** Rows to tick, of which a word leaves those that it is in, and the ticked ones. */

/** @param {ParentNode} part of the page */
export function keepPickers(part = document) {
  for (const picker of part.querySelectorAll(".picker:has(.pick-find)")) {
    const field = picker.querySelector(".pick-find");
    field.addEventListener("input", () => narrow(picker, field.value.trim().toLowerCase()));
    field.addEventListener("keydown", stay);
  }
}

function narrow(picker, wanted) {
  for (const label of picker.querySelectorAll(".boxes label")) {
    const isChosen = label.querySelector("input").checked;
    label.hidden = !isChosen && !label.textContent.toLowerCase().includes(wanted);
  }
}

/** Enter is for finding here, not for sending the form. */
function stay(event) {
  if (event.key === "Enter") event.preventDefault();
}
