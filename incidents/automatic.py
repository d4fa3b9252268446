"""Incidents that the portal opens for servers that keep failing, and ends when they are well."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from incidents import services
from incidents.models import AutomaticIncidents, Incident, Watch
from incidents.models.incident import UNRESOLVED
from servers.models import Server, StatusPeriod

Status = Incident.Status


def note_check(server_id: int, failed: bool, message: str, at: datetime) -> None:
    """Counts the result of a check that ended then; opens an incident, or adds to the one there is.

    Call it in a transaction, with the results of a server in their order. In maintenance nothing
    is counted; a failure that says the same as the last is noted only as the 4th, 8th, 16th … in
    a row.
    """
    server = Server.objects.without_secrets().select_for_update().filter(pk=server_id).first()
    if server is None or _was_in_maintenance(server, at):
        return
    rules = AutomaticIncidents.load()
    if not failed or not rules.enabled:
        forget_failures(server_id)
        return
    watch, _ = Watch.objects.get_or_create(server=server)
    news = message != watch.message
    watch.failures, watch.message = watch.failures + 1, message
    watch.save()
    incident = current_incident(server)
    if incident is not None:
        if news or _is_power_of_two(watch.failures):
            text = f"Check {watch.failures} in a row failed: {quoted(message)}"
            services.comment(incident, None, text)
    elif watch.failures >= rules.failures:
        _open(server, rules, watch.failures, message)


def quoted(message: str) -> str:
    """What a machine said, in a span of code: it is no Markdown, and not the portal's own words.

    https://spec.commonmark.org/0.31.2/#code-spans: its fence is longer than any within it.
    """
    words = " ".join(message.split())
    fence = "`" * (max(map(len, re.findall("`+", words)), default=0) + 1)
    edge = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{edge}{words}{edge}{fence}" if words else ""


def forget_failures(server_id: int) -> None:
    """The next one is the first in a row."""
    # By `server__pk`, which takes numbers that no database does: events are also made by hand.
    Watch.objects.filter(server__pk=server_id).update(failures=0)


def current_incident(server: Server) -> Incident | None:
    """The unresolved incident that the portal opened for this server, with its row locked."""
    rows = Incident.objects.select_for_update()
    return rows.filter(watched=server, status__in=UNRESOLVED).first()


def _is_power_of_two(number: int) -> bool:
    """These alone are noted of the same failure: a server that is down for a week has no more to
    tell than one that is down for a day."""
    return number & (number - 1) == 0


def _was_in_maintenance(server: Server, at: datetime) -> bool:
    """Then, not now: what happened may be looked at late."""
    begun, ended = Q(started_at__lte=at), Q(ended_at__lte=at)
    periods = server.periods.filter(begun, state=StatusPeriod.State.MAINTENANCE)
    return periods.exclude(ended).exists()


def _open(server: Server, rules: AutomaticIncidents, failures: int, message: str) -> None:
    times = "A check" if failures == 1 else f"{failures} checks in a row"
    incident = Incident(
        title=f"{server.name} fails its checks",
        description=f"{times} failed. The last one said: {quoted(message)}",
        severity=rules.severity,
        automatic=True,
        watched=server,
    )
    services.create(incident, [server])


def resolve_recovered() -> int:
    """Resolves the incidents of servers that have been well for long enough; returns how many.

    One that somebody took over – acknowledged, was given, or opened again – is theirs to resolve.
    """
    rules = AutomaticIncidents.load()
    if not rules.enabled:
        return 0
    since = timezone.now() - timedelta(seconds=rules.recovery)
    ours = _left_alone().filter(watched__in=_well(since).values("server"))
    return sum(_resolve(incident, since) for incident in ours)


def _left_alone() -> QuerySet[Incident]:
    rows = Incident.objects.filter(status=Status.OPEN, assignee=None, reopened_at=None)
    return rows.exclude(watched=None)


def _well(since: datetime) -> QuerySet[StatusPeriod]:
    """Maintenance ends such a period, and with its end another one begins."""
    state = StatusPeriod.State.SUCCESS
    return StatusPeriod.objects.filter(state=state, ended_at=None, started_at__lte=since)


def _resolve(incident: Incident, since: datetime) -> bool:
    """Looks again with the rows locked: a check may have failed, or somebody come, meanwhile."""
    with transaction.atomic():
        servers = Server.objects.without_secrets().select_for_update()
        server = servers.filter(pk=incident.watched_id or 0).first()
        free = _left_alone().filter(pk=incident.pk).select_for_update()
        if server is None or not free.first() or not _well(since).filter(server=server).exists():
            return False
        text = f"{server.name} is well again, and nobody took this over."
        services.transition_to(incident, Status.RESOLVED, None, text)
    return True
