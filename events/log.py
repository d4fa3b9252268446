"""The event log: positions without gaps in commit order, and reading by position."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, Field, Q, QuerySet

from events import wire
from events.fields import JSONTextField
from events.models import Event, LogHead

BATCH = 500  # events placed, or read, in one go
LONGEST_PAUSE = 2.0  # seconds between two statements of whoever holds the head

# Both PostgreSQL and SQLite number the rows in the order of their ids, in one statement, but
# return them in any.
_COLUMNS = ", ".join(f"events_event.{field.column}" for field in Event._meta.concrete_fields)
_PLACE = f"""
    UPDATE events_event SET position = pending.position
    FROM (
        SELECT id, %s + ROW_NUMBER() OVER (ORDER BY id) AS position
        FROM events_event WHERE position IS NULL ORDER BY id LIMIT %s
    ) AS pending
    WHERE events_event.id = pending.id
    RETURNING {_COLUMNS}
"""


@dataclass(frozen=True, slots=True)
class Record:
    """An event at its place in the log, in its public form (docs/protocol.md, "Events")."""

    audience: list[str]
    event: dict[str, Any]

    @property
    def position(self) -> int:
        position: int = self.event["id"]
        return position


@dataclass(frozen=True, slots=True)
class Entry:
    """An event at its place in the log, as SSE bytes, with what decides who gets them."""

    position: int
    audience: frozenset[str]
    type: str
    subject: str
    frame: bytes

    @classmethod
    def of(cls, audience: Iterable[str], event: Mapping[str, Any]) -> Entry:
        frame = wire.event_frame(event)
        return cls(event["id"], frozenset(audience), event["type"], event["subject"], frame)


@dataclass(frozen=True, slots=True)
class Head:
    """`position` is the last one given, 0 at first; `floor` the oldest one still kept."""

    position: int
    floor: int


def head() -> Head:
    row = LogHead.objects.filter(pk=1).values_list("position", "floor").first()
    return Head(*row) if row else Head(0, 1)


def look() -> tuple[Head, bool]:
    """The head, and whether committed events wait for a position; in one query."""
    pending = Exists(Event.objects.filter(position__isnull=True))
    rows = LogHead.objects.filter(pk=1).annotate(pending=pending)
    row = rows.values_list("position", "floor", "pending").first()
    return (Head(*row[:2]), row[2]) if row else (Head(0, 1), has_pending())


def of_types(names: Collection[str]) -> Q:
    """The events of these types; one ending in `.*` stands for all below that name.

    To SQLite's LIKE capital letters are small ones, but no type has any.
    """
    named = Q(type__in=names)
    for name in names:
        if name.endswith(".*"):
            named |= Q(type__startswith=name[:-1])
    return named


def append(events: list[Event]) -> None:
    """Inserts them in order, and gives them their primary keys. To be called in a transaction.

    On PostgreSQL by one statement with one parameter, as each writer waits for it: the ORM binds
    one for each column of each row.
    """
    if connection.vendor != "postgresql":
        Event.objects.bulk_create(events)
        return
    statement, fields = _insertion()
    rows = [{field.column: _given(event, field) for field in fields} for event in events]
    alias = connection.alias
    with connection.cursor() as cursor:
        cursor.execute(statement, [json.dumps(rows, default=str)])
        for event, row in zip(events, cursor.fetchall(), strict=True):
            event.pk = row[0]
            event._state.adding, event._state.db = False, alias


def _given(event: Event, field: Field[Any, Any]) -> Any:
    value = getattr(event, field.attname)
    return field.get_prep_value(value) if isinstance(field, JSONTextField) else value


@cache
def _insertion() -> tuple[str, list[Field[Any, Any]]]:
    """The statement for any number of events, in PostgreSQL's words, and the fields it takes."""
    later = ("id", "position")  # by the database, and by `sequence`
    fields = [field for field in Event._meta.concrete_fields if field.name not in later]
    names = ", ".join(f"{field.column}" for field in fields)
    types = ", ".join(f"{field.column} {field.cast_db_type(connection)}" for field in fields)
    statement = (
        f"INSERT INTO events_event ({names})"
        f" SELECT * FROM json_to_recordset(%s) AS event ({types}) RETURNING id"
    )
    return statement, fields


def has_pending() -> bool:
    return Event.objects.filter(position__isnull=True).exists()


def sequence(limit: int = BATCH) -> list[Record]:
    """Gives up to `limit` committed events the next positions; returns them in order.

    Anyone may call it at any time: the lock on the head makes callers take turns, so an event
    that a crashed process left without position is placed by the next caller. Events are
    numbered by id within one call. Ids of one row's changes follow their commits, because a
    change holds its row's lock from before its event's insertion until its commit.

    On PostgreSQL a caller that stops while it holds the head loses its connection after
    LONGEST_PAUSE, or a process that hangs, or a machine that is gone, would hold up all others.
    """
    if not has_pending():
        return []
    with transaction.atomic():
        _limit_pauses()
        last = hold_head().position
        rows = sorted(Event.objects.raw(_PLACE, [last, limit]), key=_position)
        if rows:
            LogHead.objects.filter(pk=1).update(position=last + len(rows))
        return [Record(row.audience, public(row)) for row in rows]


def hold_head() -> LogHead:
    """Waits for a turn at the head, which is the caller's until its transaction ends.

    The lock is that of the row. On PostgreSQL those who want it queue at an empty table, where
    LOCK TABLE waits without a snapshot. Who waits for a row has one, and versions of rows that are
    replaced meanwhile, of any table, cannot be cleared away before it has its turn.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE events_queue IN SHARE UPDATE EXCLUSIVE MODE")
    return LogHead.objects.select_for_update().get_or_create(pk=1)[0]


def _position(row: Event) -> int:
    assert row.position is not None
    return row.position


def _limit_pauses() -> None:
    """For this transaction. SQLite knows no such limit: its processes share a machine."""
    if connection.vendor == "postgresql":
        limit = f"{round(1000 * LONGEST_PAUSE)}ms"
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [limit]
            )


def read(after: int, *, upto: int, limit: int = BATCH) -> list[Entry]:
    """At most `limit` entries at the positions in (after, upto], in order, from the floor on.

    Rows below the floor are on their way out, or of before a rebase: a reader that was there has
    missed what cannot be replayed.
    """
    return [Entry.of(row.audience, public(row)) for row in kept(after, upto)[:limit]]


def kept(after: int, upto: int) -> QuerySet[Event]:
    """The rows at the positions in (after, upto] that are not below the floor, in order."""
    return _rows(after, upto).filter(position__gte=LogHead.objects.values("floor")[:1])


def _rows(after: int, upto: int) -> QuerySet[Event]:
    return Event.objects.filter(position__gt=after, position__lte=upto).order_by("position")


def tail(count: int) -> list[Entry]:
    """The last `count` entries that are kept, in order and without a gap between them."""
    rows = Event.objects.filter(position__gte=head().floor).order_by("-position")[:count]
    entries = [Entry.of(row.audience, public(row)) for row in rows]
    whole = [
        entry for back, entry in enumerate(entries) if entry.position == entries[0].position - back
    ]
    return whole[::-1]


def public(row: Event) -> dict[str, Any]:
    """What a reader gets to see of an event, in the order it is sent."""
    actor = {"id": row.actor_id, "username": row.actor_username} if row.actor_username else None
    return {
        "id": row.position,
        "type": row.type,
        "timestamp": wire.format_timestamp(row.timestamp),
        "subject": row.subject,
        "actor": actor,
        "data": row.data,
    }


def data_version() -> int | None:
    """On SQLite a number that changes when another connection commits; elsewhere None.

    https://www.sqlite.org/pragma.html#pragma_data_version
    """
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return int(cursor.fetchone()[0])
