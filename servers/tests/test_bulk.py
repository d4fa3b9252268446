"""What is done for many servers in one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from servers import maintenance
from servers.models import Server, StatusPeriod
from servers.serializers import MANY
from servers.tests.cast import SERVERS, Job, Person, create_server, recorded_events

pytestmark = pytest.mark.django_db

TEST = f"{SERVERS}bulk/test/"
MAINTENANCE = f"{SERVERS}bulk/maintenance/"
TAGS = f"{SERVERS}bulk/tags/"
LATER = "2999-01-01T00:00:00Z"
BODIES: dict[str, dict[str, Any]] = {
    TEST: {},
    MAINTENANCE: {"reason": "Kernel", "until": LATER},
    TAGS: {"add": ["x"]},
}


@pytest.fixture
def three() -> list[Server]:
    return [create_server(f"s{number}") for number in range(3)]


def keys(servers: list[Server]) -> list[int]:
    return [server.pk for server in servers]


@pytest.mark.parametrize("path", BODIES)
def test_what_there_is_not_is_named_and_the_rest_is_done(
    operator: Person, three: list[Server], path: str
) -> None:
    gone = three[0].pk
    three[0].delete()
    wanted = [2**63 - 1, *keys(three[1:]), gone, three[1].pk]
    response = operator.call("post", path, {"servers": wanted} | BODIES[path])
    assert response.status_code == (202 if path == TEST else 200)
    reason = "There is no such server."
    assert sorted(response.json()["done"]) == sorted(keys(three[1:]))
    assert response.json()["skipped"] == [
        {"id": gone, "reason": reason},
        {"id": 2**63 - 1, "reason": reason},
    ]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "servers", [None, [], "all", [0], [-1], ["x"], [2**63], [None], {"a": 1}, [1] * (MANY + 1)]
)
def test_a_list_that_is_none_is_refused(operator: Person, path: str, servers: Any) -> None:
    server = create_server()
    before = Server.objects.values().get()
    response = operator.call("post", path, BODIES[path] | {"servers": servers})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == ["servers"]
    assert Server.objects.values().get(pk=server.pk) == before


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_field_is_refused(operator: Person, three: list[Server], path: str) -> None:
    body = BODIES[path] | {"servers": keys(three), "colour": "red"}
    response = operator.call("post", path, body)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["colour"])


# Tests.


def test_a_test_of_many_is_one_job_on_behalf_of_who_asked(
    responder: Person,
    three: list[Server],
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    other = create_server("other", next_check_at=None)
    Server.objects.update(next_check_at=timezone.now() + timedelta(hours=1))
    with committing():
        assert responder.call("post", TEST, {"servers": keys(three)}).status_code == 202
        assert jobs() == []  # not before the commit
    assert [job.task for job in jobs()] == ["servers.tasks.run_due_checks"]
    now = timezone.now()
    for server in Server.objects.filter(pk__in=keys(three)):
        assert server.next_check_at is not None
        assert server.next_check_at <= now
        assert server.check_requested_by == responder.user
    other.refresh_from_db()
    assert other.check_requested_by is None
    assert other.next_check_at is not None
    assert other.next_check_at > now


def test_a_server_in_maintenance_is_not_tested_and_named_with_the_reason(
    responder: Person, three: list[Server]
) -> None:
    end = timezone.now() + timedelta(hours=1)
    maintenance.begin(three[1], "New disks", end)
    response = responder.call("post", TEST, {"servers": keys(three)})
    assert sorted(response.json()["done"]) == [three[0].pk, three[2].pk]
    [skipped] = response.json()["skipped"]
    assert skipped["id"] == three[1].pk
    assert "s1 is in maintenance until" in skipped["reason"]
    assert "New disks" in skipped["reason"]
    three[1].refresh_from_db()
    assert three[1].check_requested_by is None


# Maintenance.


def test_maintenance_of_many_begins_changes_and_ends(operator: Person, three: list[Server]) -> None:
    create_server("other")
    with recorded_events() as events:
        for body in (
            {"reason": " Kernel ", "until": LATER},
            {"reason": "Disks", "until": LATER},
            {"until": None},
        ):
            response = operator.call("post", MAINTENANCE, {"servers": keys(three)} | body)
            assert response.status_code == 200
            assert sorted(response.json()["done"]) == keys(three)
    told = [(event.data["name"], list(event.data["changes"])) for event in events]
    both = ["maintenance_until", "maintenance_reason"]
    for name in ("s0", "s1", "s2"):
        assert [fields for told_of, fields in told if told_of == name] == [
            both,
            ["maintenance_reason"],
            both,
        ]
    assert {event.actor_username for event in events} == {"operator"}
    assert not Server.objects.exclude(maintenance_until=None, maintenance_reason="").exists()
    for server in three:
        periods = StatusPeriod.objects.filter(server=server).order_by("pk")
        states = [(period.state, period.message) for period in periods]
        assert states[-2:] == [("maintenance", "Kernel"), ("unknown", "")]
        assert [period.ended_at is None for period in periods][-2:] == [False, True]
    assert not StatusPeriod.objects.filter(server__name="other").exists()


def test_maintenance_once_more_changes_nothing(operator: Person, three: list[Server]) -> None:
    body = {"servers": keys(three), "reason": "Kernel", "until": LATER}
    operator.call("post", MAINTENANCE, body)
    before = list(Server.objects.values())
    with recorded_events() as events:
        assert operator.call("post", MAINTENANCE, body).status_code == 200
    assert events == []
    assert list(Server.objects.values()) == before
    assert StatusPeriod.objects.filter(state="maintenance").count() == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "until"),
        ({"until": "soon", "reason": "Kernel"}, "until"),
        ({"until": "2001-01-01T00:00:00Z", "reason": "Kernel"}, "until"),
        ({"until": LATER}, "reason"),
        ({"until": LATER, "reason": ""}, "reason"),
        ({"until": None, "reason": "Kernel"}, "reason"),
        ({"until": LATER, "reason": "  "}, "reason"),
        ({"until": LATER, "reason": "x" * 201}, "reason"),
        ({"until": LATER, "reason": "\x00"}, "reason"),
    ],
)
def test_maintenance_needs_a_reason_and_an_end_to_come(
    operator: Person, three: list[Server], body: dict[str, Any], field: str
) -> None:
    with recorded_events() as events:
        response = operator.call("post", MAINTENANCE, {"servers": keys(three)} | body)
    assert (response.status_code, list(response.json()["errors"])) == (400, [field])
    assert events == []
    assert not Server.objects.exclude(maintenance_until=None).exists()


# Tags.


def test_tags_are_added_and_removed(operator: Person) -> None:
    servers = [
        create_server("a", tags=["old", "eu"]),
        create_server("b", tags=["new"]),
        create_server("c", tags=["web"]),
    ]
    create_server("d", tags=["old"])
    before = Server.objects.get(name="b").updated_at
    body = {"servers": keys(servers[:2]), "add": ["new"], "remove": ["old", "none"]}
    with recorded_events() as events:
        response = operator.call("post", TAGS, body)
    assert sorted(response.json()["done"]) == keys(servers[:2])
    tags = dict(Server.objects.values_list("name", "tags"))
    assert tags == {"a": ["eu", "new"], "b": ["new"], "c": ["web"], "d": ["old"]}
    [event] = events
    assert event.data["changes"] == {"tags": {"old": ["old", "eu"], "new": ["eu", "new"]}}
    assert Server.objects.get(name="b").updated_at == before
    assert Server.objects.get(name="a").updated_at > servers[0].updated_at


def test_where_one_would_have_too_many_tags_none_is_changed(operator: Person) -> None:
    full = create_server("zz-full", tags=[f"t{number}" for number in range(20)])
    other = create_server("a")
    before = list(Server.objects.values())
    with recorded_events() as events:
        response = operator.call("post", TAGS, {"servers": [other.pk, full.pk], "add": ["x"]})
    assert response.status_code == 400
    assert response.json()["errors"] == {"add": ["zz-full would have more than 20 tags."]}
    assert events == []
    assert list(Server.objects.values()) == before


@pytest.mark.parametrize("tags", ["web", ["Web"], ["a", "a"], [1], ["x" * 51], ["\x00"]])
@pytest.mark.parametrize("field", ["add", "remove"])
def test_a_wrong_tag_is_refused(
    operator: Person, three: list[Server], field: str, tags: Any
) -> None:
    response = operator.call("post", TAGS, {"servers": keys(three), field: tags})
    if tags == [1]:
        assert response.status_code == 200  # text it becomes, as in a server's own tags
        return
    assert (response.status_code, list(response.json()["errors"])) == (400, [field])
    assert not Server.objects.exclude(tags=[]).exists()


# Many.


@pytest.mark.parametrize("path", BODIES)
def test_the_most_that_one_call_takes_takes_few_queries(operator: Person, path: str) -> None:
    rows: models.QuerySet[Server] = models.QuerySet(Server)  # without the events
    rows.bulk_create(Server(name=f"s{number:05}", host="h", username="u") for number in range(MANY))
    body = {"servers": list(Server.objects.values_list("pk", flat=True))} | BODIES[path]
    with CaptureQueriesContext(connection) as queries:
        response = operator.call("post", path, body)
    assert len(response.json()["done"]) == MANY
    assert response.json()["skipped"] == []
    assert len(queries) < MANY / 20  # SQLite takes some hundred rows in one statement
