"""The import of servers in a real browser, with and without scripts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.portal import Portal, Web
from tests.readers import bearer

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"

# Oscar may import, vera may only look, and alice may delete.
PREPARE = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken
cast = {}
for name, role in {"oscar": "Operator", "vera": "Viewer", "alice": "Admin"}.items():
    user = User.objects.create(username=name)
    user.groups.set(Group.objects.filter(name=role))
    client = Client()
    client.force_login(user)
    cast[name] = [str(AccessToken.for_user(user)), client.cookies["sessionid"].value]
print("CAST", json.dumps(cast))
"""


@dataclass
class Site:
    """A portal, and its users' tokens and sessions."""

    web: Web
    cast: dict[str, tuple[str, str]]

    def open(self, page: Page, name: str = "oscar") -> None:
        cookie = {"name": "sessionid", "value": self.cast[name][1], "url": self.web.url()}
        page.context.add_cookies([cookie])  # type: ignore[list-item]
        page.goto(self.web.url("/servers/import/"))

    def export(self) -> str:
        headers = bearer(self.cast["oscar"][0])
        url = self.web.url("/api/v1/servers/export/")
        return httpx.get(url, headers=headers, trust_env=False).raise_for_status().text

    def servers(self) -> list[str]:
        """The names that the export has."""
        return [row["name"] for row in csv.DictReader(self.export().splitlines())]

    def clear(self) -> None:
        headers = bearer(self.cast["alice"][0])
        servers = self.web.url("/api/v1/servers/")
        with httpx.Client(headers=headers, trust_env=False) as client:
            for row in client.get(servers).raise_for_status().json()["results"]:
                client.delete(f"{servers}{row['id']}/").raise_for_status()


@pytest.fixture(scope="module")
def running_site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals()
    printed = portal.shell(PREPARE)
    return Site(portal.serve(), json.loads(printed.split("CAST ")[1]))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The portal without servers."""
    running_site.clear()
    return running_site


def choose(page: Page, content: str) -> None:
    """A file, and has it checked."""
    file = {"name": "servers.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.get_by_label("File", exact=True).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Check").click()


def paste(page: Page, content: str) -> None:
    page.get_by_label("Or its text").fill(content)
    page.get_by_role("button", name="Check").click()


def test_a_file_is_checked_and_then_imported_without_scripts(site: Site, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        site.open(page)
        choose(page, "name,host,username\nweb-01,127.0.0.1,ops\nweb-02,127.0.0.2,ops\n")
        expect(page.locator(".counts li")).to_have_text(["2 created", "0 updated", "0 unchanged"])
        expect(page.locator("#created tbody th")).to_have_text(["web-01", "web-02"])
        assert site.servers() == []
        page.get_by_role("button", name="Import").click()
        expect(page).to_have_url(site.web.url("/servers/"))
        expect(page.locator(".messages")).to_contain_text("2 created, 0 updated, 0 unchanged")
        assert site.servers() == ["web-01", "web-02"]


def test_a_change_is_shown_before_it_is_made(site: Site, page: Page) -> None:
    site.open(page)
    paste(page, "name\thost\tusername\ttags\nweb-01\t127.0.0.1\tops\told\n")
    page.get_by_role("button", name="Import").click()
    site.open(page)
    paste(page, "name,host,tags\nweb-01,127.0.0.9,old new\n")
    shown = page.locator("#updated tbody tr")
    expect(shown.get_by_role("rowheader")).to_have_text("web-01")
    expect(shown.locator("p")).to_have_text(["host 127.0.0.1 → 127.0.0.9", "tags old → old new"])
    assert "127.0.0.1" in site.export()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("button", name="Check")).to_be_visible()
    assert "127.0.0.9" not in site.export()


def test_every_bad_line_is_shown_and_can_be_mended(site: Site, page: Page) -> None:
    site.open(page)
    paste(page, f"name,host,username\ngood,127.0.0.1,ops\n{HOSTILE},no host,ops\nshort\n")
    expect(page.locator("main").get_by_role("alert")).to_have_text(
        "Nothing was imported: 2 bad lines"
    )
    expect(page.locator("#errors tbody td.number")).to_have_text(["3", "4"])
    expect(page.locator("#errors tbody tr").first).to_contain_text("Enter a host name")
    expect(page.get_by_role("button", name="Import")).to_have_count(0)
    expect(page.locator("main img")).to_have_count(0)
    expect(page).to_have_title("Import servers · OpsPortal")
    assert site.servers() == []
    pasted = page.get_by_label("Or its text").input_value()
    paste(page, pasted.replace("no host", "127.0.0.2").replace("short", "long,127.0.0.3,ops"))
    page.get_by_role("button", name="Import").click()
    expect(page).to_have_url(site.web.url("/servers/"))
    assert set(site.servers()) >= {"good", "long"}


def test_no_script_or_style_is_inline(site: Site, page: Page) -> None:
    """So a content security policy can forbid both."""
    site.open(page)
    paste(page, "name,host,username\nweb-01,127.0.0.1,ops\n")
    inline = "[style], style, script:not([src], [type='application/json'])"
    expect(page.locator(inline)).to_have_count(0)
    attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert not [name for name in page.evaluate(attributes) if name.startswith("on")]


def test_nothing_is_wider_than_a_phone(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    site.open(page)
    assert page.evaluate(wide) is False
    paste(page, f"name,host,username\n{'x' * 90},127.0.0.1,{'u' * 64}\n")
    expect(page.locator("#created")).to_be_visible()
    assert page.evaluate(wide) is False
    site.open(page)
    paste(page, f"name,host,username\n{'x' * 90},{'b' * 90}%,ops\n")
    expect(page.locator("#errors")).to_be_visible()
    assert page.evaluate(wide) is False


def test_who_may_only_look_cannot_import(site: Site, page: Page) -> None:
    site.open(page, "vera")
    expect(page.get_by_role("heading")).to_have_text("No access to this page")
