"""The list of servers in a real browser, kept true by the stream of a real server process."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from playwright.sync_api import Locator, Page, Request, expect

from tests.portal import Portal, Web
from tests.readers import STREAM, bearer

pytestmark = pytest.mark.stack("scaled")  # what a browser shows comes from no database

HEARTBEAT = 0.5  # seconds
BACK = 20_000  # ms in which a page finds a server again
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> & 'co'"

# Alice changes things, vera looks at them, and mallory may see nothing.
PREPARE = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken
cast = {}
for name, roles in {"alice": ["Admin"], "vera": ["Responder"], "mallory": []}.items():
    user = User.objects.create(username=name)
    user.groups.set(Group.objects.filter(name__in=roles))
    client = Client()
    client.force_login(user)
    cast[name] = [str(AccessToken.for_user(user)), client.cookies["sessionid"].value]
print("CAST", json.dumps(cast))
"""

# What retention does: everything so far is in the log no more.
FORGET = """
from events import log
from events.models import Event, LogHead
while log.sequence():
    pass
Event.objects.all().delete()
LogHead.objects.update(floor=log.head().position + 1)
"""


# What a screen reader would, while a list changes.
RECORD_WHAT_IS_SAID = """
window.said = [];
const results = document.querySelector(".results");
new MutationObserver((changes) => {
  for (const { target } of changes) {
    if (target.closest("[role=status]")) said.push(target.textContent);
  }
}).observe(results, { childList: true, subtree: true });
"""


@dataclass
class Site:
    """A portal, and its users' tokens and sessions."""

    portal: Portal
    web: Web
    cast: dict[str, tuple[str, str]]

    def open(self, page: Page, name: str, path: str = "/servers/") -> None:
        """The page as this user sees it, with a mark that a reload would take away."""
        cookie = {"name": "sessionid", "value": self.cast[name][1], "url": self.web.url()}
        page.context.add_cookies([cookie])  # type: ignore[list-item]
        page.goto(self.web.url(path))
        page.evaluate("window.marker = 'not reloaded'")

    def open_live(self, page: Page, path: str = "/servers/") -> None:
        self.open(page, "vera", path)
        expect_live(page)

    def call(self, method: str, path: str = "", at: Web | None = None, **body: Any) -> Any:
        """Alice's call of the servers' API."""
        response = httpx.request(
            method,
            (at or self.web).url(f"/api/v1/servers/{path}"),
            headers=bearer(self.cast["alice"][0]),
            json=body or None,
            trust_env=False,
        )
        response.raise_for_status()
        return response.json() if response.content else None

    def create(self, name: str, at: Web | None = None, **fields: Any) -> None:
        address: dict[str, Any] = {"host": "127.0.0.1", "port": 1, "username": "ops"}
        self.call("POST", at=at, name=name, **address | fields)

    def change(self, name: str, /, **fields: Any) -> None:
        self.call("PATCH", f"{self._ids()[name]}/", **fields)

    def delete(self, *names: str) -> None:
        ids = self._ids()
        for name in names:
            self.call("DELETE", f"{ids[name]}/")

    def clear(self, *kept: str) -> None:
        """Deletes every other server."""
        self.delete(*self._ids().keys() - set(kept))

    def _ids(self) -> dict[str, int]:
        return {server["name"]: server["id"] for server in self.call("GET")["results"]}

    def restart(self) -> None:
        self.web = self.portal.serve(port=self.web.port)


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals(EVENTS_HEARTBEAT=HEARTBEAT)
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal with three servers, web-01 to web-03."""
    if running_site.web.returncode is not None:
        running_site.restart()
    running_site.clear()
    for name in ("web-01", "web-02", "web-03"):
        running_site.create(name, tags=["web"])
    return running_site


@pytest.fixture(autouse=True)
def errors(page: Page) -> Iterator[list[str]]:
    """No script may fail in any of these tests."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


def row(page: Page, name: str) -> Locator:
    return page.locator("#servers tbody tr").filter(
        has=page.get_by_role("rowheader").get_by_text(name, exact=True)
    )


def names(page: Page) -> Locator:
    return page.locator("#servers tbody .name")


def expect_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("Live", timeout=BACK)


def expect_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.marker") == "not reloaded"


def recorded_requests(page: Page) -> list[Request]:
    """The requests from now on; the list grows."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    return sent


def test_anothers_change_appears_without_reload_or_request(site: Site, page: Page) -> None:
    site.open_live(page)
    sent = recorded_requests(page)
    site.change("web-02", host="192.0.2.7", tags=["web", "new"])
    expect(row(page, "web-02").locator(".address")).to_have_text("192.0.2.7:1")
    expect(row(page, "web-02").locator(".tag")).to_have_text(["web", "new"])
    site.change("web-02", name="cache-02")
    expect(row(page, "cache-02").get_by_role("button")).to_have_accessible_name("Test cache-02")
    expect_not_reloaded(page)
    assert sent == []


def test_rows_keep_their_places_until_asked(site: Site, page: Page) -> None:
    site.open_live(page)
    site.change("web-02", name="cache-02")
    expect(page.locator("#news")).to_have_text("1 out of place")
    expect(names(page)).to_have_text(["web-01", "cache-02", "web-03"])
    page.get_by_role("button", name="Show").click()
    expect(names(page)).to_have_text(["cache-02", "web-01", "web-03"])
    expect(page.locator("#news")).to_have_text("")
    expect_not_reloaded(page)


def test_servers_come_to_their_place_and_go(site: Site, page: Page) -> None:
    site.open_live(page)
    sent = recorded_requests(page)
    site.create("web-015")
    expect(names(page)).to_have_text(["web-01", "web-015", "web-02", "web-03"])
    expect(page.locator("#count")).to_have_text("4 servers")
    site.delete("web-015")
    expect(row(page, "web-015").locator(".status")).to_have_text("Deleted")
    expect(page.locator("#count")).to_have_text("3 servers")
    site.clear()
    expect(page.get_by_role("heading", name="No servers yet")).to_be_visible()
    expect(names(page)).to_have_count(0)
    assert sent == []


def test_a_filtered_list_tells_of_what_it_would_show(site: Site, page: Page) -> None:
    site.open_live(page, "/servers/?tag=new")
    expect(page.get_by_role("heading", name="No server matches")).to_be_visible()
    page.evaluate(RECORD_WHAT_IS_SAID)
    site.change("web-01", tags=["old"])
    for name in ("web-02", "web-03"):
        site.change(name, tags=["new"])
    expect(page.locator("#news")).to_have_text("2 new")
    expect(page.locator("#news-told")).to_have_text("2 new", timeout=BACK)
    assert page.evaluate("said") == ["2 new"]
    page.get_by_role("button", name="Show").press("Enter")
    expect(names(page)).to_have_text(["web-02", "web-03"])
    expect(page.locator("#count")).to_be_focused()
    expect_not_reloaded(page)


def test_an_outsider_sees_nothing(site: Site, page: Page) -> None:
    site.open(page, "mallory")
    expect(page.get_by_role("heading")).to_have_text("No access to this page")
    expect(page.locator("body")).not_to_contain_text("web-01")
    headers = bearer(site.cast["mallory"][0])
    heard: list[Any] = []
    with (
        httpx.Client(headers=headers, timeout=30, trust_env=False) as client,
        connect_sse(client, "GET", site.web.url(STREAM)) as source,
    ):
        for event in source.iter_sse():
            heard.append((event.event, event.json()))
            if event.event == "stream.open":
                site.create("secret-01")
            # A heartbeat beyond the change: nothing of it is still to come.
            elif event.event == "heartbeat" and int(event.id) > heard[0][1]["cursor"]:
                break
    assert {name for name, _ in heard} == {"stream.open", "heartbeat"}
    assert heard[0][1]["types"] == []


def test_markup_in_a_name_is_text(site: Site, page: Page) -> None:
    site.create(HOSTILE)
    site.open_live(page)
    expect(row(page, HOSTILE)).to_have_count(1)
    site.create(f"{HOSTILE} again")
    expect(row(page, f"{HOSTILE} again")).to_have_count(1)
    site.change("web-01", name=f"{HOSTILE} renamed")
    expect(row(page, f"{HOSTILE} renamed")).to_have_count(1)
    expect(page.locator("#servers img")).to_have_count(0)
    expect(page).to_have_title("Servers · OpsPortal")


def test_no_script_or_style_is_inline(site: Site, page: Page) -> None:
    """So a content security policy can forbid both."""
    site.open_live(page)
    inline = "[style], style, script:not([src], [type='application/json'])"
    expect(page.locator(inline)).to_have_count(0)
    attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert not [name for name in page.evaluate(attributes) if name.startswith("on")]


def test_a_killed_server_is_found_again_with_what_was_missed(site: Site, page: Page) -> None:
    other = site.portal.serve()
    site.open_live(page)
    site.portal.kill(site.web)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    site.create("web-04", at=other)
    site.restart()
    expect_live(page)
    site.portal.kill(other)
    expect(names(page)).to_have_text(["web-01", "web-02", "web-03", "web-04"])
    site.change("web-04", name="web-05")
    expect(names(page)).to_have_text(["web-01", "web-02", "web-03", "web-05"])
    expect(page.locator("#count")).to_have_text("4 servers")
    expect_not_reloaded(page)


def test_a_server_that_fell_silent_is_noticed(site: Site, page: Page) -> None:
    site.open_live(page)
    site.web.send_signal(signal.SIGSTOP)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    site.web.send_signal(signal.SIGCONT)
    expect_live(page)
    site.change("web-01", host="192.0.2.1")
    expect(row(page, "web-01").locator(".address")).to_have_text("192.0.2.1:1")


def test_what_cannot_be_replayed_is_fetched(site: Site, page: Page) -> None:
    site.open_live(page)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    site.delete("web-02")
    site.portal.kill(site.web)
    site.portal.shell(FORGET)
    site.restart()
    page.context.set_offline(False)
    expect_live(page)
    expect(names(page)).to_have_text(["web-01", "web-03"])
    site.change("web-03", host="192.0.2.3")
    expect(row(page, "web-03").locator(".address")).to_have_text("192.0.2.3:1")
    expect_not_reloaded(page)


def test_a_connection_test_runs_without_reload(site: Site, page: Page) -> None:
    worker = site.portal.worker()
    site.open_live(page)
    sent = recorded_requests(page)
    page.get_by_role("button", name="Test web-01").click()
    tested = row(page, "web-01")
    expect(tested.locator(".status")).to_have_text("Failed", timeout=BACK)
    expect(tested.locator(".message")).to_contain_text("Connection refused by 127.0.0.1")
    expect(tested.locator("time")).to_have_text(re.compile(r"^\d+ s$"))  # how long it has failed
    expect_not_reloaded(page)
    assert [request.method for request in sent] == ["POST"]
    site.portal.kill(worker)


def test_without_a_session_the_page_goes_to_the_login(site: Site, page: Page) -> None:
    site.open_live(page, "/servers/?search=web")
    page.context.clear_cookies()
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    page.context.set_offline(False)
    expect(page).to_have_url(re.compile(r"/login/\?next=%2Fservers%2F%3Fsearch%3Dweb$"))
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
