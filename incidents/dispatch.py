"""Who is to be told of an event: channels by their rules, and users at their bell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.urls import reverse

from incidents import deliveries, services
from incidents.models import Incident, Notification, NotificationChannel
from incidents.models.incident import Severity


def dispatch(event: dict[str, Any]) -> None:
    """Writes a notification for each, in the caller's transaction; they are sent after it.

    An event that comes again, as after a cursor that was moved back, is told to nobody twice.
    """
    incident = Incident.objects.filter(pk=event["data"]["id"]).first()
    if incident is None:
        return
    title, body = describe(event, incident)
    common = {
        "incident": incident,
        "event_type": event["type"],
        "position": event["id"],
        "title": title,
        "body": body,
        "payload": {"type": event["type"], "timestamp": event["timestamp"], "data": event["data"]},
    }
    written = Notification.objects.filter(position=event["id"])
    channels = set(written.values_list("channel", flat=True))
    users = set(written.values_list("user", flat=True))
    for channel in channels_for(event["type"], incident):
        if channel.pk not in channels:
            deliveries.queue(Notification(channel=channel, channel_name=channel.name, **common))
    for user in addressed(event, incident):
        if user.pk not in users:
            deliveries.ring(Notification(user=user, **common))


def channels_for(event_type: str, incident: Incident) -> Iterable[NotificationChannel]:
    """Those whose rules the incident meets. Without servers, it is in no environment."""
    environments = set(incident.affected.values_list("server__environment", flat=True)) - {None}
    channels = NotificationChannel.objects.filter(enabled=True).defer("url", "secret")
    for channel in channels.prefetch_related("environments"):
        wanted = {each.pk for each in channel.environments.all()}
        severities = Severity(channel.minimum_severity).at_least()
        here = not wanted or wanted & environments
        if here and event_type in channel.events and incident.severity in severities:
            yield channel


def addressed(event: dict[str, Any], incident: Incident) -> list[Any]:
    """Whoever has it or reported it, and may see it; not who did it themselves. No bell rings for
    what the portal notes: of one incident there may be many."""
    if event["type"] == "incident.commented" and event["data"]["author"] is None:
        return []
    actor = event["actor"]["id"] if event["actor"] else None
    involved = dict.fromkeys(filter(None, (incident.assignee, incident.reporter)))
    return [u for u in involved if u.pk != actor and u.has_perm("incidents.view_incident")]


def describe(event: dict[str, Any], incident: Incident) -> tuple[str, str]:
    """Title and text, for people."""
    data, actor = event["data"], event["actor"]["username"] if event["actor"] else "OpsPortal"
    title = f"[{incident.severity.upper()}] {incident.title}"
    lines = []
    match event["type"]:
        case "incident.created":
            lines += [f"{actor} opened this incident.", incident.description]
        case "incident.status_changed":
            lines += [f"{actor}: {data['old_status']} → {data['new_status']}", data["comment"]]
        case "incident.commented":
            lines += [f"{data['author'] or 'OpsPortal'} says:", data["text"]]
        case _:
            # Names of fields, as one that is published by hand may hold whatever JSON can.
            fields = sorted(name for name in data["changes"] if name.isidentifier())
            lines += [f"{actor} changed: {', '.join(fields)}."]
    if names := services.affected_names(incident):
        lines.append(f"Affected: {', '.join(names)}")
    if settings.PORTAL_URL:
        page = reverse("incidents:detail", args=[incident.pk])
        lines.append(f"{settings.PORTAL_URL}{page}")
    return title[:300], "\n\n".join(line for line in lines if line)
