"""Servers that are worked on: until an end that is known, what they do alarms nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

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
    begin_many([server], reason, until)
    server.refresh_from_db()


def begin_many(servers: Iterable[Server], reason: str, until: datetime) -> None:
    """The same for many; the instances are left as they are."""
    if until <= timezone.now():
        raise ValidationError({"until": "Enter a time in the future."})
    if not reason.strip():
        raise ValidationError({"reason": "Say why."})
    _set(Q(pk__in=[server.pk for server in servers]), reason.strip(), until)


def end(server: Server) -> None:
    """Ends it now. The server is checked soon."""
    end_many([server])
    server.refresh_from_db()


def end_many(servers: Iterable[Server]) -> None:
    """The same for many; the instances are left as they are."""
    _set(Q(pk__in=[server.pk for server in servers]), "", None)


def end_those_over() -> int:
    """Ends those whose time is over; returns how many. Each server is checked soon."""
    return _set(Q(maintenance_until__lte=timezone.now()), "", None)


def _set(condition: Q, reason: str, until: datetime | None) -> int:
    """How many servers it changed, each of which was locked."""
    values: dict[str, Any] = {"maintenance_reason": reason, "maintenance_until": until}
    with transaction.atomic():
        rows = Server.objects.without_secrets().select_for_update().filter(condition)
        servers = list(rows.exclude(**values).order_by("pk"))
        _write(servers, values)
        for server in servers:
            server.maintenance_reason, server.maintenance_until = reason, until
        history.note_many(servers, reason)
    return len(servers)


def _write(servers: list[Server], values: dict[str, Any]) -> None:
    now = timezone.now()
    due = {} if values["maintenance_until"] else {"next_check_at": now}
    rows = Server.objects.filter(pk__in=[server.pk for server in servers])
    rows.update(**values, **due, updated_at=now)
