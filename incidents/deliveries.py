"""Sending notifications: each until it is accepted, for a day.

A row says what is to be sent, so nothing is lost with a worker or a broker. Whoever sends claims
the row first, in a transaction of its own; a claim that is not kept falls to the next. What was
accepted just before its sender was killed is sent again, with the same key: from outside, that
cannot be told from a message that never arrived.

A receiver that hangs holds up nobody else: a channel is sent one at a time, and a worker keeps
most of its threads for other work.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from events.api import emit, format_timestamp, subject_of
from incidents import senders
from incidents.event_map import NotificationEvent
from incidents.models import Notification, NotificationChannel
from servers.encryption import DecryptionError

logger = logging.getLogger(__name__)

State = Notification.State

FIRST_DELAY: Final = 10  # seconds until the second attempt; each further one takes twice as long
LONGEST_DELAY: Final = 3600  # seconds
PATIENCE: Final = timedelta(days=1)  # after which it has failed
CLAIM: Final = timedelta(seconds=90)  # for which one sender has it to itself
SLOW: Final = 2.0  # seconds for a failure, after which the channel's others wait, too
BATCH: Final = 200
SENDERS: Final = threading.BoundedSemaphore(4)  # of this process; its other threads stay free
INTERVAL: Final = 5.0  # seconds between two looks at what is due
TEST: Final = "test"  # the event type of what tests a channel


def queue(notification: Notification) -> None:
    """Writes it down, to be sent once this transaction is committed."""
    notification.save()
    _hand_over_on_commit(notification.pk)


def _hand_over_on_commit(pk: int) -> None:
    # No partial: Django would ask it for its name if it failed, and fail itself.
    transaction.on_commit(lambda: _hand_over(pk), robust=True)


def _hand_over(pk: int, **options: Any) -> None:
    """Raises what the broker's client does: then the beat finds it."""
    from incidents.tasks import deliver

    deliver.apply_async((pk,), retry=False, **options)


def ring(notification: Notification) -> None:
    """At a user's bell it has arrived as soon as it is written."""
    notification.state, notification.sent_at = State.SENT, timezone.now()
    notification.next_attempt_at = None
    with transaction.atomic():
        notification.save()
        _tell(notification)


def hand_over_due(limit: int = BATCH) -> int:
    """Gives to workers what is due and perhaps nobody's; returns how many.

    Of each channel only the oldest, as one is sent at a time: who has sent it hands over the next.
    Each only until the next look: while all workers are busy, these must not pile up.
    """
    turn = Window(RowNumber(), partition_by="channel", order_by=["next_attempt_at", "pk"])
    first = _due(timezone.now()).annotate(turn=turn).filter(turn=1)
    keys = list(first.order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])
    for key in keys:
        _hand_over(key, expires=INTERVAL)
    return len(keys)


def _due(now: datetime) -> QuerySet[Notification]:
    """Of channels at which nobody is."""
    sending = Notification.objects.filter(state=State.SENDING, next_attempt_at__gt=now)
    rows = Notification.objects.filter(
        state__in=(State.QUEUED, State.SENDING), next_attempt_at__lte=now
    )
    busy = sending.exclude(channel=None).values("channel")
    return rows.filter(Q(channel=None) | ~Q(channel__in=busy))


def deliver(pk: int) -> bool:
    """Sends it, if it is due and nobody else is at it or its channel; returns whether it was
    accepted. What is not sent now, the beat finds."""
    if not SENDERS.acquire(blocking=False):
        return False
    try:
        claim = timezone.now() + CLAIM
        if not _claim(pk, claim):
            return False
        accepted = _attempt(pk, claim)
    finally:
        SENDERS.release()
    # Those that came while this one was sent were refused.
    transaction.on_commit(lambda: hand_over_due(1), robust=True)
    return accepted


def _claim(pk: int, until: datetime) -> bool:
    """Compares and sets in one statement: of two, one has it. Under its channel's lock, or two of
    a channel would not see each other."""
    with transaction.atomic():
        channel = Notification.objects.filter(pk=pk).values("channel")
        # No key: what is written for the channel meanwhile refers to it, and need not wait.
        lock = NotificationChannel.objects.select_for_update(no_key=True).filter(pk__in=channel)
        lock.values_list("pk").first()
        values = {"state": State.SENDING, "next_attempt_at": until, "attempts": F("attempts") + 1}
        return bool(_due(timezone.now()).filter(pk=pk).update(**values))


def _attempt(pk: int, claim: datetime) -> bool:
    """Sends what was claimed; returns whether it was accepted."""
    notification = (
        Notification.objects.select_related("channel")
        .defer("channel__url", "channel__secret")
        .get(pk=pk)
    )
    begun = time.monotonic()
    try:
        _send(notification)
    except senders.SendError as error:
        if time.monotonic() - begun > SLOW:
            _postpone_others(notification)
        return _record(pk, claim, str(error), final=isinstance(error, Undeliverable))
    return _record(pk, claim)


def _postpone_others(failed: Notification) -> None:
    """What waits for a channel that hangs would hang, too, each for as long."""
    later = timezone.now() + backoff(failed.attempts)
    others = Notification.objects.filter(channel=failed.channel_id, state=State.QUEUED)
    others.filter(next_attempt_at__lt=later).update(next_attempt_at=later)


class Undeliverable(senders.SendError):
    """Another attempt would not change it."""


def _send(notification: Notification) -> None:
    """Raises SendError, in words that hold no secret."""
    channel = notification.channel
    if channel is None:
        raise Undeliverable("The channel is gone.")
    if not channel.enabled and notification.event_type != TEST:
        raise Undeliverable("The channel is disabled.")
    try:
        senders.send(channel, notification)
    except DecryptionError as error:
        raise senders.SendError(f"The channel {channel.name} cannot be used: {error}.") from None
    except senders.SendError:
        raise
    # What a service's client raises is not known, and it must not hold up the others.
    except Exception as error:
        _report(notification, error)
        raise senders.SendError(f"{type(error).__name__} while it was sent.") from None


def _report(notification: Notification, error: Exception) -> None:
    """Where it was raised, but not its words: they may repeat the URL."""
    kind, lines = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
    logger.error("The notification %s could not be sent: %s\n%s", notification.key, kind, lines)


def _record(pk: int, claim: datetime, error: str = "", *, final: bool = False) -> bool:
    """Returns whether it was accepted, and this is known."""
    with transaction.atomic():
        rows = Notification.objects.select_for_update(of=("self",))
        row = rows.filter(pk=pk, state=State.SENDING, next_attempt_at=claim).first()
        if row is None:  # the claim ran out, and another one is at it
            return False
        now = timezone.now()
        row.last_error = error
        if not error:
            row.state, row.sent_at, row.next_attempt_at = State.SENT, now, None
        elif final or now - row.queued_at > PATIENCE:
            row.state, row.next_attempt_at = State.FAILED, None
        else:
            row.state, row.next_attempt_at = State.QUEUED, now + backoff(row.attempts)
        row.save()
        if row.state != State.QUEUED:
            _tell(row)
    return not error


def backoff(attempts: int) -> timedelta:
    """Exponential, with a fifth of jitter: many that failed together do not return together."""
    seconds = min(FIRST_DELAY * 2 ** min(attempts - 1, 20), LONGEST_DELAY)
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))


def _tell(row: Notification) -> None:
    event = NotificationEvent.SENT if row.state == State.SENT else NotificationEvent.FAILED
    data = {
        "id": row.pk,
        "channel": row.channel_name or None,
        "incident": row.incident_id,
        "title": row.title,
        "attempts": row.attempts,
        "error": row.last_error,
    }
    subject = subject_of(row.incident) if row.incident else ""
    emit(event, data, users=[row.user] if row.user_id else [], subject=subject)


def send_again(failed: QuerySet[Notification]) -> int:
    """Queues those that failed, and whose channel is still there, for another day; returns how
    many. Their key stays: a receiver that had accepted one after all can tell."""
    count = 0
    for pk in failed.filter(state=State.FAILED, channel__isnull=False).values_list("pk", flat=True):
        now = timezone.now()
        values = {"state": State.QUEUED, "next_attempt_at": now, "queued_at": now, "attempts": 0}
        if Notification.objects.filter(pk=pk, state=State.FAILED).update(**values):
            _hand_over_on_commit(pk)
            count += 1
    return count


def test(channel_id: int, channel_name: str) -> Notification:
    """A notification that tests a channel, sent as all others are."""
    key = uuid.uuid4()
    notification = Notification(  # type: ignore[misc]
        key=key,
        channel_id=channel_id,
        channel_name=channel_name,
        event_type=TEST,
        title="Test from OpsPortal",
        body=f"The channel “{channel_name}” works.",
        payload={
            "type": TEST,
            "timestamp": format_timestamp(timezone.now()),
            "data": {"channel": channel_name},
        },
    )
    queue(notification)
    return notification
