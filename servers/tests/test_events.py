"""A list that a reader keeps by events is the list that the API gives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from django.db import transaction

from events.catalogue import catalogue
from events.models import Event
from servers import checks, ssh
from servers.models import Credential, Environment, Server
from servers.tests.cast import Person, create_server, recorded_events
from servers.tests.keys import new_host_key

pytestmark = pytest.mark.django_db

T = TypeVar("T")
Rows = dict[int, dict[str, Any]]
SHOWN = (
    "name",
    "host",
    "port",
    "username",
    "shared_credential",
    "environment",
    "tags",
    "check_interval",
    "maintenance_reason",
    "status",
)
# Known of a new row from its event; the rest of it is known once it changes.
IN_EVERY_EVENT = ("name", "host", "status")


def listed(person: Person) -> Rows:
    """What a reader of the API sees."""
    rows = person.call("get", "/api/v1/servers/?page_size=500").json()["results"]
    return {row["id"]: {name: row[name] for name in SHOWN} for row in rows}


def apply(events: Sequence[Event], rows: Rows) -> Rows:
    """What a reader who began with `rows` makes of these events, as a page's script does."""
    state = {key: dict(row) for key, row in rows.items()}
    for event in events:
        data = dict(event.data)
        key = data["id"]
        assert event.subject == f"servers.server/{key}"
        match event.type:
            case "server.created":
                assert key not in state
                state[key] = {name: data[name] for name in IN_EVERY_EVENT}
            case "server.updated":
                for name, change in data["changes"].items():
                    assert change["old"] != change["new"] or name == "credential"
                    if name in SHOWN:
                        assert state[key].get(name, change["old"]) == change["old"]
                        state[key][name] = change["new"]
                assert {name: data[name] for name in IN_EVERY_EVENT[:2]}.items() <= state[
                    key
                ].items()
            case "server.status_changed":
                assert state[key]["status"] == data["old_status"] != data["new_status"]
                assert state[key]["name"] == data["name"]
                state[key]["status"] = data["new_status"]
            case "server.deleted":
                assert (
                    state.pop(key).items() >= {name: data[name] for name in IN_EVERY_EVENT}.items()
                )
            case other:
                raise AssertionError(f"{other} is unknown to readers of servers")
    return state


def assert_told(person: Person, before: Rows, events: Sequence[Event]) -> None:
    """The rows before and the events give the rows now, as far as the events can tell."""
    told, now = apply(events, before), listed(person)
    assert told.keys() == now.keys()
    for key, row in told.items():
        assert row == {name: now[key][name] for name in row}


# One of the ways there are to change servers.
Change = Callable[[Person, "Picker"], object]


class Picker:
    """Draws what a change needs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self, limit: int) -> int:
        return self.random.randint(0, limit)

    def some(self, choices: Sequence[T]) -> list[T]:
        """At least one of them, each once."""
        return self.random.sample(choices, self.number(len(choices) - 1) + 1)

    def values(self) -> dict[str, Any]:
        """New values for some of the fields that may be written."""
        number = self.number(1000)
        values: dict[str, Any] = {
            "host": f"host-{number % 7}",
            "port": number % 5 + 22,
            "username": f"user{number % 3}",
            "tags": [f"tag{number % 4}"],
            "environment": [None, "production", "staging"][number % 3],
            "check_interval": [None, 0, 60][number % 3],
        }
        return {name: values[name] for name in self.some(sorted(values))}

    def columns(self) -> dict[str, Any]:
        """The same for the ORM."""
        values = self.values()
        if values.get("environment"):
            values["environment"] = Environment.objects.get(name=values["environment"])
        return values

    def name(self) -> str:
        return f"server-{self.number(20)}"

    def server(self) -> Server:
        return self.servers()[0]

    def servers(self) -> list[Server]:
        return self.some(list(Server.objects.order_by("pk")))


def create_by_api(operator: Person, pick: Picker) -> None:
    body = {"name": pick.name(), "host": "new", "username": "ops", "port": 22} | pick.values()
    assert operator.call("post", data=body).status_code in (201, 400)


def edit_by_api(operator: Person, pick: Picker) -> None:
    path = f"/api/v1/servers/{pick.server().pk}/"
    assert operator.call("patch", path, pick.values()).status_code == 200


def rename_by_api(operator: Person, pick: Picker) -> None:
    path = f"/api/v1/servers/{pick.server().pk}/"
    assert operator.call("patch", path, {"name": pick.name()}).status_code in (200, 400)


def save(operator: Person, pick: Picker) -> None:
    server = pick.server()
    for name, value in pick.columns().items():
        setattr(server, name, value)
    server.save()


def save_some_fields(operator: Person, pick: Picker) -> None:
    server = pick.server()
    for name, value in pick.columns().items():
        setattr(server, name, value)
    server.save(update_fields=["host", "tags"])


def update(operator: Person, pick: Picker) -> None:
    chosen = Server.objects.filter(pk__in=[server.pk for server in pick.servers()])
    # Without values there is nothing to update, which Django refuses.
    chosen.update(**({"port": 99} | pick.columns()))


def update_what_is_filtered_by(operator: Person, pick: Picker) -> None:
    Server.objects.filter(host=pick.server().host).update(host=f"host-{pick.number(7)}")


def bulk_create(operator: Person, pick: Picker) -> None:
    values = {"host": "new", "username": "ops"} | pick.columns()
    names = {f"server-b{pick.number(50)}" for _ in range(3)}
    taken = set(Server.objects.values_list("name", flat=True))
    Server.objects.bulk_create([Server(name=name, **values) for name in names - taken])


def bulk_update(operator: Person, pick: Picker) -> None:
    servers = pick.servers()
    for server in servers:
        server.host, server.port = f"host-{pick.number(7)}", 22
    Server.objects.bulk_update(servers, ["host"])


def get_or_create(operator: Person, pick: Picker) -> None:
    Server.objects.get_or_create(
        name=f"server-{pick.number(3)}", defaults={"host": "new"} | pick.columns()
    )


def update_or_create(operator: Person, pick: Picker) -> None:
    Server.objects.update_or_create(
        name=f"server-{pick.number(3)}", defaults={"host": "new"} | pick.columns()
    )


def delete(operator: Person, pick: Picker) -> None:
    if Server.objects.count() > 2:
        pick.server().delete()


def delete_some(operator: Person, pick: Picker) -> None:
    chosen = [server.pk for server in pick.servers()]
    if Server.objects.count() - len(chosen) > 1:
        Server.objects.filter(pk__in=chosen).delete()


def request_a_test_by_api(operator: Person, pick: Picker) -> None:
    path = f"/api/v1/servers/{pick.server().pk}/test-connection/"
    assert operator.call("post", path).status_code in (202, 409)


def change_the_credential_by_api(operator: Person, pick: Picker) -> None:
    path = f"/api/v1/servers/{pick.server().pk}/"
    values = [{"shared_credential": "shared"}, {"credential": "x"}, {"shared_credential": None}]
    for body in pick.some(values):
        assert operator.call("patch", path, body).status_code == 200


def begin_or_end_maintenance_by_api(operator: Person, pick: Picker) -> None:
    path = f"/api/v1/servers/{pick.server().pk}/maintenance/"
    body = {"reason": f"Reason {pick.number(2)}", "until": "2999-01-01T00:00:00Z"}
    method = ["post", "delete"][pick.number(1)]
    answer = operator.call(method, path, body if method == "post" else None)
    assert answer.status_code == 200


def change_many_by_api(operator: Person, pick: Picker) -> None:
    chosen = [server.pk for server in pick.servers()]
    tags = {"add": [f"tag{pick.number(3)}"], "remove": ["tag1"]}
    for path, body in (
        ("maintenance", {"reason": f"Reason {pick.number(2)}", "until": "2999-01-01T00:00:00Z"}),
        ("tags", tags),
        ("maintenance", {"until": None}),
    ):
        answer = operator.call("post", f"/api/v1/servers/bulk/{path}/", {"servers": chosen} | body)
        assert answer.status_code == 200


def end_a_test(operator: Person, pick: Picker) -> None:
    server = pick.server()
    if server.test_id is not None:
        outcome = ssh.Outcome(bool(pick.number(1)), "Over.", None, new_host_key())
        checks.record_outcome(server.pk, server.test_id, outcome)


def change_and_roll_back(operator: Person, pick: Picker) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        save(operator, pick)
        update(operator, pick)
        bulk_create(operator, pick)
        raise ZeroDivisionError


CHANGES: list[Change] = [
    create_by_api,
    edit_by_api,
    rename_by_api,
    save,
    save_some_fields,
    update,
    update_what_is_filtered_by,
    bulk_create,
    bulk_update,
    get_or_create,
    update_or_create,
    delete,
    delete_some,
    request_a_test_by_api,
    change_the_credential_by_api,
    begin_or_end_maintenance_by_api,
    change_many_by_api,
    end_a_test,
    change_and_roll_back,
]


@pytest.fixture
def fleet(environment: Environment) -> None:
    Environment.objects.get_or_create(name="staging")
    Credential.objects.create(name="shared", kind="password", secret="swordfish")
    for number in range(4):
        create_server(f"server-{number}", environment=environment if number % 2 else None)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_way_to_change_servers_is_told_and_nothing_else(
    operator: Person, change: Change, seed: int
) -> None:
    checks.request_test(Server.objects.earliest("pk"), None)
    before = listed(operator)
    with recorded_events() as events:
        change(operator, Picker(seed))
    assert_told(operator, before, events)
    assert all(event.type != "server.updated" or event.data["changes"] for event in events)
    if not events:
        assert listed(operator) == before


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("seed", range(12))
def test_the_state_before_and_the_events_are_the_state_after(operator: Person, seed: int) -> None:
    pick = Picker(seed)
    start = listed(operator)
    with recorded_events() as story:
        for change in pick.random.choices(CHANGES, k=12):
            before = listed(operator)
            with recorded_events() as events:
                change(operator, pick)
            assert_told(operator, before, events)
    assert_told(operator, start, story)


# What the events say of each field.

DECISIONS = {
    "id": "in every event",
    "name": "tracked",
    "host": "tracked",
    "port": "tracked",
    "username": "tracked",
    "credential": "masked",
    "shared_credential": "tracked",
    "environment": "tracked",
    "tags": "tracked",
    "check_interval": "tracked",
    "next_check_at": "untold: the checker's plan, and what it finds is told",
    "check_requested_by": "untold: the actor of the status event",
    "maintenance_until": "tracked",
    "maintenance_reason": "tracked",
    "status": "transition",
    "last_tested_at": "untold: the status event's own time",
    "last_test_message": "told in the status event",
    "last_test_latency": "untold: a page that shows it refetches the row after its test",
    "test_id": "untold: only the worker's business",
    "test_requested_at": "untold: the status event's own time",
    "host_key": "tracked",
    "offered_host_key": "untold: the message of the failed test tells its fingerprint",
    "created_at": "untold: the event's own time",
    "updated_at": "untold: the event's own time",
}


def test_what_events_tell_of_each_field_is_decided() -> None:
    event_map = catalogue.maps[Server]
    fields = {field.name for field in Server._meta.concrete_fields}
    assert fields == set(DECISIONS), "a new field: decide what the events tell of it"
    for kind, names in (
        ("tracked", event_map.tracked),
        ("masked", event_map.masked),
        ("transition", tuple(event_map.transitions)),
    ):
        assert {name for name, decision in DECISIONS.items() if decision == kind} == set(names)


def test_no_event_type_of_servers_is_for_everyone() -> None:
    types = [kind for name, kind in catalogue.types.items() if name.startswith("server.")]
    assert len(types) == 4
    assert {kind.audience for kind in types} == {("servers.view_server",)}


@pytest.mark.parametrize(
    "field", ["last_tested_at", "last_test_latency", "test_id", "test_requested_at", "updated_at"]
)
def test_a_change_that_is_not_told_makes_no_event(server: Server, field: str) -> None:
    values = {"last_test_latency": 3.5, "test_id": "0" * 32}
    with recorded_events() as events:
        Server.objects.update(**{field: values.get(field, server.created_at)})
    assert events == []


def test_what_becomes_of_an_environment_is_told_with_whether_it_trusts(admin: Person) -> None:
    with recorded_events() as events:
        path = "/api/v1/environments/"
        created = admin.call("post", path, {"name": "lab"}).json()
        path += f"{created['id']}/"
        admin.call("patch", path, {"accept_new_host_keys": True})
        admin.call("delete", path)
    before, after = ({**created, "accept_new_host_keys": trusts} for trusts in (False, True))
    change = {"accept_new_host_keys": {"old": False, "new": True}}
    assert [(event.type, event.data) for event in events] == [
        ("environment.created", before),
        ("environment.updated", {**after, "changes": change}),
        ("environment.deleted", after),
    ]
    assert {event.actor_username for event in events} == {"admin"}
    assert (
        catalogue.type("environment.updated").audience
        == catalogue.type("environment.created").audience
    )
