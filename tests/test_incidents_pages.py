"""The incidents' pages in a real browser, kept true by the stream of a real server process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.portal import Portal
from tests.readers import bearer
from tests.test_servers_page import (
    BACK,
    FORGET,
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


VIEW = "incidents.view_incident"


class Duty(Site):
    """Alice, who may do everything, and vera, who looks on and responds."""

    def call(self, method: str, path: str = "", **body: Any) -> Any:  # type: ignore[override]
        """Alice's call of the incidents' API."""
        response = httpx.request(
            method,
            self.web.url(f"/api/v1/incidents/{path}"),
            headers=bearer(self.cast["alice"][0]),
            json=body or None,
            trust_env=False,
        )
        response.raise_for_status()
        return response.json() if response.content else None

    def new(self, title: str, **fields: Any) -> int:
        key: int = self.call("POST", title=title, **fields)["id"]
        return key

    def head(self) -> str:
        """The log's position."""
        headers = bearer(self.cast["alice"][0])
        address = self.web.url("/api/v1/incidents/")
        return httpx.get(address, headers=headers, trust_env=False).headers["X-Event-Cursor"]

    def move(self, key: int, to: str, comment: str = "") -> None:
        self.call("POST", f"{key}/transition/", to=to, comment=comment)

    def publish(self, key: int, event_type: str, **data: Any) -> None:
        """As somebody does by hand, who writes what they like."""
        event = {
            "type": event_type,
            "data": {"id": key} | data,
            "subject": f"incidents.incident/{key}",
        }
        self.portal.manage("emit", input=json.dumps(event))


@pytest.fixture(scope="module")
def running_duty(module_portals: Callable[..., Portal]) -> Duty:
    portal = module_portals(EVENTS_HEARTBEAT=0.5)
    printed = portal.shell(PREPARE)
    return Duty(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def duty(running_duty: Duty) -> Duty:
    """Without incidents."""
    for row in running_duty.call("GET")["results"]:
        running_duty.call("DELETE", f"{row['id']}/")
    return running_duty


def titles(part: Page | Locator) -> Locator:
    return part.locator(".name")


def item(page: Page, key: int) -> Locator:
    """A row of the list, or a card of the board."""
    return page.locator(f"#incident-{key}")


def lane(page: Page, status: str) -> Locator:
    return page.locator(f".lane[data-status={status}]")


def test_the_list_shows_what_others_do_and_keeps_its_rows(duty: Duty, page: Page) -> None:
    old = duty.new("Old", severity="low")
    full = duty.new("Disk full", severity="high")
    address = "/incidents/?severity=high&severity=low&status=open&status=acknowledged"
    duty.open_live(page, address)
    page.get_by_label("Choose Old").check()
    sent = recorded_requests(page)
    duty.move(full, "acknowledged")
    expect(item(page, full).locator(".status")).to_have_text("Acknowledged")
    duty.call("POST", f"{full}/comment/", text="Looking.")
    expect(item(page, full).locator(".number")).to_have_text("1")
    duty.call("PATCH", f"{full}/", title=HOSTILE, assignee="vera")
    expect(item(page, full).locator(".name")).to_have_text(HOSTILE)
    expect(item(page, full).locator(".assignee")).to_have_text("vera")
    # Neither what comes nor what goes moves a row.
    new = duty.new("Fans loud", severity="low")
    duty.new("Not for this list", severity="critical")
    expect(page.locator("#news")).to_have_text("1 new")
    duty.call("PATCH", f"{old}/", severity="critical")
    expect(page.locator("#news")).to_have_text("1 new, 1 out of place")
    duty.move(new, "resolved")
    expect(page.locator("#news")).to_have_text("1 out of place")
    duty.move(new, "open")
    expect(page.locator("#news")).to_have_text("1 new, 1 out of place")
    expect(titles(page)).to_have_text([HOSTILE, "Old"])
    assert sent == []
    page.get_by_label(f"Choose {HOSTILE}").check()
    page.get_by_role("button", name="Show").click()
    expect(titles(page)).to_have_text(["Fans loud", HOSTILE])
    expect(page.locator("#news")).to_have_text("")
    expect(page.locator("#count")).to_have_text("2 incidents")
    expect(page.locator("#chosen")).to_have_text("1 chosen")
    expect(page).to_have_url(duty.web.url(address))
    # What was chosen is moved; that arrives by the stream.
    page.get_by_role("button", name="Resolve").click()
    expect(page.locator("#notice")).to_have_text("Resolved: 1 incident.")
    expect(item(page, full).locator(".status")).to_have_text("Resolved")
    duty.call("DELETE", f"{new}/")
    expect(item(page, new).locator(".status")).to_have_text("Deleted")
    expect(page.locator("#count")).to_have_text("1 incident")
    expect(page.locator("#incidents img")).to_have_count(0)
    expect_not_reloaded(page)


MANY = """
from incidents.models import Incident
Incident.objects.bulk_create(Incident(title=f"n{n}", severity="low") for n in range(60))
"""
NONE = """
from incidents.models import Incident
Incident.objects.all().delete()
"""


def test_pages_of_the_list_stay_where_they_are(duty: Duty, page: Page) -> None:
    duty.portal.shell(MANY)
    duty.open_live(page, "/incidents/?severity=low&page=2")
    expect(page.locator("#count")).to_have_text("51–60 of 60 incidents")
    duty.new("Newest", severity="low")
    expect(page.locator("#news")).to_have_text("1 new")
    expect(titles(page).first).to_have_text("n9")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#count")).to_have_text("51–61 of 61 incidents")
    expect(titles(page).first).to_have_text("n10")
    expect_not_reloaded(page)
    page.get_by_role("link", name="Previous").click()
    expect(titles(page).first).to_have_text("Newest")
    duty.portal.shell(NONE)


def test_counters_follow_the_figures(duty: Duty, page: Page) -> None:
    duty.new("Disk full", severity="high")
    duty.open_live(page, "/incidents/")
    sent = recorded_requests(page)
    figures = {
        "open": 7,
        "unacknowledged": 5,
        "open_by_severity": {"critical": 3, "high": 2, "medium": 1, "low": 1},
        "opened": 9,
        "resolved": 2,
        "mean_time_to_acknowledge": None,
        "mean_time_to_resolve": 1.5,
    }
    event = {"type": "stats.updated", "data": {"domain": "incidents", "stats": figures}}
    duty.portal.manage("emit", input=json.dumps(event | {"permissions": [VIEW]}))
    numbers = page.locator("#figures strong")
    expect(numbers).to_have_text(["7", "5", "3", "2", "1", "1"])
    assert sent == []


def test_cards_move_as_events_say(duty: Duty, page: Page) -> None:
    plain = duty.new("Plain", severity="low")
    duty.open_live(page, "/incidents/board/")
    sent = recorded_requests(page)
    worst = duty.new(HOSTILE, severity="critical")
    expect(titles(lane(page, "open"))).to_have_text([HOSTILE, "Plain"])
    expect(lane(page, "open").locator(".quantity")).to_have_text("2")
    expect(page.locator("#news")).to_have_text(f"Opened by alice: {HOSTILE}")
    expect(page.locator("#board img")).to_have_count(0)
    duty.move(worst, "acknowledged")
    expect(titles(lane(page, "acknowledged"))).to_have_text([HOSTILE])
    expect(titles(lane(page, "open"))).to_have_text(["Plain"])
    expect(page.locator("#news")).to_have_text(f"Acknowledged by alice: {HOSTILE}")
    expect(item(page, worst).get_by_role("button")).to_have_text(["Resolve"])
    duty.call("PATCH", f"{plain}/", severity="high", assignee="vera")
    expect(item(page, plain).locator(".severity")).to_have_text("High")
    expect(item(page, plain).locator(".assignee")).to_have_text("vera")
    assert sent == []
    # By keyboard, on a card that an event has brought: the focus goes with the card.
    item(page, worst).get_by_role("button", name="Resolve").focus()
    page.keyboard.press("Enter")
    expect(titles(lane(page, "resolved"))).to_have_text([HOSTILE])
    expect(item(page, worst).locator(".name")).to_be_focused()
    duty.call("DELETE", f"{worst}/")
    expect(item(page, worst)).to_have_count(0)
    assert [request.method for request in sent] == ["POST"]
    expect_not_reloaded(page)


def test_nothing_moves_under_the_pointer(duty: Duty, page: Page) -> None:
    first, second = duty.new("first", severity="high"), duty.new("second", severity="low")
    duty.open_live(page, "/incidents/board/")
    button = item(page, second).get_by_role("button", name="Acknowledge")
    button.hover()
    before = button.bounding_box()
    duty.move(first, "acknowledged")
    expect(titles(lane(page, "acknowledged"))).to_have_text(["first"])
    assert button.bounding_box() == before
    third = duty.new("third", severity="critical")
    expect(item(page, third)).to_be_visible()
    assert button.bounding_box() == before
    page.mouse.move(0, 0)
    expect(titles(lane(page, "open"))).to_have_text(["third", "second"])
    expect(page.locator(".gap")).to_have_count(0)


def test_what_a_page_shows_already_may_come_again(duty: Duty, page: Page) -> None:
    """As it does where it is committed between the reading of the cursor and of the state."""
    before = duty.head()
    key = duty.new("Disk full")
    duty.call("POST", f"{key}/comment/", text="Looking.")
    duty.move(key, "acknowledged")
    duty.call("PATCH", f"{key}/", title="Disk full again", severity="low", assignee="vera")
    duty.move(key, "resolved")

    def begin_before(route: Route) -> None:
        answer = route.fetch()
        body = re.sub(r'data-cursor="\d+"', f'data-cursor="{before}"', answer.text())
        route.fulfill(response=answer, body=body)

    def open_and_wait(path: str, part: str, text: str) -> None:
        duty.open_live(page, path)
        duty.call("POST", f"{key}/comment/", text="The last.")  # after which all has come again
        expect(page.locator(part).first).to_contain_text(text)

    page.route(re.compile(r"/incidents/[^?]*$"), begin_before)
    open_and_wait("/incidents/", ".number", "2")
    expect(titles(page)).to_have_text(["Disk full again"])
    expect(item(page, key)).to_contain_text(re.compile(r"Low\s+Disk full again\s+Resolved\s+vera"))
    expect(page.locator("#news")).to_have_text("")
    open_and_wait("/incidents/board/", ".number", "3")
    expect(titles(page)).to_have_text(["Disk full again"])
    expect(titles(lane(page, "resolved"))).to_have_text(["Disk full again"])
    expect(page.locator(".quantity")).to_have_text(["0", "0", "1", "0"])
    expect(page.locator("#missing")).to_have_text("")
    open_and_wait(f"/incidents/{key}/", "#entries > li", "The last.")
    expect(page.locator("#entries > li")).to_have_count(8)
    expect(page.locator("#title")).to_have_text("Disk full again")
    expect(page.locator("#present")).to_contain_text(re.compile(r"Resolved.*Low"))
    expect(page.get_by_role("button", name="Reopen")).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge")).to_be_hidden()


def test_an_incidents_page_follows_what_is_done(duty: Duty, page: Page) -> None:
    key = duty.new("Disk full", description="As it was.")
    duty.open_live(page, f"/incidents/{key}/")
    entries = page.locator("#entries > li")
    expect(entries).to_have_count(1)
    said = page.get_by_label("Comment, in Markdown")
    said.fill("What I was about to say")
    sent = recorded_requests(page)
    duty.move(key, "acknowledged", "Mine.\nNow.")
    expect(page.locator("#status")).to_have_text("Acknowledged")
    expect(page.locator("#acknowledged")).to_have_text(re.compile(r"^after \d+ s$"))
    expect(page.get_by_role("button", name="Acknowledge")).to_be_hidden()
    expect(entries.first).to_contain_text("alice acknowledged just now")
    expect(entries.first.locator(".text")).to_have_text("Mine.\nNow.")
    duty.call("POST", f"{key}/comment/", text=f"**Really** {HOSTILE} [x](javascript:alert(1))")
    expect(entries.first.locator("strong")).to_have_text("Really")
    duty.call("PATCH", f"{key}/", title=HOSTILE, severity="low", assignee="vera")
    expect(page.locator("#title")).to_have_text(HOSTILE)
    expect(page).to_have_title(f"{HOSTILE} · OpsPortal")
    expect(entries.first.locator(".change")).to_contain_text([HOSTILE, "medium → low", "– → vera"])
    expect(page.get_by_role("button", name="Assign to me")).to_be_hidden()
    expect(page.get_by_label("Give it to")).to_have_value("vera")
    duty.call("PATCH", f"{key}/", description="As it **is**.")
    expect(page.locator("#description")).to_contain_text("As it **is**.")
    duty.move(key, "resolved")
    expect(page.get_by_role("button", name="Reopen")).to_be_visible()
    duty.move(key, "open")
    expect(page.locator("#acknowledged")).to_have_text("—")
    expect(page.get_by_role("button", name="Acknowledge")).to_be_visible()
    expect(entries).to_have_count(7)
    assert sent == []
    expect(said).to_have_value("What I was about to say")
    page.get_by_role("button", name="Show it as it looks").click()
    expect(page.locator("#description strong")).to_have_text("is")
    expect(entries).to_have_count(7)
    expect(said).to_have_value("What I was about to say")
    expect(page.locator("article img, article [href^=javascript]")).to_have_count(0)
    expect_not_reloaded(page)
    duty.call("DELETE", f"{key}/")
    expect(page.locator("#gone")).to_contain_text("This incident has been deleted by alice.")
    expect(page.locator("article form")).to_have_count(0)


def test_the_second_of_two_is_told_and_keeps_what_was_typed(duty: Duty, page: Page) -> None:
    key = duty.new("Disk full")
    duty.open_live(page, f"/incidents/{key}/")

    def overtake(route: Route) -> None:
        duty.move(key, "acknowledged")
        route.continue_()

    page.route("**/transition/", overtake)
    said = page.get_by_label("Comment, in Markdown")
    said.fill("On it.")
    page.get_by_role("button", name="Acknowledge").click()
    problem = page.locator("#problem")
    expect(problem).to_have_text("alice was quicker: it is acknowledged already.")
    expect(said).to_have_value("On it.")
    page.unroute("**/transition/")
    page.get_by_role("button", name="Resolve").click()
    entry = page.locator("#entries > li").first
    expect(entry).to_contain_text("vera resolved")
    expect(entry.locator(".text")).to_have_text("On it.")
    expect(said).to_have_value("")
    said.fill("It was *the log*.")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(entry.locator("em")).to_have_text("the log")
    page.get_by_role("button", name="Assign to me").click()
    expect(page.locator("#assignee")).to_have_text("vera")
    expect_not_reloaded(page)


def test_what_was_published_by_hand_does_no_harm(duty: Duty, page: Page) -> None:
    key = duty.new("Disk full")
    duty.open_live(page, f"/incidents/{key}/")
    entry = page.locator("#entries > li").first
    evil = f"<p onclick=x>Hi {HOSTILE}</p><a href='javascript:x'>y</a><script>z</script><style>*"
    duty.publish(key, "incident.commented", comment=1, author=None, text="x", html=evil)
    expect(entry.locator(".markdown")).to_contain_text("Hi")
    expect(entry.locator("img, script, style, [onclick], [href]")).to_have_count(0)
    state = {"title": "T", "severity": "low", "status": "open", "assignee": None}
    changes = {"title": {}, "servers": {"new": [1, {"a": None}]}, "description": {"new": 7}}
    duty.publish(key, "incident.updated", **state, changes=changes)
    expect(entry).to_contain_text("servers")
    expect(page.locator("#severity")).to_have_text("Low")
    for path in ("/incidents/", "/incidents/board/"):
        duty.open_live(page, path)
        duty.publish(key, "incident.updated", **state | {"title": "U"}, changes=changes)
        expect(item(page, key).locator(".name")).to_have_text("U")


def test_what_cannot_be_replayed_is_fetched_around_what_is_typed(duty: Duty, page: Page) -> None:
    key = duty.new("Disk full")
    duty.open_live(page, f"/incidents/{key}/")
    said = page.get_by_label("Comment, in Markdown")
    said.fill("Half a sent")
    page.context.set_offline(True)
    expect(page.locator("#connection")).not_to_have_text("Live")
    duty.move(key, "acknowledged")
    duty.portal.kill(duty.web)
    duty.portal.shell(FORGET)
    duty.restart()
    page.context.set_offline(False)
    expect_live(page)
    expect(page.locator("#status")).to_have_text("Acknowledged", timeout=BACK)
    expect(page.get_by_role("button", name="Acknowledge")).to_be_hidden()
    expect(said).to_have_value("Half a sent")
    page.get_by_role("button", name="Resolve").click()
    expect(page.locator("#status")).to_have_text("Resolved")
    expect_not_reloaded(page)
