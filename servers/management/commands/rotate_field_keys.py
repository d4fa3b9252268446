"""Encrypts what is stored with the newest key, so that older ones can go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from servers import encryption


class Command(BaseCommand):
    help = (
        "Encrypts every stored secret anew with the first of FIELD_ENCRYPTION_KEYS. Run it after"
        " all processes know the new key, and before the old ones are taken away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        rotation = encryption.rotate()
        self.stdout.write(f"Encrypted with the first key: {rotation.rotated}.")
        if rotation.unreadable:
            names = "\n".join(f"  {name}" for name in rotation.unreadable)
            raise CommandError(f"No key in FIELD_ENCRYPTION_KEYS decrypts these:\n{names}")
