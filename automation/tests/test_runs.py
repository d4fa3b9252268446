"""Runs are started, retried and cancelled: what is kept, refused and told."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from automation import log, runs, services
from automation.models import Run
from automation.parameters import InvalidValues
from automation.tests.making import PARAMETERS, create_automation, create_run, end, types
from servers.models import Environment, Server
from servers.tests.cast import Person, create_server, recorded_events

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(environment: Environment) -> dict[str, Server]:
    return {
        "web-02": create_server("web-02", tags=["web"]),
        "web-01": create_server("web-01", tags=["web", "front"], environment=environment),
        "db-01": create_server("db-01", environment=environment),
        "old-01": create_server("old-01", tags=["web-old"]),
    }


def names(run: Run) -> list[str]:
    return [target.name for target in run.targets.all()]


def test_a_run_is_queued_with_its_snapshot_and_told(server: Server, responder: Person) -> None:
    automation = create_automation(
        servers=(server,), parameters=PARAMETERS, timeout=7, concurrency=3, max_failures=2
    )
    with recorded_events() as events:
        given = {"times": 2, "token": "swordfish"}
        run = runs.start(automation, responder.user, given, reason="because")
    services.edit(automation, {"script": "reboot", "name": "Other", "timeout": 8})
    run = Run.objects.get(pk=run.pk)
    assert (run.name, run.script, run.timeout) == ("Say hello", "echo hello\n", 7)
    assert (run.concurrency, run.max_failures, run.status) == (3, 2, "queued")
    assert run.values == {"greeting": "hello", "times": 2, "mode": "slow"}
    assert run.secrets == '{"token": "swordfish"}'
    [event] = events
    assert (event.type, event.audience) == ("automation.queued", ["automation.view_run"])
    assert event.subject == f"automation.run/{run.pk}"
    assert event.data["automation"] == "Say hello"
    assert event.data["started_by"] == "responder"
    assert event.data["reason"] == "because"
    assert event.data["counts"]["total"] == event.data["counts"]["pending"] == 1
    assert event.data["duration"] is None


def test_a_secret_is_neither_stored_in_clear_nor_told(server: Server) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    with recorded_events() as events:
        run = runs.start(automation, None, {"token": "swordfish"})
    assert "swordfish" not in str([event.data for event in events])
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM automation_run WHERE id = %s", [run.pk])
        assert "swordfish" not in str(cursor.fetchall())


def test_targets_are_all_that_are_named_each_once_and_sorted(
    fleet: dict[str, Server], environment: Environment
) -> None:
    automation = create_automation(servers=(fleet["web-02"],), tags=["web"])
    automation.environments.add(environment)
    assert names(runs.start(automation, None)) == ["db-01", "web-01", "web-02"]


def test_targets_that_are_named_take_the_place_of_the_automations_own(
    fleet: dict[str, Server], environment: Environment
) -> None:
    automation = create_automation(tags=["web"])
    assert names(runs.start(automation, None, servers=[fleet["db-01"]])) == ["db-01"]
    assert names(runs.start(automation, None, tags=["front"])) == ["web-01"]
    found = runs.start(automation, None, environments=[environment], tags=["front"])
    assert names(found) == ["db-01", "web-01"]


@pytest.mark.parametrize("tags", [[], ["we"], ["missing"]])
def test_a_run_needs_a_target(fleet: dict[str, Server], tags: list[str]) -> None:
    automation = create_automation(tags=["web"])
    with pytest.raises(runs.NoTargets):
        runs.start(automation, None, servers=[], tags=tags)
    assert not Run.objects.exists()


@pytest.mark.parametrize("tag", ['web", "front', "%", ""])
def test_what_is_no_tag_names_no_server(fleet: dict[str, Server], tag: str) -> None:
    with pytest.raises(ValidationError):
        runs.start(create_automation(), None, tags=[tag])


def test_a_disabled_automation_does_not_run(server: Server) -> None:
    automation = create_automation(servers=(server,), enabled=False)
    with pytest.raises(runs.Disabled, match="Say hello is disabled"):
        runs.start(automation, None)


def test_values_that_do_not_fit_start_nothing(server: Server) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    with recorded_events() as events, pytest.raises(InvalidValues):
        runs.start(automation, None, {"times": 6})
    assert not Run.objects.exists()
    assert events == []


def test_a_retry_is_for_what_was_not_done_and_as_it_was_then(
    fleet: dict[str, Server], responder: Person
) -> None:
    automation = create_automation(tags=["web"], parameters=PARAMETERS)
    servers = [*fleet.values(), create_server("web-03"), create_server("web-04")]
    first = runs.start(automation, None, {"token": "swordfish"}, servers=servers)
    states = ("succeeded", "failed", "unreachable", "timed_out", "cancelled", "skipped")
    end(first, "failed", *states)  # of db-01, old-01, web-01 …
    services.edit(automation, {"script": "reboot"})
    again = runs.retry_failed(first, responder.user, "once more")
    assert names(again) == ["old-01", "web-01", "web-02", "web-03", "web-04"]
    assert (again.script, again.secrets, again.values) == (
        first.script,
        first.secrets,
        first.values,
    )
    assert (again.retry_of, again.started_by_name) == (first, "responder")
    assert (again.status, again.reason) == ("queued", "once more")


def test_what_is_disabled_is_not_retried_either(server: Server) -> None:
    first = create_run(server)
    end(first, "failed", "failed")
    assert first.automation is not None
    services.edit(first.automation, {"enabled": False})
    with pytest.raises(runs.Disabled):
        runs.retry_failed(first, None)
    assert Run.objects.count() == 1


def test_a_retry_needs_a_target_that_is_still_there(server: Server) -> None:
    run = end(create_run(server), "failed", "failed")
    server.delete()
    with pytest.raises(runs.NoTargets):
        runs.retry_failed(run, None)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_is_under_way_is_not_retried(server: Server, status: str) -> None:
    run = end(create_run(server), status, "failed")
    with pytest.raises(runs.NotFinished):
        runs.retry_failed(run, None)


def test_what_has_not_begun_is_cancelled_at_once(server: Server, responder: Person) -> None:
    run = create_run(server)
    with recorded_events() as events:
        run = runs.cancel(run, responder.user)
    assert types(events) == ["log.added", "automation.target_changed", "automation.cancelled"]
    assert events[0].data["lines"][0]["text"] == "responder cancelled the run."
    assert events[1].data["status"] == "cancelled"
    assert events[2].data["counts"]["cancelled"] == 1
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.cancel_requested_by) == ("cancelled", responder.user)
    assert run.finished_at
    assert run.duration is None
    assert [line["text"] for line in log.page(run)] == ["responder cancelled the run."]


def test_a_running_one_is_asked_to_stop_once(server: Server, responder: Person) -> None:
    run = create_run(server)
    end(run, "running", "running")
    with recorded_events() as events:
        runs.cancel(run, responder.user)
        runs.cancel(run, None)
    assert types(events) == ["log.added", "automation.cancelling"]
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.cancel_requested_by) == ("running", responder.user)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_is_over_is_not_cancelled(server: Server, status: str) -> None:
    run = end(create_run(server), status, "succeeded")
    with recorded_events() as events, pytest.raises(runs.AlreadyFinished, match=status):
        runs.cancel(run, None)
    assert events == []


def test_the_log_is_read_from_any_line_on(server: Server) -> None:
    run = create_run(server)
    for size in (3, 1, 5):
        added = [log.remark(f"{run.log_lines + n}", n % 2) for n in range(1, size + 1)]
        log.append(run, added, log.names_of(run))
    whole = log.page(run)
    assert [(line["seq"], line["text"]) for line in whole] == [(n, str(n)) for n in range(1, 10)]
    assert [line["server"] for line in whole] == ["web-01", "", "web-01"] + ["web-01"] + [
        "web-01",
        "",
    ] * 2 + ["web-01"]
    for after in range(10):
        assert log.page(run, after) == whole[after:]
    assert log.page(run, 2, limit=3) == whole[2:5]
    assert log.page(run, 99) == []


def test_lines_are_told_in_bounded_events(server: Server) -> None:
    run = create_run(server)
    many: list[Any] = [log.remark("x" * 1000) for _ in range(500)]
    with recorded_events() as events:
        log.append(run, many, {})
    assert set(types(events)) == {"log.added"}
    assert 3 < len(events) < 8
    seqs = [line["seq"] for event in events for line in event.data["lines"]]
    assert seqs == list(range(1, 501))
    assert {event.data["run"] for event in events} == {run.pk}
