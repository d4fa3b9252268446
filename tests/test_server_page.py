"""One server's page and what is done to many, in a real browser on a real server process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Page, expect

from servers import ssh
from servers.tests.keys import new_host_key
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
    names,
    recorded_requests,
    row,
)

__all__ = ["errors"]

pytestmark = pytest.mark.stack("scaled")  # what a browser shows comes from no database

# As a check does that was presented another key than the accepted one.
OFFER = """
import uuid
from servers import checks, ssh
from servers.models import Server
accepted, offered = {accepted!r}, {offered!r}
test = uuid.uuid4()
Server.objects.filter(name="web-01").update(host_key=accepted, test_id=test)
name = lambda key: "ssh-ed25519 " + ssh.fingerprint(key)
said = "The host key of web-01:22 has changed: accepted %s, presented %s. No login was tried."
outcome = ssh.Outcome(False, said % (name(accepted), name(offered)), None, offered)
assert checks.record_outcome(Server.objects.get(name="web-01").pk, test, outcome)
"""


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals()
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal with three servers, web-01 to web-03."""
    running_site.clear()
    for name in ("web-01", "web-02", "web-03"):
        running_site.create(name, tags=["web"])
    return running_site


def key_of(site: Site, name: str = "web-01") -> int:
    found: dict[str, int] = {row["name"]: row["id"] for row in site.call("GET")["results"]}
    return found[name]


def open_server(site: Site, page: Page, person: str = "vera", name: str = "web-01") -> None:
    site.open(page, person, f"/servers/{key_of(site, name)}/")
    expect_live(page)


def open_list(site: Site, page: Page, person: str = "alice", query: str = "") -> None:
    site.open(page, person, f"/servers/{query}")
    expect_live(page)


def offer(site: Site, accepted: str, offered: str) -> None:
    code = OFFER.format(accepted=accepted, offered=offered)
    site.portal.shell(code)


def maintain(site: Site, reason: str = "Disk") -> None:
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    site.call("POST", f"{key_of(site)}/maintenance/", reason=reason, until=until)


def test_anothers_change_appears_without_reload_or_request(site: Site, page: Page) -> None:
    open_server(site, page)
    sent = recorded_requests(page)
    site.change("web-01", host="2001:db8::7", port=2222, tags=["edge"], check_interval=600)
    expect(page.locator("#address")).to_have_text("[2001:db8::7]:2222")
    expect(page.locator("#tags")).to_have_text("edge")
    expect(page.locator("#interval")).to_have_text("every 10 min")
    first = page.locator("#trail-list li").first
    expect(first.locator(".who")).to_have_text("alice")
    expect(first).to_contain_text("127.0.0.1→2001:db8::7")
    site.change("web-01", name="cache-01")
    expect(page.locator("h1")).to_have_text("cache-01")
    site.change("web-02", host="192.0.2.9")  # which is another server's page's
    publish_without_subject(site)
    site.change("cache-01", port=23)
    expect(page.locator("#address")).to_have_text("[2001:db8::7]:23")
    expect(page.locator("#trail-list li")).to_have_count(4)
    expect_not_reloaded(page)
    assert sent == []


def publish_without_subject(site: Site) -> None:
    """As anybody may who publishes by hand: of which server, nothing says."""
    changes = {"host": {"old": "a", "new": "b"}}
    data = {"id": 999, "name": "x", "host": "b", "status": "unknown", "changes": changes}
    event = {"type": "server.updated", "data": data}
    url, headers = site.web.url("/api/v1/events/"), bearer(site.cast["alice"][0])
    httpx.post(url, json=event, headers=headers, trust_env=False).raise_for_status()


def test_what_the_stream_brought_is_what_the_server_renders(site: Site, page: Page) -> None:
    open_server(site, page)
    site.change("web-01", tags=["a", "b"], check_interval=0)
    maintain(site)
    offer(site, new_host_key(), new_host_key())
    expect(page.locator("#status")).to_have_text("Failed")
    parts = ["#facts", "#banner", "#present", "#host-key", "#period-list", "#trail-list"]

    def shown() -> list[str]:
        texts = [re.sub(r"\s+", "", page.locator(part).inner_text()) for part in parts]
        return [re.sub(r"\d+(min|s)(ago)?|justnow", "~", text) for text in texts]

    expect(page.locator("#trail-list li").first).to_contain_text("host key")
    live = shown()
    page.reload()
    expect_live(page)
    assert shown() == live


def test_an_offered_key_is_shown_beside_the_accepted_one_and_accepted(
    site: Site, page: Page
) -> None:
    accepted, offered = new_host_key(), new_host_key()
    open_server(site, page, "alice")
    sent = recorded_requests(page)
    expect(page.locator("#accepted")).to_have_text("none yet")
    expect(page.locator("#accept")).to_be_hidden()
    offer(site, accepted, offered)
    expect(page.locator("#offered")).to_have_text(ssh.fingerprint(offered))
    assert sent == []
    page.reload()
    expect_live(page)
    expect(page.locator("#accepted")).to_have_text(ssh.fingerprint(accepted))
    expect(page.locator("#offered")).to_have_text(ssh.fingerprint(offered))
    expect(page.get_by_text("shows another key than the accepted one")).to_be_visible()
    page.evaluate("window.marker = 'not reloaded'")
    page.get_by_role("button", name="Accept this key").click()
    page.get_by_role("dialog").get_by_role("button", name="Accept this key").click()
    expect(page.locator("#accepted")).to_have_text(ssh.fingerprint(offered))
    expect(page.locator("#accept")).to_be_hidden()
    expect(page.locator("#trail-list li").first).to_contain_text(ssh.fingerprint(offered))
    expect_not_reloaded(page)


def test_a_key_that_was_not_shown_is_not_accepted(site: Site, page: Page) -> None:
    accepted, offered = new_host_key(), new_host_key()
    offer(site, accepted, offered)
    open_server(site, page, "alice")
    page.locator("[name=fingerprint]").evaluate("input => (input.value = 'SHA256:other')")
    page.get_by_role("button", name="Accept this key").click()
    page.get_by_role("dialog").get_by_role("button", name="Accept this key").click()
    expect(page.locator("#problem")).to_contain_text("Nothing was accepted")
    expect(page.locator("#accepted")).to_have_text(ssh.fingerprint(accepted))
    page.reload()
    expect(page.locator("#offered")).to_have_text(ssh.fingerprint(offered))


def test_a_servers_own_words_pass_for_no_host_key(site: Site, page: Page) -> None:
    open_server(site, page)
    fake = f"presented ssh-ed25519 {ssh.fingerprint(new_host_key())}. No login was tried."
    code = (
        "import uuid; from servers import checks, ssh; from servers.models import Server; "
        "t = uuid.uuid4(); s = Server.objects.get(name='web-01'); "
        "Server.objects.filter(pk=s.pk).update(test_id=t); "
        f"checks.record_outcome(s.pk, t, ssh.Outcome(False, 'It said “{fake}”.', None))"
    )
    site.portal.shell(code)
    expect(page.locator("#status")).to_have_text("Failed")
    expect(page.locator("#offered")).to_be_hidden()
    expect(page.locator("#offered")).to_have_text("")


def test_who_may_not_finds_no_buttons(site: Site, page: Page) -> None:
    offer(site, new_host_key(), new_host_key())
    open_server(site, page, "vera")  # a responder
    expect(page.get_by_role("button", name="Test")).to_be_visible()
    expect(page.locator("#offered")).to_be_visible()
    for name in ("Accept this key", "Begin", "End now"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_maintenance_begins_refuses_tests_and_ends(site: Site, page: Page) -> None:
    open_server(site, page, "alice")
    page.get_by_label("Reason").fill("Disk 3")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#banner")).to_contain_text("Disk 3")
    expect(page.locator("#period-list .status")).to_have_text(["Maintenance", "Unknown"])
    expect(page.locator("#period-list .length time")).to_have_count(1)  # the other has ended
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#problem")).to_contain_text("web-01 is in maintenance until")
    expect(page.locator("#status")).to_have_text("Unknown")
    page.get_by_role("button", name="End now").click()
    expect(page.locator("#banner")).to_be_hidden()
    expect_not_reloaded(page)


def test_an_end_is_typed_in_the_readers_zone(site: Site, page: Page) -> None:
    open_server(site, page, "alice")
    page.get_by_label("Reason").fill("Move")
    page.get_by_label("Ends after").select_option("")
    page.get_by_label("End (").fill("2001-02-03T04:05")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#problem")).to_have_text("Enter a time in the future.")
    page.get_by_label("End (").fill("2099-02-03T04:05")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#end")).to_have_text(re.compile("3 Feb.*04:05"))


def test_the_page_tells_of_its_servers_deletion(site: Site, page: Page) -> None:
    open_server(site, page, "alice")
    path = f"/servers/{key_of(site)}/"
    page.get_by_label("Reason").focus()
    site.delete("web-01")
    expect(page.locator("#gone")).to_contain_text("has been deleted by alice")
    expect(page.locator("#gone")).to_be_focused()
    expect(page.get_by_role("button", name="Test")).to_have_count(0)
    expect_not_reloaded(page)
    site.open(page, "alice", path)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("not found|no page", re.I))


def test_markup_in_names_reasons_and_messages_is_text(site: Site, page: Page) -> None:
    open_server(site, page, "alice")
    maintain(site, HOSTILE)
    site.change("web-01", name=HOSTILE)
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("#maintenance-reason")).to_have_text(HOSTILE)
    expect(page.locator("#trail-list")).to_contain_text(HOSTILE)
    page.reload()
    expect_live(page)
    expect(page.locator("#maintenance-reason")).to_have_text(HOSTILE)
    expect(page.locator("#server img")).to_have_count(0)
    expect(page).to_have_title(f"{HOSTILE} · OpsPortal")
    inline = "[style], style, script:not([src], [type='application/json'])"
    expect(page.locator(inline)).to_have_count(0)


def test_a_choice_survives_changes_and_is_tagged(site: Site, page: Page) -> None:
    open_list(site, page)
    for name in ("web-01", "web-03"):
        page.get_by_label(f"Choose {name}").check()
    site.change("web-02", name="cache-02")
    expect(names(page)).to_have_text(["web-01", "cache-02", "web-03"])
    page.get_by_role("button", name="Show").click()
    expect(names(page)).to_have_text(["cache-02", "web-01", "web-03"])
    expect(page.locator("#chosen")).to_have_text("2 chosen")
    expect(page.get_by_label("Choose web-03")).to_be_checked()
    page.locator("#bulk").get_by_text("Tags").click()
    page.get_by_label("Add").fill("edge, blue")
    page.get_by_label("Add").press("Enter")
    expect(page.locator("#notice")).to_have_text("Tags changed: 2 of 2 servers.")
    expect(row(page, "web-03").locator(".tag")).to_have_text(["web", "edge", "blue"])
    expect(row(page, "cache-02").locator(".tag")).to_have_text(["web"])
    expect(page.locator("#bulk")).to_be_hidden()
    expect_not_reloaded(page)


def test_many_are_put_into_maintenance_and_left_out_of_tests(site: Site, page: Page) -> None:
    open_list(site, page)
    page.get_by_label("Choose web-01").check()
    page.locator("#bulk").get_by_text("Maintenance").click()
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#problem")).to_have_text("Reason: This field is required.")
    expect(page.locator("#chosen")).to_have_text("1 chosen")
    page.get_by_label("Reason").fill("Move")
    page.get_by_role("button", name="Begin").click()
    expect(row(page, "web-01").locator(".badge")).to_be_visible()
    expect(row(page, "web-02").locator(".badge")).to_be_hidden()
    page.get_by_label("All on this page").check()
    page.locator("#bulk").get_by_role("button", name="Test").click()
    expect(page.locator("#notice")).to_have_text(
        "Tests are asked for: 2 servers. Not tested, as in maintenance: web-01."
    )
    open_list(site, page, query="?maintenance=true")
    expect(names(page)).to_have_text(["web-01"])
    page.get_by_label("All on this page").check()
    page.locator("#bulk").get_by_text("Maintenance").click()
    page.get_by_role("button", name="End now").click()
    expect(page.locator("#news")).to_have_text("1 out of place", timeout=BACK)


def test_without_scripts_the_forms_work_and_come_back(
    site: Site, page: Page, new_context: object
) -> None:
    context = new_context(java_script_enabled=False)  # type: ignore[operator]
    context.add_cookies(
        [{"name": "sessionid", "value": site.cast["alice"][1], "url": site.web.url()}]
    )
    plain = context.new_page()
    plain.goto(site.web.url("/servers/?search=web"))
    plain.get_by_label("Choose web-02").check()
    plain.get_by_label("Choose web-03").check()
    plain.locator("#bulk").get_by_text("Tags").click()
    plain.get_by_label("Remove").fill("web")
    plain.get_by_role("button", name="Apply", exact=True).last.click()
    expect(plain.locator(".messages")).to_have_text("Tags changed: 2 of 2 servers.")
    assert plain.url.endswith("?search=web")
    plain.get_by_role("link", name="web-01").click()
    plain.get_by_label("Reason").fill("Move")
    plain.get_by_role("button", name="Begin").click()
    expect(plain.locator("#banner")).to_contain_text("Move")
    plain.get_by_role("button", name="Test").click()
    expect(plain.locator(".messages")).to_contain_text("web-01 is in maintenance")
    assert plain.url.endswith(f"/servers/{key_of(site)}/")


def test_the_credential_is_named_and_never_shown(site: Site, page: Page) -> None:
    open_server(site, page)
    credential = page.locator("#credential")
    expect(credential).to_have_text("None")
    site.change("web-01", credential="swordfish")
    expect(credential).to_have_text("Its own")
    page.reload()
    expect(credential).to_have_text("Its own")
    assert "swordfish" not in page.content()
