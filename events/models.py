"""The log, and the base of models whose changes go into it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now

from events.fields import JSONTextField
from events.querysets import EventQuerySet

_PLACED = models.Q(position__isnull=False)

EventManager = models.Manager.from_queryset(EventQuerySet, "EventManager")


class Event(models.Model):
    """One thing that happened. Appended in the transaction of the change; never updated after.

    `position` is null until `log.sequence()` has placed it; positions have no gaps and follow the
    order of commits, which primary keys do not.
    """

    position = models.BigIntegerField(null=True, unique=True, editable=False)
    type = models.CharField(max_length=100)
    subject = models.CharField(max_length=200, blank=True)
    audience: Any = JSONTextField()
    data: Any = JSONTextField()
    # No constraint: an account's end must not rewrite history.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,  # an actor's events are looked for by name
        related_name="+",
    )
    actor_username = models.CharField(max_length=150, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    timestamp = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], condition=models.Q(position__isnull=True), name="events_pending"
            ),
            models.Index(fields=["subject", "position"], name="events_by_subject"),
            # Of placed rows alone, as a row is written a second time when it is placed.
            models.Index(fields=["type", "position"], condition=_PLACED, name="events_by_type"),
            models.Index(fields=["timestamp"], condition=_PLACED, name="events_by_time"),
        ]
        permissions = [("emit_event", "Can publish events")]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.position}: {self.type} {self.subject}".rstrip()


class LogHead(models.Model):
    """The log's one row of state: the last position given, and the oldest one still kept."""

    position = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(default=1)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.floor}–{self.position}"


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def timed(self) -> Self:
        return self.annotate(now=Now())


class Subscription(models.Model):
    """A server-side reader of the log: how far its handler has come, and what stops it.

    `cursor` is the last position that the handler is done with. `failures` counts the attempts at
    the next event; after too many the subscription is parked until somebody resumes it. `ran_at` is
    when a handler that is called once for many events last was, by the clock of `now`.
    """

    name = models.CharField(max_length=200, primary_key=True)
    cursor = models.BigIntegerField()
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True)
    ran_at = models.DateTimeField(null=True, blank=True)

    now: datetime  # where it was read by `timed`: the database's clock, as machines' clocks differ

    objects = models.Manager.from_queryset(SubscriptionQuerySet)()

    class Meta:
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name


class Figures(models.Model):
    """What was last told of a domain by `stats.updated`."""

    domain = models.CharField(max_length=100, primary_key=True)
    stats: Any = JSONTextField()

    class Meta:
        default_permissions = ()
        verbose_name_plural = "figures"

    def __str__(self) -> str:
        return self.domain


class StreamTicket(models.Model):
    """Opens one stream, once, without header or cookie. Only a digest of the ticket is kept."""

    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()
    # When what the ticket was asked for with ends; the stream ends then, too.
    credentials_expire_at = models.DateTimeField(null=True)
    # The log's head before its user was authenticated: what ended credentials after it ends this.
    issued_after = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id} until {self.expires_at:%H:%M:%S}"


class ProcessReport(models.Model):
    """What a process last told of itself, so that any other can show it."""

    process = models.CharField(max_length=100, primary_key=True)
    started_at = models.DateTimeField()
    reported_at = models.DateTimeField(db_index=True)
    report: Any = JSONTextField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.process


class EmittingModel(models.Model):
    """A model whose changes are events.

    The row and its events are written in one transaction, also where the caller has none; bulk
    changes through `objects` emit too.
    """

    objects = EventManager()

    class Meta:
        abstract = True
        # Related managers' add() and set(), and SET_NULL on a deletion, use this one.
        base_manager_name = "objects"

    def save(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        with transaction.atomic(using=using, savepoint=False):
            super().save(*args, using=using, **kwargs)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        with transaction.atomic(using=using, savepoint=False):
            return super().delete(using=using, keep_parents=keep_parents)
