"""Runs on the REST API: picked, looked at, cancelled and retried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from automation import runs, telling
from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, create_automation, create_run, end, types
from servers.encryption import DecryptionError
from servers.models import Server
from servers.tests.cast import Person, create_server, place_events, recorded_events

pytestmark = pytest.mark.django_db

RUNS = "/api/v1/runs/"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def path_of(run: Run, action: str = "") -> str:
    return f"{RUNS}{run.pk}/{action and action + '/'}"


def test_a_row_of_the_list_is_what_its_events_tell(viewer: Person, server: Server) -> None:
    run = create_run(server)
    head = place_events()
    response = viewer.call("get", RUNS)
    assert int(response["X-Event-Cursor"]) == head
    [row] = response.json()["results"]
    assert row.pop("cancel_requested_at") is None
    assert row == telling.run_data(run)


def test_a_run_tells_its_targets_and_no_secret(viewer: Person, server: Server) -> None:
    automation = create_automation(
        servers=(server, create_server("db-01")), parameters=PARAMETERS, timeout=7
    )
    run = runs.start(automation, viewer.user, {"token": "swordfish"})
    db, web = run.targets.all()
    db.status, db.exit_code, db.error = "failed", 3, "It failed."
    db.started_at, db.finished_at = NOON, NOON + timedelta(seconds=2)
    db.save()
    assert web.server
    web.server.delete()
    with CaptureQueriesContext(connection) as queries:
        response = viewer.call("get", path_of(run))
    assert not any('"secrets"' in query["sql"] for query in queries)
    told = response.json()
    assert told["parameters"] == {"greeting": "hello", "mode": "slow", "token": "********"}
    assert (told["script"], told["interpreter"], told["timeout"]) == ("echo hello\n", "sh", 7)
    assert told["counts"]["total"] == 2
    assert told["targets"] == [
        {
            "position": 1,
            "server": "db-01",
            "server_id": db.server_id,
            "status": "failed",
            "exit_code": 3,
            "exit_signal": "",
            "error": "It failed.",
            "started_at": "2026-11-23T12:00:00Z",
            "finished_at": "2026-11-23T12:00:02Z",
            "duration": 2.0,
        },
        {
            "position": 2,
            "server": "web-01",
            "server_id": None,
            "status": "pending",
            "exit_code": None,
            "exit_signal": "",
            "error": "",
            "started_at": None,
            "finished_at": None,
            "duration": None,
        },
    ]
    assert "swordfish" not in response.content.decode()


def test_a_run_takes_no_more_queries_for_more_targets(viewer: Person, server: Server) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer.call("get", path).status_code == 200
        return len(queries)

    one = create_run(server, user=viewer.user)
    few = count(path_of(one)), count(RUNS)
    many = create_run(server, create_server("a"), create_server("b"), user=viewer.user)
    runs.cancel(one, viewer.user)
    assert (count(path_of(many)), count(RUNS)) == few


# Picking


@pytest.fixture
def history(viewer: Person, responder: Person, server: Server) -> None:
    """Run 0 is of web-01, 1 of db-01, 2 of both; an hour lies between each and the next."""
    other = create_server("db-01")
    end(create_run(server, user=viewer.user), "completed", "succeeded")
    end(create_run(other, user=responder.user), "failed", "failed")
    create_run(server, other)
    for number, run in enumerate(Run.objects.order_by("pk")):
        Run.objects.filter(pk=run.pk).update(created_at=NOON + timedelta(hours=number))
    Server.objects.filter(name="web-01").update(name="web-09")
    other.delete()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "210"),
        ("status=failed", "1"),
        ("status=failed&status=queued", "21"),
        ("automation=Run 0", "0"),
        ("automation=run 0", ""),
        ("automation_id={first}", "0"),
        ("started_by=responder", "1"),
        ("server=web-01", "20"),
        ("server=web-09", "20"),
        ("server=db-01", "21"),
        ("created_after=2026-11-23T13:00:00Z", "21"),
        ("created_before=2026-11-23T13:00:00Z", "0"),
        ("created_after=2026-11-23T14:30:00%2B02:00&created_before=2026-11-23T14:00:00Z", "1"),
        ("ordering=created_at", "012"),
        ("ordering=-automation", "210"),
        ("ordering=status", "012"),
        ("page_size=1&page=2", "1"),
    ],
)
@pytest.mark.usefixtures("history")
def test_the_list_is_picked_from(viewer: Person, query: str, expected: str) -> None:
    first = Automation.objects.order_by("pk").values_list("pk", flat=True)[0]
    rows = viewer.call("get", f"{RUNS}?{query.format(first=first)}").json()["results"]
    assert "".join(row["automation"][-1] for row in rows) == expected


@pytest.mark.parametrize(
    "query",
    [
        "status=gone",
        "automation_id=x",
        "automation_id=99999999999999999999",
        "created_after=yesterday",
        "created_after=0001-01-01T00:00:00%2B14:00",
        "created_before=9999-12-31T23:59:59-14:00",
        "ordering=secrets",
        "server=%00",
    ],
)
def test_a_wrong_filter_is_refused(viewer: Person, server: Server, query: str) -> None:
    create_run(server)
    assert viewer.call("get", f"{RUNS}?{query}").status_code == 400


@pytest.mark.stack("scaled")
def test_a_moment_may_be_told_with_any_displacement(viewer: Person, server: Server) -> None:
    """PostgreSQL takes none of 16 hours or more."""
    create_run(server)
    for name, found in (("created_after", 1), ("created_before", 0)):
        path = f"{RUNS}?{name}=2001-01-01T12:27:41%2B22:48"
        assert viewer.call("get", path).json()["count"] == found


@pytest.mark.parametrize("path", ["999999999", "9" * 30])
def test_a_run_that_is_not_there_is_not_found(responder: Person, path: str) -> None:
    for method, action in (("get", ""), ("get", "log/"), ("post", "cancel/"), ("post", "retry/")):
        assert responder.call(method, f"{RUNS}{path}/{action}").status_code == 404


# Cancelling


def test_what_has_not_begun_is_cancelled_at_once(responder: Person, server: Server) -> None:
    run = create_run(server)
    with recorded_events() as events:
        response = responder.call("post", path_of(run, "cancel"))
    assert response.status_code == 200
    told = response.json()
    assert (told["status"], told["cancel_requested_by"]) == ("cancelled", "responder")
    assert [target["status"] for target in told["targets"]] == ["cancelled"]
    assert types(events)[-1] == "automation.cancelled"
    assert {event.actor_username for event in events} == {"responder"}
    before = Run.objects.values().get()
    response = responder.call("post", path_of(run, "cancel"))
    assert (response.status_code, list(response.json())) == (409, ["detail"])
    assert "is cancelled" in response.json()["detail"]
    assert Run.objects.values().get() == before


def test_what_runs_is_asked_to_stop_and_asking_again_changes_nothing(
    responder: Person, operator: Person, server: Server
) -> None:
    run = end(create_run(server), "running", "running")
    for person in (responder, operator):
        response = person.call("post", path_of(run, "cancel"), {})
        assert response.status_code == 202
        told = response.json()
        assert (told["status"], told["cancel_requested_by"]) == ("running", "responder")
        assert told["cancel_requested_at"]


def test_a_cancellation_takes_no_input(responder: Person, server: Server) -> None:
    run = create_run(server)
    response = responder.call("post", path_of(run, "cancel"), {"reason": "x"})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["reason"])
    assert Run.objects.get().status == "queued"


# Retrying


def test_a_retry_is_a_new_run_of_what_failed(responder: Person, server: Server) -> None:
    run = end(create_run(server, create_server("db-01")), "failed", "succeeded", "unreachable")
    with recorded_events() as events:
        response = responder.call("post", path_of(run, "retry"), {"reason": "Once more."})
    assert response.status_code == 202
    told = response.json()
    assert (told["retry_of"], told["status"], told["reason"]) == (run.pk, "queued", "Once more.")
    assert told["started_by"] == "responder"
    assert [target["server"] for target in told["targets"]] == ["web-01"]
    assert types(events) == ["automation.queued"]


@pytest.mark.parametrize(
    ("status", "target", "said"),
    [
        ("running", "failed", "is under way"),
        ("completed", "succeeded", "There is no server to run on."),
    ],
)
def test_where_there_is_nothing_to_retry_it_is_a_conflict(
    responder: Person, server: Server, status: str, target: str, said: str
) -> None:
    run = end(create_run(server), status, target)
    response = responder.call("post", path_of(run, "retry"), {})
    assert response.status_code == 409
    assert said in response.json()["detail"]
    assert Run.objects.count() == 1


def test_without_its_secrets_a_run_is_not_retried(
    responder: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = end(create_run(server), "failed", "failed")

    def fail(*_: Any, **__: Any) -> None:
        raise DecryptionError("no key in FIELD_ENCRYPTION_KEYS decrypts it")

    monkeypatch.setattr(runs, "retry_failed", fail)
    response = responder.call("post", path_of(run, "retry"))
    assert response.status_code == 409
    assert response.json() == {"detail": f"The secrets of {run} cannot be read: start it anew."}
