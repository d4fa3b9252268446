"""The automations' pages and their log in a real browser, kept true by a real server process.

No worker runs: what one does is done here, a step at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.portal import Portal
from tests.readers import bearer
from tests.test_servers_page import (
    BACK,
    HOSTILE,
    PREPARE,
    Site,
    errors,
    expect_live,
    expect_not_reloaded,
    recorded_requests,
)

__all__ = ["errors"]

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

SERVERS = """
from servers.models import Server
for name in ("db-01", "web-01"):
    Server.objects.create(name=name, host="127.0.0.1", port=1, username="ops")
"""

# What a worker does, without one.
STEP = """
import json, time
from django.db import transaction
from django.utils import timezone
from automation import log, telling
from automation.lines import Line
from automation.models import Run
given = json.loads({given!r})
with transaction.atomic():
    run = Run.objects.get(pk=given["run"])
    lines = [
        Line(target, stream, time.time_ns() // 1000, text.encode())
        for target, stream, text in given["lines"]
    ]
    log.append(run, lines, log.names_of(run))
    for position, status in given["targets"].items():
        target = run.targets.get(position=position)
        target.status, target.started_at = status, target.started_at or timezone.now()
        target.save()
        run.counts = telling.count(run)
        telling.tell_targets([target], run)
    run.status = given["status"] or run.status
    run.started_at = run.started_at or timezone.now()
    run.finished_at = timezone.now() if run.is_finished else None
    run.save()
    if given["status"]:
        telling.tell_status(run)
"""

Line = tuple[int, str, str]  # the target's position, stream and text

PARSE = "text => import('/static/opsportal/ansi.js').then(ansi => ansi.parse(text).runs)"
PLAIN = "text => import('/static/opsportal/ansi.js').then(ansi => ansi.plain(text))"


class Desk(Site):
    def call(self, method: str, path: str = "", **body: Any) -> Any:  # type: ignore[override]
        """Alice's call of the API."""
        response = httpx.request(
            method,
            self.web.url(f"/api/v1/{path}"),
            headers=bearer(self.cast["alice"][0]),
            json=body or None,
            trust_env=False,
        )
        response.raise_for_status()
        return response.json() if response.content else None

    def new(self, name: str, *servers: str, **fields: Any) -> int:
        values: dict[str, Any] = {"script": "true\n", "servers": servers or ["web-01"]}
        key: int = self.call("POST", "automations/", name=name, **values | fields)["id"]
        return key

    def start(self, automation: int) -> int:
        key: int = self.call("POST", f"automations/{automation}/run/")["id"]
        return key

    def step(
        self, run: int, *lines: Line, status: str = "", targets: dict[int, str] | None = None
    ) -> None:
        given = {"run": run, "lines": lines, "status": status, "targets": targets or {}}
        code = STEP.format(given=json.dumps(given))
        self.portal.shell(code)

    def open_other(self, page: Page, path: str) -> Page:
        """Another tab of the same browser."""
        other = page.context.new_page()
        other.goto(self.web.url(path))
        expect_live(other)
        return other


@pytest.fixture(scope="module")
def running_desk(module_portals: Callable[..., Portal]) -> Desk:
    portal = module_portals(EVENTS_HEARTBEAT=0.5)
    printed = portal.shell(PREPARE + SERVERS)
    return Desk(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def desk(running_desk: Desk) -> Desk:
    """Without automations; their runs stay."""
    for row in running_desk.call("GET", "automations/")["results"]:
        running_desk.call("DELETE", f"automations/{row['id']}/")
    return running_desk


def texts(page: Page) -> list[str]:
    """Of the lines that are drawn."""
    return page.locator("#log-lines .text").all_text_contents()


def line(page: Page, number: int) -> Locator:
    shown = page.locator(".number").get_by_text(str(number), exact=True)
    return page.locator("#log-lines .line").filter(has=shown)


def test_lists_show_what_is_run_and_changed_and_ask_for_nothing(desk: Desk, page: Page) -> None:
    key = desk.new("Rotate logs")
    desk.open_live(page, "/automations/")
    one = desk.open_other(page, f"/automations/{key}/")
    runs = desk.open_other(page, "/automations/runs/?status=queued&status=running")
    shown = runs.locator("#count").text_content() or ""
    sent = [recorded_requests(each) for each in (page, one, runs)]
    run = desk.start(key)
    row = page.locator(f"#automation-{key}")
    expect(row.locator(".status")).to_have_text("Queued")
    expect(row.locator(".status")).to_have_attribute("href", f"/automations/runs/{run}/")
    expect(one.locator(f"#run-{run} .status")).to_have_text("Queued")
    expect(one.locator("#no-runs")).to_be_hidden()
    expect(runs.locator("#news")).to_have_text("1 new")
    expect(runs.locator("#count")).to_have_text(re.compile(re.escape(shown.strip())))
    desk.call("PATCH", f"automations/{key}/", name=HOSTILE, description="Old & new", timeout=90)
    expect(row.locator(".name")).to_have_text(HOSTILE)
    expect(row.locator(".note")).to_have_text("Old & new")
    expect(page.locator("#news")).to_have_text("1 out of place")
    expect(one.locator("h1")).to_have_text(HOSTILE)
    expect(one.locator("#timeout")).to_have_text("1 min for each server")
    assert sent == [[], [], []]

    runs.get_by_role("button", name="Show").click()
    expect(runs.locator(f"#run-{run} .tally")).to_have_text("0 of 1")
    expect(runs.locator("#news")).to_have_text("")
    for requests in sent:
        requests.clear()
    desk.step(run, status="failed", targets={1: "failed"})
    for each in (runs.locator(f"#run-{run}"), one.locator(f"#run-{run}"), row):
        expect(each.locator(".status")).to_have_text("Failed")
        expect(each.locator(".tally")).to_have_text("1 of 1, 1 failed")
    expect(runs.locator("#news")).to_have_text("1 out of place")
    expect(runs.locator(f"#run-{run} .duration")).to_have_text("0.0 s")

    desk.call("PATCH", f"automations/{key}/", script="echo other\n")
    expect(one.locator("#changed")).to_contain_text("alice has changed its script.")
    expect(one.locator("#script")).not_to_contain_text("echo other")
    desk.call("DELETE", f"automations/{key}/")
    expect(page.locator("#news")).to_have_text("1 deleted")
    expect(one.locator("#gone")).to_contain_text("deleted by alice")
    expect(one.get_by_role("button", name="Run")).to_have_count(0)
    assert sent == [[], [], []]
    expect(page.locator("#automations img")).to_have_count(0)
    expect_not_reloaded(page)


def test_what_was_changed_is_shown_on_demand_and_can_be_run(desk: Desk, page: Page) -> None:
    key = desk.new("Deploy")
    desk.open(page, "alice", f"/automations/{key}/")
    expect_live(page)
    parameters = [
        {"name": "version", "type": "string", "label": "Version", "pattern": "v[0-9]+"},
        {"name": "token", "type": "secret"},
    ]
    desk.call("PATCH", f"automations/{key}/", parameters=parameters)
    expect(page.locator("#changed")).to_contain_text("alice has changed its parameters.")
    page.get_by_role("button", name="Show").click()
    page.get_by_label("Version").fill("latest")
    page.get_by_label("token").fill("swordfish")
    page.get_by_label("Reason").fill("Release")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#problem")).to_have_text("Version: This must match v[0-9]+.")
    expect_not_reloaded(page)
    page.get_by_label("Version").fill("v2")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page).to_have_url(re.compile(r"/automations/runs/\d+/$"))
    expect(page.locator("#facts")).to_contain_text("v2")
    expect(page.locator("#facts")).to_contain_text("Release")
    assert "swordfish" not in page.content()
    page.get_by_role("link", name="Run again").click()
    expect(page.get_by_label("Version")).to_have_value("v2")
    expect(page.get_by_label("token")).to_have_value("")
    expect(page.get_by_label("Reason")).to_have_value("Release")


def test_parameters_come_and_go_in_the_form(desk: Desk, page: Page) -> None:
    desk.open(page, "alice", "/automations/new/")
    page.get_by_label("Name").first.fill("Greet")
    page.get_by_label("Script", exact=True).fill("echo $PARAM_MODE")
    rows = page.locator("#parameters .parameter:visible")
    expect(rows).to_have_count(0)
    for name in ("mode", "unwanted"):
        page.get_by_role("button", name="Add a parameter").click()
        rows.last.get_by_label("Name").fill(name)
    rows.first.get_by_label("Type").select_option("choice")
    expect(rows.first.get_by_label("Pattern")).to_be_hidden()
    rows.first.get_by_label("Choices").fill("slow\nfast and loud")
    rows.first.get_by_label("Default").fill("slow")
    rows.last.get_by_role("button", name="Remove").click()
    expect(rows).to_have_count(1)
    page.get_by_label("web-01").check()
    page.get_by_role("button", name="Create").click()
    expect(page.locator("h1")).to_have_text("Greet")
    expect(page.locator("dl.parameters")).to_have_text(
        re.compile(r"^\s*mode\s*one of slow, fast and loud, by default slow\s*$")
    )
    expect(page.locator("#servers")).to_have_text("web-01")


def test_the_log_is_searched_filtered_linked_and_followed(desk: Desk, page: Page) -> None:
    run = desk.start(desk.new("Talk", "db-01", "web-01"))
    many: list[Line] = [(1, "stdout", f"row {number}\n") for number in range(1, 301)]
    many[149] = (2, "stderr", "\x1b[1;31mNeedle\x1b[0m in a \x1b[38;2;1;200;3mhaystack\x1b[0m\n")
    odd: list[Line] = [
        (2, "stdout", "\x1b[32mgreen"),
        (1, "stdout", "needle again\n"),
        (2, "stdout", " goes on\n"),
        (2, "stdout", " 10%\r 90%\r"),
        (2, "stdout", "100%\n"),
        (0, "system", "The portal remarks.\n"),
    ]
    desk.step(run, *many, *odd, status="running", targets={1: "running"})
    desk.open_live(page, f"/automations/runs/{run}/")
    expect(page.locator("#log-count")).to_have_text("304 lines")
    # What goes on stays in its row, in its colour, and so does a progress bar.
    expect(line(page, 301).locator(".text")).to_have_text("green goes on")
    expect(line(page, 301).locator(".ink-2")).to_have_text("green goes on")
    expect(line(page, 303).locator(".text")).to_have_text("100%")
    expect(line(page, 304).locator(".text")).to_have_text("The portal remarks.")

    find = page.get_by_label("Find in the log")
    find.fill("NEEDLE")
    expect(page.locator("#log-matches")).to_have_text("2 of 2")
    find.press("Shift+Enter")
    expect(page.locator("#log-matches")).to_have_text("1 of 2")
    needle = line(page, 150)
    expect(needle).to_be_in_viewport()
    expect(needle.locator(".bold.ink-1 mark")).to_have_text("Needle")
    assert needle.locator(".ink").evaluate("span => span.style.getPropertyValue('--ink')") == (
        "#01c803"
    )
    find.fill("")
    expect(page.locator("#log-lines mark")).to_have_count(0)

    sent = recorded_requests(page)
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
    desk.step(run, (1, "stdout", "two\n"), (1, "stdout", "more\n"))
    expect(page.locator("#unseen")).to_have_text("2 new lines, follow")
    expect(needle).to_be_in_viewport()
    page.locator("#unseen").click()
    expect(line(page, 306)).to_be_in_viewport()
    expect(page.locator("#unseen")).to_be_hidden()
    desk.step(run, (2, "stderr", "last\n"), status="completed", targets={1: "succeeded"})
    expect(line(page, 307)).to_be_in_viewport()
    expect(page.locator("#log-count")).to_have_text("307 lines")
    expect(page.locator("#status")).to_have_text("Completed")
    expect(page.locator("#run-news")).to_contain_text("The run is over: Completed")
    expect(page.locator("#follow")).to_be_hidden()

    page.locator("#target-rows").get_by_role("button", name="web-01").click()
    expect(line(page, 307)).to_be_visible()
    assert texts(page) == ["Needle in a haystack", "green goes on", "100%", "last"]
    download = page.get_by_role("link", name="Download")
    expect(download).to_have_attribute("href", re.compile(r"\?format=text&server=web-01$"))
    page.get_by_label("stdout").uncheck()
    expect(page.locator("#log-lines .line")).to_have_count(2)
    # A line that is linked to is shown, whatever the filters leave out.
    page.evaluate("location.hash = '#L7'")
    expect(line(page, 7)).to_be_in_viewport()
    expect(download).to_have_attribute("href", re.compile(r"\?format=text$"))
    expect(line(page, 7)).to_have_class(re.compile("target"))
    expect(page.get_by_label("stdout")).to_be_checked()
    page.get_by_label("Wrap").uncheck()
    page.get_by_label("Times").check()
    expect(line(page, 7)).to_be_in_viewport()
    expect(line(page, 7).locator("time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
    assert [each.url for each in sent if "/static/" not in each.url] == []
    expect_not_reloaded(page)
    page.goto(desk.web.url(f"/automations/runs/{run}/#L306"))
    page.reload()
    expect(line(page, 306)).to_be_in_viewport(timeout=BACK)
    expect(line(page, 306).locator(".text")).to_have_text("more")

    page.route("**/events/stream*.js", lambda route: route.abort())
    page.reload()
    expect(page.locator("#connection")).to_have_text("Not connected")
    expect(page.locator("#problem")).to_contain_text("This page was not loaded whole")
    expect(page.locator("#log-empty")).to_contain_text("it can be downloaded")
    with page.expect_download():
        download.click()


def test_what_a_terminal_is_told_is_drawn_or_dropped(desk: Desk, page: Page) -> None:
    desk.open_live(page, "/automations/runs/")
    red: dict[str, Any] = {"ink": "1"}
    orange = {"ink": "9", "ground": "#ff8700"}
    bold: list[tuple[str, dict[str, Any] | None]] = [
        ("r", red),
        ("b", red | {"bold": True}),
        ("n", red),
        ("o", None),
    ]
    drawn: list[tuple[str, list[tuple[str, dict[str, Any] | None]]]] = [
        ("plain <b>&amp;", [("plain <b>&amp;", None)]),
        ("\x1b[31mr\x1b[1mb\x1b[22mn\x1b[mo", bold),
        ("\x1b[38;5;9ma\x1b[48;5;208mb", [("a", {"ink": "9"}), ("b", orange)]),
        ("\x1b[38:2::1:2:3mx", [("x", {"ink": "#010203"})]),
        ("\x1b[38;2;300;0;0mx", [("x", None)]),
        ("\x1b[;7mx\x1b[27my", [("x", {"inverse": True}), ("y", None)]),
        ("\x1b[4:3mx\x1b[4:0my", [("x", {"underline": True}), ("y", None)]),
    ]
    for text, wanted in drawn:
        runs = [(run["text"], run["style"]) for run in page.evaluate(PARSE, text)]
        assert runs == wanted, text
    dropped = {
        "\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b": "ab",
        "a\x1b[2J\x1b[1;1H\x1b[?25lb\x1b(Bc\x1b7d": "abcd",
        "\x1bPq#0\x1b\\sixel": "sixel",
        "a\x1b[999": "a",
        "a\x1b": "a",
        "ab\x08c": "ac",
        "bell\x07 nul\x00 del\x7f": "bell nul\u2400 del\u2421",
    }
    for text, plain in dropped.items():
        assert page.evaluate(PLAIN, text) == plain, text
