"""How much happens: events a minute, of those that a reader may read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from django.db.models import CharField, Count
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from events.models import Event

MINUTE: Final = timedelta(minutes=1)
# Of a moment as both databases write it, in UTC. Django's own truncation is a call of a Python
# function for each row on SQLite, and an hour may hold 180,000 of them.
_TO_THE_MINUTE: Final = len("2026-11-23 09:00")


def per_minute(
    keys: Collection[str], types: Collection[str], minutes: int, upto: int
) -> tuple[datetime, list[int]]:
    """The start of the first minute, and how many events each has, up to the present one.

    Counted is what holders of these audience keys may read, of these types, up to this position:
    what lies after it, a stream that begins there brings. One query, whose rows are as many as
    there are audiences in each minute.
    """
    now = timezone.now().replace(second=0, microsecond=0)
    start = now - MINUTE * (minutes - 1)
    counts = [0] * minutes
    for text, audience, count in _counts(start, types, upto):
        minute = datetime.fromisoformat(f"{text}:00+00:00")
        # An event of another machine's clock may be of the minute to come.
        if not frozenset(keys).isdisjoint(audience) and minute <= now:
            counts[(minute - start) // MINUTE] += count
    return start, counts


def _counts(
    start: datetime, types: Collection[str], upto: int
) -> Collection[tuple[str, list[str], int]]:
    rows = Event.objects.filter(timestamp__gte=start, position__lte=upto)
    text = Substr(Cast("timestamp", CharField()), 1, _TO_THE_MINUTE)
    minutes = rows.filter(type__in=types).annotate(minute=text).order_by()
    return minutes.values_list("minute", "audience").annotate(Count("pk"))
