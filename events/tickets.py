"""Tickets: each opens one stream, for an `EventSource` that can send neither header nor cookie."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from events.audience import user_key
from events.event_map import AccessEvent
from events.models import Event, StreamTicket

LIFETIME: Final = 30  # seconds
LARGEST: Final = 100  # tickets of one user that are good at once


class TooManyTickets(Exception):
    """This user has as many tickets as a user may have."""


def issue(user: Any, issued_after: int, credentials_expire_at: datetime | None = None) -> str:
    """A ticket for this user, good for LIFETIME seconds. Raises TooManyTickets.

    `issued_after` is the log's head from before the user was authenticated. `credentials_expire_at`
    is the end of what it was asked for with; its stream ends then, too.
    """
    now, rows = timezone.now(), StreamTicket.objects.filter(user=user)
    rows.filter(expires_at__lte=now).delete()
    if rows.count() >= LARGEST:
        raise TooManyTickets
    ticket = secrets.token_urlsafe(32)
    StreamTicket.objects.create(
        digest=_digest(ticket),
        user=user,
        expires_at=now + timedelta(seconds=LIFETIME),
        credentials_expire_at=credentials_expire_at,
        issued_after=issued_after,
    )
    return ticket


def redeem(tickets: Sequence[str]) -> list[StreamTicket | None]:
    """The row of each ticket, with its user, for the first who brings it in time; else None.

    Two queries, and one for each ticket that is found.
    """
    digests = [_digest(ticket) for ticket in tickets]
    found = StreamTicket.objects.filter(digest__in=digests, expires_at__gt=timezone.now())
    taken = _taken(_still_good(found.select_related("user")))
    return [taken.pop(digest, None) for digest in digests]


def _still_good(rows: Collection[StreamTicket]) -> list[StreamTicket]:
    """Those whose credentials did not end after they were looked at: a logout that came between
    authentication and insertion found no row to withdraw.

    An event without position counts as later: it may be.
    """
    if not rows:
        return []
    after = Q(position__gt=min(row.issued_after for row in rows)) | Q(position__isnull=True)
    changes = Event.objects.filter(after, type=AccessEvent.CHANGED)
    ends = [(event.position, event.data["user"]) for event in changes if event.data["ended"]]
    return [row for row in rows if not _has_ended(row, ends)]


def _has_ended(row: StreamTicket, ends: Sequence[tuple[int | None, str]]) -> bool:
    return any(
        key in ("", user_key(row.user_id)) and (position is None or position > row.issued_after)
        for position, key in ends
    )


def _taken(rows: Collection[StreamTicket]) -> dict[str, StreamTicket]:
    """Those that this call deletes, by digest: of two at once, only one does."""
    if not rows:
        return {}
    # In one order everywhere, or two processes could wait for each other.
    ordered = sorted(rows, key=lambda row: row.digest)
    with transaction.atomic():
        return {row.digest: row for row in ordered if _delete(row)}


def _delete(row: StreamTicket) -> bool:
    return StreamTicket.objects.filter(digest=row.digest).delete()[0] == 1


def withdraw(user: Any) -> None:
    """Ends the tickets of a user, or primary key."""
    StreamTicket.objects.filter(user=user).delete()


def withdraw_all() -> None:
    StreamTicket.objects.all().delete()


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
