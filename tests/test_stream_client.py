"""The browser's client of the stream: many tabs, one stream, and polls where there is none."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Request, Response, Route, expect

from events import wire
from tests.portal import Portal, Web
from tests.readers import bearer
from tests.services import wait_until
from tests.tabs import PATIENCE, POLL, STREAM, Tab

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

HEARTBEAT = 0.5  # seconds
PACE = 0.02  # seconds between two events of a writer
PREPARE = """
import json
from django.contrib.auth.models import Permission, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken
def log_in(user):
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value
alice = User.objects.create_superuser("alice", password="alice")
carol = User.objects.create_user("carol")
carol.user_permissions.add(Permission.objects.get(codename="view_incident"))
print("CAST", json.dumps([str(AccessToken.for_user(alice)), log_in(alice), log_in(carol)]))
"""
GRANT = """
from django.contrib.auth.models import Permission, User
User.objects.get(username="carol").user_permissions.add(
    Permission.objects.get(codename="view_server")
)
"""


@dataclass
class Site:
    """A portal with alice, who may do everything, and carol, who may see incidents."""

    portal: Portal
    web: Web
    token: str  # of alice
    alice: str  # a session
    carol: str

    def log_in(self, context: BrowserContext, session: str) -> None:
        cookie = {"name": "sessionid", "value": session, "url": self.web.url()}
        context.add_cookies([cookie])  # type: ignore[list-item]

    def emit(self, *numbers: int, at: Web | None = None) -> None:
        """An event for each, about one of two servers."""
        events = [
            {
                "type": "server.created",
                "data": {"id": number, "name": "web", "host": "127.0.0.1", "status": "unknown"},
                "subject": f"servers.server/{number % 2}",
            }
            for number in numbers
        ]
        url = (at or self.web).url("/api/v1/events/")
        headers = bearer(self.token)
        httpx.post(url, headers=headers, json=events, trust_env=False).raise_for_status()

    def events(self, after: int) -> list[dict[str, Any]]:
        """All that were emitted since."""
        answer = self._get(f"?after={after}&types=server.created").json()
        events: list[dict[str, Any]] = answer["events"]
        return [*events, *self.events(answer["cursor"])] if answer["more"] else events

    def ids(self, after: int, subject: str = "") -> list[int]:
        events = self.events(after)
        return [event["id"] for event in events if subject in ("", event["subject"])]

    def cursor(self) -> int:
        return int(self._get("?limit=1").headers["X-Event-Cursor"])

    def _get(self, query: str) -> httpx.Response:
        url = self.web.url(f"/api/v1/events/{query}")
        return httpx.get(url, headers=bearer(self.token), trust_env=False).raise_for_status()

    def streams(self) -> int:
        """How many are open in the web process."""
        text = httpx.get(self.web.url("/metrics"), trust_env=False).raise_for_status().text
        line = rf'^opsportal_events_streams{{.*process="[^"]*:{self.web.pid}:.*}} (\S+)$'
        return round(sum(map(float, re.findall(line, text, re.MULTILINE))))


class Writer:
    """A context manager: emits one event after the other, in a thread, until its end."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        number = 0
        while not self._over.wait(PACE):
            self._site.emit(number)
            number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals(EVENTS_HEARTBEAT=HEARTBEAT)
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), *json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site, context: BrowserContext) -> Site:
    running_site.log_in(context, running_site.alice)
    return running_site


def leader_of(tabs: list[Tab]) -> Tab:
    """The tab that has the stream: whoever asked for it last."""
    return max(tabs, key=lambda tab: max([sent.timing["startTime"] for sent in tab.streams] + [0]))


def any_streams(tabs: list[Tab]) -> bool:
    return any(tab.streams for tab in tabs)


def test_tabs_hold_one_stream_and_miss_nothing_whoever_goes(
    site: Site, context: BrowserContext
) -> None:
    cursor = site.cursor()
    odd = "servers.server/1"
    wishes: list[dict[str, Any]] = [
        {"types": ["server.created"]},
        {"types": ["server.*"]},
        {"types": ["server.created", "incident.*"]},
        {"types": ["server.*"], "subject": odd},
        {"types": []},
        {"types": ["incident.*"]},
    ]
    with Writer(site):
        tabs = [Tab.open(context, site.web, lastEventId=cursor, **wish) for wish in wishes]
        for tab in tabs:
            tab.wait_for("live")
        assert site.streams() == 1
        left = [*tabs]
        gone = []
        for end in (Tab.close, Tab.crash, Tab.freeze, Tab.hang):
            left.remove(leader := leader_of(left))
            gone.append(leader)
            end(leader)
            left[0].wait_until(partial(any_streams, left), "another has the stream")
            written = site.ids(cursor, odd)[-1]
            next(tab for tab in (tabs[3], tabs[4]) if tab in left).wait_for_id(written)
        gone[2].thaw()
        gone[3].go_on()
        wait_until(lambda: site.streams() == 1, PATIENCE, "who hung has given its stream up")
    for tab, subject in ((tabs[2], ""), (tabs[3], odd), (tabs[4], "")):
        expected = site.ids(cursor, subject)
        tab.wait_for_id(expected[-1])
        assert tab.ids == expected
    assert tabs[5].ids == []
    assert tabs[4].statuses == ["connecting", "live"]


def test_the_stream_asks_for_no_more_than_its_tabs_want(
    site: Site, context: BrowserContext
) -> None:
    def asked_for(**options: Any) -> dict[str, str]:
        tab = Tab.open(context, site.web, lastEventId=cursor, **options)
        tab.wait_for("live")
        tab.wait_for_opening()
        query = dict(parse_qsl(urlsplit(leader.streams[-1].url).query))
        return {name: query[name] for name in ("types", "subject") if name in query}

    cursor = site.cursor()
    odd = "servers.server/1"
    leader = Tab.open(context, site.web, types=["server.*", "server.created"], subject=odd)
    leader.wait_for_opening()
    assert asked_for(types=["server.updated"], subject=odd) == {"types": "server.*", "subject": odd}
    types = "incident.created,server.*"
    assert asked_for(types=["incident.created"], subject=odd) == {"types": types, "subject": odd}
    assert asked_for(types=["incident.created"], subject="") == {"types": types}
    many = [f"incident.{'x' * 80}{number}" for number in range(30)]
    assert asked_for(types=many) == {}


def test_rights_that_were_given_later_reach_who_joins(site: Site, context: BrowserContext) -> None:
    site.log_in(context, site.carol)
    cursor = site.cursor()
    early = Tab.open(context, site.web, types=["server.*"], lastEventId=cursor)
    early.wait_for("live")
    explorer = open_explorer(site, context)
    site.emit(1)
    site.portal.shell(GRANT)
    late = Tab.open(context, site.web, types=["server.*"], lastEventId=site.cursor())
    late.wait_for_opening()
    site.emit(2)
    before, after = site.ids(cursor)
    for tab in (early, late):
        tab.wait_for_id(after)
    assert late.ids == [after]
    # Opened anew for the other, its stream may go back to what was withheld: by the rights of now.
    assert early.ids in ([after], [before, after])
    # It shows more than the shared stream told of at its opening, and is not made anew for that.
    loaded: list[str] = []
    context.on("page", lambda page: page.on("framenavigated", lambda at: loaded.append(at.url)))
    second = open_explorer(site, context)
    site.emit(3)
    for page in (explorer, second):
        expect(page.locator("#events .sentence").first).to_have_text("web was added")
    assert loaded == [second.url]


def open_explorer(site: Site, context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto(site.web.url("/events/"))
    expect(page.locator("#connection")).to_have_text("Live")
    return page


def test_a_dead_server_is_polled_and_found_again(site: Site, context: BrowserContext) -> None:
    other = site.portal.serve()
    cursor = site.cursor()
    leader = Tab.open(context, site.web, clock=True, lastEventId=cursor)
    follower = Tab.open(context, site.web, lastEventId=cursor)
    tabs = [leader, follower]
    for tab in tabs:
        tab.wait_for("live")
    site.emit(1)
    site.portal.kill(site.web)
    leader.hurry_until(lambda: follower.status == "polling", "three attempts fail")
    assert follower.page.evaluate("stream.isStale")
    site.emit(2, 3, at=other)
    site.web = site.portal.serve(port=site.web.port)
    site.portal.kill(other)
    for tab in tabs:
        tab.wait_for("live")
    site.emit(4)
    for tab in tabs:
        tab.wait_for_ids(4)
        assert tab.ids == site.ids(cursor)
        assert tab.statuses == ["connecting", "live", "reconnecting", "polling", "live"]
    assert site.streams() == 1


def test_polls_stand_in_for_a_stream_that_is_refused_or_flaps(
    site: Site, context: BrowserContext
) -> None:
    context.route(STREAM, lambda route: route.abort())
    cursor = site.cursor()
    first = Tab.open(context, site.web, clock=True, lastEventId=cursor)
    second = Tab.open(context, site.web, lastEventId=cursor, types=["server.*"])

    first.hurry_until(lambda: second.status == "polling", "three attempts failed")
    assert len(first.streams) >= 6, "each attempt, and why it failed"
    first.hurry_until(lambda: 304 in statuses(first.polls), "a poll without news")
    site.emit(*range(600))  # more than one answer holds
    first.hurry_until(lambda: len(second.ids) == 600, "polls bring what happens")
    flaps: list[Route] = []
    context.route(STREAM, partial(flap, site, flaps))
    first.hurry_until(lambda: flaps != [], "the stream is tried again, and flaps")
    site.emit(600)
    first.hurry_until(lambda: len(second.ids) == 601, "polls go on")
    context.unroute(STREAM)
    tried = attempts(first.streams)
    first.hurry_until(lambda: attempts(first.streams) > tried, "the stream is tried again")
    first.wait_for("live")
    polls = len(first.polls)
    site.emit(601)
    for tab in (first, second):
        tab.wait_for_ids(602)
        assert tab.ids == site.ids(cursor)
    assert len(first.polls) == polls
    assert (second.polls, second.streams) == ([], [])
    assert first.statuses == ["connecting", "reconnecting", "polling", "live"]


def attempts(streams: list[Request]) -> int:
    """Without those that ask why an attempt failed."""
    return sum(request.resource_type == "eventsource" for request in streams)


def statuses(answers: list[Response]) -> list[int]:
    return [answer.status for answer in answers]


def flap(site: Site, flaps: list[Route], route: Route) -> None:
    """The stream ends at once, after it has repeated what its reader has; but once only."""
    if flaps or route.request.resource_type != "eventsource":
        route.abort()
        return
    flaps.append(route)
    after = int(re.findall(r"last_event_id=(\d+)", route.request.url)[0])
    frames = [wire.open_frame(after, 30, ["server.created"])]
    frames += [wire.event_frame(event) for event in site.events(after - 2)]
    route.fulfill(content_type="text/event-stream", body=b"".join(frames))


def test_who_shares_no_identity_shares_no_stream(site: Site, context: BrowserContext) -> None:
    cursor = site.cursor()
    options: list[dict[str, Any]] = [{"identity": "bob"}, {"identity": ""}, {"identity": ""}]
    tabs = [Tab.open(context, site.web, lastEventId=cursor, **option) for option in options]
    context.add_init_script("delete Navigator.prototype.locks")  # as on an insecure origin
    tabs += [Tab.open(context, site.web, lastEventId=cursor) for _ in range(2)]
    for tab in tabs:
        tab.wait_for("live")
    assert site.streams() == 5
    site.emit(1)
    for tab in tabs:
        tab.wait_for_ids(1)
        assert len(tab.streams) == 1
    idle = Tab.open(context, site.web, enabled=False)
    assert idle.status == "closed"
    tabs[0].page.evaluate("stream.close()")
    site.emit(2)
    tabs[1].wait_for_ids(2)
    assert len(tabs[0].ids) == 1
    assert idle.streams == []


def test_only_who_cannot_be_told_the_rest_is_reset(site: Site, context: BrowserContext) -> None:
    cursor = site.cursor()
    with Writer(site):
        tabs = [Tab.open(context, site.web, lastEventId=cursor) for _ in range(2)]
        for tab in tabs:
            tab.wait_for_ids(1)
        context.route(STREAM, partial(forget, site), times=1)
        old = Tab.open(context, site.web, lastEventId=cursor - 1)
        strange = Tab.open(context, site.web, clock=True, lastEventId=10**9)
        for tab in (old, strange):
            strange.page.clock.fast_forward(20_000)
            tab.wait_for_ids(9)
    expected = site.ids(cursor)
    for tab in tabs:
        tab.wait_for_ids(len(expected))
        assert tab.ids == expected
        assert tab.record("resets") == 0
    for tab in (old, strange):
        tab.wait_for_id(expected[-1])
        assert tab.ids == [number for number in expected if number >= tab.ids[0]]
        assert tab.record("resets") == 1


def test_who_joins_again_ahead_of_a_stream_that_rests_is_not_reset(
    site: Site, context: BrowserContext
) -> None:
    """As when its leader goes: that others have not heard of its position says nothing."""
    for address in (STREAM, POLL):
        context.route(address, lambda route: route.abort())
    site.emit(1)
    cursor = site.cursor()
    leader = Tab.open(context, site.web, lastEventId=cursor - 1)
    leader.wait_for("reconnecting")
    ahead = Tab.open(context, site.web, clock=True, lastEventId=cursor)
    ahead.wait_until(lambda: ahead.status in ("reconnecting", "polling"), "it follows")
    ahead.page.clock.fast_forward(20_000)
    ahead.page.evaluate("void stream.on('server.deleted', () => {})")
    for address in (STREAM, POLL):
        context.unroute(address)
    ahead.wait_for("live")
    site.emit(2)
    ahead.wait_for_ids(1)
    assert ahead.ids == site.ids(cursor)
    assert ahead.record("resets") == 0


def forget(site: Site, route: Route) -> None:
    """The log does not go back to where the stream's reader stopped."""
    head = site.cursor()
    frames = [wire.open_frame(head, 30, []), wire.reset_frame("retention", head)]
    route.fulfill(content_type="text/event-stream", body=b"".join(frames))


def log_in(page: Page) -> None:
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("alice")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#connection")).to_have_text("Live")


def test_all_tabs_go_to_the_login_and_come_back(site: Site, context: BrowserContext) -> None:
    context.clear_cookies()
    first, second = (context.new_page() for _ in range(2))
    first.goto(site.web.url("/servers/"))
    log_in(first)
    second.goto(site.web.url("/servers/?search=web"))
    expect(second.locator("#connection")).to_have_text("Live")
    assert site.streams() == 1
    first.get_by_role("button", name="Account").click()
    first.get_by_role("button", name="Log out").click()
    expect(second).to_have_url(re.compile(r"/login/\?next=%2Fservers%2F%3Fsearch%3Dweb$"))
    log_in(second)
    expect(second).to_have_url(site.web.url("/servers/?search=web"))
