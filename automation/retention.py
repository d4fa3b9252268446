"""How long logs are kept, and the secrets that runs were started with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from automation.models import LogBatch, Run
from automation.models.run import UNFINISHED

BATCH: Final = 100  # runs in one transaction


def prune() -> int:
    """Deletes log and secrets of runs that ended so many days ago; returns how many runs."""
    before = timezone.now() - timedelta(days=settings.AUTOMATION_RETENTION_DAYS)
    old = Run.objects.exclude(status__in=UNFINISHED)
    old = old.filter(finished_at__lt=before, log_pruned_at=None).order_by("pk")
    pruned = 0
    while keys := list(old.values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            LogBatch.objects.filter(run__in=keys).delete()
            pruned += Run.objects.filter(pk__in=keys).update(
                secrets="", log_pruned_at=timezone.now()
            )
    return pruned
