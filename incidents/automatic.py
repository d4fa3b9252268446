"""Incidents that the portal opens for servers that keep failing, and ends when they are well."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from incidents import services
from incidents.models import AutomaticIncidents, Incident, Watch
from incidents.models.incident import UNRESOLVED
from servers.models import Server

Status = Incident.Status


def note_check(server_id: int, failed: bool, message: str, at: datetime) -> None:
    """Counts one check's result; opens an incident, or adds to the one that there is.

    Call it in a transaction, with the results of a server in their order. In maintenance nothing
    is counted.
    """
    server = Server.objects.select_for_update().defer("credential").filter(pk=server_id).first()
    rules = AutomaticIncidents.load()
    if server is None or not rules.enabled or server.in_maintenance:
        return
    watch, _ = Watch.objects.get_or_create(server=server)
    if not failed:
        watch.failures, watch.well_since = 0, watch.well_since or at
        watch.save()
        return
    watch.failures, watch.well_since = watch.failures + 1, None
    watch.save()
    incident = current_incident(server)
    if incident is not None:
        services.comment(incident, None, f"Check {watch.failures} in a row failed: {message}")
    elif watch.failures >= rules.failures:
        _open(server, rules, watch.failures, message)


def current_incident(server: Server) -> Incident | None:
    """The unresolved incident that the portal opened for this server."""
    return Incident.objects.filter(watched=server, status__in=UNRESOLVED).first()


def _open(server: Server, rules: AutomaticIncidents, failures: int, message: str) -> None:
    incident = Incident(
        title=f"{server.name} fails its checks",
        description=f"{failures} checks in a row failed. The last one said: {message}",
        severity=rules.severity,
        watched=server,
    )
    services.create(incident, [server])


def resolve_recovered() -> int:
    """Resolves the incidents of servers that have been well for long enough; returns how many.

    One that somebody took over – acknowledged, or was given – is theirs to resolve.
    """
    rules = AutomaticIncidents.load()
    since = timezone.now() - timedelta(seconds=rules.recovery)
    well = Watch.objects.filter(well_since__lte=since).values("server")
    ours = Incident.objects.filter(status=Status.OPEN, assignee=None, watched__in=well)
    return sum(_resolve(incident, since) for incident in ours)


def _resolve(incident: Incident, since: datetime) -> bool:
    """Looks again with the rows locked: a check may have failed, or somebody come, meanwhile."""
    with transaction.atomic():
        servers = Server.objects.select_for_update().defer("credential")
        server = servers.filter(pk=incident.watched_id or 0).first()
        free = Incident.objects.filter(pk=incident.pk, status=Status.OPEN, assignee=None)
        well = Watch.objects.filter(server=server, well_since__lte=since)
        if server is None or not free.select_for_update().exists() or not well.exists():
            return False
        text = f"{server.name} is well again, and nobody took this over."
        services.transition_to(incident, Status.RESOLVED, None, text)
    return True
