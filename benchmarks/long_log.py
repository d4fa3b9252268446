"""A log of 200,000 lines in a browser: poured in while a page follows it, then opened and used:
`make bench`.

Real web process and Chromium on SQLite. Tells how long each step takes and the longest task that it
kept the page's thread for. Writes benchmarks/results/long_log.json, with the conditions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks import measuring
from tests.portal import Portal
from tests.readers import make_session, make_user
from tests.services import find_program

LINES = 200_000
PATIENCE = 300_000  # ms
QUIET = 1_000  # ms after a step in which what it leaves to do is done

WATCH = """
window.tasks = [];
new PerformanceObserver(list => tasks.push(...list.getEntries().map(task => task.duration)))
  .observe({ type: "longtask", buffered: true });
"""

START = """
from automation import runs, services
from automation.models import Automation
from servers.models import Server
server = Server.objects.create(name="web-01", host="127.0.0.1", port=1, username="ops")
automation = Automation(name="Long", script="true")
services.create(automation, [server])
print("RUN", runs.start(automation, None).pk)
"""

POUR = """
import time
from django.db import transaction
from automation import log
from automation.lines import Line
from automation.models import Run
run = Run.objects.get()
said = b"\\x1b[32mok\\x1b[0m line %d of a long log, as programs print them\\n"
for first in range(0, {lines}, 2_000):
    now = time.time_ns() // 1000
    lines = [Line(1, "stdout", now, said % number) for number in range(first, first + 2_000)]
    with transaction.atomic():
        log.append(run, lines, {{1: "web-01"}})
        run.save()
"""


def measure(page: Page, step: str, act: Callable[[], object]) -> dict[str, Any]:
    page.evaluate("tasks.splice(0)")
    begun = time.monotonic()
    act()
    seconds = time.monotonic() - begun
    page.wait_for_timeout(QUIET)
    tasks = page.evaluate("tasks.splice(0)")
    return {
        "step": step,
        "seconds": round(seconds, 1),
        "long tasks": len(tasks),
        "longest task ms": round(max(tasks)) if tasks else None,
        "lines drawn": page.locator("#log-lines .line").count(),
    }


def expect_all(page: Page) -> None:
    expect(page.locator("#log-count")).to_have_text(f"{LINES:,} lines", timeout=PATIENCE)


def steps(page: Page, portal: Portal, address: str) -> list[dict[str, Any]]:
    def pour() -> None:
        pouring = portal.start("shell", "--verbosity=0", "-c", POUR.format(lines=LINES))
        expect_all(page)
        pouring.wait(timeout=PATIENCE / 1000)

    def reopen() -> None:
        page.goto(address)
        expect_all(page)

    def scroll() -> None:
        page.locator("#log").evaluate("box => (box.scrollTop = box.scrollHeight / 2)")
        page.locator("#log").hover()
        for _ in range(40):
            page.mouse.wheel(0, 900)

    def search() -> None:
        page.get_by_label("Find in the log").fill(f"line {LINES // 2} ")
        expect(page.locator("#log-matches")).to_have_text("1 of 1", timeout=PATIENCE)

    page.goto(address)
    expect(page.locator("#connection")).to_have_text("Live", timeout=PATIENCE)
    return [
        measure(page, "poured in while followed, writer's start included", pour),
        measure(page, "opened", reopen),
        measure(page, "scrolled", scroll),
        measure(page, "searched", search),
        measure(page, "unwrapped", lambda: page.get_by_label("Wrap").uncheck()),
    ]


def main() -> None:
    with TemporaryDirectory() as directory, Portal(Path(directory)) as portal:
        portal.manage("migrate", "--verbosity=0")
        make_user(portal, "reader", "Viewer")
        run = portal.shell(START).split("RUN ")[1].strip()
        session = make_session(portal, "reader")
        web = portal.serve()
        with sync_playwright() as playwright:
            program = find_program("chromium", "chromium")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.context.add_cookies(
                [{"name": "sessionid", "value": session["sessionid"], "url": web.url()}]
            )
            page.add_init_script(WATCH)
            results = steps(page, portal, web.url(f"/automations/runs/{run}/"))
            browser.close()
    for result in results:
        print(", ".join(f"{name}: {value}" for name, value in result.items()))
    measuring.write("long_log", results)


if __name__ == "__main__":
    main()
