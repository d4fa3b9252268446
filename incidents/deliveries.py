"""Sending notifications: each until it is accepted, for a day.

A row says what is to be sent, so nothing is lost with a worker or a broker. Whoever sends claims
the row first, in a transaction of its own; a claim that is not kept falls to the next. What was
accepted just before its sender was killed is sent again, with the same key: from outside, that
cannot be told from a message that never arrived.
"""

from __future__ import annotations

import logging
import random
import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from events.api import emit, format_timestamp, subject_of
from incidents import senders
from incidents.event_map import NotificationEvent
from incidents.models import Notification
from servers.encryption import DecryptionError

logger = logging.getLogger(__name__)

State = Notification.State

FIRST_DELAY: Final = 10  # seconds until the second attempt; each further one takes twice as long
LONGEST_DELAY: Final = 3600  # seconds
PATIENCE: Final = timedelta(days=1)  # after which it has failed
CLAIM: Final = timedelta(seconds=90)  # for which one sender has it to itself
BATCH: Final = 200
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


def hand_over_due() -> int:
    """Gives to workers what is due and perhaps nobody's; returns how many.

    Each only until the next look: while all workers are busy, these must not pile up.
    """
    due = Notification.objects.filter(
        state__in=(State.QUEUED, State.SENDING), next_attempt_at__lte=timezone.now()
    ).order_by("next_attempt_at")
    keys = list(due.values_list("pk", flat=True)[:BATCH])
    for key in keys:
        _hand_over(key, expires=INTERVAL)
    return len(keys)


def deliver(pk: int) -> bool:
    """Sends it, if it is due and nobody else is at it; returns whether it was accepted."""
    claim = timezone.now() + CLAIM
    if not _claim(pk, claim):
        return False
    notification = (
        Notification.objects.select_related("channel")
        .defer("channel__url", "channel__secret")
        .get(pk=pk)
    )
    try:
        _send(notification)
    except senders.SendError as error:
        return _record(pk, claim, str(error), final=isinstance(error, Undeliverable))
    return _record(pk, claim)


def _claim(pk: int, until: datetime) -> bool:
    """Compares and sets in one statement: of two, one has it."""
    due = Notification.objects.filter(
        pk=pk, state__in=(State.QUEUED, State.SENDING), next_attempt_at__lte=timezone.now()
    )
    values = {"state": State.SENDING, "next_attempt_at": until, "attempts": F("attempts") + 1}
    return bool(due.update(**values))


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
        elif final or now - row.created_at > PATIENCE:
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
        values = {"state": State.QUEUED, "next_attempt_at": now, "created_at": now, "attempts": 0}
        if Notification.objects.filter(pk=pk, state=State.FAILED).update(**values):
            _hand_over_on_commit(pk)
            count += 1
    return count


def test(channel_id: int, channel_name: str) -> Notification:
    """A notification that tests a channel, sent as all others are."""
    key = uuid.uuid4()
    notification = Notification(
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
