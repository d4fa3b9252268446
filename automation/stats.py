"""Runs in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q
from django.utils import timezone

from automation.models import Run

PERIOD: Final = timedelta(hours=24)

_duration = ExpressionWrapper(F("finished_at") - F("started_at"), DurationField())


def stats(period: timedelta = PERIOD) -> dict[str, Any]:
    """What is under way now, and how the runs ended that did so in the last `period`.

    In one query, so of one moment. `mean_duration` is in seconds, of those that had begun; None
    without any.
    """
    ended = Q(finished_at__gte=timezone.now() - period)
    outcomes = (Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED)
    rows = Run.objects.filter(ended | Q(finished_at=None)).order_by()
    found = rows.aggregate(
        queued=Count("pk", filter=Q(status=Run.Status.QUEUED)),
        running=Count("pk", filter=Q(status=Run.Status.RUNNING)),
        mean_duration=Avg(_duration, filter=ended),
        **{status.value: Count("pk", filter=ended & Q(status=status)) for status in outcomes},
    )
    mean = found["mean_duration"]
    return found | {"mean_duration": mean.total_seconds() if mean is not None else None}
