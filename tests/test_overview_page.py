"""The overview in a real browser, kept true by the stream of a real server process."""

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

pytestmark = pytest.mark.stack("scaled")  # what a browser shows comes from no database

# Ivan may view incidents, and nothing else.
PREPARE_IVAN = """
from django.contrib.auth.models import Permission
ivan = User.objects.create(username="ivan")
ivan.user_permissions.add(Permission.objects.get(codename="view_incident"))
client = Client()
client.force_login(ivan)
cast["ivan"] = [str(AccessToken.for_user(ivan)), client.cookies["sessionid"].value]
print("CAST", json.dumps(cast))
"""

# As checks find it, one after the other.
TESTS = """
from servers import checks, ssh
from servers.models import Server
for name, success in {outcomes!r}:
    server = Server.objects.get(name=name)
    checks.request_test(server, None)
    message = "Logged in (3 ms)." if success else "Connection refused."
    latency = 3.0 if success else None
    checks.record_outcome(server.pk, server.test_id, ssh.Outcome(success, message, latency, ""))
"""

# A run of a new automation on both servers, and what its worker writes of it.
QUEUE = """
from automation import runs, services
from automation.models import Automation
from django.contrib.auth.models import User
from servers.models import Server
automation = Automation(name={name!r}, script="true")
services.create(automation, Server.objects.order_by("name"))
runs.start(automation, User.objects.get(username="vera"))
"""
TAKE = """
from automation import claims
claims.take(1, "worker")
"""
PROGRESS = """
from automation import records
from automation.models import Run
from automation.recorder import Batch, Change
run = Run.objects.get(status="running")
changes = [Change(1, {"status": "succeeded"}), Change(2, {"status": "running"})]
records.write(run.pk, run.claim, Batch(1, changes=changes))
"""
CANCEL = """
from automation import runs
from automation.models import Run
runs.cancel(Run.objects.filter(status__in=["queued", "running"]).earliest("pk"), None)
"""
FINISH = """
from automation import records
from automation.models import Run
run = Run.objects.get(status="running")
records.finish(run.pk, run.claim, "skipped")
"""

# What a worker that computes the figures of all pages emits.
FIGURES = """
from django.utils import timezone
from events.models import Event
for domain, right, stats in {figures!r}:
    Event.objects.create(
        type="stats.updated",
        audience=[right],
        data={{"domain": domain, "stats": stats}},
        timestamp=timezone.now(),
    )
"""
SERVERS = {
    "total": 42,
    "failing": 7,
    "by_status": {"unknown": 0, "testing": 0, "success": 35, "failed": 7},
}
INCIDENTS = {
    "open": 20,
    "unacknowledged": 19,
    "open_by_severity": {"critical": 5, "high": 0, "medium": 15, "low": 0},
}
RUNS = {
    "running": 12,
    "queued": 3,
    "completed": 30,
    "failed": 9,
    "cancelled": 1,
    "mean_duration": 2.5,
}


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals(EVENTS_HEARTBEAT=0.5)
    printed = portal.shell(PREPARE + PREPARE_IVAN)
    return Site(portal, portal.serve(), json.loads(printed.rpartition("CAST ")[2]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal with two servers, web-01 and web-02, and no incident."""
    if running_site.web.returncode is not None:
        running_site.restart()
    running_site.clear()
    for incident in call(running_site, "GET")["results"]:
        call(running_site, "DELETE", f"{incident['id']}/")
    for name in ("web-01", "web-02"):
        running_site.create(name)
    return running_site


def call(site: Site, method: str, path: str = "", at: Any = None, **body: Any) -> Any:
    """Alice's call of the incidents' API."""
    response = httpx.request(
        method,
        (at or site.web).url(f"/api/v1/incidents/{path}"),
        headers=bearer(site.cast["alice"][0]),
        json=body or None,
        trust_env=False,
    )
    response.raise_for_status()
    return response.json() if response.content else None


def open_incident(site: Site, title: str, severity: str = "high", at: Any = None) -> int:
    key: int = call(site, "POST", at=at, title=title, severity=severity)["id"]
    return key


def shell(site: Site, code: str) -> None:
    site.portal.shell(code)


def incidents(page: Page) -> Locator:
    return page.locator("#open-incidents li:not(.gone) .subject")


def failing(page: Page) -> Locator:
    return page.locator("#failing li:not(.gone) .subject")


def under_way(page: Page) -> Locator:
    return page.locator("#open-runs li:not(.gone) .subject")


def told(page: Page) -> Locator:
    return page.locator("#feed .sentence")


def count(tile: Locator, key: str) -> Locator:
    return tile.locator(f"[data-key={key}] .count")


def test_what_others_do_appears_without_a_request(site: Site, page: Page) -> None:
    first = open_incident(site, "Certificate expires", "medium")
    site.open_live(page, "/")
    expect(incidents(page)).to_have_text(["Certificate expires"])
    sent = recorded_requests(page)
    events = int(page.locator("#activity-total").inner_text())

    worst = open_incident(site, "Disk full", "critical")
    open_incident(site, "Typo", "low")
    expect(incidents(page)).to_have_text(["Disk full", "Certificate expires", "Typo"])
    expect(told(page).first).to_have_text("Typo was opened: low")
    call(site, "PATCH", f"{first}/", title="Certificate has expired", severity="critical")
    expect(incidents(page)).to_have_text(["Disk full", "Certificate has expired", "Typo"])
    call(site, "POST", f"{worst}/transition/", to="acknowledged")
    row = page.locator(f"#incident-{worst}")
    expect(row.locator(".state")).to_have_text("Acknowledged")
    call(site, "POST", f"{worst}/assign/", assignee="vera")
    expect(row.locator(".assignee")).to_have_text("vera")
    call(site, "POST", f"{worst}/transition/", to="resolved")
    expect(incidents(page)).to_have_text(["Certificate has expired", "Typo"])
    call(site, "POST", f"{worst}/transition/", to="open")
    expect(incidents(page)).to_have_text(["Disk full", "Certificate has expired", "Typo"])
    call(site, "DELETE", f"{worst}/")
    expect(incidents(page)).to_have_text(["Certificate has expired", "Typo"])
    expect(page.locator("#activity-total")).to_have_text(str(events + 8))

    expect(page.get_by_text("Those in maintenance do not count.")).to_be_visible()
    shell(site, TESTS.format(outcomes=[("web-01", False), ("web-02", False)]))
    expect(failing(page)).to_have_text(["web-02", "web-01"])
    expect(page.locator("#failing .message").first).to_have_text("Connection refused.")
    expect(failing(page).first).to_have_attribute("href", re.compile(r"^/servers/\d+/$"))
    expect(told(page).first).to_have_text("web-02 fails: Connection refused.")
    site.change("web-02", name="web-03")
    expect(failing(page)).to_have_text(["web-03", "web-01"])
    shell(site, TESTS.format(outcomes=[("web-01", True)]))
    expect(failing(page)).to_have_text(["web-03"])
    site.delete("web-03")
    expect(failing(page)).to_have_count(0)

    figures = [
        ("servers", "servers.view_server", SERVERS),
        ("incidents", "incidents.view_incident", INCIDENTS),
    ]
    shell(site, FIGURES.format(figures=figures))
    servers, unresolved = page.locator("#servers-tile"), page.locator("#incidents-tile")
    expect(servers.locator("[data-figure=total]")).to_have_text("42")
    expect(count(servers, "failed")).to_have_text("7")
    expect(servers.locator("[data-key=success] rect")).to_have_attribute("width", "83")
    expect(unresolved.locator("[data-figure=unacknowledged]")).to_have_text("19")
    expect(count(unresolved, "medium")).to_have_text("15")
    expect(page.locator("#more-incidents")).to_have_text("and 12 more")
    assert "stats.updated" not in " ".join(told(page).all_inner_texts())
    expect_not_reloaded(page)
    assert sent == []


def test_runs_appear_and_go_without_a_request(site: Site, page: Page) -> None:
    site.open_live(page, "/")
    expect(page.get_by_text("None. Nothing runs or waits.")).to_be_visible()
    sent = recorded_requests(page)

    shell(site, QUEUE.format(name="Restart") + TAKE + QUEUE.format(name="Rotate"))
    expect(under_way(page)).to_have_text([re.compile(r"^Restart #\d+$"), re.compile("^Rotate #")])
    path = re.compile(r"^/automations/runs/\d+/$")
    expect(under_way(page).first).to_have_attribute("href", path)
    expect(told(page).first.get_by_role("link", name="Rotate")).to_have_attribute("href", path)
    row = page.locator("#open-runs li").first
    expect(row.locator(".state")).to_have_text("Running")
    expect(row.locator(".starter")).to_have_text("vera")
    expect(row.locator(".tally")).to_have_text("0 of 2")
    expect(page.locator("#open-runs .state").last).to_have_text("Queued")

    shell(site, PROGRESS)
    expect(row.locator(".tally")).to_have_text("1 of 2")
    expect(row.locator("progress")).to_have_attribute("value", "1")
    shell(site, CANCEL)
    expect(row.locator(".state")).to_have_text("Cancelling")
    shell(site, FINISH + TAKE)
    expect(under_way(page)).to_have_text([re.compile("^Rotate #")])
    expect(page.locator("#open-runs li:not(.gone) .state")).to_have_text("Running")
    shell(site, FINISH + QUEUE.format(name="Clean") + CANCEL)
    expect(told(page).first).to_have_text("Clean was cancelled")
    expect(page.locator("#open-runs li")).to_have_count(0)

    shell(site, FIGURES.format(figures=[("automation", "automation.view_run", RUNS)]))
    tile = page.locator("#automation-tile")
    expect(tile.locator("[data-figure=running]")).to_have_text("12")
    expect(tile.locator("[data-figure=queued]")).to_have_text("3")
    expect(count(tile, "failed")).to_have_text("9")
    expect(tile.locator("[data-key=completed] rect")).to_have_attribute("width", "75")
    expect(page.locator("#more-runs")).to_have_text("and 7 more")
    expect_not_reloaded(page)
    assert sent == []


def drawn(page: Page) -> Any:
    """Each row's attributes and what is in it."""
    script = """rows => rows.map(row => {
        const inside = row.innerHTML.replaceAll(/<time .*?<[/]time>/g, "<time>");
        const outside = { ...row.dataset, id: row.id, opened: "opened" in row.dataset };
        return [outside, inside];
    })"""
    return page.locator("main :is(.happenings, .rows) li").evaluate_all(script)


def test_the_script_tells_what_the_server_tells(site: Site, page: Page) -> None:
    """The page that saw it happen, against the page as it comes after it, markup and all.

    Of the moments, only that there are some: they differ in how they are written.
    """
    site.open_live(page, "/")
    key = open_incident(site, HOSTILE, "critical")
    call(site, "POST", f"{key}/comment/", text="**Look** [here](https://example.com)")
    call(site, "POST", f"{key}/transition/", to="acknowledged", comment="[mine]")
    site.change("web-01", name="{name}", tags=["a", "b"])
    shell(site, QUEUE.format(name=HOSTILE[:100]) + TAKE + PROGRESS)
    shell(site, QUEUE.format(name="Deploy"))
    shell(site, TESTS.format(outcomes=[("{name}", False), ("web-02", True)]))
    expect(told(page).first).to_have_text("web-02 answers")
    seen = drawn(page)
    page.reload()
    expect_live(page)
    assert drawn(page) == seen
    expect(under_way(page)).to_have_count(2)
    shell(site, FINISH + CANCEL)
    expect(page.locator("main img")).to_have_count(0)
    inline = "[style], style, script:not([src], [type='application/json'])"
    expect(page.locator(inline)).to_have_count(0)


def test_nobody_learns_of_what_is_not_for_them(site: Site, page: Page) -> None:
    site.open(page, "mallory", "/")
    expect(page.get_by_role("heading", name="Welcome, mallory")).to_be_visible()
    expect_live(page)
    expect(page.get_by_role("link", name="Servers")).to_have_count(0)
    site.open(page, "ivan", "/")
    expect_live(page)
    site.change("web-01", name="secret-01")
    figures = [
        ("servers", "servers.view_server", SERVERS),
        ("automation", "automation.view_run", RUNS),
    ]
    shell(site, FIGURES.format(figures=figures) + QUEUE.format(name="Secret run") + CANCEL)
    open_incident(site, "Disk full")
    expect(told(page).first).to_have_text("Disk full was opened: high")
    expect(incidents(page)).to_have_text(["Disk full"])
    for secret in ("secret-01", "web-02", "servers.server", "Secret run", "Runs under way"):
        expect(page.locator("main .tiles, main .halves").last).not_to_contain_text(secret)
    others = "#servers-tile, #uptime-tile, #failing, #automation-tile, #open-runs"
    expect(page.locator(others)).to_have_count(0)


def test_an_outage_is_made_up_for(site: Site, page: Page) -> None:
    other = site.portal.serve()
    site.open_live(page, "/")
    site.portal.kill(site.web)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    open_incident(site, "Disk full", at=other)
    site.create("web-09", at=other)
    site.restart()
    expect_live(page)
    site.portal.kill(other)
    expect(incidents(page)).to_have_text(["Disk full"])
    expect(told(page).get_by_text("web-09 was added")).to_have_count(1)
    site.create("web-10")
    expect(told(page).first).to_have_text("web-10 was added")
    ids = page.locator("#feed li").evaluate_all(
        "rows => rows.map(row => Number(row.dataset.event))"
    )
    assert ids == sorted(set(ids), reverse=True)
    expect_not_reloaded(page)


def test_the_feed_stands_still_under_a_pointer_and_holds_so_many_and_no_more(
    site: Site, page: Page
) -> None:
    site.open_live(page, "/")
    first = told(page).first
    first.hover()
    before = first.inner_text()
    for number in range(3):
        site.create(f"new-{number}")
    expect(page.locator("#feed-waiting")).to_have_text("3 more")
    assert first.inner_text() == before
    page.mouse.move(1, 1)
    expect(first).to_have_text("new-2 was added")
    expect(page.locator("#feed-waiting")).to_be_empty()
    shell(site, TESTS.format(outcomes=[("web-01", number % 2) for number in range(25)]))
    expect(first).to_have_text("web-01 fails: Connection refused.", timeout=BACK)
    expect(page.locator("#feed li")).to_have_count(30)


def test_minutes_and_hours_pass_without_an_event(site: Site, page: Page) -> None:
    shell(site, TESTS.format(outcomes=[("web-01", True), ("web-02", False)]))
    page.clock.install()
    site.open(page, "vera", "/")
    total = page.locator("#activity-total")
    expect(total).not_to_have_text("0")
    expect(page.locator("#uptime")).to_have_text(re.compile(r"^\d+\.\d\d %$"))
    page.clock.fast_forward("12:00:00")
    # One server up and one down, for twelve hours.
    expect(page.locator("#uptime")).to_have_text(re.compile(r"^(50.00|49.9\d) %$"))
    expect(page.locator("#uptime-text")).to_have_text("down for 12 h in all")
    assert page.locator("#uptime-tile .loss[height='20']").count() in (12, 13)
    expect(total).to_have_text("0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(site: Site, page: Page, scheme: str) -> None:
    open_incident(site, "A" * 200, "critical")
    shell(site, TESTS.format(outcomes=[("web-01", False)]))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 380, "height": 800})
    site.open_live(page, "/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    expect(links).to_have_count(5)
    for link in links.all():
        expect(link).to_be_in_viewport(ratio=0.99)
    page.get_by_role("button", name="Account of vera").click()
    expect(page.get_by_role("button", name="Log out")).to_be_in_viewport()
