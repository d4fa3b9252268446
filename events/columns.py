"""Whether all that is asked of a row is in known columns, so that no others need be read.

And whether what an update writes is known without reading it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any, Final, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init
from rest_framework import serializers

M = TypeVar("M", bound=models.Model)

# Fields whose columns hold a plain value as it is: no rounding, no form of their own.
EXACT: Final = (
    models.BooleanField,
    models.CharField,
    models.IntegerField,
    models.PositiveIntegerField,
    models.PositiveSmallIntegerField,
    models.TextField,
)
PLAIN: Final = (DeferredAttribute, ForeignKeyDeferredAttribute)  # which give what was read


def source_of(member: serializers.Field) -> str:
    """The attribute of a row that a schema's field is read from, or "" where that is not one."""
    plain = type(member).get_attribute is serializers.Field.get_attribute
    return member.source_attrs[0] if plain and member.source_attrs else ""


def are_known(model: type[models.Model], names: Iterable[str]) -> bool:
    """Whether rows can be made of these attributes alone, and each is its column's value."""
    return _is_made_plainly(model) and all(_is_column(model, name) for name in names)


def are_exact(model: type[models.Model], values: Mapping[str, Any], asked: Set[str]) -> bool:
    """Whether an update to these values leaves each of the columns asked for as it is given.

    Columns that a trigger of the database changes beside, no signal of Django tells of either.
    """
    if any(getattr(field, "generated", False) for field in model._meta.concrete_fields):
        return False
    for name, value in values.items():
        field: Any = model._meta.pk if name == "pk" else model._meta.get_field(name)
        told = not asked.isdisjoint((field.name, field.attname))
        if field.primary_key or (told and not _is_exact(field, value)):
            return False
    return True


def _is_exact(field: Any, value: Any) -> bool:
    """An enum's str() may be another text than is stored; PostgreSQL cuts off spaces."""
    if value is None or type(value) in (bool, int) or isinstance(value, models.IntegerChoices):
        return type(field) in EXACT
    text = type(value) is str or isinstance(value, models.TextChoices)
    return type(field) in EXACT and text and len(value) <= (field.max_length or len(value))


def updated(rows: Collection[M], values: Mapping[str, Any]) -> list[M]:
    """New rows, as an update to exact values leaves these, of which the same columns were read."""
    first = next(iter(rows), None)
    if first is None:
        return []
    fields = [f for f in first._meta.concrete_fields if f.attname in first.__dict__]
    names = [field.attname for field in fields]
    written = {f.attname: f.to_python(values[f.name]) for f in fields if f.name in values}
    stored = [row.__dict__ | written for row in rows]
    return [
        first.from_db(first._state.db, names, [attributes[name] for name in names])
        for attributes in stored
    ]


def _is_column(model: type[models.Model], name: str) -> bool:
    if name == "pk":
        return True
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return field.concrete and field.descriptor_class in PLAIN


def _is_made_plainly(model: Any) -> bool:
    """Whether nothing looks at a row while it is made."""
    own_init = model.__init__ is not models.Model.__init__
    own_from_db = model.from_db.__func__ is not models.Model.from_db.__func__  # type: ignore[attr-defined]
    return not (own_init or own_from_db or post_init.has_listeners(model))
