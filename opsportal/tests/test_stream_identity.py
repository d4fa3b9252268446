"""By what the tabs of a login know each other."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from servers.tests.cast import Person

pytestmark = pytest.mark.django_db


def identity(client: Client, path: str = "/servers/") -> str:
    page = client.get(path).content.decode()
    return str(re.findall(r'data-identity="([^"]*)"', page)[0])


def log_in(person: Person) -> Client:
    client = Client()
    client.force_login(person.user)
    return client


def test_all_pages_of_a_login_have_one(viewer: Person) -> None:
    client = log_in(viewer)
    assert len(identity(client)) == 32
    assert identity(client) == identity(client, "/notifications/")


def test_no_two_logins_have_the_same(viewer: Person, admin: Person) -> None:
    clients = [log_in(viewer), log_in(viewer), log_in(admin)]
    assert len({identity(client) for client in clients}) == 3


def test_another_user_in_the_same_browser_has_another(viewer: Person, admin: Person) -> None:
    client = log_in(viewer)
    before = identity(client)
    client.force_login(admin.user)
    assert identity(client) != before


def test_it_does_not_tell_the_sessions_key(viewer: Person) -> None:
    client = log_in(viewer)
    key = client.cookies["sessionid"].value
    assert key not in client.get("/servers/").content.decode()
    assert identity(client) not in key
