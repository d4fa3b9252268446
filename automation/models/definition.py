"""What can be run on servers."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from automation.parameters import check_definitions
from events.api import JSONTextField
from servers.models import Environment, Server, validate_name, validate_tags

LONGEST_SCRIPT: Final = 262_144  # bytes
LONGEST_TIMEOUT: Final = 24 * 3600  # seconds
MOST_AT_ONCE: Final = 100  # targets of one run

_WORD = r"[A-Za-z0-9_./+=:,@%-]+"

validate_interpreter = RegexValidator(
    rf"\A(?!-){_WORD}( {_WORD})*\Z",
    "Enter a command such as sh, bash -eu or python3: words with single spaces between them,"
    " without anything that a shell would read as more than a word.",
)


def validate_script(script: str) -> None:
    """A text that a here-document carries, and no endless one. Raises ValidationError."""
    if not script.strip():
        raise ValidationError("Enter a script.")
    if "\0" in script:
        raise ValidationError("A script cannot hold the character NUL.")
    try:
        size = len(script.encode())
    except UnicodeEncodeError:
        raise ValidationError("The script is not Unicode text.") from None
    if size > LONGEST_SCRIPT:
        raise ValidationError(f"A script has at most {LONGEST_SCRIPT:,} bytes.")


class Automation(models.Model):
    """A script, and where it runs unless whoever starts it says otherwise.

    `parameters` are definitions, as `automation.parameters` describes them. The targets are those
    of `servers`, of `environments` and of `tags` together. `timeout` is in seconds, for each
    target; after `max_failures` failed targets no further one is begun, None never stops.
    """

    name = models.CharField(max_length=100, unique=True, validators=[validate_name])
    description = models.TextField(blank=True, max_length=10_000)
    interpreter = models.CharField(max_length=200, default="sh", validators=[validate_interpreter])
    script = models.TextField(validators=[validate_script])
    parameters: Any = JSONTextField(default=list, blank=True, validators=[check_definitions])
    servers = models.ManyToManyField(Server, blank=True, related_name="+")
    environments = models.ManyToManyField(Environment, blank=True, related_name="+")
    tags = models.JSONField(default=list, blank=True, validators=[validate_tags])
    timeout = models.PositiveIntegerField(
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TIMEOUT)],
        help_text="Seconds that the script may take on each target.",
    )
    concurrency = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_AT_ONCE)],
        help_text="Targets at a time.",
    )
    max_failures = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Failed targets after which no further one is begun. Empty never stops.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        permissions = [("run_automation", "Can run an automation")]

    def __str__(self) -> str:
        return self.name
