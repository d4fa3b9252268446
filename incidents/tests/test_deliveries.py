from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from celery import current_app
from cryptography.fernet import Fernet
from django.db import connection
from django.utils import timezone

from events.api import subject_of
from events.models import Event
from events.relay import relay
from incidents import deliveries, senders, tasks, webhooks
from incidents.models import Notification, NotificationChannel
from incidents.tests.making import (
    SECRET,
    channel_to,
    create_channel,
    create_incident,
    create_notification,
)
from incidents.tests.receivers import LOOPBACK, Hooks, Mail
from servers import encryption
from servers.tests.cast import Job, Person, recorded_events

pytestmark = pytest.mark.django_db

State = Notification.State
Committing = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = LOOPBACK


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as server:
        yield server


@pytest.fixture
def committed() -> Iterator[None]:
    """After a test whose transactions are real ones."""
    yield
    # Its thread would keep a connection to the test's database.
    relay.stop()


def age(row: Notification, **values: Any) -> None:
    """Lets its time come."""
    past = timezone.now() - timedelta(seconds=1)
    Notification.objects.filter(pk=row.pk).update(**({"next_attempt_at": past} | values))


def seconds_until_due(row: Notification) -> float:
    row.refresh_from_db()
    assert row.next_attempt_at is not None
    return (row.next_attempt_at - timezone.now()).total_seconds()


# Attempts


def test_what_fails_twice_and_is_then_accepted_was_sent_once(hooks: Hooks) -> None:
    incident = create_incident()
    row = create_notification(channel_to(hooks), incident=incident)
    hooks.answers = [500, 503]
    with recorded_events() as events:
        for attempt, (accepted, state) in enumerate(
            [(False, State.QUEUED), (False, State.QUEUED), (True, State.SENT)], start=1
        ):
            assert deliveries.deliver(row.pk) is accepted
            row.refresh_from_db()
            assert (row.state, row.attempts) == (state, attempt)
            age(row) if state == State.QUEUED else None
    assert row.last_error == ""
    assert row.next_attempt_at is None
    assert row.sent_at is not None
    assert [call.key for call in hooks.calls] == [str(row.key)] * 3
    assert [call.verified(SECRET) for call in hooks.calls] == [row.payload] * 3
    [event] = events
    assert event.type == "notification.sent"
    assert event.audience == ["incidents.view_notification"]
    assert event.subject == subject_of(incident)
    assert event.data == {
        "id": row.pk,
        "channel": "ops",
        "incident": incident.pk,
        "title": row.title,
        "attempts": 3,
        "error": "",
    }


def test_a_mail_that_is_refused_once_arrives_once(mail: Mail) -> None:
    row = create_notification(channel_to(mail))
    mail.answers = ["451 Later"]
    assert not deliveries.deliver(row.pk)
    age(row)
    assert deliveries.deliver(row.pk)
    assert [message["Subject"] for message in mail.messages] == [row.title]


@pytest.mark.parametrize("state", [State.SENT, State.FAILED])
def test_what_is_over_is_not_sent_again(hooks: Hooks, state: str) -> None:
    row = create_notification(channel_to(hooks), state=state)
    with recorded_events() as events:
        assert not deliveries.deliver(row.pk)
    assert (hooks.calls, events) == ([], [])


def test_what_is_not_due_is_not_sent(hooks: Hooks) -> None:
    soon = timezone.now() + timedelta(seconds=60)
    channel = channel_to(hooks)
    rows = [
        create_notification(channel, next_attempt_at=soon),
        create_notification(channel, next_attempt_at=soon, state=State.SENDING),
    ]
    assert not any(deliveries.deliver(row.pk) for row in rows)
    assert hooks.calls == []
    assert not deliveries.deliver(0)


def test_the_back_off_doubles_to_an_hour_with_jitter() -> None:
    for attempts in (1, 2, 3, 5, 9, 10, 100, 10_000):
        plain = min(10 * 2 ** (attempts - 1), 3600)
        waits = [deliveries.backoff(attempts).total_seconds() for _ in range(50)]
        assert all(plain * 0.8 <= wait <= plain * 1.2 for wait in waits)
        assert len(set(waits)) > 1


def test_a_failure_waits_as_the_back_off_says(hooks: Hooks) -> None:
    row = create_notification(channel_to(hooks), attempts=4)
    hooks.answers = [500]
    deliveries.deliver(row.pk)
    assert 110 < seconds_until_due(row) <= 192
    assert row.last_error == "The receiver answered 500."
    assert not deliveries.deliver(row.pk)
    assert len(hooks.calls) == 1


@pytest.mark.parametrize(
    ("hours", "state", "told"),
    [(23, State.QUEUED, []), (25, State.FAILED, ["notification.failed"])],
)
def test_it_gives_up_after_a_day(hooks: Hooks, hours: int, state: str, told: list[str]) -> None:
    row = create_notification(channel_to(hooks), attempts=30)
    age(row, queued_at=timezone.now() - timedelta(hours=hours))
    hooks.answers = [500]
    with recorded_events() as events:
        assert not deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.next_attempt_at is None) == (state, state == State.FAILED)
    assert [event.type for event in events] == told
    assert [event.data["error"] for event in events] == ["The receiver answered 500."] * len(told)


def test_one_that_was_accepted_after_a_day_was_sent(hooks: Hooks) -> None:
    """As after a long outage of all workers."""
    row = create_notification(channel_to(hooks))
    age(row, queued_at=timezone.now() - timedelta(days=3))
    assert deliveries.deliver(row.pk)


# Claims


@pytest.mark.usefixtures("committed")
@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_once_one_sends(hooks: Hooks) -> None:
    row = create_notification(channel_to(hooks))
    start = threading.Barrier(4)
    accepted: list[bool] = []

    def work() -> None:
        start.wait()
        try:
            accepted.append(deliveries.deliver(row.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(accepted) == [False, False, False, True]
    assert len(hooks.calls) == 1
    row.refresh_from_db()
    assert (row.state, row.attempts) == (State.SENT, 1)
    assert Event.objects.filter(type="notification.sent").count() == 1


def test_a_claim_of_a_worker_that_is_gone_falls_to_the_next(hooks: Hooks) -> None:
    row = create_notification(channel_to(hooks), state=State.SENDING, attempts=1)
    age(row)
    assert deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == (State.SENT, 2)


def test_who_lost_the_claim_records_nothing(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """One was so slow that another has sent it meanwhile."""
    row = create_notification(channel_to(hooks))
    real = senders.send

    def slow(channel: NotificationChannel, notification: Notification) -> None:
        monkeypatch.setattr(senders, "send", real)
        age(notification)
        assert deliveries.deliver(notification.pk)
        raise senders.SendError("Too slow.")

    monkeypatch.setattr(senders, "send", slow)
    with recorded_events() as events:
        assert not deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.last_error, row.attempts) == (State.SENT, "", 2)
    assert [event.type for event in events] == ["notification.sent"]


# Channels that hang

WORKER = 8  # threads
DEADLINE = 60  # seconds; must not be met


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends waits for a receiver for as long as the test needs."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 2 * DEADLINE)


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    """Where what is submitted is done as by a worker, and nobody's connection stays open."""
    with ThreadPoolExecutor(WORKER) as threads:
        yield threads


def work(pk: int) -> bool:
    try:
        return deliveries.deliver(pk)
    finally:
        connection.close()


@pytest.mark.usefixtures("committed", "patient")
@pytest.mark.django_db(transaction=True)
def test_a_channel_that_hangs_delays_neither_another_one_nor_other_work(
    hooks: Hooks, worker: ThreadPoolExecutor
) -> None:
    hooks.hold = threading.Event()
    with Hooks() as well:
        slow, good = channel_to(hooks, "slow"), channel_to(well, "good")
        pending = [worker.submit(work, create_notification(slow).pk) for _ in range(WORKER)]
        assert hooks.arrived.wait(DEADLINE)
        try:
            for others in islice(as_completed(pending, DEADLINE), WORKER - 1):
                assert not others.result()
            assert worker.submit(work, create_notification(good).pk).result(DEADLINE)
            assert worker.submit(lambda: "connection test").result(DEADLINE)
        finally:
            hooks.hold.set()
        assert sum(each.result(DEADLINE) for each in pending) == 1
    assert (len(hooks.calls), len(well.calls)) == (1, 1)


@pytest.mark.usefixtures("committed", "patient")
@pytest.mark.django_db(transaction=True)
def test_many_channels_that_hang_leave_a_worker_room_for_other_work(
    worker: ThreadPoolExecutor,
) -> None:
    with ExitStack() as stack:
        receivers = [stack.enter_context(Hooks()) for _ in range(WORKER)]
        rows = []
        for number, receiver in enumerate(receivers):
            receiver.hold = threading.Event()
            stack.callback(receiver.hold.set)
            rows.append(create_notification(channel_to(receiver, f"{number}")))
        pending = [worker.submit(work, row.pk) for row in rows]
        for others in islice(as_completed(pending, DEADLINE), WORKER - 4):
            assert not others.result()
        assert worker.submit(lambda: "connection test").result(DEADLINE)
        for receiver in receivers:
            assert receiver.hold
            receiver.hold.set()
        accepted = sum(each.result(DEADLINE) for each in pending)
    assert 1 <= accepted <= 4 < WORKER
    assert sum(len(receiver.calls) for receiver in receivers) == accepted


def test_what_was_refused_while_one_was_sent_is_handed_over_after_it(
    hooks: Hooks, committing: Committing, jobs: Callable[[], list[Job]]
) -> None:
    channel = channel_to(hooks)
    first, second = (create_notification(channel) for _ in range(2))
    claimed = create_notification(channel, state=State.SENDING, attempts=1)
    age(claimed, next_attempt_at=timezone.now() + timedelta(seconds=60))
    assert not deliveries.deliver(first.pk)
    age(claimed, state=State.SENT, next_attempt_at=None)
    with committing():
        assert deliveries.deliver(first.pk)
    assert jobs() == [Job("incidents.tasks.deliver", [second.pk])]


def test_when_one_hangs_the_others_of_its_channel_wait_as_long(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, jobs: Callable[[], list[Job]]
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.3)
    monkeypatch.setattr(deliveries, "SLOW", 0.2)
    hooks.drips = "head"
    channel = channel_to(hooks)
    row, other = create_notification(channel, attempts=3), create_notification(channel)
    later = create_notification(channel, next_attempt_at=timezone.now() + timedelta(hours=1))
    good = create_notification(create_channel("http://127.0.0.1:1/", "good"))
    assert not deliveries.deliver(row.pk)
    assert 60 < seconds_until_due(other) <= 96
    assert seconds_until_due(later) > 3000
    assert deliveries.hand_over_due() == 1
    assert jobs() == [Job("incidents.tasks.deliver", [good.pk])]


def test_one_that_is_refused_at_once_holds_up_no_others(hooks: Hooks) -> None:
    channel = channel_to(hooks)
    row, other = create_notification(channel), create_notification(channel)
    hooks.answers = [400]
    assert not deliveries.deliver(row.pk)
    assert deliveries.deliver(other.pk)


# Channels that change meanwhile


def test_with_its_channel_gone_it_fails_under_its_name(hooks: Hooks) -> None:
    channel = channel_to(hooks)
    row = create_notification(channel)
    NotificationChannel.objects.all().delete()
    with recorded_events() as events:
        assert not deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.last_error) == (State.FAILED, "The channel is gone.")
    assert row.channel_name == "ops"
    assert [(event.type, event.data["channel"]) for event in events] == [
        ("notification.failed", "ops")
    ]
    assert hooks.calls == []


def test_a_disabled_channel_is_sent_nothing_but_tests(hooks: Hooks) -> None:
    channel = channel_to(hooks)
    row = create_notification(channel)
    NotificationChannel.objects.update(enabled=False)
    assert not deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.last_error) == (State.FAILED, "The channel is disabled.")
    assert hooks.calls == []
    assert deliveries.deliver(deliveries.test(channel.pk, channel.name).pk)
    assert len(hooks.calls) == 1


def test_the_url_of_now_is_used(hooks: Hooks) -> None:
    channel = create_channel("http://127.0.0.1:1/old")
    row = create_notification(channel)
    channel.url = hooks.url("/new")
    channel.save()
    assert deliveries.deliver(row.pk)
    assert [call.path for call in hooks.calls] == ["/new"]


# Secrets


def test_a_lost_key_fails_what_needs_it_and_names_the_channel(
    hooks: Hooks, settings: Any, operator: Person
) -> None:
    channel = channel_to(hooks, "pager")
    row = create_notification(channel)
    kept, settings.FIELD_ENCRYPTION_KEYS = (
        settings.FIELD_ENCRYPTION_KEYS,
        [Fernet.generate_key().decode()],
    )
    other = create_notification(channel_to(hooks, "other"))
    assert not deliveries.deliver(row.pk)
    assert deliveries.deliver(other.pk)
    row.refresh_from_db()
    assert row.state == State.QUEUED
    assert row.last_error == (
        "The channel pager cannot be used: no key in FIELD_ENCRYPTION_KEYS decrypts"
        " incidents.NotificationChannel.url."
    )
    for path in ("notification-channels", f"notification-channels/{channel.pk}", "notifications"):
        assert operator.call("get", f"/api/v1/{path}/").status_code == 200
    settings.FIELD_ENCRYPTION_KEYS = [*settings.FIELD_ENCRYPTION_KEYS, *kept]
    age(row)
    assert deliveries.deliver(row.pk)


def test_rotation_covers_url_and_secret(hooks: Hooks, settings: Any) -> None:
    channel = channel_to(hooks)
    old, new = settings.FIELD_ENCRYPTION_KEYS, Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, *old]
    assert encryption.rotate().rotated == 2
    settings.FIELD_ENCRYPTION_KEYS = [new]
    stored = NotificationChannel.objects.get(pk=channel.pk)
    assert (stored.url, stored.secret) == (hooks.url(), SECRET)
    settings.FIELD_ENCRYPTION_KEYS = old
    assert encryption.unreadable() == [
        f"incidents.NotificationChannel.url of {channel.pk}",
        f"incidents.NotificationChannel.secret of {channel.pk}",
    ]


def test_what_nobody_foresaw_is_an_error_without_its_words(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(channel: NotificationChannel, _: Notification) -> None:
        raise LookupError(channel.url)

    row = create_notification(create_channel(hooks.url("/swordfish")))
    monkeypatch.setattr(senders, "send", fail)
    with caplog.at_level(logging.DEBUG):
        assert not deliveries.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.last_error) == (State.QUEUED, "LookupError while it was sent.")
    assert str(row.key) in caplog.text
    assert "in fail" in caplog.text
    assert "swordfish" not in caplog.text


def test_neither_events_nor_rows_nor_logs_hold_a_secret(
    hooks: Hooks, mail: Mail, caplog: pytest.LogCaptureFixture
) -> None:
    day = timezone.now() - timedelta(days=2)
    channels = [
        create_channel(hooks.url("/swordfish"), "hook"),
        create_channel(mail.url(password="swordfish-43"), "mail"),
    ]
    hooks.answers = [500]
    with caplog.at_level(logging.DEBUG):
        for channel in channels:
            row = create_notification(channel)
            age(row, queued_at=day)
            deliveries.deliver(row.pk)
    stored = list(Notification.objects.values())
    assert {row["state"] for row in stored} == {State.FAILED}
    told = list(Event.objects.values())
    logged = [row.getMessage() for row in caplog.records if not row.name.startswith("mail.")]
    shown = f"{stored} {told} {logged} {channels} {Notification.objects.all()}"
    assert "swordfish" not in shown
    assert SECRET not in shown


# The queue


def test_it_is_handed_over_once_it_is_committed(
    hooks: Hooks, committing: Committing, jobs: Callable[[], list[Job]]
) -> None:
    channel = channel_to(hooks)
    with committing():
        row = deliveries.test(channel.pk, channel.name)
        assert jobs() == []
    assert jobs() == [Job("incidents.tasks.deliver", [row.pk])]


def test_the_task_delivers(hooks: Hooks) -> None:
    tasks.deliver(create_notification(channel_to(hooks)).pk)
    assert len(hooks.calls) == 1


def test_without_a_broker_it_is_written_all_the_same_and_found_later(
    hooks: Hooks,
    committing: Committing,
    jobs: Callable[[], list[Job]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no broker")

    channel = channel_to(hooks)
    with monkeypatch.context() as down, committing():
        down.setattr(tasks.deliver, "apply_async", fail)
        row = deliveries.test(channel.pk, channel.name)
    assert jobs() == []
    assert deliveries.hand_over_due() == 1
    assert jobs() == [Job("incidents.tasks.deliver", [row.pk])]


def test_what_is_due_is_handed_over_and_nothing_else(
    hooks: Hooks, jobs: Callable[[], list[Job]]
) -> None:
    channel, other, busy = (channel_to(hooks, name) for name in "abc")
    past, soon = (timezone.now() + timedelta(seconds=60 * n) for n in (-1, 1))
    late = create_notification(channel)
    lost = create_notification(other, state=State.SENDING, next_attempt_at=past)
    create_notification(busy, state=State.SENDING, next_attempt_at=soon)
    create_notification(busy)
    create_notification(channel, next_attempt_at=soon)
    create_notification(channel, state=State.SENT, next_attempt_at=None)
    create_notification(channel, state=State.FAILED, next_attempt_at=None)
    tasks.deliver_due()
    # The broker orders them by milliseconds only.
    assert sorted(job.arguments for job in jobs()) == [[late.pk], [lost.pk]]


def test_busy_workers_do_not_find_the_same_rows_again_and_again(hooks: Hooks) -> None:
    """What the beat hands over expires before it looks again; what is new does not."""
    schedule = current_app.conf.beat_schedule["deliver-due"]
    assert schedule["schedule"] == schedule["options"]["expires"] == deliveries.INTERVAL
    options: list[dict[str, Any]] = []
    create_notification(channel_to(hooks))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.deliver, "apply_async", lambda *_, **given: options.append(given))
        deliveries.hand_over_due()
    assert [given["expires"] for given in options] == [deliveries.INTERVAL]


def test_no_more_than_a_batch_is_handed_over_the_oldest_first(
    hooks: Hooks, jobs: Callable[[], list[Job]]
) -> None:
    now = timezone.now()
    rows = [
        create_notification(channel_to(hooks, f"{n}"), next_attempt_at=now - timedelta(minutes=n))
        for n in (1, 3, 2)
    ]
    assert deliveries.hand_over_due(2) == 2
    assert sorted(job.arguments for job in jobs()) == [[rows[1].pk], [rows[2].pk]]


def test_a_channel_with_many_does_not_crowd_out_another(
    hooks: Hooks, jobs: Callable[[], list[Job]]
) -> None:
    many, few = channel_to(hooks, "many"), channel_to(hooks, "few")
    old = timezone.now() - timedelta(hours=1)
    rows = [create_notification(many, next_attempt_at=old) for _ in range(5)]
    other = create_notification(few)
    assert deliveries.hand_over_due(2) == 2
    assert sorted(job.arguments for job in jobs()) == [[rows[0].pk], [other.pk]]


# Sending again


def test_what_failed_is_sent_again_with_its_key_and_another_day(
    hooks: Hooks, committing: Committing, jobs: Callable[[], list[Job]]
) -> None:
    row = create_notification(
        channel_to(hooks), state=State.FAILED, next_attempt_at=None, attempts=31
    )
    old = timezone.now() - timedelta(days=5)
    Notification.objects.update(created_at=old, queued_at=old)
    with committing():
        assert deliveries.send_again(Notification.objects.all()) == 1
    assert jobs() == [Job("incidents.tasks.deliver", [row.pk])]
    hooks.answers = [500]
    assert not deliveries.deliver(row.pk)
    assert 7 < seconds_until_due(row) <= 12
    assert row.state == State.QUEUED
    assert row.created_at == old
    age(row)
    assert deliveries.deliver(row.pk)
    assert {call.key for call in hooks.calls} == {str(row.key)}


def test_only_what_failed_and_has_a_channel_is_sent_again(
    hooks: Hooks, operator: Person, jobs: Callable[[], list[Job]]
) -> None:
    channel = channel_to(hooks)
    for state in (State.QUEUED, State.SENDING, State.SENT):
        create_notification(channel, state=state)
    create_notification(None, state=State.FAILED)
    before = list(Notification.objects.values())
    assert deliveries.send_again(Notification.objects.all()) == 0
    assert list(Notification.objects.values()) == before
