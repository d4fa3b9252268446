"""From changes of a mapped model to events: every way to change a row, and what stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import serializers as django_serializers
from django.core.exceptions import FieldDoesNotExist
from django.db import NotSupportedError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Lower
from django.test.utils import CaptureQueriesContext

from events import log
from events.api import InvalidEventData
from events.catalogue import catalogue
from events.models import Event
from servers.models import Environment, Server

pytestmark = pytest.mark.django_db


def make(name: str = "web-01", **values: Any) -> Server:
    return Server(**{"name": name, "host": "10.0.0.1", "username": "root"} | values)


@pytest.fixture
def server() -> Server:
    created = make()
    created.save()
    Event.objects.all().delete()
    return created


def row_of(server: Server) -> dict[str, Any]:
    return {field.attname: getattr(server, field.attname) for field in server._meta.fields}


def told() -> list[tuple[str, dict[str, Any]]]:
    """What the log says since, in order."""
    return [(event.type, event.data) for event in Event.objects.order_by("pk")]


def changes() -> list[dict[str, Any]]:
    return [data["changes"] for name, data in told() if name == "server.updated"]


def test_a_new_row_is_told_with_its_subject_and_audience() -> None:
    row = make()
    row.save()
    event = Event.objects.get()
    expected = {"id": row.pk, "name": "web-01", "host": "10.0.0.1", "status": "unknown"}
    assert (event.type, event.data) == ("server.created", expected)
    assert event.subject == f"servers.server/{row.pk}"
    assert event.audience == ["servers.view_server"]


def test_a_deleted_row_is_told_as_it_was(server: Server) -> None:
    key = server.pk
    server.delete()
    expected = {"id": key, "name": "web-01", "host": "10.0.0.1", "status": "unknown"}
    assert told() == [("server.deleted", expected)]
    assert Event.objects.get().subject == f"servers.server/{key}"


def test_a_row_that_is_gone_is_not_told_of_twice(server: Server) -> None:
    stale = Server.objects.get()
    server.delete()
    stale.delete()
    assert [name for name, _ in told()] == ["server.deleted"]


def test_a_deletion_tells_of_what_was_stored(server: Server) -> None:
    server.name = "never stored"
    server.delete()
    assert [data["name"] for _, data in told()] == ["web-01"]


def test_a_partly_loaded_row_can_be_deleted(server: Server) -> None:
    Server.objects.only("id").get().delete()
    assert [data["name"] for _, data in told()] == ["web-01"]


def test_deleting_a_queryset_tells_of_each_row(server: Server) -> None:
    make("web-02").save()
    Event.objects.all().delete()
    Server.objects.all().delete()
    assert sorted(data["name"] for _, data in told()) == ["web-01", "web-02"]


def test_a_change_is_told_field_by_field(server: Server) -> None:
    server.port = 2222
    server.tags = ["db"]
    server.environment = Environment.objects.get(name="staging")
    server.save()
    assert changes() == [
        {
            "port": {"old": 22, "new": 2222},
            "environment": {"old": None, "new": "staging"},
            "tags": {"old": [], "new": ["db"]},
        }
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda server: server.save(),
        lambda server: type(server)(**row_of(server) | {"port": "22"}).save(),
        lambda server: server.save(update_fields=["port"]),
        lambda server: server.save(update_fields=[]),
        lambda server: Server.objects.update(port=22),
        lambda server: Server.objects.filter(name="other").update(port=23),
        lambda server: Server.objects.bulk_update([server], ["port"]),
        lambda server: Server.objects.bulk_create([]),
        lambda server: Server.objects.none().update(port=23),
    ],
)
def test_what_changes_nothing_says_nothing(server: Server, change: Callable[..., Any]) -> None:
    change(server)
    assert told() == []


def test_a_transition_has_an_event_of_its_own_and_is_no_change(server: Server) -> None:
    server.status = Server.Status.FAILED
    server.last_test_message = "refused"
    server.save()
    expected = {
        "id": server.pk,
        "name": "web-01",
        "old_status": "unknown",
        "new_status": "failed",
        "message": "refused",
    }
    assert told() == [("server.status_changed", expected)]


def test_a_save_with_both_tells_the_change_first(server: Server) -> None:
    server.status, server.port = Server.Status.FAILED, 23
    server.save()
    assert [name for name, _ in told()] == ["server.updated", "server.status_changed"]


def test_a_secret_is_told_of_without_its_values(server: Server) -> None:
    server.credential = "correct horse"
    server.save()
    assert changes() == [{"credential": {"old": "********", "new": "********"}}]
    assert "correct horse" not in str(Event.objects.values())


def test_the_old_values_are_the_databases_not_the_instances(server: Server) -> None:
    stale = Server.objects.get(pk=server.pk)
    server.port = 2222
    server.save()
    stale.port = 2223
    stale.save()
    assert changes()[-1] == {"port": {"old": 2222, "new": 2223}}


def test_what_update_fields_leaves_out_is_neither_saved_nor_told(server: Server) -> None:
    server.port, server.name = 2222, "never saved"
    server.save(update_fields=["port"])
    ((_, data),) = told()
    assert data["name"] == "web-01"
    assert data["changes"] == {"port": {"old": 22, "new": 2222}}


def test_an_expression_is_told_by_its_result(server: Server) -> None:
    server.port = F("port") + 1
    server.save()
    assert changes() == [{"port": {"old": 22, "new": 23}}]


def test_a_deferred_field_is_not_taken_for_a_change(server: Server) -> None:
    row = Server.objects.defer("host", "credential").get(pk=server.pk)
    row.port = 2222
    row.save()
    assert changes() == [{"port": {"old": 22, "new": 2222}}]


def test_queryset_update_tells_of_each_row_that_changed(server: Server) -> None:
    make("web-02", port=2222).save()
    Event.objects.all().delete()
    assert Server.objects.update(port=2222) == 2
    assert changes() == [{"port": {"old": 22, "new": 2222}}]


def test_queryset_update_tells_of_values_as_they_are_stored(server: Server) -> None:
    assert Server.objects.update(port="2222", username=5) == 1
    expected = {"port": {"old": 22, "new": 2222}, "username": {"old": "root", "new": "5"}}
    assert changes() == [expected]


def test_queryset_update_works_where_it_changes_what_it_looks_for(server: Server) -> None:
    assert Server.objects.filter(port=22).update(port=F("port") + 1) == 1
    assert changes() == [{"port": {"old": 22, "new": 23}}]


def test_queryset_update_keeps_annotations_and_order(server: Server) -> None:
    rows = Server.objects.annotate(next=F("port") + 1).order_by("-name")
    assert rows.update(port=F("next")) == 1
    assert changes() == [{"port": {"old": 22, "new": 23}}]


def test_bulk_create_tells_of_what_was_stored() -> None:
    Server.objects.bulk_create([make(host=Lower(Value("ABC")))])
    assert [data["host"] for _, data in told()] == ["abc"]


def test_bulk_create_tells_of_each_row(server: Server) -> None:
    rows = Server.objects.bulk_create([make("a"), make("b")])
    assert [(name, data["id"], data["name"]) for name, data in told()] == [
        ("server.created", rows[0].pk, "a"),
        ("server.created", rows[1].pk, "b"),
    ]


@pytest.mark.parametrize(
    "conflicts",
    [
        {"ignore_conflicts": True},
        {"update_conflicts": True, "update_fields": ["host"], "unique_fields": ["name"]},
    ],
)
def test_a_bulk_create_that_cannot_tell_refuses(server: Server, conflicts: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError, match="conflicts"):
        Server.objects.bulk_create([make()], **conflicts)


def test_bulk_update_tells_of_each_row(server: Server) -> None:
    server.port, server.status = 2222, Server.Status.SUCCESS
    Server.objects.bulk_update([server], ["port", "status"])
    assert [name for name, _ in told()] == ["server.updated", "server.status_changed"]


def test_changes_through_a_relation_are_told(server: Server) -> None:
    staging = Environment.objects.get(name="staging")
    staging.servers.add(server, bulk=False)
    staging.servers.update(port=2222)
    staging.servers.set([])
    staging.servers.add(server)
    staging.servers.create(name="web-02", host="h", username="u")
    assert [name for name, _ in told()] == ["server.updated"] * 4 + ["server.created"]


def test_get_or_create_and_update_or_create_are_told() -> None:
    Server.objects.get_or_create(name="a", defaults={"host": "h", "username": "u"})
    Server.objects.get_or_create(name="a", defaults={"host": "h", "username": "u"})
    Server.objects.update_or_create(name="a", defaults={"host": "other"})
    assert [name for name, _ in told()] == ["server.created", "server.updated"]


def test_loading_a_fixture_says_nothing(server: Server) -> None:
    dump = django_serializers.serialize("json", [server])
    server.port = 2222
    for item in django_serializers.deserialize("json", dump):
        item.save()
    assert told() == []


def test_a_rollback_says_nothing(server: Server) -> None:
    with transaction.atomic():
        server.port = 2222
        server.save()
        Server.objects.bulk_create([make("b")])
        Server.objects.update(host="h")
        transaction.set_rollback(True)
    assert told() == []


def test_a_rolled_back_savepoint_says_nothing_and_the_rest_does(server: Server) -> None:
    with transaction.atomic():
        with transaction.atomic():
            Server.objects.update(host="never")
            transaction.set_rollback(True)
        Server.objects.update(port=2222)
    assert changes() == [{"port": {"old": 22, "new": 2222}}]


@pytest.mark.django_db(transaction=True)
def test_a_change_whose_event_cannot_be_written_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in autocommit, as in a shell: the row and its event are one transaction."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no log")

    monkeypatch.setattr(log, "append", broken)
    with pytest.raises(RuntimeError):
        make().save()
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda server: server.save(),
        lambda server: Server.objects.update(status="nonsense"),
        lambda server: Server.objects.bulk_update([server], ["status"]),
    ],
    ids=["save", "update", "bulk_update"],
)
def test_a_change_of_which_no_valid_event_can_be_made_is_refused(
    change: Callable[[Server], object],
) -> None:
    server = make()
    server.save()
    server.status = "nonsense"
    with pytest.raises(InvalidEventData, match="status"), transaction.atomic():
        change(server)
    assert Server.objects.get().status == "unknown"
    assert not Event.objects.filter(type="server.status_changed").exists()


@pytest.mark.parametrize(
    ("values", "reads"),
    [
        ({"next_check_at": None}, 0),
        ({"check_requested_by_id": None, "test_id": None}, 0),
        ({"next_check_at": F("created_at")}, 0),
        ({"next_check_at": F("created_at"), "port": 23}, 1),
        ({"credential": "x"}, 2),
        ({"shared_credential_id": None}, 2),
        ({"port": F("port") + 1}, 2),
        ({"status": "failed"}, 1),
        ({"port": 23}, 1),
    ],
)
def test_rows_are_read_only_where_an_event_may_tell_of_it(
    server: Server, values: dict[str, Any], reads: int
) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert Server.objects.filter(name=server.name).update(**values) == 1
    texts = [query["sql"] for query in queries.captured_queries]
    found = [t for t in texts if t.startswith("SELECT") and '"servers_server"."host"' in t]
    assert len(found) == reads


def test_a_change_of_the_key_or_of_no_field_is_not_passed_over(server: Server) -> None:
    meta: Any = catalogue.maps[Server]
    assert meta.may_tell_of(["pk"])
    assert meta.may_tell_of(["id"])
    with pytest.raises(FieldDoesNotExist):
        Server.objects.update(**{"colour": "red"})
