"""Pages in a real Chromium: how soon another's change is seen, and how busy a storm keeps them:
`make bench`.

Real web process, worker and Chromium on SQLite. For each page, from before the REST request of
another user until the page's document holds the change, by the machine's clock, and the requests
that the page sent meanwhile. Then 5,000 rows and 50 changes a second, and the page's longest tasks:
by the clock, and by the processor's time, which what else runs on the machine does not add to.
Writes benchmarks/results/pages.json, with the conditions.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks import measuring
from tests.portal import Portal
from tests.readers import bearer
from tests.services import find_program

CHANGES = 20  # a page, that are measured
COLD = 4  # before them: a worker that has just started is not what people look at all day
ALL = COLD + CHANGES
ROWS = 5_000
SHOWN = 100  # of them on a page of the list
RATE = 50  # events a second
SECONDS = 20
LONG = 100  # ms of a task
PATIENCE = 60_000  # ms

PREPARE = f"""
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken
from automation import runs, services as automations
from automation.models import Automation
from incidents import services as incidents
from incidents.models import Incident
from servers import services as servers
from servers.models import Server
writer = User.objects.create(username="writer", is_superuser=True)
reader = User.objects.create(username="reader", is_staff=True)
reader.groups.set(Group.objects.filter(name="Admin"))
server = Server(name="web-00000", host="192.0.2.1", port=22, username="ops")
servers.create(server)
incident = Incident(title="Disk full", severity="high", reporter=writer)
incidents.create(incident)
automation = Automation(name="Report", script="true")
automations.create(automation, [server])
queued = [runs.start(automation, writer).pk for _ in range({2 * ALL})]
client = Client()
client.force_login(reader)
print("FOUND", json.dumps({{
    "token": str(AccessToken.for_user(writer)), "session": client.cookies["sessionid"].value,
    "server": server.pk, "incident": incident.pk, "automation": automation.pk, "runs": queued,
    "reader": reader.username,
}}))
"""

FILL = f"""
from servers import services
from servers.models import Server
services.create_many([
    Server(name=f"web-{{number:05}}", host="192.0.2.1", port=22, username="ops", tags=["web"])
    for number in range(1, {ROWS})
])
"""

# All of the rows that the list shows change in turn, one by one, at an even pace.
CHANGE = f"""
import time
from servers import services
from servers.models import Server
shown = list(Server.objects.order_by("name")[:{SHOWN}])
begun = time.monotonic()
for number in range({RATE * SECONDS}):
    server = shown[number % len(shown)]
    services.edit(server, {{"host": f"192.0.2.{{2 + number // len(shown)}}"}})
    time.sleep(max(0, begun + (number + 1) / {RATE} - time.monotonic()))
print("TOOK", time.monotonic() - begun)
"""

# `shown` becomes the moment, in ms of the machine's clock, at which an element that can be seen
# and that the selector finds has the text.
WATCH = """
([selector, text, patience]) => {
  const isShown = () =>
    [...document.querySelectorAll(selector)].some(
      (element) => element.textContent.includes(text) && element.checkVisibility(),
    );
  if (isShown()) throw new Error(`${text} is shown already`);
  window.shown = new Promise((resolve, reject) => {
    const observer = new MutationObserver(() => {
      if (!isShown()) return;
      observer.disconnect();
      resolve(performance.timeOrigin + performance.now());
    });
    const observed = { attributes: true, characterData: true, childList: true, subtree: true };
    observer.observe(document, observed);
    setTimeout(() => reject(new Error(`${text} was not shown`)), patience);
  });
}
"""

TASKS = """
window.tasks = [];
new PerformanceObserver(list => tasks.push(...list.getEntries().map(task => task.duration)))
  .observe({ type: "longtask", buffered: true });
"""


LOAD_OLDER = """
async (wanted) => {
  const list = document.getElementById("events");
  while (list.querySelectorAll("li").length < wanted) {
    document.getElementById("older").click();
    await new Promise((grown) => new MutationObserver(grown).observe(list, { childList: true }));
  }
}
"""


@dataclass(frozen=True)
class Change:
    """A request of another user, and where a page is to say what of it."""

    method: str
    path: str
    body: dict[str, Any]
    selector: str
    text: str


@dataclass(frozen=True)
class Watched:
    """A page: for each change its address, and the change."""

    name: str
    address: Callable[[int], str]
    change: Callable[[int], Change]


def at(address: str) -> Callable[[int], str]:
    return lambda number: address


def edits(path: str, field: str, new: str, selector: str, text: str) -> Callable[[int], Change]:
    """Gives the field another value with each change, of which the page says the text."""

    def change(number: int) -> Change:
        value = new.format(number + 2)
        return Change("PATCH", path, {field: value}, selector, text.format(value))

    return change


def watched_pages(found: dict[str, Any]) -> list[Watched]:
    """Every page that shows what others change; the last one needs a worker."""
    server, incident = f"servers/{found['server']}/", f"incidents/{found['incident']}/"
    automation, runs = f"automations/{found['automation']}/", found["runs"]

    def renames(page: str, selector: str) -> Callable[[int], Change]:
        return edits(server, "name", f"{page}-{{}}", selector, "{} was changed: name")

    def moves(number: int) -> Change:
        to = ["acknowledged", "resolved", "open"][number % 3]
        selector = f'.lane[data-status="{to}"] .name'
        return Change("POST", f"{incident}transition/", {"to": to}, selector, "Disk full")

    def cancels(run: int, selector: str) -> Change:
        return Change("POST", f"runs/{run}/cancel/", {}, selector, "Cancelled")

    def assigns(number: int) -> Change:
        body = {"title": "Fan loud", "severity": "low", "assignee": found["reader"]}
        return Change("POST", "incidents/", body, "#bell [data-count]", str(number + 1))

    return [
        Watched("overview", at("/"), renames("overview", "#feed .sentence")),
        Watched(
            "servers",
            at("/servers/"),
            edits(server, "host", "192.0.2.{}", "#servers .address", "{}:"),
        ),
        Watched(
            "server",
            at(f"/{server}"),
            edits(server, "host", "198.51.100.{}", "#address", "{}:"),
        ),
        Watched("board", at("/incidents/board/"), moves),
        Watched(
            "incidents",
            at("/incidents/"),
            edits(incident, "title", "Listed {}", "#incidents .name", "{}"),
        ),
        Watched("incident", at(f"/{incident}"), edits(incident, "title", "One {}", "#title", "{}")),
        Watched(
            "automations",
            at("/automations/"),
            edits(automation, "description", "Listed {}.", "#automations .note", "{}"),
        ),
        Watched(
            "automation",
            at(f"/{automation}"),
            edits(automation, "description", "One {}.", "#description", "{}"),
        ),
        Watched(
            "runs",
            at("/automations/runs/"),
            lambda number: cancels(runs[number], f"#run-{runs[number]} .status"),
        ),
        Watched(
            "run",
            lambda number: f"/automations/runs/{runs[ALL + number]}/",
            lambda number: cancels(runs[ALL + number], "#status"),
        ),
        Watched("events", at("/events/"), renames("events", "#events .sentence")),
        Watched("admin", at("/admin/servers/server/"), renames("admin", "#feed .sentence")),
        Watched("notifications", at("/notifications/"), assigns),
    ]


def open_live(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#connection")).to_have_text("Live", timeout=PATIENCE)


def measure_changes(page: Page, root: str, watched: Watched, writer: httpx.Client) -> Any:
    """How long each change took until it was shown, and what the page asked for meanwhile."""
    sent: list[str] = []
    latencies = []
    requests = 0
    page.on("request", lambda request: sent.append(request.url))
    for number in range(ALL):
        address = root + watched.address(number)
        if page.url != address:
            open_live(page, address)
        change = watched.change(number)
        page.evaluate(WATCH, [change.selector, change.text, PATIENCE])
        sent.clear()
        begun = time.time()
        answer = writer.request(change.method, change.path, json=change.body)
        answer.raise_for_status()
        latencies.append(page.evaluate("window.shown") - 1000 * begun)
        # So that no clock of the portal's agrees.
        page.wait_for_timeout(random.uniform(50, 250))  # ms
        requests += len(sent) if number >= COLD else 0
    del latencies[:COLD]
    return {
        "page": watched.name,
        "changes": len(latencies),
        "median ms": round(statistics.median(latencies), 1),
        "p95 ms": round(statistics.quantiles(latencies, n=20)[-1], 1),
        "max ms": round(max(latencies), 1),
        "requests": requests,
    }


def tasks_of_the_page(events: list[dict[str, Any]]) -> list[float]:
    """How long each task of a page's main thread had the processor, in ms."""
    names = [event for event in events if event["name"] == "thread_name"]
    threads = {
        (each["pid"], each["tid"]) for each in names if each["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"] / 1000
        for event in events
        if "tdur" in event
        and (event["pid"], event["tid"]) in threads
        and "RunTask" in event["name"]
    ]


def measure_storm(browser: Browser, page: Page, name: str, portal: Portal, shown: str) -> Any:
    """Changes at an even pace on a page that is open: how long it was kept busy at a time."""
    rows = page.locator(shown).count()
    page.wait_for_timeout(1_000)  # ms in which what the page's start leaves to do is done
    page.evaluate("tasks.splice(0)")
    browser.start_tracing(page=page, categories=["toplevel"])
    printed = portal.shell(CHANGE)
    page.wait_for_timeout(1_000)  # ms in which what the last event leaves to do is done
    tasks = page.evaluate("tasks.splice(0)")
    spent = tasks_of_the_page(json.loads(browser.stop_tracing())["traceEvents"])
    return {
        "page": name,
        "rows in the document": rows,
        "events a second": round(RATE * SECONDS / float(printed.split("TOOK ")[1])),
        "longest task ms": round(max(tasks)) if tasks else None,
        f"tasks over {LONG} ms": sum(task > LONG for task in tasks),
        "longest task's processor ms": round(max(spent), 1),
        f"tasks over {LONG} processor ms": sum(task > LONG for task in spent),
        "main thread busy %": round(sum(spent) / (10 * SECONDS), 1),
    }


def storms(browser: Browser, page: Page, portal: Portal, root: str) -> list[dict[str, Any]]:
    portal.shell(FILL)
    open_live(page, f"{root}/servers/")
    expect(page.locator("#count")).to_contain_text(f"of {ROWS}", timeout=PATIENCE)
    found = [measure_storm(browser, page, f"servers, {ROWS} of them", portal, "#servers tbody tr")]
    open_live(page, f"{root}/events/")
    page.evaluate(LOAD_OLDER, ROWS)
    page.evaluate("scrollTo(0, 0)")
    return [*found, measure_storm(browser, page, "events, filled", portal, "#events li")]


def main() -> None:
    with TemporaryDirectory() as directory, Portal(Path(directory)) as portal:
        portal.manage("migrate", "--verbosity=0")
        printed = portal.shell(PREPARE)
        found = json.loads(printed.split("FOUND ")[1])
        root = portal.serve().url("")
        with sync_playwright() as playwright:
            program = find_program("chromium", "chromium")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1700, "height": 900})
            context.add_cookies([{"name": "sessionid", "value": found["session"], "url": root}])
            context.add_init_script(TASKS)
            changes = []
            with httpx.Client(
                base_url=f"{root}/api/v1/", headers=bearer(found["token"]), trust_env=False
            ) as writer:
                for watched in watched_pages(found):
                    if watched.name == "notifications":
                        portal.worker()
                    page = context.new_page()
                    changes.append(measure_changes(page, root, watched, writer))
                    print(", ".join(f"{name}: {value}" for name, value in changes[-1].items()))
                    page.close()
            busy = storms(browser, context.new_page(), portal, root)
            browser.close()
    for result in busy:
        print(", ".join(f"{name}: {value}" for name, value in result.items()))
    measuring.write("pages", {"changes": changes, "storms": busy})


if __name__ == "__main__":
    main()
