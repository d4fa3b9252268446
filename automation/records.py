"""What comes of a run, written down: its targets, its log, and its end."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, Final

from django.utils import timezone

from automation import claims, log, telling
from automation.models import Run, Target
from automation.models.run import FAILURES
from automation.recorder import Batch, Change

NAMED: Final = 3  # targets that a run's error names


def write(pk: int, claim: uuid.UUID | None, batch: Batch) -> None:
    """Writes a batch, unless it is written already. Raises ClaimLost."""
    with claims.held(pk, claim) as run:
        if batch.number <= run.writes:  # its commit's answer was lost
            return
        fields = ["writes", "log_lines", "log_bytes", "log_dropped"]
        run.writes, run.log_dropped = batch.number, batch.dropped
        names = log.names_of(run) if batch.lines else {}
        log.append(run, batch.lines, names)
        if batch.changes:
            targets = [_change(run, change) for change in batch.changes]
            run.counts = telling.count(run)
            fields.append("counts")
            telling.tell_targets(targets, run)
        run.save(update_fields=fields)


def _change(run: Run, change: Change) -> Target:
    target = run.targets.get(position=change.position)
    for name, value in change.values.items():
        setattr(target, name, value)
    target.save(update_fields=list(change.values))
    return target


def finish(pk: int, claim: uuid.UUID | None, left: str, error: str = "") -> None:
    """Ends a run whose batches are written. Raises ClaimLost."""
    with claims.held(pk, claim) as run:
        conclude(run, left, error)


def conclude(run: Run, left: str, error: str = "") -> None:
    """Ends a run, whose row is locked: what has not begun becomes `left`, what still runs failed.

    Without an `error`, the run says where it failed.
    """
    now = timezone.now()
    open_ones = (Target.Status.PENDING, Target.Status.RUNNING)
    targets = list(run.targets.filter(status__in=open_ones))
    for target in targets:
        if target.status == Target.Status.RUNNING:
            target.error = error
            target.status = Target.Status.FAILED
        else:
            target.status = left
        target.finished_at = now
        target.save(update_fields=["status", "error", "finished_at"])
    run.counts = telling.count(run)
    run.status = outcome(run.counts)
    run.error = error or _summary(run) if run.status == Run.Status.FAILED else ""
    run.finished_at = now
    run.save(update_fields=["status", "counts", "error", "finished_at", "log_lines", "log_bytes"])
    telling.tell_targets(targets, run)
    telling.tell_status(run)


def outcome(counts: dict[str, int]) -> str:
    """What a run is, whose targets are all over."""
    if counts["succeeded"] == counts["total"]:
        return Run.Status.COMPLETED
    return Run.Status.CANCELLED if counts["cancelled"] else Run.Status.FAILED


def _summary(run: Run) -> str:
    """“Failed on web-01, web-02, web-03 and 4 more of 20. Skipped on db-01 of 20.”"""
    groups = {"Failed on": FAILURES, "Skipped on": (Target.Status.SKIPPED,)}
    found = [(said, _named(run, statuses)) for said, statuses in groups.items()]
    return " ".join(f"{said} {named} of {run.counts['total']}." for said, named in found if named)


def _named(run: Run, statuses: Collection[str]) -> str:
    """The targets that ended so; of many of them how many more."""
    names: list[Any] = list(run.targets.filter(status__in=statuses).values_list("name", flat=True))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
