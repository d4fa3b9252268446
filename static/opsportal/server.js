/** One server's page, kept true by the events of that server. */

import { openStream, whenOutdated } from "./connection.js";
import { showDeletion } from "./deletion.js";
import { showFacts, showNextCheck, showTime } from "./facts.js";
import { showAcceptance, showTestedKey } from "./host_key.js";
import { addChanges, addPeriod } from "./record.js";
import { keepTimes } from "./times.js";

const find = (id) => document.getElementById(id);
const server = find("server");

const HANDLERS = {
  "server.updated": updated,
  "server.status_changed": tested,
  "server.deleted": deleted,
};

function updated(event) {
  const { changes } = event.data;
  const values = Object.entries(changes).map(([field, change]) => [field, change.new]);
  const told = Object.fromEntries(values);
  showState(event, told, told.maintenance_reason ?? "");
  showAcceptance(event.data);
  addChanges(event);
}

function tested(event) {
  const { new_status: status, message } = event.data;
  showState(event, { status, message }, message);
  showTestedKey(event.data);
  if (status === "testing") showNextCheck(event.timestamp);
}

function showState({ timestamp }, told, message) {
  if (!showFacts(told)) return;
  showTime("since", timestamp, "span");
  addPeriod(find("present").dataset.state, timestamp, message);
}

function deleted({ actor }) {
  find("banner").hidden = true;
  showDeletion(server, "server", actor);
}

const types = Object.keys(HANDLERS);
const opened = openStream(types, `servers.server/${server.dataset.id}`);

keepTimes();
for (const type of types) opened.stream.on(type, HANDLERS[type]);
whenOutdated(opened, types, () => location.reload());
