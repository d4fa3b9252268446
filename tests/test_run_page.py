"""A run's page in a real browser, while a real worker carries the run out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from playwright.sync_api import Page, expect

from servers.tests.sshd import Sshd
from tests.portal import Portal
from tests.readers import bearer
from tests.test_servers_page import (
    BACK,
    PREPARE,
    Site,
    errors,
    expect_live,
    expect_not_reloaded,
    recorded_requests,
)

__all__ = ["errors"]

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

COUNTING = 'n=0; while [ "$n" -lt 40 ]; do n=$((n + 1)); echo "row $n"; sleep 0.15; done'
ENDLESS = "echo begun; sleep 300"
# Markup, colours, a title for the window, a progress bar, and an escape that never ends.
HOSTILE = (
    "printf '<script>document.title=1</script><img src=x>\\n"
    "\\033[31mred\\033[0m\\n\\033]0;pwned\\007titled\\n10%%\\r100%%\\n\\033[999\\n'"
)

SET_UP = """
import json
from automation import services
from automation.models import Automation
from servers.models import Server
given = json.loads({given!r})
server = Server.objects.create(name="web-01", **given["login"])
for name, script in given["scripts"].items():
    services.create(Automation(name=name, script=script), [server])
"""

FLOOD = """
from django.db import transaction
from automation import log
from automation.models import Run
run = Run.objects.latest("pk")
with transaction.atomic():
    for first in range(1, 50_001, 1_000):
        said = [log.remark(f"row {number}", 1) for number in range(first, first + 1_000)]
        log.append(run, said, {1: "web-01"})
    run.save()
"""

ROWS = "rows => rows.map(row => row.querySelector('.text').textContent)"


class Bench(Site):
    def start(self, name: str) -> int:
        """Alice's run of this automation."""
        [found] = [each for each in self.get("automations/")["results"] if each["name"] == name]
        response = httpx.post(
            self.web.url(f"/api/v1/automations/{found['id']}/run/"),
            headers=bearer(self.cast["alice"][0]),
            trust_env=False,
        )
        key: int = response.raise_for_status().json()["id"]
        return key

    def get(self, path: str) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = self.answer(path).json()
        return found

    def answer(self, path: str) -> httpx.Response:
        response = httpx.get(
            self.web.url(f"/api/v1/{path}"),
            headers=bearer(self.cast["alice"][0]),
            trust_env=False,
        )
        return response.raise_for_status()

    def printed(self, run: int) -> list[str]:
        return self.answer(f"runs/{run}/log/?format=text").text.splitlines()

    def open_run(self, page: Page, run: int) -> None:
        self.open(page, "alice", f"/automations/runs/{run}/")
        expect_live(page)


@pytest.fixture(scope="module")
def bench(module_portals: Callable[..., Portal]) -> Iterator[Bench]:
    """One for all tests here, as its start takes seconds; with a worker and a server to run on."""
    with ExitStack() as running:
        sshd = running.enter_context(Sshd())
        portal = module_portals(EVENTS_HEARTBEAT=0.5)
        login = {"host": "127.0.0.1", "port": sshd.port, "username": sshd.username}
        login |= {"credential": sshd.password, "host_key": sshd.host_key("ed25519")}
        scripts = {"counting": COUNTING, "endless": ENDLESS, "hostile": HOSTILE}
        code = SET_UP.format(given=json.dumps({"login": login, "scripts": scripts}))
        printed = portal.shell(PREPARE + code)
        web = portal.serve()
        portal.worker()
        yield Bench(portal, web, json.loads(printed.split("CAST ")[1]))


def shown(page: Page) -> list[str]:
    """The texts of the lines that the window is at."""
    texts: list[str] = page.locator("#log-lines .line").evaluate_all(ROWS)
    return texts


def rows(page: Page) -> list[str]:
    return [text for text in shown(page) if text.startswith("row ")]


def expect_status(page: Page, text: str) -> None:
    expect(page.locator("#status")).to_have_text(text, timeout=BACK)


def test_each_line_is_shown_once_whenever_the_page_was_opened_and_over_a_restart(
    bench: Bench, page: Page
) -> None:
    run = bench.start("counting")
    bench.open_run(page, run)  # before, or just as it begins
    expect(page.locator("#log-lines")).to_contain_text("row 3", timeout=BACK)
    during = page.context.new_page()
    during.goto(bench.web.url(f"/automations/runs/{run}/"))
    expect_live(during)
    sent = recorded_requests(during)
    expect(during.locator("#log-lines")).to_contain_text("row 8", timeout=BACK)
    assert [each.url for each in sent if "/log/" in each.url] == []
    bench.portal.kill(bench.web)
    expect(page.locator("#connection")).not_to_have_text("Live", timeout=BACK)
    bench.restart()
    for one in (page, during):
        expect_status(one, "Completed")
        expect(one.locator("#log-lines")).to_contain_text("row 40", timeout=BACK)
    after = page.context.new_page()
    after.goto(bench.web.url(f"/automations/runs/{run}/"))
    expect(after.locator("#log-lines")).to_contain_text("row 40", timeout=BACK)
    wanted = [f"row {number}" for number in range(1, 41)]
    assert bench.printed(run) == wanted
    for one in (page, during, after):
        assert rows(one) == wanted
    assert shown(page) == shown(during) == shown(after)
    expect_not_reloaded(page)


def test_a_run_is_cancelled_from_its_page(bench: Bench, page: Page) -> None:
    run = bench.start("endless")
    bench.open_run(page, run)
    expect(page.locator("#log-lines")).to_contain_text("begun", timeout=BACK)
    page.get_by_role("button", name="Cancel run").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it running").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#status")).to_have_text("Running")
    page.get_by_role("button", name="Cancel run").click()
    dialog.get_by_role("button", name="Cancel run").click()
    expect_status(page, "Cancelled")
    expect(page.locator("#target-rows .status")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Cancel run")).to_be_hidden()
    expect(page.get_by_role("button", name="Retry failed")).to_be_visible()
    expect_not_reloaded(page)


def test_what_a_script_prints_is_text(bench: Bench, page: Page) -> None:
    run = bench.start("hostile")
    bench.open_run(page, run)
    expect_status(page, "Completed")
    log = page.locator("#log-lines")
    expect(log).to_contain_text("titled", timeout=BACK)
    live = shown(page)
    assert "<script>document.title=1</script><img src=x>" in live
    assert {"red", "titled", "100%"} <= set(live)
    assert not any("\x1b" in text or "pwned" in text for text in live)
    expect(log.locator("script, img")).to_have_count(0)
    expect(page).to_have_title(re.compile("hostile.*OpsPortal"))
    page.reload()
    expect(log).to_contain_text("titled", timeout=BACK)
    assert shown(page) == live


def test_a_big_log_keeps_few_elements(bench: Bench, page: Page) -> None:
    run = bench.start("hostile")
    bench.open_run(page, run)
    expect_status(page, "Completed")
    bench.portal.shell(FLOOD)
    page.reload()
    expect(page.locator("#log-count")).to_have_text(re.compile(r"^50,0\d\d lines$"), timeout=BACK)
    assert page.locator("#log-lines .line").count() < 3_000
    page.locator("#log").evaluate("box => (box.scrollTop = box.scrollHeight)")
    expect(page.locator("#log-lines")).to_contain_text("row 50000", timeout=BACK)
    assert page.locator("#log-lines .line").count() < 3_000
    page.get_by_label("Find in the log").fill("row 25000")
    expect(page.locator("#log-matches")).to_have_text("1 of 1", timeout=BACK)
    expect(page.locator("#log-lines")).to_contain_text("row 25000")
    assert page.locator("#log-lines .line").count() < 3_000
