/** Rows to tick, of which a word leaves those that it is in, and the ticked ones. */

function narrow({ target }) {
  if (!target.matches(".pick-find")) return;
  const wanted = target.value.trim().toLowerCase();
  for (const label of target.closest(".picker").querySelectorAll(".boxes label")) {
    const isChosen = label.querySelector("input").checked;
    label.hidden = !isChosen && !label.textContent.toLowerCase().includes(wanted);
  }
}

/** Enter is for finding here, not for sending the form. */
function stay(event) {
  if (event.key === "Enter" && event.target.matches(".pick-find")) event.preventDefault();
}

// For those, too, that come with a part of the page that is fetched anew.
document.addEventListener("input", narrow);
document.addEventListener("keydown", stay);
