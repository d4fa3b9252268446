"""The inventory: servers, and the environments they belong to."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
    validate_ipv46_address,
)
from django.db import models

from events.api import EmittingModel
from servers.encryption import EncryptedTextField

MAXIMUM_TAGS = 20

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


class Environment(models.Model):
    """Where a server belongs, and how far its network is trusted."""

    name = models.SlugField(unique=True)
    accept_new_host_keys = models.BooleanField(
        default=True,
        help_text="Accept the host key that a server shows at first contact. A changed key is"
        " never accepted by itself.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Server(EmittingModel):
    """A machine reached by SSH. `credential` is a password, or a private key in PEM form."""

    class Status(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        TESTING = "testing", "Testing"
        SUCCESS = "success", "Success"
        FAILED = "failed", "Failed"

    name = models.CharField(max_length=100, unique=True)
    host = models.CharField(max_length=253, validators=[validate_host])
    port = models.PositiveIntegerField(
        default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    username = models.CharField(max_length=64, validators=[validate_username])
    credential = EncryptedTextField(blank=True)
    environment = models.ForeignKey(
        Environment, null=True, blank=True, on_delete=models.PROTECT, related_name="servers"
    )
    tags = models.JSONField(default=list, blank=True, validators=[validate_tags])
    status = models.CharField(
        max_length=10, choices=Status, default=Status.UNKNOWN, editable=False, db_index=True
    )
    last_tested_at = models.DateTimeField(null=True, editable=False)
    last_test_message = models.TextField(blank=True, editable=False)
    last_test_latency = models.FloatField(
        null=True, editable=False, help_text="Milliseconds from connecting to a finished command."
    )
    test_id = models.UUIDField(null=True, editable=False)
    test_requested_at = models.DateTimeField(null=True, editable=False)
    host_key = models.TextField(blank=True, editable=False)
    offered_host_key = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("test_server", "Can test the connection to a server"),
            ("accept_host_key", "Can accept a server's host key"),
        ]

    def __str__(self) -> str:
        return self.name
