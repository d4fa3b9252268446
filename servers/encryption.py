"""Text that is encrypted at rest, with Fernet keys that can be rotated.

The first of FIELD_ENCRYPTION_KEYS encrypts, all of them decrypt
(https://cryptography.io/en/latest/fernet/#cryptography.fernet.MultiFernet).
"""

from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class DecryptionError(Exception):
    """A stored value that none of FIELD_ENCRYPTION_KEYS opens."""


def cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_ENCRYPTION_KEYS])


class EncryptedTextField(models.TextField):
    """A text column that holds Fernet tokens. It cannot be searched; empty stays empty.

    Reading a value raises DecryptionError, which names the field, where no key fits.
    """

    def get_prep_value(self, value: Any) -> Any:
        return cipher().encrypt(str(value).encode()).decode() if value else ""

    def from_db_value(self, value: str | None, *_: Any) -> str:
        if not value:
            return ""
        try:
            return cipher().decrypt(value.encode()).decode()
        except InvalidToken:
            name = f"{self.model._meta.label}.{self.name}"
            raise DecryptionError(f"no key in FIELD_ENCRYPTION_KEYS decrypts {name}") from None
