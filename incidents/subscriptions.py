"""What the portal does by itself when something happened: in workers, each event once."""

from __future__ import annotations

from typing import Any

from django.utils.dateparse import parse_datetime

from events.api import publish_stats, subscribe
from incidents import automatic, dispatch
from incidents.models.notification import OCCASIONS
from incidents.serializers import FiguresSerializer
from incidents.stats import stats
from servers.models import Server

Status = Server.Status


@subscribe(["server.status_changed", "server.updated"], name="incidents.automatic")
def watch_servers(event: dict[str, Any]) -> None:
    """What is known of a server ends with a new way in to it, and with a maintenance."""
    data, at = event["data"], parse_datetime(event["timestamp"])
    status = data.get("new_status")
    if status in (Status.SUCCESS, Status.FAILED) and at is not None:
        automatic.note_check(data["id"], status == Status.FAILED, data["message"], at)
    elif status == Status.UNKNOWN or "maintenance_until" in data.get("changes", ()):
        automatic.forget_failures(data["id"])


@subscribe(OCCASIONS, name="incidents.notifications")
def notify(event: dict[str, Any]) -> None:
    dispatch.dispatch(event)


publish_stats(
    "incidents", stats, FiguresSerializer, types="incident.*", permission="incidents.view_incident"
)
