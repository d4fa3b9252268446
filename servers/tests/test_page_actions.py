"""What the pages' forms do, and for whom."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from events.models import Event
from servers import services, ssh
from servers.forms import ChosenForm
from servers.models import Environment, Server
from servers.serializers import MANY
from servers.tests.cast import EVERYBODY, Person, create_server
from servers.tests.keys import new_host_key

# On one stack: what pages do is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("jobs"), pytest.mark.stack("embedded")]

OPERATORS = {"operator", "admin"}
MAINTENANCE = {"reason": "Disk", "length": "4"}
# Path, body, who may.
ACTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "test": ({}, OPERATORS | {"responder"}),
    "host-key": ({"fingerprint": "SHA256:other"}, OPERATORS),
    "maintenance": (MAINTENANCE, OPERATORS),
    "maintenance-end": ({}, OPERATORS),
    "bulk-test": ({}, OPERATORS | {"responder"}),
    "bulk-maintenance": (MAINTENANCE, OPERATORS),
    "bulk-maintenance-end": ({}, OPERATORS),
    "bulk-tags": ({"add": "edge"}, OPERATORS),
}


def post(person: Person, action: str, server: Server, *, script: bool = True, **body: Any) -> Any:
    client = Client()
    if person.user:
        client.force_login(person.user)
    is_bulk = action.startswith("bulk")
    path = reverse(f"servers:{action}", args=[] if is_bulk else [server.pk])
    chosen = {"servers": [server.pk]} if is_bulk else {}
    headers = {"HX-Request": "true"} if script else {}
    return client.post(path, chosen | body, headers=headers)


def told(response: Any) -> dict[str, str]:
    event: dict[str, str] = json.loads(response["HX-Trigger"])["told"]
    return event


@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_do_what(people: dict[str, Person], server: Server, action: str) -> None:
    body, allowed = ACTIONS[action]
    for name in EVERYBODY:
        before = Event.objects.count(), Server.objects.values().get()
        response = post(people[name], action, server, **body)
        if name in allowed:
            assert response.status_code in (204, 409), name
            Server.objects.update(maintenance_until=None, status="unknown", tags=[])
            continue
        assert response.status_code == 403, name
        assert ("HX-Redirect" in response) == (name == "anonymous")
        assert (Event.objects.count(), Server.objects.values().get()) == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_form_from_elsewhere_is_refused(operator: Person, server: Server, action: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator.user)
    args = [] if action.startswith("bulk") else [server.pk]
    body = ACTIONS[action][0] | {"servers": [server.pk]}
    assert client.post(reverse(f"servers:{action}", args=args), body).status_code == 403
    assert client.get(reverse(f"servers:{action}", args=args)).status_code == 405


@pytest.mark.parametrize("name", EVERYBODY)
def test_who_may_look(people: dict[str, Person], server: Server, name: str) -> None:
    client = Client()
    if people[name].user:
        client.force_login(people[name].user)
    response = client.get(f"/servers/{server.pk}/")
    expected = {"outsider": 403, "anonymous": 302}.get(name, 200)
    assert response.status_code == expected
    assert (server.host in response.content.decode()) == (expected == 200)
    assert "swordfish" not in response.content.decode()


@pytest.mark.parametrize("is_staff", [True, False])
def test_who_may_add_servers_is_shown_where(people: dict[str, Person], is_staff: bool) -> None:
    for name in ("viewer", "operator"):
        user = people[name].user
        type(user).objects.filter(pk=user.pk).update(is_staff=is_staff)
        client = Client()
        client.force_login(user)
        page = client.get("/servers/").content.decode()
        may_add = name == "operator"
        assert ("New server" in page) == (may_add and is_staff)
        assert ("/servers/import/" in page) == may_add


@pytest.mark.parametrize("action", ["test", "host-key", "maintenance", "maintenance-end"])
def test_a_server_that_is_gone_is_not_found(operator: Person, server: Server, action: str) -> None:
    Server.objects.get().delete()
    assert post(operator, action, server, **ACTIONS[action][0]).status_code == 404


def test_of_chosen_servers_those_that_are_gone_are_passed_over(
    operator: Person, server: Server
) -> None:
    other = create_server("web-02")
    response = post(operator, "bulk-tags", server, servers=[server.pk, other.pk + 9], add="edge")
    assert told(response) == {"level": "notice", "text": "Tags changed: 1 of 1 server."}
    other.refresh_from_db()
    assert other.tags == []


@pytest.mark.parametrize("chosen", [[], ["x"], ["-1"], [str(2**63)], ["1\x00"]])
def test_a_choice_that_is_none_is_refused(operator: Person, server: Server, chosen: Any) -> None:
    response = post(operator, "bulk-tags", server, servers=chosen, add="edge")
    assert response.status_code == 400
    server.refresh_from_db()
    assert server.tags == []


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "", "length": "1"},
        {"reason": "x" * 201, "length": "1"},
        {"reason": "Disk", "length": "2"},
        {"reason": "Disk", "length": ""},
        {"reason": "Disk", "length": "", "until": "2001-01-01T00:00"},
        {"reason": "Disk", "length": "", "until": "soon"},
    ],
)
@pytest.mark.parametrize("action", ["maintenance", "bulk-maintenance"])
def test_maintenance_without_reason_or_end_is_refused(
    operator: Person, server: Server, action: str, body: dict[str, Any]
) -> None:
    response = post(operator, action, server, **body)
    assert response.status_code == 400
    assert told(response)["level"] == "problem"
    server.refresh_from_db()
    assert server.maintenance_until is None


def test_a_tag_too_many_changes_no_server(operator: Person, server: Server) -> None:
    full = create_server("web-02", tags=[f"t{number}" for number in range(20)])
    response = post(operator, "bulk-tags", server, servers=[server.pk, full.pk], add="edge")
    assert response.status_code == 400
    server.refresh_from_db()
    assert server.tags == []


@pytest.mark.parametrize("body", [{}, {"add": "UPPER"}, {"remove": "a/b"}])
def test_tags_that_are_none_are_refused(
    operator: Person, server: Server, body: dict[str, Any]
) -> None:
    assert post(operator, "bulk-tags", server, **body).status_code == 400


def test_a_key_is_accepted_only_by_the_fingerprint_that_was_shown(
    operator: Person, server: Server
) -> None:
    offered = new_host_key()
    Server.objects.update(offered_host_key=offered)
    refused = post(operator, "host-key", server, fingerprint=ssh.fingerprint(new_host_key()))
    assert refused.status_code == 409
    server.refresh_from_db()
    assert server.host_key == ""
    done = post(operator, "host-key", server, fingerprint=ssh.fingerprint(offered), script=False)
    assert done.url == f"/servers/{server.pk}/"
    server.refresh_from_db()
    assert server.host_key == offered


def test_the_list_asks_as_often_for_fifty_servers_as_for_one(
    viewer: Person, environment: Environment, django_assert_max_num_queries: Any
) -> None:
    client = Client()
    client.force_login(viewer.user)
    for number in range(50):
        services.create(Server(name=f"web-{number}", host="h", environment=environment))
    with django_assert_max_num_queries(13):
        assert client.get("/servers/").status_code == 200


@pytest.mark.parametrize("action", ["bulk-maintenance", "bulk-maintenance-end"])
def test_maintenance_asks_as_often_for_fifty_servers_as_for_two(
    operator: Person, action: str
) -> None:
    until = timezone.now() + timedelta(hours=1) if action.endswith("end") else None
    rows: models.QuerySet[Server] = models.QuerySet(Server)  # without the events
    rows.bulk_create(
        Server(name=f"s{number}", host="h", username="u", maintenance_until=until)
        for number in range(52)
    )
    keys = list(Server.objects.values_list("pk", flat=True))
    body: dict[str, Any] = {"reason": "disks", "length": "1"}
    counts = []
    for chosen in (keys[:2], keys[2:]):
        with CaptureQueriesContext(connection) as queries:
            response = post(operator, action, Server(pk=1), **body | {"servers": chosen})
        assert response.status_code == 204
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_no_more_are_chosen_at_once_than_in_one_call() -> None:
    data = QueryDict(mutable=True)
    data.setlist("servers", [str(number) for number in range(1, MANY + 2)])
    form = ChosenForm(data)
    assert form.errors == {"servers": [f"Choose at most {MANY:,} servers."]}
