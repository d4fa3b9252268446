"""What single users are told at their bell."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from incidents.models import Notification


def of(user: Any) -> QuerySet[Notification]:
    """A user's notifications, the newest first: what they may still see of them."""
    return Notification.objects.visible_to(user).filter(user=user.pk)


def unread(user: Any) -> int:
    return of(user).filter(read_at=None).count()


def last(user: Any) -> int:
    """The key of the newest; 0 where there is none."""
    newest = of(user).order_by("-pk").values_list("pk", flat=True).first()
    return newest or 0


def mark_read(user: Any, pk: int | None = None) -> int:
    """Marks one as read, or all; returns how many were not."""
    rows = of(user).filter(read_at=None)
    chosen = rows if pk is None else rows.filter(pk=pk)
    return chosen.update(read_at=timezone.now())
