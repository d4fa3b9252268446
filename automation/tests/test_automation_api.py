"""Automations on the REST API: written, picked, and started."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from automation import runs
from automation.api import AutomationViewSet
from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, create_automation, types
from servers.models import Environment, Server
from servers.tests.cast import Person, create_server, place_events, recorded_events

pytestmark = pytest.mark.django_db

AUTOMATIONS = "/api/v1/automations/"
NEW = {"name": "Report", "script": "df -h\n"}


def path_of(automation: Automation, action: str = "") -> str:
    return f"{AUTOMATIONS}{automation.pk}/{action and action + '/'}"


# Writing


def test_what_is_created_is_what_is_read(
    operator: Person, server: Server, environment: Environment
) -> None:
    body = NEW | {
        "description": "Disks.",
        "interpreter": "bash -eu",
        "parameters": PARAMETERS,
        "servers": ["web-01"],
        "environments": ["production"],
        "tags": ["web"],
        "timeout": 60,
        "concurrency": 3,
        "max_failures": 2,
        "enabled": False,
    }
    with recorded_events() as events:
        created = operator.call("post", AUTOMATIONS, body)
    assert created.status_code == 201, created.json()
    assert body.items() <= created.json().items()
    [event] = events
    assert (event.type, event.actor_username) == ("automation.definition_changed", "operator")
    head = place_events()
    read = operator.call("get", path_of(Automation.objects.get()))
    assert read.json() == created.json()
    assert read["ETag"] == created["ETag"]
    assert int(read["X-Event-Cursor"]) == head


@pytest.mark.parametrize("method", ["post", "patch"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "Taken"),
        ("name", None),
        ("script", " \n"),
        ("script", "a\0b"),
        ("script", "\ud800"),
        ("script", "x" * 262_145),
        ("interpreter", "sh; reboot"),
        ("parameters", {}),
        ("parameters", [{"name": "a"}]),
        ("parameters", [{"name": "a", "type": "choice", "choices": [[]]}]),
        ("parameters", None),
        ("servers", ["web-01", "nowhere"]),
        ("servers", "web-01"),
        ("servers", [1, None]),
        ("servers", None),
        ("environments", ["nowhere"]),
        ("environments", ["\0"]),
        ("tags", ["UPPER"]),
        ("tags", ["a", "a"]),
        ("timeout", 0),
        ("timeout", "1e99"),
        ("concurrency", 101),
        ("max_failures", 0),
        ("enabled", "maybe"),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(
    operator: Person, server: Server, method: str, field: str, value: Any
) -> None:
    create_automation("Taken")
    automation = create_automation()
    before = list(Automation.objects.values())
    path = AUTOMATIONS if method == "post" else path_of(automation)
    with recorded_events() as events:
        response = operator.call(method, path, (NEW if method == "post" else {}) | {field: value})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert events == []
    assert list(Automation.objects.values()) == before


def test_an_edit_tells_its_changes_and_answers_with_what_is_stored(
    operator: Person, server: Server
) -> None:
    automation = create_automation(servers=(create_server("db-01"),))
    body = {"servers": ["web-01"], "script": "uptime", "enabled": False}
    with recorded_events() as events:
        response = operator.call("patch", path_of(automation), body)
    assert response.json()["script"] == "uptime\n"
    assert response.json()["servers"] == ["web-01"]
    [event] = events
    assert event.data["changes"].keys() == {"servers", "script", "enabled"}


def test_a_deletion_is_told_and_leaves_the_runs(admin: Person, server: Server) -> None:
    automation = create_automation(servers=(server,))
    runs.start(automation, None)
    with recorded_events() as events:
        assert admin.call("delete", path_of(automation)).status_code == 204
    assert [event.data["change"] for event in events] == ["deleted"]
    assert Run.objects.get().name == "Say hello"


@pytest.mark.parametrize("change", [{"timeout": 60}, {"servers": []}, {"environments": []}])
def test_an_edit_of_what_is_past_is_refused(
    operator: Person, server: Server, environment: Environment, change: dict[str, Any]
) -> None:
    automation = create_automation(servers=(server,))
    automation.environments.add(environment)
    tag = operator.call("get", path_of(automation))["ETag"]
    changed = operator.call("patch", path_of(automation), change)
    assert changed["ETag"] not in ("", tag)
    headers = {"If-Match": tag}
    body = json.dumps({"script": "reboot"})
    send = operator.api.generic
    stale = send("PATCH", path_of(automation), body, "application/json", headers=headers)
    assert stale.status_code == 412
    assert (stale.json()["current"], stale["ETag"]) == (changed.json(), changed["ETag"])
    assert Automation.objects.get().script == "echo hello\n"


# Picking


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Backup", "Report", "Upgrade"]),
        ("enabled=true", ["Backup", "Upgrade"]),
        ("search=DISKS", ["Report"]),
        ("search=up", ["Backup", "Upgrade"]),
        ("tag=web", ["Upgrade"]),
        ("ordering=-name", ["Upgrade", "Report", "Backup"]),
        ("ordering=created_at", ["Upgrade", "Backup", "Report"]),
    ],
)
def test_the_list_is_picked_from(viewer: Person, query: str, expected: list[str]) -> None:
    create_automation("Upgrade", tags=["web", "db"])
    create_automation("Backup", tags=["web-old"])
    create_automation("Report", description="Of all disks.", enabled=False)
    rows = viewer.call("get", f"{AUTOMATIONS}?{query}").json()["results"]
    assert [row["name"] for row in rows] == expected


@pytest.mark.parametrize("query", ["tag=a%22b", "ordering=script", "search=%00"])
def test_a_wrong_filter_is_refused(viewer: Person, query: str) -> None:
    assert viewer.call("get", f"{AUTOMATIONS}?{query}").status_code == 400


def test_a_list_takes_no_more_queries_for_more_automations(
    viewer: Person, server: Server, environment: Environment
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer.call("get", AUTOMATIONS).status_code == 200
        assert not any("credential" in query["sql"].lower() for query in queries)
        return len(queries)

    create_automation(servers=(server,)).environments.add(environment)
    few = count()
    for name in ("b", "c"):
        create_automation(name, servers=(server, create_server(name)))
    assert count() == few


# Starting


def test_a_run_is_started_and_told(responder: Person, server: Server) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    values = {"times": "2", "token": "swordfish", "greeting": "hello; reboot"}
    body = {"parameters": values, "reason": "Because."}
    with recorded_events() as events:
        response = responder.call("post", path_of(automation, "run"), body)
    assert response.status_code == 202
    run = Run.objects.get()
    told = response.json()
    assert (told["id"], told["automation"], told["status"]) == (run.pk, "Say hello", "queued")
    assert (told["started_by"], told["reason"]) == ("responder", "Because.")
    assert told["parameters"] == {
        "greeting": "hello; reboot",
        "times": 2,
        "mode": "slow",
        "token": "********",
    }
    assert [target["server"] for target in told["targets"]] == ["web-01"]
    assert "swordfish" not in response.content.decode()
    assert run.secrets == '{"token": "swordfish"}'
    assert types(events) == ["automation.queued"]
    assert responder.call("get", f"/api/v1/runs/{run.pk}/").json() == told


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({"times": 9}, ["times"]),
        ({"times": True, "mode": "x", "token": {"a": []}}, ["mode", "times", "token"]),
        ({"token": "abc"}, ["token"]),
        ({"nope": 1, "\ud800": "\ud800", "\0": 1}, ["\0", "nope", "\ud800"]),
        ({"greeting": "a\0"}, ["greeting"]),
        ({"greeting": "\ud800"}, ["greeting"]),
    ],
)
def test_values_that_do_not_fit_are_named_and_start_nothing(
    responder: Person, server: Server, given: dict[str, Any], errors: list[str]
) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    with recorded_events() as events:
        response = responder.call("post", path_of(automation, "run"), {"parameters": given})
    assert response.status_code == 400
    assert sorted(response.json()["errors"]["parameters"]) == errors
    assert events == []
    assert not Run.objects.exists()


def test_too_much_altogether_is_refused(responder: Person, server: Server) -> None:
    many = [{"name": f"p{number}", "type": "string"} for number in range(6)]
    automation = create_automation(servers=(server,), parameters=many)
    values = {one["name"]: "x" * 90_000 for one in many}
    response = responder.call("post", path_of(automation, "run"), {"parameters": values})
    assert response.status_code == 400
    assert list(response.json()["errors"]["parameters"]) == ["non_field_errors"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["web-01"]),
        ({"servers": ["db-01"]}, ["db-01"]),
        ({"tags": ["front"]}, ["front-01"]),
        ({"environments": ["production"], "servers": ["db-01"]}, ["db-01", "web-02"]),
    ],
)
def test_targets_that_are_named_take_the_place_of_the_default(
    responder: Person,
    server: Server,
    environment: Environment,
    body: dict[str, Any],
    expected: list[str],
) -> None:
    create_server("db-01")
    create_server("front-01", tags=["front"])
    create_server("web-02", environment=environment)
    automation = create_automation(servers=(server,))
    told = responder.call("post", path_of(automation, "run"), body).json()
    assert [target["server"] for target in told["targets"]] == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("servers", ["nowhere"]),
        ("servers", [{}]),
        ("environments", ["nowhere"]),
        ("tags", ['a"']),
        ("tags", {}),
        ("reason", "x" * 1001),
        ("reason", "\0"),
        ("parameters", []),
        ("parameters", "x"),
        ("script", "reboot"),
    ],
)
def test_a_wrong_field_starts_nothing(
    responder: Person, server: Server, field: str, value: Any
) -> None:
    automation = create_automation(servers=(server,))
    response = responder.call("post", path_of(automation, "run"), {field: value})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("values", "body", "said"),
    [
        ({"enabled": False}, {}, "Say hello is disabled."),
        ({}, {"servers": []}, "There is no server to run on."),
        ({}, {"tags": ["missing"]}, "There is no server to run on."),
    ],
)
def test_what_cannot_be_started_now_is_a_conflict(
    responder: Person, server: Server, values: dict[str, Any], body: dict[str, Any], said: str
) -> None:
    automation = create_automation(servers=(server,), **values)
    with recorded_events() as events:
        response = responder.call("post", path_of(automation, "run"), body)
    assert (response.status_code, response.json()) == (409, {"detail": said})
    assert events == []
    assert not Run.objects.exists()


def test_an_automation_that_is_deleted_after_it_was_found_is_not_found(
    responder: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    automation = create_automation(servers=(server,))
    find = AutomationViewSet.get_object

    def lose(view: AutomationViewSet) -> Any:
        found = find(view)
        Automation.objects.all().delete()
        return found

    monkeypatch.setattr(AutomationViewSet, "get_object", lose)
    assert responder.call("post", path_of(automation, "run"), {}).status_code == 404


def test_a_runs_script_is_for_those_who_may_view_automations(
    viewer: Person, outsider: Person, server: Server
) -> None:
    run = runs.start(create_automation(servers=(server,)), None)
    path = f"/api/v1/runs/{run.pk}/"
    assert viewer.call("get", path).json()["script"] == "echo hello\n"
    outsider.user.user_permissions.set([Permission.objects.get(codename="view_run")])
    told = outsider.call("get", path)
    assert told.json()["script"] is None
    assert "echo" not in told.content.decode()
