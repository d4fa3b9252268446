"""The staff's monitor in a real browser: every process of a real portal, and who may see it."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.portal import Portal, Web
from tests.readers import STREAM, bearer
from tests.services import ROOT, Process, wait_until

pytestmark = pytest.mark.stack("scaled")  # what a browser shows comes from no database

API = "/api/v1/events/processes/"
BACK = 20_000  # ms in which the page shows what a process reported
STRANGER = "elsewhere:17:1795470000"
WORKER = "elsewhere:18:1795470000"
RING = {"start": 0, "end": 9, "events": 9, "bytes": 99, "oldest": "2026-11-23T09:00:00.000000Z"}
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> & 'co'"

# Alice is staff, and vera is not, whatever her roles allow her.
PREPARE = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken
cast = {}
for name, staff in {"alice": True, "vera": False}.items():
    user = User.objects.create(username=name, is_staff=staff)
    user.groups.set(Group.objects.all())
    client = Client()
    client.force_login(user)
    cast[name] = [str(AccessToken.for_user(user)), client.cookies["sessionid"].value]
print("CAST", json.dumps(cast))
"""

REPORT = """
INSERT INTO events_processreport (process, started_at, reported_at, report) VALUES (?, ?, ?, ?)
ON CONFLICT (process) DO UPDATE SET reported_at = excluded.reported_at, report = excluded.report
"""


@dataclass
class Site:
    """A portal with a web process and a worker, and its users' tokens and sessions."""

    portal: Portal
    web: Web
    cast: dict[str, tuple[str, str]]
    client: httpx.Client

    def open(self, page: Page, name: str, path: str = "/streams/") -> None:
        cookie = {"name": "sessionid", "value": self.cast[name][1], "url": self.web.url()}
        page.context.add_cookies([cookie])  # type: ignore[list-item]
        page.goto(self.web.url(path))
        page.evaluate("window.marker = 'not reloaded'")

    def processes(self, name: str = "alice") -> httpx.Response:
        headers = bearer(self.cast[name][0])
        return self.client.get(self.web.url(API), headers=headers)

    def report(self, *, age: float = 0, user: str = "bob", draining: bool = False) -> None:
        """As if another web process had, `age` seconds ago."""
        by_user = [{"username": user, "streams": 9}]
        hub = {"streams": 9, "users": 1, "by_user": by_user, "head": 12, "lag": 3, "ring": RING}
        hub |= {"repaired_at": None, "draining": draining}
        self.report_as(STRANGER, "web", hub, age)

    def report_as(self, process: str, kind: str, hub: Any, age: float = 0) -> None:
        moment = str(datetime.now(UTC) - timedelta(seconds=age))
        report = json.dumps({"kind": kind, "hub": hub, "metrics": {}})
        self.execute(REPORT, process, moment, moment, report)

    def execute(self, statement: str, *values: str) -> None:
        """In the portal's database."""
        url = self.portal.environment["DATABASE_URL"]
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
                database.execute(statement, values)
        else:
            with psycopg.connect(url) as connection:
                connection.execute(statement.replace("?", "%s"), values)

    def streaming(self, name: str) -> AbstractContextManager[httpx.Response]:
        return httpx.stream(
            "GET",
            self.web.url(STREAM),
            headers=bearer(self.cast[name][0]),
            timeout=30,
            trust_env=False,
        )


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Iterator[Site]:
    with ExitStack() as running:
        settings = {"DJANGO_SETTINGS_MODULE": "tests.quick_settings"}
        portal = module_portals(**settings)
        printed = portal.shell(PREPARE)
        client = running.enter_context(httpx.Client(trust_env=False, timeout=20))
        yield Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]), client)


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal with the report of its web process, and no other."""
    site = running_site
    for process in site.portal.processes:
        if process is not site.web:
            process.kill()
    site.execute("UPDATE auth_user SET is_staff = TRUE WHERE username = 'alice'")
    site.execute("DELETE FROM events_processreport WHERE process NOT LIKE ?", f"%:{site.web.pid}:%")
    wait_until(lambda: kinds(site) == ["web"], 20, "the web process reports itself")
    return site


@pytest.fixture(autouse=True)
def errors(page: Page) -> Iterator[list[str]]:
    """No script may fail in any of these tests."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


def kinds(site: Site) -> list[str]:
    return [process["kind"] for process in site.processes().json()]


def row(page: Page, name: str) -> Locator:
    """The row of a process, by its kind or its whole name."""
    heading = page.get_by_role("rowheader").get_by_text(name, exact=True)
    return page.locator("#processes tbody tr").filter(has=heading)


def expect_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.marker") == "not reloaded"


def recorded_requests(page: Page) -> list[Request]:
    """The requests from now on; the list grows."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    return sent


def hide(page: Page, hidden: bool) -> None:
    """As when the user turns to another tab, or back."""
    script = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(script, hidden)


def test_who_is_not_of_the_staff_learns_of_no_process(site: Site, page: Page) -> None:
    assert site.processes("alice").status_code == 200
    refused = site.processes("vera")
    assert (refused.status_code, set(refused.json())) == (403, {"detail"})
    assert httpx.get(site.web.url(API), trust_env=False).status_code == 401
    site.open(page, "vera")
    expect(page.get_by_role("heading")).to_have_text("No access to this page")
    expect(page.locator("#processes")).to_have_count(0)
    page.goto(site.web.url("/servers/"))
    expect(page.get_by_role("link", name="Servers")).to_be_visible()
    page.get_by_role("button", name="Account").click()
    expect(page.get_by_role("link", name="API docs")).to_be_visible()
    expect(page.get_by_role("link", name="Streams")).to_have_count(0)


def test_who_is_not_logged_in_goes_to_the_login(site: Site, page: Page) -> None:
    page.goto(site.web.url("/streams/"))
    expect(page).to_have_url(re.compile(r"/login/\?next=/streams/$"))


def test_the_staff_finds_it_in_the_navigation(site: Site, page: Page) -> None:
    site.open(page, "alice", "/servers/")
    page.get_by_role("button", name="Account").click()
    page.get_by_role("link", name="Streams").click()
    expect(page.get_by_role("heading", name="Streams")).to_be_visible()
    page.get_by_role("button", name="Account").click()
    expect(page.get_by_role("link", name="Streams")).to_have_attribute("aria-current", "page")


def test_streams_that_open_and_close_are_seen_without_reload(site: Site, page: Page) -> None:
    site.open(page, "alice")
    web = row(page, "Web")
    expect(web.locator(".status")).to_have_text("Running")
    expect(web.locator(".streams")).to_have_text("0")
    expect(web.get_by_text("users")).to_be_hidden()
    with site.streaming("alice"), site.streaming("alice"), site.streaming("vera"):
        expect(web.locator(".streams")).to_have_text("3", timeout=BACK)
        web.get_by_text("2 users").click()
        expect(web.get_by_role("listitem")).to_have_text(["alice 2", "vera 1"])
    expect(web.locator(".streams")).to_have_text("0", timeout=BACK)
    expect(web.get_by_role("list")).to_be_hidden()
    expect_not_reloaded(page)


def test_a_worker_comes_and_an_orderly_end_takes_it_away(site: Site, page: Page) -> None:
    site.open(page, "alice")
    expect(row(page, "Web")).to_have_count(1)
    worker = site.portal.worker()
    found = row(page, "Worker")
    expect(found.locator(".status")).to_have_text("Running", timeout=BACK)
    expect(found.locator(".identity")).to_contain_text(f":{worker.pid}:")
    expect(found.locator(".streams")).to_have_text("—")
    worker.stop(signal.SIGTERM)
    expect(found).to_have_count(0, timeout=BACK)
    expect_not_reloaded(page)


def test_each_child_of_a_worker_that_forks_is_a_process(site: Site) -> None:
    arguments = ["-A", "opsportal", "worker", "--pool=prefork", "--concurrency=2"]
    command = [sys.executable, "-m", "celery", *arguments]
    output = site.portal.directory / "celery.log"
    worker = Process(command, output, env=site.portal.environment, cwd=ROOT)
    try:
        reports = ["web", "worker", "worker", "worker"]
        worker.wait_until(lambda: kinds(site) == reports, 30, "three reports")
        worker.stop(signal.SIGTERM)
    finally:
        worker.kill()
    wait_until(lambda: kinds(site) == ["web"], 20, "their reports are gone")


def test_a_process_that_fell_silent_is_shown_so_until_it_is_forgotten(
    site: Site, page: Page
) -> None:
    site.report(age=1, draining=True)
    site.open(page, "alice")
    stranger = row(page, STRANGER)
    expect(stranger.locator(".status")).to_have_text("Draining")
    site.report(age=30)
    expect(stranger.locator(".status")).to_have_text("Silent", timeout=BACK)
    expect(stranger.locator(".lag")).to_have_text("3")
    expect(stranger.locator(".events")).to_have_text("9 events")
    expect(stranger.locator(".repaired")).to_have_text("never")
    site.report(age=61)
    expect(stranger).to_have_count(0, timeout=BACK)
    expect(row(page, "Web").locator(".status")).to_have_text("Running")
    expect_not_reloaded(page)


def test_the_server_draws_what_the_script_draws(site: Site, page: Page) -> None:
    """The page as it comes, against the same row made anew by the script."""
    site.report(age=20)
    site.report_as(WORKER, "worker", None)
    site.open(page, "alice")
    texts = """rows => rows.map(row =>
        [...row.querySelectorAll("span:not(.age, :has(time)), summary, li, .number, .repair")]
            .filter((element) => element.checkVisibility())
            .map((element) => element.textContent.trim()))"""
    drawn = page.locator("#processes tbody tr").evaluate_all(texts)
    with page.expect_response(f"**{API}"):
        page.evaluate("document.querySelector('#processes tbody').replaceChildren()")
    expect(row(page, "Worker")).to_have_count(1)
    assert page.locator("#processes tbody tr").evaluate_all(texts) == drawn


def test_a_page_that_nobody_sees_asks_for_nothing(site: Site, page: Page) -> None:
    page.clock.install()
    site.open(page, "alice")
    sent = recorded_requests(page)
    with page.expect_response(f"**{API}"):
        page.clock.run_for(5_000)
    hide(page, True)
    sent.clear()
    page.clock.run_for(600_000)
    page.evaluate("fetch('/healthz')")
    wait_until(lambda: [request.url for request in sent], 20, "the request of this test")
    assert [request.url for request in sent] == [site.web.url("/healthz")]
    with page.expect_response(f"**{API}"):
        hide(page, False)


def test_figures_that_are_old_are_said_to_be(site: Site, page: Page) -> None:
    site.open(page, "alice")
    page.context.set_offline(True)
    expect(page.locator("#stale")).to_contain_text("these figures are old", timeout=BACK)
    expect(row(page, "Web")).to_have_count(1)
    page.context.set_offline(False)
    expect(page.locator("#stale")).to_have_text("", timeout=BACK)
    expect_not_reloaded(page)


def test_an_open_list_of_users_stays_open_and_focused(site: Site, page: Page) -> None:
    site.report()
    site.open(page, "alice")
    row(page, STRANGER).get_by_text("1 user").click()
    site.report(user="carol")
    expect(row(page, STRANGER).get_by_role("listitem")).to_have_text(["carol 9"], timeout=BACK)
    expect(row(page, STRANGER).locator("summary")).to_be_focused()


def test_markup_in_a_name_is_text(site: Site, page: Page) -> None:
    site.report(user=HOSTILE)
    site.open(page, "alice")
    row(page, STRANGER).get_by_text("1 user").click()
    expect(page.locator(".username")).to_have_text(HOSTILE)
    site.report(user=f"{HOSTILE} again")
    expect(page.locator(".username")).to_have_text(f"{HOSTILE} again", timeout=BACK)
    expect(page.locator("#processes img")).to_have_count(0)
    expect(page).to_have_title("Streams · OpsPortal")


def test_no_script_or_style_is_inline(site: Site, page: Page) -> None:
    site.open(page, "alice")
    expect(page.locator("[style], style, script:not([src])")).to_have_count(0)
    attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert not [name for name in page.evaluate(attributes) if name.startswith("on")]


def test_who_loses_the_right_to_it_sees_it_no_more(site: Site, page: Page) -> None:
    site.open(page, "alice")
    site.execute("UPDATE auth_user SET is_staff = FALSE")
    expect(page.get_by_role("heading")).to_have_text("No access to this page", timeout=BACK)
