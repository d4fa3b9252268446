"""Running a subscription: an event a transaction, its effects and the cursor together.

Any number of runners may be at one subscription. The row's lock lets one through and turns the
others away, so whoever has held the lock looks once more after it: what another one was woken for
and turned away from is then found.

A handler that is called once for many events has its transaction, too. The cursor leaps to the
head of before the call, and the row keeps its moment, so that no runner calls it again too soon.
Whoever has called it looks once more when that time is over.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from django.utils import timezone

from events import log
from events.attempts import HandlerFailed, attempt, fail, unchanged
from events.catalogue import Subscriber, catalogue
from events.models import Event, Subscription
from events.subscriptions import wanted_after

BATCH: Final = 20  # events read in one go, each of which may hold a megabyte
EARLY: Final = 0.9  # of a pause, by which whoever comes back may be too early
SPELL: Final = 10.0  # seconds after which a run makes way: a worker that stops must not wait long


def run(name: str, position: int | None = None) -> float | None:
    """Hands a subscription's handler what waits for it, in order, for SPELL seconds or little more.

    Returns the seconds after which to run again: 0 where more waits, the back-off where the handler
    has just failed, its pause where it was called for many events. None where nothing is left to
    do, or is not this call's to do: another runner is at it, it is parked, or the retry of an
    earlier failure is not due. A subscription that has no row yet begins with the event at
    `position`, or after the log's head.

    Raises UnknownSubscription, and whatever fails outside of the handler. OperationalError and
    InterfaceError are no failures of the handler where they come before it, or the connection is
    lost: the caller tries again.
    """
    subscriber = catalogue.subscriber(name)
    if subscriber.every:
        return _run_for_all(subscriber, position)
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
                return fail(row, event.position, failure.error)
            if time.monotonic() > until:
                return 0.0


def _run_for_all(subscriber: Subscriber, position: int | None) -> float | None:
    """One call for all that waits, unless the last one was a moment ago."""
    row = place(subscriber, position)
    if left := rest(subscriber, row):
        # Who comes before the end was asked to come back then, by another clock; or another one
        # has called it meanwhile, most likely just now, and comes back itself.
        return left if position is None and left < EARLY * subscriber.every else None
    if not has_work(subscriber, row):
        return None
    try:
        called = attempt(row, lambda: _summarize(subscriber), ran_at=row.now)
    except HandlerFailed as failure:
        return fail(row, row.cursor + 1, failure.error)
    return subscriber.every if called else None


def _summarize(subscriber: Subscriber) -> int:
    """The cursor: what is placed later may be committed after the handler's look at the state."""
    head = log.head().position
    subscriber.handle()
    return head


def _deliver(subscriber: Subscriber, row: Subscription, event: Event) -> bool:
    assert event.position is not None
    position = event.position

    def handle() -> int:
        subscriber.handle(log.public(event))
        return position

    return attempt(row, handle, event.request_id)


def place(subscriber: Subscriber, position: int | None = None) -> Subscription:
    """The subscription's row, made where there is none: before `position`, or at the head."""
    rows = Subscription.objects.timed()
    row = rows.filter(name=subscriber.name).first()
    if row is not None:
        return row
    cursor = log.head().position if position is None else position - 1
    Subscription.objects.get_or_create(name=subscriber.name, defaults={"cursor": cursor})
    return rows.get(name=subscriber.name)


def is_due(row: Subscription) -> bool:
    return row.parked_at is None and (row.retry_at is None or row.retry_at <= timezone.now())


def rest(subscriber: Subscriber, row: Subscription) -> float:
    """Seconds until it may be called again; 0 where it may now.

    A call that is far in the future was before the database's clock was set back.
    """
    if not subscriber.every or row.ran_at is None:
        return 0.0
    left = subscriber.every - (row.now - row.ran_at).total_seconds()
    return left if 0 < left < 2 * subscriber.every else 0.0


def has_work(subscriber: Subscriber, row: Subscription) -> bool:
    """Whether a call is due, for an event or because the last one was too long ago."""
    if not is_due(row) or rest(subscriber, row):
        return False
    return is_stale(subscriber, row) or bool(waiting(subscriber, row, 1))


def is_stale(subscriber: Subscriber, row: Subscription) -> bool:
    if not subscriber.stale_after:
        return False
    age = timedelta(seconds=subscriber.stale_after)
    return row.ran_at is None or row.ran_at <= row.now - age


def waiting(subscriber: Subscriber, row: Subscription, limit: int = BATCH) -> list[Event]:
    """The next events for a subscription. Where there are none, its cursor moves to the head.

    To the head of before the look, or what is placed meanwhile would be passed over.
    """
    head = log.head().position
    events = list(wanted_after(subscriber, row.cursor)[:limit])
    if events or head <= row.cursor or not unchanged(row).update(cursor=head):
        return events
    row.cursor = head
    # Whoever came during the update was turned away.
    return list(wanted_after(subscriber, head)[:limit])
