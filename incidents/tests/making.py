"""What the tests of notifications are about, made."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User

from incidents import webhooks
from incidents.models import Incident, Notification, NotificationChannel
from incidents.tests.receivers import Hooks, Mail
from servers.tests.cast import Person

SECRET = webhooks.new_secret()


def create_channel(url: str, name: str = "ops", **values: Any) -> NotificationChannel:
    """A webhook, or what `values` say; nothing is checked."""
    kind = "webhook" if url.startswith("http") else "apprise"
    secret = SECRET if kind == "webhook" else ""
    defaults = {"kind": kind, "secret": secret, "label": "somewhere"}
    return NotificationChannel.objects.create(name=name, url=url, **(defaults | values))


def channel_to(receiver: Hooks | Mail, name: str = "ops", **values: Any) -> NotificationChannel:
    return create_channel(receiver.url(), name, **values)


def create_notification(channel: NotificationChannel | None, **values: Any) -> Notification:
    """One that is due, and was handed to nobody."""
    defaults: dict[str, Any] = {
        "channel": channel,
        "channel_name": channel.name if channel else "gone",
        "event_type": "incident.created",
        "title": "[HIGH] Disk full",
        "body": "ann opened this incident.",
        "payload": {"type": "incident.created", "timestamp": "", "data": {"id": 1}},
    }
    return Notification.objects.create(**(defaults | values))


def create_incident(**values: Any) -> Incident:
    return Incident.objects.create(**({"title": "Disk full", "severity": "high"} | values))


def grant(person: Person, *permissions: str) -> User:
    """Gives them these, as a fresh user without cached rights."""
    for name in permissions:
        app, codename = name.split(".")
        row = Permission.objects.get(content_type__app_label=app, codename=codename)
        person.user.user_permissions.add(row)
    return User.objects.get(pk=person.user.pk)
