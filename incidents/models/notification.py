"""Where to send what happens to incidents, and what was sent."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from events.api import JSONTextField
from incidents.models.incident import Incident, Severity
from servers.encryption import EncryptedTextField
from servers.models import Environment

OCCASIONS = {
    "incident.created": "An incident is opened",
    "incident.status_changed": "An incident's status changes",
    "incident.updated": "An incident is edited",
    "incident.commented": "Somebody comments",
}


def validate_occasions(names: object) -> None:
    """A list of distinct OCCASIONS. Raises ValidationError."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValidationError("Enter a list of event types.")
    if unknown := sorted(set(names) - set(OCCASIONS)):
        raise ValidationError(f"No such event: {', '.join(unknown)}.")
    if len(set(names)) != len(names):
        raise ValidationError("Each event can be given once.")


def all_occasions() -> list[str]:
    return ["incident.created", "incident.status_changed"]


class NotificationChannel(models.Model):
    """Somewhere to send notifications to: a service that Apprise knows, or a signed webhook.

    `url` and `secret` are only ever written. Without environments, it is told of all incidents.
    """

    class Kind(models.TextChoices):
        APPRISE = "apprise", "Apprise (mail, Slack, Telegram …)"
        WEBHOOK = "webhook", "Signed webhook"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=7, choices=Kind)
    url = EncryptedTextField()
    secret = EncryptedTextField(blank=True)
    label = models.CharField(max_length=100, editable=False)
    events = models.JSONField(default=all_occasions, validators=[validate_occasions])
    minimum_severity = models.CharField(max_length=8, choices=Severity, default=Severity.LOW)
    environments = models.ManyToManyField(Environment, blank=True, related_name="+")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        permissions = [("test_notificationchannel", "Can send a test through a channel")]

    def __str__(self) -> str:
        return self.name


class NotificationQuerySet(models.QuerySet["Notification"]):
    def visible_to(self, user: Any) -> NotificationQuerySet:
        """What was sent to this user, and what channels were sent to those who may view it.

        What it tells of an incident is for those who may view incidents now.
        """
        own = models.Q(user=user)
        sees_channels = user.has_perm("incidents.view_notification")
        rows = self.filter(own | models.Q(user=None) if sees_channels else own)
        return rows if user.has_perm("incidents.view_incident") else rows.filter(incident=None)


class Notification(models.Model):
    """One message to one channel, or to one user's bell.

    `position` is that of the event it tells of, and None for a test. `key` is the same at each
    attempt, so that a receiver can tell a repetition. `queued_at` is when somebody last wanted it
    to be sent. While it is being sent, `next_attempt_at` is when whoever sends it is given up.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    channel = models.ForeignKey(
        NotificationChannel, null=True, on_delete=models.SET_NULL, related_name="notifications"
    )
    channel_name = models.CharField(max_length=100, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"
    )
    incident = models.ForeignKey(
        Incident, null=True, on_delete=models.CASCADE, related_name="notifications"
    )
    event_type = models.CharField(max_length=100)
    position = models.BigIntegerField(null=True)
    title = models.CharField(max_length=300)
    body = models.TextField(blank=True)
    payload: Any = JSONTextField(default=dict)
    state = models.CharField(max_length=7, choices=State, default=State.QUEUED, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, default=timezone.now, db_index=True)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["user", "read_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "position"], name="incidents_notification_once_a_channel"
            ),
            models.UniqueConstraint(
                fields=["user", "position"], name="incidents_notification_once_a_user"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"
