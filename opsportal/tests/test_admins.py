"""What holds for the admin of every model of ours, now and of those that are to come."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model

from events.api import EventTrailMixin
from events.catalogue import catalogue
from incidents.models import Incident
from servers.models import Credential, Environment, Server
from servers.tests.cast import Person, place_events, recorded_events
from servers.tests.desk import desk, save

OURS = ("automation", "events", "incidents", "opsportal", "servers")
ADMINS = {
    model: site_admin
    for model, site_admin in admin.site._registry.items()
    if model._meta.app_label in OURS
}
THAT_EMIT = [model for model in ADMINS if model in catalogue.maps]


def name_of(model: type[Model]) -> str:
    return model._meta.label_lower


@pytest.mark.parametrize("model", THAT_EMIT, ids=name_of)
def test_its_history_is_its_trail(model: type[Model]) -> None:
    assert isinstance(ADMINS[model], EventTrailMixin)


@pytest.mark.parametrize("model", ADMINS, ids=name_of)
def test_nothing_is_written_past_its_rules(model: type[Model]) -> None:
    """In the list, and by inlines, Django would save rows itself."""
    found = ADMINS[model]
    assert not found.list_editable
    for inline in found.inlines:
        assert type(found).save_formset is not admin.ModelAdmin.save_formset, inline


NAMES = ("name", "title")

# What a form or a body says at first, and what it says then.
LIVES: dict[type[Model], tuple[str, dict[str, Any], dict[str, Any]]] = {
    Server: (
        "servers",
        {"name": "web-01", "host": "10.0.0.5", "port": 22, "username": "ops"},
        {"host": "10.0.0.6", "username": "root"},
    ),
    Credential: (
        "credentials",
        {"name": "ops", "kind": "password", "secret": "swordfish"},
        {"name": "night"},
    ),
    Environment: ("environments", {"name": "lab"}, {"name": "yard"}),
    Incident: (
        "incidents",
        {"title": "Disk full", "severity": "low", "description": ""},
        {"severity": "high"},
    ),
}


def lived_by_api(person: Person, path: str, first: Any, then: Any) -> None:
    made = person.call("post", f"/api/v1/{path}/", first)
    assert made.status_code == 201, made.content
    one = f"/api/v1/{path}/{made.json()['id']}/"
    assert person.call("patch", one, then).status_code == 200
    assert person.call("delete", one).status_code == 204


def lived_in_the_admin(person: Person, model: type[Model], first: Any, then: Any) -> None:
    pages = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
    browser = desk(person)
    no_comment = {"comments-TOTAL_FORMS": "0", "comments-INITIAL_FORMS": "0"}
    assert save(browser, f"{pages}/add/", **first).status_code == 302
    key = model._default_manager.get(**{name: first[name] for name in NAMES if name in first}).pk
    assert save(browser, f"{pages}/{key}/change/", **no_comment, **then).status_code == 302
    assert browser.post(f"{pages}/{key}/delete/", {"post": "yes"}).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("model", LIVES, ids=name_of)
def test_what_is_done_in_the_admin_is_told_as_what_is_done_by_the_api(
    admin: Person, model: type[Model]
) -> None:
    path, first, then = LIVES[model]
    with recorded_events() as by_api:
        lived_by_api(admin, path, first, then)
    with recorded_events() as in_admin:
        lived_in_the_admin(admin, model, first, then)
    told = [
        [(event.type, event.actor_username, event.data | {"id": 0}) for event in events]
        for events in (by_api, in_admin)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_each_of_the_inventory_and_of_incidents_is_compared() -> None:
    """Those of other apps have tests of their own, as they are written by other means."""
    known = {model for model in THAT_EMIT if model._meta.app_label in ("servers", "incidents")}
    assert known == set(LIVES)


@pytest.mark.django_db
def test_the_feed_shows_no_more_than_its_reader_may_read(
    outsider: Person, viewer: Person, server: Server
) -> None:
    server.name = "secret-01"
    server.save()
    place_events()
    assert "secret-01" in desk(viewer).get("/admin/").content.decode()
    page = desk(outsider).get("/admin/").content.decode()
    assert 'id="feed"' in page
    assert "secret-01" not in page
    assert 'data-types=""' in page
