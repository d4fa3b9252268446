"""Whether all that is asked of a row is in known columns, so that no others need be read.

And whether what an update writes is known without reading it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init
from rest_framework import serializers

M = TypeVar("M", bound=models.Model)

# Fields whose columns hold a plain value exactly as it is: no rounding, no form of their own.
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


def are_exact(model: type[models.Model], values: Mapping[str, Any]) -> bool:
    """Whether an update to these values writes just them, and each as it is given."""
    fields: dict[str, Any] = {field.name: field for field in model._meta.concrete_fields}
    return (
        values.keys() <= fields.keys()
        and all(type(fields[name]) in EXACT for name in values)
        and all(value is None or isinstance(value, str | int) for value in values.values())
        and not any(fields[name].primary_key for name in values)
        and not any(getattr(field, "generated", False) for field in fields.values())
    )


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
