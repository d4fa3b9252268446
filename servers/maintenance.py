"""Servers that are worked on: until an end that is known, what they do alarms nobody."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from servers import history
from servers.models import Server


class InMaintenance(Exception):
    """What was asked for is not done in maintenance, unless it is forced."""

    def __init__(self, server: Server) -> None:
        end = server.maintenance_until
        until = f" until {end:%Y-%m-%d %H:%M %Z}" if end else ""
        super().__init__(
            f"{server.name} is in maintenance{until}: {server.maintenance_reason}".rstrip(": ")
        )


def calm(now: datetime) -> Q:
    """The servers that are not in maintenance."""
    return Q(maintenance_until=None) | Q(maintenance_until__lte=now)


def begin(server: Server, reason: str, until: datetime) -> None:
    """Until then: no regular checks, no automatic incidents, no runs. Again, it changes both.

    Raises ValidationError, by field, for an end that is not in the future and for no reason.
    """
    if until <= timezone.now():
        raise ValidationError({"until": "Enter a time in the future."})
    if not reason.strip():
        raise ValidationError({"reason": "Say why."})
    with transaction.atomic():
        _set(_locked(Q(pk=server.pk)), reason.strip(), until)
    server.refresh_from_db()


def end(server: Server) -> None:
    """Ends it now. The server is checked soon."""
    with transaction.atomic():
        _set(_locked(Q(pk=server.pk)), "", None)
    server.refresh_from_db()


def end_those_over() -> int:
    """Ends those whose time is over; returns how many. Each server is checked soon."""
    over = Server.objects.filter(maintenance_until__lte=timezone.now())
    return sum(_end_if_over(key) for key in over.values_list("pk", flat=True))


def _end_if_over(key: int) -> bool:
    with transaction.atomic():
        row = _locked(Q(pk=key, maintenance_until__lte=timezone.now()))
        _set(row, "", None)
    return row is not None


def _locked(condition: Q) -> Server | None:
    return Server.objects.select_for_update().defer("credential").filter(condition).first()


def _set(row: Server | None, reason: str, until: datetime | None) -> None:
    if row is None or (row.maintenance_reason, row.maintenance_until) == (reason, until):
        return
    row.maintenance_reason, row.maintenance_until = reason, until
    fields = ["maintenance_reason", "maintenance_until", "updated_at"]
    if until is None:
        row.next_check_at = timezone.now()
        fields.append("next_check_at")
    row.save(update_fields=fields)
    history.note(row, reason)
