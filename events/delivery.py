"""Running a subscription: an event a transaction, its effects and the cursor together.

Any number of runners may be at one subscription. The row's lock lets one through and turns the
others away, so whoever has held the lock looks once more after it: what another one was woken for
and turned away from is then found.
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from datetime import timedelta
from typing import Final

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from events import conf, log
from events.catalogue import Subscriber, catalogue
from events.context import acting
from events.models import Event, Subscription
from events.subscriptions import wanted_after

logger = logging.getLogger(__name__)

BATCH: Final = 20  # events read in one go, each of which may hold a megabyte
SPELL: Final = 10.0  # seconds after which a run makes way: a worker that stops must not wait long
FIRST_DELAY: Final = 1  # seconds until the first retry; each further one takes twice as long
LONGEST_DELAY: Final = 300  # seconds
ERROR_LENGTH: Final = 500  # characters


class HandlerFailed(Exception):
    """Carries what a handler raised out of its transaction."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def run(name: str, position: int | None = None) -> float | None:
    """Hands a subscription's handler what waits for it, in order, for SPELL seconds or little more.

    Returns the seconds after which to run again: 0 where more waits, the back-off where the handler
    has just failed. None where nothing is left to do, or is not this call's to do: another runner
    is at it, it is parked, or the retry of an earlier failure is not due. A subscription that has
    no row yet begins with the event at `position`, or after the log's head.

    Raises UnknownSubscription, and whatever fails outside of the handler. OperationalError and
    InterfaceError are no failures of the handler where they come before it, or the connection is
    lost: the caller tries again.
    """
    subscriber = catalogue.subscriber(name)
    until = time.monotonic() + SPELL
    while True:
        row = place(subscriber, position)
        events = waiting(subscriber, row) if is_due(row) else []
        if not events:
            return None
        for event in events:
            try:
                if not _deliver(subscriber, row, event):
                    return None
            except HandlerFailed as failure:
                return _fail(row, event, failure.error)
            if time.monotonic() > until:
                return 0.0


def place(subscriber: Subscriber, position: int | None = None) -> Subscription:
    """The subscription's row, made where there is none: before `position`, or at the head."""
    row = Subscription.objects.filter(name=subscriber.name).first()
    if row is None:
        cursor = log.head().position if position is None else position - 1
        row, _ = Subscription.objects.get_or_create(
            name=subscriber.name, defaults={"cursor": cursor}
        )
    return row


def is_due(row: Subscription) -> bool:
    return row.parked_at is None and (row.retry_at is None or row.retry_at <= timezone.now())


def waiting(subscriber: Subscriber, row: Subscription, limit: int = BATCH) -> list[Event]:
    """The next events for a subscription. Where there are none, its cursor moves to the head.

    To the head of before the look, or what is placed meanwhile would be passed over.
    """
    head = log.head().position
    events = list(wanted_after(subscriber, row.cursor)[:limit])
    if events or head <= row.cursor or not _unchanged(row).update(cursor=head):
        return events
    row.cursor = head
    # Whoever came during the update was turned away.
    return list(wanted_after(subscriber, head)[:limit])


def _unchanged(row: Subscription) -> QuerySet[Subscription]:
    """The row, if nobody has handled an event, failed at one, or resumed it since it was read."""
    rows = Subscription.objects.filter(name=row.name)
    return rows.filter(cursor=row.cursor, failures=row.failures)


def _deliver(subscriber: Subscriber, row: Subscription, event: Event) -> bool:
    """False where another runner has the row, or has changed it: what waits is then its affair."""
    assert event.position is not None
    begun_on = None
    try:
        with transaction.atomic(durable=True):
            if not _unchanged(row).select_for_update(skip_locked=True).values_list("pk").first():
                return False
            begun_on = connection.connection
            with acting(lambda: None, event.request_id):
                subscriber.handle(log.public(event))
            changes = {"last_error": "", "retry_at": None} if row.failures else {}
            _unchanged(row).update(cursor=event.position, failures=0, **changes)
    except Exception as error:
        if begun_on is not None and not _is_outage(error, begun_on):
            raise HandlerFailed(error) from error
        raise
    row.cursor, row.failures = event.position, 0
    return True


def _is_outage(error: Exception, begun_on: object) -> bool:
    """Whether it is the database that failed; to be asked after the rollback.

    These errors are also a missing table's (SQLite) and a statement's time-out (PostgreSQL), which
    each attempt would meet again: they leave the connection whole. A lost one Django has replaced.
    """
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    return connection.connection is not begun_on or not connection.is_usable()


def _fail(row: Subscription, event: Event, error: Exception) -> float | None:
    """Notes a failure, unless the row has changed since; returns what `run` returns."""
    failures = row.failures + 1
    parks = failures >= conf.get("EVENTS_SUBSCRIPTION_ATTEMPTS")
    delay = backoff(failures)
    now = timezone.now()
    noted = _unchanged(row).update(
        failures=failures,
        last_error=describe(error),
        retry_at=None if parks else now + timedelta(seconds=delay),
        parked_at=now if parks else None,
    )
    _report(row.name, event, error, failures, parks)
    if not noted:  # it failed after its commit, or another runner has gone on
        return 0.0
    return None if parks else delay


def _report(name: str, event: Event, error: Exception, failures: int, parks: bool) -> None:
    facts = (name, event.position, failures, describe(error))
    if parks:
        text = "Subscription %s is parked at position %s after %s failures: %s"
        logger.error(text, *facts, exc_info=error)
    else:
        logger.warning("Subscription %s at position %s, failure %s: %s", *facts)


def backoff(failures: int) -> float:
    """Seconds until the next attempt, or up to a fifth sooner."""
    return min(FIRST_DELAY << (failures - 1), LONGEST_DELAY) * random.uniform(0.8, 1.0)


def describe(error: Exception) -> str:
    """Type and message, shortened, as a text that any database takes."""
    text = "".join(traceback.format_exception_only(error)).strip().replace("\0", "")
    return text.encode(errors="backslashreplace").decode()[:ERROR_LENGTH]
