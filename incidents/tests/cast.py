"""Incidents for the tests, in any status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from incidents import services
from incidents.models import Incident
from servers.models import Server

INCIDENTS: Final = "/api/v1/incidents/"

# By which statuses an incident gets to each.
WAYS: Final = {
    "open": [],
    "acknowledged": ["acknowledged"],
    "resolved": ["acknowledged", "resolved"],
    "closed": ["acknowledged", "resolved", "closed"],
}


def create_incident(
    title: str = "Disk full", status: str = "open", servers: tuple[Server, ...] = (), **values: Any
) -> Incident:
    incident = Incident(title=title, **values)
    services.create(incident, servers)
    for step in WAYS[status]:
        services.transition_to(incident, step, None)
    return incident


def path_of(incident: Incident, action: str = "") -> str:
    return f"{INCIDENTS}{incident.pk}/{action and action + '/'}"


def age(incident: Incident, **ago: float) -> None:
    """Sets `…_at` to so many minutes ago: `age(incident, created=90, acknowledged=60)`."""
    now = timezone.now()
    times = {f"{name}_at": now - timedelta(minutes=minutes) for name, minutes in ago.items()}
    Incident.objects.filter(pk=incident.pk).update(**times)
    incident.refresh_from_db()
