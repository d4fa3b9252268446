"""How long notifications are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from incidents.models import Notification

State = Notification.State

KEPT: Final = timedelta(days=30)
BATCH: Final = 5_000  # deleted in one transaction


def prune() -> int:
    """Deletes what was sent or has failed, and at bells what was read, so long ago; returns how
    many."""
    unread = Q(user__isnull=False, read_at=None)
    done = Notification.objects.filter(state__in=(State.SENT, State.FAILED)).exclude(unread)
    old = done.filter(created_at__lt=timezone.now() - KEPT).order_by("pk")
    deleted = 0
    while keys := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += old.filter(pk__in=keys).delete()[0]
    return deleted
