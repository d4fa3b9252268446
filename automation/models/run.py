"""One execution of an automation: where, how it went, and all that was printed."""

from __future__ import annotations

from typing import Any, Final, Self

from django.conf import settings
from django.db import models

from automation.models.definition import Automation
from events.api import JSONTextField
from servers.encryption import EncryptedTextField
from servers.models import Server


class Status(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED: Final = (Status.QUEUED, Status.RUNNING)


class TargetStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNREACHABLE = "unreachable", "Unreachable"
    TIMED_OUT = "timed_out", "Timed out"
    CANCELLED = "cancelled", "Cancelled"
    SKIPPED = "skipped", "Skipped"


FAILURES: Final = (TargetStatus.FAILED, TargetStatus.UNREACHABLE, TargetStatus.TIMED_OUT)
NOT_DONE: Final = (*FAILURES, TargetStatus.CANCELLED, TargetStatus.SKIPPED)


class RunQuerySet(models.QuerySet["Run"]):
    def without_secrets(self) -> Self:
        """For all who do not run it."""
        return self.defer("secrets")


class Run(models.Model):
    """An automation as it was when it was started, and what came of it.

    `parameters` are the definitions and `values` what was given for them, but for the secrets,
    which `secrets` holds as JSON, encrypted. Whoever executes the run writes under the `claim`
    that it took it with, and under no other; `heartbeat_at` says that it is still at it. `counts`
    are the numbers of targets, in total and by status. `log_lines` is the last line's number,
    `log_bytes` what is kept of the output and `log_dropped` what was not; `writes` counts the
    worker's batches, so that none that it is not sure of is written twice. A `forced` run is for
    servers in maintenance, too.
    """

    Status = Status

    automation = models.ForeignKey(
        Automation, null=True, on_delete=models.SET_NULL, related_name="runs"
    )
    name = models.CharField(max_length=100)
    interpreter = models.CharField(max_length=200)
    script = models.TextField()
    parameters: Any = JSONTextField(default=list)
    values: Any = JSONTextField(default=dict)
    secrets = EncryptedTextField(blank=True)
    timeout = models.PositiveIntegerField()
    concurrency = models.PositiveIntegerField()
    max_failures = models.PositiveIntegerField(null=True)
    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED, db_index=True)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    started_by_name = models.CharField(max_length=150, blank=True)
    reason = models.TextField(blank=True)
    forced = models.BooleanField(default=False)
    retry_of = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="retries"
    )
    error = models.TextField(blank=True)
    counts: Any = JSONTextField(default=dict)
    claim = models.UUIDField(null=True, db_index=True)
    worker = models.CharField(max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    log_lines = models.PositiveBigIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_dropped = models.PositiveBigIntegerField(default=0)
    writes = models.PositiveBigIntegerField(default=0)
    log_pruned_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, db_index=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        default_permissions = ("view",)
        permissions = [("cancel_run", "Can cancel a run")]

    def __str__(self) -> str:
        return f"{self.name} #{self.pk}"

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end; None before, and for one that never began."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED


class Target(models.Model):
    """A server that a run is for; its name is that of the run's beginning.

    `position` counts from 1 within the run, and is what the log's lines refer to.
    """

    Status = TargetStatus

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="targets")
    position = models.PositiveIntegerField()
    server = models.ForeignKey(Server, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=100)
    status = models.CharField(max_length=11, choices=TargetStatus, default=TargetStatus.PENDING)
    exit_code = models.IntegerField(null=True)
    exit_signal = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="automation_target_position")
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end; None before, and for one that never began."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class LogBatch(models.Model):
    """Lines of a run's log, as `automation.lines` packs them; of a run they follow each other."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches")
    first_seq = models.PositiveBigIntegerField()
    count = models.PositiveIntegerField()
    body = models.BinaryField()

    class Meta:
        ordering = ["first_seq"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["run", "first_seq"], name="automation_logbatch_place")
        ]

    def __str__(self) -> str:
        return f"{self.run_id}: {self.first_seq}–{self.first_seq + self.count - 1}"
