"""The explorer as the server renders it: what the log's API gives, and nothing else."""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from events import history
from events.api import acting, emit
from events.models import Event
from incidents.tests.cast import create_incident
from opsportal import explorer
from servers.tests.cast import EVERYBODY, Person, create_server, place_events

pytestmark = pytest.mark.django_db

QUERIES: list[dict[str, Any]] = [
    {},
    {"types": "server.*"},
    {"types": ["server.created", "incident.created"]},
    {"types": "credential.*,environment.created"},
    {"subject": "servers.server/1"},
    {"actor": "ann"},
    {"actor": "root (manage.py emit)", "types": "incident.*"},
    {"types": "nobody.declared.*"},
]


def page_of(person: Person, **query: Any) -> Any:
    """The response."""
    browser = Client()
    if person.user:
        browser.force_login(person.user)
    return browser.get("/events/", query)


def content_of(person: Person, **query: Any) -> str:
    response = page_of(person, **query)
    assert response.status_code == 200
    text: str = response.content.decode()
    return text


def rows(text: str) -> list[dict[str, Any]]:
    """The events that a page shows, from what it shows as their JSON."""
    listed = text.split('<div class="events"')[1].split('<section class="sheet"')[0]
    return [
        json.loads(html.unescape(each))
        for each in re.findall(r"<pre[^>]*>(.*?)</pre>", listed, re.S)
    ]


def older_link(text: str) -> str:
    """Its query; empty where there is none."""
    found = re.search(r'<a id="older" href="\?([^"]*)" rel="next">', text)
    return html.unescape(found[1]) if found else ""


def polled(person: Person, **query: Any) -> list[dict[str, Any]]:
    """What the API gives to the same question, the newest first."""
    authorization = f"Bearer {AccessToken.for_user(person.user)}"
    types = query.get("types", "")
    query["types"] = types if isinstance(types, str) else ",".join(types)
    asked = urlencode({"before": 10**9, "limit": 500, **query})
    response = Client().get(f"/api/v1/events/?{asked}", headers={"Authorization": authorization})
    events: list[dict[str, Any]] = response.json()["events"]
    return events[::-1]


@pytest.fixture
def log(people: dict[str, Person]) -> None:
    """Events of all kinds, for all kinds of readers, by several actors."""
    chance = random.Random(7)
    names = [
        f"{kind}.{verb}"
        for kind in ("server", "incident", "credential")
        for verb in ("created", "updated", "nonsense")
    ]
    keys = ["servers.view_server", "incidents.view_incident", "everyone", "internal"]
    keys += [f"user:{person.user.pk}" for person in people.values() if person.user]
    for _ in range(60):
        values: dict[str, Any] = {
            "type": chance.choice(names),
            "subject": chance.choice(["", "servers.server/1", "servers.server/10"]),
            "audience": chance.sample(keys, chance.choice([1, 2])),
            "data": {"name": chance.choice(["web", "<b>ü</b>", None, {"a": []}]), "title": 7},
            "actor_username": chance.choice(["", "ann", "Ann", "root (manage.py emit)"]),
        }
        Event.objects.create(timestamp=timezone.now(), **values)
    place_events()


def test_who_is_not_logged_in_goes_to_the_login(anonymous: Person) -> None:
    response = page_of(anonymous, types="server.*")
    assert response.status_code == 302
    assert response["Location"] == "/login/?next=/events/%3Ftypes%3Dserver.%252A"


@pytest.mark.parametrize("name", [name for name in EVERYBODY if name != "anonymous"])
def test_it_shows_what_the_api_gives(log: None, people: dict[str, Person], name: str) -> None:
    for query in QUERIES:
        assert rows(content_of(people[name], **query)) == polled(people[name], **query), query


def test_the_links_lead_through_all_of_it_once(
    log: None, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a look at the log finds too little, as it does in one of millions."""
    viewer = people["viewer"]
    expected = [polled(viewer, **query) for query in QUERIES]
    monkeypatch.setattr(explorer, "ROWS", 4)
    monkeypatch.setattr(explorer, "TURNS", 2)
    monkeypatch.setattr(history, "SPAN", 5)
    for query, all_of_it in zip(QUERIES, expected, strict=True):
        text = content_of(viewer, **query)
        found = rows(text)
        while asked := older_link(text):
            browser = Client()
            browser.force_login(viewer.user)
            text = browser.get(f"/events/?{asked}").content.decode()
            assert "data-live" not in text
            found += rows(text)
        assert found == all_of_it, query


def test_a_page_looks_further_back_where_little_passes(
    viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SPAN", 5)
    create_incident("Disk full")
    for number in range(12):
        create_server(f"web-{number}")
    place_events()
    assert [row["type"] for row in rows(content_of(viewer, types="incident.*"))] == [
        "incident.created"
    ]


def test_what_comes_is_followed_from_the_head_that_the_page_was_read_at(viewer: Person) -> None:
    create_server()
    head = place_events()
    create_server("not placed yet")
    text = content_of(viewer)
    assert f'data-cursor="{head}"' in text
    assert "not placed yet" not in text
    assert " data-live" in text


@pytest.mark.parametrize(
    ("query", "followed"),
    [
        ({"types": "server.*"}, "created,deleted,status_changed,updated"),
        ({"types": "server.created,server.c.*"}, "created"),
        ({"types": "nobody.declared.*"}, ""),
    ],
)
def test_the_stream_is_asked_for_what_the_filter_names(
    viewer: Person, query: dict[str, str], followed: str
) -> None:
    names = ",".join(f"server.{name}" for name in followed.split(",") if name)
    assert f'data-types="{names}" data-needed="{names}"' in content_of(viewer, **query)


def test_internal_types_are_not_even_named(admin: Person) -> None:
    User.objects.filter(pk=admin.user.pk).update(is_superuser=True)
    place_events()
    assert "access.changed" not in content_of(admin)


def test_the_tree_has_the_types_that_one_may_read(viewer: Person, operator: Person) -> None:
    def offered(person: Person) -> list[str]:
        return re.findall(r'name="types" value="([^"]*)"', content_of(person))

    assert "server.*" in offered(viewer)
    assert "server.status_changed" in offered(viewer)
    assert not [name for name in offered(viewer) if name.startswith("credential.")]
    assert "credential.updated" in offered(operator)


def test_a_filter_that_is_in_force_is_to_be_seen(viewer: Person) -> None:
    text = content_of(viewer, types="server.*,my.own", subject="servers.server/7", actor='a"b')
    assert re.findall(r'value="([^"]*)" checked', text) == ["server.*", "my.own"]
    assert 'name="subject" value="servers.server/7"' in text
    assert 'name="actor" value="a&quot;b"' in text


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"types": "Server!"}, "Types must list event types"),
        ({"subject": "nonsense"}, "Subject must be of the form"),
        ({"actor": "a\x00"}, "Actor must be a name"),
    ],
)
def test_a_filter_that_is_none_is_told_of_and_shows_nothing(
    viewer: Person, query: dict[str, str], told: str
) -> None:
    """Rather than more than was asked for."""
    create_server()
    place_events()
    text = content_of(viewer, **query)
    assert told in text
    assert rows(text) == []
    assert " data-live" not in text


def test_markup_is_text(viewer: Person, admin: Person) -> None:
    hostile = "<img src=x onerror=alert(1)></pre><script>"
    with acting(lambda: admin.user):
        data = {"id": 1, "name": hostile, "host": hostile, "status": "failed"}
        emit("server.created", data, subject="servers.server/1")
    place_events()
    text = content_of(viewer)
    assert "<img src=x" not in text
    assert rows(text)[0]["data"]["name"] == hostile


def test_reading_holds_no_transaction() -> None:
    """On SQLite it would keep every writer waiting; and history must be read without one."""
    view: Callable[..., Any] = explorer.Explorer.as_view()
    assert "default" in view._non_atomic_requests  # type: ignore[attr-defined]
