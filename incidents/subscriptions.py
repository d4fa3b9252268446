"""What the portal does by itself when something happened: in workers, each event once."""

from __future__ import annotations

from typing import Any

from django.utils.dateparse import parse_datetime

from events.api import subscribe
from incidents import automatic, dispatch
from incidents.models.notification import OCCASIONS
from servers.models import Server


@subscribe("server.status_changed", name="incidents.automatic")
def watch_servers(event: dict[str, Any]) -> None:
    data = event["data"]
    at = parse_datetime(event["timestamp"])
    if data["new_status"] in (Server.Status.SUCCESS, Server.Status.FAILED) and at is not None:
        failed = data["new_status"] == Server.Status.FAILED
        automatic.note_check(data["id"], failed, data["message"], at)


@subscribe(OCCASIONS, name="incidents.notifications")
def notify(event: dict[str, Any]) -> None:
    dispatch.dispatch(event)
