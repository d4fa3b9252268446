"""How far back the log reaches: its floor, and the rows that age takes away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from events import log, upkeep
from events.models import Event, LogHead, StreamTicket

logger = logging.getLogger(__name__)

BATCH: Final = 5000  # events deleted in one transaction
LEAP: Final = 1_000_000_000  # positions that a rebased log leaves free
HIGHEST: Final = 2**53 - 1  # the last integer that a browser's JSON holds exactly


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, and the floor of after. `held_by` names the subscription that kept the rest."""

    floor: int
    events: int
    tickets: int
    held_by: str = ""


def prune(keep: timedelta) -> Pruned:
    """Deletes the events older than `keep`, but for what a subscription has still to handle.

    The floor moves before anything is deleted, so that it never promises what is gone. Rows below
    it, which a rebased log has, go by the same age.
    """
    now = timezone.now()
    end = oldest_kept(now - keep)
    name, needed = min(upkeep.unhandled().items(), key=lambda item: item[1], default=("", end))
    held_by = name if needed < end else ""
    if held_by:
        text = "Subscription %s holds back pruning: it has still to handle position %s"
        logger.warning(text, held_by, needed)
    end = min(end, needed)
    LogHead.objects.filter(pk=1, floor__lt=end).update(floor=end)
    tickets, _ = StreamTicket.objects.filter(expires_at__lt=now).delete()
    return Pruned(log.head().floor, _delete_before(end), tickets, held_by)


def oldest_kept(limit: datetime) -> int:
    """The lowest position of an event from `limit` or later; one past the head where none is.

    Timestamps do not follow positions strictly: what is older but behind it, is kept, too.
    """
    after_head = log.head().position + 1  # of before the look
    recent = Event.objects.filter(position__isnull=False, timestamp__gte=limit)
    found = recent.order_by("position").values_list("position", flat=True).first()
    return after_head if found is None else found


def _delete_before(end: int) -> int:
    """The number deleted, the lowest positions first: a reader finds no hole but at the start."""
    deleted = 0
    while True:
        old = Event.objects.filter(position__lt=end).order_by("position")
        batch = list(old.values_list("position", flat=True)[:BATCH])
        if not batch:
            return deleted
        deleted += Event.objects.filter(position__lte=batch[-1]).delete()[0]


def rebase(to: int | None = None) -> tuple[int, int]:
    """Moves the head to `to`, or LEAP further, and the floor past it; returns old and new head.

    For a restored backup, whose clients know events that it lacks: no cursor of before is good any
    more, and each is told so. Raises ValueError where `to` is not after the head, or too high.
    """
    with transaction.atomic():
        old = log.hold_head().position
        new = old + LEAP if to is None else to
        if not old < new < HIGHEST:
            raise ValueError(f"must be over {old}, the head, and below {HIGHEST}, not {new}")
        LogHead.objects.filter(pk=1).update(position=new, floor=new + 1)
    return old, new
