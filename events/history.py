"""The log in pages: what a reader may see of it after a position, or before one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from django.db.models import QuerySet
from django.db.models.functions import Length

from events import log
from events.log import Head
from events.models import Event
from events.question import Question

# No index has several types in order of position: a page looks for them among so many positions.
SPAN: Final = 50_000
# Rows that a page reads, in turn, where too few of the first ones may be seen.
FURTHER: Final = (2 * log.BATCH,) * 5
BYTES: Final = 4 * 1024 * 1024  # of data that is read in one go: an event may hold a megabyte


@dataclass(frozen=True, slots=True)
class Page:
    """`events` are in their public form and in order of position, whichever way was read.

    `cursor` is how far the page reaches, also over events that the reader may not see: what the
    next page begins `after`, or ends `before`. `more` says whether the log goes on there. `reset`
    says that the position asked for cannot be gone on from, and `cursor` is then the head.
    """

    events: list[dict[str, Any]]
    cursor: int
    more: bool = False
    reset: bool = False


def page(asked: Question, keys: Collection[str], head: Head) -> Page:
    """What holders of these audience keys may read up to the head.

    The head must have been read before the keys: then no event after a change of rights is read
    under the rights of before it.
    """
    if asked.before is not None:
        return _older(asked, asked.before, frozenset(keys), head)
    return _newer(asked, frozenset(keys), head)


def _newer(asked: Question, keys: frozenset[str], head: Head) -> Page:
    after = head.floor - 1 if asked.after is None else asked.after
    upto = head.position if asked.filter.subject else min(head.position, after + SPAN)
    rows = _matching(asked).filter(position__gt=after, position__lte=upto)
    events, reached = _search(rows.order_by("position"), "position__gt", asked, keys)
    floor = _floor()
    if asked.after is not None and not floor - 1 <= asked.after <= head.position:
        return Page([], head.position, reset=True)
    cursor = max(upto if reached is None else reached, floor - 1)
    return Page(_kept(events, floor), cursor, more=cursor < head.position)


def _older(asked: Question, before: int, keys: frozenset[str], head: Head) -> Page:
    before = min(before, head.position + 1)
    down_to = head.floor if asked.filter.subject else max(before - SPAN, head.floor)
    rows = _matching(asked).filter(position__lt=before, position__gte=down_to)
    events, reached = _search(rows.order_by("-position"), "position__lt", asked, keys)
    floor = _floor()
    cursor = max(down_to if reached is None else reached, floor)
    return Page(_kept(events[::-1], floor), cursor, more=cursor > floor)


def _matching(asked: Question) -> QuerySet[Event]:
    rows = Event.objects.all()
    if asked.filter.subject:
        rows = rows.filter(subject=asked.filter.subject)
    if asked.filter.types:
        rows = rows.filter(log.of_types(asked.filter.types))
    if asked.actor:
        rows = rows.filter(actor_username=asked.actor)
    return rows


def _search(
    rows: QuerySet[Event], beyond: str, asked: Question, keys: frozenset[str]
) -> tuple[list[dict[str, Any]], int | None]:
    """The first readable ones, and the position reached: None where no row is left."""
    found: list[dict[str, Any]] = []
    for size in (asked.limit, *FURTHER):
        sizes = list(rows.values_list(Length("data"), flat=True)[:size])
        count = _fitting(sizes)
        batch = list(rows[:count])
        for row in batch:
            # The name once more, as SQLite's LIKE does not tell capital letters from small ones.
            if not keys.isdisjoint(row.audience) and asked.filter.names(row.type):
                found.append(log.public(row))
                if len(found) == asked.limit:
                    return found, row.position
        if not batch or count == len(sizes) < size:
            return found, None
        if count < len(sizes):
            break
        rows = rows.filter(**{beyond: batch[-1].position})
    return found, batch[-1].position


def _fitting(sizes: list[int]) -> int:
    """How many of these texts, at least one, are BYTES together."""
    totals = accumulate(sizes)
    return max(sum(total <= BYTES for total in totals), min(len(sizes), 1))


def _floor() -> int:
    """To be read after the rows: whatever was deleted before they were read lies below it."""
    return log.head().floor


def _kept(events: list[dict[str, Any]], floor: int) -> list[dict[str, Any]]:
    """Without what was being deleted meanwhile, some of which may have been missed."""
    return [event for event in events if event["id"] >= floor]
