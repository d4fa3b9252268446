"""One attempt at a subscription's handler, and what its failure does to the subscription."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from events import conf
from events.context import acting
from events.models import Subscription

logger = logging.getLogger(__name__)

FIRST_DELAY: Final = 1  # seconds until the first retry; each further one takes twice as long
LONGEST_DELAY: Final = 300  # seconds
ERROR_LENGTH: Final = 500  # characters


class HandlerFailed(Exception):
    """Carries what a handler raised out of its transaction."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def attempt(
    row: Subscription, handle: Callable[[], int], request_id: str = "", **changes: Any
) -> bool:
    """Runs a handler, which returns the new cursor, in one transaction with the row's changes.

    False where another runner has the row, or has changed it: what waits is then its affair.
    Raises HandlerFailed, or what fails outside of the handler; an outage is no failure of its.
    """
    begun_on = None
    if row.failures:
        changes |= {"last_error": "", "retry_at": None}
    try:
        with transaction.atomic(durable=True):
            if not unchanged(row).select_for_update(skip_locked=True).values_list("pk").first():
                return False
            begun_on = connection.connection
            with acting(lambda: None, request_id):
                cursor = handle()
            unchanged(row).update(cursor=cursor, failures=0, **changes)
    except Exception as error:
        if begun_on is not None and not _is_outage(error, begun_on):
            raise HandlerFailed(error) from error
        raise
    row.cursor, row.failures = cursor, 0
    return True


def unchanged(row: Subscription) -> QuerySet[Subscription]:
    """The row, if nobody has handled an event, failed at one, or resumed it since it was read."""
    rows = Subscription.objects.filter(name=row.name)
    return rows.filter(cursor=row.cursor, failures=row.failures, ran_at=row.ran_at)


def _is_outage(error: Exception, begun_on: object) -> bool:
    """Whether it is the database that failed; to be asked after the rollback.

    These errors are also a missing table's (SQLite) and a statement's time-out (PostgreSQL), which
    each attempt would meet again: they leave the connection whole. A lost one Django has replaced.
    """
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    return connection.connection is not begun_on or not connection.is_usable()


def fail(row: Subscription, position: int | None, error: Exception) -> float | None:
    """Notes a failure, unless the row has changed since; returns what `delivery.run` returns."""
    failures = row.failures + 1
    parks = failures >= conf.get("EVENTS_SUBSCRIPTION_ATTEMPTS")
    delay = backoff(failures)
    now = timezone.now()
    noted = unchanged(row).update(
        failures=failures,
        last_error=describe(error),
        retry_at=None if parks else now + timedelta(seconds=delay),
        parked_at=now if parks else None,
    )
    _report(row.name, position, error, failures, parks)
    if not noted:  # it failed after its commit, or another runner has gone on
        return 0.0
    return None if parks else delay


def _report(name: str, position: int | None, error: Exception, failures: int, parks: bool) -> None:
    facts = (name, position, failures, describe(error))
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
