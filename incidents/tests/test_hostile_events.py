"""Events that are published by hand may hold whatever their schema lets through."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from events import log
from events.bus import append
from events.models import Event
from events.publishing import parse
from incidents.models import Incident, Notification
from incidents.subscriptions import notify, watch_servers
from incidents.tests.making import create_channel, create_incident
from servers.models import Server
from servers.tests.cast import Person, place_events

pytestmark = pytest.mark.django_db

NUMBERS = [10**30, 2**63, -(10**30), -1, 0]
HOSTILE = [
    {"title": {"old": "a\0b", "new": "\ud800"}},
    {"a\0b": {}, "\ud800": {}, "title": {}},
    {"": {"\0": "\0"}, "x" * 100_000: {}},
    {"severity": {"new": [10**400, {"\u2028": None}]}},
    {},
]


def publish(event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """As `manage.py emit` and the API do."""
    append([parse({"type": event_type, "data": data})])
    place_events()
    event = Event.objects.order_by("position").last()
    assert event is not None
    return log.public(event)


def incident_data(incident: Incident, **values: Any) -> dict[str, Any]:
    data = {"id": incident.pk, "title": "T", "severity": "low", "status": "open", "assignee": None}
    return data | values


def server_data(pk: int, **values: Any) -> dict[str, Any]:
    return {"id": pk, "name": "web-01", "host": "h", "status": "unknown"} | values


@pytest.mark.parametrize("changes", HOSTILE)
def test_whatever_changes_an_event_tells_of_it_is_told_on(
    operator: Person, changes: dict[str, Any]
) -> None:
    create_channel("https://hooks.example.org/", events=["incident.updated"])
    incident = create_incident(assignee=operator.user)
    event = publish("incident.updated", incident_data(incident, changes=changes))
    with transaction.atomic():
        notify(event)
    for row in Notification.objects.all():
        assert row.payload == {name: event[name] for name in ("type", "timestamp", "data")}
        assert "\0" not in row.body
    assert Notification.objects.count() == 2


@pytest.mark.parametrize("number", NUMBERS)
def test_of_an_incident_of_no_possible_number_nobody_is_told(number: int) -> None:
    create_channel("https://hooks.example.org/", events=["incident.updated"])
    data = incident_data(create_incident(), id=number, changes={})
    with transaction.atomic():
        notify(publish("incident.updated", data))
    assert not Notification.objects.exists()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("status", ["success", "failed", "unknown"])
def test_a_check_of_a_server_of_no_possible_number_counts_nowhere(
    server: Server, number: int, status: str
) -> None:
    data = {"id": number, "name": "web-01", "old_status": "testing", "new_status": status}
    event = publish("server.status_changed", data | {"message": "No."})
    with transaction.atomic():
        watch_servers(event)
    assert not Incident.objects.exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_nor_does_its_maintenance(number: int) -> None:
    changes = {"maintenance_until": {"old": None, "new": "\0"}}
    with transaction.atomic():
        watch_servers(publish("server.updated", server_data(number, changes=changes)))


@pytest.mark.parametrize("message", ["", " ", "\u2028", "|" * 100_000, "[" * 100_000])
def test_whatever_a_check_says_it_is_noted(server: Server, message: str) -> None:
    data = {"id": server.pk, "name": "", "old_status": "testing", "new_status": "failed"}
    event = publish("server.status_changed", data | {"message": message})
    with transaction.atomic():
        for _ in range(4):
            watch_servers(event)
    assert " ".join(message.split()) in Incident.objects.get().comments.get().text
