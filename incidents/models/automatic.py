"""Incidents that open and end by themselves."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models

from incidents.models.incident import Severity
from servers.models import Server


class AutomaticIncidents(models.Model):
    """When an incident opens by itself, and when it ends. There is one row."""

    enabled = models.BooleanField(default=True)
    failures = models.PositiveIntegerField(
        default=3,
        validators=[MinValueValidator(1)],
        help_text="Failed checks in a row after which an incident opens.",
    )
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.HIGH)
    recovery = models.PositiveIntegerField(
        default=300,
        help_text="Seconds for which the server must be well until the incident is resolved,"
        " if nobody took it over.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "automatic incidents"
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="incidents_one_row")]

    def __str__(self) -> str:
        return "Automatic incidents"

    @classmethod
    def load(cls) -> AutomaticIncidents:
        """The settings; the defaults until somebody has saved others."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)


class Watch(models.Model):
    """How many of a server's checks failed in a row, as far as their events are handled, and what
    the last of them said."""

    server = models.OneToOneField(Server, on_delete=models.CASCADE, related_name="+")
    failures = models.PositiveIntegerField(default=0)
    message = models.TextField(blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.server_id}: {self.failures} failures"
