"""The inventory: servers, where they belong, how to log in to them, and how they have been."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
    validate_ipv46_address,
)
from django.db import models
from django.utils import timezone

from events.api import EmittingModel, EventQuerySet
from servers.encryption import EncryptedTextField

MAXIMUM_TAGS = 20
SHORTEST_INTERVAL = 10  # seconds between two checks of a server
LONGEST_INTERVAL = 7 * 24 * 3600

# Dots are what separates labels, so that there is one way to match and no backtracking.
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

_name = RegexValidator(rf"\A(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?\Z")


def validate_host(host: str) -> None:
    """A host name, or an IPv4 or IPv6 address. Raises ValidationError."""
    try:
        _name(host)
    except ValidationError:
        try:
            validate_ipv46_address(host)
        except ValidationError:
            raise ValidationError("Enter a host name or an IP address.") from None


validate_name = RegexValidator(
    r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z",
    "Enter a name on one line, without control characters.",
)
validate_username = RegexValidator(
    r"\A[^\s\x00-\x1f\x7f:@/]{1,64}\Z", "Enter a user name without spaces, colons or slashes."
)
validate_tag = RegexValidator(
    r"\A[a-z0-9][a-z0-9._-]{0,49}\Z", "A tag is lower-case letters, digits and ._- (at most 50)."
)


def validate_tags(tags: object) -> None:
    """A list of distinct lower-case tags. Raises ValidationError."""
    if not isinstance(tags, list) or len(tags) > MAXIMUM_TAGS:
        raise ValidationError(f"Enter a list of at most {MAXIMUM_TAGS} tags.")
    for tag in tags:
        if not isinstance(tag, str):
            raise ValidationError("A tag is text.")
        validate_tag(tag)
    if len(set(tags)) != len(tags):
        raise ValidationError("Each tag can be given once.")


def validate_check_interval(seconds: int) -> None:
    """0, which is never, or what a check's timeout leaves room for. Raises ValidationError."""
    if seconds and not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise ValidationError(
            f"Enter 0 for never, or {SHORTEST_INTERVAL} to {LONGEST_INTERVAL} seconds."
        )


class Environment(EmittingModel):
    """Where a server belongs, and how far its network is trusted."""

    name = models.SlugField(unique=True)
    accept_new_host_keys = models.BooleanField(
        default=False,
        verbose_name="accept on first use",
        help_text="Accept the host key that a server shows at first contact. A changed key is"
        " never accepted by itself.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Credential(EmittingModel):
    """How to log in to servers; many may share it. What is secret in it is only ever written.

    `secret` is a password, or a private key as OpenSSH or PEM text, which `passphrase` opens.
    `fingerprint` is that of the key's public half, and empty for a password.
    """

    class Kind(models.TextChoices):
        PASSWORD = "password", "Password"
        PRIVATE_KEY = "private_key", "Private key"

    name = models.CharField(max_length=100, unique=True, validators=[validate_name])
    kind = models.CharField(max_length=11, choices=Kind)
    secret = EncryptedTextField()
    passphrase = EncryptedTextField(blank=True)
    fingerprint = models.CharField(max_length=100, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ServerQuerySet(EventQuerySet["Server"]):
    def without_secrets(self) -> Self:
        """For all who do not log in; also of the shared credentials, where these are joined."""
        shared = ("shared_credential__secret", "shared_credential__passphrase")
        return self.defer("credential", *shared)


ServerManager = models.Manager.from_queryset(ServerQuerySet, "ServerManager")


class Server(EmittingModel):
    """A machine reached by SSH.

    It logs in with `shared_credential`, or with `credential` of its own: a password, or a private
    key in PEM form without a passphrase. `next_check_at` is when it is due to be checked, for
    `check_requested_by` if that is somebody. `test_id` is that of the test under way.
    """

    class Status(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        TESTING = "testing", "Testing"
        SUCCESS = "success", "Success"
        FAILED = "failed", "Failed"

    objects = ServerManager()  # type: ignore[assignment,misc]

    name = models.CharField(max_length=100, unique=True, validators=[validate_name])
    host = models.CharField(max_length=253, validators=[validate_host])
    port = models.PositiveIntegerField(
        default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    username = models.CharField(max_length=64, validators=[validate_username])
    credential = EncryptedTextField(blank=True)
    shared_credential = models.ForeignKey(
        Credential, null=True, blank=True, on_delete=models.PROTECT, related_name="servers"
    )
    environment = models.ForeignKey(
        Environment, null=True, blank=True, on_delete=models.PROTECT, related_name="servers"
    )
    tags = models.JSONField(default=list, blank=True, validators=[validate_tags])
    # Not indexed: there are thousands of servers, not millions, and each test would write it anew.
    status = models.CharField(max_length=10, choices=Status, default=Status.UNKNOWN, editable=False)
    last_tested_at = models.DateTimeField(null=True, editable=False)
    last_test_message = models.TextField(blank=True, editable=False)
    last_test_latency = models.FloatField(
        null=True, editable=False, help_text="Milliseconds from connecting to a finished command."
    )
    test_id = models.UUIDField(null=True, editable=False)
    test_requested_at = models.DateTimeField(null=True, editable=False)
    host_key = models.TextField(blank=True, editable=False)
    offered_host_key = models.TextField(blank=True, editable=False)
    check_interval = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[validate_check_interval],
        help_text="Seconds between two checks; 0 is never. Empty is SERVERS_CHECK_INTERVAL.",
    )
    next_check_at = models.DateTimeField(
        null=True, default=timezone.now, editable=False, db_index=True
    )
    check_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    maintenance_until = models.DateTimeField(null=True, editable=False, db_index=True)
    maintenance_reason = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("test_server", "Can test the connection to a server"),
            ("accept_host_key", "Can accept a server's host key"),
            ("maintain_server", "Can put a server into maintenance"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(credential="") | models.Q(shared_credential=None),
                name="servers_server_one_credential",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def in_maintenance(self) -> bool:
        """Whether it is now, also where nobody has noted yet that it is over."""
        return self.maintenance_until is not None and self.maintenance_until > timezone.now()


class StatusPeriod(models.Model):
    """A time in which a server was in one state. A server's periods follow each other.

    `ended_at` is None for the present one. What a check under way will find is not known yet: a
    server that is being tested stays in the state that it had.
    """

    class State(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        SUCCESS = "success", "Success"
        FAILED = "failed", "Failed"
        MAINTENANCE = "maintenance", "Maintenance"

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="periods")
    state = models.CharField(max_length=11, choices=State)
    message = models.TextField(blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [models.Index(fields=["server", "-started_at", "-id"])]
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                condition=models.Q(ended_at=None),
                name="servers_statusperiod_one_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.server_id} {self.state} from {self.started_at:%Y-%m-%d %H:%M:%S}"


class Sample(models.Model):
    """What one check measured. `latency` is in milliseconds, and None where it failed."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField(db_index=True)
    latency = models.FloatField(null=True)

    class Meta:
        indexes = [models.Index(fields=["server", "at"])]

    def __str__(self) -> str:
        return f"{self.server_id} {self.latency} ms at {self.at:%Y-%m-%d %H:%M:%S}"


class Lease(models.Model):
    """The right of one process to do what only one may, until `expires_at`."""

    name = models.CharField(max_length=50, primary_key=True)
    holder = models.UUIDField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
