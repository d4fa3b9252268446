"""Maintenance: what rests in it, what does not, and how it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from events.api import acting
from servers import checks, maintenance, tasks
from servers.models import Server
from servers.tests.cast import Person, create_server, recorded_events
from servers.tests.outcomes import after_test, claimed, make_due, outcome, start_test

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def regular_checks(settings: object) -> None:
    settings.SERVERS_CHECK_INTERVAL = 300  # type: ignore[attr-defined]


@pytest.fixture
def resting(server: Server) -> Server:
    """A healthy server in maintenance, whose check is due."""
    after_test(server)
    maintenance.begin(server, "New disk", timezone.now() + HOUR)
    make_due(server)
    return server


def let_it_be_over() -> None:
    """As if the end of each maintenance had just come, and nobody had noted it."""
    Server.objects.filter(maintenance_until__isnull=False).update(maintenance_until=timezone.now())


def test_its_begin_is_told_with_reason_end_and_who_began_it(
    server: Server, operator: Person
) -> None:
    until = timezone.now() + HOUR
    with recorded_events() as events, acting(lambda: operator.user):
        maintenance.begin(server, "  New disk ", until)
    [event] = events
    assert (event.type, event.actor_username) == ("server.updated", "operator")
    changes = event.data["changes"]
    assert changes.keys() == {"maintenance_reason", "maintenance_until"}
    assert changes["maintenance_reason"] == {"old": "", "new": "New disk"}
    assert server.in_maintenance
    assert (server.maintenance_until, server.maintenance_reason) == (until, "New disk")


@pytest.mark.parametrize(
    ("reason", "length", "field"), [("Disk", -HOUR, "until"), (" ", HOUR, "reason")]
)
def test_it_needs_a_reason_and_an_end_to_come(
    server: Server, reason: str, length: timedelta, field: str
) -> None:
    with recorded_events() as events, pytest.raises(ValidationError) as refused:
        maintenance.begin(server, reason, timezone.now() + length)
    assert refused.value.message_dict.keys() == {field}
    assert events == []
    assert Server.objects.get().maintenance_until is None


def test_it_is_not_checked(resting: Server) -> None:
    assert claimed() == []


def test_it_is_tested_by_force_alone(resting: Server) -> None:
    with recorded_events() as events, pytest.raises(maintenance.InMaintenance, match="New disk"):
        checks.request_test(resting, None)
    assert events == []
    assert Server.objects.get().test_id is None
    assert checks.request_test(resting, None, force=True)


def test_the_result_of_a_forced_test_shows_and_ends_no_maintenance(resting: Server) -> None:
    checks.request_test(resting, None, force=True)
    assert resting.test_id
    assert checks.record_outcome(resting.pk, resting.test_id, outcome(False, "Refused."))
    resting.refresh_from_db()
    assert (resting.status, resting.in_maintenance) == ("failed", True)
    assert [period.state for period in resting.periods.all()] == ["maintenance", "success"]


def test_a_test_that_was_under_way_when_it_began_may_end(server: Server) -> None:
    test_id = start_test(server)
    maintenance.begin(server, "New disk", timezone.now() + HOUR)
    assert checks.record_outcome(server.pk, test_id, outcome())
    server.refresh_from_db()
    assert (server.status, server.in_maintenance) == ("success", True)


def test_it_ends_by_itself_with_an_event_and_a_check_soon(resting: Server) -> None:
    other = create_server("web-02", next_check_at=timezone.now() + HOUR)
    maintenance.begin(other, "Move", timezone.now() + HOUR)
    Server.objects.filter(pk=resting.pk).update(
        maintenance_until=timezone.now(), next_check_at=timezone.now() + HOUR
    )
    with recorded_events() as events:
        tasks.end_maintenance()
        tasks.end_maintenance()
    [event] = events
    assert event.subject == f"servers.server/{resting.pk}"
    assert (event.type, event.actor_username) == ("server.updated", "")
    assert event.data["changes"]["maintenance_until"]["new"] is None
    assert event.data["changes"]["maintenance_reason"] == {"old": "New disk", "new": ""}
    other.refresh_from_db()
    assert other.in_maintenance
    assert claimed() == ["web-01"]


def test_what_is_over_counts_no_more_though_nobody_noted_its_end(resting: Server) -> None:
    let_it_be_over()
    resting.refresh_from_db()
    assert not resting.in_maintenance
    assert claimed() == ["web-01"]


def test_a_later_end_replaces_the_first(resting: Server) -> None:
    maintenance.begin(resting, "New disks", timezone.now() + 2 * HOUR)
    assert [period.state for period in resting.periods.all()] == ["maintenance", "success"]
    Server.objects.update(next_check_at=timezone.now())
    tasks.end_maintenance()
    assert claimed() == []


def test_to_end_what_is_not_changes_nothing(server: Server) -> None:
    before = Server.objects.values().get()
    with recorded_events() as events:
        maintenance.end(server)
    assert events == []
    assert Server.objects.values().get() == before
