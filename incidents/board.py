"""The board: incidents in columns, by status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from incidents.filters import SEVERITY_RANK
from incidents.models import Incident
from incidents.models.incident import Status

CARDS: Final = 50  # in a column
RECENT: Final = timedelta(days=7)  # for which what is closed is shown


@dataclass(frozen=True, slots=True)
class Column:
    """`more` is whether there are more than are shown."""

    status: str
    label: str
    incidents: list[Incident]
    more: bool


def columns(rows: QuerySet[Incident]) -> list[Column]:
    """What is unresolved has its worst first, the rest what was done last."""
    return [_column(Status(status), rows) for status in Status.values]


def _column(status: Status, rows: QuerySet[Incident]) -> Column:
    found = list(_ordered(status, rows.filter(status=status))[: CARDS + 1])
    return Column(status.value, str(status.label), found[:CARDS], len(found) > CARDS)


def _ordered(status: Status, rows: QuerySet[Incident]) -> QuerySet[Incident]:
    if status == Status.RESOLVED:
        return rows.order_by("-resolved_at", "-pk")
    if status == Status.CLOSED:
        return rows.filter(closed_at__gt=timezone.now() - RECENT).order_by("-closed_at", "-pk")
    return rows.alias(rank=SEVERITY_RANK).order_by("rank", "-created_at", "-pk")
