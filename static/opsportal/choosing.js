/** The servers to choose from, of which a word leaves those that it is in, and the chosen ones. */

const find = document.getElementById("find-server");
const labels = [...document.querySelectorAll("#choices label")];

find.addEventListener("input", () => {
  const wanted = find.value.trim().toLowerCase();
  for (const label of labels) {
    const isChosen = label.querySelector("input").checked;
    label.hidden = !isChosen && !label.textContent.toLowerCase().includes(wanted);
  }
});
/** Enter is for finding here, not for sending the form. */
find.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault();
});
