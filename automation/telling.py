"""Events of runs, and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Count
from rest_framework.serializers import Serializer

from automation.event_map import AutomationEvent, RunData, TargetData
from automation.models import Run, Target
from events.api import Draft, emit, emit_many, subject_of

EVENTS: Final = {
    Run.Status.QUEUED: AutomationEvent.QUEUED,
    Run.Status.RUNNING: AutomationEvent.STARTED,
    Run.Status.COMPLETED: AutomationEvent.COMPLETED,
    Run.Status.FAILED: AutomationEvent.FAILED,
    Run.Status.CANCELLED: AutomationEvent.CANCELLED,
}


def run_data(run: Run) -> dict[str, Any]:
    return _data(RunData, run)


def target_data(target: Target, run: Run) -> dict[str, Any]:
    target.counts = run.counts  # type: ignore[attr-defined]
    return _data(TargetData, target)


def _data(schema: type[Serializer], instance: Run | Target) -> dict[str, Any]:
    return dict(schema(instance).data)


def tell_status(run: Run) -> None:
    emit(EVENTS[Run.Status(run.status)], run_data(run), subject=subject_of(run))


def tell_cancelling(run: Run) -> None:
    emit(AutomationEvent.CANCELLING, run_data(run), subject=subject_of(run))


def tell_targets(targets: Iterable[Target], run: Run) -> None:
    subject, kind = subject_of(run), AutomationEvent.TARGET_CHANGED
    emit_many(Draft(kind, target_data(target, run), subject=subject) for target in targets)


def count(run: Run) -> dict[str, int]:
    """The numbers of a run's targets as they are stored: in total, and by status."""
    rows = Target.objects.filter(run=run).order_by().values_list("status").annotate(Count("pk"))
    found = dict(rows)
    by_status = {status: found.get(status, 0) for status in Target.Status.values}
    return {"total": sum(by_status.values())} | by_status
