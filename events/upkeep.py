"""Subscriptions from outside: their rows, which of them have work, and the way out of parking."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.db import DEFAULT_DB_ALIAS, transaction

from events import context
from events.catalogue import Subscriber, catalogue
from events.delivery import has_work
from events.models import Subscription
from events.subscriptions import add_missing_rows, wanted_after
from events.waker import waker

logger = logging.getLogger(__name__)


def make_rows(using: str, apps: Apps = global_apps, **_: Any) -> None:
    """After each migrate: a subscription that is new begins at the log's head of now."""
    try:
        apps.get_model("events", "Subscription")
    except LookupError:  # migrated back to before there were any
        return
    if using == DEFAULT_DB_ALIAS:
        add_missing_rows()


def due() -> list[str]:
    """Names of the subscriptions with something to do now, whoever should have been woken."""
    return [row.name for subscriber, row in _rows() if has_work(subscriber, row)]


def unhandled() -> dict[str, int]:
    """The position of the oldest event that each registered subscription has still to handle."""
    found = {}
    for subscriber, row in _rows():
        event = wanted_after(subscriber, row.cursor).first()
        if event is not None and event.position is not None:
            found[subscriber.name] = event.position
    return found


def _rows() -> list[tuple[Subscriber, Subscription]]:
    """Those that have one. One made here would begin after the event of a wake on its way."""
    rows = Subscription.objects.timed().in_bulk(list(catalogue.subscribers))
    return [(catalogue.subscribers[name], row) for name, row in rows.items()]


def resume(name: str) -> None:
    """Tries the next event again, at once. Raises Subscription.DoesNotExist."""
    with transaction.atomic():
        _release(Subscription.objects.select_for_update().get(name=name), "resumed")


def skip(name: str) -> bool:
    """Passes over the event that a subscription is parked at, and resumes it; False if it is not.

    Raises UnknownSubscription or Subscription.DoesNotExist.
    """
    subscriber = catalogue.subscriber(name)
    with transaction.atomic():
        row = Subscription.objects.select_for_update().get(name=name)
        if row.parked_at is None:
            return False
        event = wanted_after(subscriber, row.cursor).first()
        if event is not None and event.position is not None:
            row.cursor = event.position
        _release(row, "made to skip")
    return True


def _release(row: Subscription, how: str) -> None:
    row.failures, row.retry_at, row.parked_at = 0, None, None
    row.save()
    who = actor.get_username() if (actor := context.actor()) else "nobody"
    logger.info("Subscription %s is %s by %s, cursor %s", row.name, how, who, row.cursor)
    # No partial: Django's log line of one that fails asks for its name, which it has not.
    transaction.on_commit(lambda: waker.wake({row.name: row.cursor + 1}), robust=True)
