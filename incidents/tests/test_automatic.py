"""Servers that fail, recover and fail again; and what the portal does of itself, and does not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from events import log
from events.catalogue import catalogue
from events.models import Event
from events.relay import relay
from incidents import automatic, markdown, services
from incidents.models import AutomaticIncidents, Incident, Watch
from incidents.subscriptions import watch_servers
from incidents.tests.cast import create_incident
from servers import checks, history, maintenance, ssh
from servers import services as server_services
from servers.models import Server, StatusPeriod
from servers.tests.cast import Person, create_server, recorded_events

pytestmark = pytest.mark.django_db

Status = Incident.Status


def check(server: Server, success: bool = False, message: str = "Refused.") -> None:
    """A check with this result, and then what the portal makes of it."""
    with recorded_events() as events:
        assert checks.request_test(server, None, force=True)
        assert server.test_id is not None
        outcome = ssh.Outcome(success, message, 12.5 if success else None)
        assert checks.record_outcome(server.pk, server.test_id, outcome)
    tell(events)


def tell(events: list[Event]) -> None:
    """Hands these events to the subscription."""
    for event in events:
        if event.type in ("server.status_changed", "server.updated"):
            with transaction.atomic():
                watch_servers(log.public(event))


def fail(server: Server, times: int = 1) -> None:
    for _ in range(times):
        check(server)


def recover(server: Server, ago: timedelta = timedelta()) -> None:
    """The server is well, and has been for so long."""
    check(server, success=True)
    let_pass(ago)


def let_pass(time: timedelta) -> None:
    """What began just now began so long ago."""
    StatusPeriod.objects.filter(ended_at=None).update(started_at=timezone.now() - time)


def begin_maintenance(server: Server) -> None:
    with recorded_events() as events:
        maintenance.begin(server, "New disks", timezone.now() + timedelta(hours=1))
    tell(events)


def end_maintenance(server: Server) -> None:
    with recorded_events() as events:
        maintenance.end(server)
    tell(events)


def set_rules(**values: Any) -> None:
    AutomaticIncidents.objects.update_or_create(pk=1, defaults=values)


def notes(incident: Incident) -> list[str]:
    return [said.text for said in incident.comments.all()]


LONG = timedelta(hours=1)


# Opening


def test_an_incident_opens_after_three_failures_in_a_row_and_not_before(server: Server) -> None:
    fail(server, 2)
    assert not Incident.objects.exists()
    with recorded_events() as events:
        fail(server)
    incident = Incident.objects.get()
    assert (incident.status, incident.severity, incident.automatic) == ("open", "high", True)
    assert incident.title == "web-01 fails its checks"
    assert incident.description == "3 checks in a row failed. The last one said: `Refused.`"
    assert (incident.reporter, incident.watched) == (None, server)
    assert services.affected_names(incident) == ["web-01"]
    [told] = [event for event in events if event.type.startswith("incident.")]
    assert (told.type, told.actor_username) == ("incident.created", "")


def test_further_failures_are_added_to_it_ever_more_rarely(server: Server) -> None:
    fail(server, 17)
    incident = Incident.objects.get()
    assert notes(incident) == [f"Check {n} in a row failed: `Refused.`" for n in (4, 8, 16)]


def test_each_that_says_something_else_is_added(server: Server) -> None:
    fail(server, 4)
    for message in ("No route.", "No route.", "Refused.", "Refused.", "Refused."):
        check(server, message=message)
    told = [(4, "Refused."), (5, "No route."), (7, "Refused."), (8, "Refused.")]
    expected = [f"Check {number} in a row failed: `{message}`" for number, message in told]
    assert notes(Incident.objects.get()) == expected


def test_a_success_between_begins_the_count_anew(server: Server) -> None:
    fail(server, 2)
    recover(server)
    fail(server, 2)
    assert not Incident.objects.exists()
    fail(server)
    assert Incident.objects.count() == 1


def test_each_server_counts_for_itself(server: Server) -> None:
    other = create_server("db-01")
    for _ in range(2):
        fail(server)
        fail(other)
    assert not Incident.objects.exists()
    fail(server)
    assert [row.watched for row in Incident.objects.all()] == [server]


def test_a_server_that_fails_recovers_and_fails_again_has_one_incident(server: Server) -> None:
    fail(server, 3)
    recover(server)
    assert automatic.resolve_recovered() == 0
    fail(server, 4)
    assert automatic.resolve_recovered() == 0
    incident = Incident.objects.get()
    assert incident.status == "open"
    assert notes(incident) == [f"Check {n} in a row failed: `Refused.`" for n in (1, 2, 4)]


def test_an_incident_of_people_is_not_added_to(server: Server) -> None:
    by_hand = create_incident(servers=(server,))
    fail(server, 4)
    assert Incident.objects.exclude(pk=by_hand.pk).count() == 1
    assert notes(by_hand) == []


def test_another_one_opens_where_the_last_is_resolved_and_it_still_fails(server: Server) -> None:
    fail(server, 3)
    services.transition_to(Incident.objects.get(), "resolved", None)
    fail(server)
    assert sorted(Incident.objects.values_list("status", flat=True)) == ["open", "resolved"]


def test_another_way_in_begins_the_count_anew(server: Server) -> None:
    fail(server, 2)
    with recorded_events() as events:
        server_services.edit(Server.objects.get(), {"host": "10.0.0.9"})
    tell(events)
    server.refresh_from_db()
    fail(server, 2)
    assert not Incident.objects.exists()


def test_a_server_that_is_gone_is_passed_over(server: Server) -> None:
    with recorded_events() as events:
        checks.request_test(server, None)
        assert server.test_id is not None
        checks.record_outcome(server.pk, server.test_id, ssh.Outcome(False, "No.", None))
    server.delete()
    tell(events)
    assert not Incident.objects.exists()
    assert not Watch.objects.exists()


def test_what_opened_for_a_server_that_is_deleted_stays_for_people(server: Server) -> None:
    fail(server, 3)
    recover(server, LONG)
    server.delete()
    assert automatic.resolve_recovered() == 0
    incident = Incident.objects.get()
    assert (incident.status, incident.automatic, incident.watched) == ("open", True, None)
    assert services.affected_names(incident) == ["web-01"]


# Resolving


def test_it_is_resolved_when_the_server_was_well_for_long_enough(server: Server) -> None:
    fail(server, 3)
    recover(server, timedelta(seconds=299))
    assert automatic.resolve_recovered() == 0
    let_pass(timedelta(seconds=301))
    with recorded_events() as events:
        assert automatic.resolve_recovered() == 1
        assert automatic.resolve_recovered() == 0
    [event] = events
    assert (event.type, event.actor_username) == ("incident.status_changed", "")
    assert event.data["new_status"] == "resolved"
    assert event.data["comment"] == "web-01 is well again, and nobody took this over."
    assert Incident.objects.get().resolved_at is not None


def acknowledge(user: User) -> None:
    services.transition_to(Incident.objects.get(), "acknowledged", user)


def assign(user: User) -> None:
    services.assign(Incident.objects.get(), user)


def reopen(user: User) -> None:
    services.transition_to(Incident.objects.get(), "resolved", user)
    services.transition_to(Incident.objects.get(), "open", user)


@pytest.mark.parametrize("take_over", [acknowledge, assign, reopen])
def test_it_is_not_resolved_where_somebody_took_it_over(
    server: Server, responder: Person, take_over: Callable[[Any], None]
) -> None:
    fail(server, 3)
    take_over(responder.user)
    status = Incident.objects.get().status
    recover(server, LONG)
    assert automatic.resolve_recovered() == 0
    assert Incident.objects.get().status == status


def test_a_comment_takes_nothing_over(server: Server, responder: Person) -> None:
    fail(server, 3)
    services.comment(Incident.objects.get(), responder.user, "I cannot look before noon.")
    recover(server, LONG)
    assert automatic.resolve_recovered() == 1


def test_what_people_opened_is_never_resolved(server: Server) -> None:
    create_incident(servers=(server,))
    recover(server, LONG)
    assert automatic.resolve_recovered() == 0


def test_one_that_is_opened_again_is_added_to(server: Server, responder: Person) -> None:
    fail(server, 3)
    reopen(responder.user)
    fail(server)
    assert notes(Incident.objects.get()) == ["Check 4 in a row failed: `Refused.`"]


def test_one_that_is_opened_again_beside_its_successor_is_peoples(
    server: Server, responder: Person
) -> None:
    fail(server, 3)
    first = Incident.objects.get()
    services.transition_to(first, "resolved", None)
    fail(server)
    second = Incident.objects.exclude(pk=first.pk).get()
    services.transition_to(first, "open", responder.user)
    assert (first.status, first.automatic, first.watched) == ("open", True, None)
    check(server, message="No route.")
    assert (notes(first), len(notes(second))) == ([], 1)


# Maintenance, and the switch


def test_in_maintenance_nothing_is_counted_and_nothing_opens(server: Server) -> None:
    begin_maintenance(server)
    fail(server, 5)
    assert not Incident.objects.exists()
    assert not Watch.objects.exists()


def test_what_is_looked_at_after_the_maintenance_was_in_it_all_the_same(server: Server) -> None:
    maintenance.begin(server, "New disks", timezone.now() + LONG)
    with recorded_events() as events:
        for _ in range(3):
            checks.request_test(server, None, force=True)
            assert server.test_id is not None
            checks.record_outcome(server.pk, server.test_id, ssh.Outcome(False, "No.", None))
    maintenance.end(server)
    tell(events)
    assert not Incident.objects.exists()


def test_after_a_maintenance_the_count_begins_anew(server: Server) -> None:
    fail(server, 2)
    begin_maintenance(server)
    end_maintenance(server)
    fail(server, 2)
    assert not Incident.objects.exists()
    fail(server)
    assert Incident.objects.count() == 1


def test_what_is_open_when_a_maintenance_begins_stays_as_it_is(server: Server) -> None:
    fail(server, 3)
    begin_maintenance(server)
    fail(server)
    recover(server, LONG)
    assert automatic.resolve_recovered() == 0
    incident = Incident.objects.get()
    assert (incident.status, notes(incident)) == ("open", [])


def test_well_before_a_maintenance_is_not_well_after_it(server: Server) -> None:
    fail(server, 3)
    recover(server, LONG)
    begin_maintenance(server)
    end_maintenance(server)
    assert automatic.resolve_recovered() == 0
    let_pass(LONG)
    assert automatic.resolve_recovered() == 1


def test_switched_off_nothing_opens_is_added_or_resolved(server: Server) -> None:
    fail(server, 3)
    set_rules(enabled=False)
    fail(server, 3)
    other = create_server("db-01")
    fail(other, 3)
    recover(server, LONG)
    assert automatic.resolve_recovered() == 0
    incident = Incident.objects.get()
    assert (incident.status, notes(incident)) == ("open", [])
    set_rules(enabled=True)
    fail(other, 2)
    assert Incident.objects.count() == 1


def test_the_rules_are_those_of_the_settings(server: Server) -> None:
    set_rules(failures=1, severity="critical", recovery=0)
    fail(server)
    incident = Incident.objects.get()
    assert incident.severity == "critical"
    assert incident.description == "A check failed. The last one said: `Refused.`"
    recover(server)
    assert automatic.resolve_recovered() == 1


def test_it_is_subscribed_to_what_it_needs() -> None:
    subscriber = catalogue.subscriber("incidents.automatic")
    assert subscriber.types == {"server.status_changed", "server.updated"}


# At once


@pytest.fixture
def at_once() -> Any:
    """Runs functions in threads of their own, begun together."""

    def run(*functions: Callable[[], Any]) -> list[Any]:
        together = threading.Barrier(len(functions), timeout=20)

        def begin(function: Callable[[], Any]) -> Any:
            try:
                together.wait()
                return function()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(functions)) as threads:
            return list(threads.map(begin, functions))

    yield run
    relay.stop()


def note_failure(server: Server) -> Callable[[], None]:
    def note() -> None:
        with transaction.atomic():
            automatic.note_check(server.pk, True, "Refused.", timezone.now())

    return note


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_open_one_incident(server: Server, at_once: Any) -> None:
    set_rules(failures=1)
    recover(server)
    Watch.objects.create(server=server)  # or the first of them, who makes it, holds up the others
    at_once(*[note_failure(server)] * 4)
    told = [f"Check {number} in a row failed: `Refused.`" for number in (2, 4)]
    assert notes(Incident.objects.get()) == told


@pytest.mark.django_db(transaction=True)
def test_of_a_reopening_and_an_opening_at_once_one_is_the_servers(
    server: Server, at_once: Any
) -> None:
    set_rules(failures=1)
    for _ in range(5):
        Incident.objects.all().delete()
        note_failure(server)()
        first = Incident.objects.get()
        services.transition_to(first, "resolved", None)
        at_once(note_failure(server), lambda row=first: services.transition_to(row, "open", None))
        rows = Incident.objects.filter(status="open")
        assert rows.filter(pk=first.pk).exists()
        assert rows.filter(watched=server).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_failure_just_before_it_would_be_resolved_stops_that(
    server: Server, at_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(server, 3)
    recover(server, LONG)
    checks.request_test(server, None)
    failed, found = threading.Event(), threading.Event()
    resolve = automatic._resolve

    def resolve_what_was_found(incident: Incident, since: datetime) -> bool:
        found.set()
        return resolve(incident, since)

    def fail_meanwhile() -> None:
        assert server.test_id is not None
        with transaction.atomic():
            outcome = ssh.Outcome(False, "Refused.", None)
            checks.record_outcome(server.pk, server.test_id, outcome)
            failed.set()
            assert found.wait(20)

    def resolve_then() -> int:
        assert failed.wait(20)
        return automatic.resolve_recovered()

    monkeypatch.setattr(automatic, "_resolve", resolve_what_was_found)
    assert at_once(fail_meanwhile, resolve_then) == [None, 0]
    assert Incident.objects.get().status == "open"


@pytest.mark.parametrize("take_over", [acknowledge, assign])
def test_whoever_comes_just_before_it_would_be_resolved_stops_that(
    server: Server,
    responder: Person,
    take_over: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail(server, 3)
    recover(server, LONG)
    resolve = automatic._resolve

    def after_somebody(incident: Incident, since: datetime) -> bool:
        take_over(responder.user)
        return resolve(incident, since)

    monkeypatch.setattr(automatic, "_resolve", after_somebody)
    assert automatic.resolve_recovered() == 0
    assert Incident.objects.get().status != "resolved"


def test_the_periods_that_it_goes_by_follow_every_check(server: Server) -> None:
    fail(server)
    assert history.state_of(Server.objects.get()) == StatusPeriod.State.FAILED
    recover(server)
    states = StatusPeriod.objects.order_by("pk").values_list("state", flat=True)
    assert list(states)[-2:] == ["failed", "success"]


@pytest.mark.parametrize(
    "message", ["**Bold** <b>x</b> [a](https://b.example)", "`tick`", "a `` b ` c", "a\n\n# b"]
)
def test_what_a_machine_said_is_no_markdown(message: str) -> None:
    html = markdown.render(f"It said: {automatic.quoted(message)}")
    shown = re.fullmatch("<p>It said: <code>(.*)</code></p>", html.strip())
    assert shown is not None
    assert unescape(shown[1]) == " ".join(message.split())


def test_a_machine_that_said_nothing_is_quoted_with_nothing() -> None:
    assert automatic.quoted("") == ""
