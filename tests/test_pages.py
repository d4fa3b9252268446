"""What holds for every page, in a real browser on a real server process: policy and actions; and
the pages of the admin, which show what happens, too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, expect

from events import wire
from tests.portal import Portal
from tests.services import wait_until
from tests.test_servers_page import Site, expect_live, expect_not_reloaded, recorded_requests

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

# Alice may do everything; there is one of everything, so that every page has something to show.
PREPARE = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken
from incidents import services as incidents, webhooks
from incidents.models import Incident, NotificationChannel
from servers import services, ssh
from servers.models import Credential, Environment, Server
from servers.tests.keys import new_host_key
cast = {}
for name, is_superuser in {"alice": True, "vera": False}.items():
    user = User.objects.create(username=name, is_superuser=is_superuser, is_staff=is_superuser)
    user.groups.set(Group.objects.filter(name="Admin" if is_superuser else "Viewer"))
    client = Client()
    client.force_login(user)
    cast[name] = [str(AccessToken.for_user(user)), client.cookies["sessionid"].value]
place = Environment.objects.create(name="lab")
login = Credential.objects.create(name="ops", kind="password", secret="swordfish")
server = Server(name="web-01", host="127.0.0.1", port=1, username="ops", environment=place)
services.create(server)
Server.objects.filter(pk=server.pk).update(offered_host_key=new_host_key())
NotificationChannel.objects.create(
    name="hook", kind="webhook", url="https://example.com", secret=webhooks.new_secret()
)
Incident.objects.create(title="Disk full", severity="high")
print("CAST", json.dumps(cast))
"""

# Paths that are no pages, or end the session.
NO_PAGES = re.compile(r"^/(api/(?!v1/docs/)|static/|.*logout|servers/export/)|/password_change/")


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals()
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal with one server, web-01, whatever the test before has left."""
    running_site.clear("web-01")
    return running_site


def complaints(page: Page) -> list[str]:
    """What scripts fail with, and what the policy keeps the pages from; the list grows."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(f"{urlsplit(page.url).path}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', event =>"
        " console.error('violates', event.violatedDirective, event.blockedURI))"
    )
    return found


def links(page: Page) -> list[str]:
    hrefs = "[...document.links].map(link => link.href)"
    origin = page.evaluate("location.origin")
    paths = [urlsplit(href).path for href in page.evaluate(hrefs) if href.startswith(origin)]
    return [path for path in paths if not NO_PAGES.search(path)]


def shape(path: str) -> str:
    """Pages of a kind are the same but for their keys."""
    return re.sub(r"/(\d+|[0-9a-f-]{36})(?=/)", "/N", path)


def test_every_page_keeps_to_the_policy(site: Site, page: Page) -> None:
    found = complaints(page)
    site.open(page, "alice", "/")
    waiting, seen = ["/login/", *links(page)], set()
    while waiting:
        path = waiting.pop()
        if shape(path) in seen:
            continue
        seen.add(shape(path))
        answer = page.goto(site.web.url(path))
        assert answer is not None
        assert answer.status == 200, path
        waiting += links(page)
    expected = {
        "/",
        "/events/",
        "/incidents/",
        "/incidents/N/",
        "/servers/",
        "/servers/N/",
        "/servers/import/",
        "/automations/",
        "/automations/new/",
        "/automations/runs/",
        "/incidents/board/",
        "/incidents/new/",
        "/incidents/N/edit/",
        "/notifications/",
        "/streams/",
        "/api/v1/docs/",
        "/admin/servers/server/N/change/",
        "/admin/servers/server/N/history/",
        "/admin/incidents/incident/",
        "/admin/events/event/",
    }
    assert expected - seen == set()
    assert found == []


def test_the_description_of_the_api_works_under_the_policy(site: Site, page: Page) -> None:
    found = complaints(page)
    site.open(page, "alice", "/api/v1/docs/")
    expect(page.get_by_role("heading", name="OpsPortal")).to_be_visible()
    page.locator(".opblock-summary-get").first.click()
    expect(page.get_by_role("button", name="Try it out")).to_be_visible()
    assert found == []


def test_inline_code_does_not_run(site: Site, page: Page) -> None:
    """So the test above would notice."""
    found = complaints(page)
    site.open(page, "alice")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = true'}))"
    )
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert page.evaluate("window.ran") is None
    assert len([text for text in found if ": violates " in text]) == 2


def open_server(site: Site, page: Page, person: str = "alice") -> None:
    site.open(page, person)
    page.get_by_role("link", name="web-01").click()
    expect_live(page)
    page.evaluate("window.marker = 'not reloaded'")


def answer_maintenance(page: Page, status: int) -> None:
    body = "<script>document.title = 'pwned'</script>"
    page.unroute("**/maintenance/")
    page.route(
        "**/maintenance/",
        lambda route: route.fulfill(status=status, body=body, content_type="text/html"),
    )


def test_what_failed_is_named_and_the_page_stays(site: Site, page: Page) -> None:
    open_server(site, page)
    problem = page.locator("#problem")
    page.get_by_label("Reason").fill("Disk")

    def begin() -> None:
        page.get_by_role("button", name="Begin").click()

    page.route("**/maintenance/", lambda route: route.abort())
    begin()
    expect(problem).to_have_text("Maintenance was not begun: the portal does not answer.")
    for status, reason in {
        403: "you may not, or this page is too old. Reload it.",
        404: "it has been deleted.",
        409: "it has changed meanwhile. Look at it again.",
        500: "the portal failed (500).",
    }.items():
        answer_maintenance(page, status)
        begin()
        expect(problem).to_have_text(f"Maintenance was not begun: {reason}")
    expect(page.get_by_label("Reason")).to_have_value("Disk")
    page.get_by_role("button", name="Dismiss").click()
    expect(problem).to_have_text("")
    expect_not_reloaded(page)
    expect(page).to_have_title("web-01 · OpsPortal")


def test_one_press_is_one_request_and_says_that_it_is_busy(site: Site, page: Page) -> None:
    open_server(site, page)
    page.get_by_label("Reason").fill("Disk")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#notice")).to_have_text("web-01 is in maintenance.")
    expect(page.get_by_label("Reason")).to_have_value("")
    held: list[Route] = []
    page.route("**/maintenance/end/", lambda route: held.append(route))
    button = page.get_by_role("button", name="End now")
    button.click()
    expect(button).to_have_attribute("aria-busy", "true")
    button.click()
    held[0].continue_()
    expect(page.locator("#notice")).to_have_text("The maintenance of web-01 has ended.")
    expect(page.locator("#banner")).to_be_hidden()
    assert page.locator("#banner button").get_attribute("aria-busy") is None
    page.evaluate("fetch('/healthz')")  # what was kept back would have been sent before it
    assert len(held) == 1


def test_a_question_is_answered_before_anything_is_sent(site: Site, page: Page) -> None:
    open_server(site, page)
    sent = recorded_requests(page)
    button = page.locator("#accept")
    dialog = page.get_by_role("dialog", name="Accept this host key?")
    button.click()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    button.click()
    # As when another key is offered in the meantime.
    page.locator("[name=fingerprint]").evaluate("input => (input.value = 'SHA256:other')")
    dialog.get_by_role("button", name="Accept this key").click()
    expect(page.locator("#problem")).to_contain_text("what you were asked about has changed")
    assert sent == []


def test_after_the_login_has_ended_the_page_comes_back(site: Site, page: Page) -> None:
    open_server(site, page)
    path = urlsplit(page.url).path
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Test").click()
    expect(page).to_have_url(re.compile(rf"/login/\?next={re.escape(path)}$"))


def test_the_badge_tells_of_polls_that_nobody_answers(site: Site, page: Page) -> None:
    def after(seconds: int) -> str:
        page.clock.fast_forward(seconds * 1_000)
        page.wait_for_timeout(50)  # in which Playwright answers what was sent
        return badge.inner_text()

    page.clock.install()
    page.route(re.compile("/api/v1/events/"), lambda route: route.abort())
    site.open(page, "vera", "/servers/")
    badge = page.locator("#connection")
    wait_until(lambda: after(1) == "Polling", 30, "three attempts fail")
    expect(badge).to_have_attribute("title", re.compile("^The connection was lost"))
    assert badge.evaluate("badge => getComputedStyle(badge, '::after').content") == '"· no answer"'
    page.unroute_all()
    wait_until(lambda: after(1) == "Live", 30, "the stream is back")
    assert badge.evaluate("badge => getComputedStyle(badge, '::after').content") == "none"


def test_a_word_leaves_the_servers_that_it_is_in_and_those_that_are_ticked(
    site: Site, page: Page
) -> None:
    for name in ("db-01", "db-02"):
        site.create(name)
    site.open(page, "alice", "/incidents/new/")
    shown = page.locator(".boxes label:visible")
    expect(shown).to_have_text(["db-01", "db-02", "web-01"])
    page.get_by_label("web-01").check()
    page.get_by_label("Find a server").fill(" DB-02")
    expect(shown).to_have_text(["db-02", "web-01"])
    page.get_by_label("Find a server").press("Enter")
    page.get_by_label("Find a server").fill("")
    expect(shown).to_have_count(3)
    expect_not_reloaded(page)


def open_form(site: Site, page: Page) -> None:
    site.open(page, "alice", "/admin/servers/server/")
    page.get_by_role("link", name="web-01", exact=True).first.click()
    page.evaluate("window.marker = 'not reloaded'")
    page.locator("#id_host").fill("being.typed.example")


def test_the_admin_shows_what_happens_without_a_request(site: Site, page: Page) -> None:
    found = complaints(page)
    open_form(site, page)
    expect_live(page)
    sent = recorded_requests(page)
    site.create("admin-01")
    site.change("admin-01", name="admin-02")
    told = page.locator("#feed .sentence")
    expect(told.nth(0)).to_have_text("admin-02 was changed: name")
    expect(told.nth(1)).to_have_text("admin-01 was added")
    assert sent == []
    toggle, panel = page.locator("#feed-toggle"), page.get_by_role("complementary")
    expect(panel).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(panel.get_by_role("link", name="admin-02")).to_be_visible()
    panel.get_by_role("button", name="Close").press("Escape")
    expect(panel).to_be_hidden()
    expect(toggle).to_be_focused()
    expect(page.locator("#id_host")).to_have_value("being.typed.example")
    expect_not_reloaded(page)
    assert found == []


def test_a_form_of_the_admin_is_not_lost_to_a_reset(site: Site, page: Page) -> None:
    frames = [wire.open_frame(9, 30, ["server.created"]), wire.reset_frame("retention", 9)]
    page.route(
        re.compile("/api/v1/events/stream"),
        lambda route: route.fulfill(content_type="text/event-stream", body=b"".join(frames)),
    )
    open_form(site, page)
    expect(page.locator("#feed-gap")).to_contain_text("is missing here until")
    expect(page.locator("#id_host")).to_have_value("being.typed.example")
    expect_not_reloaded(page)


def test_the_panel_is_open_where_there_is_room_until_it_is_closed(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 1700, "height": 800})
    site.open(page, "alice", "/admin/")
    panel = page.get_by_role("complementary", name="What happens")
    expect(panel).to_be_visible()
    panel.get_by_role("button", name="Close").click()
    page.reload()
    expect(page.locator("#feed-toggle")).to_be_visible()
    expect(panel).to_be_hidden()
    page.locator("#feed-toggle").click()
    page.set_viewport_size({"width": 380, "height": 800})
    page.reload()
    expect(page.locator("#feed-toggle")).to_be_visible()
    expect(panel).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
