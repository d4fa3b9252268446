"""The bell on every page, and the page behind it, in a real browser on a real server process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.portal import Portal
from tests.test_servers_page import PREPARE, Site, errors, expect_live, recorded_requests

__all__ = ["errors"]

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

RING = """
from django.contrib.auth.models import User
from incidents import deliveries, services
from incidents.models import Incident, Notification
incident = Incident(title={title!r}, assignee=User.objects.get(username={person!r}))
services.create(incident)
deliveries.ring(
    Notification(
        user=incident.assignee,
        incident=incident,
        event_type="incident.created",
        title=incident.title,
        body="mallory opened this incident.",
    )
)
"""


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals()
    printed = portal.shell(PREPARE)
    return Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """Everybody's bell is still."""
    forget = "from incidents.models import Notification; Notification.objects.all().delete()"
    running_site.portal.shell(forget)
    running_site.clear()
    return running_site


def ring(site: Site, person: str = "vera", title: str = "Disk full") -> None:
    code = RING.format(title=title, person=person)
    site.portal.shell(code)


def test_it_rings_on_an_open_page_without_a_request(site: Site, page: Page) -> None:
    site.open_live(page)
    bell = page.get_by_role("link", name="Notifications")
    expect(bell.locator("[data-count]")).to_be_empty()
    sent = recorded_requests(page)
    ring(site)
    ring(site)
    expect(bell.locator("[data-count]")).to_have_text("2")
    expect(bell).to_have_attribute("aria-label", "Notifications, 2 unread")
    assert sent == []


def test_it_rings_on_a_page_of_something_else(site: Site, page: Page) -> None:
    site.create("web-01")
    key = site.call("GET")["results"][0]["id"]
    site.open_live(page, f"/servers/{key}/")
    ring(site)
    expect(page.locator("#bell [data-count]")).to_have_text("1")


def test_it_rings_for_nobody_else(site: Site, page: Page) -> None:
    site.open(page, "alice", "/servers/")  # who may view every channel's notifications
    expect_live(page)
    ring(site)
    ring(site, "alice", "Fan loud")
    expect(page.locator("#bell [data-count]")).to_have_text("1")
    page.goto(site.web.url("/notifications/"))
    expect(page.locator(".notification")).to_have_count(1)
    expect(page.locator(".notification")).to_contain_text("Fan loud")


def test_the_page_tells_of_new_ones_and_marks_as_read(site: Site, page: Page) -> None:
    ring(site, title="<b>Disk</b> full")
    site.open_live(page, "/notifications/")
    expect(page.locator(".notification")).to_contain_text("<b>Disk</b> full")
    expect(page.locator("#more")).to_be_hidden()
    ring(site, title="Fan loud")
    expect(page.locator("#more")).to_be_visible()
    page.get_by_role("link", name="Show new notifications").click()
    expect(page.locator(".notification.unread")).to_have_count(2)
    page.get_by_role("button", name="Mark as read: Fan loud").click()
    expect(page.locator(".notification.unread")).to_have_count(1)
    expect(page.locator("#bell [data-count]")).to_have_text("1")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator(".notification.unread")).to_have_count(0)
    expect(page.locator("#bell [data-count]")).to_be_empty()


def test_anothers_cannot_be_marked_as_read(site: Site, page: Page) -> None:
    ring(site)
    site.open(page, "vera", "/notifications/")
    action = page.locator(".notification form").get_attribute("action")
    site.open(page, "mallory", "/notifications/")
    expect(page.locator(".notification")).to_have_count(0)
    answer = page.evaluate(
        """async (action) => {
            const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
            const body = new URLSearchParams({ csrfmiddlewaretoken: token });
            return (await fetch(action, { method: "POST", body })).status;
        }""",
        action,
    )
    assert answer == 200  # which is the list that it leads back to
    site.open_live(page)
    expect(page.locator("#bell [data-count]")).to_have_text("1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(site: Site, page: Page, scheme: str) -> None:
    ring(site, title="A" * 150)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 380, "height": 800})
    site.open_live(page, "/notifications/")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 380
    assert re.search(r"unread", page.locator("#bell").get_attribute("aria-label") or "")


def test_what_the_page_has_counted_does_not_ring_again(site: Site, page: Page) -> None:
    ring(site)
    site.open_live(page)
    cursor = int(page.locator("#connection").get_attribute("data-cursor") or 0)
    # As if it had been committed, and not placed yet, when the page was rendered.
    page.route(
        re.compile("/api/v1/events/stream"),
        lambda route: route.continue_(
            url=re.sub(r"last_event_id=\d+", f"last_event_id={cursor - 2}", route.request.url)
        ),
    )
    page.reload()
    expect_live(page)
    ring(site, title="Fan loud")
    expect(page.locator("#bell [data-count]")).to_have_text("2")
