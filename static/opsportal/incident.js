/** One incident's page, kept true by the events of that incident. */

import { takeActions } from "./actions.js";
import { showDeletion } from "./deletion.js";
import { showFacts, showMoves, showStatus } from "./incident_facts.js";
import { join } from "./joining.js";
import { guardMoves } from "./moves.js";
import { addEntry } from "./timeline.js";
import { keepTimes, showTimes } from "./times.js";

const find = (id) => document.getElementById(id);
const incident = find("incident");

const HANDLERS = {
  "incident.created": addEntry,
  "incident.updated": updated,
  "incident.status_changed": moved,
  "incident.commented": addEntry,
  "incident.deleted": ({ actor }) => showDeletion(incident, "incident", actor),
  "notification.sent": addEntry,
  "notification.failed": addEntry,
};

function updated(event) {
  const { title, severity, assignee, changes } = event.data;
  const { servers, description } = changes;
  const told = { title, severity, assignee };
  if (servers) told.servers = servers.new;
  if (description) told.description = description.new;
  showFacts(told);
  addEntry(event);
}

function moved(event) {
  showStatus(event.data.new_status, event.timestamp);
  addEntry(event);
}

/** What was fetched, but for the form, in which somebody may be writing. */
function show(page) {
  for (const id of ["title", "present", "facts", "description", "timeline"]) {
    find(id).replaceWith(page.getElementById(id));
    showTimes(find(id));
  }
  document.title = page.title;
  takeActions(find("facts"));
  showMoves();
}

keepTimes();
guardMoves(incident);
const refresh = join(HANDLERS, { subject: `incidents.incident/${incident.dataset.id}`, show });
incident.addEventListener("click", ({ target }) => target.id === "show-description" && refresh());
