"""Text that is encrypted at rest, with Fernet keys that can be rotated.

The first of FIELD_ENCRYPTION_KEYS encrypts, all of them decrypt
(https://cryptography.io/en/latest/fernet/#cryptography.fernet.MultiFernet).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Cast
from django.db.models.query_utils import DeferredAttribute

BATCH: Final = 100  # rows that are locked at a time


class DecryptionError(Exception):
    """A stored value that none of FIELD_ENCRYPTION_KEYS opens."""


def cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_ENCRYPTION_KEYS])


class Unreadable:
    """Stands in a row for a value that no key opens, so that all else of the row can be used."""


class SecretAttribute(DeferredAttribute):
    """Raises DecryptionError, which names the field, to whoever asks for what no key opens."""

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        if instance is None:
            return self
        kept = instance.__dict__
        name = self.field.attname
        value = kept[name] if name in kept else super().__get__(instance, cls)
        if isinstance(value, Unreadable):
            label = f"{self.field.model._meta.label}.{self.field.name}"
            raise DecryptionError(f"no key in FIELD_ENCRYPTION_KEYS decrypts {label}")
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):
    """A text column that holds Fernet tokens. It cannot be searched; empty stays empty.

    Where no key fits, a row can be read, changed and deleted, and only asking it for this value
    raises DecryptionError.
    """

    descriptor_class = SecretAttribute

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):
            return str(value)
        return cipher().encrypt(str(value).encode()).decode() if value else ""

    def from_db_value(self, value: str | None, *_: Any) -> str | Unreadable:
        if not value:
            return ""
        try:
            return cipher().decrypt(value.encode()).decode()
        except InvalidToken:
            return Unreadable()


@dataclass(slots=True)
class Rotation:
    """`unreadable` names the rows that no key opens: `servers.Credential.secret of 7`."""

    rotated: int
    unreadable: list[str]


def encrypted_fields() -> Iterator[EncryptedTextField]:
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield field


def unreadable() -> list[str]:
    """The stored secrets that no key opens, as a Rotation names them."""
    return [
        f"{field.model._meta.label}.{field.name} of {key}"
        for field in encrypted_fields()
        for key, token in _tokens(field, models.QuerySet(field.model))
        if not _opens(token)
    ]


def _opens(token: str) -> bool:
    try:
        cipher().decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def _tokens(field: EncryptedTextField, rows: models.QuerySet[Any]) -> list[tuple[Any, str]]:
    """The keys of those rows that hold a secret, and what is stored of it."""
    sealed = Cast(field.name, models.TextField())
    return list(
        rows.exclude(**{field.name: ""}).annotate(sealed=sealed).values_list("pk", "sealed")
    )


def rotate() -> Rotation:
    """Encrypts every stored secret anew with the first key. What cannot be read stays as it is."""
    rotation = Rotation(0, [])
    for field in encrypted_fields():
        model = field.model
        last = None
        while True:
            rows: models.QuerySet[Any] = models.QuerySet(model).order_by("pk")
            later = rows if last is None else rows.filter(pk__gt=last)
            keys = list(later.values_list("pk", flat=True)[:BATCH])
            if not keys:
                break
            last = keys[-1]
            _rotate_rows(field, keys, rotation)
    return rotation


def _rotate_rows(field: EncryptedTextField, keys: list[Any], rotation: Rotation) -> None:
    """Past the model's managers and signals: nothing changes that anybody should be told of."""
    rows: models.QuerySet[Any] = models.QuerySet(field.model)
    with transaction.atomic():
        locked = rows.filter(pk__in=keys).order_by("pk").select_for_update()
        for key, token in _tokens(field, locked):
            try:
                fresh = cipher().rotate(token.encode()).decode()
            except InvalidToken:
                rotation.unreadable.append(f"{field.model._meta.label}.{field.name} of {key}")
                continue
            rows.filter(pk=key).update(**{field.name: Sealed(fresh)})
            rotation.rotated += 1


class Sealed(str):
    """A Fernet token that is stored as it is."""
