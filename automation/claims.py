"""Who executes a run, and what it may write: only under the claim that it took the run with.

A worker that was taken for lost may come back. Its claim is not the run's any more by then, or the
run is over, and nothing that it brings is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from automation import telling
from automation.models import Run
from events.api import acting

LOST: Final = timedelta(seconds=30)  # without a sign of life, after which a worker is given up


class ClaimLost(Exception):
    """The run is not this worker's any more."""


def take(limit: int, worker: str) -> list[Run]:
    """The longest queued runs, at most `limit`, which are this worker's from now on."""
    with transaction.atomic():
        queued = Run.objects.filter(status=Run.Status.QUEUED).order_by("pk")
        locked = queued.select_for_update(skip_locked=True).values_list("pk", flat=True)
        keys = list(locked[:limit])
        runs = list(Run.objects.filter(pk__in=keys).select_related("started_by").order_by("pk"))
        for run in runs:
            _take(run, worker)
    return runs


def _take(run: Run, worker: str) -> None:
    run.status, run.claim, run.worker = Run.Status.RUNNING, uuid.uuid4(), worker
    run.started_at = timezone.now()
    run.save(update_fields=["status", "claim", "worker", "started_at"])
    # By the database's clock, as workers' clocks differ.
    Run.objects.filter(pk=run.pk).update(heartbeat_at=Now())
    with acting(lambda: run.started_by):
        telling.tell_status(run)


def pulse(claims: Collection[uuid.UUID], *, beat: bool) -> dict[uuid.UUID, datetime | None]:
    """When somebody asked to cancel each run that is still held by one of these claims.

    With `beat`, tells all others that their worker lives.
    """
    held = Run.objects.filter(claim__in=claims, status=Run.Status.RUNNING)
    if beat:
        held.update(heartbeat_at=Now())
    return {claim: at for claim, at in held.values_list("claim", "cancel_requested_at") if claim}


def lost() -> QuerySet[Run]:
    """The runs whose workers gave no sign of life for so long."""
    stale = Run.objects.without_secrets().filter(status=Run.Status.RUNNING)
    return stale.filter(heartbeat_at__lt=Now() - LOST)


@contextmanager
def held(pk: int, claim: uuid.UUID | None) -> Iterator[Run]:
    """A transaction in which the run is this claim's, and its row is locked.

    Raises ClaimLost.
    """
    with transaction.atomic():
        rows = Run.objects.without_secrets().select_for_update()
        run = rows.filter(pk=pk, claim=claim, status=Run.Status.RUNNING).first()
        if run is None:
            raise ClaimLost
        with acting(lambda: _actor(run)):
            yield run


def _actor(run: Run) -> Any:
    return run.cancel_requested_by or run.started_by
