/** The form of an automation: rows for parameters that come and go, and a Tab key in the script. */

import "./picking.js";

const find = (id) => document.getElementById(id);
const rows = find("parameters");
const total = find("id_parameters-TOTAL_FORMS");
const most = Number(find("id_parameters-MAX_NUM_FORMS").value);

function add() {
  const number = Number(total.value);
  const row = find("parameter").content.firstElementChild.cloneNode(true);
  for (const element of row.querySelectorAll("[name], [id], [for]")) {
    for (const name of ["name", "id", "for"]) {
      const value = element.getAttribute(name);
      if (value) element.setAttribute(name, value.replace("__prefix__", number));
    }
  }
  total.value = number + 1;
  rows.append(row);
  prepare(row);
  row.querySelector("input").focus();
}

/** A row without a name counts for nothing, and keeps the numbers of the others. */
function remove(row) {
  row.querySelector("[name$='-name']").value = "";
  row.hidden = true;
  showMost();
  find("add-parameter").focus();
}

function prepare(row) {
  const button = row.querySelector(".remove");
  button.hidden = false;
  button.addEventListener("click", () => remove(row));
  showMost();
}

function showMost() {
  find("add-parameter").hidden = Number(total.value) >= most;
}

// Blank rows are for browsers without scripts.
for (const row of rows.querySelectorAll(".parameter")) {
  prepare(row);
  row.hidden = !row.querySelector("[name$='-name']").value && !row.querySelector(".error");
}
find("add-parameter").addEventListener("click", add);
