"""What is wrong with what is stored, as numbered system checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DatabaseError

from servers import encryption

NAMED = 10  # rows


def check_field_keys(databases: Sequence[str] | None = None, **_: Any) -> list[checks.Warning]:
    """servers.W001: no error, or a lost key would forbid the `migrate` of the next release."""
    try:
        lost = encryption.unreadable() if databases else []
    except DatabaseError:  # there is no such table before the first migrate
        return []
    if not lost:
        return []
    named = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
    text = f"No key in FIELD_ENCRYPTION_KEYS decrypts {named}."
    hint = "Add the key that they were encrypted with, or store these secrets anew."
    return [checks.Warning(text, hint=hint, id="servers.W001")]
