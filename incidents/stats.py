"""Incidents in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from incidents.models import Incident
from incidents.models.incident import UNRESOLVED

PERIOD: Final = timedelta(days=30)

_opened_at = Coalesce("reopened_at", "created_at")
_acknowledging = ExpressionWrapper(F("acknowledged_at") - _opened_at, DurationField())
_resolving = ExpressionWrapper(F("resolved_at") - _opened_at, DurationField())
_by_severity = {
    severity: Count("pk", filter=Q(status__in=UNRESOLVED, severity=severity))
    for severity in Incident.Severity.values
}


def stats(period: timedelta = PERIOD) -> dict[str, Any]:
    """What is open now, and what went on in the last `period`: in one query, so of one moment.

    Means are in seconds, of what was acknowledged, and resolved, in the period; None without any.
    """
    since = timezone.now() - period
    acknowledged, resolved = Q(acknowledged_at__gte=since), Q(resolved_at__gte=since)
    found = Incident.objects.aggregate(
        unacknowledged=Count("pk", filter=Q(status=Incident.Status.OPEN)),
        opened=Count("pk", filter=Q(created_at__gte=since)),
        resolved=Count("pk", filter=resolved),
        mean_time_to_acknowledge=Avg(_acknowledging, filter=acknowledged),
        mean_time_to_resolve=Avg(_resolving, filter=resolved),
        **_by_severity,
    )
    by_severity = {severity: found.pop(severity) for severity in Incident.Severity.values}
    for name in ("mean_time_to_acknowledge", "mean_time_to_resolve"):
        found[name] = found[name].total_seconds() if found[name] is not None else None
    return {"open": sum(by_severity.values()), "open_by_severity": by_severity} | found
