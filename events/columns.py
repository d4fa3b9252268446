"""Whether all that is asked of a row is in known columns, so that no others need be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init
from rest_framework import serializers

PLAIN: Final = (DeferredAttribute, ForeignKeyDeferredAttribute)  # which give what was read


def source_of(member: serializers.Field) -> str:
    """The attribute of a row that a schema's field is read from, or "" where that is not one."""
    plain = type(member).get_attribute is serializers.Field.get_attribute
    return member.source_attrs[0] if plain and member.source_attrs else ""


def are_known(model: type[models.Model], names: Iterable[str]) -> bool:
    """Whether rows can be made of these attributes alone, and each is its column's value."""
    return _is_made_plainly(model) and all(_is_column(model, name) for name in names)


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
