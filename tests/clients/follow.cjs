// Follows a stream with npm's eventsource: follow.cjs URL TOKEN.
// Prints each frame as a line of JSON, [id, name, data]. It returns by itself when it is cut.

const { EventSource } = require("eventsource");

const [url, token] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});

function print(event) {
  console.log(JSON.stringify([event.lastEventId, event.type, JSON.parse(event.data)]));
}

for (const name of ["stream.open", "stream.reset", "stream.closing", "server.created"]) {
  source.addEventListener(name, print);
}
