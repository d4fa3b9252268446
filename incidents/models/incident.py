"""Incidents, what they affect, and what is said of them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import models
from django.utils import timezone
from django_fsm import FSMField, transition

from events.api import EmittingModel
from servers.models import Server


class Severity(models.TextChoices):
    """From the worst on."""

    CRITICAL = "critical", "Critical"
    HIGH = "high", "High"
    MEDIUM = "medium", "Medium"
    LOW = "low", "Low"

    def at_least(self) -> list[str]:
        """This one, and those that are worse."""
        return Severity.values[: Severity.values.index(self) + 1]


class Status(models.TextChoices):
    OPEN = "open", "Open"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    RESOLVED = "resolved", "Resolved"
    CLOSED = "closed", "Closed"


UNRESOLVED: Final = (Status.OPEN, Status.ACKNOWLEDGED)


class Incident(EmittingModel):
    """Something that is wrong, until it is not.

    Each `…_at` is when the present phase of that name began; one that was reopened forgets the
    phases of before. `status_comment` is what was said at the last transition. `automatic` is what
    the portal opened by itself, and `watched` the server for whose failures it did: at most one
    unresolved incident each.
    """

    Severity = Severity
    Status = Status

    title = models.CharField(max_length=200)
    description = models.TextField(blank=True, help_text="Markdown.")
    severity = models.CharField(
        max_length=8, choices=Severity, default=Severity.MEDIUM, db_index=True
    )
    status = FSMField(
        max_length=12, choices=Status.choices, default=Status.OPEN, editable=False, db_index=True
    )
    status_comment = models.TextField(blank=True, editable=False)
    reporter = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="incidents_reported",
    )
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="incidents_assigned",
    )
    servers = models.ManyToManyField(Server, through="AffectedServer", related_name="+")
    automatic = models.BooleanField(default=False, editable=False)
    watched = models.ForeignKey(
        Server, null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    acknowledged_at = models.DateTimeField(null=True, editable=False)
    resolved_at = models.DateTimeField(null=True, editable=False)
    closed_at = models.DateTimeField(null=True, editable=False)
    reopened_at = models.DateTimeField(null=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        permissions = [
            ("acknowledge_incident", "Can acknowledge an incident"),
            ("resolve_incident", "Can resolve an incident"),
            ("close_incident", "Can close an incident"),
            ("reopen_incident", "Can reopen an incident"),
            ("assign_incident", "Can assign an incident"),
            ("comment_incident", "Can comment on an incident"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["watched"],
                condition=models.Q(status__in=UNRESOLVED),
                name="incidents_incident_one_for_a_server",
            )
        ]

    def __str__(self) -> str:
        return self.title

    @transition(
        field=status,
        source=Status.OPEN,
        target=Status.ACKNOWLEDGED,
        permission="incidents.acknowledge_incident",
    )
    def acknowledge(self) -> None:
        self.acknowledged_at = timezone.now()

    @transition(
        field=status,
        source=list(UNRESOLVED),
        target=Status.RESOLVED,
        permission="incidents.resolve_incident",
    )
    def resolve(self) -> None:
        self.resolved_at = timezone.now()

    @transition(
        field=status,
        source=Status.RESOLVED,
        target=Status.CLOSED,
        permission="incidents.close_incident",
    )
    def close(self) -> None:
        self.closed_at = timezone.now()

    @transition(
        field=status,
        source=[Status.RESOLVED, Status.CLOSED],
        target=Status.OPEN,
        permission="incidents.reopen_incident",
    )
    def reopen(self) -> None:
        self.acknowledged_at = self.resolved_at = self.closed_at = None
        self.reopened_at = timezone.now()

    @property
    def opened_at(self) -> datetime:
        """When it was opened, or reopened: from then on count the times to do something."""
        return self.reopened_at or self.created_at


class AffectedManager(models.Manager["AffectedServer"]):
    """With their servers, but for those's secrets: what cannot be decrypted must stop no list."""

    def get_queryset(self) -> models.QuerySet[AffectedServer]:
        return super().get_queryset().select_related("server").defer("server__credential")


class AffectedServer(models.Model):
    """A server that an incident affects; its name stays when the server goes."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="affected")
    server = models.ForeignKey(
        Server, null=True, on_delete=models.SET_NULL, related_name="affected_by"
    )
    name = models.CharField(max_length=100)

    objects = AffectedManager()

    class Meta:
        ordering = ["name", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["incident", "server"], name="incidents_affectedserver_once"
            )
        ]

    def __str__(self) -> str:
        return self.server.name if self.server else self.name


class Comment(models.Model):
    """What somebody said of an incident, in Markdown; without an author, the portal did."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="comments")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    author_name = models.CharField(max_length=150, blank=True)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.author_name or 'OpsPortal'} on {self.incident_id}"
