"""The demo's incidents: one in each status, so that their pages have something to show at once."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction

from incidents import services
from incidents.models import Incident
from servers.models import Server

Status = Incident.Status

INCIDENTS: Final[list[dict[str, Any]]] = [
    {
        "title": "Queue of db-01 grows",
        "severity": "high",
        "description": "Since the release:\n\n- see the slow query log\n- `pg_stat_activity`",
        "server": "db-01",
    },
    {
        "title": "Certificate of web-01 ends in 20 days",
        "severity": "low",
        "description": "The renewal has been **asked for**.",
        "server": "web-01",
        "moves": {Status.ACKNOWLEDGED: "It comes with the next release."},
    },
    {
        "title": "web-02 ran out of disk",
        "severity": "critical",
        "description": "No log was rotated for a month.",
        "server": "web-02",
        "moves": {
            Status.ACKNOWLEDGED: "",
            Status.RESOLVED: "Old logs are deleted, and the rotation is back.",
        },
    },
    {
        "title": "edge-01 answers slowly",
        "severity": "medium",
        "description": "Only from one network.",
        "server": "edge-01",
        "moves": {Status.RESOLVED: "It was the network.", Status.CLOSED: ""},
    },
]


def create(user: Any) -> None:
    """Makes the demo's incidents, reported by this user, where there is none at all."""
    if Incident.objects.exists():
        return
    with transaction.atomic():
        for values in INCIDENTS:
            given = dict(values)
            moves = given.pop("moves", {})
            servers = Server.objects.filter(name=given.pop("server"))
            incident = Incident(reporter=user, **given)
            services.create(incident, servers)
            for to, comment in moves.items():
                services.transition_to(incident, to, user, comment)
