"""The explorer in a real browser: live, filtered, and back through history."""

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

PAGE = "/events/"
LONG = 60_000  # ms in which thousands of events get through, whoever else uses the machine

# So many a second, one by one, as a fleet that is busy makes them.
LOAD = """
import time
from events.api import emit
for number in range({count}):
    emit("server.updated", {{"id": 1, "name": f"load-{{number}}", "host": "h", "status": "failed",
        "changes": {{"host": {{"old": "a", "new": "b"}}}}}}, subject="servers.server/1")
    time.sleep(1 / {rate})
"""


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals(EVENTS_HEARTBEAT=0.5)
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), json.loads(printed.rpartition("CAST ")[2]))


@pytest.fixture
def site(running_site: Site) -> Site:
    if running_site.web.returncode is not None:
        running_site.restart()
    running_site.clear()
    return running_site


def publish(site: Site, count: int, name: str = "noted") -> None:
    """So many events at once, by alice."""
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        events = [
            {
                "type": "server.created",
                "data": {"id": 999, "name": f"{name}-{n}", "host": "h", "status": "unknown"},
                "subject": "servers.server/999",
            }
            for n in numbers
        ]
        url, headers = site.web.url("/api/v1/events/"), bearer(site.cast["alice"][0])
        answer = httpx.post(url, json=events, headers=headers, trust_env=False, timeout=60)
        answer.raise_for_status()


def ids(page: Page) -> list[int]:
    script = "rows => rows.map(row => Number(row.dataset.event))"
    found: list[int] = page.locator("#events li").evaluate_all(script)
    return found


def last_ids(site: Site, count: int, **query: Any) -> list[int]:
    """Of the last events that vera may read, the newest first, as the API gives them."""
    found: list[int] = []
    before = 10**9
    while len(found) < count:
        answer = httpx.get(
            site.web.url("/api/v1/events/"),
            params={"before": before, **query},
            headers=bearer(site.cast["vera"][0]),
            trust_env=False,
        ).json()
        found += [event["id"] for event in answer["events"]][::-1]
        before = answer["cursor"]
        if not answer["more"]:
            break
    return found[:count]


def rows(page: Page) -> Locator:
    return page.locator("#events .sentence")


def test_what_comes_appears_filtered_and_without_a_request(site: Site, page: Page) -> None:
    site.create("web-01")
    site.create("web-02")
    key = site.call("GET", "?search=web-01")["results"][0]["id"]
    site.open_live(page, f"{PAGE}?types=server.updated,server.deleted&subject=servers.server/{key}")
    expect(rows(page)).to_have_count(0)
    expect(page.get_by_role("heading", name="No event matches")).to_be_visible()
    sent = recorded_requests(page)
    site.change("web-02", host="192.0.2.2")
    site.change("web-01", host="192.0.2.1")
    expect(rows(page)).to_have_text(["web-01 was changed: host"])
    site.change("web-01", name=HOSTILE)
    expect(rows(page).first).to_have_text(f"{HOSTILE} was changed: name")
    row = page.locator("#events li").first
    expect(row.locator(".who")).to_have_text("alice")
    row.locator("summary").click()
    expect(row.locator("pre")).not_to_be_empty()
    shown = json.loads(row.locator("pre").inner_text())
    assert shown["data"]["changes"] == {"name": {"old": "web-01", "new": HOSTILE}}
    assert shown["subject"] == f"servers.server/{key}"
    expect(row.get_by_role("link", name="Open")).to_have_attribute("href", f"/servers/{key}/")
    site.clear()
    # A row that is open is read: what comes waits for it to be closed.
    expect(page.get_by_role("button", name="Show 1 new")).to_be_visible()
    expect(rows(page)).to_have_count(2)
    row.locator("summary").click()
    expect(rows(page).first).to_have_text(f"{HOSTILE} was deleted")
    expect(page.locator("#events img")).to_have_count(0)
    expect_not_reloaded(page)
    assert sent == []


def test_the_script_draws_what_the_server_draws(site: Site, page: Page) -> None:
    def drawn() -> Any:
        """Each row as it is, but for how its moment is written."""
        page.locator("#events details").evaluate_all("all => all.forEach(one => one.open = true)")
        expect(page.locator("#events pre:empty")).to_have_count(0)
        inside = page.locator("#events li").evaluate_all("rows => rows.map(row => row.innerHTML)")
        return [re.sub(r"<time .*?</time>", "", text) for text in inside]

    site.open_live(page, f"{PAGE}?actor=alice")
    site.create(HOSTILE, tags=["new"])
    site.change(HOSTILE, name="web-01", tags=[])
    expect(rows(page).first).to_have_text("web-01 was changed: name, tags")
    seen = drawn()[:2]
    page.reload()
    assert drawn()[:2] == seen
    inline = "[style], style, script:not([src], [type='application/json'])"
    expect(page.locator(inline)).to_have_count(0)


def test_filters_are_chosen_and_kept_in_the_address(site: Site, page: Page) -> None:
    site.create("web-01")
    site.open_live(page, PAGE)
    page.get_by_text("All types").click()
    page.get_by_label("server.created").check()
    page.get_by_label("server.deleted").check()
    page.get_by_label("server.*", exact=True).check()
    expect(page.get_by_label("server.created")).not_to_be_checked()
    page.get_by_label("User").fill("alice")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"/events/\?actor=alice&types=server\.\*$"))
    expect_live(page)
    expect(rows(page).first).to_have_text("web-01 was added")
    page.reload()
    expect_live(page)
    expect(page.get_by_label("User")).to_have_value("alice")
    expect(page.locator(".types summary")).to_have_text(re.compile("server\\.\\*"))
    site.portal.shell(LOAD.format(count=1, rate=1000))
    site.change("web-01", host="192.0.2.1")
    expect(rows(page).first).to_have_text("web-01 was changed: host")
    assert "load-0" not in " ".join(rows(page).all_inner_texts())
    page.get_by_text("server.*").first.click()
    page.keyboard.press("Escape")
    expect(page.locator(".types")).not_to_have_attribute("open", "")
    page.get_by_role("button", name="Clock times").click()
    expect(page.locator("#events time").first).to_have_text(re.compile(r"\d\d:\d\d:\d\d$"))
    page.reload()
    expect(page.locator("#events time").first).to_have_text(re.compile(r"\d\d:\d\d:\d\d$"))


def test_history_joins_what_comes_without_gap_or_repeat(site: Site, page: Page) -> None:
    publish(site, 400)
    site.open_live(page, PAGE)
    assert ids(page) == last_ids(site, 100)
    publish(site, 3, "live")
    expect(rows(page).first).to_have_text("live-2 was added")
    page.get_by_role("link", name="Load older").click()
    expect(rows(page)).to_have_count(203)
    # The list's top is out of sight: its rows stay where they are.
    publish(site, 2, "later")
    expect(page.get_by_role("button", name="Show 2 new")).to_be_visible()
    expect(rows(page)).to_have_count(203)
    page.get_by_role("link", name="Load older").click()
    expect(rows(page)).to_have_count(303)
    page.get_by_role("button", name="Show 2 new").click()
    expect(rows(page).first).to_have_text("later-1 was added")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    assert ids(page) == last_ids(site, 305)
    expect_not_reloaded(page)
    # The same without the script, page by page.
    page.goto(site.web.url(PAGE))
    found = ids(page)
    page.goto(site.web.url(PAGE) + (page.locator("#older").get_attribute("href") or ""))
    expect(page.get_by_text("Events before")).to_be_visible()
    assert found + ids(page) == last_ids(site, 200)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)


def test_a_pause_keeps_what_waits(site: Site, page: Page) -> None:
    site.open_live(page, PAGE)
    page.get_by_role("button", name="Pause").click()
    seen = ids(page)
    publish(site, 12)
    waiting = page.get_by_role("button", name="Show 12 new")
    expect(waiting).to_be_visible()
    assert ids(page) == seen
    publish(site, 700)
    expect(page.get_by_role("button", name="Show 712 new")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(rows(page)).to_have_count(500, timeout=LONG)
    assert ids(page) == last_ids(site, 500)
    # Those for which there was no room are found further back.
    page.get_by_role("link", name="Load older").click()
    expect(rows(page)).to_have_count(600)
    assert ids(page) == last_ids(site, 600)


def test_a_storm_loses_nothing_and_leaves_a_bounded_list(site: Site, page: Page) -> None:
    """Thousands at once, and then 50 a second into a long list."""
    publish(site, 5_000)
    site.open_live(page, PAGE)
    for length in range(200, 501, 100):
        page.get_by_role("link", name="Load older").click()
        expect(rows(page)).to_have_count(length)
    page.evaluate("scrollTo(0, 0)")
    publish(site, 5_000, "storm")
    expect(rows(page).first).to_have_text("storm-4999 was added", timeout=LONG)
    load = site.portal.start("shell", "--verbosity=0", "-c", LOAD.format(count=100, rate=50))
    expect(rows(page).first).to_have_text("load-99 was changed: host", timeout=LONG)
    load.wait()
    assert ids(page) == last_ids(site, len(ids(page)))
    assert len(ids(page)) <= 900


def test_an_outage_is_made_up_for(site: Site, page: Page) -> None:
    other = site.portal.serve()
    site.open_live(page, f"{PAGE}?types=server.*")
    site.portal.kill(site.web)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    site.create("web-08", at=other)
    site.create("web-09", at=other)
    site.restart()
    expect_live(page)
    site.portal.kill(other)
    expect(rows(page).first).to_have_text("web-09 was added")
    site.create("web-10")
    expect(rows(page).first).to_have_text("web-10 was added")
    assert ids(page) == last_ids(site, len(ids(page)), types="server.*")
    expect_not_reloaded(page)


def test_an_outsider_sees_nothing_come(site: Site, page: Page) -> None:
    site.open(page, "mallory", PAGE)
    expect_live(page)
    site.create("secret-01")
    open_page = page.context.new_page()
    site.open(open_page, "vera", PAGE)
    expect(rows(open_page).first).to_have_text("secret-01 was added")
    cursor = int(open_page.locator("#connection").get_attribute("data-cursor") or 0)
    site.open(page, "mallory", PAGE)
    assert int(page.locator("#connection").get_attribute("data-cursor") or 0) >= cursor
    expect(rows(page)).to_have_count(0)
    expect(page.get_by_role("heading", name="No event yet")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(site: Site, page: Page, scheme: str) -> None:
    site.create("A" * 100)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 380, "height": 800})
    site.open_live(page, PAGE)
    page.locator("#events summary").first.click()
    page.get_by_text("All types").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
