from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.urls import resolve

from events import log
from events.api import acting
from events.delivery import run
from events.models import Event, Subscription
from events.relay import relay
from incidents import deliveries, dispatch, services
from incidents.models import Incident, Notification, NotificationChannel
from incidents.models.incident import Severity
from incidents.tests.making import SECRET, channel_to, create_channel, create_incident
from incidents.tests.receivers import LOOPBACK, Hooks
from servers.models import Environment, Server
from servers.tests.cast import Job, Person, create_server, place_events, recorded_events

pytestmark = pytest.mark.django_db

HOOK = "https://hooks.example.org/"
Committing = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


@pytest.fixture
def committed() -> Iterator[None]:
    """After a test whose transactions are real ones."""
    yield
    # Its thread would keep a connection to the test's database.
    relay.stop()


def last_event(event_type: str = "incident.") -> dict[str, Any]:
    place_events()
    found = Event.objects.filter(type__startswith=event_type).order_by("position").last()
    assert found is not None
    return log.public(found)


def tell() -> dict[str, Any]:
    """Hands out the last event about an incident, as the subscription does; returns it."""
    event = last_event()
    dispatch.dispatch(event)
    return event


def channels_told() -> list[str]:
    rows = Notification.objects.exclude(channel=None).order_by("pk")
    return list(rows.values_list("channel_name", flat=True))


def bells() -> list[str]:
    rows = Notification.objects.exclude(user=None).order_by("pk")
    return list(rows.values_list("user__username", flat=True))


def opened(by: Person | None = None, servers: tuple[Server, ...] = (), **values: Any) -> Incident:
    incident = Incident(**({"title": "Disk full", "severity": "high"} | values))
    if by:
        incident.reporter = by.user
    with acting(lambda: by.user if by else None):
        services.create(incident, servers)
    return incident


# Channels


@pytest.mark.parametrize("minimum", Severity.values)
@pytest.mark.parametrize("severity", Severity.values)
def test_a_channel_is_told_from_its_severity_on(minimum: str, severity: str) -> None:
    create_channel(HOOK, minimum_severity=minimum)
    opened(severity=severity)
    tell()
    order = Severity.values  # from the worst on
    assert bool(channels_told()) is (order.index(severity) <= order.index(minimum))


def test_a_channel_is_told_of_its_events_only(operator: Person) -> None:
    create_channel(HOOK, "created", events=["incident.created"])
    create_channel(HOOK, "commented", events=["incident.commented"])
    create_channel(HOOK, "updated", events=["incident.updated"])
    create_channel(HOOK, "changed", events=["incident.status_changed"])
    create_channel(HOOK, "none", events=[])
    incident = opened()
    tell()
    assert channels_told() == ["created"]
    services.comment(incident, operator.user, "Looking.")
    tell()
    assert channels_told() == ["created", "commented"]
    services.edit(incident, {"title": "Disk is full"})
    tell()
    assert channels_told()[2:] == ["updated"]
    services.transition_to(incident, "acknowledged", operator.user)
    tell()
    assert channels_told()[3:] == ["changed"]


def test_a_channel_of_environments_is_told_of_what_affects_them(environment: Environment) -> None:
    other = Environment.objects.create(name="elsewhere")
    create_channel(HOOK, "all")
    create_channel(HOOK, "here").environments.set([environment])
    create_channel(HOOK, "both").environments.set([environment, other])
    create_channel(HOOK, "there").environments.set([other])
    here = create_server("web-01", environment=environment)
    nowhere = create_server("web-02")
    opened(servers=(here, nowhere))
    tell()
    assert sorted(channels_told()) == ["all", "both", "here"]
    Notification.objects.all().delete()
    opened(servers=(nowhere,))
    tell()
    opened()
    tell()
    assert channels_told() == ["all", "all"]


def test_a_disabled_channel_is_told_nothing() -> None:
    create_channel(HOOK, enabled=False)
    opened()
    tell()
    assert channels_told() == []


def test_of_an_incident_that_is_gone_nobody_is_told(operator: Person) -> None:
    create_channel(HOOK)
    incident = opened(by=operator)
    event = last_event()
    incident.delete()
    dispatch.dispatch(event)
    assert not Notification.objects.exists()


def test_what_is_told_is_the_event_and_a_text_for_people(operator: Person, settings: Any) -> None:
    settings.PORTAL_URL = "https://ops.example.com"
    create_channel(HOOK)
    incident = opened(by=operator, servers=(create_server(),), description="No space left.")
    event = tell()
    row = Notification.objects.get(user=None)
    assert row.title == "[HIGH] Disk full"
    assert row.body == (
        "operator opened this incident.\n\nNo space left.\n\nAffected: web-01\n\n"
        f"https://ops.example.com/incidents/{incident.pk}/"
    )
    assert resolve(urlsplit(row.body.splitlines()[-1]).path)
    assert row.payload == {name: event[name] for name in ("type", "timestamp", "data")}
    assert (row.position, row.event_type) == (event["id"], "incident.created")


def test_servers_are_told_by_the_names_that_they_have_now() -> None:
    create_channel(HOOK)
    server = create_server("web-01")
    opened(servers=(server,))
    Server.objects.filter(pk=server.pk).update(name="web-02")
    tell()
    assert Notification.objects.get().body.endswith("Affected: web-02")


@pytest.mark.parametrize("text", ["", "On it."])
def test_a_transition_is_told_with_what_was_said(operator: Person, text: str) -> None:
    create_channel(HOOK)
    incident = opened()
    with acting(lambda: operator.user):
        services.transition_to(incident, "acknowledged", operator.user, text)
    tell()
    expected = ["operator: open → acknowledged", *([text] if text else [])]
    assert Notification.objects.get().body == "\n\n".join(expected)


def test_a_comment_and_an_edit_are_told(operator: Person) -> None:
    create_channel(HOOK, events=["incident.commented", "incident.updated"])
    incident = opened()
    services.comment(incident, operator.user, "Looking.")
    tell()
    services.comment(incident, None, "A check failed.")
    tell()
    with acting(lambda: operator.user):
        services.edit(incident, {"title": "Disk is full", "severity": "low"})
    tell()
    assert [row.body for row in Notification.objects.order_by("pk")] == [
        "operator says:\n\nLooking.",
        "OpsPortal says:\n\nA check failed.",
        "operator changed: severity, title.",
    ]


def test_the_longest_title_is_told_in_full() -> None:
    create_channel(HOOK)
    opened(title="x" * 200, severity="critical")
    tell()
    assert Notification.objects.get().title == f"[CRITICAL] {'x' * 200}"


# Once


def test_an_event_that_comes_twice_is_told_once(
    operator: Person, committing: Committing, jobs: Callable[[], list[Job]]
) -> None:
    create_channel(HOOK, "a")
    create_channel(HOOK, "b")
    opened(assignee=operator.user)
    with committing():
        event = tell()
        dispatch.dispatch(event)
    assert sorted(channels_told()) == ["a", "b"]
    assert bells() == ["operator"]
    assert len([job for job in jobs() if job.task == "incidents.tasks.deliver"]) == 2
    create_channel(HOOK, "c")
    dispatch.dispatch(event)
    assert sorted(channels_told()) == ["a", "b", "c"]


@pytest.mark.usefixtures("committed")
@pytest.mark.django_db(transaction=True)
def test_the_subscription_tells_each_event_once_and_in_order(
    operator: Person, hooks: Hooks, settings: Any
) -> None:
    """Also where its cursor was moved back."""
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = LOOPBACK
    channel_to(hooks, events=["incident.created", "incident.commented"])
    Subscription.objects.update_or_create(
        name="incidents.notifications", defaults={"cursor": place_events()}
    )
    incident = opened(by=operator)
    for number in range(3):
        services.comment(incident, operator.user, f"{number}")
    place_events()
    run("incidents.notifications")
    Subscription.objects.filter(name="incidents.notifications").update(cursor=0)
    run("incidents.notifications")
    rows = list(Notification.objects.exclude(channel=None).order_by("pk"))
    assert [row.payload["data"].get("text") for row in rows] == [None, "0", "1", "2"]
    positions = [row.position for row in rows]
    assert positions == sorted(positions, key=lambda position: position or 0)
    assert [deliveries.deliver(row.pk) for row in rows] == [True] * 4
    assert [call.verified(SECRET)["type"] for call in hooks.calls] == [
        "incident.created",
        *["incident.commented"] * 3,
    ]


# Bells


def test_assignee_and_reporter_hear_of_it_but_not_who_did_it(
    operator: Person, responder: Person, viewer: Person
) -> None:
    incident = opened(by=responder)
    tell()
    assert bells() == []
    with acting(lambda: operator.user):
        services.assign(incident, viewer.user)
    tell()
    assert bells() == ["viewer", "responder"]
    with acting(lambda: viewer.user):
        services.transition_to(incident, "resolved", None)
    tell()
    assert bells()[2:] == ["responder"]
    services.comment(incident, operator.user, "It is well again.")
    tell()
    assert sorted(bells()[3:]) == ["responder", "viewer"]


def test_no_bell_rings_for_what_the_portal_notes(operator: Person) -> None:
    create_channel(HOOK, events=["incident.commented"])
    incident = opened(assignee=operator.user)
    services.comment(incident, None, "Check 4 in a row failed.")
    tell()
    assert (channels_told(), bells()) == (["ops"], [])


def test_one_who_is_both_hears_it_once(operator: Person) -> None:
    opened(assignee=operator.user, reporter=operator.user)
    tell()
    assert bells() == ["operator"]


def test_nobody_hears_of_what_they_may_not_see(viewer: Person, operator: Person) -> None:
    opened(assignee=viewer.user, reporter=operator.user)
    viewer.user.groups.clear()
    User.objects.filter(pk=operator.user.pk).update(is_active=False)
    tell()
    assert bells() == []
    assert not Event.objects.filter(type="notification.sent").exists()


def test_the_bell_rings_for_its_user_alone(operator: Person, responder: Person) -> None:
    """Who may view notifications reads those of channels, not other users' bells."""
    incident = opened(assignee=responder.user)
    with recorded_events() as events:
        tell()
    [event] = events
    assert event.type == "notification.sent"
    assert event.audience == [f"user:{responder.user.pk}"]
    row = Notification.objects.get()
    assert event.data == {
        "id": row.pk,
        "channel": None,
        "incident": incident.pk,
        "title": "[HIGH] Disk full",
        "attempts": 0,
        "error": "",
    }
    assert (row.state, row.read_at, row.next_attempt_at) == ("sent", None, None)
    assert row.sent_at is not None
    assert not deliveries.deliver(row.pk)


def test_deleting_a_channel_keeps_what_was_sent_by_its_name() -> None:
    create_channel(HOOK, "pager")
    opened()
    tell()
    NotificationChannel.objects.get().delete()
    row = Notification.objects.get()
    assert (row.channel, row.channel_name) == (None, "pager")
    assert not create_incident().notifications.exists()
